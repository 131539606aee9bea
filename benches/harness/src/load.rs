//! Runs threads that append to a target in closed loops, and collects their latencies.
//!
//! Each thread keeps a fixed number of appends in flight: it appends until it has that many, then waits for the oldest,
//! records its latency and appends one more. The latency of an append runs from its call to the moment when the thread
//! knows that it is durable. The first error of any thread fails the load.

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use std::collections::VecDeque;
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const LATENCY_NS_MIN: u64 = 1;
const LATENCY_NS_MAX: u64 = 60_000_000_000;
const LATENCY_DIGITS: u8 = 3;
/// The warm-up that runs before a window and is not counted: its share of the window, and its upper limit.
const WARM_UP_SHARE: f64 = 0.1;
const WARM_UP_MAX: Duration = Duration::from_millis(50);

/// Something that takes durable appends from several threads.
pub trait Target: Sync {
    /// State of one appending thread, reused for all its appends.
    type Producer;
    /// An append that may not be durable yet.
    type Ticket;

    /// Creates the state of a thread that appends under `key`.
    fn producer(&self, key: u64) -> Self::Producer;
    /// Appends a copy of `payload`. It is durable once [`Target::wait`] has returned for the ticket.
    fn append(&self, producer: &mut Self::Producer, payload: &[u8]) -> Result<Self::Ticket>;
    /// Returns when the append is durable. Each thread waits for its own tickets, oldest first.
    fn wait(&self, ticket: Self::Ticket) -> Result<()>;
}

/// One measurement: number of threads, appends in flight per thread, payload and duration.
#[derive(Clone, Copy, Debug)]
pub struct Drive<'a> {
    /// Threads that append.
    pub threads: usize,
    /// Appends in flight per thread.
    pub in_flight: usize,
    /// Payload of each append.
    pub payload: &'a [u8],
    /// Length of the measured window. The warm-up runs before it.
    pub window: Duration,
}

/// Measurements of one window.
#[derive(Debug)]
pub struct Sample {
    /// Latencies in nanoseconds of the appends that ended in the window.
    pub latency_ns: Histogram<u64>,
    /// Length of the window in seconds.
    pub seconds: f64,
    /// All appends made, including those of the warm-up and those that ended after the window.
    pub appended: u64,
}

impl Sample {
    /// Appends per second.
    pub fn ops_s(&self) -> f64 {
        self.latency_ns.len() as f64 / self.seconds
    }

    /// Latency in microseconds that this share of the appends does not exceed.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Largest latency, in microseconds.
    pub fn max_us(&self) -> f64 {
        self.latency_ns.max() as f64 / 1000.0
    }
}

fn empty_histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, LATENCY_DIGITS)
        .map_err(|e| anyhow!("latency histogram: {e}"))
}

/// Makes `appends` appends on this thread, one at a time, and counts every one.
pub fn count<T: Target>(target: &T, payload: &[u8], appends: u64) -> Result<Sample> {
    let mut latency_ns = empty_histogram()?;
    let mut producer = target.producer(0);
    let begin = Instant::now();
    let mut before = begin;
    for _ in 0..appends {
        let ticket = target.append(&mut producer, payload)?;
        target.wait(ticket)?;
        let now = Instant::now();
        latency_ns.saturating_record(u64::try_from((now - before).as_nanos()).unwrap_or(u64::MAX));
        before = now;
    }
    Ok(Sample { latency_ns, seconds: begin.elapsed().as_secs_f64(), appended: appends })
}

/// Runs the load once. At least one append is counted, even if it outlasts the window.
pub fn drive<T: Target>(target: &T, drive: Drive<'_>) -> Result<Sample> {
    let gate = Gate { ready: Barrier::new(drive.threads), window: OnceLock::new() };
    let outcomes: Vec<Result<Seen>> = thread::scope(|scope| {
        let mut handles = Vec::with_capacity(drive.threads);
        for key in 0..drive.threads {
            let gate = &gate;
            handles.push(scope.spawn(move || produce(target, drive, key as u64, gate)));
        }
        let join = |h: thread::ScopedJoinHandle<'_, _>| {
            h.join().unwrap_or_else(|_| Err(anyhow!("an appending thread panicked")))
        };
        handles.into_iter().map(join).collect()
    });
    let mut latency_ns = empty_histogram()?;
    let (mut seconds, mut appended) = (drive.window.as_secs_f64(), 0);
    for seen in outcomes {
        let seen = seen?;
        latency_ns.add(&seen.latency_ns).map_err(|e| anyhow!("latency histogram: {e}"))?;
        appended += seen.appended;
        seconds = seconds.max(seen.overrun.as_secs_f64() + drive.window.as_secs_f64());
    }
    Ok(Sample { latency_ns, seconds, appended })
}

/// Starts all threads at the same moment and defines the window.
struct Gate {
    ready: Barrier,
    window: OnceLock<(Instant, Instant)>,
}

impl Gate {
    fn pass(&self, window: Duration) -> (Instant, Instant) {
        self.ready.wait();
        *self.window.get_or_init(|| {
            let from = Instant::now() + window.mul_f64(WARM_UP_SHARE).min(WARM_UP_MAX);
            (from, from + window)
        })
    }
}

/// Measurements of one thread, and the time by which its only append outlasted the window.
struct Seen {
    latency_ns: Histogram<u64>,
    overrun: Duration,
    appended: u64,
}

fn produce<T: Target>(target: &T, drive: Drive<'_>, key: u64, gate: &Gate) -> Result<Seen> {
    // An error before the gate must not keep the other threads waiting there.
    let mut latency_ns = empty_histogram();
    let mut producer = target.producer(key);
    let mut in_flight = VecDeque::with_capacity(drive.in_flight);
    let (from, until) = gate.pass(drive.window);
    let latency_ns_ref = latency_ns.as_mut().map_err(|e| anyhow!("{e}"))?;
    let (mut overrun, mut appended) = (Duration::ZERO, 0);
    let mut now = Instant::now();
    loop {
        in_flight.push_back((now, target.append(&mut producer, drive.payload)?));
        appended += 1;
        if in_flight.len() < drive.in_flight {
            now = Instant::now();
            continue;
        }
        let (begin, oldest) = in_flight.pop_front().context("nothing is in flight")?;
        target.wait(oldest)?;
        now = Instant::now();
        if now >= from && (now <= until || latency_ns_ref.is_empty()) {
            let ns = u64::try_from((now - begin).as_nanos()).unwrap_or(u64::MAX);
            latency_ns_ref.saturating_record(ns);
            overrun = now.saturating_duration_since(until);
        }
        if now >= until {
            break;
        }
    }
    for (_, ticket) in in_flight {
        target.wait(ticket)?;
    }
    Ok(Seen { latency_ns: latency_ns?, overrun, appended })
}

/// Returns the middle value, or the mean of the two middle values.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n => f64::midpoint(values[(n - 1) / 2], values[n / 2]),
    }
}

/// Bytes that no device can compress, from a 64-bit generator (splitmix64).
pub fn payload(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Takes a millisecond for each wait and checks that tickets are waited for in order.
    #[derive(Default)]
    struct Slow {
        appended: AtomicU64,
        waited: AtomicU64,
        fail_at: Option<u64>,
    }

    impl Target for Slow {
        type Producer = ();
        type Ticket = u64;

        fn producer(&self, _key: u64) {}

        fn append(&self, (): &mut (), _payload: &[u8]) -> Result<u64> {
            Ok(self.appended.fetch_add(1, Ordering::SeqCst))
        }

        fn wait(&self, ticket: u64) -> Result<()> {
            thread::sleep(Duration::from_millis(1));
            self.waited.fetch_add(1, Ordering::SeqCst);
            anyhow::ensure!(self.fail_at != Some(ticket), "ticket {ticket} failed");
            Ok(())
        }
    }

    fn of(threads: usize, in_flight: usize, window_ms: u64) -> Drive<'static> {
        Drive { threads, in_flight, payload: b"x", window: Duration::from_millis(window_ms) }
    }

    #[test]
    fn keeps_its_appends_in_flight_and_waits_for_all_of_them() {
        let target = Slow::default();
        let sample = drive(&target, of(2, 4, 50)).unwrap();
        assert_eq!(sample.appended, target.appended.load(Ordering::SeqCst));
        assert_eq!(target.appended.into_inner(), target.waited.into_inner());
        assert!(sample.quantile_us(0.5) > 3500.0, "four in flight: {} us", sample.quantile_us(0.5));
        assert!(sample.ops_s() > 0.0 && sample.ops_s() < 2100.0);
    }

    #[test]
    fn one_append_is_counted_even_if_it_outlasts_the_window() {
        let sample = drive(&Slow::default(), of(1, 1, 0)).unwrap();
        assert_eq!(sample.latency_ns.len(), 1);
        assert!(sample.seconds >= 0.001);
    }

    #[test]
    fn counted_appends_are_all_seen() {
        let target = Slow::default();
        let sample = count(&target, b"x", 5).unwrap();
        assert_eq!((sample.latency_ns.len(), target.waited.into_inner()), (5, 5));
        assert!(sample.seconds >= 0.005);
    }

    #[test]
    fn a_failed_append_fails_the_load() {
        let target = Slow { fail_at: Some(3), ..Slow::default() };
        assert_eq!(drive(&target, of(1, 1, 50)).unwrap_err().to_string(), "ticket 3 failed");
    }

    #[test]
    fn payloads_follow_from_the_seed() {
        assert_eq!(payload(1, 100)[..100], payload(1, 200)[..100]);
        assert_ne!(payload(1, 16), payload(2, 16));
        assert!(payload(1, 3).len() >= 3);
    }

    #[test]
    fn medians_of_odd_even_and_no_values() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()).to_bits(), 2f64.to_bits());
        assert_eq!(median([4.0, 1.0].into_iter()).to_bits(), 2.5f64.to_bits());
        assert!(median(std::iter::empty()).is_nan());
    }
}
