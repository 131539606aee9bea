//! The corruption matrix: 200 acknowledged records, one group each, damage at record 100, in a tail
//! segment and in a sealed one. Open refuses with an error that names the place and changes nothing, or
//! drops what was never known durable and says so (INV-5, INV-6).

mod harness;

use harness::{fill, ids, record, stepped, try_ids};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::look::{DamageKind, DropReason, GroupKind, Head, SegmentHeader, inspect};
use seawall_wal::step::Stepper;
use seawall_wal::{Class, Error, Lsn, Options, Report, Suspect, Wal};
use std::collections::BTreeMap;
use std::sync::Arc;

const RECORDS: u64 = 200;
const BLOCK: usize = 4096;

/// A segment that holds everything, or a quarter of it.
fn options(sealed: bool) -> Options {
    Options { segment_bytes: if sealed { 256 << 10 } else { 2 << 20 }, ..Options::default() }
}

fn name(segment: u32) -> String {
    format!("{segment:08x}.wal")
}

/// 200 acknowledged records, and where their groups lie.
struct Log {
    disk: Arc<SimDisk>,
    options: Options,
    groups: Vec<(u32, Head)>,
}

impl Log {
    /// Closed cleanly, so that a mark covers everything; or killed, so that nothing covers the last one.
    fn new(sealed: bool, close: bool) -> Log {
        let (disk, options) = (SimDisk::new(5, SimOptions::default()), options(sealed));
        let wal = Wal::create_in(stepped(&disk), &options).unwrap();
        for id in 0..RECORDS {
            wal.append(&record(id, 3900), Class::Sync).unwrap().wait().unwrap();
        }
        if close {
            wal.close().unwrap();
        }
        disk.kill();
        let found = inspect(&*disk).unwrap();
        let heads = found.segments.iter().flat_map(|s| s.heads.iter().map(|h| (s.sequence, *h)));
        let groups: Vec<_> = heads.filter(|(_, h)| h.kind == GroupKind::Data).collect();
        assert_eq!(groups.len() as u64, RECORDS);
        assert_eq!(groups.last().unwrap().0 > 2, sealed);
        Log { disk, options, groups }
    }

    fn copy(&self) -> Log {
        Log { disk: self.disk.fork(9), options: self.options.clone(), groups: self.groups.clone() }
    }

    fn lsn(&self, n: usize) -> Lsn {
        Lsn::new(self.groups[n].0, self.groups[n].1.offset)
    }

    /// Changes the bytes of group `n`.
    fn damage(&self, n: usize, f: impl FnOnce(&mut [u8])) {
        let at = self.lsn(n);
        self.disk.corrupt(&name(at.segment()), at.offset() as usize, |bytes| f(&mut bytes[..BLOCK]));
    }

    fn group(&self, n: usize) -> Vec<u8> {
        let at = self.lsn(n).offset() as usize;
        self.disk.read_file(&name(self.lsn(n).segment()))[at..at + BLOCK].to_vec()
    }

    fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.disk.names().into_iter().filter(|name| name != "LOCK");
        names.map(|name| (name.clone(), self.disk.read_file(&name))).collect()
    }

    fn open_with(&self, suspect: Suspect) -> Result<(Wal, Report), Error> {
        Wal::open_in(stepped(&self.disk), &Options { suspect, ..self.options.clone() })
    }

    /// Every open, under either policy, refuses with a damage that covers `place`; nothing changes.
    #[track_caller]
    fn refuses(&self, what: &str, place: Lsn) {
        let before = self.snapshot();
        for suspect in [Suspect::Refuse, Suspect::Refuse, Suspect::Drop] {
            match self.open_with(suspect) {
                Err(Error::Corrupt { damage, .. }) => {
                    let covers = damage.iter().any(|d| d.from <= place && place < d.to);
                    assert!(covers, "{what}: {place} is not in {damage:?}");
                    let text = Error::Corrupt { path: "p".into(), damage }.to_string();
                    assert!(text.contains(&name(place.segment())), "{what}: {text}");
                }
                Err(error) => panic!("{what}: {error}"),
                Ok((wal, report)) => panic!("{what}: opened with {:?}, {report:?}", try_ids(&wal)),
            }
            self.disk.crash();
        }
        assert!(before == self.snapshot(), "{what}: a refused open changed something");
    }

    /// Every open, with the default policy, shows exactly the first `keep` records and takes more.
    #[track_caller]
    fn keeps(&self, what: &str, keep: u64, dropped: &[DropReason]) {
        let mut expected: Vec<u64> = (0..keep).collect();
        for n in 0..3 {
            let (wal, report) = self.open_with(Suspect::Refuse).unwrap_or_else(|e| panic!("{what}: {e}"));
            let reasons: Vec<DropReason> = report.dropped.iter().map(|d| d.why).collect();
            assert!(n > 0 || reasons == dropped, "{what}: {:?}", report.dropped);
            assert_eq!(ids(&wal), expected, "{what}");
            wal.append(&record(900 + n, 3900), Class::Sync).unwrap().wait().unwrap();
            expected.push(900 + n);
            drop(wal);
            self.disk.crash();
        }
    }
}

/// Flips bit `bit` of `bytes`.
fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}

type Damage = Box<dyn Fn(&mut [u8])>;

/// Rows 1 to 5: what is wrong inside of one group. Group header at 0, record header at 64, meta of 8 bytes
/// at 88, part table at 96, payload from 104, padding behind.
fn rows_inside_a_group() -> Vec<(String, Damage)> {
    let mut rows: Vec<(String, Damage)> = Vec::new();
    let mut row = |what: String, f: Damage| rows.push((what, f));
    for (field, at) in [("group length", 56), ("record length", 68), ("meta length", 72), ("part length", 96)]
    {
        for bit in 0..32 {
            row(format!("1: bit {bit} of the {field}"), Box::new(move |b| flip(b, at * 8 + bit)));
        }
        row(format!("2: {field} zeroed"), Box::new(move |b| b[at..at + 4].fill(0)));
        row(format!("2: {field} all ones"), Box::new(move |b| b[at..at + 4].fill(255)));
    }
    for sector in 0..8 {
        let range = sector * 512..(sector + 1) * 512;
        row(format!("3: sector {sector} of zeros"), Box::new(move |b| b[range.clone()].fill(0)));
    }
    row("3: a page of zeros".into(), Box::new(|b| b.fill(0)));
    for (field, at) in [("group", 60), ("record", 64), ("part", 100)] {
        row(format!("4: CRC of the {field}"), Box::new(move |b| flip(b, at * 8 + 9)));
    }
    for at in [104, 105, 1000, 4003] {
        row(format!("4: payload byte {at}"), Box::new(move |b| flip(b, at * 8 + 3)));
    }
    for (field, at) in [
        ("magic", 0),
        ("kind", 4),
        ("flags", 5),
        ("reserved", 6),
        ("salt", 8),
        ("LSN", 16),
        ("watermark", 24),
        ("previous end", 32),
        ("first live", 40),
        ("record count", 44),
        ("clock", 48),
        ("part count", 76),
        ("footer bytes", 80),
        ("class", 84),
        ("record flags", 85),
        ("record reserved", 86),
        ("meta", 90),
        ("padding", 4004),
        ("padding", 4095),
    ] {
        row(format!("5: {field}"), Box::new(move |b| flip(b, at * 8)));
    }
    rows
}

#[test]
fn rows_1_to_5_damage_inside_of_a_group() {
    for sealed in [false, true] {
        let log = Log::new(sealed, true);
        assert_eq!(log.group(100)[104..4004], [fill(100); 3900]);
        assert!(log.group(100)[4004..].iter().all(|&b| b == 0));
        for (what, damage) in rows_inside_a_group() {
            let copy = log.copy();
            copy.damage(100, damage);
            copy.refuses(&format!("{what}, sealed: {sealed}"), log.lsn(100));
        }
    }
}

#[test]
fn row_6_the_last_group_is_half_written() {
    for sealed in [false, true] {
        for tail in 1..8 {
            // Never known durable: nothing was issued after it.
            let log = Log::new(sealed, false);
            log.damage(199, |b| b[BLOCK - tail * 512..].fill(0));
            log.keeps(&format!("the last {tail} sectors are missing"), 199, &[DropReason::Torn]);
            // A mark covers it.
            let log = Log::new(sealed, true);
            log.damage(199, |b| b[BLOCK - tail * 512..].fill(0));
            log.refuses(&format!("the last {tail} sectors are missing below a mark"), log.lsn(199));
        }
        // Its header sector did not make it.
        let log = Log::new(sealed, false);
        log.damage(199, |b| b[..512].fill(0));
        log.keeps("the first sector is missing", 199, &[]);
    }
}

/// Lengths to which a segment is cut: a crash cannot shorten a preallocated file.
#[test]
fn row_6_and_7_a_file_is_cut_short_or_gone() {
    for sealed in [false, true] {
        for close in [true, false] {
            let log = Log::new(sealed, close);
            let tail = log.lsn(199).segment();
            let whole = log.disk.read_file(&name(tail)).len();
            for len in
                [0, 1, 64, 511, 4095, 4096, 8192, log.lsn(199).offset() as usize, whole - 1, whole - BLOCK]
            {
                let copy = log.copy();
                copy.disk.truncate(&name(tail), len);
                copy.refuses(&format!("tail cut to {len}"), Lsn::new(tail, 0));
            }
            let copy = log.copy();
            copy.disk.truncate(&name(tail), whole + BLOCK);
            copy.refuses("tail extended", Lsn::new(tail, 0));
            let copy = log.copy();
            copy.disk.remove_file(&name(tail));
            copy.refuses("tail deleted", Lsn::new(tail, 0));
        }
    }
}

#[test]
fn row_8_a_sealed_segment_is_missing() {
    let log = Log::new(true, true);
    for segment in 1..log.lsn(199).segment() {
        let copy = log.copy();
        copy.disk.remove_file(&name(segment));
        copy.refuses(&format!("segment {segment} is missing"), Lsn::new(segment, 0));
        let copy = log.copy();
        copy.disk.truncate(&name(segment), 8192);
        copy.refuses(&format!("segment {segment} is cut"), Lsn::new(segment, 0));
    }
}

#[test]
fn row_9_copies_of_segments() {
    let log = Log::new(true, true);
    let second = log.disk.read_file(&name(2));
    let copy = log.copy();
    copy.disk.write_file("00000002.wal.orig", &second);
    copy.disk.write_file("0000000A.wal", &second);
    copy.keeps("copies under foreign names", 200, &[]);
    assert_eq!(copy.disk.read_file("0000000A.wal"), second);
    let top = inspect(&*log.disk).unwrap().segments.last().unwrap().sequence;
    for at in [1, 3, top, top + 1] {
        let copy = log.copy();
        copy.disk.write_file(&name(at), &second);
        copy.refuses(&format!("segment 2 under the number {at}"), Lsn::new(at, 0));
    }
    // Of another log: its identity differs.
    let other = Log::new(true, true).disk;
    let another = SimDisk::new(1, SimOptions::default());
    let mut env = stepped(&another);
    env.random = Arc::new(seawall_wal::disk::sim::SimRandom::new(77));
    Wal::create_in(env, &options(true)).unwrap().close().unwrap();
    other.write_file(&name(2), &another.read_file(&name(2)));
    Log { disk: other, ..log.copy() }.refuses("a segment of another log", Lsn::new(2, 0));
}

#[test]
fn row_10_bytes_of_another_incarnation_are_never_records() {
    for sealed in [false, true] {
        let log = Log::new(sealed, true);
        // A group of the same log, position and content in a file with another salt.
        let found = inspect(&*log.disk).unwrap();
        let end = found.verdict.as_ref().unwrap().end;
        let facts = found.segments.iter().find(|s| s.sequence == end.segment()).unwrap();
        let salt = facts.header.unwrap().salt;
        let mut group = log.group(100);
        let last = facts.heads.last().unwrap();
        let header = seawall_wal::look::GroupHeader {
            kind: GroupKind::Data,
            lsn: end,
            watermark: end,
            previous_end: last.previous_end,
            first_live: 1,
            record_count: 1,
            wall_clock_ms: 0,
            body_bytes: 4004 - 64,
        };
        header.encode(salt ^ 1, &mut group);
        let at = end.offset() as usize;
        log.disk.corrupt(&name(end.segment()), at, |b| b[..BLOCK].copy_from_slice(&group));
        match log.open_with(Suspect::Refuse) {
            Err(Error::Corrupt { damage, .. }) => {
                assert_eq!((damage[0].from, damage[0].what), (end, DamageKind::Suspect))
            }
            other => panic!("{other:?}"),
        }
        let (wal, _) = log.open_with(Suspect::Drop).unwrap();
        assert_eq!(ids(&wal), (0..200).collect::<Vec<_>>());
        drop(wal);
        log.keeps("dropped before", 200, &[]);
    }
}

/// Two groups in flight at a crash, the first of them torn.
fn torn_before_whole(sealed: bool) -> Log {
    let log = Log::new(sealed, false);
    let options = Options { group_bytes: 4096, ..log.options.clone() };
    let (wal, _) = Wal::open_in(stepped(&log.disk), &options).unwrap();
    let stepper = Stepper::new(&wal);
    let tickets = [200, 201, 202].map(|id| wal.append(&record(id, 3900), Class::Sync).unwrap());
    let ios: Vec<_> = std::iter::from_fn(|| stepper.issue()).collect();
    assert!(ios.len() >= 2, "{}", ios.len());
    ios.iter().take(2).for_each(|io| stepper.abandon(io));
    let first = tickets[0].lsn();
    drop((ios, tickets, wal));
    log.disk.kill();
    let offset = (first.offset() & !4095) as usize;
    let mut bytes = log.disk.read_file(&name(first.segment()));
    bytes[offset + 3 * 512..offset + 4 * 512].fill(0);
    log.disk.write_file(&name(first.segment()), &bytes);
    log
}

#[test]
fn row_11_a_torn_group_takes_the_whole_one_behind_it_along() {
    for sealed in [false, true] {
        let reasons = [DropReason::Torn, DropReason::BehindTorn];
        torn_before_whole(sealed).keeps("torn before whole", 200, &reasons);
    }
}

#[test]
fn row_12_a_torn_group_below_the_watermark_of_a_later_one() {
    for sealed in [false, true] {
        for n in [0, 100, 198] {
            let log = Log::new(sealed, false);
            log.damage(n, |b| b[5 * 512..].fill(0));
            if n < 198 {
                log.refuses(&format!("group {n} torn"), log.lsn(n));
            } else {
                // Group 199 says that 198 was durable.
                log.refuses("the last but one torn", log.lsn(198));
            }
        }
    }
}

#[test]
fn row_13_a_crash_during_recovery() {
    for sealed in [false, true] {
        let log = torn_before_whole(sealed);
        for cut in 1..60 {
            let copy = log.copy();
            for again in 0..3 {
                copy.disk.crash_after(cut + again);
                let opened = copy.open_with(Suspect::Refuse);
                assert!(opened.is_ok() || copy.disk.crash_reached(), "cut at {cut}: {opened:?}");
                drop(opened);
                copy.disk.crash();
            }
            let (wal, _) = copy.open_with(Suspect::Refuse).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
            assert_eq!(ids(&wal), (0..200).collect::<Vec<_>>(), "cut at {cut}");
        }
    }
}

#[test]
fn row_14_blocks_at_the_wrong_place() {
    for sealed in [false, true] {
        let log = Log::new(sealed, true);
        let (a, b) = (log.group(100), log.group(101));
        let copy = log.copy();
        copy.damage(100, |bytes| bytes.copy_from_slice(&b));
        copy.damage(101, |bytes| bytes.copy_from_slice(&a));
        copy.refuses("swapped", log.lsn(100));
        let copy = log.copy();
        copy.damage(101, |bytes| bytes.copy_from_slice(&a));
        copy.refuses("misdirected", log.lsn(101));
        let copy = log.copy();
        copy.damage(100, |bytes| bytes[64..].copy_from_slice(&b[64..]));
        copy.refuses("the body of another group", log.lsn(100));
        let copy = log.copy();
        copy.damage(100, |bytes| bytes.fill(0));
        copy.refuses("lost", log.lsn(100));
    }
}

#[test]
fn row_15_the_header_of_a_segment() {
    for sealed in [false, true] {
        let log = Log::new(sealed, true);
        for segment in inspect(&*log.disk).unwrap().segments.iter().map(|s| s.sequence) {
            for at in [0, 7, 12, 16, 31, 32, 40, 44, 48, 56, 60, 63, 64, 4095] {
                let copy = log.copy();
                copy.disk.corrupt(&name(segment), at, |b| b[0] ^= 0x10);
                copy.refuses(&format!("byte {at} of header {segment}"), Lsn::new(segment, 0));
            }
            let copy = log.copy();
            copy.disk.corrupt(&name(segment), 0, |b| b[..BLOCK].fill(0));
            copy.refuses("zeroed", Lsn::new(segment, 0));
            let copy = log.copy();
            let before = copy.snapshot();
            // The other byte order: version 1 reads as 1 << 24.
            copy.disk.corrupt(&name(segment), 0, |b| b[8..12].reverse());
            let error = copy.open_with(Suspect::Refuse).unwrap_err();
            let Error::UnsupportedVersion { file, found, supported: 1, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!((file, *found), (&name(segment), 1 << 24));
            copy.disk.corrupt(&name(segment), 0, |b| b[8..12].reverse());
            assert!(before == copy.snapshot());
        }
        // Sound headers that say something else.
        let header = inspect(&*log.disk).unwrap().segments[0].header.unwrap();
        for other in [
            SegmentHeader { sequence: 2, ..header },
            SegmentHeader { uuid: [1; 16], ..header },
            SegmentHeader { block_bytes: 8192, ..header },
            SegmentHeader { file_bytes: header.file_bytes + 4096, ..header },
            SegmentHeader { file_bytes: u64::MAX, ..header },
        ] {
            let copy = log.copy();
            copy.disk.corrupt(&name(1), 0, |b| other.encode(&mut b[..BLOCK]));
            copy.refuses(&format!("{other:?}"), Lsn::new(1, 0));
        }
        let copy = log.copy();
        let other = SegmentHeader { salt: header.salt ^ 1, ..header };
        copy.disk.corrupt(&name(1), 0, |b| other.encode(&mut b[..BLOCK]));
        let opened = copy.open_with(Suspect::Refuse);
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "another salt");
    }
}

#[test]
fn row_16_rot_of_what_was_acknowledged_last() {
    for sealed in [false, true] {
        let log = Log::new(sealed, false);
        log.damage(199, |b| flip(b, 2000 * 8));
        // The padding ends in a part of a sector, so no sector of the group is zero: not a torn write.
        let Err(Error::Corrupt { damage, .. }) = log.open_with(Suspect::Refuse) else { panic!("opened") };
        assert_eq!((damage[0].from, damage[0].what), (log.lsn(199), DamageKind::Suspect));
        log.disk.crash();
        let (wal, report) = log.open_with(Suspect::Drop).unwrap();
        assert_eq!(ids(&wal), (0..199).collect::<Vec<_>>());
        assert!(report.dropped.iter().any(|d| d.from == log.lsn(199) && d.why == DropReason::Suspect));
        drop(wal);
        log.disk.crash();
        log.keeps("dropped before", 199, &[DropReason::Void]);

        let log = Log::new(sealed, true);
        log.damage(199, |b| flip(b, 2000 * 8));
        log.refuses("below the mark", log.lsn(199));
    }
}

#[test]
fn row_17_rot_after_open_is_found_when_read() {
    for sealed in [false, true] {
        for bit in [5 * 8, 70 * 8, 90 * 8, 98 * 8, 2000 * 8, 4090 * 8] {
            let log = Log::new(sealed, true);
            let (wal, _) = log.open_with(Suspect::Refuse).unwrap();
            log.damage(100, |b| flip(b, bit));
            let mut records = wal.records(Lsn::ZERO);
            for id in 0..100u64 {
                let record = records.next().unwrap().unwrap();
                assert_eq!(record.meta(), id.to_le_bytes());
            }
            match records.next() {
                Some(Err(Error::Corrupt { damage, .. })) => assert_eq!(damage[0].from, log.lsn(100)),
                other => panic!("bit {bit}: {other:?}"),
            }
            assert!(records.next().is_none());
        }
    }
}

#[test]
fn row_18_no_log_is_taken_for_an_empty_one() {
    for sealed in [false, true] {
        let log = Log::new(sealed, true);
        let segments: Vec<u32> = inspect(&*log.disk).unwrap().segments.iter().map(|s| s.sequence).collect();
        let copy = log.copy();
        copy.disk.remove_file("IDENTITY");
        assert!(matches!(copy.open_with(Suspect::Drop), Err(Error::NotALog { .. })));
        assert!(matches!(Wal::create_in(stepped(&copy.disk), &copy.options), Err(Error::AlreadyALog { .. })));
        let copy = log.copy();
        segments.iter().for_each(|&n| copy.disk.remove_file(&name(n)));
        copy.refuses("no segments", Lsn::new(1, 0));
        // Every group of every segment lost: the segments are as they were prepared.
        let copy = log.copy();
        segments.iter().for_each(|&n| copy.disk.corrupt(&name(n), BLOCK, |bytes| bytes.fill(0)));
        copy.refuses("no groups", Lsn::new(1, u32::try_from(BLOCK).unwrap()));
    }
}

#[test]
fn one_bit_of_every_byte_of_a_small_log() {
    let disk = SimDisk::new(3, SimOptions::default());
    let options = Options { segment_bytes: 24 << 10, ..Options::default() };
    let wal = Wal::create_in(stepped(&disk), &options).unwrap();
    for id in 0..9 {
        wal.append(&record(id, 3000), Class::Sync).unwrap().wait().unwrap();
    }
    wal.close().unwrap();
    disk.kill();
    let found = inspect(&*disk).unwrap();
    let verdict = found.verdict.unwrap();
    let (end, watermark) = (verdict.end, verdict.watermark);
    assert!(verdict.kept.len() >= 3);
    let kept: BTreeMap<u32, u32> = verdict.kept.iter().map(|k| (k.segment, k.end)).collect();
    let (mut refused, mut harmless) = (0, 0);
    for facts in &found.segments {
        let name = name(facts.sequence);
        for at in 0..24 << 10 {
            // Nothing was ever written behind the header of a spare: a sample is enough there.
            if facts.heads.is_empty() && at >= 4096 && at % 61 != 0 {
                continue;
            }
            let place = Lsn::new(facts.sequence, at);
            let flip = |b: &mut [u8]| b[0] ^= 1 << ((at / 8 + at) % 8);
            disk.corrupt(&name, at as usize, flip);
            match inspect(&*disk).unwrap().verdict {
                Err(damage) => {
                    assert!(damage.iter().any(|d| d.from <= place && place < d.to), "{place}: {damage:?}");
                    refused += 1;
                }
                Ok(verdict) => {
                    // Behind the watermark, or in blocks that were left when the segment was.
                    let in_kept = kept.get(&facts.sequence).is_some_and(|&e| at < e);
                    let acknowledged = place < watermark && in_kept;
                    assert!(!acknowledged && at >= 4096, "{place} is below {watermark}, and was not missed");
                    assert!(verdict.end >= watermark && verdict.end <= end, "{place}: {}", verdict.end);
                    harmless += 1;
                }
            }
            if at % 499 == 0 {
                let copy = disk.fork(1);
                match Wal::open_in(stepped(&copy), &options) {
                    Ok((wal, _)) => assert_eq!(ids(&wal), (0..9).collect::<Vec<_>>(), "{place}"),
                    Err(error) => assert!(
                        matches!(error, Error::Corrupt { .. } | Error::UnsupportedVersion { .. }),
                        "{place}: {error}"
                    ),
                }
            }
            disk.corrupt(&name, at as usize, flip);
        }
    }
    println!("{refused} refused, {harmless} harmless");
    for at in 0..4096 {
        disk.corrupt("IDENTITY", at, |b| b[0] ^= 1 << (at % 8));
        assert!(inspect(&*disk).is_err(), "byte {at} of the identity");
        disk.corrupt("IDENTITY", at, |b| b[0] ^= 1 << (at % 8));
    }
    assert_eq!(ids(&Wal::open_in(stepped(&disk), &options).unwrap().0), (0..9).collect::<Vec<_>>());
}

#[test]
fn the_watermark_of_a_torn_group_counts() {
    for sealed in [false, true] {
        // Nothing but the header of the last group, whose body is torn, says that the one before was durable.
        let log = Log::new(sealed, false);
        let (rotten, torn) = (log.groups.len() - 2, log.groups.len() - 1);
        log.damage(torn, |group| group[1024..2048].fill(0));
        log.damage(rotten, |group| flip(group, 8 * 600));
        log.refuses("rot below the watermark of a torn group", log.lsn(rotten));
    }
}
