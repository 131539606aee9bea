//! Statistics of an open log: counters, and histograms of the cost of a flush.

use std::fmt;

/// Number of buckets: eight per power of two, from 1 to 2^32.
const BUCKETS: usize = 8 * 33;

/// A histogram of values: exact below 8, with an error of at most an eighth above, capped at 2^32 - 1.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    sum: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS].into(), total: 0, sum: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.sum = self.sum.saturating_add(value);
        self.max = self.max.max(value);
    }

    /// Number of values counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Sum of all values; saturates.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Largest value.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that `per_mille` of 1000 values do not exceed, to within an eighth; 0 if none was counted.
    pub fn at(&self, per_mille: u64) -> u64 {
        let rank = self.total.saturating_mul(per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return upper(i).min(self.max);
            }
        }
        self.max
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.at(500), self.at(990));
        write!(f, "{{count {}, p50 {p50}, p99 {p99}, max {}}}", self.total, self.max)
    }
}

fn bucket(value: u64) -> usize {
    let value = value.min(u64::from(u32::MAX));
    if value < 8 {
        return usize::try_from(value).unwrap_or(0);
    }
    let power = value.ilog2();
    let sub = usize::try_from((value >> (power - 3)) & 7).unwrap_or(0);
    8 * (power as usize - 2) + sub
}

/// Largest value that falls into the bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let (power, sub) = (bucket / 8 + 2, bucket % 8);
    (((8 + sub as u64 + 1) << (power - 3)) - 1).min(u64::from(u32::MAX))
}

/// Statistics of a log since it was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Records enqueued.
    pub records: u64,
    /// Bytes of these records.
    pub record_bytes: u64,
    /// Groups that became durable, marks and footers included.
    pub groups: u64,
    /// Bytes of these groups, headers and padding included.
    pub group_bytes: u64,
    /// Bytes that the preallocator wrote: segment headers and zeros.
    pub preallocated_bytes: u64,
    /// How often the preallocator found no space: the file system was full, or a quota used up.
    pub no_room: u64,
    /// Released files that were removed instead of recycled because writing zeros to them failed.
    pub released_given_up: u64,
    /// How often a closed segment file was opened to be read. A high number means that reads go to more segments than
    /// [`Options::descriptors_max`](crate::Options::descriptors_max) allows open.
    pub reopened: u64,
    /// Marks enqueued.
    pub marks: u64,
    /// Segments entered by rotation.
    pub rotations: u64,
    /// Rotations that had to wait for the preallocator.
    pub rotations_waited: u64,
    /// How often an append found more than [`Options::queue_bytes`](crate::Options::queue_bytes) not durable and had to
    /// wait. One append may count several times.
    pub appends_waited: u64,
    /// Bytes of enqueued records that are not durable.
    pub queued_bytes: u64,
    /// Callbacks and futures that are outstanding: registered, and their call has not returned.
    pub callbacks: usize,
    /// Ready spares whose blocks are all zeros.
    pub spares_zeroed: usize,
    /// Ready spares that still hold the blocks of a released segment.
    pub spares_stale: usize,
    /// Groups enqueued and not durable: how far the watermark is behind the end of the log.
    pub lag_groups: u64,
    /// Nanoseconds since the oldest group in flight was issued; 0 if none is in flight.
    pub lag_ns: u64,
    /// Microseconds from the issue of a group until it was durable.
    pub flush_us: Histogram,
    /// Records per group.
    pub group_records: Histogram,
    /// Bytes per group, padding included.
    pub group_size: Histogram,
    /// How groups are made durable: `direct` or `sync`.
    pub strategy: &'static str,
    /// How the log's own thread carries out operations: `io_uring` or `posix`.
    pub backend: &'static str,
}

impl Stats {
    /// Share of the groups' bytes that are not record bytes: headers and padding, 0 to 1.
    pub fn padding_ratio(&self) -> f64 {
        ratio(self.group_bytes.saturating_sub(self.record_bytes), self.group_bytes)
    }

    /// Bytes written to the device per byte of records.
    pub fn write_amplification(&self) -> f64 {
        ratio(self.group_bytes + self.preallocated_bytes, self.record_bytes)
    }
}

impl fmt::Display for Stats {
    /// A few lines: what was written, how long it took, and what is waiting.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { records, record_bytes, groups, strategy, backend, flush_us, .. } = self;
        writeln!(f, "{records} records, {record_bytes} bytes, in {groups} groups ({strategy}, {backend})")?;
        let [p50, p99] = [flush_us.at(500), flush_us.at(990)];
        writeln!(f, "flush: p50 {p50} us, p99 {p99} us, longest {} us", flush_us.max())?;
        writeln!(
            f,
            "waiting: {} bytes, {} groups, the oldest for {} us; {} callbacks",
            self.queued_bytes,
            self.lag_groups,
            self.lag_ns / 1000,
            self.callbacks
        )?;
        write!(
            f,
            "segments: {} entered, {} of them late; {} spares; no space {} times",
            self.rotations,
            self.rotations_waited,
            self.spares_zeroed + self.spares_stale,
            self.no_room
        )
    }
}

#[cfg(feature = "metrics")]
impl Stats {
    /// Publishes the statistics through the `metrics` facade, as `seawall_*` with the label `log`. Call it as often as
    /// they are to be collected.
    pub fn publish(&self, log: &str) {
        let label = || metrics::Label::new("log", log.to_owned());
        let totals = [
            ("seawall_records_total", self.records),
            ("seawall_record_bytes_total", self.record_bytes),
            ("seawall_groups_total", self.groups),
            ("seawall_group_bytes_total", self.group_bytes),
            ("seawall_preallocated_bytes_total", self.preallocated_bytes),
            ("seawall_no_room_total", self.no_room),
            ("seawall_released_given_up_total", self.released_given_up),
            ("seawall_reopened_total", self.reopened),
            ("seawall_rotations_total", self.rotations),
            ("seawall_rotations_waited_total", self.rotations_waited),
            ("seawall_appends_waited_total", self.appends_waited),
        ];
        for (name, value) in totals {
            metrics::counter!(name, vec![label()]).absolute(value);
        }
        let gauges = [
            ("seawall_queued_bytes", self.queued_bytes),
            ("seawall_spares_zeroed", self.spares_zeroed as u64),
            ("seawall_spares_stale", self.spares_stale as u64),
            ("seawall_lag_groups", self.lag_groups),
            ("seawall_lag_ns", self.lag_ns),
            ("seawall_flush_us_p50", self.flush_us.at(500)),
            ("seawall_flush_us_p99", self.flush_us.at(990)),
            ("seawall_flush_us_max", self.flush_us.max()),
        ];
        for (name, value) in gauges {
            #[expect(clippy::cast_precision_loss, reason = "gauges are floating point")]
            metrics::gauge!(name, vec![label()]).set(value as f64);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_ordered_and_tight() {
        let mut last = 0;
        for value in (0..100_000).chain([1 << 20, 1 << 31, u64::from(u32::MAX), u64::MAX]) {
            let i = bucket(value);
            assert!(i >= last && i < BUCKETS, "{value}");
            last = i;
            let top = upper(i);
            let capped = value.min(u64::from(u32::MAX));
            assert!(top >= capped && top - capped <= capped / 8, "{value}: {top}");
        }
    }

    #[test]
    fn percentiles_of_known_values() {
        let mut h = Histogram::default();
        (1..=1000).for_each(|v| h.record(v));
        assert_eq!((h.count(), h.max(), h.sum()), (1000, 1000, 500_500));
        assert!((500..=563).contains(&h.at(500)), "{}", h.at(500));
        assert!((990..=1000).contains(&h.at(990)));
        assert_eq!(h.at(1000), 1000);
        assert_eq!(Histogram::default().at(500), 0);
    }
}
