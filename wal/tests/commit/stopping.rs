//! Tests that a log that is dropped, fails or panics answers every caller, and keeps its directory locked for
//! as long as it may write there.
//!
//! Two tests check that readers see all durable records while the log rotates.

use crate::harness;

use harness::{Gate, Watchdog, env, ids, record, sleep_ms, small, spawned, stepped};
use seawall_wal::disk::Mode;
use seawall_wal::disk::sim::{CallOp, FaultError, FaultOp, FaultRule, HookDisk, SimDisk, SimOptions};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Error, Lsn, Options, PartInfo, Threads, Wal, segments::SegmentIndexBuilder};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};

fn on_spare_thread() -> bool {
    std::thread::current().name() == Some("seawall-spare")
}

#[test]
fn the_directory_stays_locked_while_the_pipeline_works() {
    let _watchdog = Watchdog::new("lock");
    let (disk, gate) = (SimDisk::new(1, SimOptions::default()), Arc::new(Gate::default()));
    let options = Options::default().with_segment_bytes(4 << 20);
    let hook = Arc::clone(&gate);
    let hooked = HookDisk::new(disk.process(), move |call| {
        if on_spare_thread() && call.op == CallOp::Write && call.offset > 0 {
            hook.pass();
        }
        Ok(())
    });
    let wal = Wal::create_in(env(hooked, Threads::Spawned), &options).unwrap();
    gate.wait_for_one();
    let closing = std::thread::spawn(move || drop(wal));
    sleep_ms(100);
    // The preallocator may still write zeros, so no other process may append to the directory.
    let refused = Wal::open_in(stepped(&disk), &options);
    gate.open();
    closing.join().unwrap();
    assert!(matches!(refused, Err(Error::Locked { .. })), "opened while the first process may still write");
    Wal::open_in(stepped(&disk), &options).unwrap();
}

#[test]
fn a_failure_reaches_appends_that_wait_for_space() {
    let _watchdog = Watchdog::new("latch");
    let options = Options::default()
        .with_segment_bytes(1 << 20)
        .with_queue_bytes(64 << 10)
        .with_writes_in_flight_max(1);
    for round in 0..300 {
        let disk = SimDisk::new(round, SimOptions::default());
        let wal = Wal::create_in(spawned(&disk), &options).unwrap();
        disk.fail(FaultRule::forever(FaultOp::Write, 1 + round % 7, FaultError::Io));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let wal = &wal;
                scope.spawn(move || {
                    let batch = record(thread, 30_000);
                    while let Ok(_ticket) = wal.append(&batch, Durability::Sync) {}
                });
            }
        });
    }
}

#[test]
fn a_log_that_failed_gives_its_directory_back_although_tickets_are_left() {
    for threads in [Threads::Stepped, Threads::Spawned] {
        let disk = SimDisk::new(1, SimOptions::default());
        let wal = Wal::create_in(env(disk.process(), threads), &small()).unwrap();
        disk.fail(FaultRule::once(FaultOp::Write, 1, FaultError::Io).on("00000001.wal"));
        let ticket = wal.append(&record(1, 10), Durability::Sync).unwrap();
        assert!(matches!(ticket.wait(), Err(Error::Latched { .. })));
        assert!(matches!(wal.close(), Err(Error::Latched { .. })));
        drop(Wal::open_in(stepped(&disk), &small()).unwrap());
        assert!(matches!(ticket.wait(), Err(Error::Latched { .. })));
    }
}

#[test]
fn the_last_owner_may_be_a_callback() {
    let _watchdog = Watchdog::new("drop in a callback");
    for mode in [Mode::Direct, Mode::Buffered] {
        let disk = SimDisk::new(1, SimOptions { mode, ..SimOptions::default() });
        let wal = Arc::new(Wal::create_in(spawned(&disk), &small()).unwrap());
        let owner = Arc::clone(&wal);
        let (done, wait) = mpsc::channel();
        let (go, started) = mpsc::channel::<()>();
        wal.append(&record(1, 10), Durability::Sync).unwrap().on_durable(move |result| {
            started.recv().unwrap();
            drop(owner);
            done.send(result).unwrap();
        });
        drop(wal);
        go.send(()).unwrap();
        wait.recv().unwrap().unwrap();
        let (wal, _) = Wal::open_in(stepped(&disk), &small()).expect("the directory is free");
        assert_eq!(ids(&wal), [1]);
    }
}

/// The last handle of the log is dropped while a thread that waits for a ticket writes.
#[test]
fn dropping_the_log_waits_for_writes_under_way() {
    let _watchdog = Watchdog::new("drop during a write");
    let (disk, gate) = (SimDisk::new(1, SimOptions::default()), Arc::new(Gate::default()));
    let (hook, armed) = (Arc::clone(&gate), Arc::new(AtomicBool::new(false)));
    let arm = Arc::clone(&armed);
    let hooked = HookDisk::new(disk.process(), move |call| {
        if armed.load(Ordering::SeqCst) && !on_spare_thread() && call.op == CallOp::Write {
            hook.pass();
        }
        Ok(())
    });
    let options = small().with_idle_ms(60_000);
    let wal = Wal::create_in(env(hooked, Threads::Spawned), &options).unwrap();
    let ticket = wal.append(&record(1, 10), Durability::Lazy).unwrap();
    arm.store(true, Ordering::SeqCst);
    let waits = std::thread::spawn(move || ticket.wait());
    gate.wait_for_one();
    let (dropped, returned) = mpsc::channel();
    std::thread::spawn(move || {
        drop(wal);
        dropped.send(()).unwrap();
    });
    let early = returned.recv_timeout(std::time::Duration::from_millis(50));
    assert!(early.is_err(), "the handle was dropped before the write ended");
    gate.open();
    returned.recv().unwrap();
    Wal::open_in(stepped(&disk), &options).expect("the directory is free");
    let _ = waits.join().unwrap();
}

#[test]
fn readers_see_segments_that_only_a_mark_entered() {
    for bytes in [3900, 7900, 8000, 12_000, 16_000, 20_000, 28_000] {
        let disk = SimDisk::new(1, SimOptions::default());
        let wal = Wal::create_in(stepped(&disk), &small()).unwrap();
        let mut stepper = Stepper::new(&wal);
        for id in 0..40 {
            wal.append(&record(id, bytes), Durability::Sync).unwrap().wait().unwrap();
            stepper.idle();
            while stepper.prepare().unwrap() {}
            assert_eq!(ids(&wal), (0..=id).collect::<Vec<_>>(), "{bytes}");
        }
    }
}

#[test]
fn readers_see_everything_durable_while_others_rotate() {
    let _watchdog = Watchdog::new("readers");
    let disk = SimDisk::new(1, SimOptions::default());
    let options = Options::default().with_segment_bytes(32 << 10);
    let wal = Wal::create_in(spawned(&disk), &options).unwrap();
    let (stop, durable) = (AtomicBool::new(false), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let known = *durable.lock().unwrap();
                    let mut from = wal.durable();
                    from = Lsn::new(from.segment().saturating_sub(1), 0);
                    let last = wal.records(from).last().map(|r| r.unwrap().lsn());
                    assert!(last >= known, "{last:?} < {known:?}");
                }
            });
        }
        for id in 0..1500 {
            let lsn = wal.append(&record(id, 5000), Durability::Sync).unwrap().wait().unwrap();
            *durable.lock().unwrap() = Some(lsn);
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// A task that owns a polled ticket, and that only a waker in the log keeps alive.
#[expect(dead_code, reason = "it only owns the ticket")]
struct Task(Mutex<Option<Pin<Box<seawall_wal::Ticket>>>>);

impl Wake for Task {
    fn wake(self: Arc<Task>) {}
}

#[test]
fn a_waker_may_own_a_ticket() {
    let _watchdog = Watchdog::new("waker");
    let disk = SimDisk::new(1, SimOptions::default());
    let wal = Wal::create_in(stepped(&disk), &small()).unwrap();
    let append = |id| Box::pin(wal.append(&record(id, 10), Durability::Lazy).unwrap());
    let (mut outer, mut inner) = (append(1), append(2));
    let noop = Waker::noop();
    assert!(inner.as_mut().poll(&mut Context::from_waker(noop)).is_pending());
    let waker = Waker::from(Arc::new(Task(Mutex::new(Some(inner)))));
    assert!(outer.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    // Dropping the outer ticket drops its waker. The waker drops the inner ticket, which has a waker to drop
    // as well.
    drop(outer);
    wal.close().unwrap();
}

struct Bomb(Arc<AtomicU32>);

impl SegmentIndexBuilder for Bomb {
    fn record(&mut self, _: Lsn, _: &[u8], _: &mut dyn Iterator<Item = PartInfo>) {
        assert!(self.0.fetch_sub(1, Ordering::Relaxed) != 0, "a bug in the index builder");
    }

    fn seal(&mut self, _: u32, _: &mut Vec<u8>) {}
}

#[test]
fn a_panic_under_the_lock_stops_the_log_and_hangs_nobody() {
    let _watchdog = Watchdog::new("panic under the lock");
    let disk = SimDisk::new(1, SimOptions::default());
    let wal = Wal::create_in(spawned(&disk), &small()).unwrap();
    wal.set_index_builder(Box::new(Bomb(Arc::new(AtomicU32::new(3))))).unwrap();
    for id in 0..3 {
        wal.append(&record(id, 10), Durability::Sync).unwrap().wait().unwrap();
    }
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = wal.append(&record(3, 10), Durability::Sync);
    }));
    assert!(panic.is_err());
    let _ = wal.append(&record(4, 10), Durability::Sync).map(|ticket| ticket.wait());
    let _ = wal.close();
    let found = ids(&Wal::open_in(stepped(&disk), &small()).unwrap().0);
    assert_eq!(found[..3], [0, 1, 2]);
}

#[test]
fn a_panic_of_the_pipeline_is_an_error_for_appends() {
    let _watchdog = Watchdog::new("panic of the preallocator");
    let disk = SimDisk::new(1, SimOptions::default());
    let hooked = HookDisk::new(disk.process(), move |call| {
        assert!(!on_spare_thread() || call.op != CallOp::Rename, "a bug in the preallocator");
        Ok(())
    });
    let wal = Wal::create_in(env(hooked, Threads::Spawned), &small()).unwrap();
    let error = (0..100).find_map(|id| wal.append(&record(id, 10_000), Durability::Sync).err());
    assert!(matches!(error, Some(Error::Latched { .. })), "{error:?}");
    assert!(wal.close().is_err());
}

#[test]
fn polling_again_replaces_the_waker() {
    let disk = SimDisk::new(1, SimOptions::default());
    let wal = Wal::create_in(stepped(&disk), &small()).unwrap();
    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Count>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let counts = [0, 1].map(|_| Arc::new(Count(AtomicU32::new(0))));
    let mut ticket = Box::pin(wal.append(&record(1, 10), Durability::Sync).unwrap());
    for count in &counts {
        let waker = Waker::from(Arc::clone(count));
        assert!(ticket.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    wal.flush().unwrap();
    assert_eq!(counts.map(|c| c.0.load(Ordering::Relaxed)), [0, 1]);
    assert!(matches!(ticket.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(_))));
}
