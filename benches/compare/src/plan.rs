//! The plan of the measurements: rows, their loads and targets, and the bars that Seawall must meet.

use crate::args::Scale;
use crate::load::{Kind, Load, Variant, Who, Window};
use seawall_compare::bar::Bar;
use seawall_wal::disk::Mode;
use serde::Serialize;

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) who: Who,
    pub(crate) load: Load,
    /// Reason why the target cannot run this load; `None` if it can.
    pub(crate) absent: Option<&'static str>,
    /// Required ratio of Seawall to this line.
    pub(crate) bar: Option<Bar>,
}

/// The figure that is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    OpsS,
    P50Us,
}

/// Lines that run the same load in turn.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) row: u8,
    pub(crate) title: String,
    pub(crate) figure: Figure,
    pub(crate) rounds: usize,
    pub(crate) lines: Vec<Line>,
}

const NO_GROUPS: &str = "one Raft group per log";
const NO_LAZY: &str = "syncs every commit";
/// Bar for the nearest rivals: Seawall is at least as fast.
const NOT_BEHIND: Bar = Bar::AtLeast(1.0);
const FLOORS: [Who; 2] = [Who::Floor(Mode::Direct), Who::Floor(Mode::Buffered)];

/// All cases of a row.
pub(crate) fn cases(row: u8, scale: &Scale) -> Vec<Case> {
    let durable = Kind::Durable { window: scale.window };
    let case = |title: String| Case { row, title, figure: Figure::OpsS, rounds: scale.rounds, lines: vec![] };
    match row {
        1 | 2 => {
            let (bytes, one_thread) = if row == 1 { (256, 10.0) } else { (4096, 8.0) };
            let in_flight = |depth| {
                let case = case(format!("one thread, {depth} in flight, {} B", bytes));
                pipelined(case, bytes, depth, one_thread, durable)
            };
            vec![in_flight(32), in_flight(64)]
        }
        3 => {
            let loads = [(16, 256), (64, 256), (64, 4096)];
            let of = |(threads, bytes)| {
                let mut case = case(format!("{threads} threads x {bytes} B, a Raft group each"));
                let load = Load { threads, in_flight: 1, bytes, kind: durable };
                case.floors(Load { threads: 1, ..load });
                case.push(Who::Bare, load).bar = Some(NOT_BEHIND);
                case.seawall(load);
                case.push(Who::RaftEngine, load).bar = Some(Bar::AtLeast(1.8));
                case.push(Who::Okaywal, load);
                case.push(Who::RaftLog(Window::Default), load).absent = Some(NO_GROUPS);
                case
            };
            loads.map(of).to_vec()
        }
        4 => {
            let mut case = Case { figure: Figure::P50Us, ..case("lone writer, 16384 B".to_owned()) };
            let load = Load { threads: 1, in_flight: 1, bytes: 16384, kind: durable };
            case.floors(load);
            case.push(Who::Bare, load).bar = Some(Bar::AtMost(1.1));
            case.seawall(load);
            case.push(Who::RaftEngine, load).bar = Some(Bar::AtMost(0.55));
            case.push(Who::RaftEngineDefault, load).bar = Some(Bar::AtMost(0.55));
            for window in Window::LONE {
                case.push(Who::RaftLog(window), load);
            }
            case.push(Who::Okaywal, load);
            vec![case]
        }
        5 => {
            let burst = bandwidth(case("64 KiB records, 8 in flight".to_owned()), durable, 0.85);
            let seconds = scale.sustained.as_secs_f64();
            let long = Kind::Durable { window: scale.sustained };
            let title = format!("64 KiB records, 8 in flight, {seconds} s with recycling");
            vec![burst, bandwidth(Case { rounds: 1, ..case(title) }, long, 0.7)]
        }
        _ => {
            let mut case = case("not durable, one sync at the end, one thread, 256 B".to_owned());
            let load = Load {
                threads: 1,
                in_flight: 1,
                bytes: 256,
                kind: Kind::Lazy { appends: scale.lazy_appends },
            };
            case.seawall(load);
            case.push(Who::RaftEngine, load).bar = Some(Bar::AtLeast(3.0));
            case.push(Who::RaftLog(Window::None), load);
            case.push(Who::Okaywal, load).absent = Some(NO_LAZY);
            vec![case]
        }
    }
}

/// One producer with several appends in flight, compared with as many threads for engines that need them.
fn pipelined(mut case: Case, bytes: usize, depth: usize, one_thread: f64, kind: Kind) -> Case {
    let lone = Load { threads: 1, in_flight: 1, bytes, kind };
    let deep = Load { in_flight: depth, ..lone };
    let wide = Load { threads: depth, ..lone };
    case.floors(lone);
    case.push(Who::Bare, deep).bar = Some(NOT_BEHIND);
    case.seawall(deep);
    case.push(Who::RaftEngine, lone).bar = Some(Bar::AtLeast(one_thread));
    case.push(Who::RaftEngine, wide).bar = Some(Bar::AtLeast(2.0));
    case.push(Who::RaftEngineGathered, deep).bar = Some(NOT_BEHIND);
    for window in Window::DEEP {
        case.push(Who::RaftLog(window), deep).bar = Some(Bar::AtLeast(1.5));
    }
    case.push(Who::Okaywal, wide);
    case
}

/// Large records, compared with as many threads that write blocks of that size. These are no floor: each write makes
/// one record durable, while a log may make several durable with one flush.
fn bandwidth(mut case: Case, kind: Kind, share: f64) -> Case {
    let deep = Load { threads: 1, in_flight: 8, bytes: 64 << 10, kind };
    let wide = Load { threads: 8, in_flight: 1, ..deep };
    case.push(Who::Floor(Mode::Direct), wide).bar = Some(Bar::AtLeast(share));
    case.seawall(deep);
    if case.rounds > 1 {
        case.push(Who::Floor(Mode::Buffered), wide);
        case.push(Who::Bare, deep).bar = Some(NOT_BEHIND);
        case.push(Who::RaftEngine, wide);
        case.push(Who::RaftLog(Window::Short), deep);
        case.push(Who::Okaywal, wide);
    }
    case
}

impl Case {
    fn push(&mut self, who: Who, load: Load) -> &mut Line {
        self.lines.push(Line { who, load, absent: None, bar: None });
        let last = self.lines.len() - 1;
        &mut self.lines[last]
    }

    fn floors(&mut self, load: Load) {
        for who in FLOORS {
            self.push(who, load);
        }
    }

    fn seawall(&mut self, load: Load) {
        for variant in Variant::all() {
            self.push(Who::Seawall(variant), load);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use clap::Parser;

    #[test]
    fn every_row_has_a_bar_and_every_case_all_variants() {
        let scale = Args::parse_from(["compare"]).scale();
        for row in 1..=6 {
            let cases = cases(row, &scale);
            assert!(!cases.is_empty());
            for case in cases {
                assert!(case.lines.iter().any(|line| line.bar.is_some()), "{}", case.title);
                let nearest = |line: &&Line| matches!(line.who, Who::Bare | Who::RaftEngineGathered);
                assert!(case.lines.iter().filter(nearest).all(|line| line.bar.is_some()), "{}", case.title);
                let variants = case.lines.iter().filter(|line| line.who.variant().is_some());
                assert_eq!(variants.count(), Variant::COUNT, "{}", case.title);
            }
        }
    }
}
