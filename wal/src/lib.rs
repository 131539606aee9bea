//! A write-ahead log for nodes that must not lose what they acknowledged.
//!
//! **Start here.** [`Wal::open_or_create`] opens a log, [`Wal::append`] adds a record and returns a [`Ticket`], and
//! [`Wal::records`] reads. For Raft groups on a log, use the crate `seawall`.
//!
//! **Promise.** A [`Ticket`] completes with `Ok` only after the device has confirmed that the record, and everything
//! before it in the log, is on the medium. Everything that [`Wal::open`] shows is durable. Recovery distinguishes a
//! torn tail from damage by evidence: if data that was known to be durable fails its checksum, open fails with an error
//! that lists every damaged range; it never returns a shorter log. After the first failed write or sync the log
//! acknowledges nothing more.
//!
//! **What it does not do.** The log knows nothing of Raft (the crate `seawall` does) and does not interpret records. It
//! does not replicate, encrypt or compress. It cannot defend against a device that confirms a flush without doing it.
//! One log is one directory, open in one process at a time.
//!
//! # The path of a record
//!
//! ```text
//! RecordBuilder ──► record ──► write group ──► disk ──► watermark ──► ticket
//!                                   ▲           │
//!   preallocator ── next segment ───┘           └──► reads, recovery, inspection
//! ```
//!
//! `append` frames and checksums the record on the caller's thread and copies it into the write group that is being
//! filled; from then on it can be read. The first thread that waits writes the group; records that arrive meanwhile
//! form the next group. The end of the durable prefix is the *watermark*. A ticket is complete when its record begins
//! below it. The preallocator allocates, syncs and names segments ahead of their use, and removes released ones.
//!
//! # Example
//!
//! ```
//! use seawall_wal::{Durability, Error, Lsn, Options, RecordBuilder, Wal};
//!
//! fn write_and_reopen(dir: &std::path::Path) -> Result<(), Error> {
//!     let options = Options::default().with_segment_bytes(4 << 20);
//!     let wal = Wal::create(dir, &options)?;
//!     let mut batch = RecordBuilder::new();
//!     batch.meta().extend(b"about the parts");
//!     batch.push_part(b"payload");
//!     let ticket = wal.append(&batch, Durability::Sync)?; // enqueued, and readable
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
//! - `metrics`: publishes [`stats::Stats`] through the `metrics` facade. Off by default.
//! - `tracing`: a [`Listener`] that emits events through `tracing`. Off by default.
//!
//! # Modules
//!
//! [`disk`] has the traits of the storage device and their implementations: POSIX, io_uring, simulated. [`inspect`]
//! reads a log without changing it. [`Wal`] is the interface to everything else. `ARCHITECTURE.md` describes the
//! modules of the crate, `docs/format.md` the bytes on disk, and `docs/durability.md` the promises (`INV-1` to
//! `INV-10`).

#![forbid(unsafe_code)]

mod commit;
mod counters;
mod damage;
mod env;
mod error;
mod format;
mod listener;
mod options;
mod read;
mod recovery;
mod segment;
mod sync;
#[cfg(feature = "sim")]
pub mod testing;
mod types;
mod wal;

pub use commit::Ticket;
pub use env::{Env, Threads};
pub use error::Error;
pub use format::{PartInfo, RecordBuilder};
pub use listener::Listener;
#[cfg(feature = "tracing")]
pub use listener::Tracing;
pub use options::{Backend, OpenMode, Options, Strategy, UnexplainedTail};
pub use read::record_iter::{Record, RecordIter};
pub use recovery::RecoveryReport;
pub use seawall_disk as disk;
pub use types::{Durability, Lsn};
pub use wal::{Prepared, Wal};

/// Parts of reports and errors: damaged ranges, what a clean close left, durations.
pub mod report {
    pub use crate::damage::{Damage, DamageKind, Witness};
    pub use crate::format::ClosedFault;
    pub use crate::recovery::Timings;
}

/// Statistics of a log; see [`Wal::stats`].
pub mod stats {
    pub use crate::counters::{Histogram, Stats};
}

/// Wake-ups without code of the caller ([`Ticket::notify`]), and the wait for outstanding callbacks.
pub mod notify {
    pub use crate::commit::{Bell, Notify};
    pub use crate::wal::CallbacksFull;
}

/// For engines that keep an index: the checksum of a part, footers with an index of their own, and maps.
pub mod segments {
    pub use crate::format::checksum::crc as part_crc;
    pub use crate::segment::footer::Footer;
    pub use crate::segment::index_builder::SegmentIndexBuilder;
    pub use crate::segment::open_segment::Mapped;
}

/// Reads a log without changing it, for tools, tests and fuzzers.
pub mod inspect {
    pub use crate::damage::{Damage, DamageKind, DropReason, Dropped};
    pub use crate::format::{
        Closed, Features, FooterTail, GroupFault, GroupHeader, HeaderFault, Identity, IdentityFault,
        Manifest, ManifestFault, ManifestFile, ManifestSegment, ProviderName, RecordFault, RecordRef,
        SegmentHeader, layout, read_tail,
    };
    pub use crate::recovery::evidence::{GroupHead, ScanExtent, SegmentScan};
    pub use crate::recovery::inspect::{
        Inspection, inspect, inspect_as_open, inspect_with, visit_groups, visit_records, visit_remnants,
    };
    pub use crate::recovery::scan::ScannedGroup;
    pub use crate::recovery::verdict::{LiveSegment, ResumePoint, Verdict, decide, decide_as, decide_closed};
    pub use crate::segment::directory::SEGMENTS_WITHOUT_IDENTITY;
    pub use crate::segment::names::file_name;
    pub use crate::types::{GroupKind, PriorContents};
}
