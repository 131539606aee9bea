//! The bytes on disk, and nothing else: layouts, checksums, encoding, decoding.
//!
//! Place on the data's way: between a caller's batch and the disk, in both directions. Pure functions
//! of byte slices; every length is checked before it is used (INV-9); every refusal is a small `Copy` reason.
//! `docs/format.md` holds the same tables; a test compares the two.

pub(crate) mod checksum;
mod closed;
mod footer;
mod group;
mod identity;
pub mod layout;
mod record;
mod segment;

pub use closed::{Closed, ClosedFault};
pub use footer::{FooterTail, close_footer, read_tail, tail_bytes};
pub use group::{GroupFault, GroupHeader, is_head};
pub use identity::{Identity, IdentityFault, READ_ONLY_COMPATIBLE_KNOWN};
pub(crate) use layout::{RawPart, RawRecordHeader};
pub use record::{PartInfo, RecordBuilder, RecordFault, RecordRef, record_at};
pub use segment::{HeaderFault, SegmentHeader};
