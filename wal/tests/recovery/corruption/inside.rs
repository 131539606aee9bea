//! Rows 1 to 5, 12, 14 and 17 of the matrix: damage inside of acknowledged groups.

use super::log::{BLOCK, Due, Kind, Log, Logs, RECORDS, flip, name};
use super::media::{Media, Place};
use super::table::{Found, Table};
use crate::harness::{SixteenBytes, fill, ids, record, stepped};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::inspect::{GroupKind, inspect};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Error, Lsn, Options, Wal};

type Damage = Box<dyn Fn(&mut [u8])>;

/// The row, the damage, the case, and a function that damages the group. A group has its header at 0, the
/// record header at 64, the meta of 8 bytes at 88, the part table at 96, the payload from 104, and padding
/// from 4004.
type Case = (u8, &'static str, String, Damage);

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut case = |row, damage, what: String, f: Damage| cases.push((row, damage, what, f));
    for (field, at) in [("group length", 56), ("record length", 68), ("meta length", 72), ("part length", 96)]
    {
        for bit in 0..32 {
            case(
                1,
                "a bit of a length",
                format!("bit {bit} of the {field}"),
                Box::new(move |b| flip(b, at * 8 + bit)),
            );
        }
        case(2, "a length zeroed", field.into(), Box::new(move |b| b[at..at + 4].fill(0)));
        case(2, "a length of all ones", field.into(), Box::new(move |b| b[at..at + 4].fill(255)));
    }
    for sector in 0..8 {
        let range = sector * 512..(sector + 1) * 512;
        let f = move |b: &mut [u8]| b[range.clone()].fill(0);
        case(3, "a sector of zeros", format!("sector {sector}"), Box::new(f));
    }
    case(3, "a page of zeros", String::new(), Box::new(|b| b.fill(0)));
    for (field, at) in [("group", 60), ("record", 64), ("part", 100)] {
        case(4, "a bit of a checksum", field.into(), Box::new(move |b| flip(b, at * 8 + 9)));
    }
    for at in [104, 105, 1000, 4003] {
        case(4, "a bit of the payload", format!("byte {at}"), Box::new(move |b| flip(b, at * 8 + 3)));
    }
    for (damage, field, at) in [
        ("the kind", "kind", 4),
        ("a flag", "flags", 5),
        ("a flag", "record flags", 85),
        ("another field of a header", "magic", 0),
        ("another field of a header", "reserved", 6),
        ("another field of a header", "salt", 8),
        ("another field of a header", "LSN", 16),
        ("another field of a header", "watermark", 24),
        ("another field of a header", "previous end", 32),
        ("another field of a header", "first live", 40),
        ("another field of a header", "record count", 44),
        ("another field of a header", "clock", 48),
        ("another field of a header", "part count", 76),
        ("another field of a header", "footer bytes", 80),
        ("another field of a header", "class", 84),
        ("another field of a header", "record reserved", 86),
        ("meta", "meta", 90),
        ("padding", "first byte", 4004),
        ("padding", "last byte", 4095),
    ] {
        case(5, damage, field.into(), Box::new(move |b| flip(b, at * 8)));
    }
    cases
}

pub fn rows_1_to_5_and_17_damage_inside_of_a_group(logs: &Logs, table: &mut Table) {
    let log = logs.closed();
    assert_eq!(log.group(100)[104..4004], [fill(100); 3900]);
    assert!(log.group(100)[4004..].iter().all(|&b| b == 0));
    for (row, damage, what, f) in cases() {
        log.case(table, (row, damage), &what, &|log| log.damage(100, &f), Due::Refusal(log.lsn(100)));
    }
    // The damage happens after open: the reader's error names the place, and the reader returns nothing after
    // it.
    for bit in [5 * 8, 70 * 8, 90 * 8, 98 * 8, 2000 * 8, 4090 * 8] {
        let copy = log.copy();
        let (wal, _) = copy.open_with(seawall_wal::UnexplainedTail::Refuse).unwrap();
        copy.damage(100, |b| flip(b, bit));
        let mut records = wal.records(Lsn::ZERO);
        assert_eq!(records.by_ref().take(100).filter_map(Result::ok).count(), 100);
        match records.next() {
            Some(Err(Error::Corrupt { damage, .. })) => assert_eq!(damage[0].from, log.lsn(100)),
            other => panic!("bit {bit}: {other:?}"),
        }
        assert!(records.next().is_none());
        let verify = if copy.look().unwrap().verdict.is_err() { "error" } else { "sound" };
        let found = Found { open: "was open", read: "error", verify, ..Found::NOT_ASKED };
        table.note(17, "rot after open", logs.kind, found);
    }
}

pub fn row_12_a_torn_group_below_a_watermark(logs: &Logs, table: &mut Table) {
    let log = logs.killed();
    // The watermark of group 199 says that group 198 was durable.
    for n in [0, 100, 198] {
        let torn = move |log: &Log| log.damage(n, |b| b[5 * 512..].fill(0));
        let row = (12, "torn below a later group's watermark");
        log.case(table, row, &format!("group {n}"), &torn, Due::Refusal(log.lsn(n)));
    }
    // Only the header of the last group, whose body is torn, says that the group before it was durable.
    let both = |log: &Log| {
        log.damage(199, |b| b[1024..2048].fill(0));
        log.damage(198, |b| flip(b, 8 * 600));
    };
    let row = (12, "rot below the watermark of a torn group");
    log.case(table, row, "", &both, Due::Refusal(log.lsn(198)));
}

/// The watermark that shows that a group was durable is beyond a gap, in a segment whose first group is lost.
pub fn row_12_rot_below_a_watermark_beyond_a_gap(logs: &Logs, table: &mut Table) {
    let mut rots = Lsn::ZERO;
    let log = logs.killed_after(|log, disk| {
        let (wal, _) = Wal::open_in(stepped(disk), &log.kind.options()).unwrap();
        let append = |id| wal.append(&record(id, 3900), Durability::Sync).unwrap();
        let (mut first, mut id) = (append(RECORDS), RECORDS);
        while first.lsn().segment() == log.tail() {
            first.wait().unwrap();
            rots = first.lsn();
            id += 1;
            first = append(id);
        }
        // A further record, without which the log would not issue the second one.
        let [second, more] = [1, 2].map(|n| append(id + n));
        let stepper = Stepper::new(&wal);
        let ios: Vec<_> = std::iter::from_fn(|| stepper.issue()).collect();
        ios.iter().take(2).for_each(|io| stepper.abandon(io));
        let at = [first.lsn(), second.lsn()].map(|lsn| (lsn.offset() as usize) & !(BLOCK - 1));
        let file = name(second.lsn().segment());
        drop((first, second, more, ios, wal));
        disk.kill();
        // Everything in the page cache has reached the device, except the first group.
        let mut bytes = disk.read_file(&file);
        assert!(bytes[at[1]..at[1] + BLOCK].iter().any(|&b| b != 0), "the second is not there");
        bytes[at[0]..at[0] + BLOCK].fill(if log.kind.stale { 0xEE } else { 0 });
        disk.write_file(&file, &bytes);
    });
    let rot =
        |log: &Log| log.disk.corrupt(&name(rots.segment()), rots.offset() as usize, |b| flip(b, 8 * 600));
    let row = (12, "rot below a watermark beyond a gap");
    log.case(table, row, "", &rot, Due::Refusal(rots));
}

pub fn row_14_blocks_at_the_wrong_place(logs: &Logs, table: &mut Table) {
    let log = logs.closed();
    let (a, b) = (log.group(100), log.group(101));
    let mut case = |what, at, damage: &dyn Fn(&Log)| {
        log.case(table, (14, what), "", damage, Due::Refusal(log.lsn(at)));
    };
    case("records swapped", 100, &|log| {
        log.damage(100, |bytes| bytes.copy_from_slice(&b));
        log.damage(101, |bytes| bytes.copy_from_slice(&a));
    });
    case("a write at the wrong place", 101, &|log| log.damage(101, |bytes| bytes.copy_from_slice(&a)));
    case("the body of another group", 100, &|log| {
        log.damage(100, |bytes| bytes[64..].copy_from_slice(&b[64..]));
    });
    case("a write that never happened", 100, &|log| log.damage(100, |bytes| bytes.fill(0)));
}

/// A closed log of forty acknowledged records, in segments that footers seal, and its options.
fn sealed_by_footers(logs: &Logs) -> (Media, Options) {
    let disk = SimDisk::new(5, SimOptions::default());
    let options = logs.kind.options().with_segment_bytes(64 << 10).with_idle_ms(60_000);
    let wal = Wal::create_in(stepped(&disk), &options).unwrap();
    wal.set_index_builder(Box::<SixteenBytes>::default()).unwrap();
    for id in 0..40 {
        let mut batch = record(id, 3900);
        batch.set_footer_bytes(16);
        wal.append(&batch, Durability::Sync).unwrap().wait().unwrap();
    }
    wal.close().unwrap();
    disk.kill();
    (Media::placed(&disk, logs.kind.place, &logs.root), options)
}

/// Open does not read a segment that its footer proves, so a reader and inspection name the damage. With
/// `verify_on_open`, open refuses the log.
pub fn row_17_a_segment_under_its_footer(logs: &Logs, table: &mut Table) {
    let kind = Kind { stale: false, ..logs.kind };
    let (disk, options) = sealed_by_footers(logs);
    let verified = options.clone().with_verify_on_open(true);
    let found = inspect(&*disk.disk()).unwrap();
    let inner = found.segments[1].heads[1..].iter().filter(|h| h.kind == GroupKind::Data);
    let bytes = [3, 30, 70, 90, 98, 104, 2000, 4090];
    let all = inner.flat_map(|h| bytes.map(|byte| (Lsn::new(2, h.offset), byte)));
    // On a directory every fifth case is enough: together they cover some bytes of each group, and each of
    // the bytes in some group.
    let step = if kind.place == Place::Simulated { 1 } else { 5 };
    for (place, byte) in all.step_by(step) {
        let copy = disk.copy();
        copy.corrupt(&name(2), place.offset() as usize + byte, |b| b[0] ^= 4);
        let Err(Error::Corrupt { damage, .. }) = Wal::open_in(copy.env(), &verified) else {
            panic!("byte {byte} of {place}: opened")
        };
        assert!(damage.iter().any(|d| d.from == place), "{damage:?}");
        let refused = damage;
        let found = Found { open: "error", verify: "error", ..Found::NOT_ASKED };
        table.note(17, "under a footer, told to verify", kind, found);
        copy.crash();
        let (wal, report) = Wal::open_in(copy.env(), &options).unwrap();
        assert!(report.by_footer.contains(&2), "{report:?}");
        let mut records = wal.records(Lsn::ZERO);
        let before = records.by_ref().map_while(Result::ok).map(|r| r.lsn()).last();
        assert!(before.is_some_and(|lsn| lsn < place), "records after {place}");
        assert!(records.next().is_none(), "records after an error");
        let shown = wal.records(Lsn::ZERO).find_map(Result::err);
        let Some(Error::Corrupt { damage, .. }) = shown else { panic!("{shown:?}") };
        assert_eq!(damage[0].from, place);
        drop(wal);
        copy.crash();
        assert_eq!(inspect(&*copy.disk()).unwrap().verdict.unwrap_err()[..], refused[..]);
        let found = Found { open: "opens", read: "error", verify: "error", ..Found::NOT_ASKED };
        table.note(17, "under a footer", kind, found);
    }
}

pub fn row_17_a_footer(logs: &Logs, table: &mut Table) {
    let kind = Kind { stale: false, ..logs.kind };
    let (disk, options) = sealed_by_footers(logs);
    let found = inspect(&*disk.disk()).unwrap();
    let is_footer = |kind| kind == GroupKind::Footer;
    let footer = found.segments[1].heads.iter().find(|h| is_footer(h.kind)).expect("a footer");
    let at = Lsn::new(2, footer.offset);
    // The index rots while the log is open.
    let (wal, _) = Wal::open_in(disk.env(), &options).unwrap();
    for byte in [3, 30, 70, 100, 1000, BLOCK - 16, BLOCK - 1] {
        let flip = |disk: &Media| disk.corrupt(&name(2), footer.offset as usize + byte, |b| b[0] ^= 4);
        flip(&disk);
        let read = match wal.records(Lsn::ZERO).collect::<Result<Vec<_>, _>>() {
            Ok(records) => {
                assert_eq!(records.len(), 40);
                "as before"
            }
            Err(Error::Corrupt { damage, .. }) => {
                assert_eq!(damage[0].from, at);
                "error"
            }
            Err(error) => panic!("{error}"),
        };
        let damage = inspect(&*disk.disk()).unwrap().verdict.unwrap_err();
        assert!(damage.iter().any(|d| d.from == at), "{damage:?}");
        flip(&disk);
        let copy = disk.copy();
        flip(&copy);
        // Open reads only the header and the tail of a footer.
        let open = match Wal::open_in(copy.env(), &options) {
            Ok((wal, _)) => {
                assert!((64..BLOCK - 16).contains(&byte));
                assert!(wal.footer(2).unwrap().is_none(), "an index that fails its checksum");
                let shown = wal.records(Lsn::ZERO).find_map(Result::err);
                assert!(matches!(shown, Some(Error::Corrupt { damage, .. }) if damage[0].from == at));
                "opens"
            }
            Err(Error::Corrupt { .. }) => {
                assert!(!(64..BLOCK - 16).contains(&byte), "byte {byte}");
                "error"
            }
            Err(error) => panic!("{error}"),
        };
        table.note(17, "a footer", kind, Found { open, read, verify: "error", ..Found::NOT_ASKED });
    }
    assert_eq!(ids(&wal), (0..40).collect::<Vec<_>>());
}
