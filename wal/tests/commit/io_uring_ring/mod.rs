//! Tests that the log uses io_uring where it can, falls back where it cannot, and loses no acknowledged
//! record to a fault in the ring.
//!
//! The tests run on a real directory with real threads. Where the kernel has no io_uring, they cover only the
//! fall-back.

use crate::harness;

mod faulty;

use faulty::{Fault, FaultyDisk, Plan, Reached};
use harness::{Watchdog, env, ids, record};
use seawall_wal::disk::{Access, AlignedBuf, Disk, Mode, PosixDisk, ring::RingOp};
use seawall_wal::{Backend, Durability, Error, Options, Strategy, Threads, Wal};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};

/// Options with groups of one record each, so that a producer soon has several closed groups. The log writes
/// those through the ring.
fn options(backend: Backend) -> Options {
    Options::default()
        .with_segment_bytes(256 << 10)
        .with_group_bytes(4096)
        .with_idle_ms(5)
        .with_backend(backend)
}

fn kernel_has_rings(dir: &Path) -> bool {
    PosixDisk::open(dir, None).unwrap().ring(1).is_ok()
}

/// The modes that the file system of `dir` supports.
fn modes(dir: &Path) -> Vec<Mode> {
    let natural = PosixDisk::open(dir, None).unwrap().mode();
    if natural == Mode::Direct { vec![Mode::Direct, Mode::Buffered] } else { vec![Mode::Buffered] }
}

fn create(dir: &Path, mode: Mode, backend: Backend, plan: &Arc<Plan>) -> Result<Wal, Error> {
    Wal::create_in(env(FaultyDisk::open(dir, mode, plan), Threads::Spawned), &options(backend))
}

/// Makes `count` appends without waiting, then waits for all of them. Checks that each was answered once and
/// that callbacks ran in log order. Returns the numbers of the acknowledged records.
fn load(wal: &Wal, count: u64) -> BTreeSet<u64> {
    let (answers, answered) = mpsc::channel();
    let called = Arc::new(Mutex::new(Vec::new()));
    let (mut tickets, mut left) = (Vec::new(), 0);
    for id in 0..count {
        let Ok(ticket) = wal.append(&record(id, 3000), Durability::Sync) else { break };
        if id % 2 == 0 {
            tickets.push((id, ticket));
        } else {
            let (lsn, answers, called) = (ticket.lsn(), answers.clone(), Arc::clone(&called));
            left += 1;
            ticket.on_durable(move |result| {
                called.lock().unwrap().push(lsn);
                answers.send((id, result.is_ok())).unwrap();
            });
        }
    }
    drop(answers);
    let mut good: BTreeSet<u64> =
        tickets.into_iter().filter(|(_, t)| t.wait().is_ok()).map(|(id, _)| id).collect();
    let answers: Vec<(u64, bool)> = answered.into_iter().collect();
    assert_eq!(answers.len(), left, "every callback is called once");
    good.extend(answers.into_iter().filter(|(_, ok)| *ok).map(|(id, _)| id));
    assert!(called.lock().unwrap().is_sorted(), "callbacks out of order");
    assert!(good.iter().copied().eq(0..good.len() as u64), "acknowledged is not a prefix: {good:?}");
    good
}

#[test]
fn the_ring_is_used_where_the_kernel_has_it_and_refused_by_name_where_it_has_not() {
    let place = tempfile::tempdir().unwrap();
    let has = kernel_has_rings(place.path());
    let backend = |name: &str, backend, plan: Plan| {
        let dir = place.path().join(name);
        PosixDisk::create_dir(&dir).unwrap();
        create(&dir, Mode::Buffered, backend, &Arc::new(plan)).map(|wal| wal.stats().backend)
    };
    let refused = || Plan { refused: Some(ErrorKind::PermissionDenied), ..Plan::default() };
    assert_eq!(backend("a", Backend::Auto, Plan::default()).unwrap(), if has { "io_uring" } else { "posix" });
    assert_eq!(backend("b", Backend::Posix, Plan::default()).unwrap(), "posix");
    assert_eq!(backend("c", Backend::Auto, refused()).unwrap(), "posix");
    let error = backend("d", Backend::IoUring, refused()).unwrap_err();
    assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("io_uring"), "{error}");
    // The directory is unlocked again, and the log in it opens with another backend.
    let (wal, _) = Wal::open(place.path().join("d"), &options(Backend::Auto)).unwrap();
    assert!(wal.append(&record(1, 10), Durability::Sync).unwrap().wait().is_ok());
}

#[test]
fn several_groups_are_in_flight_and_acknowledged_in_order_however_they_end() {
    let _watchdog = Watchdog::new("order");
    for mode in modes(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let plan = Arc::new(Plan { reverse: true, ..Plan::default() });
        let wal = create(place.path(), mode, Backend::Auto, &plan).unwrap();
        assert_eq!(load(&wal, 600).len(), 600);
        if kernel_has_rings(place.path()) {
            assert!(
                plan.most_in_flight.load(Ordering::SeqCst) > 1,
                "no two operations were in flight together"
            );
        }
        wal.close().unwrap();
        let (wal, report) = Wal::open(place.path(), &options(Backend::Auto)).unwrap();
        assert_eq!((ids(&wal).len(), report.dropped.len()), (600, 0));
    }
}

/// No group is written in one operation. A sync that begins while a group is partly written does not cover
/// that group.
#[test]
fn a_record_is_durable_when_a_sync_began_after_the_rest_of_its_group_was_written() {
    let _watchdog = Watchdog::new("short writes");
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let plan = Arc::new(Plan { all_short: true, ..Plan::default() });
    let disk = FaultyDisk::open(place.path(), Mode::Buffered, &plan);
    // The log has one segment, so an offset identifies a group.
    let options = options(Backend::Auto).with_segment_bytes(4 << 20).with_group_bytes(16384);
    let wal = Wal::create_in(env(disk, Threads::Spawned), &options).unwrap();
    plan.trace.lock().unwrap().clear();
    // The log uses its ring only while several groups are written side by side, which is up to its choice.
    let mut records = 0;
    while records < 300 || (records < 1200 && plan.ring_ops.load(Ordering::SeqCst) == 0) {
        let ticket = wal.append(&record(records, 3000), Durability::Sync).unwrap();
        records += 1;
        let (plan, offset) = (Arc::clone(&plan), u64::from(ticket.lsn().offset()));
        ticket.on_durable(move |result| {
            result.unwrap();
            plan.note(Reached::Durable { offset });
        });
    }
    wal.close().unwrap();
    // By the start of a group: in `written` the end of its written bytes, and whether it is whole; in
    // `covered` the end of a group that a sync covers.
    let (mut written, mut covered) = (BTreeMap::new(), BTreeMap::new());
    let (mut short, mut durable) = (0, 0);
    for reached in plan.trace.lock().unwrap().iter() {
        match *reached {
            Reached::Write { offset, asked, written: n } => {
                short += u64::from(n < asked);
                let end = offset + n as u64;
                let start =
                    written.iter().find(|(_, (at, whole))| *at == offset && !whole).map(|(start, _)| *start);
                written.insert(start.unwrap_or(offset), (end, n == asked));
            }
            Reached::Sync => {
                let whole = written.iter().filter(|(_, (_, whole))| *whole);
                covered.extend(whole.map(|(start, (end, _))| (*start, *end)));
                written.retain(|_, (_, whole)| !*whole);
            }
            Reached::Durable { offset } => {
                durable += 1;
                let group = covered.range(..=offset).next_back();
                assert!(group.is_some_and(|(_, end)| offset < *end), "{offset} durable too soon: {group:?}");
            }
        }
    }
    assert!(short > 50 && durable == records, "{short} short writes, {durable} durable");
    let used = plan.ring_ops.load(Ordering::SeqCst);
    assert!(used > 0 || !kernel_has_rings(place.path()), "no operation went through the ring");
    assert_eq!(ids(&Wal::open(place.path(), &options).unwrap().0).len() as u64, records);
}

/// Each of the first 200 operations of a load meets a fault in turn. With `SEAWALL_RUNS` each meets every
/// kind of fault.
#[test]
fn a_fault_at_any_operation_answers_everyone_and_loses_nothing_acknowledged() {
    let kinds = [Fault::Io, Fault::Short, Fault::NoSpace, Fault::Interrupted, Fault::Again];
    let all = std::env::var_os("SEAWALL_RUNS").is_some();
    let mut through_ring = 0;
    for mode in modes(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        for at in 1..=200_u64 {
            let one = [kinds[usize::try_from(at).unwrap() % kinds.len()]];
            for fault in if all { &kinds[..] } else { &one[..] } {
                let _watchdog = Watchdog::new("fault");
                through_ring += meet(mode, at, *fault);
            }
        }
    }
    let place = tempfile::tempdir().unwrap();
    assert!(through_ring > 0 || !kernel_has_rings(place.path()), "no operation went through the ring");
}

/// Runs a load in which operation `at` meets `fault`. Returns how many operations went through the ring.
fn meet(mode: Mode, at: u64, fault: Fault) -> u64 {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let plan = Arc::new(Plan { fault: Some(fault), ..Plan::default() });
    let wal = create(place.path(), mode, Backend::Auto, &plan).unwrap();
    plan.arm(at);
    let good = load(&wal, 200);
    let harmless = matches!(fault, Fault::Short | Fault::Interrupted | Fault::Again);
    let what = format!("{mode:?}, {fault:?} at {at}");
    assert!(!harmless || good.len() == 200, "{what}: {} acknowledged", good.len());
    if good.len() < 200 {
        assert!(matches!(wal.append(&record(0, 1), Durability::Sync), Err(Error::Latched { .. })), "{what}");
    }
    drop(wal);
    plan.arm(0);
    let (wal, _) =
        Wal::open(place.path(), &options(Backend::Posix)).unwrap_or_else(|e| panic!("{what}: {e}"));
    let found = ids(&wal);
    assert!(found.iter().copied().eq(0..found.len() as u64), "{what}: {found:?}");
    assert!(found.len() >= good.len(), "{what}: {} acknowledged, {} found", good.len(), found.len());
    plan.ring_ops.load(Ordering::SeqCst)
}

#[test]
fn a_directory_in_which_the_kernel_may_still_write_stays_locked() {
    let _watchdog = Watchdog::new("a ring in which every wait fails");
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if !kernel_has_rings(place.path()) {
        eprintln!("skipped: no io_uring");
        return;
    }
    let plan = Arc::new(Plan::default());
    let wal = create(place.path(), Mode::Buffered, Backend::IoUring, &plan).unwrap();
    assert_eq!(load(&wal, 20).len(), 20);
    plan.deaf.store(true, Ordering::SeqCst);
    // Appends until the log waits for an operation in the ring, which fails.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(50);
    while wal.append(&record(0, 1), Durability::Sync).is_ok() {
        assert!(std::time::Instant::now() < end, "the log never waits in the ring");
        load(&wal, 200);
    }
    drop(wal);
    let error = Wal::open(place.path(), &options(Backend::Posix)).map(drop).unwrap_err();
    assert!(matches!(&error, Error::Locked { .. }), "{error}");
}

#[test]
fn a_hint_chooses_the_strategy_where_nobody_else_does() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = place.path().join("log");
    Wal::create(&dir, &options(Backend::Auto)).unwrap().close().unwrap();
    let strategy = |strategy| {
        let options = options(Backend::Auto).with_strategy(strategy);
        Wal::open(&dir, &options).map(|(wal, report)| {
            assert!(report.foreign.is_empty(), "{:?}", report.foreign);
            wal.stats().strategy
        })
    };
    let natural = strategy(Strategy::Auto).unwrap();
    let disk = PosixDisk::open(&dir, None).unwrap();
    disk.store_hint(Mode::Buffered).unwrap();
    assert_eq!(strategy(Strategy::Auto).unwrap(), "sync");
    if natural == "direct" {
        assert_eq!(strategy(Strategy::Direct).unwrap(), "direct", "what is forced is not hinted");
    }
    disk.store_hint(Mode::Direct).unwrap();
    assert_eq!(strategy(Strategy::Auto).unwrap(), natural);
    // The log ignores a hint that it does not understand.
    std::fs::write(dir.join("HINT"), b"sync, perhaps").unwrap();
    assert_eq!(strategy(Strategy::Auto).unwrap(), natural);
}

#[test]
fn a_slot_of_the_ring_that_is_in_use_or_does_not_exist_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    if !kernel_has_rings(dir.path()) {
        return;
    }
    let disk = PosixDisk::open(dir.path(), Some(Mode::Buffered)).unwrap();
    let file = disk.open("file", Access::Create).unwrap();
    let mut ring = disk.ring(2).unwrap();
    let op = || RingOp::Write { buf: Arc::new(AlignedBuf::zeroed(4096)), from: 0, offset: 0, durable: false };
    ring.start(&file, op(), 1).unwrap();
    for token in [1, 2] {
        let refused = ring.start(&file, op(), token).expect_err("no free slot");
        assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{token}");
    }
    let mut ended = Vec::new();
    while ended.is_empty() {
        ring.wait(std::time::Duration::from_secs(1), &mut ended).unwrap();
    }
    assert!(matches!(ended[..], [(1, Ok(4096))]), "{ended:?}");
    // The slot is free again.
    ring.start(&file, op(), 1).unwrap();
}
