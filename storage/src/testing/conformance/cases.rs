//! The cases of the suite: steps, the expected answer of the store to each, and the expected content after it.
//!
//! The fixture is that of the cores' own tests: a snapshot at index 3 of term 3, and entries 4 and 5 of terms 4 and
//! 5.

use super::store::Refusal;
use crate::types::{ConfState, HardState};

/// A call of a store.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Index and term of each entry.
    Append(Vec<(u64, u64)>),
    Compact(u64),
    Install(u64, u64),
    Hard(HardState),
    Conf(ConfState),
}

/// The expected content of a store.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    /// Index and term of the compaction point.
    pub(super) point: (u64, u64),
    /// Index and term of each entry.
    pub(super) log: Vec<(u64, u64)>,
    pub(super) hard: HardState,
    pub(super) conf: Option<ConfState>,
}

pub(super) type Answer = Result<(), Refusal>;

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) steps: Vec<(Step, Answer, Held)>,
}

/// All cases, for a store with the given [`Store::TRIMS`](super::Store::TRIMS).
pub(super) fn cases(trims: bool) -> Vec<Case> {
    let mut all = vec![
        of(
            "an empty store",
            vec![(Step::Append(vec![(1, 1), (2, 1)]), Ok(()), held((0, 0), &[(1, 1), (2, 1)]))],
        ),
        of(
            "states",
            vec![
                (Step::Hard(hard(5)), Ok(()), Held { hard: hard(5), ..fixture() }),
                (Step::Conf(conf()), Ok(()), Held { hard: hard(5), conf: Some(conf()), ..fixture() }),
                (Step::Append(vec![(6, 6)]), Ok(()), states(held((3, 3), &[(4, 4), (5, 5), (6, 6)]))),
                (Step::Compact(6), Ok(()), states(held((6, 6), &[]))),
            ],
        ),
    ];
    for (entries, expected) in [
        (&[(6, 6)][..], &[(4, 4), (5, 5), (6, 6)][..]),
        (&[(6, 5)], &[(4, 4), (5, 5), (6, 5)]),
        (&[(4, 4), (5, 5)], &[(4, 4), (5, 5)]),
        (&[(4, 6), (5, 6)], &[(4, 6), (5, 6)]),
        (&[(4, 4), (5, 5), (6, 5)], &[(4, 4), (5, 5), (6, 5)]),
        (&[(4, 5)], &[(4, 5)]),
        (&[(5, 9)], &[(4, 4), (5, 9)]),
    ] {
        let step = Step::Append(entries.to_vec());
        all.push(of("an append behind the compaction point", vec![(step, Ok(()), held((3, 3), expected))]));
    }
    for (entries, expected) in [
        (&[(1, 1), (2, 2)][..], &[(4, 4), (5, 5)][..]),
        (&[(3, 3), (4, 4), (5, 5)], &[(4, 4), (5, 5)]),
        (&[(3, 3), (4, 6), (5, 6)], &[(4, 6), (5, 6)]),
        (&[(3, 3), (4, 4), (5, 5), (6, 5)], &[(4, 4), (5, 5), (6, 5)]),
        (&[(2, 3), (3, 3), (4, 5)], &[(4, 5)]),
    ] {
        let (answer, expected) =
            if trims { (Ok(()), held((3, 3), expected)) } else { (Err(Refusal::Compacted), fixture()) };
        let step = Step::Append(entries.to_vec());
        all.push(of(
            "an append that begins at or below the compaction point",
            vec![(step, answer, expected)],
        ));
    }
    all.push(of("a gap", vec![(Step::Append(vec![(7, 7)]), Err(Refusal::Gap), fixture())]));
    for (index, answer, expected) in [
        (2, Err(Refusal::Compacted), fixture()),
        (3, Err(Refusal::Compacted), fixture()),
        (4, Ok(()), held((4, 4), &[(5, 5)])),
        (5, Ok(()), held((5, 5), &[])),
        (6, Err(Refusal::Unavailable), fixture()),
    ] {
        all.push(of("a compaction", vec![(Step::Compact(index), answer, expected)]));
    }
    let again = vec![
        (Step::Compact(4), Ok(()), held((4, 4), &[(5, 5)])),
        (Step::Compact(4), Err(Refusal::Compacted), held((4, 4), &[(5, 5)])),
        (Step::Compact(5), Ok(()), held((5, 5), &[])),
        (Step::Append(vec![(6, 5), (7, 8)]), Ok(()), held((5, 5), &[(6, 5), (7, 8)])),
    ];
    all.push(of("compactions and an append behind them", again));
    let older = vec![
        (Step::Install(4, 4), Ok(()), held((4, 4), &[(5, 5)])),
        (Step::Install(3, 3), Err(Refusal::OutOfDate), held((4, 4), &[(5, 5)])),
        (Step::Install(4, 4), Err(Refusal::OutOfDate), held((4, 4), &[(5, 5)])),
    ];
    all.push(of("a snapshot and an older one", older));
    for (index, term) in [(5, 5), (4, 7), (5, 7), (9, 9)] {
        let steps = vec![
            (Step::Install(index, term), Ok(()), held((index, term), &[])),
            (
                Step::Append(vec![(index + 1, 9), (index + 2, 10)]),
                Ok(()),
                held((index, term), &[(index + 1, 9), (index + 2, 10)]),
            ),
        ];
        all.push(of("a snapshot that leaves nothing of the log", steps));
    }
    all
}

/// A case that starts with the fixture, except the first case, which starts with an empty store.
fn of(name: &'static str, steps: Vec<(Step, Answer, Held)>) -> Case {
    let mut all = Vec::new();
    if !steps.iter().any(|(_, _, held)| held.point == (0, 0)) {
        all.push((Step::Install(3, 3), Ok(()), held((3, 3), &[])));
        all.push((Step::Append(vec![(4, 4), (5, 5)]), Ok(()), fixture()));
    }
    all.extend(steps);
    Case { name, steps: all }
}

fn held(point: (u64, u64), log: &[(u64, u64)]) -> Held {
    Held { point, log: log.to_vec(), ..Held::default() }
}

fn fixture() -> Held {
    held((3, 3), &[(4, 4), (5, 5)])
}

fn hard(commit: u64) -> HardState {
    HardState { term: 5, vote: 2, commit }
}

fn states(of: Held) -> Held {
    Held { hard: hard(5), conf: Some(conf()), ..of }
}

fn conf() -> ConfState {
    ConfState {
        voters: vec![1, 2, 3],
        learners: vec![4],
        voters_outgoing: vec![1, 5],
        learners_next: vec![5],
        auto_leave: true,
        index: 4,
    }
}
