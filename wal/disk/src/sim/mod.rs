//! Simulates a disk: one directory in memory, driven by a seed, that loses whatever a real disk may lose.
//!
//! Tests open logs on it instead of on a [`PosixDisk`](crate::PosixDisk). The same calls with the same seed give the
//! same result, so a failing seed reproduces a failure. Errors are those of a kernel, raised when a rule asks for
//! them or a contract is broken; calls of a dead process fail with an error for which [`SimDisk::is_crash`] holds.
//!
//! # Faults that it may inject, and why a log must survive them
//!
//! * **Unsynced sectors survive one by one.** A device reorders its cache and guarantees nothing larger than a sector
//!   of 512 bytes, so a write of several sectors may be torn anywhere, in any order. Each crash draws a pattern:
//!   everything, nothing, a subset of some density, or a prefix in write order.
//! * **A durable write makes only itself durable.** Earlier volatile writes elsewhere in the file stay at risk:
//!   `RWF_DSYNC` is no barrier for other ranges.
//! * **Names are volatile until the directory is synced.** After a crash a prefix of the unsynced creations, renames
//!   and removals holds, or a subset of them that makes sense: no journal promises that a name follows its file's
//!   content or the reverse.
//! * **Lengths are metadata.** A file whose name survived without a sync may be empty or have any length that it had
//!   since, and its blocks read as zeros or as the bytes that reached them.
//! * **A failed sync loses data for good.** Linux marks the pages clean all the same: they stay visible, and a second
//!   sync succeeds without writing them, so only the first error reveals the loss. A write to another block of a
//!   large page writes them after all.
//! * **A cached page may be older than the medium.** The kernel drops cached pages when a file is written past the
//!   cache, but not always, and another process may hold them.
//! * **Writes may be short**, allocation may find the disk full, and any call may fail once or forever.
//! * **A process may die in the middle** of any operation. Its operations in flight never take effect afterwards.

mod clock;
mod disk;
mod fault;
mod file;
mod hook;
mod inode;
mod machine;
mod older;
mod shared;
mod state;

pub use clock::{SimClock, SimRandom, Ticking};
pub use fault::{FaultError, FaultOp, FaultRule};
pub use hook::{Call, CallOp, HookDisk};
pub use machine::SimDisk;
pub use shared::SimOptions;
