//! Tests that the log survives faults of the machine other than the disk's: clocks that jump, callbacks and
//! threads that panic, and a process that is killed with operations in the ring (INV-7, INV-9).
//!
//! `docs/faults.md` has a table of all such faults and the tests of each.

use crate::harness;

use harness::{Watchdog, env, ids, record, small, stepped};
use seawall_wal::disk::sim::{CallOp, HookDisk, SimDisk, SimOptions};
use seawall_wal::disk::{Mode, clock::Clock};
use seawall_wal::{Backend, Durability, Env, Error, Threads, Wal};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

/// A clock that jumps each time it is read: the time of day to any value, the monotonic time by hours, and
/// back if `back` is set.
#[derive(Debug)]
struct Jumping {
    looks: AtomicU64,
    back: bool,
}

impl Clock for Jumping {
    fn wall_ms(&self) -> u64 {
        match self.looks.fetch_add(1, Ordering::Relaxed) % 4 {
            0 => 0,
            1 => u64::MAX,
            look => look << 40,
        }
    }

    fn now_ns(&self) -> u64 {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        let hour = 3_600_000_000_000;
        if self.back && look.is_multiple_of(3) { 1 } else { look * hour }
    }
}

#[test]
fn clocks_that_jump_change_nothing() {
    let _watchdog = Watchdog::new("jumping clocks");
    for (mode, back) in
        [(Mode::Direct, false), (Mode::Buffered, false), (Mode::Direct, true), (Mode::Buffered, true)]
    {
        let disk = SimDisk::new(1, SimOptions { mode, ..SimOptions::default() });
        let clock = Arc::new(Jumping { looks: AtomicU64::new(0), back });
        let clocked =
            |threads| Env { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..env(disk.process(), threads) };
        let wal = Wal::create_in(clocked(Threads::Spawned), &small()).unwrap();
        for life in 0..3 {
            let (answers, answered) = mpsc::channel();
            for id in life * 60..life * 60 + 60 {
                let class = if id % 4 == 3 { Durability::Lazy } else { Durability::Sync };
                let ticket = wal.append(&record(id, 2000), class).unwrap();
                if id % 4 == 0 {
                    ticket.wait().unwrap();
                }
                let answers = answers.clone();
                ticket.on_durable(move |result| answers.send((id, result.is_ok())).unwrap());
            }
            wal.flush().unwrap();
            drop(answers);
            let answers: Vec<(u64, bool)> = answered.iter().collect();
            assert!(answers.into_iter().eq((life * 60..life * 60 + 60).map(|id| (id, true))), "{mode:?}");
        }
        wal.close().unwrap();
        disk.crash();
        let (wal, report) = Wal::open_in(clocked(Threads::Spawned), &small()).unwrap();
        assert_eq!((ids(&wal), report.dropped.len()), ((0..180).collect(), 0), "{mode:?}");
    }
}

#[test]
fn a_callback_that_panics_harms_nobody_else() {
    let _watchdog = Watchdog::new("panics in callbacks");
    let disk = SimDisk::new(1, SimOptions::default());
    let wal = Wal::create_in(env(disk.process(), Threads::Spawned), &small()).unwrap();
    let (calls, called) = mpsc::channel();
    for id in 0..90 {
        let ticket = wal.append(&record(id, 500), Durability::Sync).unwrap();
        if id % 3 == 0 {
            ticket.wait().unwrap();
            continue;
        }
        let calls = calls.clone();
        ticket.on_durable(move |result| {
            calls.send((id, result.is_ok())).unwrap();
            assert!(id % 3 != 1, "a bug in a callback");
        });
    }
    drop(calls);
    wal.flush().unwrap();
    // Close does not wait for callbacks.
    wal.close().unwrap();
    let expected = (0..90).filter(|id| id % 3 != 0).map(|id| (id, true));
    let called: Vec<_> = called.into_iter().collect();
    assert!(called.iter().copied().eq(expected), "{called:?}");
    assert_eq!(ids(&Wal::open_in(stepped(&disk), &small()).unwrap().0), (0..90).collect::<Vec<_>>());
}

#[test]
fn a_panic_of_the_thread_that_writes_answers_everyone() {
    let _watchdog = Watchdog::new("panic of the flusher");
    let disk = SimDisk::new(1, SimOptions::default());
    let writes = AtomicU64::new(0);
    let bomb = HookDisk::new(disk.process(), move |call| {
        let flusher = std::thread::current().name() == Some("seawall-flush");
        assert!(
            !(flusher && call.op == CallOp::Write && writes.fetch_add(1, Ordering::Relaxed) == 2),
            "a bug"
        );
        Ok(())
    });
    let wal = Wal::create_in(env(bomb, Threads::Spawned), &small()).unwrap();
    let (answers, answered) = mpsc::channel();
    let mut sent = 0;
    for id in 0..200 {
        let Ok(ticket) = wal.append(&record(id, 3000), Durability::Sync) else { break };
        let answers = answers.clone();
        sent += 1;
        ticket.on_durable(move |result| answers.send((id, result.is_ok())).unwrap());
    }
    drop(answers);
    let answers: Vec<(u64, bool)> = answered.iter().collect();
    let good = answers.iter().filter(|(_, ok)| *ok).count() as u64;
    assert_eq!(answers.len(), sent, "a caller got no answer");
    assert!(good < 200 && answers.iter().take_while(|(_, ok)| *ok).count() as u64 == good, "{answers:?}");
    assert!(matches!(wal.append(&record(0, 1), Durability::Sync), Err(Error::Latched { .. })));
    assert!(wal.close().is_err());
    disk.crash();
    let found = ids(&Wal::open_in(stepped(&disk), &small()).unwrap().0);
    assert!(
        found.len() as u64 >= good && found.iter().copied().eq(0..found.len() as u64),
        "{good}: {found:?}"
    );
}

/// The kernel may keep the directory of a killed process locked for a moment longer, until the operations in
/// the ring have ended.
#[test]
fn a_process_killed_with_operations_in_the_ring_gives_its_directory_back() {
    const HOLD: &str = "SEAWALL_TEST_KILLED";
    let options = small().with_group_bytes(4096).with_backend(Backend::Auto);
    if let Some(dir) = std::env::var_os(HOLD) {
        let (wal, _) = Wal::open(dir, &options).unwrap();
        for id in 0.. {
            let ticket = wal.append(&record(id, 3000), Durability::Sync).unwrap();
            ticket.on_durable(move |result| println!("\ndurable {id} {}", result.is_ok()));
        }
    }
    let _watchdog = Watchdog::new("killed");
    for _ in 0..5 {
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let dir = place.path().join("log");
        Wal::create(&dir, &options).unwrap().close().unwrap();
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "host_faults::a_process_killed_with_operations_in_the_ring_gives_its_directory_back",
                "--nocapture",
            ])
            .env(HOLD, &dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line == "durable 50 true"));
        holder.kill().unwrap();
        let opened = loop {
            match Wal::open(&dir, &options) {
                Err(Error::Locked { holder: named, .. }) => {
                    assert_eq!(named, format!("process {}", holder.id()));
                }
                other => break other,
            }
        };
        let durable =
            lines.filter(|line| line.starts_with("durable ") && line.ends_with(" true")).count() + 51;
        let found = ids(&opened.unwrap().0);
        assert!(
            found.len() >= durable && found.iter().copied().eq(0..found.len() as u64),
            "{durable}: {found:?}"
        );
        holder.wait().unwrap();
    }
}
