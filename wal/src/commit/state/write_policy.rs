//! Measures the device and the load, and decides from that how many groups are written at the same time.
//!
//! Plain numbers: it has no clock of its own, takes no lock and cannot fail. There are two rules. On a slow device
//! small groups are written concurrently at once ([`WritePolicy::slow`]). On a fast device the waiting threads may be
//! split into two halves that take turns: while one half's group is written, the other half wakes up and appends
//! ([`WritePolicy::split`]). Splitting pays only if the device completes two concurrent groups sooner than two in
//! sequence, so both ways are tried and the one with more records per second is kept.

/// Latency, in nanoseconds, from which a device counts as slow: its small groups are written concurrently, since
/// waiting to make a group larger costs more than the writes it saves.
const SLOW_NS: u64 = 300_000;

/// Number of groups without a measurement after which a slow device is measured again, by writing one group at a time.
const PROBE: u32 = 2048;

/// Number of groups in a measuring window.
const WINDOW: u32 = 128;

/// Largest number of records for which a thread waits before it writes a group that is not split. Waiting for more
/// takes as long as writing them.
const GATHERED_MAX: u32 = 32;

/// Number of windows at the start in which the two ways alternate.
const FIRST: u32 = 8;

/// After that, one window in this many tries the other way.
const RETRY: u32 = 32;

/// The largest number of records in flight is remembered over the last `RECENT` to 2 * `RECENT` groups.
const RECENT: u32 = 32;

/// The measurements of one log, and the decisions that follow from them.
#[derive(Clone, Copy, Debug)]
pub(super) struct WritePolicy {
    /// Latency of the device for a small group that is written alone: the lowest observed. It is aged slowly, so
    /// that a busy machine is not taken for a slow device. `u64::MAX` while nothing is known.
    fastest_ns: u64,
    /// Groups since the last one that measured `fastest_ns`.
    since: u32,
    /// Most records in flight at once: in the current period of [`RECENT`] groups, and in the one before.
    crowd: [u32; 2],
    issued: u32,
    /// Whether groups are split at present.
    splitting: bool,
    /// The current window: groups, records, nanoseconds.
    window: (u32, u64, u64),
    windows: u32,
    /// Records per second without and with splitting, smoothed; 0 while unknown.
    rates: [u64; 2],
    last_end_ns: u64,
}

impl Default for WritePolicy {
    fn default() -> WritePolicy {
        WritePolicy {
            fastest_ns: u64::MAX,
            since: 0,
            crowd: [0; 2],
            issued: 0,
            splitting: false,
            window: (0, 0, 0),
            windows: 0,
            rates: [0; 2],
            last_end_ns: 0,
        }
    }
}

impl WritePolicy {
    /// Counts a group that is issued; with it `records` are in flight.
    pub(super) fn issue(&mut self, records: u32) {
        self.crowd[0] = self.crowd[0].max(records);
        self.issued += 1;
        if self.issued == RECENT {
            self.crowd = [records, self.crowd[0]];
            self.issued = 0;
        }
    }

    /// Counts a group of `records` that was issued at `issued_ns` and is durable at `now_ns`. `latency_sample`: it was
    /// small and written alone, so it measures the latency of the device.
    pub(super) fn observe(&mut self, records: u32, issued_ns: u64, now_ns: u64, latency_sample: bool) {
        let took_ns = now_ns.saturating_sub(issued_ns);
        self.since += 1;
        // If the clock did not move, nothing was measured.
        if latency_sample && took_ns > 0 {
            let slower = took_ns.saturating_sub(self.fastest_ns);
            self.fastest_ns = took_ns.min(self.fastest_ns) + slower / 512;
            self.since = 0;
        }
        // The time since the previous completion counts, since that is what splitting saves. A pause without writes
        // does not.
        let since_ns = now_ns.saturating_sub(self.last_end_ns).min(took_ns.saturating_mul(2));
        self.last_end_ns = now_ns;
        self.window.0 += 1;
        self.window.1 += u64::from(records);
        self.window.2 += since_ns;
        if self.window.0 >= WINDOW {
            self.evaluate_trial();
        }
    }

    /// Ends a window and decides how the next one is written.
    fn evaluate_trial(&mut self) {
        let (_, records, ns) = std::mem::take(&mut self.window);
        let now = usize::from(self.splitting);
        let rate = records.saturating_mul(1_000_000_000) / ns.max(1);
        self.rates[now] = if self.rates[now] == 0 { rate } else { (self.rates[now] * 3 + rate) / 4 };
        self.windows = self.windows.wrapping_add(1);
        let [whole, split] = self.rates;
        self.splitting = if self.windows < FIRST || self.windows.is_multiple_of(RETRY) {
            !self.splitting
        } else {
            // Fewer groups cost less, so splitting must win by more than noise.
            split > whole + whole / 64
        };
    }

    /// How long a waiting thread yields before it sleeps: three times the latency of the device. 0 if that exceeds
    /// `most_ns` or is not known.
    pub(super) fn yield_max_ns(&self, most_ns: u64) -> u64 {
        let writes_ns = self.fastest_ns.saturating_mul(3);
        if writes_ns > most_ns { 0 } else { writes_ns }
    }

    /// Whether other threads are likely to append soon: the recent number of records in flight was larger than the
    /// `records` that wait to be written and the `in_flight` ones that are written and not durable.
    pub(super) fn expects_more(&self, records: u32, in_flight: u32) -> bool {
        let crowd = self.crowd[0].max(self.crowd[1]);
        let enough = if self.splitting {
            self.split(records)
        } else {
            records.saturating_add(in_flight) >= crowd.min(GATHERED_MAX)
        };
        records > 0 && crowd > 1 && !enough
    }

    /// Whether the device is slow. While groups are written concurrently none is alone, so after [`PROBE`] groups
    /// without a measurement this returns `false` until a group has been written alone.
    pub(super) fn slow(&self) -> bool {
        self.fastest_ns != u64::MAX && self.fastest_ns >= SLOW_NS && self.since < PROBE
    }

    /// Whether a group of `records` is written concurrently with the one in flight: it must hold nearly half of the
    /// recent number of records in flight, so that the first threads to wake up do not write a small group of their
    /// own.
    pub(super) fn split(&self, records: u32) -> bool {
        let crowd = self.crowd[0].max(self.crowd[1]);
        self.splitting && crowd > 1 && u64::from(records) * 16 >= u64::from(crowd) * 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates a device that takes `split_ns` for a group of 8 records and `whole_ns` for one of 16; returns how many
    /// of 20,000 groups were written split.
    fn split_share(whole_ns: u64, split_ns: u64) -> usize {
        let (mut policy, mut now, mut split) = (WritePolicy::default(), 0, 0);
        for _ in 0..20_000 {
            let (records, ns) = if policy.splitting { (8, split_ns) } else { (16, whole_ns) };
            policy.issue(16);
            policy.observe(records, now, now + ns, false);
            now += ns;
            split += usize::from(policy.splitting);
        }
        split
    }

    #[test]
    fn the_way_with_more_records_per_second_is_kept() {
        assert!(split_share(140_000, 60_000) > 18_500);
        assert!(split_share(140_000, 100_000) < 1_500);
    }

    #[test]
    fn nearly_half_of_those_that_take_part_go_with_a_second_write() {
        let mut policy = WritePolicy { splitting: true, ..WritePolicy::default() };
        policy.issue(16);
        assert!(policy.split(7) && !policy.split(6));
        for _ in 0..2 * RECENT {
            policy.issue(4);
        }
        assert!(policy.split(2) && !policy.split(1), "a crowd that went is forgotten");
        assert!(!WritePolicy { splitting: true, ..WritePolicy::default() }.split(1));
    }

    #[test]
    fn a_group_is_written_once_those_that_take_part_have_come() {
        let mut policy = WritePolicy::default();
        assert!(!policy.expects_more(1, 0), "nobody else is known");
        policy.issue(16);
        assert!(policy.expects_more(15, 0) && !policy.expects_more(16, 0) && !policy.expects_more(12, 4));
        assert!(!policy.expects_more(0, 0), "nothing to write");
        policy.issue(100);
        assert!(policy.expects_more(31, 0) && !policy.expects_more(32, 0));
        let mut split = WritePolicy { splitting: true, ..WritePolicy::default() };
        split.issue(16);
        assert!(split.expects_more(6, 0) && !split.expects_more(7, 0));
    }

    #[test]
    fn the_longest_yield_is_as_long_as_a_few_writes() {
        let mut policy = WritePolicy::default();
        assert_eq!(policy.yield_max_ns(1_000_000), 0, "nothing is known");
        policy.observe(1, 0, 100_000, true);
        assert_eq!((policy.yield_max_ns(1_000_000), policy.yield_max_ns(200_000)), (300_000, 0));
    }

    #[test]
    fn a_pause_is_not_held_against_either() {
        let mut policy = WritePolicy::default();
        policy.observe(1, 0, 100, false);
        policy.observe(1, 1_000_000_000, 1_000_000_100, false);
        assert_eq!(policy.window.2, 300);
    }

    #[test]
    fn a_slow_device_is_judged_anew() {
        let mut policy = WritePolicy::default();
        policy.observe(1, 0, 2 * SLOW_NS, true);
        assert!(policy.slow());
        for _ in 0..PROBE {
            policy.observe(1, 0, 2 * SLOW_NS, false);
        }
        assert!(!policy.slow());
    }
}
