//! Runs the crate `raft` (raft-rs, 0.7) on a group of this engine.
//!
//! A [`Node`] is one group in a directory of its own: it opens engine, snapshots and state machine, and runs on one
//! thread. Other threads reach it through its [`NodeHandle`]: they give it the messages of peers, propose, and read
//! ([`Proposals`], [`NodeHandle::read`]). The user provides a [`Host`]: the state machine and the network.
//! `examples/kv_tcp.rs` is a complete program to copy.
//!
//! ```no_run
//! use seawall::raft_rs::raft::eraftpb::{Entry, Message};
//! use seawall::raft_rs::{Host, HostError, Node, NodeOptions, Proposals};
//! use std::time::Duration;
//!
//! struct Counter {
//!     sum: usize,
//!     proposals: Proposals<usize>,
//! }
//!
//! impl Host for Counter {
//!     fn send(&mut self, _: Vec<Message>) {} // a group of one has no peers
//!
//!     fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
//!         for entry in entries {
//!             self.sum += entry.data.len();
//!             self.proposals.answer(entry, self.sum);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut options = NodeOptions::new(1);
//! options.voters = vec![1];
//! let proposals = Proposals::new();
//! let kept = proposals.clone();
//! let node = Node::open("/var/lib/node", options, |_| Ok(Counter { sum: 0, proposals: kept }))?;
//! let handle = node.handle();
//! let running = std::thread::spawn(move || node.run());
//! let sum = proposals.propose(&handle, b"+1".to_vec()).wait(Duration::from_secs(5))?;
//! assert_eq!(handle.read(|counter| counter.sum).wait(Duration::from_secs(5))?, sum);
//! handle.stop(30).wait(Duration::from_secs(5))??;
//! running.join().expect("no panic")?;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Pump`] is the node without a thread, a directory and snapshots of its own, for many groups on one engine and
//! for custom loops (`Node` uses [`Pump::run`]). The core reads its storage through [`GroupStorage`]; the pump carries
//! the core's decisions to the log, the network and the state machine. No message leaves before the data that it
//! depends on is durable (INV-1). The pump stops at the first error other than back-pressure (a full disk, no file
//! descriptor left) and refusals. Its group starts with [`GroupStorage::bootstrap`], called once, or
//! [`GroupStorage::join`] on a node that is added to a running group.
//! `examples/raft_rs_node.rs` and `examples/three_nodes` show loops.
//!
//! **Damaged entries.** On a log that was opened in degraded mode, [`Engine::damaged`](crate::Engine::damaged)
//! may list entries of the group. Their indexes and terms are correct, so votes rest on the true end of the
//! log, but a node that lacks payloads must not lead. Before making a [`Pump`], get the entries from a peer and
//! append them again, from the first damaged one to the last entry of the log (`docs/durability.md`, *Living
//! with quarantined entries*). If the core needs a damaged entry, the pump stops with the error.
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

mod codec;
mod completions;
mod error;
mod host;
mod node;
mod outcome;
mod pump;
mod snapshot_offer;
mod storage;
mod warnings;

pub use codec::CodecError;
pub use completions::Wake;
pub use error::{AppendFault, Error, HostError, SnapshotFault};
pub use host::{Host, PumpOptions};
pub use node::inbox::{Inbox, NodeHandle, inbox};
pub use node::messages::{read_message, write_message};
pub use node::peer::PeerSender;
pub use node::pending::Pending;
pub use node::proposals::Proposals;
pub use node::{Node, NodeOptions};
pub use outcome::{End, Outcome, PumpStats};
pub use protobuf;
pub use pump::Pump;
pub use raft;
pub use slog;
pub use storage::GroupStorage;
