//! The spine: how a record becomes durable.
//!
//! `Log::append` enqueues, `Log::wait` and the flusher issue groups, `Log::run` carries out one
//! operation and tells everyone. A thread that waits and finds the disk free leads: it writes the group
//! itself, at once. When more is due at its end the log's own thread goes on (`driver`), or, with a crowd
//! waiting, one of its waiters, woken first, so that the disk is not idle while others wake up. Callbacks and wakers
//! are called by a thread of their own (`delivery`). Lock order: core, then shelf or outbox; no lock is held during
//! I/O or callbacks. The first failure answers every waiter and stops the log (INV-7).

mod append;
mod core;
mod delivery;
mod driver;
mod flusher;
mod held;
mod io;
mod issue;
mod log;
mod pace;
mod patience;
mod ticket;
mod waiters;
mod waiting;
mod word;

pub(crate) use self::core::{Blocked, Core, Driver, Limits, Placed, Start};
pub(crate) use driver::Rail;
#[cfg(feature = "sim")]
pub(crate) use flusher::{Next, Patrol};
#[cfg(feature = "sim")]
pub(crate) use io::Io;
pub(crate) use log::Log;
pub use ticket::Ticket;
pub use waiters::Notify;
pub use word::Bell;
