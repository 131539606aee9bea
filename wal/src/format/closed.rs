//! Encodes and decodes the file `CLOSED`, which a clean close writes: one block that records where the log ended.

use super::checksum::crc;
use super::layout::{
    BLOCK_BYTES_MAX, CLOSED_BYTES, CLOSED_MAGIC, FORMAT_VERSION, IDENTITY_FILE_BYTES, RawClosed,
};
use crate::types::Lsn;
use std::fmt;
use zerocopy::{FromBytes, IntoBytes};

/// Contents of the file `CLOSED`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closed {
    /// Identity of the log.
    pub uuid: [u8; 16],
    /// End of the log at the close: everything below it was durable.
    pub end: Lsn,
}

/// Why a file `CLOSED` is ignored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClosedFault {
    /// The file cannot be read.
    Unreadable,
    /// The file does not have the length that a close gives it.
    Size,
    /// The file does not start with its magic bytes.
    Magic,
    /// The file has this version of the format, which is not supported.
    Version(u32),
    /// The checksum does not match, or bytes after the structure are not zero.
    Checksum,
    /// The file belongs to another log.
    Foreign,
}

impl fmt::Display for ClosedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClosedFault::Unreadable => write!(f, "it cannot be read"),
            ClosedFault::Size => write!(f, "it has a length that no close gives it"),
            ClosedFault::Magic => write!(f, "it does not start as one"),
            ClosedFault::Version(version) => write!(f, "it is of version {version} of the format"),
            ClosedFault::Checksum => write!(f, "its checksum does not match"),
            ClosedFault::Foreign => write!(f, "it is another log's"),
        }
    }
}

impl Closed {
    /// Encodes the start of the file; the caller writes zeros after it up to the end of the first block.
    pub fn encode(&self) -> [u8; IDENTITY_FILE_BYTES] {
        let mut raw = RawClosed {
            magic: CLOSED_MAGIC,
            version: FORMAT_VERSION.into(),
            reserved: 0.into(),
            uuid: self.uuid,
            end: self.end.as_u64().into(),
            reserved2: 0.into(),
            crc: 0.into(),
        };
        raw.crc = crc(&raw.as_bytes()[..CLOSED_BYTES - 4]).into();
        let mut file = [0; IDENTITY_FILE_BYTES];
        file[..CLOSED_BYTES].copy_from_slice(raw.as_bytes());
        file
    }

    /// Decodes a whole file.
    pub fn decode(file: &[u8]) -> Result<Closed, ClosedFault> {
        let whole = (IDENTITY_FILE_BYTES..=BLOCK_BYTES_MAX as usize).contains(&file.len());
        if !whole || !file.len().is_power_of_two() {
            return Err(ClosedFault::Size);
        }
        let (raw, rest) = RawClosed::ref_from_prefix(file).map_err(|_| ClosedFault::Size)?;
        if raw.magic != CLOSED_MAGIC {
            return Err(ClosedFault::Magic);
        }
        if raw.version.get() != FORMAT_VERSION {
            return Err(ClosedFault::Version(raw.version.get()));
        }
        if crc(&file[..CLOSED_BYTES - 4]) != raw.crc.get() || rest.iter().any(|&b| b != 0) {
            return Err(ClosedFault::Checksum);
        }
        Ok(Closed { uuid: raw.uuid, end: Lsn::from_u64(raw.end.get()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_every_flipped_bit() {
        let closed = Closed { uuid: [7; 16], end: Lsn::new(3, 8192) };
        let file = closed.encode();
        assert_eq!(Closed::decode(&file), Ok(closed));
        for bit in 0..file.len() * 8 {
            let mut bad = file;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Closed::decode(&bad).is_err(), "bit {bit}");
        }
        assert_eq!(Closed::decode(&file[..100]), Err(ClosedFault::Size));
    }
}
