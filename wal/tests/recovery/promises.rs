//! Tests small scenarios of the promises that the random model does not reach: INV-4, INV-5, INV-7, INV-8,
//! INV-9 and INV-10.
//!
//! All tests use the simulated disk and one thread, and leave nothing to chance except where a seed is named.

use seawall_wal::disk::sim::{
    FaultError, FaultOp, FaultRule, HookDisk, SimClock, SimDisk, SimOptions, SimRandom,
};
use seawall_wal::disk::{Disk, Mode, clock::Random};
use seawall_wal::inspect::{GroupKind, inspect};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Env, Error, Lsn, Options, RecordBuilder, Threads, Ticket, Wal};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const BLOCK: usize = 4096;

fn options() -> Options {
    Options::default().with_segment_bytes(64 << 10)
}

fn env(disk: Arc<dyn Disk>) -> Env {
    let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(7)));
    Env { disk, clock, random, threads: Threads::Stepped }
}

fn sim() -> Arc<SimDisk> {
    SimDisk::new(1, SimOptions::default())
}

fn append(wal: &Wal, payload: &[u8]) -> Result<Ticket, Error> {
    let mut batch = RecordBuilder::new();
    batch.push_part(payload);
    wal.append(&batch, Durability::Sync)
}

fn payloads(wal: &Wal) -> Vec<Vec<u8>> {
    let records = wal.records(Lsn::ZERO).map(|r| r.expect("a sound record"));
    records.map(|r| r.parts().flat_map(|(_, bytes)| bytes.to_vec()).collect()).collect()
}

/// A closed log of `count` records, each durable before the next is appended.
fn closed(count: u8) -> Arc<SimDisk> {
    let disk = sim();
    let wal = Wal::create_in(env(disk.process()), &options()).unwrap();
    for n in 0..count {
        append(&wal, &[n + 1; 700]).unwrap().wait().unwrap();
    }
    wal.close().unwrap();
    disk
}

fn contents(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.names().into_iter().filter(|name| name != "LOCK");
    names.map(|name| (name.clone(), disk.read_file(&name))).collect()
}

/// A disk that notes in `groups` the blocks to which a group was written, and panics if one of them is
/// written again.
fn watched(disk: &SimDisk, groups: &Arc<Mutex<BTreeSet<(String, u64)>>>) -> Arc<dyn Disk> {
    let groups = Arc::clone(groups);
    HookDisk::new(disk.process(), move |call| {
        // A segment is written under two names, before and after it is renamed.
        let name = call.name.trim_end_matches(".new").trim_end_matches(".wal");
        let mut groups = groups.lock().unwrap();
        for at in (call.offset..call.offset + call.bytes.len() as u64).step_by(BLOCK) {
            let block = (name.to_owned(), at);
            assert!(!groups.contains(&block), "INV-4: {block:?} is written again");
            if call.bytes.starts_with(b"SWGR") {
                groups.insert(block);
            }
        }
        Ok(())
    })
}

#[test]
fn inv_4_no_block_of_a_group_is_written_again() {
    let (disk, groups) = (sim(), Arc::default());
    let mut written: Vec<Vec<u8>> = Vec::new();
    for life in 0..12u8 {
        let wal = if life == 0 {
            Wal::create_in(env(watched(&disk, &groups)), &options()).unwrap()
        } else {
            Wal::open_in(env(watched(&disk, &groups)), &options()).unwrap().0
        };
        assert_eq!(payloads(&wal), written);
        for n in 0..9u8 {
            // Some payloads are zeros, so that blocks of a group look like blocks that were never written.
            let payload = vec![if n % 3 == 0 { 0 } else { life }; 1 + usize::from(n) * 1500];
            append(&wal, &payload).unwrap().wait().unwrap();
            written.push(payload);
        }
        match life % 3 {
            0 => wal.close().unwrap(),
            1 => {
                drop(wal);
                disk.kill();
            }
            _ => {
                drop(wal);
                disk.crash();
            }
        }
    }
    assert!(groups.lock().unwrap().len() > 200);
}

#[test]
fn inv_5_rot_below_the_watermark_is_refused_in_every_sector_and_changes_nothing() {
    let disk = closed(12);
    let sound = contents(&disk);
    let found = inspect(&*disk.process()).unwrap();
    let mut sectors = 0;
    for segment in &found.segments {
        let name = format!("{:08x}.wal", segment.sequence);
        for head in segment.heads.iter().filter(|h| h.kind == GroupKind::Data) {
            for at in (head.offset..head.end).step_by(512) {
                let at = usize::try_from(at).unwrap() + 100;
                disk.corrupt(&name, at, |bytes| bytes[0] ^= 1);
                let rotten = contents(&disk);
                let error = Wal::open_in(env(disk.process()), &options()).unwrap_err();
                let Error::Corrupt { damage, .. } = &error else { panic!("{at}: {error}") };
                let hit = |d: &&seawall_wal::inspect::Damage| {
                    d.from.segment() == segment.sequence && d.from.offset() == head.offset
                };
                assert!(damage.iter().any(|d| hit(&d)), "{at}: {error}");
                assert_eq!(contents(&disk), rotten, "a refusal changes nothing");
                disk.corrupt(&name, at, |bytes| bytes[0] ^= 1);
                sectors += 1;
            }
        }
    }
    assert_eq!(sectors, 12 * 8);
    assert_eq!(contents(&disk), sound);
    let (wal, _) = Wal::open_in(env(disk.process()), &options()).unwrap();
    assert_eq!(payloads(&wal).len(), 12);
}

#[test]
fn inv_5_missing_files_are_refused() {
    for name in ["00000001.wal", "00000002.wal"] {
        let disk = closed(40);
        let used = inspect(&*disk.process()).unwrap().segments.iter().filter(|s| !s.heads.is_empty()).count();
        assert!(used >= 3, "{used} segments");
        disk.remove_file(name);
        let error = Wal::open_in(env(disk.process()), &options()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{name}: {error}");
    }
    let disk = closed(1);
    disk.names().iter().filter(|n| n.ends_with(".wal")).for_each(|n| disk.remove_file(n));
    let error = Wal::open_in(env(disk.process()), &options()).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "an identity without segments: {error}");
    let disk = closed(1);
    disk.remove_file("IDENTITY");
    assert!(matches!(Wal::open_in(env(disk.process()), &options()), Err(Error::NotALog { .. })));
    assert!(matches!(Wal::create_in(env(disk.process()), &options()), Err(Error::AlreadyALog { .. })));
}

#[test]
fn inv_7_the_first_failure_answers_everybody_and_is_the_last() {
    for (mode, op) in [(Mode::Direct, FaultOp::Write), (Mode::Buffered, FaultOp::Sync)] {
        let disk = SimDisk::new(3, SimOptions { mode, ..SimOptions::default() });
        let wal = Wal::create_in(env(disk.process()), &options()).unwrap();
        append(&wal, b"acknowledged").unwrap().wait().unwrap();
        disk.fail(FaultRule::once(op, 1, FaultError::Io));
        let answer = Arc::new(Mutex::new(None));
        let called = Arc::clone(&answer);
        let tickets = [append(&wal, b"a").unwrap(), append(&wal, b"b").unwrap()];
        append(&wal, b"c").unwrap().on_durable(move |result| *called.lock().unwrap() = Some(result));
        for ticket in &tickets {
            assert!(matches!(ticket.wait(), Err(Error::Latched { .. })));
            assert!(!ticket.is_durable());
        }
        assert!(matches!(answer.lock().unwrap().take(), Some(Err(Error::Latched { .. }))));
        // The device would accept the next write, but the log does not try.
        let operations = disk.operations();
        assert!(matches!(append(&wal, b"d"), Err(Error::Latched { .. })));
        assert!(matches!(wal.flush(), Err(Error::Latched { .. })));
        assert!(matches!(wal.close(), Err(Error::Latched { .. })));
        assert_eq!(disk.operations(), operations);
        disk.crash();
        let (wal, _) = Wal::open_in(env(disk.process()), &options()).unwrap();
        assert_eq!(payloads(&wal)[0], b"acknowledged");
    }
}

#[test]
fn inv_8_a_full_disk_is_an_error_and_work_goes_on_when_there_is_space() {
    let disk = sim();
    let wal = Wal::create_in(env(disk.process()), &options()).unwrap();
    disk.set_capacity(Some(256 << 10));
    let mut written = 0;
    let error = loop {
        match append(&wal, &[5; 3000]) {
            Ok(ticket) => ticket.wait().unwrap(),
            Err(error) => break error,
        };
        written += 1;
        assert!(written < 1000, "the disk never filled up");
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!(matches!(append(&wal, &[5; 3000]), Err(Error::NoSpace { .. })), "still");
    disk.set_capacity(None);
    // The preallocator's thread does this ten times a second.
    while Stepper::new(&wal).prepare().unwrap() {}
    append(&wal, b"there is space").unwrap().wait().unwrap();
    assert_eq!(payloads(&wal).len(), written + 1);
    wal.close().unwrap();
    let (wal, report) = Wal::open_in(env(disk.process()), &options()).unwrap();
    assert_eq!((payloads(&wal).len(), report.dropped.len()), (written + 1, 0));
}

#[test]
fn inv_9_no_bytes_panic_or_hang() {
    let sound = closed(30);
    let names: Vec<String> = sound.names().into_iter().filter(|n| n != "LOCK").collect();
    let random = SimRandom::new(11);
    let below = |n: usize| usize::try_from(random.next_u64() % n as u64).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for seed in 0..400 {
        let disk = sound.fork(seed);
        for _ in 0..=below(4) {
            let name = &names[below(names.len())];
            let len = disk.read_file(name).len();
            match below(12) {
                0 => disk.truncate(name, below(len * 2 + 1)),
                1 => disk.remove_file(name),
                _ if len == 0 => {}
                // Changes bytes in the first half of the file, most of which is in use.
                _ => disk.corrupt(name, below(len.div_ceil(2)), |bytes| {
                    let count = bytes.len().min(1 + below(9));
                    bytes[..count].iter_mut().for_each(|b| *b = random.next_u64().to_le_bytes()[0]);
                }),
            }
            if !disk.exists(name) {
                break;
            }
        }
        let _ = inspect(&*disk.process());
        match Wal::open_in(env(disk.process()), &options()) {
            Ok((wal, _)) => {
                wal.records(Lsn::ZERO).for_each(drop);
                opened += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 20 && refused > 20, "{opened} opened, {refused} refused");
}

#[test]
fn inv_10_looking_changes_nothing() {
    let disk = closed(12);
    disk.write_file("00000009.new", b"an unfinished spare");
    let (before, operations) = (contents(&disk), disk.operations());
    let found = inspect(&*disk.process()).unwrap();
    assert!(found.verdict.is_ok() && found.unfinished == ["00000009.new"]);
    assert_eq!((contents(&disk), disk.operations()), (before, operations));
    let (wal, _) = Wal::open_in(env(disk.process()), &options()).unwrap();
    let operations = disk.operations();
    assert_eq!(payloads(&wal).len(), 12);
    assert_eq!(disk.operations(), operations, "reading is no writing");
}

#[test]
fn who_blocks_for_a_lazy_record_has_it_written_at_once() {
    let disk = sim();
    let wal = Wal::create_in(env(disk.process()), &options()).unwrap();
    let mut batch = RecordBuilder::new();
    batch.push_part(b"commit index");
    let ticket = wal.append(&batch, Durability::Lazy).unwrap();
    assert!(!ticket.is_durable(), "a lazy record forces no group");
    // No thread steps the log here, so a wait that left the group to others would never end.
    let lsn = ticket.wait().unwrap();
    assert!(wal.durable() > lsn);
}
