//! Counters of the log over the measured time: differences of its statistics, summed over the rounds.
//!
//! Padding and amplification use the log's own definitions, applied to the differences. Marks and footers are counted
//! as groups. Background work (new segments, zeros) is counted in the row during which it happens.

use seawall_wal::stats::Stats;
use serde::Serialize;
use std::ops::AddAssign;

/// Difference of two readings of a log's statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Delta {
    pub(crate) rotations: u64,
    pub(crate) rotations_waited: u64,
    pub(crate) groups: u64,
    records: u64,
    record_bytes: u64,
    group_bytes: u64,
    preallocated_bytes: u64,
}

impl Delta {
    pub(crate) fn between(before: &Stats, after: &Stats) -> Delta {
        let delta = |of: fn(&Stats) -> u64| of(after).saturating_sub(of(before));
        Delta {
            rotations: delta(|s| s.rotations),
            rotations_waited: delta(|s| s.rotations_waited),
            groups: delta(|s| s.groups),
            records: delta(|s| s.records),
            record_bytes: delta(|s| s.record_bytes),
            group_bytes: delta(|s| s.group_bytes),
            preallocated_bytes: delta(|s| s.preallocated_bytes),
        }
    }
}

impl AddAssign for Delta {
    fn add_assign(&mut self, other: Delta) {
        self.rotations += other.rotations;
        self.rotations_waited += other.rotations_waited;
        self.groups += other.groups;
        self.records += other.records;
        self.record_bytes += other.record_bytes;
        self.group_bytes += other.group_bytes;
        self.preallocated_bytes += other.preallocated_bytes;
    }
}

/// The part of a row that only the log has, over all rounds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(crate) struct Counters {
    pub(crate) rotations: u64,
    pub(crate) rotations_waited: u64,
    pub(crate) groups: u64,
    /// Mean number of records in a group.
    pub(crate) records_per_group: f64,
    pub(crate) padding_ratio: f64,
    pub(crate) write_amplification: f64,
}

impl Counters {
    /// Sums the counts of the rounds. Returns `None` if the target was not the log.
    pub(crate) fn of(rounds: impl Iterator<Item = Option<Delta>>) -> Option<Counters> {
        let mut sum = Delta::default();
        for round in rounds {
            sum += round?;
        }
        let Delta { rotations, rotations_waited, groups, records, .. } = sum;
        let bytes = Stats {
            record_bytes: sum.record_bytes,
            group_bytes: sum.group_bytes,
            preallocated_bytes: sum.preallocated_bytes,
            ..Stats::default()
        };
        Some(Counters {
            rotations,
            rotations_waited,
            groups,
            records_per_group: if groups == 0 { 0.0 } else { records as f64 / groups as f64 },
            padding_ratio: bytes.padding_ratio(),
            write_amplification: bytes.write_amplification(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_summed_before_ratios_are_taken() {
        let before = Stats { records: 5, groups: 5, rotations: 1, ..Stats::default() };
        let after = Stats {
            records: 35,
            record_bytes: 3000,
            groups: 15,
            group_bytes: 4000,
            preallocated_bytes: 2000,
            rotations: 4,
            rotations_waited: 1,
            ..Stats::default()
        };
        let delta = Delta::between(&before, &after);
        let twice = Counters::of([Some(delta), Some(delta)].into_iter()).unwrap();
        assert_eq!((twice.rotations, twice.rotations_waited, twice.groups), (6, 2, 20));
        assert!((twice.records_per_group - 3.0).abs() < 1e-9);
        assert!((twice.padding_ratio - 0.25).abs() < 1e-9);
        assert!((twice.write_amplification - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_not_a_log_has_none() {
        assert_eq!(Counters::of([None].into_iter()), None);
    }
}
