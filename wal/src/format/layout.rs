//! The structures of the format as bytes: one `repr(C)` type each, little-endian, without padding.
//! Offsets and sizes are asserted when the crate is compiled; a test holds `docs/format.md` to them.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of the format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Smallest unit that a medium tears: a sector in flight at a crash is old or new.
pub const SECTOR_BYTES: u32 = 512;

/// Smallest and largest block size, in bytes.
pub const BLOCK_BYTES_MIN: u32 = 4096;
/// See [`BLOCK_BYTES_MIN`].
pub const BLOCK_BYTES_MAX: u32 = 65536;

/// Size of the identity file, in bytes: one smallest block, zeros behind the structure.
pub const IDENTITY_FILE_BYTES: usize = 4096;

/// Records start on multiples of this many bytes, counted from the segment's start.
pub const RECORD_ALIGN: u32 = 8;

/// First bytes of the identity file.
pub const IDENTITY_MAGIC: [u8; 8] = *b"SEAWALID";
/// First bytes of the file of a clean close.
pub const CLOSED_MAGIC: [u8; 8] = *b"SEAWALCL";
/// First bytes of every segment file.
pub const SEGMENT_MAGIC: [u8; 8] = *b"SEAWALSG";
/// First bytes of every group.
pub const GROUP_MAGIC: [u8; 4] = *b"SWGR";
/// First bytes of the tail that ends a footer group.
pub const FOOTER_MAGIC: [u8; 4] = *b"SWFT";

/// File `IDENTITY`: who the log is and what reading it takes.
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

/// Block 0 of a segment; never changes while the file has its name.
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

/// The last bytes of a footer group, so that the footer is found from the segment's end.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct RawFooterTail {
    pub(crate) magic: [u8; 4],
    pub(crate) group_offset: U32,
    pub(crate) index_bytes: U32,
    pub(crate) crc: U32,
}

/// Sizes of the structures, in bytes.
pub const IDENTITY_BYTES: usize = size_of::<RawIdentity>();
/// See [`IDENTITY_BYTES`].
pub const CLOSED_BYTES: usize = size_of::<RawClosed>();
/// See [`IDENTITY_BYTES`].
pub const SEGMENT_HEADER_BYTES: usize = size_of::<RawSegmentHeader>();
/// See [`IDENTITY_BYTES`].
pub const GROUP_HEADER_BYTES: usize = size_of::<RawGroupHeader>();
/// See [`IDENTITY_BYTES`].
pub const RECORD_HEADER_BYTES: usize = size_of::<RawRecordHeader>();
/// See [`IDENTITY_BYTES`].
pub const PART_BYTES: usize = size_of::<RawPart>();
/// See [`IDENTITY_BYTES`].
pub const FOOTER_TAIL_BYTES: usize = size_of::<RawFooterTail>();

const _: () = assert!(IDENTITY_BYTES == 64 && std::mem::offset_of!(RawIdentity, crc) == 60);
const _: () = assert!(CLOSED_BYTES == 48 && std::mem::offset_of!(RawClosed, crc) == 44);
const _: () = assert!(SEGMENT_HEADER_BYTES == 64 && std::mem::offset_of!(RawSegmentHeader, crc) == 60);
const _: () = assert!(GROUP_HEADER_BYTES == 64 && std::mem::offset_of!(RawGroupHeader, crc) == 60);
const _: () = assert!(RECORD_HEADER_BYTES == 24 && std::mem::offset_of!(RawRecordHeader, crc) == 0);
const _: () = assert!(PART_BYTES == 8 && FOOTER_TAIL_BYTES == 16);
// Headers are old or new, never half: each lies in one sector.
const _: () = assert!(GROUP_HEADER_BYTES <= SECTOR_BYTES as usize);
// Records after the group header start aligned.
const _: () = assert!(GROUP_HEADER_BYTES.is_multiple_of(RECORD_ALIGN as usize));

/// One field of a structure: where it lies and how long it is, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Name of the structure in `docs/format.md`.
    pub structure: &'static str,
    /// Name of the field.
    pub name: &'static str,
    /// Offset from the structure's first byte.
    pub offset: usize,
    /// Length.
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
