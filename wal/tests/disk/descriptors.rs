//! Tests that sealed segments share a bounded number of file descriptors, that a file is read after it is
//! opened again only if it is the one that was closed, and that a shortage of descriptors holds the log up
//! without stopping it (INV-5, INV-8).

use crate::harness;

use harness::{Watchdog, env, fill, ids, record, small};
use seawall_wal::disk::sim::{CallOp, HookDisk, SimDisk, SimOptions};
use seawall_wal::disk::{Disk, Mode, PosixDisk};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Error, Lsn, Options, Threads, Wal};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Payload of most records here, in bytes. A few such records fill a segment.
const BYTES: usize = 3000;

const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// Options with the smallest number of descriptors.
fn few() -> Options {
    small().with_segment_bytes(40 << 10).with_descriptors_max(8)
}

fn append(wal: &Wal, id: u64) -> Lsn {
    let ticket = wal.append(&record(id, BYTES), Durability::Sync).unwrap();
    ticket.wait().unwrap();
    ticket.lsn()
}

/// Appends records with these numbers. Returns where the payload of each is.
fn append_all(wal: &Wal, ids: std::ops::Range<u64>) -> BTreeMap<u64, Lsn> {
    let lsns: BTreeMap<u64, Lsn> = ids.map(|id| (id, append(wal, id))).collect();
    let part = |record: seawall_wal::Record| {
        let at = record.parts().next().map(|(info, _)| Lsn::new(record.lsn().segment(), info.offset));
        (u64::from_le_bytes(record.meta().try_into().unwrap()), at.unwrap())
    };
    let first = lsns.first_key_value().map_or(Lsn::ZERO, |(_, lsn)| *lsn);
    wal.records(first).map(|record| part(record.unwrap())).filter(|(id, _)| lsns.contains_key(id)).collect()
}

fn read(wal: &Wal, at: Lsn) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; BYTES];
    wal.read_at(at, &mut bytes).map(|()| bytes)
}

/// Runs the preallocator until it has nothing to do.
fn prepare(wal: &Wal) {
    let mut stepper = Stepper::new(wal);
    for _ in 0..3 {
        stepper.idle();
        while stepper.prepare().unwrap() {}
    }
}

/// The number of descriptors that this process has for segments in `dir`.
fn open_in(dir: &Path) -> usize {
    let dir = dir.canonicalize().unwrap();
    let links =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    links.filter(|path| path.starts_with(&dir) && path.to_string_lossy().contains(".wal")).count()
}

fn posix(dir: &Path, mode: Mode) -> Arc<PosixDisk> {
    Arc::new(PosixDisk::open(dir, Some(mode)).unwrap())
}

#[test]
fn sealed_segments_share_the_descriptors_that_the_option_says() {
    for mode in [Mode::Direct, Mode::Buffered] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let Ok(wal) = Wal::create_in(env(posix(dir.path(), mode), Threads::Stepped), &few()) else {
            assert_eq!(mode, Mode::Direct, "a file system without direct I/O");
            continue;
        };
        // 8 for sealed segments, and two each for the segment in use, three spares, one that is being zeroed,
        // and three that were released.
        let most = 8 + 2 * (1 + 3 + 1 + 3);
        let mut at = BTreeMap::new();
        for id in (0..400).step_by(20) {
            at.extend(append_all(&wal, id..id + 20));
            prepare(&wal);
            assert!(open_in(dir.path()) <= most, "{mode:?}: {} after writing", open_in(dir.path()));
        }
        assert!(wal.active_segment() > 30);
        let check = |wal: &Wal| {
            for id in (0..400).map(|i| i * 7919 % 400) {
                assert_eq!(read(wal, at[&id]).unwrap(), vec![fill(id); BYTES], "{mode:?}: record {id}");
                assert!(open_in(dir.path()) <= most, "{mode:?}: {} after reading", open_in(dir.path()));
            }
            assert_eq!(ids(wal), (0..400).collect::<Vec<_>>());
        };
        check(&wal);
        // A segment that is read again and again is opened only once.
        let before = wal.stats().reopened;
        for _ in 0..50 {
            read(&wal, at[&0]).unwrap();
            read(&wal, at[&30]).unwrap();
        }
        assert!(wal.stats().reopened <= before + 2, "{mode:?}");
        wal.close().unwrap();
        let (wal, _) = Wal::open_in(env(posix(dir.path(), mode), Threads::Stepped), &few()).unwrap();
        assert!(open_in(dir.path()) <= most, "{mode:?}: {} after opening", open_in(dir.path()));
        check(&wal);
        drop(wal);
        assert_eq!(open_in(dir.path()), 0, "{mode:?}");
    }
}

/// Segments that wait for the disk are open, so their number is bounded.
#[test]
fn segments_that_wait_for_the_disk_are_bounded_too() {
    let _watchdog = Watchdog::new("segments that wait for the disk");
    let disk = SimDisk::new(3, SimOptions { mode: Mode::Buffered, ..SimOptions::default() });
    let wal = Wal::create_in(env(disk.process(), Threads::Stepped), &few()).unwrap();
    for id in 0..400 {
        // No thread waits for the records. Without the bound the log would be 30 segments ahead.
        drop(wal.append(&record(id, BYTES), Durability::Sync).unwrap());
        let ahead = wal.active_segment() - wal.durable().segment();
        // Two full segments, three spares, and one for groups whose completion the log has not processed yet.
        assert!(ahead <= 2 + 3 + 1, "record {id}: {ahead} segments ahead");
    }
    wal.flush().unwrap();
    assert_eq!(ids(&wal), (0..400).collect::<Vec<_>>());
}

#[test]
fn a_file_that_took_the_name_of_a_segment_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::create_in(env(posix(dir.path(), Mode::Buffered), Threads::Stepped), &few()).unwrap();
    let at = append_all(&wal, 0..200);
    prepare(&wal);
    let others = || (100..200).for_each(|id| _ = read(&wal, at[&id]).unwrap());
    let name = dir.path().join("00000001.wal");
    let sound = fs::read(&name).unwrap();
    assert_eq!(at[&0].segment(), 1);
    others();

    // The name leads to another file, with the right header and other content.
    let mut other = sound.clone();
    other[4096..].fill(7);
    fs::write(dir.path().join("other"), &other).unwrap();
    fs::rename(&name, dir.path().join("kept")).unwrap();
    fs::rename(dir.path().join("other"), &name).unwrap();
    let error = read(&wal, at[&0]).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::InvalidData),
        "{error}"
    );
    assert!(wal.records(Lsn::ZERO).next().unwrap().is_err());

    // The name leads to the same file, with the header of another segment.
    fs::rename(dir.path().join("kept"), &name).unwrap();
    assert_eq!(read(&wal, at[&0]).unwrap(), vec![fill(0); BYTES]);
    others();
    fs::write(&name, fs::read(dir.path().join("00000002.wal")).unwrap()).unwrap();
    let error = read(&wal, at[&0]).unwrap_err();
    assert!(
        matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::InvalidData),
        "{error}"
    );

    // The name leads to no file. None of these errors stops the log.
    fs::remove_file(&name).unwrap();
    assert!(matches!(read(&wal, at[&0]).unwrap_err(), Error::Io { .. }));
    append(&wal, 200);
    fs::write(&name, &sound).unwrap();
}

/// Released files keep their names while they have readers, even if the log has closed them, and are removed
/// afterwards. None is recycled.
#[test]
fn released_segments_that_are_read_are_opened_again_and_removed_at_last() {
    let dir = tempfile::tempdir().unwrap();
    let wal = Wal::create_in(env(posix(dir.path(), Mode::Buffered), Threads::Stepped), &few()).unwrap();
    let at = append_all(&wal, 0..200);
    prepare(&wal);
    let name = |segment: u32| dir.path().join(format!("{segment:08x}.wal"));
    let mut reader = wal.records(Lsn::ZERO);
    let first = reader.next().unwrap().unwrap();
    assert_eq!(first.lsn().segment(), 1);
    let released = wal.active_segment();
    wal.release(released).unwrap();
    append_all(&wal, 200..300);
    prepare(&wal);
    assert!(wal.active_segment() > released + 5);
    assert!(matches!(read(&wal, at[&0]), Err(Error::NotInLog { .. })), "released");
    assert!((1..released).all(|segment| name(segment).exists()), "its reader may have to open it again");
    let reopened = wal.stats().reopened;
    let rest: Vec<u64> =
        reader.by_ref().map(|r| u64::from_le_bytes(r.unwrap().meta().try_into().unwrap())).collect();
    assert_eq!(rest, (1..200).collect::<Vec<_>>());
    assert!(wal.stats().reopened > reopened + 10, "they were closed");
    drop(reader);
    append_all(&wal, 300..400);
    prepare(&wal);
    assert!((1..released).all(|segment| !name(segment).exists()), "they have no reader any more");
    assert_eq!(ids(&wal).last(), Some(&399));
    // A released file with a reader loses its name when the log ends, because the next process may use every
    // file that has one.
    let held = wal.records(Lsn::ZERO);
    let (from, to) = (wal.first_segment(), wal.active_segment());
    wal.release(to).unwrap();
    append_all(&wal, 400..420);
    prepare(&wal);
    assert!((from..to).all(|segment| name(segment).exists()));
    wal.close().unwrap();
    assert!((from..to).all(|segment| !name(segment).exists()));
    drop(held);
}

/// A shortage of descriptors. While it is on, all calls of `open` from the `from`-th one on fail.
#[derive(Default)]
struct Shortage {
    opens: AtomicU64,
    from: AtomicU64,
    on: AtomicBool,
}

impl Shortage {
    fn disk(self: &Arc<Shortage>, disk: Arc<dyn Disk>) -> Arc<HookDisk> {
        let shortage = Arc::clone(self);
        HookDisk::new(disk, move |call| {
            if call.op != CallOp::Open {
                return Ok(());
            }
            let n = shortage.opens.fetch_add(1, Ordering::Relaxed) + 1;
            let short = shortage.on.load(Ordering::Relaxed) && n >= shortage.from.load(Ordering::Relaxed);
            let errno = if n.is_multiple_of(2) { EMFILE } else { ENFILE };
            if short { Err(io::Error::from_raw_os_error(errno)) } else { Ok(()) }
        })
    }

    fn begin(&self, from: u64) {
        self.opens.store(0, Ordering::Relaxed);
        self.from.store(from, Ordering::Relaxed);
        self.on.store(true, Ordering::Relaxed);
    }

    /// Makes `call`. If it fails for the shortage, ends the shortage and asserts that the same call succeeds.
    fn ended_by<T>(&self, what: &str, mut call: impl FnMut() -> Result<T, Error>) -> T {
        call().unwrap_or_else(|error| {
            self.end(what, &error);
            call().unwrap_or_else(|error| panic!("{what}: {error}, although there are descriptors"))
        })
    }

    fn end(&self, what: &str, error: &Error) {
        assert!(matches!(error, Error::NoDescriptors { .. }), "{what}: {error}");
        assert!(error.is_back_pressure());
        assert!(self.on.swap(false, Ordering::Relaxed), "{what}: {error}, although there are descriptors");
    }
}

/// Writes, reads and releases, with a shortage of descriptors that begins with the `from`-th call of open.
/// Returns whether there were that many calls.
fn a_life_with_a_shortage(from: u64) -> bool {
    let what = &format!("from call {from} on");
    let disk = SimDisk::new(from, SimOptions::default());
    let shortage = Arc::new(Shortage::default());
    let env = || env(shortage.disk(disk.process()), Threads::Stepped);
    shortage.begin(from);
    let wal = shortage.ended_by(what, || Wal::create_in(env(), &few()));
    let mut at = BTreeMap::new();
    for id in 0..120 {
        let append = || wal.append(&record(id, BYTES), Durability::Sync);
        let ticket = append().unwrap_or_else(|error| {
            assert!(matches!(error, Error::NoDescriptors { .. }), "{what}: {error}");
            shortage.on.store(false, Ordering::Relaxed);
            // The preallocator's thread would soon try again. The error may stem from an earlier attempt.
            let stepper = Stepper::new(&wal);
            while stepper.prepare().unwrap() {}
            append().unwrap_or_else(|error| panic!("{what}: {error}, although there are descriptors"))
        });
        at.insert(id, ticket.lsn());
        ticket.wait().unwrap();
        if id % 10 == 9 {
            let stepper = Stepper::new(&wal);
            while stepper.prepare().unwrap() {}
        }
        // Reads a byte near the end of a record some segments back, whose file was closed.
        if let Some((old, lsn)) = at.iter().rev().nth(60) {
            let mut byte = [0];
            let last = Lsn::from_u64(lsn.as_u64() + BYTES as u64);
            shortage.ended_by(what, || wal.read_at(last, &mut byte));
            assert_eq!(byte, [fill(*old)], "{what}");
        }
        if id == 100 {
            let live = at[&60].segment();
            shortage.ended_by(what, || wal.release(live));
            at.retain(|_, lsn| lsn.segment() >= live);
        }
    }
    shortage.ended_by(what, || wal.flush());
    let found: Vec<u64> = shortage.ended_by(what, || harness::try_ids(&wal));
    assert_eq!(found, at.keys().copied().collect::<Vec<_>>(), "{what}");
    drop(wal);
    let (wal, report) = shortage.ended_by(what, || Wal::open_in(env(), &few()));
    assert!(report.dropped.is_empty() && report.damaged.is_empty(), "{what}");
    let found: Vec<u64> = shortage.ended_by(what, || harness::try_ids(&wal));
    assert_eq!(found, at.keys().copied().collect::<Vec<_>>(), "{what}");
    wal.close().unwrap();
    shortage.opens.load(Ordering::Relaxed) >= from
}

#[test]
fn a_shortage_from_any_call_of_open_on_is_back_pressure() {
    let mut from = 1;
    while a_life_with_a_shortage(from) {
        from += 1;
    }
    assert!(from > 80, "only {from} calls");
}

/// Files that are opened and closed meanwhile get the numbers of descriptors that the log has closed.
#[test]
fn files_that_get_the_numbers_of_closed_descriptors_are_left_alone() {
    let _watchdog = Watchdog::new("decoys");
    let dir = tempfile::tempdir().unwrap();
    let decoys = tempfile::tempdir().unwrap();
    let decoy = |i: u64| decoys.path().join(i.to_string());
    (0..16).for_each(|i| fs::write(decoy(i), vec![0xdd; 64 << 10]).unwrap());
    let wal = Wal::create_in(env(posix(dir.path(), Mode::Buffered), Threads::Spawned), &few()).unwrap();
    let at = append_all(&wal, 0..200);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (wal, at, done) = (&wal, &at, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let open = |i| fs::OpenOptions::new().read(true).write(true).open(decoy(i)).unwrap();
                drop((0..16).map(open).collect::<Vec<_>>());
            }
        });
        let readers: Vec<_> = (0..2u64)
            .map(|thread| {
                scope.spawn(move || {
                    for id in (0..1000).map(|i| (i * 7919 + thread * 31) % 200) {
                        assert_eq!(read(wal, at[&id]).unwrap(), vec![fill(id); BYTES], "record {id}");
                    }
                })
            })
            .collect();
        (200..300).for_each(|id| _ = append(wal, id));
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    assert!(wal.stats().reopened > 100);
    assert_eq!(ids(&wal), (0..300).collect::<Vec<_>>());
    wal.close().unwrap();
    (0..16).for_each(|i| assert!(fs::read(decoy(i)).unwrap().iter().all(|&b| b == 0xdd), "decoy {i}"));
}
