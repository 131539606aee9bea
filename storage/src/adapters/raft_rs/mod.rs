//! Runs the crate `raft` (raft-rs, 0.7) on a group of this engine.
//!
//! The core reads its storage through [`GroupStorage`]. The [`Pump`] carries the core's decisions to the log,
//! the network and the state machine. No message leaves before the data that it depends on is durable (INV-1).
//! The pump stops at the first error other than a full disk.
//!
//! A node consists of an [`Engine`](crate::Engine), the members that it starts with
//! ([`GroupStorage::bootstrap`], called once), and a [`Host`], which is the user's network and state machine. A
//! node that is added to a running group starts with [`GroupStorage::join`] instead. Copy
//! `examples/raft_rs_node.rs` or `examples/three_nodes` to start.
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
//!         eprintln!("the node waits for room: {full}"); // and continues once there is some
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Damaged entries.** On a log that was opened in degraded mode, [`Engine::damaged`](crate::Engine::damaged)
//! may list entries of the group. Their indexes and terms are correct, so votes rest on the true end of the
//! log, but a node that lacks payloads must not lead. Before making a [`Pump`], get the entries from a peer and
//! append them again, from the first damaged one to the last entry of the log (`docs/durability.md`, *Living
//! with fenced entries*). If the core needs a damaged entry, the pump stops with the error.
//!
//! **A full disk.** Nothing is lost, and the pump does not stop: [`Pump::poll`], [`Pump::wait`] and
//! [`Pump::tick`] return [`Outcome::Stalled`], and the pump continues once there is space. An `Err` of these
//! three calls means that the pump has stopped for good; end the loop only then. An `Err` of another call
//! concerns that call; [`Pump::stopped`] tells whether the pump stopped.
//!
//! **Large entries.** A record of the log holds an entry of up to [`Pump::entry_bytes_max`] bytes, which
//! depends on the segment size. A node whose log cannot hold an entry of a peer refuses it
//! ([`Host::append_refused`]) and falls behind until its log has larger segments or a snapshot covers the
//! entry. In a group whose logs differ, set [`PumpOptions::entry_bytes_max`] to the limit of the smallest log.
//!
//! **Stopping.** [`Pump::stop`] hands the leadership to another member and ends with [`Outcome::Ended`] when
//! everything in flight is durable, or after a number of ticks. Dropping a pump without it has the effect of a
//! kill: the group has to hold an election.
//!
//! **Slow peers.** A thread of the engine, shared by all groups, reads entries that are no longer in memory
//! while the pump keeps running ([`PumpOptions::async_fetch`]). The end of a read wakes the pump, as a durable
//! Ready does.
//!
//! **Snapshots.** With [`PumpOptions::snapshots`] the pump takes a snapshot in the background when one is due
//! ([`Host::snapshot_source`]), compacts the log up to it, and offers it to a peer that needs compacted
//! entries. The core's message carries an offer of 112 bytes, whatever the size of the state. If the receiving
//! pump does not have the snapshot, it passes the offer to its host ([`Host::snapshot_offered`]), which fetches
//! the pieces over its own connection and steps the message again. The record of the Ready then moves the start
//! of the log and the members to the snapshot, and [`Host::restore`] loads it. Without snapshots, a peer that
//! needs compacted entries waits; compact only entries that every peer has.

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
