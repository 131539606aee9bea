//! The commit path: how a record becomes durable.
//!
//! `Committer::append` enqueues a record; `Committer::wait` and the flusher issue write groups; `Committer::run`
//! carries out one operation and notifies the waiters. A waiting thread that finds the disk free writes the group
//! itself, at once. If more is due when the write ends, the log's own thread continues (`driver`); or, if many threads
//! wait, one of them does. The successor is woken before the threads whose records are durable, so the disk is not idle
//! while they wake up. A separate thread runs callbacks and wakers (`delivery`).
//!
//! Lock order: the state lock, then the lock of the spare pool or of the callback queue. No lock is held during I/O or
//! while a callback runs. The first failure answers every waiter and stops the log (INV-7).

mod blocking;
pub(crate) mod committer;
mod delivery;
pub(crate) mod directory_lock;
pub(crate) mod disk_op;
mod driver;
mod flusher;
mod shared_state;
pub(crate) mod state;
mod ticket;
pub(crate) mod waiters;

pub(crate) use committer::Committer;
#[cfg(feature = "sim")]
pub(crate) use disk_op::DiskOp;
pub(crate) use driver::RingQueue;
#[cfg(feature = "sim")]
pub(crate) use flusher::{FlusherState, FlusherStep};
#[cfg(feature = "sim")]
pub use state::write_policy::WritePlan;
#[cfg(feature = "sim")]
pub(crate) use state::write_policy::plans;
pub(crate) use state::{Appended, Blocked, CommitState, Driver, Limits, Start};
pub use ticket::Ticket;
pub use waiters::futures::Notify;
pub use waiters::wait_slot::Bell;
