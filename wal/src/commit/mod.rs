//! The spine: how a record becomes durable.
//!
//! `Log::append` enqueues, `Log::wait` and the flusher issue groups, `Log::run` carries out one
//! operation and tells everyone. A thread that waits and finds the disk free leads: it writes the group
//! itself, at once. When more is due at its end the log's own thread goes on (`driver`), or, with a crowd
//! waiting, one of its waiters, woken first, so that the disk is not idle while others wake up. Callbacks and wakers
//! are called by a thread of their own (`delivery`). Lock order: core, then shelf or outbox; no lock is held during
//! I/O or callbacks. The first failure answers every waiter and stops the log (INV-7).

pub(crate) mod committer;
mod delivery;
pub(crate) mod directory_lock;
pub(crate) mod disk_op;
mod driver;
mod flusher;
pub(crate) mod state;
mod ticket;
pub(crate) mod waiters;
pub(crate) mod write_policy;

pub(crate) use committer::Committer;
#[cfg(feature = "sim")]
pub(crate) use disk_op::DiskOp;
pub(crate) use driver::RingQueue;
#[cfg(feature = "sim")]
pub(crate) use flusher::{FlusherState, FlusherStep};
pub(crate) use state::{Appended, Blocked, CommitState, Driver, Limits, Start};
pub use ticket::Ticket;
pub use waiters::futures::Notify;
pub use waiters::wait_slot::Bell;
