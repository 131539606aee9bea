//! Time and randomness as parameters.

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A source of time. The correctness of the log does not depend on it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since the Unix epoch; may jump in both directions.
    fn wall_ms(&self) -> u64;
    /// Nanoseconds since an arbitrary start; never decreases.
    fn now_ns(&self) -> u64;
}

/// A source of random 64-bit numbers for salts and identities.
pub trait Random: Send + Sync + fmt::Debug {
    /// The next number.
    fn next_u64(&self) -> u64;
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl SystemClock {
    /// A clock whose monotonic reading starts now.
    pub fn new() -> SystemClock {
        SystemClock(Instant::now())
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The kernel's random number generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        // The generator fails only on systems without one. A salt must differ from other salts but need not be
        // secret, so time and an address suffice there.
        getrandom::u64().unwrap_or_else(|_| {
            let clock = SystemClock::new();
            clock.wall_ms().rotate_left(32) ^ std::ptr::from_ref(&clock).addr() as u64
        })
    }
}
