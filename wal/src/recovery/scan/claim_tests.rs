//! Tests the scanner on hand-made segments with heads whose claims overlap, valid or not. Compares its results with a
//! scan of a copy in memory that checks every claim, and counts its work.

use super::*;
use crate::damage::Damage;
use crate::format::checksum::{crc, crc_of, seed};
use crate::format::layout::{PART_BYTES, RECORD_HEADER_BYTES};
use crate::format::{RawPart, RawRecordHeader, RecordBuilder, RecordFault};
use crate::options::UnexplainedTail;
use crate::recovery::verdict::{Verdict, decide};
use crate::testing::fuzz::Choices;
use crate::types::Durability;
use seawall_disk::sim::{SimDisk, SimOptions};
use seawall_disk::{Access, Disk, Map};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::IntoBytes;

const BLOCK: u32 = 4096;
const SALT: u64 = 0x5EA;
const UUID: [u8; 16] = [7; 16];

/// A segment file in memory.
struct Made {
    bytes: Vec<u8>,
}

/// The fields of a group header that a test chooses.
#[derive(Clone, Copy)]
struct Says {
    body_bytes: u32,
    record_count: u32,
    watermark: u32,
}

impl Made {
    fn new(blocks: u32) -> Made {
        let mut bytes = vec![0; (blocks * BLOCK) as usize];
        let header = SegmentHeader {
            uuid: UUID,
            sequence: 1,
            salt: SALT,
            block_bytes: BLOCK,
            file_bytes: bytes.len() as u64,
            first_live: 1,
            prior: PriorContents::Stale,
            reach_blocks: 0,
        };
        header.encode(&mut bytes[..BLOCK as usize]);
        Made { bytes }
    }

    fn len(&self) -> u32 {
        len32(self.bytes.len())
    }

    /// Makes block `block` a head.
    fn head(&mut self, block: u32, says: Says) {
        let lsn = Lsn::new(1, block * BLOCK);
        let header = GroupHeader {
            kind: if says.record_count == 0 { GroupKind::Mark } else { GroupKind::Data },
            lsn,
            watermark: Lsn::new(1, says.watermark.min(lsn.offset())),
            previous_end: Lsn::ZERO,
            first_live: 1,
            record_count: says.record_count,
            wall_clock_ms: 0,
            body_bytes: says.body_bytes,
        };
        header.encode(SALT, &mut self.bytes[lsn.offset() as usize..]);
    }

    /// Writes the header of a record from `at` to `end`, with a correct checksum. The record's `meta` and part table
    /// must be in place already.
    fn record(&mut self, at: u32, meta: u32, parts: u32, end: u32) {
        self.record_of(0, at, meta, parts, end);
    }

    fn record_of(&mut self, class: u8, at: u32, meta: u32, parts: u32, end: u32) {
        let mut raw = RawRecordHeader {
            crc: 0.into(),
            length: (end - at).into(),
            meta_bytes: meta.into(),
            part_count: parts.into(),
            footer_bytes: 0.into(),
            class,
            flags: 0,
            reserved: 0.into(),
        };
        let first = at as usize + RECORD_HEADER_BYTES;
        let rest = &self.bytes[first..first + meta as usize + parts as usize * PART_BYTES];
        raw.crc = (crc_of([&raw.as_bytes()[4..], rest]) ^ seed(SALT, Lsn::new(1, at))).into();
        self.bytes[at as usize..first].copy_from_slice(raw.as_bytes());
    }

    fn part(&mut self, at: u32, from: u32, to: u32) {
        let sum = crc(&self.bytes[from as usize..to as usize]);
        let part = RawPart { length: (to - from).into(), crc: sum.into() };
        self.bytes[at as usize..at as usize + PART_BYTES].copy_from_slice(part.as_bytes());
    }

    fn file(&self) -> Counted {
        let disk = SimDisk::new(0, SimOptions::default());
        disk.write_file("00000001.wal", &self.bytes);
        Counted { file: disk.open("00000001.wal", Access::Read).unwrap(), read: AtomicU64::new(0) }
    }

    fn scan(&self) -> (SegmentScan, u64, u64) {
        let file = self.file();
        let (scan, checked) = scan_counted(&file, 1, &UUID, BLOCK, false, &mut |_| {}).unwrap();
        (scan, checked, file.read.load(Ordering::Relaxed))
    }

    /// The result of a scan that checks every claim, in a copy in memory.
    fn scan_all(&self) -> SegmentScan {
        let mut scan = SegmentScan::unreadable(1);
        scan.header = SegmentHeader::decode(&self.bytes[..BLOCK as usize]);
        let mut at = BLOCK;
        scan.zeros_from = at;
        while at < self.len() {
            let block = &self.bytes[at as usize..(at + BLOCK) as usize];
            let Some(group) = GroupHeader::decode(block, SALT, Lsn::new(1, at)) else {
                if !is_zeros(block) {
                    scan.zeros_from = at + BLOCK;
                    if !is_zeros(&block[..SECTOR_BYTES as usize]) {
                        scan.unexplained_blocks.push(at);
                    }
                }
                at += BLOCK;
                continue;
            };
            let head = self.check(&group);
            at = if head.fault.is_none() { head.end } else { at + BLOCK };
            scan.zeros_from = at;
            scan.heads.push(head);
        }
        scan
    }

    fn check(&self, group: &GroupHeader) -> GroupHead {
        let mut head = GroupHead::of(group, BLOCK);
        let Some(bytes) = self.bytes.get(head.offset as usize..head.end as usize) else {
            return GroupHead { fault: Some(GroupFault::Count), ..head };
        };
        head.fault = group.check(SALT, bytes).err();
        if head.fault.is_none() {
            head.footer_bytes = footer_bytes(group, SALT, bytes);
        } else {
            let sectors = (GROUP_HEADER_BYTES + group.body_bytes as usize).div_ceil(SECTOR_BYTES as usize);
            head.zero_sector = bytes.chunks(SECTOR_BYTES as usize).take(sectors).any(is_zeros);
        }
        head
    }
}

/// A file that counts the bytes read from it.
#[derive(Debug)]
struct Counted {
    file: Arc<dyn DiskFile>,
    read: AtomicU64,
}

impl DiskFile for Counted {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn links(&self) -> io::Result<u64> {
        self.file.links()
    }
    fn allocate(&self, _: u64) -> io::Result<()> {
        unreachable!("a scan reads")
    }
    fn written_end(&self, from: u64) -> io::Result<u64> {
        self.file.written_end(from)
    }
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        unreachable!("a scan reads the medium")
    }
    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        self.read.fetch_add(len as u64, Ordering::Relaxed);
        self.file.read_medium(buf, offset, len)
    }
    fn write_at(&self, _: &[u8], _: u64, _: bool) -> io::Result<usize> {
        unreachable!("a scan reads")
    }
    fn map(&self) -> io::Result<Option<Map>> {
        Ok(None)
    }
    fn sync(&self) -> io::Result<()> {
        unreachable!("a scan reads")
    }
    fn drop_cache(&self) {}
}

/// A segment in which every block may be a head and has a record after the place of its header. Records extend over
/// the blocks that follow, whose bytes are their payload. Most checksums are correct.
fn random(seed: u64) -> Made {
    let mut choices = Choices::seeded(seed);
    let blocks = 3 + len32(choices.index(30));
    let mut made = Made::new(blocks);
    let heads = 10 + choices.below(90);
    for block in (1..blocks).rev() {
        if choices.chance(15) {
            continue;
        }
        let (at, last) = (block * BLOCK + len32(GROUP_HEADER_BYTES), blocks * BLOCK);
        let far = block + 1 + len32(choices.index((blocks - block) as usize));
        let aligned = if choices.chance(50) { len32(GROUP_HEADER_BYTES) } else { 0 };
        let end = (far.min(blocks) * BLOCK + aligned).min(last);
        let first = at + len32(RECORD_HEADER_BYTES);
        let class = if choices.chance(10) { 7 } else { 0 };
        if choices.chance(30) {
            made.record_of(class, at, end - first, 0, end);
        } else {
            let (meta, parts) = (len32(choices.index(20)), 1 + len32(choices.index(4)));
            let table = first + meta;
            let mut from = table + parts * len32(PART_BYTES);
            for part in 0..parts {
                let room = (end - from) as usize + 1;
                let to = if part + 1 == parts { end } else { from + len32(choices.index(room)) };
                made.part(table + part * len32(PART_BYTES), from, to);
                from = to;
            }
            if choices.chance(20) {
                made.bytes[table as usize + choices.index(8)] ^= 1;
            }
            made.record_of(class, at, meta, parts, end);
        }
        if choices.chance(15) {
            made.bytes[at as usize + choices.index(RECORD_HEADER_BYTES)] ^= 1 << choices.index(8);
        }
        if choices.chance(heads) {
            let (mut pos, mut count) = (at, 0);
            while count < 6 && (pos as usize) < made.bytes.len() {
                let checks = record_at(&made.bytes, pos as usize, SALT, Lsn::new(1, pos)).is_ok();
                let length =
                    made.bytes.get(pos as usize + 4..pos as usize + 8).map(|b| b.try_into().unwrap());
                let next = pos.saturating_add(length.map_or(u32::MAX, u32::from_le_bytes));
                if next > made.len() || next == pos || !checks && choices.chance(30) {
                    break;
                }
                (pos, count) = (next, count + 1);
                if !checks || choices.chance(40) {
                    break;
                }
            }
            let wrong = if choices.chance(10) { len32(choices.index(5000)) } else { 0 };
            let watermark = len32(choices.index(block as usize + 1)) * BLOCK;
            let count = if choices.chance(10) { count + 1 } else { count };
            made.head(block, Says { body_bytes: pos - at + wrong, record_count: count, watermark });
        }
    }
    made
}

fn verdict(scan: &SegmentScan) -> Result<Verdict, Vec<Damage>> {
    decide(std::slice::from_ref(scan), BLOCK, UnexplainedTail::Refuse)
}

#[test]
fn overlapping_claims_are_judged_as_if_all_were_checked() {
    let (mut equal, mut overlapping, mut unchecked) = (0, 0, 0);
    for seed in 0..4000 {
        let made = random(seed);
        let ((found, ..), all) = (made.scan(), made.scan_all());
        let heads = &all.heads;
        overlapping += u32::from(heads.windows(2).any(|pair| pair[0].end > pair[1].offset));
        if found == all {
            equal += 1;
            continue;
        }
        unchecked += 1;
        let known: Vec<GroupHead> =
            found.heads.iter().copied().filter(|h| h.fault != Some(GroupFault::Unchecked)).collect();
        assert!(known.len() < found.heads.len(), "seed {seed}: results differ without a reason");
        let first_bad = |heads: &[GroupHead]| heads.iter().find(|h| h.fault.is_some()).copied();
        assert_eq!(
            first_bad(&found.heads),
            first_bad(heads),
            "seed {seed}: the first that fails was checked"
        );
        let at = |heads: &[GroupHead], offset| heads.iter().find(|h| h.offset == offset).copied();
        for head in heads {
            let same = at(&found.heads, head.offset).expect("no head is lost");
            assert!(same == *head || same.fault == Some(GroupFault::Unchecked), "seed {seed}");
        }
        match (verdict(&all), verdict(&found)) {
            (Ok(all), Ok(found)) => {
                assert_eq!((all.kept, all.end, all.next), (found.kept, found.end, found.next), "seed {seed}");
            }
            (Err(_), Ok(_)) => panic!("seed {seed}: refused, if all claims are checked"),
            // A head inside an unchecked group may carry a larger watermark.
            (_, Err(_)) => {}
        }
    }
    let seen = format!("{equal} equal, {overlapping} with overlaps, {unchecked} with unchecked claims");
    assert!(overlapping > 1000 && unchecked > 200 && equal > 1000, "{seen}");
}

#[test]
fn a_check_in_pieces_says_what_a_check_in_memory_says() {
    let mut seen = std::collections::BTreeMap::new();
    let mut compare = |made: &Made| {
        let file = made.file();
        let mut pieces = Pieces::new(&file, (1, SALT), BLOCK, made.len());
        for at in (BLOCK..made.len()).step_by(BLOCK as usize) {
            let group = GroupHeader::decode(&made.bytes[at as usize..], SALT, Lsn::new(1, at));
            let Some(group) = group.filter(|g| GroupHead::of(g, BLOCK).end <= made.len()) else { continue };
            let head = made.check(&group);
            assert_eq!(pieces.check(&group, head.end).unwrap().err(), head.fault, "{group:?}");
            if head.fault.is_some() {
                assert_eq!(pieces.zero_sector(at, body_end(&group)).unwrap(), head.zero_sector, "{group:?}");
            }
            let kind = match head.fault {
                Some(GroupFault::Record(_, RecordFault::Part(_))) => "part".to_owned(),
                Some(GroupFault::Record(_, fault)) => format!("{fault:?}"),
                Some(GroupFault::Padding(_)) => "padding".to_owned(),
                fault => format!("{fault:?}"),
            };
            *seen.entry(kind).or_insert(0) += 1;
        }
    };
    (0..1000).for_each(|seed| compare(&random(seed)));
    // A long group: a table of many pieces, parts longer than a piece, and damage at places all over it.
    let mut choices = Choices::seeded(1);
    let mut batch = RecordBuilder::new();
    batch.meta().extend((0..300_001u32).map(|n| n.to_le_bytes()[0]));
    (0..60_000).for_each(|n| batch.push_part(&[1; 17][..n % 18]));
    batch.push_part(&vec![2; 2 << 20]);
    let mut records = Vec::new();
    for _ in 0..2 {
        let at = BLOCK + len32(GROUP_HEADER_BYTES + records.len());
        batch.encode_into(Durability::Sync, SALT, Lsn::new(1, at), &mut |bytes| {
            records.extend_from_slice(bytes)
        });
        records.resize(records.len().next_multiple_of(RECORD_ALIGN as usize), 0);
    }
    let mut made = Made::new(2 + len32(records.len()).div_ceil(BLOCK));
    let first = BLOCK as usize + GROUP_HEADER_BYTES;
    made.bytes[first..first + records.len()].copy_from_slice(&records);
    made.head(1, Says { body_bytes: len32(records.len()), record_count: 2, watermark: 0 });
    compare(&made);
    for _ in 0..60 {
        let at = first + choices.index(made.bytes.len() - first);
        made.bytes[at] ^= 1;
        compare(&made);
        made.bytes[at] ^= 1;
    }
    for kind in ["None", "Some(Count)", "Length", "Checksum", "Field", "part", "padding"] {
        assert!(seen.get(kind).is_some_and(|&count| count > 3), "{kind}: {seen:?}");
    }
}

/// A segment in which every block is a head with a long claim and a record that fails only at its last byte.
fn claims(blocks: u32, reach: u32, kind: u32) -> Made {
    let mut made = Made::new(blocks);
    for block in (1..blocks).rev() {
        let at = block * BLOCK + len32(GROUP_HEADER_BYTES);
        let first = at + len32(RECORD_HEADER_BYTES);
        let end = (block + reach).min(blocks) * BLOCK;
        match kind {
            // All of it is `meta`.
            0 => {
                made.record(at, end - first, 0, end);
                made.bytes[at as usize] ^= 1;
            }
            // One part.
            1 => {
                made.part(first, first + len32(PART_BYTES), end);
                made.bytes[first as usize + 4] ^= 1;
                made.record(at, 0, 1, end);
            }
            // Many parts, all empty except the last one, which has a wrong checksum.
            2 => {
                let parts = (end - first) / len32(PART_BYTES);
                let last = (end - len32(PART_BYTES)) as usize;
                made.bytes[last + 4] = 1;
                made.record(at, 0, parts, first + parts * len32(PART_BYTES));
            }
            // A record for each block, of which the last one is missing.
            _ => {
                let next = (block + 1) * BLOCK + len32(GROUP_HEADER_BYTES);
                if block + 1 < blocks {
                    made.record(at, next - first, 0, next);
                }
            }
        }
        let record_count = if kind == 3 { end / BLOCK - block } else { 1 };
        made.head(block, Says { body_bytes: end - at, record_count, watermark: 0 });
    }
    made
}

#[test]
fn the_work_of_a_scan_grows_with_the_file_and_no_faster() {
    for kind in 0..4 {
        for (blocks, reach) in [(256, 256), (2048, 2048), (2048, 300), (2048, 1200)] {
            let made = claims(blocks, reach, kind);
            let (scan, checked, read) = made.scan();
            let len = u64::from(made.len());
            assert_eq!(scan.heads.len(), blocks as usize - 1, "every head counts");
            assert!(scan.heads.iter().all(|h| h.fault.is_some()), "none is valid");
            assert!(checked <= 3 * len, "kind {kind}, {blocks} blocks, reach {reach}: {checked} of {len}");
            assert!(read <= 10 * len, "kind {kind}, {blocks} blocks, reach {reach}: {read} of {len} read");
        }
    }
}
