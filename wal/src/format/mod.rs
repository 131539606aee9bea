//! The format of the files: layouts, checksums, encoding and decoding.
//!
//! All functions are pure functions of byte slices. Every length is checked before it is used (INV-9), and every
//! refusal is a small `Copy` value. `docs/format.md` has the same tables; a test compares the two.

mod checkpoint;
pub(crate) mod checksum;
mod closed;
mod features;
mod footer;
mod group;
mod identity;
pub mod layout;
mod record;
mod segment;

pub use checkpoint::{Manifest, ManifestFault, ManifestFile, ManifestSegment};
pub use closed::{Closed, ClosedFault};
pub use features::{Features, ProviderName};
pub use footer::{FooterTail, close_footer, read_tail, tail_bytes};
pub use group::{GroupFault, GroupHeader, is_head};
pub use identity::{Identity, IdentityFault, READ_ONLY_COMPATIBLE_KNOWN};
pub(crate) use layout::{RawPart, RawRecordHeader};
pub use record::{PartInfo, RecordBuilder, RecordFault, RecordRef, record_at};
pub use segment::{HeaderFault, SegmentHeader};
