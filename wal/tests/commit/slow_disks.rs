//! Tests that n appends in flight give nearly n durable appends per flush, with either strategy, on disks
//! whose flush takes 20 µs, 1 ms and 10 ms.
//!
//! The clock is simulated and advances only when an operation completes, so the rates do not depend on the
//! machine.

use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{Mode, clock::Clock};
use seawall_wal::testing::stepper::{StepIo, Stepper};
use seawall_wal::{Durability, Env, Options, RecordBuilder, Threads, Ticket, Wal};
use std::collections::VecDeque;
use std::sync::Arc;

/// Measures durable appends per second of simulated time: of one producer with `in_flight` appends in flight
/// or, if `blocking` is set, of as many threads that block. Each of those issues what it can before the next
/// one appends.
fn rate(mode: Mode, flush_ns: u64, in_flight: usize, blocking: bool) -> f64 {
    let clock = Arc::new(SimClock::new());
    let env = Env {
        disk: SimDisk::new(1, SimOptions { mode, ..SimOptions::default() }),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        random: Arc::new(SimRandom::new(1)),
        threads: Threads::Stepped,
    };
    let wal = Wal::create_in(env, &Options::default().with_segment_bytes(8 << 20)).unwrap();
    let stepper = Stepper::new(&wal);
    let mut batch = RecordBuilder::new();
    batch.push_part(&[1; 256]);
    let mut tickets: VecDeque<Ticket> = VecDeque::new();
    let mut running: Vec<(u64, StepIo)> = Vec::new();
    let (mut durable, mut start) = (0_u32, None);
    // During the first flushes the log tries its ways to write. Only the later ones count.
    let (learning, counted) = (5000 * flush_ns, 400 * flush_ns);
    while clock.now_ns() < learning + counted {
        if start.is_none() && clock.now_ns() >= learning {
            (durable, start) = (0, Some(clock.now_ns()));
        }
        loop {
            while tickets.len() < in_flight {
                tickets.push_back(wal.append(&batch, Durability::Sync).unwrap());
                if blocking {
                    break;
                }
            }
            while let Some(io) = stepper.issue_in_time(clock.now_ns()) {
                let takes = if mode == Mode::Direct || io.is_sync() { flush_ns } else { 0 };
                running.push((clock.now_ns() + takes, io));
            }
            if tickets.len() == in_flight {
                break;
            }
        }
        let Some(next) = (0..running.len()).min_by_key(|&i| running[i].0) else {
            let until_ns = stepper.held_back_until_ns().expect("a write is in flight, or one is held back");
            clock.advance_ns(until_ns - clock.now_ns());
            continue;
        };
        let (at, io) = running.swap_remove(next);
        clock.advance_ns(at - clock.now_ns());
        stepper.complete(io);
        while tickets.front().is_some_and(Ticket::is_durable) {
            tickets.pop_front();
            durable += 1;
        }
        while stepper.prepare().unwrap() {}
    }
    let seconds = u32::try_from((clock.now_ns() - start.unwrap()) / 1000).map(f64::from).unwrap() / 1e6;
    f64::from(durable) / seconds
}

#[test]
fn the_rate_is_what_the_flush_allows() {
    println!("strategy  flush us  in flight  appends/s  of n per flush");
    for mode in [Mode::Direct, Mode::Buffered] {
        for flush_us in [20_u32, 1000, 10_000] {
            for in_flight in [1_u32, 2, 4, 16, 64, 256] {
                let rate = rate(mode, u64::from(flush_us) * 1000, in_flight as usize, false);
                let best = f64::from(in_flight) * 1e6 / f64::from(flush_us);
                println!("{mode:?} {flush_us:>8} {in_flight:>8} {rate:>12.0} {:>6.2}", rate / best);
                assert!(rate / best > 0.9, "{mode:?}, {flush_us} us, {in_flight}: {:.2}", rate / best);
            }
        }
    }
}

#[test]
fn blocking_threads_overlap_their_groups_on_a_slow_disk() {
    for flush_us in [1000_u32, 10_000] {
        for threads in [1_u32, 4, 16, 64, 256] {
            let rate = rate(Mode::Direct, u64::from(flush_us) * 1000, threads as usize, true);
            let best = f64::from(threads) * 1e6 / f64::from(flush_us);
            println!("{flush_us:>8} {threads:>8} {rate:>12.0} {:>6.2}", rate / best);
            assert!(rate / best > 0.9, "{flush_us} us, {threads} threads: {:.2}", rate / best);
        }
    }
}

#[test]
fn an_idle_log_writes_nothing() {
    let disk = SimDisk::new(1, SimOptions::default());
    let clock = Arc::new(SimClock::new());
    let env = Env {
        disk: Arc::clone(&disk) as Arc<_>,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        random: Arc::new(SimRandom::new(1)),
        threads: Threads::Stepped,
    };
    let wal = Wal::create_in(env, &Options::default().with_segment_bytes(1 << 20)).unwrap();
    let mut batch = RecordBuilder::new();
    batch.push_part(b"x");
    wal.append(&batch, Durability::Sync).unwrap().wait().unwrap();
    let mut stepper = Stepper::new(&wal);
    while stepper.prepare().unwrap() {}
    let before = disk.operations();
    for _ in 0..60_000 {
        clock.advance_ms(1);
        stepper.idle();
    }
    assert!(disk.operations() - before <= 1, "only the mark that ends the burst");
    assert_eq!(wal.stats().lag_groups, 0);
}
