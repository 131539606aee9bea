//! The opening of a snapshot: header, conf state, metadata and their checksum.

use crate::format::fault::{Fault, crc, structure, within};
use crate::format::layout::{
    BODY_BYTES_MAX, CHUNK_LIMIT_MAX, CHUNK_LIMIT_MIN, CRC_BYTES, HEADER_BYTES, RawHeader, SNAPSHOT_MAGIC,
    VERSION,
};
use crate::types::SnapshotId;
use zerocopy::{FromBytes, IntoBytes};

/// The start of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The snapshot.
    pub id: SnapshotId,
    /// Size of the conf state, in bytes.
    pub conf_state_bytes: u32,
    /// Size of the user's metadata, in bytes.
    pub metadata_bytes: u32,
    /// Maximum size of a chunk, in bytes of content.
    pub chunk_bytes_max: u32,
}

impl Header {
    fn check(&self) -> Result<(), Fault> {
        if self.id.index == 0 {
            return Err(Fault::IndexZero);
        }
        within("conf_state_bytes", self.conf_state_bytes, 0, BODY_BYTES_MAX)?;
        within("metadata_bytes", self.metadata_bytes, 0, BODY_BYTES_MAX)?;
        within("chunk_bytes_max", self.chunk_bytes_max, CHUNK_LIMIT_MIN, CHUNK_LIMIT_MAX)
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut raw = RawHeader {
            magic: SNAPSHOT_MAGIC,
            version: VERSION.into(),
            flags: 0.into(),
            group: self.id.group.into(),
            index: self.id.index.into(),
            term: self.id.term.into(),
            conf_state_bytes: self.conf_state_bytes.into(),
            metadata_bytes: self.metadata_bytes.into(),
            chunk_bytes_max: self.chunk_bytes_max.into(),
            crc: 0.into(),
        };
        raw.crc = crc(&raw.as_bytes()[..HEADER_BYTES - CRC_BYTES]).into();
        zerocopy::transmute!(raw)
    }

    /// Decodes the header at the start of `bytes`. The version is checked before the checksum, because a later
    /// version may use another checksum.
    ///
    /// # Errors
    /// [`Fault::Version`] for another version of the format; otherwise the fault that was found.
    pub fn decode(bytes: &[u8]) -> Result<Header, Fault> {
        if let Ok((raw, _)) = RawHeader::ref_from_prefix(bytes)
            && raw.magic == SNAPSHOT_MAGIC
            && raw.version.get() != VERSION
        {
            // Unless this version wrote the header and its version field is damaged, which the checksum shows.
            let meant = RawHeader { version: VERSION.into(), ..*raw };
            let damaged = crc(&meant.as_bytes()[..HEADER_BYTES - CRC_BYTES]) == raw.crc.get();
            return Err(if damaged { Fault::Checksum } else { Fault::Version { found: raw.version.get() } });
        }
        let raw: RawHeader = structure(bytes, &SNAPSHOT_MAGIC, |raw: &RawHeader| raw.crc)?;
        if raw.flags.get() != 0 {
            return Err(Fault::Flags { flags: raw.flags.get() });
        }
        let header = Header {
            id: SnapshotId { group: raw.group.get(), index: raw.index.get(), term: raw.term.get() },
            conf_state_bytes: raw.conf_state_bytes.get(),
            metadata_bytes: raw.metadata_bytes.get(),
            chunk_bytes_max: raw.chunk_bytes_max.get(),
        };
        header.check()?;
        Ok(header)
    }

    /// Bytes before the first chunk: header, conf state, metadata and their checksum.
    pub fn opening_bytes(&self) -> usize {
        HEADER_BYTES + self.conf_state_bytes as usize + self.metadata_bytes as usize + CRC_BYTES
    }

    /// Returns conf state and metadata of `opening`, which is everything before the first chunk, including this
    /// header.
    ///
    /// # Errors
    /// [`Fault`] if the length or the checksum is wrong, or the opening belongs to another header.
    pub fn split_opening<'a>(&self, opening: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Fault> {
        let wrong = Fault::Length { expected: self.opening_bytes(), found: opening.len() };
        if opening.len() != self.opening_bytes() {
            return Err(wrong);
        }
        let (covered, stored) = opening.split_last_chunk::<CRC_BYTES>().ok_or(wrong)?;
        if crc(covered) != u32::from_le_bytes(*stored) || !covered.starts_with(&self.encode()) {
            return Err(Fault::Checksum);
        }
        Ok(covered[HEADER_BYTES..].split_at(self.conf_state_bytes as usize))
    }
}

/// Encodes everything before the first chunk of a snapshot.
///
/// # Errors
/// [`Fault`] if a value is out of range.
pub fn encode_opening(
    id: SnapshotId,
    chunk_bytes_max: u32,
    conf_state: &[u8],
    metadata: &[u8],
) -> Result<Vec<u8>, Fault> {
    let narrow = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (conf_state_bytes, metadata_bytes) = (narrow(conf_state), narrow(metadata));
    let header = Header { id, conf_state_bytes, metadata_bytes, chunk_bytes_max };
    header.check()?;
    let mut opening = Vec::with_capacity(header.opening_bytes());
    opening.extend_from_slice(&header.encode());
    opening.extend_from_slice(conf_state);
    opening.extend_from_slice(metadata);
    let sum = crc(&opening);
    opening.extend_from_slice(&sum.to_le_bytes());
    Ok(opening)
}
