//! The structures of the format as bytes: one little-endian `repr(C)` type each, without padding.
//!
//! Offsets and sizes are asserted at compile time; a test compares them with `docs/format.md`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of the format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Size of a sector in bytes. A sector in flight at a crash is old or new; larger writes can be torn between sectors.
pub const SECTOR_BYTES: u32 = 512;

/// Smallest block size in bytes.
pub const BLOCK_BYTES_MIN: u32 = 4096;
/// Largest block size in bytes.
pub const BLOCK_BYTES_MAX: u32 = 65536;

/// Size of the identity file in bytes: one smallest block, with zeros after the structure.
pub const IDENTITY_FILE_BYTES: usize = 4096;

/// Alignment of records in bytes, counted from the start of the segment.
pub const RECORD_ALIGN: u32 = 8;

/// First bytes of the identity file.
pub const IDENTITY_MAGIC: [u8; 8] = *b"SEAWALID";
/// First bytes of the file `CLOSED`.
pub const CLOSED_MAGIC: [u8; 8] = *b"SEAWALCL";
/// First bytes of the file `CHECKPOINT`.
pub const CHECKPOINT_MAGIC: [u8; 8] = *b"SEAWALCP";
/// First bytes of every segment file.
pub const SEGMENT_MAGIC: [u8; 8] = *b"SEAWALSG";
/// First bytes of every group.
pub const GROUP_MAGIC: [u8; 4] = *b"SWGR";
/// First bytes of the tail of a footer group.
pub const FOOTER_MAGIC: [u8; 4] = *b"SWFT";

/// Largest size of the name of a provider in bytes.
pub const PROVIDER_NAME_BYTES: usize = 56;

/// Largest size of the file `CHECKPOINT` in bytes: a reader may allocate it.
pub const CHECKPOINT_FILE_BYTES_MAX: usize = 1 << 26;

/// File `IDENTITY`: the identity of the log and what is needed to read it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawIdentity {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) block_bytes: U32,
    pub(crate) uuid: [u8; 16],
    pub(crate) incompatible: U64,
    pub(crate) read_only_compatible: U64,
    pub(crate) created_ms: U64,
    pub(crate) reserved: U32,
    pub(crate) crc: U32,
}

/// Follows the identity in the file `IDENTITY` of a log with sealed payloads: the provider that sealed them.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawProvider {
    pub(crate) name: [u8; PROVIDER_NAME_BYTES],
    pub(crate) reserved: U32,
    pub(crate) crc: U32,
}

/// File `CLOSED`: where the log ended when it was closed.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawClosed {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) reserved: U32,
    pub(crate) uuid: [u8; 16],
    pub(crate) end: U64,
    pub(crate) reserved2: U32,
    pub(crate) crc: U32,
}

/// First bytes of the file `CHECKPOINT`: the log of which the directory holds a copy, and the position of the copy.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawCheckpoint {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) block_bytes: U32,
    pub(crate) uuid: [u8; 16],
    pub(crate) incompatible: U64,
    pub(crate) read_only_compatible: U64,
    pub(crate) end: U64,
    pub(crate) first_live: U32,
    pub(crate) segments: U32,
    pub(crate) files: U32,
    pub(crate) names_bytes: U32,
    pub(crate) created_ms: U64,
    pub(crate) base: [u8; 32],
    pub(crate) provider: [u8; PROVIDER_NAME_BYTES],
    pub(crate) body_crc: U32,
    pub(crate) crc: U32,
}

/// One segment of a checkpoint.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawCheckpointSegment {
    pub(crate) sequence: U32,
    pub(crate) end: U32,
    pub(crate) salt: U64,
    pub(crate) file_bytes: U64,
    pub(crate) reserved: U64,
    pub(crate) digest: [u8; 32],
}

/// One file of a checkpoint that is not a segment.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawCheckpointFile {
    pub(crate) bytes: U64,
    pub(crate) name_bytes: U16,
    pub(crate) reserved: U16,
    pub(crate) reserved2: U32,
    pub(crate) digest: [u8; 32],
}

/// Block 0 of a segment; it does not change while the file has its name.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawSegmentHeader {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) block_bytes: U32,
    pub(crate) uuid: [u8; 16],
    pub(crate) salt: U64,
    pub(crate) sequence: U32,
    pub(crate) first_live: U32,
    pub(crate) file_bytes: U64,
    pub(crate) prior: u8,
    pub(crate) reserved: u8,
    pub(crate) reach_blocks: U16,
    pub(crate) crc: U32,
}

/// First bytes of a group, inside one sector.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawGroupHeader {
    pub(crate) magic: [u8; 4],
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) reserved: U16,
    pub(crate) salt: U64,
    pub(crate) lsn: U64,
    pub(crate) watermark: U64,
    pub(crate) previous_end: U64,
    pub(crate) first_live: U32,
    pub(crate) record_count: U32,
    pub(crate) wall_clock_ms: U64,
    pub(crate) body_bytes: U32,
    pub(crate) crc: U32,
}

/// First bytes of a record; `meta`, the part table and the parts follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawRecordHeader {
    pub(crate) crc: U32,
    pub(crate) length: U32,
    pub(crate) meta_bytes: U32,
    pub(crate) part_count: U32,
    pub(crate) footer_bytes: U32,
    pub(crate) class: u8,
    pub(crate) flags: u8,
    pub(crate) reserved: U16,
}

/// One entry of a record's part table.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawPart {
    pub(crate) length: U32,
    pub(crate) crc: U32,
}

/// The last bytes of a footer group, by which readers find the footer from its end.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawFooterTail {
    pub(crate) magic: [u8; 4],
    pub(crate) group_offset: U32,
    pub(crate) index_bytes: U32,
    pub(crate) crc: U32,
}

/// Size of the structure in the identity file, in bytes.
pub const IDENTITY_BYTES: usize = size_of::<RawIdentity>();
/// Size of the provider's structure in bytes.
pub const PROVIDER_BYTES: usize = size_of::<RawProvider>();
/// Size of the header of a checkpoint's manifest in bytes.
pub const CHECKPOINT_HEADER_BYTES: usize = size_of::<RawCheckpoint>();
/// Size of a segment's entry in a checkpoint's manifest in bytes.
pub const CHECKPOINT_SEGMENT_BYTES: usize = size_of::<RawCheckpointSegment>();
/// Size of another file's entry in a checkpoint's manifest in bytes.
pub const CHECKPOINT_ENTRY_BYTES: usize = size_of::<RawCheckpointFile>();
/// Size of the structure in the file `CLOSED`, in bytes.
pub const CLOSED_BYTES: usize = size_of::<RawClosed>();
/// Size of a segment header, in bytes.
pub const SEGMENT_HEADER_BYTES: usize = size_of::<RawSegmentHeader>();
/// Size of a group header, in bytes.
pub const GROUP_HEADER_BYTES: usize = size_of::<RawGroupHeader>();
/// Size of a record header, in bytes.
pub const RECORD_HEADER_BYTES: usize = size_of::<RawRecordHeader>();
/// Size of an entry of a part table, in bytes.
pub const PART_BYTES: usize = size_of::<RawPart>();
/// Size of the tail of a footer, in bytes.
pub const FOOTER_TAIL_BYTES: usize = size_of::<RawFooterTail>();

const _: () = assert!(IDENTITY_BYTES == 64 && std::mem::offset_of!(RawIdentity, crc) == 60);
const _: () = assert!(PROVIDER_BYTES == 64 && std::mem::offset_of!(RawProvider, crc) == 60);
const _: () = assert!(CHECKPOINT_HEADER_BYTES == 176 && std::mem::offset_of!(RawCheckpoint, crc) == 172);
const _: () = assert!(CHECKPOINT_SEGMENT_BYTES == 64 && CHECKPOINT_ENTRY_BYTES == 48);
const _: () = assert!(CLOSED_BYTES == 48 && std::mem::offset_of!(RawClosed, crc) == 44);
const _: () = assert!(SEGMENT_HEADER_BYTES == 64 && std::mem::offset_of!(RawSegmentHeader, crc) == 60);
const _: () = assert!(GROUP_HEADER_BYTES == 64 && std::mem::offset_of!(RawGroupHeader, crc) == 60);
const _: () = assert!(RECORD_HEADER_BYTES == 24 && std::mem::offset_of!(RawRecordHeader, crc) == 0);
const _: () = assert!(PART_BYTES == 8 && FOOTER_TAIL_BYTES == 16);
// Headers are old or new after a crash, never torn: each is inside one sector.
const _: () = assert!(GROUP_HEADER_BYTES <= SECTOR_BYTES as usize);
// Records after the group header start aligned.
const _: () = assert!(GROUP_HEADER_BYTES.is_multiple_of(RECORD_ALIGN as usize));

/// One field of a structure: its location and length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Name of the structure in `docs/format.md`.
    pub structure: &'static str,
    /// Name of the field.
    pub name: &'static str,
    /// Offset from the structure's first byte, in bytes.
    pub offset: usize,
    /// Length in bytes.
    pub bytes: usize,
}

macro_rules! fields {
    ($($structure:literal, $type:ty: $($field:ident)*;)*) => {
        /// Every field of every structure, in order, as the compiler lays them out.
        pub const FIELDS: &[Field] = &[$($(Field {
            structure: $structure,
            name: stringify!($field),
            offset: std::mem::offset_of!($type, $field),
            bytes: {
                const fn width<T, F>(_: fn(&T) -> &F) -> usize {
                    size_of::<F>()
                }
                width(|s: &$type| &s.$field)
            },
        },)*)*];
    };
}

fields! {
    "Identity", RawIdentity:
        magic version block_bytes uuid incompatible read_only_compatible created_ms reserved crc;
    "Provider", RawProvider: name reserved crc;
    "Checkpoint header", RawCheckpoint:
        magic version block_bytes uuid incompatible read_only_compatible end first_live segments files names_bytes
        created_ms base provider body_crc crc;
    "Checkpoint segment", RawCheckpointSegment: sequence end salt file_bytes reserved digest;
    "Checkpoint file", RawCheckpointFile: bytes name_bytes reserved reserved2 digest;
    "Closed", RawClosed:
        magic version reserved uuid end reserved2 crc;
    "Segment header", RawSegmentHeader:
        magic version block_bytes uuid salt sequence first_live file_bytes prior reserved reach_blocks crc;
    "Group header", RawGroupHeader:
        magic kind flags reserved salt lsn watermark previous_end first_live record_count wall_clock_ms
        body_bytes crc;
    "Record header", RawRecordHeader:
        crc length meta_bytes part_count footer_bytes class flags reserved;
    "Part", RawPart: length crc;
    "Footer tail", RawFooterTail: magic group_offset index_bytes crc;
}
