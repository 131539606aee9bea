//! Tests the scanner, and everything that builds on it, on a segment file that a fuzzer changed.
//!
//! The changes include false group headers with correct checksums, so the test checks only that nothing panics or
//! hangs (INV-9), that inspection changes nothing (INV-10), and that all readers agree.

use super::choices::Choices;
use super::damage::{BLOCK, append, contents, damage, env, looked_at, record, whole};
use crate::format::layout::{GROUP_HEADER_BYTES, GROUP_MAGIC, RawGroupHeader, SECTOR_BYTES};
use crate::format::{GroupFault, GroupHeader, Identity, PartInfo, SegmentHeader, checksum, is_head};
use crate::options::{Options, UnexplainedTail};
use crate::read::record_iter::Record;
use crate::recovery::evidence::SegmentScan;
use crate::recovery::inspect::{Inspection, inspect_with, visit_groups, visit_records, visit_remnants};
use crate::recovery::scan::{ScannedGroup, scan_with};
use crate::recovery::verdict::decide;
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::segment::names::file_name;
use crate::types::{Durability, Lsn, PriorContents, len32};
use crate::wal::Wal;
use seawall_disk::sim::{SimDisk, SimOptions};
use seawall_disk::{Access, Disk};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use zerocopy::{FromBytes, IntoBytes};

const SEGMENT_BYTES: u32 = 16 * BLOCK;
const FILE: &str = "00000001.wal";

/// A sealed log of one segment, with groups of one and of several records, a mark and a footer.
struct Base {
    identity: Vec<u8>,
    segment: Vec<u8>,
    header: SegmentHeader,
}

/// Scans a segment that `data` changed.
pub fn segment(data: &[u8]) {
    static BASE: OnceLock<Base> = OnceLock::new();
    let base = BASE.get_or_init(build);
    let mut choices = Choices::from_bytes(data);
    let disk = SimDisk::new(0, SimOptions::default());
    disk.write_file("IDENTITY", &base.identity);
    disk.write_file(FILE, &base.segment);
    let repair = choices.chance(90);
    if choices.chance(25) {
        // Nothing was written after the header; the input determines the rest.
        disk.corrupt(FILE, BLOCK as usize, |bytes| bytes.fill(0));
    }
    let prior = if choices.chance(25) { PriorContents::Stale } else { PriorContents::Zeros };
    for _ in 0..32 {
        if choices.spent() {
            break;
        }
        if choices.chance(40) {
            lie(&mut choices, &disk, base.header.salt);
        } else {
            damage(&mut choices, &disk, FILE, SEGMENT_BYTES as usize);
        }
    }
    if !disk.exists(FILE) {
        disk.write_file(FILE, &[]);
    }
    if repair {
        repair_header(&disk, SegmentHeader { prior, ..base.header });
    }
    check(&disk);
}

fn build() -> Base {
    struct Count(u32);
    impl SegmentIndexBuilder for Count {
        fn record(&mut self, _: Lsn, _: &[u8], _: &mut dyn Iterator<Item = PartInfo>) {
            self.0 += 16;
        }
        fn seal(&mut self, _: u32, out: &mut Vec<u8>) {
            out.resize(std::mem::take(&mut self.0) as usize, 0xF0);
        }
    }
    let disk = SimDisk::new(0, SimOptions::default());
    let wal = Wal::create_in(env(&disk), &options()).expect("created");
    wal.set_index_builder(Box::new(Count(0))).expect("before the first record");
    for id in 0.. {
        let mut batch = record(id);
        batch.set_footer_bytes(16);
        let ticket =
            wal.append(&batch, if id % 3 == 0 { Durability::Sync } else { Durability::Lazy }).expect("space");
        if id % 3 == 0 {
            ticket.wait().expect("written");
        }
        if ticket.lsn().segment() > 1 {
            wal.flush().expect("written");
            break;
        }
    }
    drop(wal);
    let (identity, segment) = (disk.read_file("IDENTITY"), disk.read_file(FILE));
    let header = SegmentHeader::decode(&segment[..BLOCK as usize]).expect("a header");
    Base { identity, segment, header }
}

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, ..Options::default() }
}

/// Makes some block a head, if it was none, with fields that the fuzzer chooses and a correct checksum.
fn lie(choices: &mut Choices<'_>, disk: &SimDisk, salt: u64) {
    let len = if disk.exists(FILE) { disk.read_file(FILE).len() } else { 0 };
    if len < BLOCK as usize {
        return;
    }
    let at = choices.index(len / BLOCK as usize) * BLOCK as usize;
    let lsn = Lsn::new(1, len32(at));
    let (field, value) = (choices.below(8), choices.below(1 << 16));
    disk.corrupt(FILE, at, |bytes| {
        let Ok((raw, _)) = RawGroupHeader::mut_from_prefix(bytes) else { return };
        let low = u32::from(value.to_le_bytes()[0]) << 8 | u32::from(value.to_le_bytes()[1]);
        match field {
            0 => raw.watermark = Lsn::new(1, low).as_u64().into(),
            1 => raw.previous_end = u64::from(low).into(),
            2 => raw.first_live = (low >> 15).into(),
            3 => raw.record_count = low.into(),
            4 => raw.body_bytes = low.into(),
            5 => raw.body_bytes = (low << 16).into(),
            6 => raw.kind = value.to_le_bytes()[0],
            _ => raw.wall_clock_ms = value.into(),
        }
        (raw.magic, raw.salt, raw.lsn) = (GROUP_MAGIC, salt.into(), lsn.as_u64().into());
        let sum = checksum::crc(&raw.as_bytes()[..GROUP_HEADER_BYTES - 4]);
        raw.crc = (sum ^ checksum::seed(salt, lsn)).into();
    });
}

/// Gives the file a header that fits it, and a length that a header can have.
fn repair_header(disk: &SimDisk, header: SegmentHeader) {
    let len = disk.read_file(FILE).len().next_multiple_of(BLOCK as usize).max(2 * BLOCK as usize);
    disk.truncate(FILE, len);
    let header = SegmentHeader { file_bytes: len as u64, ..header };
    disk.corrupt(FILE, 0, |bytes| header.encode(&mut bytes[..BLOCK as usize]));
}

fn check(disk: &Arc<SimDisk>) {
    let (before, operations) = (contents(disk), disk.operations());
    let looked = looked_at(disk);
    let see = |groups: &mut Vec<_>, group: &ScannedGroup<'_>| {
        groups.push((*group.head(), group.records().count(), group.padding_bytes()));
    };
    let (found, groups) =
        inspect_with(&*looked, |_| Vec::new(), see).expect("an identity and files that can be read");
    let groups = groups.concat();
    let [scan] = &found.segments[..] else { panic!("{} segments", found.segments.len()) };
    check_scan(scan, &found.identity, &before[FILE]);
    let valid: Vec<_> = scan.heads.iter().filter(|h| h.fault.is_none()).collect();
    assert_eq!(groups.iter().map(|(head, ..)| head).collect::<Vec<_>>(), valid);
    assert!(groups.iter().all(|(head, count, _)| *count == head.record_count as usize));
    check_visits(&*looked, &found, scan);
    let drops = decide(&found.segments, BLOCK, UnexplainedTail::Drop);
    assert!(found.verdict.is_err() || drops == found.verdict, "a policy about nothing");
    if let Ok(verdict) = &drops {
        assert!(verdict.next.at >= verdict.end && verdict.watermark <= verdict.next.at);
        assert!(verdict.dropped.iter().all(|d| d.from >= verdict.end && d.to > d.from));
    }
    assert!(contents(disk) == before && disk.operations() == operations, "looking changed something");
    let mut shown = None;
    for _ in 0..2 {
        let opened = Wal::open_in(env(disk), &options());
        assert!(shown.is_some() || opened.is_ok() == found.verdict.is_ok(), "{:?}", opened.err());
        let Ok((wal, _)) = opened else {
            assert!(shown.is_none(), "no further open");
            assert!(contents(disk) == before, "a refusal changed something");
            continue;
        };
        let records = shown_by(&wal);
        assert!(shown.is_none_or(|shown| shown == records), "another log");
        let lsn = append(&wal, 1000).expect("space");
        let records = shown_by(&wal);
        assert_eq!(records.last(), Some(&(lsn, 1000)));
        shown = Some(records);
        drop(wal);
        disk.crash();
    }
}

/// The records that open kept. A false header may declare a footer as data; such a record was not made by this
/// module.
fn shown_by(wal: &Wal) -> Vec<(Lsn, u64)> {
    let own = |record: &Record| record.meta().len() == size_of::<u64>();
    let records = wal.records(Lsn::ZERO).map(|record| record.expect("what open kept"));
    records.map(|record| if own(&record) { whole(&record) } else { (record.lsn(), 0) }).collect()
}

/// Compares the scan result with the bytes themselves.
fn check_scan(scan: &SegmentScan, identity: &Identity, bytes: &[u8]) {
    let Ok(header) = scan.header else {
        assert!(scan.heads.is_empty() && scan.unexplained_blocks.is_empty());
        return;
    };
    assert_eq!((header.uuid, header.file_bytes), (identity.uuid, bytes.len() as u64));
    let block_at = |at: u32| &bytes[at as usize..][..BLOCK as usize];
    let head_at = |at: u32| is_head(block_at(at), header.salt, Lsn::new(scan.sequence, at));
    let (mut heads, mut strange) = (scan.heads.iter().peekable(), scan.unexplained_blocks.iter().peekable());
    let mut at = BLOCK;
    while at < len32(bytes.len()) {
        let head = heads.next_if(|h| h.offset == at);
        assert_eq!(head.is_some(), head_at(at), "a head at {at}");
        if let Some(head) = head.filter(|head| head.fault != Some(GroupFault::Unchecked)) {
            let group = GroupHeader::decode(block_at(at), header.salt, Lsn::new(scan.sequence, at));
            let claim = bytes.get(at as usize..head.end as usize);
            let valid =
                group.zip(claim).is_some_and(|(group, claim)| group.check(header.salt, claim).is_ok());
            assert_eq!(head.fault.is_none(), valid, "a valid group at {at}");
        }
        let odd = head.is_none() && block_at(at)[..SECTOR_BYTES as usize].iter().any(|&b| b != 0);
        assert_eq!(strange.next_if_eq(&&at).is_some(), odd, "a strange block at {at}");
        at = head.filter(|h| h.fault.is_none()).map_or(at + BLOCK, |h| h.end);
    }
    assert!(heads.next().is_none() && strange.next().is_none());
    let zeros = scan.zeros_from as usize;
    assert!(bytes[zeros..].iter().all(|&b| b == 0), "not only zeros from {zeros} on");
    assert!(zeros == BLOCK as usize || zeros.is_multiple_of(BLOCK as usize));
}

/// Checks that visits of a scanned segment see what the scan saw.
fn check_visits(disk: &dyn Disk, found: &Inspection, scan: &SegmentScan) {
    let mut seen = Vec::new();
    visit_groups(disk, scan, (0, u32::MAX), &mut |head, group| {
        assert_eq!(head.fault.is_none(), group.is_some());
        seen.push(*head);
        ControlFlow::Continue(())
    })
    .expect("readable");
    assert_eq!(seen, scan.heads);
    for head in &scan.heads {
        let mut count = 0;
        visit_records(disk, scan, head, &mut |_| count += 1).expect("readable");
        assert_eq!(count, if head.fault.is_none() { head.record_count } else { 0 });
    }
    for damage in found.verdict.as_ref().err().into_iter().flatten() {
        let range = (damage.from.offset(), damage.to.offset());
        visit_remnants(disk, scan, range, &mut |record, bad| {
            assert_eq!(record.bad_parts(), bad);
        })
        .expect("readable");
    }
    let all = visit_remnants(disk, scan, (0, u32::MAX), &mut |_, _| {}).expect("readable");
    assert!(all || scan.header.is_err(), "this file is not large");
    let file = disk.open(&file_name(scan.sequence), Access::Read).expect("a file");
    let uuid = &found.identity.uuid;
    let again = scan_with(&*file, scan.sequence, uuid, BLOCK, false, &mut |_| {}).expect("readable");
    assert_eq!(&again, scan, "two scans");
}
