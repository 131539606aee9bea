//! A write-ahead log for nodes that must not forget: segments, records, group commit, recovery.
//!
//! **Promise.** A [`Ticket`] completes with `Ok` only when the device has confirmed that the record, and
//! everything before it in the log, is on the medium. What [`Wal::open`] shows is durable. A torn end is
//! told apart from damage by evidence: what was known durable and does not check is an error that names
//! every place, never a shorter log. After the first failed write or sync nothing is acknowledged any more.
//!
//! **What it does not do.** It knows nothing of Raft (the crate `seawall` does) and of no record's meaning.
//! It does not replicate, encrypt or compress. It cannot defend against a device that lies about flushes.
//! One log is one directory, open in one process at a time.
//!
//! # The data's way
//!
//! ```text
//! batch ──► record ──► group ──► disk (direct | buffered + fdatasync | simulated) ──► watermark ──► ticket
//!                        ▲                                              │
//!                        │ segment taken at rotation                    └──► reads, recovery, inspection
//!           file pipeline: next segments allocated, headed, synced and named ahead, released ones removed
//! ```
//!
//! A batch is framed and checksummed on the caller's thread, copied into the group that is being filled,
//! and readable from then on. Whoever waits first writes the group; records that arrive meanwhile form the
//! next one. The end of the durable prefix is the *watermark*; tickets below it are complete.
//!
//! # Example
//!
//! ```
//! use seawall_wal::{Batch, Class, Error, Lsn, Options, Wal};
//!
//! fn write_and_reopen(dir: &std::path::Path) -> Result<(), Error> {
//!     let options = Options { segment_bytes: 4 << 20, ..Options::default() };
//!     let wal = Wal::create(dir, &options)?;
//!     let mut batch = Batch::new();
//!     batch.meta().extend(b"about the parts");
//!     batch.push_part(b"payload");
//!     let ticket = wal.append(&batch, Class::Sync)?; // enqueued, and readable
//!     ticket.wait()?; // on the medium, with everything before it
//!     wal.close()?;
//!
//!     let (wal, report) = Wal::open(dir, &options)?;
//!     assert!(report.dropped.is_empty());
//!     let record = wal.records(Lsn::ZERO).next().expect("one record")?;
//!     assert_eq!(record.meta(), b"about the parts");
//!     assert_eq!(record.parts().next().expect("one part").1, b"payload");
//!     wal.close()
//! }
//! # let dir = tempfile::tempdir().unwrap();
//! # write_and_reopen(&dir.path().join("log")).unwrap();
//! ```
//!
//! # Features
//!
//! - `sim`: the simulated disk, clock and random numbers (`disk::sim`), and `testing`: a log driven step by step on one
//!   thread, and the code of the fuzz targets. For tests of this crate and of crates built on it. Off by default.
//! - `metrics`: publishes [`Stats`] through the `metrics` facade. Off by default.
//! - `tracing`: a [`Listener`] that emits events through `tracing`. Off by default.
//!
//! # Modules
//!
//! [`disk`] has the traits of the storage device and their implementations: POSIX, io_uring, simulated. [`inspect`] reads a
//! log without changing it. Everything else is behind [`Wal`]. `ARCHITECTURE.md` describes the rooms of the crate,
//! `docs/format.md` the bytes on disk, and `docs/durability.md` the promises (`INV-1` to `INV-10`).

mod commit;
mod damage;
pub mod disk;
mod env;
mod error;
mod format;
mod listener;
mod options;
mod read;
mod recovery;
mod segment;
mod stats;
mod sync;
#[cfg(feature = "sim")]
pub mod testing;
mod types;
mod wal;

pub use commit::{Bell, Notify, Ticket};
pub use damage::{Damage, DamageKind, Witness};
pub use env::{Env, Threads};
pub use error::Error;
pub use format::{ClosedFault, PartInfo, RecordBuilder};
pub use listener::Listener;
#[cfg(feature = "tracing")]
pub use listener::Tracing;
pub use options::{Backend, OpenMode, Options, Strategy, UnexplainedTail};
pub use read::record_iter::{Record, RecordIter};
pub use recovery::{RecoveryReport, Timings};
pub use segment::footer::Footer;
pub use segment::index_builder::SegmentIndexBuilder;
pub use segment::mapped::Mapped;
pub use stats::{Histogram, Stats};
pub use types::{Durability, Lsn};
pub use wal::{CallbacksFull, Prepared, Wal};

/// Looking at a log without changing it: for tools, tests and fuzzers.
pub mod inspect {
    pub use crate::damage::{Damage, DamageKind, DropReason, Dropped};
    pub use crate::format::{
        Closed, FooterTail, GroupFault, GroupHeader, HeaderFault, Identity, IdentityFault, RecordFault,
        RecordRef, SegmentHeader, layout, read_tail,
    };
    pub use crate::recovery::evidence::{GroupHead, ScanExtent, SegmentScan};
    pub use crate::recovery::inspect::{
        Inspection, inspect, inspect_as_open, inspect_with, visit_groups, visit_records, visit_remnants,
    };
    pub use crate::recovery::scan::ScannedGroup;
    pub use crate::recovery::verdict::{LiveSegment, ResumePoint, Verdict, decide, decide_as, decide_closed};
    pub use crate::segment::directory::SEGMENTS_WITHOUT_IDENTITY;
    pub use crate::segment::file_name;
    pub use crate::types::{GroupKind, PriorContents};
}
