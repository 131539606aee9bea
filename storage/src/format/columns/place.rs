//! The place of one payload, as a list has it.

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::types::Location;

/// Largest number of places in a frame.
pub(crate) const FRAME: usize = 64;

/// Place of one payload in its segment.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(crate) struct Place {
    pub(crate) offset: U32,
    pub(crate) length: U32,
    pub(crate) crc: U32,
}

/// Bytes of a place in a list. A frame has no more bytes per place, if gaps occur only between operations; see
/// `footer_bytes`.
pub(crate) const PLACE_BYTES: usize = size_of::<Place>();
const _: () = assert!(PLACE_BYTES == 12);

impl From<&Location> for Place {
    fn from(at: &Location) -> Place {
        Place { offset: at.offset.into(), length: at.length.into(), crc: at.crc.into() }
    }
}

impl Place {
    /// The location of this place in `segment`. `packed` is whether the payload is compressed.
    pub(crate) fn location(&self, segment: u32, packed: bool) -> Location {
        let [offset, length, crc] = [self.offset, self.length, self.crc].map(U32::get);
        Location { segment, offset, length, crc, packed }
    }
}
