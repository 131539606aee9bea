//! Seawall's write-ahead log.
mod commit;
mod create;
mod directory;
pub mod disk;
mod error;
mod facts;
mod frame;
mod inspect;
mod listener;
mod options;
mod pipeline;
mod queue;
mod read;
mod recover;
mod scan;
mod segment;
mod shelf;
mod stats;
#[cfg(feature = "sim")]
pub mod step;
mod types;
mod verdict;
mod wal;

pub use commit::{Sealer, Ticket};
pub use error::Error;
pub use frame::{Batch, PartInfo};
pub use listener::Listener;
#[cfg(feature = "tracing")]
pub use listener::Tracing;
pub use options::{Options, Strategy, Suspect};
pub use read::{Record, Records};
pub use recover::Report;
pub use stats::{Histogram, Stats};
pub use types::{Class, Lsn};
pub use wal::{Env, Threads, Wal};

/// Looking at a log without changing it: for tools, tests and fuzzers.
pub mod look {
    pub use crate::facts::{Damage, DamageKind, DropReason, Dropped, Head, SegmentFacts};
    pub use crate::frame::{
        FooterTail, GroupFault, GroupHeader, HeaderFault, Identity, IdentityFault, RecordFault, RecordRef,
        SegmentHeader, layout, read_tail,
    };
    pub use crate::inspect::{Inspection, inspect, visit_records};
    pub use crate::types::{GroupKind, Prior};
    pub use crate::verdict::{Continue, Kept, Verdict, decide};
}
