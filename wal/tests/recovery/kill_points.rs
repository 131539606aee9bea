//! Tests that a kill or a power cut at any operation loses nothing that was acknowledged or shown (INV-1,
//! INV-3).
//!
//! A process is killed at every operation of a creation and of a run. A second process opens what it left,
//! and then the power is cut. What the second process acknowledged or showed must be there, however little of
//! what the first one wrote was durable. Other tests cut the power at every operation of a run and of an
//! open.

use crate::harness;

use harness::{ids, record, stepped};
use seawall_wal::disk::Mode;
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Error, Lsn, Options, UnexplainedTail, Wal};
use std::sync::Arc;

fn options() -> Options {
    Options::default().with_segment_bytes(40 << 10).with_idle_ms(1)
}

fn disk(seed: u64, mode: Mode) -> Arc<SimDisk> {
    SimDisk::new(seed, SimOptions { mode, ..SimOptions::default() })
}

/// Opens the log or, if there is none yet, creates it.
fn open_or_create(disk: &Arc<SimDisk>) -> Wal {
    match Wal::open_in(stepped(disk), &options()) {
        Ok((wal, _)) => wal,
        Err(Error::NotALog { .. }) => Wal::create_in(stepped(disk), &options()).unwrap(),
        Err(error) => panic!("{error}"),
    }
}

/// Asserts that exactly the records `expected` are there after a power cut now.
fn survives(disk: &Arc<SimDisk>, expected: &[u64], what: &str) {
    for seed in 0..6 {
        let disk = disk.fork(seed);
        disk.crash();
        let (wal, _) = Wal::open_in(stepped(&disk), &options()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(ids(&wal), expected, "{what}");
    }
}

#[test]
fn a_creation_killed_at_every_operation() {
    for mode in [Mode::Direct, Mode::Buffered] {
        for nth in 1.. {
            let disk = disk(nth, mode);
            disk.crash_after(nth);
            let made = Wal::create_in(stepped(&disk), &options());
            let killed = disk.crash_reached();
            drop(made);
            disk.kill();
            let wal = open_or_create(&disk);
            survives(&disk, &[], &format!("{mode:?} {nth}"));
            wal.append(&record(5, 100), Durability::Sync).unwrap().wait().unwrap();
            survives(&disk, &[5], &format!("{mode:?} {nth}"));
            if !killed {
                assert!(nth > 15, "a creation takes more operations");
                break;
            }
        }
    }
}

/// Appends, rotates, releases old segments and recycles their files, until the process is dead.
fn run(wal: &Wal, acknowledged: &mut Vec<u64>) -> Result<(), Error> {
    let mut stepper = Stepper::new(wal);
    for id in 0..100 {
        let ticket = loop {
            match wal.append(&record(id, 3000), Durability::Sync) {
                Ok(ticket) => break ticket,
                Err(Error::NoSpace { .. }) => drop(stepper.prepare()?),
                Err(error) => return Err(error),
            }
        };
        ticket.wait()?;
        acknowledged.push(id);
        stepper.prepare()?;
        if id % 16 == 15 {
            // Once all spares are made, the preallocator keeps released files, and zeroes them while it has
            // nothing else to do.
            while stepper.prepare()? {}
            wal.release(wal.active_segment() - 1)?;
            // The log counts as quiet from the first look on, and as idle at the second.
            stepper.idle();
            stepper.idle();
            for _ in 0..8 {
                stepper.prepare()?;
            }
        }
    }
    Ok(())
}

/// Makes a run whose disk fails from operation `nth` on. Returns the disk, the acknowledged records, and
/// whether the run ended before that operation.
fn interrupted_run(nth: u64, mode: Mode) -> (Arc<SimDisk>, Vec<u64>, bool) {
    let disk = disk(nth, mode);
    let wal = Wal::create_in(stepped(&disk), &options()).unwrap();
    disk.crash_after(nth);
    let mut acknowledged = Vec::new();
    let ended = run(&wal, &mut acknowledged).is_ok();
    drop(wal);
    (disk, acknowledged, ended)
}

#[test]
fn a_run_killed_at_every_operation() {
    for mode in [Mode::Direct, Mode::Buffered] {
        for nth in 1.. {
            let (disk, acknowledged, ended) = interrupted_run(nth, mode);
            disk.kill();
            let what = format!("{mode:?} {nth}");
            let (wal, _) = Wal::open_in(stepped(&disk), &options()).unwrap_or_else(|e| panic!("{what}: {e}"));
            let mut shown = ids(&wal);
            let last = acknowledged.last();
            assert!(last.is_none_or(|last| shown.contains(last)), "{what}: {last:?} is not in {shown:?}");
            survives(&disk, &shown, &what);
            // These records are enough to enter a segment that the first process made.
            for id in 100..112 {
                wal.append(&record(id, 3000), Durability::Sync).unwrap().wait().unwrap();
                shown.push(id);
            }
            assert!(wal.durable() > Lsn::ZERO);
            survives(&disk, &shown, &what);
            if ended {
                assert!(nth > 150, "{nth} operations are too few");
                break;
            }
        }
    }
}

#[test]
fn a_run_cut_at_every_operation() {
    for mode in [Mode::Direct, Mode::Buffered] {
        for nth in 1.. {
            let (disk, acknowledged, ended) = interrupted_run(nth, mode);
            for seed in 0..8 {
                let disk = disk.fork(seed);
                disk.crash();
                let what = format!("{mode:?} {nth} {seed}");
                let (wal, _) =
                    Wal::open_in(stepped(&disk), &options()).unwrap_or_else(|e| panic!("{what}: {e}"));
                let (shown, last) = (ids(&wal), acknowledged.last());
                assert!(
                    shown.is_sorted() && last.is_none_or(|last| shown.contains(last)),
                    "{what}: {shown:?}"
                );
            }
            if ended {
                let zeroed = |name: &String| disk.read_file(name).iter().all(|&b| b == 0);
                assert!(nth > 150 && disk.names().iter().any(zeroed), "{nth} operations, and no file zeroed");
                break;
            }
        }
    }
}

/// Cuts the power at every operation of `Prepared::start`, which does all the writing of an open. The next
/// open finds the same log.
#[test]
fn a_start_cut_at_every_operation() {
    for mode in [Mode::Direct, Mode::Buffered] {
        let disk = disk(5, mode);
        let wal = Wal::create_in(stepped(&disk), &options()).unwrap();
        let acknowledged: Vec<u64> = (0..30).collect();
        for &id in &acknowledged {
            wal.append(&record(id, 3000), Durability::Sync).unwrap().wait().unwrap();
        }
        drop(wal.append(&record(30, 3000), Durability::Sync).unwrap());
        drop(wal);
        disk.crash();
        disk.write_file("000000ff.new", &[1; 4096]);
        for nth in 1.. {
            let copy = disk.fork(nth);
            let prepared = Wal::prepare(stepped(&copy), &options(), None).unwrap();
            copy.crash_after(nth);
            let started = prepared.start(None).map(drop);
            let cut = copy.crash_reached();
            assert_eq!(started.is_err(), cut, "{mode:?} {nth}: {started:?}");
            survives(&copy, &acknowledged, &format!("{mode:?} {nth}"));
            if !cut {
                assert!(nth > 2, "a start takes more operations");
                break;
            }
        }
    }
}

/// All groups of the only live segment are overwritten, and the user accepts that they are dropped. The power
/// is cut at every operation of the open that starts the log over. The next open starts it over as well.
#[test]
fn a_new_start_cut_at_every_operation() {
    let options = options().with_unexplained_tail(UnexplainedTail::Drop);
    for mode in [Mode::Direct, Mode::Buffered] {
        let disk = disk(6, mode);
        let wal = Wal::create_in(stepped(&disk), &options).unwrap();
        let stepper = Stepper::new(&wal);
        for id in 0.. {
            match wal.append(&record(id, 3000), Durability::Sync) {
                Ok(ticket) => drop(ticket.wait().unwrap()),
                Err(Error::NoSpace { .. }) => drop(stepper.prepare().unwrap()),
                Err(error) => panic!("{error}"),
            }
            if wal.active_segment() == 3 {
                break;
            }
        }
        wal.release(3).unwrap();
        wal.append(&record(99, 3000), Durability::Sync).unwrap().wait().unwrap();
        while stepper.prepare().unwrap() {}
        drop(wal);
        disk.crash();
        disk.corrupt("00000003.wal", 4096, |bytes| bytes.fill(0xff));
        for nth in 1.. {
            let copy = disk.fork(nth);
            copy.crash_after(nth);
            let opened = Wal::open_in(stepped(&copy), &options).map(drop);
            let cut = copy.crash_reached();
            assert_eq!(opened.is_err(), cut, "{mode:?} {nth}: {opened:?}");
            copy.crash();
            let (wal, _) =
                Wal::open_in(stepped(&copy), &options).unwrap_or_else(|e| panic!("{mode:?} {nth}: {e}"));
            assert_eq!(ids(&wal), [], "{mode:?} {nth}");
            if !cut {
                assert!(wal.first_segment() >= 3 && nth > 2, "{nth} operations are too few");
                break;
            }
        }
    }
}
