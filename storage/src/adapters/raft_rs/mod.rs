//! The crate `raft` (raft-rs, 0.7) on a group of this engine.
//! Place on the data's way: the core asks through [`GroupStorage`]; the [`Pump`] carries what it decides
//! to the log, to the network and to the state machine. Invariants: no message that rests on something
//! unpersisted leaves before that is durable (INV-1). Fails: the pump stops with the first error it meets.
//!
//! A node is made of three things: an [`Engine`](crate::Engine), the members it starts with
//! ([`GroupStorage::bootstrap`], once), and a [`Host`], which is the user's network and state machine.
//! A node that is added to a running group starts with [`GroupStorage::join`] instead.
//! `examples/raft_rs_node.rs` and `examples/three_nodes.rs` are there to be copied.
//!
//! ```no_run
//! use seawall::raft_rs::{GroupStorage, Host, Outcome, Pump, PumpOptions, raft};
//! use seawall::{ConfState, Engine, Options};
//!
//! struct Node;
//!
//! impl Host for Node {
//!     fn send(&mut self, _: Vec<raft::eraftpb::Message>) {}
//!     fn apply(&mut self, entries: &[raft::eraftpb::Entry]) -> Result<(), seawall::raft_rs::HostError> {
//!         println!("{} entries are committed and durable here", entries.len());
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::create("/var/lib/node/log", &Options::default())?;
//! GroupStorage::new(&engine, 1).bootstrap(&ConfState { voters: vec![1], ..ConfState::default() })?;
//! let limits = raft::Config { max_size_per_msg: 1 << 20, max_committed_size_per_ready: 1 << 20, ..Default::default() };
//! let config = raft::Config { id: 1, ..limits };
//! let mut pump = Pump::new(&engine, 1, &config, Node, PumpOptions::default())?;
//! pump.campaign()?;
//! pump.propose(vec![], b"set x = 1".to_vec())?;
//! while !pump.poll()?.is_idle() || pump.in_flight() > 0 {
//!     if let Outcome::Stalled(full) = pump.wait(std::time::Duration::from_millis(10))? {
//!         eprintln!("the node waits for room: {full}"); // and goes on when there is some
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Damaged entries.** On a log that was opened in degraded mode, [`Engine::damaged`](crate::Engine::damaged) may
//! list entries of the group. Their indexes and terms are right, so a vote rests on the true end of the log, but a
//! node that lacks payloads must not lead: get them from a peer and append them again, from the first damaged
//! one to the last entry, before a [`Pump`] is made (`docs/durability.md`, *Living with fenced entries*). A core that
//! needs one all the same stops its pump with the error.
//!
//! **A full disk.** Nothing is lost, and the pump does not stop: [`Pump::poll`], [`Pump::wait`] and [`Pump::tick`] return
//! [`Outcome::Stalled`], and go on when there is room. An `Err` of these three means that the pump has stopped for good:
//! end the loop then, and only then. An `Err` of another call concerns that call; [`Pump::stopped`] tells.
//!
//! **Large entries.** A record of the log holds an entry of [`Pump::entry_bytes_max`] bytes, which depends on the size of the
//! segments. A node whose log cannot hold a peer's entry refuses it ([`Host::append_refused`]) and falls behind, until its log
//! has larger segments or a snapshot covers the entry. So a group with different logs agrees on the smallest number:
//! [`PumpOptions::entry_bytes_max`].
//!
//! **The end.** [`Pump::stop`] hands the leadership to another member and ends with [`Outcome::Ended`] when everything in
//! flight is durable, or after a number of ticks. A pump that is dropped without it ends as by a kill, and its group waits for
//! an election.
//!
//! **Peers that are behind.** Entries that memory no longer has are read by a thread of the engine, one for all its
//! groups, while the pump goes on ([`PumpOptions::fetch_beside`]); a read that ended wakes it as a durable Ready does.
//!
//! **Snapshots.** With [`PumpOptions::snapshots`] the pump takes one in the background when it is due
//! ([`Host::dump`]), compacts the log behind it, and offers it to a peer that needs entries which are gone: the core's
//! message carries an offer of 112 bytes, whatever the state's size. The peer's pump passes on what it does not have
//! ([`Host::snapshot_offered`]); the host fetches the pieces beside the core's messages, and steps the message again.
//! Then log and members start behind the snapshot, in the Ready's own record, and [`Host::restore`] loads it. Without,
//! a peer that needs compacted entries waits: compact only what every peer has.

mod async_fetch;
mod codec;
mod error;
mod host;
mod outcome;
mod pump;
mod read;
mod snapshot_offer;
mod storage;
mod warnings;

pub use codec::CodecError;
pub use error::{AppendFault, Error, HostError, SnapshotFault};
pub use host::{Host, PumpOptions};
pub use outcome::{End, Outcome, PumpStats};
pub use pump::Pump;
pub use pump::completions::Wake;
pub use raft;
pub use slog;
pub use storage::GroupStorage;
