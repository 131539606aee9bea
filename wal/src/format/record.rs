//! Encodes and decodes the record, the atomic unit that a caller appends.
//!
//! A record is a header, `meta` and a part table under one checksum, followed by the parts, each with its own
//! checksum, so that one part can be read and checked alone. [`RecordBuilder`] builds a record and computes its
//! checksums on the caller's thread; [`RecordRef`] is a record that was read. Decoding checks every length before it
//! uses it (INV-9).

use super::checksum::{crc, crc_of, seed};
use super::layout::{PART_BYTES, RECORD_HEADER_BYTES, RawPart, RawRecordHeader};
use crate::types::{Durability, Lsn, len32};
use zerocopy::{FromBytes, IntoBytes};

/// One record under construction; can be reused without allocating again.
///
/// One thread fills it, then passes it to `append` by reference.
#[derive(Debug, Clone, Default)]
pub struct RecordBuilder {
    meta: Vec<u8>,
    table: Vec<u8>,
    parts: Vec<u8>,
    footer_bytes: u32,
}

/// Location of a part in its segment file, and the CRC-32C of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartInfo {
    /// Byte offset in the segment file.
    pub offset: u32,
    /// Length in bytes.
    pub length: u32,
    /// CRC-32C of the part's bytes.
    pub crc: u32,
}

impl RecordBuilder {
    /// An empty record.
    pub fn new() -> RecordBuilder {
        RecordBuilder::default()
    }

    /// Empties the record and keeps the allocations.
    pub fn clear(&mut self) {
        self.meta.clear();
        self.table.clear();
        self.parts.clear();
        self.footer_bytes = 0;
    }

    /// The caller's own bytes about the record: a description of the parts, and data that needs no part.
    pub fn meta(&mut self) -> &mut Vec<u8> {
        &mut self.meta
    }

    /// Adds one payload part and computes its checksum.
    pub fn push_part(&mut self, bytes: &[u8]) {
        let part = RawPart { length: len32(bytes.len()).into(), crc: crc(bytes).into() };
        self.table.extend_from_slice(part.as_bytes());
        self.parts.extend_from_slice(bytes);
    }

    /// The bytes of all parts, concatenated as in the record.
    pub fn payload(&self) -> &[u8] {
        &self.parts
    }

    /// Number of parts.
    pub fn part_count(&self) -> usize {
        self.table.len() / PART_BYTES
    }

    /// Length of part `i` in bytes; 0 if there is none.
    pub fn part_len(&self, i: usize) -> u32 {
        self.part(i).map_or(0, |p| p.length.get())
    }

    /// CRC-32C of part `i`; 0 if there is none.
    pub fn part_crc(&self, i: usize) -> u32 {
        self.part(i).map_or(0, |p| p.crc.get())
    }

    /// Distance in bytes from the record's first byte to part 0; the parts follow each other without gaps.
    pub fn first_part_offset(&self) -> u32 {
        len32(RECORD_HEADER_BYTES + self.meta.len() + self.table.len())
    }

    /// Length of the record on disk, in bytes.
    pub fn encoded_len(&self) -> usize {
        RECORD_HEADER_BYTES + self.meta.len() + self.table.len() + self.parts.len()
    }

    /// Sets how many bytes the record adds to the footer of its segment. The log keeps room for them in the segment.
    pub fn set_footer_bytes(&mut self, bytes: u32) {
        self.footer_bytes = bytes;
    }

    /// Bytes that the record adds to the footer of its segment; see [`RecordBuilder::set_footer_bytes`].
    pub fn footer_bytes(&self) -> u32 {
        self.footer_bytes
    }

    /// The current contents of `meta`.
    pub fn meta_bytes(&self) -> &[u8] {
        &self.meta
    }

    /// The locations of the parts if the record starts at byte `offset` of its segment.
    pub fn part_infos(&self, offset: u32) -> impl Iterator<Item = PartInfo> {
        places(&self.table, offset.saturating_add(self.first_part_offset()))
    }

    /// The record's header, without its checksum.
    fn header(&self, class: Durability) -> RawRecordHeader {
        RawRecordHeader {
            crc: 0.into(),
            length: len32(self.encoded_len()).into(),
            meta_bytes: len32(self.meta.len()).into(),
            part_count: len32(self.part_count()).into(),
            footer_bytes: self.footer_bytes.into(),
            class: match class {
                Durability::Sync => 0,
                Durability::Lazy => 1,
            },
            flags: 0,
            reserved: 0.into(),
        }
    }

    /// Checksum of header, `meta` and table, before it is tied to a position. Reads all of them once.
    pub fn head_crc(&self, class: Durability) -> u32 {
        let header = self.header(class);
        crc_of([&header.as_bytes()[4..], &self.meta, &self.table])
    }

    /// Hands the record's bytes to `put` in order, with the checksum `head_crc` tied to `salt` and `lsn`.
    pub fn emit(&self, class: Durability, head_crc: u32, salt: u64, lsn: Lsn, put: &mut dyn FnMut(&[u8])) {
        let mut header = self.header(class);
        header.crc = (head_crc ^ seed(salt, lsn)).into();
        put(header.as_bytes());
        put(&self.meta);
        put(&self.table);
        put(&self.parts);
    }

    /// [`RecordBuilder::head_crc`] and [`RecordBuilder::emit`] in one call.
    pub fn encode_into(&self, class: Durability, salt: u64, lsn: Lsn, put: &mut dyn FnMut(&[u8])) {
        self.emit(class, self.head_crc(class), salt, lsn, put);
    }

    fn part(&self, i: usize) -> Option<RawPart> {
        let at = i.checked_mul(PART_BYTES)?;
        RawPart::read_from_bytes(self.table.get(at..at + PART_BYTES)?).ok()
    }
}

/// The parts of `table`, laid out from byte `offset` on.
fn places(table: &[u8], mut offset: u32) -> impl Iterator<Item = PartInfo> {
    table.chunks_exact(PART_BYTES).filter_map(move |raw| {
        let raw = RawPart::read_from_bytes(raw).ok()?;
        let info = PartInfo { offset, length: raw.length.get(), crc: raw.crc.get() };
        offset = offset.saturating_add(info.length);
        Some(info)
    })
}

/// Why a record is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordFault {
    /// A length points outside of the group, or the lengths contradict each other.
    Length,
    /// The checksum of header, `meta` and part table does not match.
    Checksum,
    /// The durability or a flag has a value that the format does not define.
    Field,
    /// The checksum of the part with this number does not match.
    Part(u32),
}

/// One record in memory. Its header, `meta` and part table were checked; parts are checked on request.
#[derive(Clone, Debug)]
pub struct RecordRef<'a> {
    lsn: Lsn,
    class: Durability,
    footer_bytes: u32,
    meta: &'a [u8],
    table: &'a [u8],
    parts: &'a [u8],
}

/// Decodes the record at byte `at` of `group`, whose position in the log is `lsn`. Checks header, `meta`, table and
/// the lengths of the parts, but not the contents of the parts.
pub fn record_at(group: &[u8], at: usize, salt: u64, lsn: Lsn) -> Result<RecordRef<'_>, RecordFault> {
    let bytes = group.get(at..).ok_or(RecordFault::Length)?;
    let (raw, _) = RawRecordHeader::ref_from_prefix(bytes).map_err(|_| RecordFault::Length)?;
    let (length, meta) = (raw.length.get() as usize, raw.meta_bytes.get() as usize);
    let bytes = bytes.get(..length).ok_or(RecordFault::Length)?;
    let table = (raw.part_count.get() as usize).checked_mul(PART_BYTES).ok_or(RecordFault::Length)?;
    let meta_end = RECORD_HEADER_BYTES.checked_add(meta).ok_or(RecordFault::Length)?;
    let table_end = meta_end.checked_add(table).ok_or(RecordFault::Length)?;
    if table_end > length {
        return Err(RecordFault::Length);
    }
    if crc(&bytes[4..table_end]) ^ seed(salt, lsn) != raw.crc.get() {
        return Err(RecordFault::Checksum);
    }
    let class = match (raw.class, raw.flags, raw.reserved.get()) {
        (0, 0, 0) => Durability::Sync,
        (1, 0, 0) => Durability::Lazy,
        _ => return Err(RecordFault::Field),
    };
    let record = RecordRef {
        lsn,
        class,
        footer_bytes: raw.footer_bytes.get(),
        meta: &bytes[RECORD_HEADER_BYTES..meta_end],
        table: &bytes[meta_end..table_end],
        parts: &bytes[table_end..],
    };
    let sum: u64 = record.part_infos().map(|p| u64::from(p.length)).sum();
    if sum != record.parts.len() as u64 {
        return Err(RecordFault::Length);
    }
    Ok(record)
}

impl<'a> RecordRef<'a> {
    /// Position of its first byte.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The durability with which it was appended.
    pub fn class(&self) -> Durability {
        self.class
    }

    /// Bytes that it adds to its segment's footer.
    pub fn footer_bytes(&self) -> u32 {
        self.footer_bytes
    }

    /// The caller's own bytes about the record.
    pub fn meta(&self) -> &'a [u8] {
        self.meta
    }

    /// Length of the record on disk in bytes, without alignment.
    #[expect(clippy::len_without_is_empty, reason = "a record has a header, so it is never empty")]
    pub fn len(&self) -> usize {
        RECORD_HEADER_BYTES + self.meta.len() + self.table.len() + self.parts.len()
    }

    /// Number of parts.
    pub fn part_count(&self) -> usize {
        self.table.len() / PART_BYTES
    }

    /// Locations of the parts in the segment file.
    pub fn part_infos(&self) -> impl Iterator<Item = PartInfo> + use<'a> {
        let head = len32(RECORD_HEADER_BYTES + self.meta.len() + self.table.len());
        places(self.table, self.lsn.offset().saturating_add(head))
    }

    /// The parts with their locations and bytes.
    pub fn parts(&self) -> impl Iterator<Item = (PartInfo, &'a [u8])> + use<'a> {
        let mut rest = self.parts;
        self.part_infos().map(move |info| {
            let (part, tail) = rest.split_at((info.length as usize).min(rest.len()));
            rest = tail;
            (info, part)
        })
    }

    /// Checks the contents of every part.
    pub fn check_parts(&self) -> Result<(), RecordFault> {
        self.find_bad_parts().next().map_or(Ok(()), |part| Err(RecordFault::Part(part)))
    }

    /// Numbers of the parts that fail their checksum.
    pub fn bad_parts(&self) -> Vec<u32> {
        self.find_bad_parts().collect()
    }

    fn find_bad_parts(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.parts().enumerate().filter(|(_, (info, bytes))| crc(bytes) != info.crc).map(|(i, _)| len32(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(lsn: Lsn) -> (RecordBuilder, Vec<u8>) {
        let mut batch = RecordBuilder::new();
        batch.meta().extend(b"about");
        batch.push_part(b"first");
        batch.push_part(b"");
        batch.push_part(&[9; 300]);
        batch.set_footer_bytes(40);
        let mut bytes = Vec::new();
        batch.encode_into(Durability::Lazy, 1, lsn, &mut |b| bytes.extend(b));
        (batch, bytes)
    }

    #[test]
    fn round_trip() {
        let lsn = Lsn::new(1, 4096 + 64);
        let (batch, bytes) = encoded(lsn);
        assert_eq!(bytes.len(), batch.encoded_len());
        let record = record_at(&bytes, 0, 1, lsn).unwrap();
        assert_eq!(
            (record.meta(), record.class(), record.footer_bytes()),
            (&b"about"[..], Durability::Lazy, 40)
        );
        assert_eq!(record.check_parts(), Ok(()));
        let parts: Vec<&[u8]> = record.parts().map(|(_, b)| b).collect();
        assert_eq!(parts, [&b"first"[..], &b""[..], &[9; 300][..]]);
        let infos: Vec<_> = record.part_infos().collect();
        assert_eq!(infos, batch.part_infos(lsn.offset()).collect::<Vec<_>>());
        assert_eq!(infos[0].offset, lsn.offset() + batch.first_part_offset());
        assert_eq!(&bytes[batch.first_part_offset() as usize..][..5], b"first");
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let lsn = Lsn::new(1, 4096);
        let (_, bytes) = encoded(lsn);
        for field in [4, 8, 12] {
            for value in [0u32, 1, 23, 24, 1 << 29, u32::MAX] {
                let mut bad = bytes.clone();
                bad[field..field + 4].copy_from_slice(&value.to_le_bytes());
                assert!(record_at(&bad, 0, 1, lsn).is_err(), "{field} = {value}");
            }
        }
        for len in 0..bytes.len() {
            assert!(record_at(&bytes[..len], 0, 1, lsn).is_err());
        }
        assert!(record_at(&bytes, bytes.len() + 1, 1, lsn).is_err());
    }

    #[test]
    fn a_rotten_part_is_named_and_the_others_stay_readable() {
        let lsn = Lsn::new(1, 4096);
        let (batch, mut bytes) = encoded(lsn);
        let at = batch.first_part_offset() as usize + 5 + 100;
        bytes[at] ^= 1;
        let record = record_at(&bytes, 0, 1, lsn).unwrap();
        assert_eq!(record.check_parts(), Err(RecordFault::Part(2)));
        assert_eq!(record.parts().next().unwrap().1, b"first");
    }
}
