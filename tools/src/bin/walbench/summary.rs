//! Computes the rows of the report from the figures of all rounds.
//!
//! Ratios are taken within a round, and the report has their median, so that a slow moment of the machine affects both
//! sides. Counters of the log are summed over the rounds.

use crate::args::Load;
use crate::counters::{Counters, Delta};
use crate::load::{Sample, median};
use crate::spec::{Spec, What};
use serde::Serialize;

/// One row of the report: medians over the rounds, except `max_us`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    #[serde(flatten)]
    pub(crate) spec: Spec,
    pub(crate) ops_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Largest latency of all rounds, in microseconds.
    pub(crate) max_us: f64,
    /// p50 divided by that of the better floor of the same size.
    pub(crate) floor_p50_ratio: f64,
    /// p99.9 divided by that of the better floor of the same size.
    pub(crate) floor_p999_ratio: f64,
    /// Appends per second divided by those of the bare group commit under the same load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bare_ops_ratio: Option<f64>,
    pub(crate) rounds: usize,
    /// Number of appends measured.
    pub(crate) ops: u64,
    /// Present in rows of the log only.
    #[serde(flatten)]
    pub(crate) counters: Option<Counters>,
}

/// Figures of one row in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    ops: u64,
    ops_s: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    counted: Option<Delta>,
}

impl Figures {
    /// Figures of one round. `counted` has the log's counters if the log was the target.
    pub(crate) fn of(sample: &Sample, counted: Option<Delta>) -> Figures {
        Figures {
            ops: sample.latency_ns.len(),
            ops_s: sample.ops_s(),
            p50_us: sample.quantile_us(0.5),
            p99_us: sample.quantile_us(0.99),
            p999_us: sample.quantile_us(0.999),
            max_us: sample.max_us(),
            counted,
        }
    }
}

/// Takes medians over the rounds. `rounds[i]` has the figures of `specs[i]`, one per round.
pub(crate) fn summarise(specs: Vec<Spec>, rounds: &[Vec<Figures>]) -> Vec<Row> {
    let mut rows = Vec::with_capacity(specs.len());
    for (spec, figures) in specs.iter().zip(rounds) {
        let matching = |wanted: &dyn Fn(&Spec) -> bool| -> Vec<&Vec<Figures>> {
            specs.iter().zip(rounds).filter(|(other, _)| wanted(other)).map(|(_, figures)| figures).collect()
        };
        // The load over rotations has its own floor, with as many appends.
        let counts_rotations = |spec: &Spec| spec.load == Load::Rotations;
        let floors = matching(&|other| {
            other.what == What::Floor
                && other.bytes == spec.bytes
                && counts_rotations(other) == counts_rotations(spec)
        });
        let to_floor = |of: fn(&Figures) -> f64| {
            median(figures.iter().enumerate().map(|(round, own)| {
                of(own) / floors.iter().map(|floor| of(&floor[round])).fold(f64::INFINITY, f64::min)
            }))
        };
        let bares = matching(&|other| {
            spec.what == What::Log
                && *other == Spec { what: What::Bare, backend: other.backend, ..spec.clone() }
        });
        let bare_ops_ratio = bares
            .first()
            .map(|bare| median(figures.iter().zip(bare.iter()).map(|(own, bare)| own.ops_s / bare.ops_s)));
        let of = |figure: fn(&Figures) -> f64| median(figures.iter().map(figure));
        rows.push(Row {
            spec: spec.clone(),
            ops_s: of(|f| f.ops_s),
            p50_us: of(|f| f.p50_us),
            p99_us: of(|f| f.p99_us),
            p999_us: of(|f| f.p999_us),
            max_us: figures.iter().map(|f| f.max_us).fold(0.0, f64::max),
            floor_p50_ratio: to_floor(|f| f.p50_us),
            floor_p999_ratio: to_floor(|f| f.p999_us),
            bare_ops_ratio,
            rounds: figures.len(),
            ops: figures.iter().map(|f| f.ops).sum(),
            counters: Counters::of(figures.iter().map(|f| f.counted)),
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(what: What, load: Load, strategy: &'static str) -> Spec {
        let (bytes, segment_bytes) = (128, 1 << 20);
        Spec { what, load, bytes, threads: None, in_flight: None, strategy, backend: "posix", segment_bytes }
    }

    fn figures(ops_s: f64, p50_us: f64) -> Figures {
        Figures { ops: 10, ops_s, p50_us, p99_us: 0.0, p999_us: 3.0 * p50_us, max_us: p50_us, counted: None }
    }

    #[test]
    fn rotations_are_compared_with_their_own_floor() {
        let specs = vec![
            spec(What::Floor, Load::Lone, "direct"),
            spec(What::Floor, Load::Rotations, "direct"),
            spec(What::Log, Load::Lone, "direct"),
            Spec { backend: "ring", ..spec(What::Log, Load::Rotations, "direct") },
        ];
        let counted = Figures { counted: Some(Delta::default()), ..figures(1.0, 80.0) };
        let rounds =
            [vec![figures(1.0, 40.0)], vec![figures(1.0, 50.0)], vec![figures(1.0, 60.0)], vec![counted]];
        let rows = summarise(specs, &rounds);
        assert!((rows[2].floor_p50_ratio - 1.5).abs() < 1e-9);
        assert!((rows[3].floor_p50_ratio - 1.6).abs() < 1e-9);
        assert!((rows[3].floor_p999_ratio - 1.6).abs() < 1e-9);
        assert_eq!(rows.iter().filter(|row| row.counters.is_some()).count(), 1);
    }

    #[test]
    fn ratios_are_to_the_better_floor_and_to_the_same_load() {
        let specs = vec![
            spec(What::Floor, Load::Lone, "direct"),
            spec(What::Floor, Load::Lone, "sync"),
            spec(What::Bare, Load::Lone, "direct"),
            spec(What::Bare, Load::Inflight, "direct"),
            spec(What::Log, Load::Lone, "direct"),
        ];
        let rounds = [
            vec![figures(0.0, 40.0), figures(0.0, 80.0)],
            vec![figures(0.0, 50.0), figures(0.0, 60.0)],
            vec![figures(1000.0, 44.0), figures(1000.0, 66.0)],
            vec![figures(9000.0, 1.0), figures(9000.0, 1.0)],
            vec![figures(500.0, 80.0), figures(1000.0, 60.0)],
        ];
        let rows = summarise(specs, &rounds);
        assert!((rows[2].floor_p50_ratio - 1.1).abs() < 1e-9);
        assert!((rows[4].floor_p50_ratio - 1.5).abs() < 1e-9);
        assert_eq!(rows[2].bare_ops_ratio, None);
        assert!((rows[4].bare_ops_ratio.unwrap() - 0.75).abs() < 1e-9);
        assert_eq!((rows[4].rounds, rows[4].ops), (2, 20));
    }
}
