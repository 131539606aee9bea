//! Tests the structures in memory: record, group and footer.
//!
//! Any bytes decode to a value or to a refusal (INV-9), a decoded value encodes to the same bytes, and every flipped
//! bit is detected.

use super::choices::Choices;
use crate::format::layout::{FOOTER_TAIL_BYTES, GROUP_HEADER_BYTES, RECORD_ALIGN, RECORD_HEADER_BYTES};
use crate::format::layout::{PART_BYTES, RawFooterTail, RawGroupHeader, RawPart, RawRecordHeader};
use crate::format::{
    GroupHeader, RecordBuilder, RecordFault, RecordRef, checksum, close_footer, is_head, read_tail,
    record_at, tail_bytes,
};
use crate::recovery::scan::records;
use crate::types::{Durability, GroupKind, Lsn, len32};
use zerocopy::{FromBytes, IntoBytes};

const SALT: u64 = 0x5EA3_A115_A17E_D001;
const BLOCK: u32 = 4096;

/// Flags in an input's first byte.
pub(super) const REPAIR: u8 = 1;
const REPAIR_PARTS: u8 = 2;
pub(super) const BUILT: u8 = 4;

/// Tests one record. Input: flags, the bit to flip, then the record's bytes, or choices from which one is built and
/// damaged.
pub fn record(data: &[u8]) {
    let Some((flags, bit, body)) = opening(data) else { return };
    let at = Lsn::new(3, BLOCK + len32(GROUP_HEADER_BYTES));
    let mut bytes = body.to_vec();
    if flags & BUILT != 0 {
        bytes.clear();
        let mut choices = Choices::from_bytes(body);
        let (batch, class) = batch(&mut choices);
        batch.encode_into(class, SALT, at, &mut |b| bytes.extend_from_slice(b));
        assert_eq!(bytes.len(), batch.encoded_len());
        let found = record_at(&bytes, 0, SALT, at).expect("what was encoded");
        assert_eq!((found.meta(), found.class()), (batch.meta_bytes(), class));
        assert_eq!(found.footer_bytes(), batch.footer_bytes());
        assert!(found.part_infos().eq(batch.part_infos(at.offset())));
        edit(&mut choices, &mut bytes);
    }
    if flags & REPAIR != 0 {
        repair_record(&mut bytes, at, flags & REPAIR_PARTS != 0);
    }
    let Ok(found) = record_at(&bytes, 0, SALT, at) else { return };
    check_record(&found, &bytes, at);
    let len = found.len();
    assert!(record_at(&bytes[..len - 1], 0, SALT, at).is_err(), "cut short");
    assert!(record_at(&bytes, 0, SALT, Lsn::new(3, at.offset() + BLOCK)).is_err(), "at another place");
    assert!(record_at(&bytes, 0, SALT + 1, at).is_err(), "of another incarnation");
    let byte = usize::from(bit) / 8 % len;
    if found.check_parts().is_ok() && !says_what_is_covered(byte) {
        bytes[byte] ^= 1 << (bit % 8);
        let valid = record_at(&bytes, 0, SALT, at).is_ok_and(|found| found.check_parts().is_ok());
        assert!(!valid, "bit {} of byte {byte} flipped unnoticed", bit % 8);
    }
}

/// Tests one group. Input: flags, the bit to flip, then the group's bytes, or choices from which one is built and
/// damaged.
pub fn group(data: &[u8]) {
    let Some((flags, bit, body)) = opening(data) else { return };
    let lsn = Lsn::new(3, 5 * BLOCK);
    let mut bytes = body.to_vec();
    if flags & BUILT != 0 {
        let mut choices = Choices::from_bytes(body);
        bytes = build_group(&mut choices, lsn);
        let header = GroupHeader::decode(&bytes, SALT, lsn).expect("what was encoded");
        assert_eq!(header.check(SALT, &bytes), Ok(()));
        edit(&mut choices, &mut bytes);
    }
    if flags & REPAIR != 0 {
        repair_group(&mut bytes, lsn, flags & REPAIR_PARTS != 0);
    }
    let header = GroupHeader::decode(&bytes, SALT, lsn);
    assert_eq!(header.is_some(), is_head(&bytes, SALT, lsn));
    let Some(header) = header else { return };
    let mut again = vec![0; GROUP_HEADER_BYTES];
    header.encode(SALT, &mut again);
    assert_eq!(again, bytes[..GROUP_HEADER_BYTES], "one encoding per header");
    assert!(header.watermark <= lsn && header.previous_end.segment() < lsn.segment());
    assert!(header.first_live <= lsn.segment());
    assert!(!is_head(&bytes, SALT, Lsn::new(3, 6 * BLOCK)) && !is_head(&bytes, SALT + 1, lsn));
    // Like the scanner, do not check a group that claims more bytes than there are.
    let Some(length) = header.disk_bytes(BLOCK) else { return };
    assert!(length.is_multiple_of(BLOCK) && length as usize >= GROUP_HEADER_BYTES);
    bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
    let Some(whole) = bytes.get_mut(..length as usize) else { return };
    if header.check(SALT, whole).is_err() {
        return;
    }
    let byte = usize::from(bit) % whole.len();
    let mut covered = false;
    let mut end = GROUP_HEADER_BYTES;
    let mut count = 0;
    for found in records(&header, SALT, whole) {
        let at = (found.lsn().offset() - lsn.offset()) as usize;
        assert!(at >= end && at - end < RECORD_ALIGN as usize && whole[end..at].iter().all(|&b| b == 0));
        check_record(&found, &whole[at..], found.lsn());
        assert_eq!(found.check_parts(), Ok(()));
        end = at + found.len();
        covered |= (at..end).contains(&byte) && says_what_is_covered(byte - at);
        count += 1;
    }
    assert_eq!(count, header.record_count, "records of a valid group");
    assert!(whole[end..].iter().all(|&b| b == 0), "padding of a valid group");
    if !covered {
        whole[byte] ^= 1 << (bit >> 13);
        let valid = GroupHeader::decode(whole, SALT, lsn).is_some_and(|h| h.check(SALT, whole).is_ok());
        assert!(!valid, "bit {} of byte {byte} flipped unnoticed", bit >> 13);
    }
}

/// Tests the footer. Input: flags, the bit to flip, then an index that becomes a footer, or the bytes of a tail.
pub fn footer(data: &[u8]) {
    let Some((flags, bit, body)) = opening(data) else { return };
    let lsn = Lsn::new(7, 9 * BLOCK);
    if flags & BUILT == 0 {
        let mut tail = body.to_vec();
        let end = Lsn::new(7, 12 * BLOCK);
        if flags & REPAIR != 0
            && let Ok(raw) = RawFooterTail::mut_from_bytes(&mut tail)
        {
            raw.magic = crate::format::layout::FOOTER_MAGIC;
            let sum = checksum::crc(&raw.as_bytes()[..FOOTER_TAIL_BYTES - 4]);
            raw.crc = (sum ^ checksum::seed(SALT, end)).into();
        }
        if let Some(found) = read_tail(&tail, SALT, end) {
            assert_eq!(tail.len(), FOOTER_TAIL_BYTES);
            assert!(found.index_offset() >= found.group_offset);
            // Whatever length it claims, computing its space must not overflow.
            _ = tail_bytes(found.index_bytes, BLOCK);
        }
        return;
    }
    let disk_bytes = tail_bytes(len32(body.len()), BLOCK).expect("a short index");
    assert!(disk_bytes.is_multiple_of(BLOCK));
    let batch = close_footer(body.to_vec(), lsn, SALT, BLOCK);
    let (mut bytes, start) = (vec![0; GROUP_HEADER_BYTES], len32(GROUP_HEADER_BYTES));
    let at = Lsn::new(7, lsn.offset() + start);
    batch.encode_into(Durability::Lazy, SALT, at, &mut |b| bytes.extend_from_slice(b));
    let body_bytes = len32(bytes.len()) - start;
    header(GroupKind::Footer, lsn, 1, body_bytes).encode(SALT, &mut bytes);
    assert_eq!(bytes.len(), disk_bytes as usize, "the tail ends the last block");
    let header = GroupHeader::decode(&bytes, SALT, lsn).expect("what was encoded");
    assert_eq!(header.check(SALT, &bytes), Ok(()));
    let end = Lsn::new(7, lsn.offset() + disk_bytes);
    let tail = bytes.len() - FOOTER_TAIL_BYTES;
    let found = read_tail(&bytes[tail..], SALT, end).expect("a tail");
    assert_eq!((found.group_offset, found.index_bytes as usize), (lsn.offset(), body.len()));
    let from = (found.index_offset() - lsn.offset()) as usize;
    assert_eq!(&bytes[from..from + body.len()], body, "the index, where the tail says");
    assert!(read_tail(&bytes[tail..], SALT, lsn).is_none(), "at another place");
    let byte = tail + usize::from(bit) / 8 % FOOTER_TAIL_BYTES;
    bytes[byte] ^= 1 << (bit % 8);
    assert!(read_tail(&bytes[tail..], SALT, end).is_none(), "bit {} of byte {byte}", bit % 8);
    assert!(header.check(SALT, &bytes).is_err());
}

/// Flags, the number of a bit, and the rest.
pub(super) fn opening(data: &[u8]) -> Option<(u8, u16, &[u8])> {
    let (&[flags, low, high], body) = data.split_first_chunk::<3>()?;
    Some((flags, u16::from_le_bytes([low, high]), body))
}

/// Whether a byte of a record's header determines which bytes the checksum covers. Over another range, another 32-bit
/// sum may be right by chance, and a fuzzer that sees the comparison might find one.
fn says_what_is_covered(byte: usize) -> bool {
    (8..16).contains(&byte)
}

/// A record that `choices` determine: up to 300 bytes of `meta` and up to eight parts.
fn batch(choices: &mut Choices<'_>) -> (RecordBuilder, Durability) {
    let mut batch = RecordBuilder::new();
    let meta = choices.index(300);
    batch.meta().extend(choices.bytes(meta));
    for _ in 0..choices.below(9) {
        let len = choices.index(6000);
        // Mostly one byte repeated, so that a short input makes long parts.
        let part = if choices.chance(20) { choices.bytes(len) } else { vec![choices.byte(); len] };
        batch.push_part(&part);
    }
    batch.set_footer_bytes(choices.small(0, 4000));
    (batch, if choices.chance(50) { Durability::Lazy } else { Durability::Sync })
}

/// A valid group of up to six records; a mark if it has none.
fn build_group(choices: &mut Choices<'_>, lsn: Lsn) -> Vec<u8> {
    let mut bytes = vec![0; GROUP_HEADER_BYTES];
    // Bytes that ran out build a mark.
    let count = 6 - choices.small(0, 6);
    for _ in 0..count {
        bytes.resize(bytes.len().next_multiple_of(RECORD_ALIGN as usize), 0);
        let at = Lsn::from_u64(lsn.as_u64() + bytes.len() as u64);
        let (batch, class) = batch(choices);
        batch.encode_into(class, SALT, at, &mut |b| bytes.extend_from_slice(b));
    }
    let kind = if count == 0 { GroupKind::Mark } else { GroupKind::Data };
    header(kind, lsn, count, len32(bytes.len() - GROUP_HEADER_BYTES)).encode(SALT, &mut bytes);
    bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
    bytes
}

fn header(kind: GroupKind, lsn: Lsn, record_count: u32, body_bytes: u32) -> GroupHeader {
    let (watermark, previous_end) = (Lsn::new(lsn.segment(), BLOCK), Lsn::new(lsn.segment() - 1, BLOCK));
    let (first_live, wall_clock_ms) = (1, 1_700_000_000_000);
    GroupHeader { kind, lsn, watermark, previous_end, first_live, record_count, wall_clock_ms, body_bytes }
}

/// Overwrites some of `bytes`.
fn edit(choices: &mut Choices<'_>, bytes: &mut [u8]) {
    while !choices.spent() {
        let at = choices.index(bytes.len());
        let new = choices.byte();
        bytes[at] = new;
    }
}

/// Repairs the checksums of the record at the start of `bytes`, as far as its lengths allow. Returns its length in
/// bytes.
fn repair_record(bytes: &mut [u8], at: Lsn, parts: bool) -> Option<usize> {
    let (raw, _) = RawRecordHeader::ref_from_prefix(bytes).ok()?;
    let (length, meta) = (raw.length.get() as usize, raw.meta_bytes.get() as usize);
    let table = RECORD_HEADER_BYTES.checked_add(meta)?;
    let table_end = table.checked_add((raw.part_count.get() as usize).checked_mul(PART_BYTES)?)?;
    if table_end > length || length > bytes.len() {
        return None;
    }
    let (head, body) = bytes[..length].split_at_mut(table_end);
    if parts {
        let mut rest = &*body;
        for entry in head[table..].chunks_exact_mut(PART_BYTES) {
            let raw = RawPart::mut_from_bytes(entry).ok()?;
            let (part, after) = rest.split_at((raw.length.get() as usize).min(rest.len()));
            raw.crc = checksum::crc(part).into();
            rest = after;
        }
    }
    let sum = checksum::crc(&head[4..]) ^ checksum::seed(SALT, at);
    head[..4].copy_from_slice(&sum.to_le_bytes());
    Some(length)
}

/// Makes the group at the start of `bytes` one of this position, and repairs its checksums.
fn repair_group(bytes: &mut [u8], lsn: Lsn, records: bool) {
    let Ok((raw, _)) = RawGroupHeader::mut_from_prefix(bytes) else { return };
    raw.magic = crate::format::layout::GROUP_MAGIC;
    (raw.salt, raw.lsn) = (SALT.into(), lsn.as_u64().into());
    let sum = checksum::crc(&raw.as_bytes()[..GROUP_HEADER_BYTES - 4]);
    raw.crc = (sum ^ checksum::seed(SALT, lsn)).into();
    let (mut at, count) = (GROUP_HEADER_BYTES, raw.record_count.get());
    for _ in 0..if records { count } else { 0 } {
        let here = Lsn::from_u64(lsn.as_u64() + at as u64);
        let Some(len) = bytes.get_mut(at..).and_then(|b| repair_record(b, here, true)) else { return };
        at = (at + len).next_multiple_of(RECORD_ALIGN as usize);
    }
}

/// Checks the properties of every record that decodes; `bytes` start with it.
fn check_record(found: &RecordRef<'_>, bytes: &[u8], at: Lsn) {
    let len = found.len();
    assert!(len >= RECORD_HEADER_BYTES && len <= bytes.len());
    assert_eq!(found.part_infos().count(), found.part_count());
    let parts: Vec<&[u8]> = found.parts().map(|(_, part)| part).collect();
    let mut offset = u64::from(at.offset()) + (len - parts.iter().map(|p| p.len()).sum::<usize>()) as u64;
    for (info, part) in found.parts() {
        assert_eq!((u64::from(info.offset), info.length as usize), (offset, part.len()));
        offset += part.len() as u64;
    }
    assert_eq!(offset, u64::from(at.offset()) + len as u64, "parts end where the record does");
    let bad = found.bad_parts();
    assert_eq!(found.check_parts(), bad.first().map_or(Ok(()), |&part| Err(RecordFault::Part(part))));
    let mut batch = RecordBuilder::new();
    batch.meta().extend_from_slice(found.meta());
    parts.iter().for_each(|part| batch.push_part(part));
    batch.set_footer_bytes(found.footer_bytes());
    let mut again = Vec::with_capacity(len);
    batch.encode_into(found.class(), SALT, at, &mut |b| again.extend_from_slice(b));
    assert_eq!(again == bytes[..len], bad.is_empty(), "one encoding per record");
}
