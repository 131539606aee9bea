//! The engine: many Raft groups on one log.
//!
//! A write proceeds in this order: the record is enqueued in the log, its entries are published in the index, the
//! record is written, it becomes durable, its ticket completes. All methods may be called from any thread. After the
//! log's first failed write or sync, every call that writes fails (INV-7).

mod group;
mod handle;
mod inner;
mod open;
mod owner_check;
mod readers;
#[cfg(feature = "snapshots")]
mod spawn;
mod stats;
mod upkeep;
mod user_handle;
mod write;

pub use group::Group;
pub use handle::Engine;
pub use readers::{Cursor, Entries, PinnedReader};
pub use stats::{BlockedBy, Blocker, Report, Stats};
