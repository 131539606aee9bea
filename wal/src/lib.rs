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
//! - `sim`: the simulated disk, clock and random numbers (`disk::sim`), `step`, which drives a log on one
//!   thread, and `fuzz`, what the fuzz targets run. For tests, of this crate and of what is built on it. Off
//!   by default.
//!
//! # Modules
//!
//! [`disk`] is the seam to the medium: traits with written contracts, the POSIX implementation, the
//! simulated one. [`look`] reads a log without changing it. Everything else is behind [`Wal`]. Inside, modules
//! stand on floors and import only from floors below; `ARCHITECTURE.md` has the table and a reading order,
//! `docs/format.md` the bytes, `docs/durability.md` the promises one by one (`INV-1` to `INV-10`).

mod commit;
mod create;
mod descriptors;
mod directory;
pub mod disk;
mod env;
mod error;
mod facts;
mod fence;
mod footer;
mod frame;
#[cfg(feature = "sim")]
pub mod fuzz;
mod inspect;
mod listener;
mod mapped;
mod options;
mod pieces;
mod pipeline;
mod queue;
mod read;
mod records;
mod recover;
mod scan;
mod sealer;
mod seen;
mod segment;
mod shelf;
mod stats;
#[cfg(feature = "sim")]
pub mod step;
mod survey;
mod sync;
mod trust;
mod types;
mod verdict;
mod view;
mod wal;
mod window;
mod workers;

pub use commit::{Bell, Notify, Ticket};
pub use env::{Env, Threads};
pub use error::Error;
pub use facts::{Damage, DamageKind, Witness};
pub use footer::Footer;
pub use frame::ClosedFault;
pub use frame::{Batch, PartInfo};
pub use listener::Listener;
#[cfg(feature = "tracing")]
pub use listener::Tracing;
pub use mapped::Mapped;
pub use options::{Backend, OpenMode, Options, Strategy, Suspect};
pub use records::{Record, Records};
pub use recover::{Report, Took};
pub use sealer::Sealer;
pub use stats::{Histogram, Stats};
pub use types::{Class, Lsn};
pub use wal::{AnswersFull, Prepared, Wal};

/// Looking at a log without changing it: for tools, tests and fuzzers.
pub mod look {
    pub use crate::directory::SEGMENTS_WITHOUT_IDENTITY;
    pub use crate::facts::{Damage, DamageKind, DropReason, Dropped, Extent, Head, SegmentFacts};
    pub use crate::frame::{
        Closed, FooterTail, GroupFault, GroupHeader, HeaderFault, Identity, IdentityFault, RecordFault,
        RecordRef, SegmentHeader, layout, read_tail,
    };
    pub use crate::inspect::{
        Inspection, inspect, inspect_as_open, inspect_with, visit_groups, visit_records, visit_remnants,
    };
    pub use crate::scan::Group;
    pub use crate::segment::file_name;
    pub use crate::types::{GroupKind, Prior};
    pub use crate::verdict::{Continue, Kept, Verdict, decide, decide_as, decide_closed};
}
