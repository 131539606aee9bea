//! Loads: when do the users of a log append?

use std::fmt;

/// A way to append, with `in_flight` records in flight unless it says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    /// One thread appends all records, waits until all are durable, and starts again.
    Lockstep,
    /// Each record that becomes durable is replaced by another one, which takes as long as a callback that wakes the
    /// appending thread.
    Replace,
    /// One thread waits for its oldest record, then replaces all that are durable.
    Oldest,
    /// Each user thinks for twice the time of a write, on average, before it appends again.
    Think,
    /// Records arrive at random moments, a third of `in_flight` of them in the time of a write.
    Open,
    /// One user appends one record after the other, next to a crowd that thinks; the figures are those of the one.
    LoneInCrowd,
}

/// All loads.
pub(crate) const LOADS: [Load; 6] =
    [Load::Lockstep, Load::Replace, Load::Oldest, Load::Think, Load::Open, Load::LoneInCrowd];

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Load::Lockstep => "lockstep",
            Load::Replace => "replace at once",
            Load::Oldest => "oldest first",
            Load::Think => "think time",
            Load::Open => "open loop",
            Load::LoneInCrowd => "lone in a crowd",
        })
    }
}

/// A random number generator (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An exponentially distributed time with this mean.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 37 times the mean, and a fraction has no meaning"
    )]
    pub(crate) fn exponential_ns(&mut self, mean_ns: u64) -> u64 {
        let uniform = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        (-(1.0 - uniform).ln() * mean_ns as f64) as u64
    }
}
