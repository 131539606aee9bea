//! Computes the lines of the table from the rounds: medians, ratios of Seawall to every other line, and whether bars
//! are met.
//!
//! Ratios are taken within a round, and their median is reported, so that a slow moment affects both sides. Counts are
//! summed over the rounds.

use crate::engines::Seen;
use crate::load::Variant;
use crate::plan::{Figure, Line};
use crate::run::{Outcome, Round};
use seawall_compare::bar::Bar;
use seawall_harness::load::median;
use serde::Serialize;

/// Ratio of a variant of Seawall to the engine of a line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) variant: &'static str,
    pub(crate) ratio: f64,
    /// Absent if there is no bar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
}

/// Medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) ops_s: f64,
    /// Smallest and largest value of the rounds.
    pub(crate) ops_s_min: f64,
    pub(crate) ops_s_max: f64,
    pub(crate) mib_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_us: Option<f64>,
    /// All appends of all rounds, including those of the warm-up.
    pub(crate) appended: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) syncs_per_append: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_flushes_per_append: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_writes_per_append: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_bytes_per_append: Option<f64>,
    /// Share of the processors that other processes used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) others: Option<f64>,
    pub(crate) rounds: usize,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) row: u8,
    pub(crate) case: String,
    pub(crate) engine: String,
    pub(crate) threads: usize,
    pub(crate) in_flight: usize,
    pub(crate) bytes: usize,
    /// Reason why the target cannot run this load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) absent: Option<&'static str>,
    #[serde(flatten)]
    pub(crate) figures: Option<Figures>,
    /// The figure that `ratios` compare.
    pub(crate) compared: Figure,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bar: Option<Bar>,
    pub(crate) ratios: Vec<Ratio>,
}

/// Computes all lines of a case.
pub(crate) fn rows(outcome: &Outcome) -> Vec<Row> {
    let of = |(line, rounds): (&Line, &Vec<Round>)| Row {
        row: outcome.case.row,
        case: outcome.case.title.clone(),
        engine: line.who.name(),
        threads: line.load.threads,
        in_flight: line.load.in_flight,
        bytes: line.load.bytes,
        absent: line.absent,
        figures: figures(rounds, line.load.bytes),
        compared: outcome.case.figure,
        bar: line.bar,
        ratios: ratios(outcome, line, rounds),
    };
    outcome.case.lines.iter().zip(&outcome.rounds).map(of).collect()
}

fn figures(rounds: &[Round], bytes: usize) -> Option<Figures> {
    const MIB: f64 = 1_048_576.0;
    if rounds.is_empty() {
        return None;
    }
    let of = |figure: &dyn Fn(&Seen) -> f64| median(rounds.iter().map(|round| figure(&round.seen)));
    let time = |figure: fn(&Seen) -> Option<f64>| {
        let times: Option<Vec<f64>> = rounds.iter().map(|round| figure(&round.seen)).collect();
        times.map(|times| median(times.into_iter()))
    };
    let appended: u64 = rounds.iter().map(|round| round.seen.appended).sum();
    let per_append = |count: &dyn Fn(&Round) -> Option<u64>| {
        let counts: Option<u64> = rounds.iter().map(count).sum();
        counts.map(|count| count as f64 / appended.max(1) as f64)
    };
    let all = || rounds.iter().map(|round| round.seen.ops_s);
    Some(Figures {
        ops_s: of(&|seen| seen.ops_s),
        ops_s_min: all().fold(f64::INFINITY, f64::min),
        ops_s_max: all().fold(0.0, f64::max),
        mib_s: of(&|seen| seen.ops_s * bytes as f64 / MIB),
        p50_us: time(|seen| seen.p50_us),
        p99_us: time(|seen| seen.p99_us),
        appended,
        syncs_per_append: per_append(&|round| round.syncs),
        device_flushes_per_append: per_append(&|round| round.device?.flushes),
        device_writes_per_append: per_append(&|round| Some(round.device?.writes)),
        device_bytes_per_append: per_append(&|round| Some(round.device?.write_bytes)),
        others: {
            let shares: Option<Vec<f64>> = rounds.iter().map(|round| round.others).collect();
            shares.map(|shares| median(shares.into_iter()))
        },
        rounds: rounds.len(),
    })
}

/// Ratio of each variant to this line.
fn ratios(outcome: &Outcome, line: &Line, rounds: &[Round]) -> Vec<Ratio> {
    let figure = |round: &Round| match outcome.case.figure {
        Figure::OpsS => round.seen.ops_s,
        Figure::P50Us => round.seen.p50_us.unwrap_or(f64::NAN),
    };
    let of = |variant: Variant| {
        let at = outcome.case.lines.iter().position(|line| line.who.variant() == Some(variant))?;
        if rounds.is_empty() {
            return None;
        }
        let pairs = outcome.rounds[at].iter().zip(rounds);
        let ratio = median(pairs.map(|(ours, theirs)| figure(ours) / figure(theirs)));
        Some(Ratio { variant: variant.name(), ratio, met: line.bar.map(|bar| bar.is_met(ratio)) })
    };
    Variant::all().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Kind, Load, Who};
    use crate::plan::Case;
    use std::time::Duration;

    fn round(ops_s: f64, syncs: Option<u64>) -> Round {
        let seen = Seen { ops_s, p50_us: Some(1e6 / ops_s), p99_us: None, appended: 10 };
        Round { seen, syncs, device: None, others: None }
    }

    #[test]
    fn ratios_are_of_rounds_and_bars_of_their_median() {
        let kind = Kind::Durable { window: Duration::ZERO };
        let load = Load { threads: 1, in_flight: 1, bytes: 1 << 20, kind };
        let line = |who, bar| Line { who, load, absent: None, bar };
        let lines = vec![
            line(Who::Seawall(Variant::FIRST), None),
            line(Who::RaftEngine, Some(Bar::AtLeast(3.0))),
            Line { absent: Some("cannot"), ..line(Who::Okaywal, None) },
        ];
        let case = Case { row: 1, title: String::new(), figure: Figure::OpsS, rounds: 3, lines };
        let rounds = vec![
            vec![round(10.0, Some(5)), round(20.0, Some(5)), round(90.0, Some(5))],
            vec![round(5.0, None), round(5.0, None), round(10.0, None)],
            vec![],
        ];
        let rows = rows(&Outcome { case: case.clone(), rounds: rounds.clone() });
        let ours = rows[0].figures.as_ref().unwrap();
        assert!((ours.ops_s - 20.0).abs() < 1e-9 && (ours.mib_s - 20.0).abs() < 1e-9);
        assert!((ours.syncs_per_append.unwrap() - 0.5).abs() < 1e-9);
        assert!(rows[1].figures.as_ref().unwrap().syncs_per_append.is_none());
        assert!((rows[1].ratios[0].ratio - 4.0).abs() < 1e-9);
        assert_eq!(rows[1].ratios[0].met, Some(true));
        assert!(rows[2].figures.is_none() && rows[2].ratios.is_empty());

        let mut case = Case { figure: Figure::P50Us, ..case };
        case.lines[1].bar = Some(Bar::AtMost(0.2));
        let rows = super::rows(&Outcome { case, rounds });
        assert!((rows[1].ratios[0].ratio - 0.25).abs() < 1e-9);
        assert_eq!(rows[1].ratios[0].met, Some(false));
    }
}
