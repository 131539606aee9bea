//! The state machine of the log: what is enqueued, what is in flight, what is durable.
//!
//! It does no I/O, takes no lock and starts no thread. It hands out operations and is told how they ended (`issue`), so
//! the same code runs with threads and under a seeded scheduler. Groups are issued in log order; `watermark` only
//! grows, over a contiguous prefix (INV-2). After the first failed operation nothing is issued or acknowledged (INV-7).

pub(crate) mod commit_state;
pub(crate) mod enqueue;
mod gather;
pub(crate) mod in_flight;
pub(crate) mod issue;
mod trials;
pub(crate) mod write_group;
pub(crate) mod write_policy;

pub(crate) use commit_state::{Appended, Blocked, CommitState, Driver, Limits, Start};
pub(in crate::commit) use write_policy::GATHER_NS_MAX;
