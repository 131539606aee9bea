//! Numbers about an open log: counters, and histograms of what a flush costs.
//!
//! Plain values; whoever holds them owns a copy. Histograms are log-linear from 1 upward, so that a
//! flush of 20 µs and one of 10 s are both told apart from their neighbours within an eighth.

use std::fmt;

/// Buckets: eight per power of two, from 1 to 2^32.
const BUCKETS: usize = 8 * 33;

/// Counts of values by size, exact below 8 and within an eighth above.
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

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// Sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Largest value.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// A value that `per_mille` of 1000 values do not exceed; 0 without values.
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

/// Largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let (power, sub) = (bucket / 8 + 2, bucket % 8);
    (((8 + sub as u64 + 1) << (power - 3)) - 1).min(u64::from(u32::MAX))
}

/// Numbers about an open log since it was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Records enqueued.
    pub records: u64,
    /// Bytes of these records.
    pub record_bytes: u64,
    /// Groups that became durable, marks and footers included.
    pub groups: u64,
    /// Bytes of these groups, padding included.
    pub group_bytes: u64,
    /// Bytes that the file pipeline wrote: headers and zeros.
    pub pipeline_bytes: u64,
    /// Times that the file pipeline found no room: the file system was full, or a quota used up.
    pub no_room: u64,
    /// Released files that were removed because writing zeros to them failed, instead of being used again.
    pub released_given_up: u64,
    /// Sealed segments that were opened to be read: many if reads go to more of them than
    /// [`Options::descriptors`](crate::Options::descriptors) is for.
    pub reopened: u64,
    /// Marks enqueued.
    pub marks: u64,
    /// Segments entered.
    pub rotations: u64,
    /// Rotations that had to wait for the pipeline.
    pub rotations_waited: u64,
    /// Appends that had to wait because too many bytes were not durable.
    pub appends_waited: u64,
    /// Bytes of records that are not durable.
    pub queued_bytes: u64,
    /// Callbacks and futures registered whose call has not ended.
    pub answers: usize,
    /// Spares ready whose blocks are all zeros.
    pub spares_zeroed: usize,
    /// Spares ready that hold what a released segment held.
    pub spares_stale: usize,
    /// Groups enqueued and not durable: how far the watermark is behind.
    pub lag_groups: u64,
    /// Nanoseconds for which the oldest of them has been under way.
    pub lag_ns: u64,
    /// Microseconds from the issue of a group to its durability.
    pub flush_us: Histogram,
    /// Records per group.
    pub group_records: Histogram,
    /// Bytes per group, padding included.
    pub group_size: Histogram,
    /// How groups are made durable: `direct` or `sync`.
    pub strategy: &'static str,
    /// What carries out the operations.
    pub backend: &'static str,
}

impl Stats {
    /// Share of the groups' bytes that are not records: headers and padding.
    pub fn padding_ratio(&self) -> f64 {
        ratio(self.group_bytes.saturating_sub(self.record_bytes), self.group_bytes)
    }

    /// Bytes written to the device per byte of records.
    pub fn write_amplification(&self) -> f64 {
        ratio(self.group_bytes + self.pipeline_bytes, self.record_bytes)
    }
}

#[cfg(feature = "metrics")]
impl Stats {
    /// Publishes the numbers through the `metrics` facade, as `seawall_*` with the label `log`; call it
    /// as often as they are to be collected.
    pub fn publish(&self, log: &str) {
        let label = || metrics::Label::new("log", log.to_owned());
        let totals = [
            ("seawall_records_total", self.records),
            ("seawall_record_bytes_total", self.record_bytes),
            ("seawall_groups_total", self.groups),
            ("seawall_group_bytes_total", self.group_bytes),
            ("seawall_pipeline_bytes_total", self.pipeline_bytes),
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
