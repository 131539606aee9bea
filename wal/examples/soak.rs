//! Appends from several threads for a long time, with signals that interrupt system calls and with memory pressure.
//! Every few seconds it closes or abandons the log and reopens it. Fails if an acknowledged record is missing, changed
//! or out of order, or if the log stops.
//!
//! `soak <directory> [seconds] [MiB of memory to keep dirtying] [posix|io-uring]`; `benches/soak.sh` runs it in a small
//! memory cgroup.

#![expect(unsafe_code, reason = "std has no way to install a signal handler or a timer")]

use seawall_wal::{Backend, Durability, Lsn, Options, RecordBuilder, Wal};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const THREADS: u64 = 6;
const IN_FLIGHT: usize = 24;
/// How long the log stays open, and how many of the newest segments are kept.
const EPISODE: Duration = Duration::from_secs(5);
const KEPT_SEGMENTS: u32 = 6;

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_alarm(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Interrupts a system call of some thread a thousand times a second. Interrupted calls are not restarted.
fn start_signals() {
    // SAFETY: the handler only adds to an atomic; both structures are valid for the calls.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_alarm as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()), 0);
        let every = libc::timeval { tv_sec: 0, tv_usec: 1000 };
        let timer = libc::itimerval { it_interval: every, it_value: every };
        assert_eq!(libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()), 0);
    }
}

/// Payload of a record, computed from its number: 0 to 40 KiB.
fn payload(id: u64) -> Vec<u8> {
    let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let len = if id.is_multiple_of(7) { mixed >> 40 & 0x9FFF } else { mixed >> 40 & 0x1FF };
    (0..len).map(|i| (mixed >> (i % 8 * 8)).to_le_bytes()[0] ^ i.to_le_bytes()[0]).collect()
}

/// Acknowledged records by position.
type Acknowledged = Mutex<BTreeMap<Lsn, u64>>;

/// Appends until `stop`, with several appends in flight, and waits for the oldest. Every fourth append uses a callback.
fn produce(wal: &Wal, next: &AtomicU64, acknowledged: &'static Acknowledged, stop: &AtomicBool) {
    let mut batch = RecordBuilder::new();
    let mut tickets = std::collections::VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        let id = next.fetch_add(1, Ordering::Relaxed);
        batch.clear();
        batch.meta().extend(id.to_le_bytes());
        batch.push_part(&payload(id));
        let class = if id.is_multiple_of(11) { Durability::Lazy } else { Durability::Sync };
        let ticket = wal.append(&batch, class).expect("append");
        if id.is_multiple_of(4) {
            ticket.on_durable(move |result| {
                acknowledged.lock().unwrap().insert(result.expect("durable"), id);
            });
        } else {
            tickets.push_back((id, ticket));
        }
        // Some threads have one append in flight, others many.
        if tickets.len() > IN_FLIGHT || id % THREADS < 2 {
            for (id, ticket) in tickets.drain(..) {
                // Do not hold the lock here: a callback takes it.
                let lsn = ticket.wait().expect("durable");
                acknowledged.lock().unwrap().insert(lsn, id);
            }
        }
    }
}

/// Reads the whole log and compares it with the acknowledged records.
fn verify(wal: &Wal, acknowledged: &Acknowledged) -> usize {
    let mut acknowledged = acknowledged.lock().unwrap().clone();
    let first = wal.first_segment();
    acknowledged.retain(|lsn, _| lsn.segment() >= first);
    let expected = acknowledged.len();
    for record in wal.records(Lsn::ZERO) {
        let record = record.expect("a sound record");
        let id = u64::from_le_bytes(record.meta().try_into().expect("a number"));
        let found: Vec<u8> = record.parts().flat_map(|(_, bytes)| bytes.to_vec()).collect();
        assert_eq!(found, payload(id), "record {id} at {}", record.lsn());
        if let Some(expected) = acknowledged.remove(&record.lsn()) {
            assert_eq!(expected, id, "another record at {}", record.lsn());
        }
    }
    assert!(
        acknowledged.is_empty(),
        "{} acknowledged records are missing: {acknowledged:?}",
        acknowledged.len()
    );
    expected
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = args.first().map(Path::new).expect("a directory");
    let number = |i: usize, otherwise| args.get(i).map_or(otherwise, |a| a.parse().expect("a number"));
    let (seconds, hog_mib) = (number(1, 60_u64), number(2, 0_u64));
    let backend = match args.get(3).map(String::as_str) {
        Some("posix") => Backend::Posix,
        Some("io-uring") => Backend::IoUring,
        _ => Backend::Auto,
    };
    // The queue is small, since records that wait for the disk take memory, too.
    let options = Options::default()
        .with_segment_bytes(4 << 20)
        .with_group_bytes(128 << 10)
        .with_queue_bytes(4 << 20)
        .with_backend(backend);
    let acknowledged: &'static Acknowledged = Box::leak(Box::default());
    let next: &'static AtomicU64 = Box::leak(Box::default());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut wal = Wal::create(dir, &options).expect("create");
    println!("backend {}, {THREADS} threads, {hog_mib} MiB dirtied", wal.stats().backend);
    start_signals();
    std::thread::spawn(move || {
        let mut memory = vec![0_u8; usize::try_from(hog_mib << 20).expect("a size")];
        loop {
            memory.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut episodes = 0_u64;
    while Instant::now() < end {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| produce(&wal, next, acknowledged, &stop));
            }
            let until = Instant::now() + EPISODE;
            while Instant::now() < until {
                std::thread::sleep(Duration::from_millis(100));
                let segment = wal.durable().segment().saturating_sub(KEPT_SEGMENTS);
                wal.release(segment).expect("release");
            }
            stop.store(true, Ordering::Relaxed);
        });
        let abandoned = !episodes.is_multiple_of(3);
        if abandoned {
            // Without a flush, unwritten records would be answered with an error, which the callback would take for a
            // failure.
            //
            wal.flush().expect("flush");
            drop(wal);
        } else {
            wal.close().expect("close");
        }
        let (opened, report) = Wal::open(dir, &options).expect("open");
        wal = opened;
        let first = wal.first_segment();
        let count = verify(&wal, acknowledged);
        acknowledged.lock().unwrap().retain(|lsn, _| lsn.segment() >= first);
        episodes += 1;
        if episodes.is_multiple_of(12) {
            let (appended, signals) = (next.load(Ordering::Relaxed), SIGNALS.load(Ordering::Relaxed));
            println!(
                "{episodes} episodes, {appended} appended, {count} checked, {signals} signals, end {}",
                report.end
            );
        }
    }
    wal.close().expect("close");
    println!("{episodes} episodes, {} appended: sound", next.load(Ordering::Relaxed));
}
