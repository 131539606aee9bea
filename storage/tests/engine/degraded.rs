//! Tests that an engine opened on a damaged log in degraded or salvage mode names the entries with damaged
//! payloads and serves everything else, and that open refuses a log that lost more than payloads (INV-5).

use seawall::{
    ConfState, DamagedEntry, Engine, EntryRef, Error, HardState, Options, Report, WriteBatch, inspect,
};
use seawall_wal::disk::sim::{CallOp, HookDisk, SimDisk, SimOptions};
use seawall_wal::{Env, Lsn, OpenMode, Wal, report::Damage};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::simulated::stepped;

fn options(mode: OpenMode) -> Options {
    let mut options = Options::default();
    (options.log.segment_bytes, options.log.mode) = (48 << 10, mode);
    // Without this, strict mode would accept sealed segments by their footers, and find the damage only on a
    // read.
    options.log.verify_on_open = true;
    options
}

fn open(disk: &Arc<SimDisk>, mode: OpenMode) -> Result<(Engine, Report), Error> {
    Engine::open_in(stepped(disk), &options(mode))
}

fn payload(group: u64, index: u64) -> Vec<u8> {
    [group, index].map(u64::to_le_bytes).concat().repeat(100)
}

/// Appends the entries `first..=last` of `group` as one record and waits until it is durable.
fn append(engine: &Engine, group: u64, first: u64, last: u64, term: u64) {
    let payloads: Vec<Vec<u8>> = (first..=last).map(|index| payload(group, index)).collect();
    let entries: Vec<EntryRef<'_>> =
        (first..).zip(&payloads).map(|(index, payload)| EntryRef { index, term, payload }).collect();
    let mut batch = WriteBatch::new();
    batch.append(group, &entries);
    engine.write(&mut batch).unwrap().wait().unwrap();
}

/// Creates a log and closes it: 30 entries of group 7 and 30 of group 8, three in a record; a conf state, a
/// hard state and metadata of group 8; one entry of group 9.
fn filled(disk: &Arc<SimDisk>) {
    let engine = Engine::create_in(stepped(disk), &options(OpenMode::Strict)).unwrap();
    for n in 0..10 {
        append(&engine, 7, 3 * n + 1, 3 * n + 3, 1 + n / 2);
        append(&engine, 8, 3 * n + 1, 3 * n + 3, 1);
    }
    let mut batch = WriteBatch::new();
    batch.conf_state(8, &ConfState { voters: vec![0x5EA_CAFE], ..ConfState::default() });
    batch.hard_state(8, HardState { term: 1, vote: 2, commit: 30 });
    batch.put_meta(8, b"key", b"a value of the user's");
    engine.write(&mut batch).unwrap().wait().unwrap();
    append(&engine, 9, 1, 1, 1);
    engine.close().unwrap();
    disk.kill();
}

/// Flips a bit `ahead` bytes after the start of the last occurrence of `wanted`.
fn rot(disk: &SimDisk, wanted: &[u8], ahead: isize) {
    let mut places = disk.names().into_iter().filter(|name| name.ends_with(".wal")).filter_map(|name| {
        let at = disk.read_file(&name).windows(wanted.len()).rposition(|bytes| bytes == wanted)?;
        Some((name, at))
    });
    let (name, at) = places.next_back().expect("it is on the disk");
    disk.corrupt(&name, at.checked_add_signed(ahead).unwrap(), |bytes| bytes[0] ^= 1);
}

fn files(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    disk.names().into_iter().filter(|n| n != "LOCK").map(|n| (n.clone(), disk.read_file(&n))).collect()
}

/// Reads the entries `1..=last` of a group, and checks that those in `damaged` fail and all others are
/// intact.
fn read_all(engine: &Engine, group: u64, last: u64, damaged: &[DamagedEntry]) {
    let log = engine.group(group);
    assert_eq!((log.first_index(), log.last_index()), (1, last));
    for index in 1..=last {
        let expected = damaged.iter().find(|e| (e.group, e.index) == (group, index));
        match (log.entries(index, index + 1, None), expected) {
            (Ok(entries), None) => assert_eq!(entries[0].payload, payload(group, index)),
            (Err(Error::DamagedEntry { group: g, index: i, term, .. }), Some(entry)) => {
                assert_eq!((g, i, term), (group, index, entry.term));
                assert_eq!(log.term(index).unwrap(), term);
            }
            (other, _) => panic!("group {group}, entry {index}: {other:?}"),
        }
    }
}

#[test]
fn damaged_payloads_are_listed_and_everything_else_works() {
    let disk = SimDisk::new(1, SimOptions::default());
    filled(&disk);
    rot(&disk, &payload(7, 5), 800);
    rot(&disk, &payload(8, 30), 3);
    let damaged = [(7, 5, 1), (8, 30, 1)].map(|(group, index, term)| DamagedEntry { group, index, term });
    assert!(matches!(open(&disk, OpenMode::Strict), Err(Error::Log(seawall_wal::Error::Corrupt { .. }))));
    for n in 0..3 {
        let (engine, report) = open(&disk, OpenMode::Degraded).unwrap();
        assert_eq!(report.log.damaged.len(), 2);
        assert_eq!(engine.damaged(), damaged);
        read_all(&engine, 7, 30, &damaged);
        read_all(&engine, 8, 30, &damaged);
        read_all(&engine, 9, 1 + n, &damaged);
        assert_eq!(engine.group(8).conf_state().unwrap().voters, [0x5EA_CAFE]);
        assert_eq!(engine.group(8).hard_state(), HardState { term: 1, vote: 2, commit: 30 });
        append(&engine, 9, n + 2, n + 2, 1);
        drop(engine);
        disk.crash();
    }
    assert!(matches!(open(&disk, OpenMode::Strict), Err(Error::Log(seawall_wal::Error::Corrupt { .. }))));
    // Overwritten and compacted entries are no longer listed as damaged.
    let (engine, _) = open(&disk, OpenMode::Degraded).unwrap();
    append(&engine, 8, 30, 31, 1);
    assert_eq!(engine.damaged(), damaged[..1]);
    read_all(&engine, 8, 31, &[]);
    let mut batch = WriteBatch::new();
    batch.compact(7, 5).sync();
    engine.write(&mut batch).unwrap().wait().unwrap();
    assert_eq!(engine.damaged(), []);
    engine.close().unwrap();
    let (engine, _) = open(&disk, OpenMode::Degraded).unwrap();
    assert_eq!(engine.damaged(), []);
}

/// Follows the instructions in `docs/durability.md`: gets the entries from the first damaged one to the last
/// of the group from a peer, and appends them in one batch. Then the damaged segment can be released, and
/// strict mode opens the log.
#[test]
fn quarantined_entries_are_replaced_from_a_peer() {
    let disk = SimDisk::new(1, SimOptions::default());
    filled(&disk);
    rot(&disk, &payload(7, 20), 800);
    let (engine, report) = open(&disk, OpenMode::Degraded).unwrap();
    let damaged = report.log.damaged[0].from.segment();
    let (log, first) = (engine.group(7), engine.damaged()[0].index);
    let payloads: Vec<(u64, Vec<u8>)> = (first..=log.last_index()).map(|i| (i, payload(7, i))).collect();
    let from_peer: Vec<EntryRef<'_>> = payloads
        .iter()
        .map(|(index, payload)| EntryRef { index: *index, term: log.term(*index).unwrap(), payload })
        .collect();
    let terms = log.term_runs();
    let mut batch = WriteBatch::new();
    batch.append(7, &from_peer);
    engine.write(&mut batch).unwrap().wait().unwrap();
    assert_eq!((engine.damaged(), log.term_runs()), (vec![], terms));
    read_all(&engine, 7, 30, &[]);
    // Compacts the groups, so that the log can release the damaged segment.
    for group in [7, 8] {
        batch.compact(group, 29);
    }
    engine.write(batch.sync()).unwrap().wait().unwrap();
    for index in 2..60 {
        append(&engine, 9, index, index, 1);
    }
    batch.compact(9, 50).sync();
    engine.write(&mut batch).unwrap().wait().unwrap();
    for index in 60..70 {
        append(&engine, 9, index, index, 1);
    }
    assert!(engine.stats().unwrap().segments.0 > damaged);
    engine.close().unwrap();
    disk.crash();
    let (engine, report) = open(&disk, OpenMode::Strict).unwrap();
    assert_eq!((report.log.damaged.len(), engine.group(7).last_index()), (0, 30));
}

#[test]
fn salvage_reads_the_same_and_takes_no_write() {
    let disk = SimDisk::new(1, SimOptions::default());
    filled(&disk);
    rot(&disk, &payload(7, 5), 800);
    let before = files(&disk);
    let (engine, _) = open(&disk, OpenMode::Salvage).unwrap();
    let damaged = [DamagedEntry { group: 7, index: 5, term: 1 }];
    assert_eq!(engine.damaged(), damaged);
    read_all(&engine, 7, 30, &damaged);
    read_all(&engine, 8, 30, &damaged);
    let mut batch = WriteBatch::new();
    batch.append(9, &[EntryRef { index: 2, term: 1, payload: b"x" }]);
    let refused = engine.write(&mut batch).map(drop);
    assert!(matches!(refused, Err(Error::Log(seawall_wal::Error::ReadOnly))), "{refused:?}");
    assert_eq!(engine.group(9).last_index(), 1);
    engine.close().unwrap();
    assert!(before == files(&disk));
}

/// The name of a kind of damage, and a function that causes it.
type Case<'a> = (&'a str, &'a dyn Fn(&SimDisk));

#[test]
fn what_is_not_accounted_for_is_refused() {
    // Eight bytes of part table for each of three entries stand between `meta` and the first payload.
    let cases: [Case<'_>; 4] = [
        ("the meta of a record", &|disk| rot(disk, &payload(7, 4), -24 - 20)),
        ("the header of a group", &|disk| rot(disk, &payload(7, 4), -24 - 48 - 24 - 40)),
        ("a conf state", &|disk| rot(disk, &0x5EA_CAFE_u64.to_le_bytes(), 1)),
        ("metadata", &|disk| rot(disk, b"a value of the user's", 1)),
    ];
    for (what, damage) in cases {
        let disk = SimDisk::new(1, SimOptions::default());
        filled(&disk);
        damage(&disk);
        for mode in [OpenMode::Degraded, OpenMode::Salvage] {
            match &lost(open(&disk, mode))[..] {
                [Error::Unaccounted { from, to, .. }] if what.starts_with("the ") => assert!(from < to),
                [Error::DamagedConfState { group: 8, .. }] if what == "a conf state" => {}
                [Error::DamagedMeta { group: 8, key, .. }] if what == "metadata" => {
                    assert_eq!(key[..], *b"key");
                }
                other => panic!("{what}: {other:?}"),
            }
            disk.kill();
        }
    }
}

/// Returns all errors of an open in degraded or salvage mode that refuses the log.
#[track_caller]
fn lost(opened: Result<(Engine, Report), Error>) -> Arc<[Error]> {
    match opened.map(drop) {
        Err(Error::Lost { all }) => all,
        other => panic!("{other:?}"),
    }
}

/// Returns the damaged ranges of an open in strict mode that refuses the log.
#[track_caller]
fn places(opened: Result<(Engine, Report), Error>) -> Arc<[Damage]> {
    match opened.map(drop) {
        Err(Error::Log(seawall_wal::Error::Corrupt { damage, .. })) => damage,
        other => panic!("{other:?}"),
    }
}

/// Writes entries as `filled` does, and small state into segments that are sealed afterwards.
fn spread(engine: &Engine) {
    for n in 0..12 {
        let mut batch = WriteBatch::new();
        match n {
            1 => _ = batch.conf_state(8, &ConfState { voters: vec![0x5EA_CAFE], ..ConfState::default() }),
            5 => _ = batch.put_meta(7, b"key", b"a value of the user's"),
            _ => {}
        }
        if n == 1 || n == 5 {
            engine.write(&mut batch).unwrap().wait().unwrap();
        }
        append(engine, 7, 3 * n + 1, 3 * n + 3, 1);
        append(engine, 8, 3 * n + 1, 3 * n + 3, 1);
    }
    assert!(engine.stats().unwrap().segments.1 > 3);
    engine.close().unwrap();
}

fn spread_on_a_simulated_disk() -> Arc<SimDisk> {
    let disk = SimDisk::new(1, SimOptions::default());
    spread(&Engine::create_in(stepped(&disk), &options(OpenMode::Strict)).unwrap());
    disk.kill();
    disk
}

/// Damages each block in turn. The log or the replay finds the damage, and until then open has written
/// nothing.
#[test]
fn a_refused_open_has_changed_nothing() {
    let disk = spread_on_a_simulated_disk();
    disk.write_file("000000ff.new", &[1; 4096]);
    let (mut refused, mut opened) = (0, 0);
    for (name, bytes) in files(&disk).into_iter().filter(|(name, _)| name.ends_with(".wal")) {
        let used = (4096..bytes.len()).step_by(4096).filter(|&at| bytes[at] != 0);
        for at in used.flat_map(|at| [at + 20, at + 300, at + 3000]) {
            for (mode, verify) in
                [OpenMode::Strict, OpenMode::Degraded].map(|m| [(m, false), (m, true)]).concat()
            {
                let copy = disk.fork(1);
                copy.corrupt(&name, at, |bytes| bytes[0] ^= 0x55);
                let before = files(&copy);
                let changes = Arc::new(AtomicU64::new(0));
                let count = Arc::clone(&changes);
                let counting = HookDisk::new(copy.process(), move |call| {
                    if matches!(call.op, CallOp::Write | CallOp::Allocate | CallOp::Rename | CallOp::Remove) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                });
                let mut options = options(mode);
                options.log.verify_on_open = verify;
                match Engine::open_in(Env { disk: counting, ..stepped(&copy) }, &options).map(drop) {
                    Ok(()) => opened += 1,
                    Err(error) => {
                        let changes = changes.load(Ordering::Relaxed);
                        assert_eq!(changes, 0, "{name} {at:#x} {mode:?} {verify}: {error}");
                        assert!(files(&copy) == before, "{name} {at:#x} {mode:?} {verify}: {error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(refused > 100 && opened > 100, "{refused} and {opened}");
}

#[test]
fn a_refused_open_of_a_real_directory_has_changed_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("engine");
    let mut options = options(OpenMode::Strict);
    options.log.verify_on_open = false;
    spread(&Engine::create(&dir, &options).unwrap());
    let files = |dir: &Path| -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
        let files = files.map(|f| (f.file_name().into_string().unwrap(), fs::read(f.path()).unwrap()));
        files.filter(|(name, _)| name != "LOCK").collect()
    };
    let wanted = 0x5EA_CAFE_u64.to_le_bytes();
    let (name, at) = files(&dir)
        .into_iter()
        .find_map(|(name, bytes)| Some((name, bytes.windows(8).position(|bytes| bytes == wanted)?)))
        .expect("the conf state");
    let mut bytes = fs::read(dir.join(&name)).unwrap();
    bytes[at] ^= 1;
    fs::write(dir.join(&name), bytes).unwrap();
    fs::write(dir.join("000000ff.new"), [1; 4096]).unwrap();
    let before = files(&dir);
    for mode in [OpenMode::Strict, OpenMode::Degraded] {
        options.log.mode = mode;
        let error = Engine::open(&dir, &options).map(drop).expect_err("a conf state is damaged");
        assert!(files(&dir) == before, "{mode:?}: {error}");
    }
}

/// The replay finds the damaged conf state, but does not read the damaged entry in a segment that open
/// accepts by its footer. Open names that entry's range as well, like an open that reads everything (INV-5).
#[test]
fn a_refusal_names_every_place() {
    let disk = spread_on_a_simulated_disk();
    rot(&disk, &0x5EA_CAFE_u64.to_le_bytes(), 1);
    rot(&disk, &payload(8, 20), 800);
    let mut options = options(OpenMode::Strict);
    let all = places(Engine::open_in(stepped(&disk), &options));
    options.log.verify_on_open = false;
    let named = places(Engine::open_in(stepped(&disk), &options));
    let segments: Vec<u32> = named.iter().map(|place| place.from.segment()).collect();
    assert!(matches!(segments[..], [first, second] if first < second), "{named:?}");
    assert_eq!(named, all);
    // Degraded mode refuses the metadata and the `meta` damaged here as well, but not the damaged payload.
    rot(&disk, b"a value of the user's", 1);
    rot(&disk, &payload(7, 31), -24 - 20);
    match &lost(open(&disk, OpenMode::Degraded))[..] {
        [
            Error::DamagedConfState { group: 8, .. },
            Error::DamagedMeta { group: 7, .. },
            Error::Unaccounted { .. },
        ] => {}
        other => panic!("{other:?}"),
    }
}

/// Follows the instructions in `docs/durability.md` for a log that the engine refuses in salvage mode, too.
#[test]
fn what_an_engine_refuses_can_be_read_below_it() {
    let disk = spread_on_a_simulated_disk();
    rot(&disk, &payload(7, 31), -24 - 20);
    let before = files(&disk);
    lost(open(&disk, OpenMode::Salvage));
    let (wal, report) = Wal::open_in(stepped(&disk), &options(OpenMode::Salvage).log).unwrap();
    let (mut entries, mut passed) = (BTreeSet::new(), Vec::new());
    for record in wal.records(Lsn::ZERO) {
        match record {
            Ok(record) => {
                for line in inspect::decode_record(record.meta(), record.part_count()).unwrap() {
                    let inspect::OpKind::Entries { first, .. } = line.what else { continue };
                    for (index, (_, bytes)) in (first..).zip(record.parts().skip(line.parts.start)) {
                        assert_eq!(bytes, payload(line.group, index));
                        entries.insert((line.group, index));
                    }
                }
            }
            Err(seawall_wal::Error::Corrupt { damage, .. }) => passed.extend(damage.iter().copied()),
            Err(error) => panic!("{error}"),
        }
    }
    let all = [7, 8].into_iter().flat_map(|group| (1..=36).map(move |index| (group, index)));
    let missing: Vec<_> = all.filter(|entry| !entries.contains(entry)).collect();
    assert_eq!(missing, [(7, 31), (7, 32), (7, 33)]);
    assert_eq!(passed, report.damaged);
    assert!(files(&disk) == before);
}
