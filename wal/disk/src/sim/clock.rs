//! Simulated time and seeded randomness, which tests pass to the log instead of the system's.
//!
//! A run is then a function of its seed. Time moves only when told to, and the monotonic reading never decreases. The
//! wall clock may jump, because a real one does, and the log must not depend on it.

use crate::clock::{Clock, Random};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const NS_PER_MS: u64 = 1_000_000;

/// The wall clock of a new [`SimClock`], in milliseconds since the Unix epoch: a fixed moment in 2023.
const WALL_START_MS: u64 = 1_700_000_000_000;

/// A clock that stands still until it is advanced.
#[derive(Debug)]
pub struct SimClock(Mutex<Times>);

#[derive(Debug)]
struct Times {
    wall_ns: u64,
    now_ns: u64,
}

impl SimClock {
    /// A clock at monotonic 0 and a fixed wall time.
    pub fn new() -> SimClock {
        SimClock(Mutex::new(Times { wall_ns: WALL_START_MS * NS_PER_MS, now_ns: 0 }))
    }

    /// Moves both readings forward by `ms` milliseconds.
    pub fn advance_ms(&self, ms: u64) {
        self.advance_ns(ms.saturating_mul(NS_PER_MS));
    }

    /// Moves both readings forward by `ns` nanoseconds.
    pub fn advance_ns(&self, ns: u64) {
        let mut times = self.0.lock();
        times.wall_ns = times.wall_ns.saturating_add(ns);
        times.now_ns = times.now_ns.saturating_add(ns);
    }

    /// Sets the wall clock, forwards or back, as an operator or NTP would; the monotonic reading stays.
    pub fn set_wall_ms(&self, ms: u64) {
        self.0.lock().wall_ns = ms.saturating_mul(NS_PER_MS);
    }
}

/// A clock that advances by a millisecond whenever it is read: the log takes the disk for a slow one, and writes
/// several groups at a time.
#[derive(Debug, Default)]
pub struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn wall_ms(&self) -> u64 {
        1
    }

    fn now_ns(&self) -> u64 {
        self.0.fetch_add(NS_PER_MS, Ordering::Relaxed)
    }
}

impl Default for SimClock {
    fn default() -> SimClock {
        SimClock::new()
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        self.0.lock().wall_ns / NS_PER_MS
    }

    fn now_ns(&self) -> u64 {
        self.0.lock().now_ns
    }
}

/// A random source that gives the same numbers for the same seed.
#[derive(Debug)]
pub struct SimRandom(Mutex<Rng>);

impl SimRandom {
    /// A source seeded with `seed`.
    pub fn new(seed: u64) -> SimRandom {
        SimRandom(Mutex::new(Rng::new(seed)))
    }
}

impl Random for SimRandom {
    fn next_u64(&self) -> u64 {
        self.0.lock().next()
    }
}

/// Splitmix64: small, of full period, and good enough to choose which sectors survive.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if `n` is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let draw = self.next();
        usize::try_from(draw.checked_rem(n as u64).unwrap_or(0)).unwrap_or(0)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_moves_only_when_told() {
        let clock = SimClock::new();
        let wall = clock.wall_ms();
        assert_eq!((clock.wall_ms(), clock.now_ns()), (wall, 0));
        clock.advance_ms(3);
        clock.advance_ns(7);
        assert_eq!((clock.wall_ms(), clock.now_ns()), (wall + 3, 3_000_007));
        clock.set_wall_ms(5);
        assert_eq!((clock.wall_ms(), clock.now_ns()), (5, 3_000_007));
    }

    #[test]
    fn same_seed_same_numbers() {
        let draw = |seed| {
            let random = SimRandom::new(seed);
            (0..8).map(|_| random.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_all_of_it() {
        let mut rng = Rng::new(0);
        let mut seen = [false; 7];
        for _ in 0..500 {
            seen[rng.below(7)] = true;
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(rng.below(0), 0);
    }
}
