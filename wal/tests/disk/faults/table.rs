//! Tests that the log reacts to each error of each call as the table in `due` says: on the simulated disk,
//! around a real directory, and during an open.

use super::harness::{env, ids, stepped};
use super::{Answers, End, RECORDS, check_crashes, disk, history, history_of, is_latched, options};
use seawall_wal::disk::sim::{CallOp, FaultError, FaultOp, FaultRule, HookDisk};
use seawall_wal::disk::{Mode, PosixDisk};
use seawall_wal::{Error, Threads, Wal};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The reaction of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    /// Everything is acknowledged in the end: the log makes the call again, does without it, or holds appends
    /// up until there is room.
    GoesOn,
    /// The log stops, answers everyone, and can be opened again (INV-7).
    Latches,
    /// The log stops if the call was for a group. It continues if the call was for a file without groups.
    LatchesForGroups,
}

const ERRORS: [FaultError; 7] = [
    FaultError::Io,
    FaultError::Full,
    FaultError::Quota,
    FaultError::ProcessFiles,
    FaultError::SystemFiles,
    FaultError::Interrupted,
    FaultError::Again,
];

const OPS: [FaultOp; 8] = [
    FaultOp::Open,
    FaultOp::Create,
    FaultOp::Allocate,
    FaultOp::Write,
    FaultOp::Sync,
    FaultOp::Rename,
    FaultOp::Remove,
    FaultOp::DirSync,
];

/// The table: the reaction that is due to an error of a call.
fn due(error: FaultError, op: FaultOp) -> Due {
    match (error, op) {
        // A released file that cannot be opened is removed instead of recycled.
        (_, FaultOp::Open) => Due::GoesOn,
        // The disk has no room (INV-8).
        (FaultError::Full | FaultError::Quota, FaultOp::Write | FaultOp::Sync) => Due::LatchesForGroups,
        (FaultError::Full | FaultError::Quota, _) => Due::GoesOn,
        // There is no descriptor for a spare, so the log holds appends up until there is one.
        (FaultError::ProcessFiles | FaultError::SystemFiles, FaultOp::Create) => Due::GoesOn,
        // A write that a signal interrupts has written nothing, or reports how much, and is continued.
        (FaultError::Interrupted, FaultOp::Write) => Due::GoesOn,
        _ => Due::Latches,
    }
}

fn holds(end: &End, due: Due, records: u64, what: &str) -> Vec<u64> {
    let acknowledged = end.answers.acknowledged(what);
    match (&end.error, due) {
        (None, Due::GoesOn | Due::LatchesForGroups) => {
            assert_eq!(acknowledged.len() as u64, records, "{what}");
        }
        (Some(error), Due::Latches | Due::LatchesForGroups) => {
            assert!(is_latched(error), "{what}: {error}");
            assert!(
                !end.pipeline_failed || due == Due::Latches,
                "{what}: the preallocator stopped the log: {error}"
            );
            assert!(end.answers.all_answered(), "{what}: a caller got no answer");
        }
        (error, due) => panic!("{what}: {due:?} is due, but the log reported {error:?}"),
    }
    acknowledged
}

#[test]
fn every_error_of_every_call_on_the_simulated_disk() {
    let mut met = 0;
    for mode in [Mode::Direct, Mode::Buffered] {
        for op in OPS {
            for error in ERRORS {
                for nth in (1..).step_by(5) {
                    let what = format!("{mode:?} {op:?} {nth} {error:?}");
                    let disk = disk(nth, mode, false);
                    let wal = Wal::create_in(stepped(&disk), &options()).unwrap();
                    disk.fail(FaultRule::once(op, nth, error));
                    let end = history(&wal);
                    if !disk.clear_faults() {
                        // The history has fewer calls of this kind.
                        assert_eq!(end.answers.acknowledged(&what).len() as u64, RECORDS, "{what}");
                        break;
                    }
                    met += 1;
                    let acknowledged = holds(&end, due(error, op), RECORDS, &what);
                    drop(wal);
                    check_crashes(&disk, &acknowledged, end.live_from, &what);
                }
            }
        }
    }
    assert!(met > 500, "{met}");
}

/// The error as the kernel reports it, with its number.
fn raw(error: FaultError) -> io::Error {
    io::Error::from_raw_os_error(io::Error::from(error).raw_os_error().unwrap())
}

fn call_op(op: FaultOp) -> CallOp {
    match op {
        FaultOp::Read => CallOp::Read,
        FaultOp::Write => CallOp::Write,
        FaultOp::Sync => CallOp::Sync,
        FaultOp::Allocate => CallOp::Allocate,
        FaultOp::Create | FaultOp::Open => CallOp::Open,
        FaultOp::Rename => CallOp::Rename,
        FaultOp::Remove => CallOp::Remove,
        FaultOp::DirSync => CallOp::DirSync,
    }
}

#[test]
fn every_error_of_every_call_around_a_real_directory() {
    const SOME: u64 = 50;
    // The directory is in memory where possible: the calls are real, and waiting for a device would show
    // nothing more.
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut met = 0;
    for op in OPS {
        for error in ERRORS {
            for nth in [1, 2, 9] {
                let what = format!("{op:?} {nth} {error:?}");
                let dir = root.path().join(what.replace(' ', "-"));
                std::fs::create_dir(&dir).unwrap();
                let real = || Arc::new(PosixDisk::open(&dir, Some(Mode::Buffered)).unwrap());
                let seen = Arc::new(AtomicU64::new(u64::MAX));
                let counted = Arc::clone(&seen);
                let faulty = HookDisk::new(real(), move |call| {
                    // A spare is created with a name that ends in `.new`, and renamed later.
                    let is_new = call.name.ends_with(".new");
                    let is_op = call.op == call_op(op)
                        && match op {
                            FaultOp::Create => is_new,
                            FaultOp::Open => !is_new,
                            _ => true,
                        };
                    let armed = counted.load(Ordering::SeqCst) != u64::MAX;
                    match armed && is_op && counted.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                        true => Err(raw(error)),
                        false => Ok(()),
                    }
                });
                let wal = Wal::create_in(env(faulty, Threads::Stepped), &options()).unwrap();
                seen.store(0, Ordering::SeqCst);
                let end = history_of(&wal, SOME);
                let reached = seen.swap(u64::MAX, Ordering::SeqCst) >= nth;
                let due = if reached { due(error, op) } else { Due::GoesOn };
                met += u32::from(reached);
                let acknowledged = holds(&end, due, SOME, &what);
                drop(wal);
                let (wal, _) = Wal::open_in(env(real(), Threads::Stepped), &options())
                    .unwrap_or_else(|e| panic!("{what}: {e}"));
                let found = ids(&wal);
                let lost = acknowledged.iter().find(|&&id| id >= end.live_from && !found.contains(&id));
                assert_eq!(lost, None, "{what}: an acknowledged record is lost");
                drop(wal);
                std::fs::remove_dir_all(&dir).unwrap();
            }
        }
    }
    assert!(met > 100, "{met}");
}

#[test]
fn every_error_of_every_call_of_an_open() {
    for mode in [Mode::Direct, Mode::Buffered] {
        let disk = disk(1, mode, false);
        let wal = Wal::create_in(stepped(&disk), &options()).unwrap();
        let end = history_of(&wal, 60);
        assert!(end.error.is_none());
        drop(wal);
        disk.kill();
        for error in ERRORS {
            for nth in 1.. {
                let what = format!("{mode:?} call {nth} {error:?}");
                let disk = disk.fork(nth);
                let count = Arc::new(AtomicU64::new(0));
                let seen = Arc::clone(&count);
                let faulty = HookDisk::new(disk.process(), move |_| {
                    match seen.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                        true => Err(raw(error)),
                        false => Ok(()),
                    }
                });
                let opened = Wal::open_in(env(faulty, Threads::Stepped), &options());
                let calls = count.load(Ordering::SeqCst);
                match opened {
                    Ok((wal, _)) => check_whole(&wal, &end.answers, end.live_from, &what),
                    Err(Error::Io { .. } | Error::NoSpace { .. } | Error::Latched { .. }) => {}
                    Err(Error::NoDescriptors { .. })
                        if matches!(error, FaultError::ProcessFiles | FaultError::SystemFiles) => {}
                    Err(e) => panic!("{what}: the error of a call is reported as {e}"),
                }
                disk.kill();
                let (wal, _) =
                    Wal::open_in(stepped(&disk), &options()).unwrap_or_else(|e| panic!("{what}: {e}"));
                check_whole(&wal, &end.answers, end.live_from, &what);
                if calls < nth {
                    assert!(nth > 30, "{nth} calls");
                    break;
                }
            }
        }
    }
}

fn check_whole(wal: &Wal, answers: &Answers, live_from: u64, what: &str) {
    let found = ids(wal);
    let lost = answers.acknowledged(what).into_iter().find(|id| *id >= live_from && !found.contains(id));
    assert_eq!(lost, None, "{what}: an acknowledged record is lost");
}
