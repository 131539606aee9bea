//! Tests one group against a naive model: random operations, and replays that start after a released prefix. Every
//! case follows from its seed, which a failure names.

use std::collections::BTreeMap;

use super::*;
use crate::format::{FRAME, Place, Run, encode_frame};
use crate::group::{SegmentRun, SegmentUsage};

/// xorshift64*: random enough to choose operations.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// The model of a group: every entry with its term and location.
#[derive(Clone, Default)]
struct Model {
    point: CompactionPoint,
    entries: Vec<(u64, u64, Location)>,
    hard: HardState,
    /// Newest first.
    snapshots: Vec<SnapshotMarker>,
    metas: BTreeMap<MetaKey, Bytes>,
}

impl Model {
    fn last(&self) -> u64 {
        self.entries.last().map_or(self.point.index, |e| e.0)
    }

    fn term(&self, index: u64) -> Option<u64> {
        let entry = self.entries.iter().find(|e| e.0 == index).map(|e| e.1);
        if index == self.point.index { Some(self.point.term) } else { entry }
    }

    fn apply(&mut self, op: &Op, locations: &[Location], value: Option<&StateValue>) {
        match *op {
            Op::Entries { first, term, .. } => {
                self.entries.retain(|e| e.0 < first);
                self.entries.extend((first..).zip(locations).map(|(index, at)| (index, term, *at)));
            }
            Op::Moved { first, .. } | Op::Repaired { first, .. } => {
                for (index, at) in (first..).zip(locations) {
                    self.entries.iter_mut().filter(|e| e.0 == index).for_each(|e| e.2 = *at);
                }
            }
            Op::HardState(hard) => self.hard = hard,
            Op::ConfState => {}
            Op::Compact(point) => {
                self.entries.retain(|e| e.0 > point.index);
                self.point = point;
            }
            Op::Start(point) => {
                self.point = point;
                self.entries.clear();
            }
            Op::Remove => *self = Model::default(),
            Op::Snapshot(marker) => {
                self.snapshots.retain(|other| other.index != marker.index);
                self.snapshots.push(marker);
                self.snapshots.sort_unstable_by(|a, b| b.cmp(a));
                self.snapshots.truncate(2);
            }
            Op::Meta { key, removes: true } => _ = self.metas.remove(&key),
            Op::Meta { key, removes: false } => {
                let Some(StateValue::Meta(value)) = value else { panic!("a value") };
                self.metas.insert(key, value.clone());
            }
        }
    }

    fn check(&self, state: &GroupState, what: &str) {
        assert_eq!(state.point(), self.point, "{what}");
        assert_eq!(state.first_index(), self.point.index + 1, "{what}");
        assert_eq!(state.last_index(), self.last(), "{what}");
        assert_eq!(state.hard(), self.hard, "{what}");
        assert_eq!(state.entries(), self.entries.len(), "{what}");
        assert_eq!(state.snapshots().collect::<Vec<_>>(), self.snapshots, "{what}");
        assert!(state.metas().eq(&self.metas), "{what}");
        for index in self.point.index.saturating_sub(2)..self.last() + 3 {
            assert_eq!(state.term(index), self.term(index), "{what}: term of {index}");
            let at = self.entries.iter().find(|e| e.0 == index).map(|e| e.2);
            assert_eq!(state.location(index), at, "{what}: place of {index}");
        }
        let mut runs: Vec<(u64, u64)> = self.entries.iter().map(|e| (e.0, e.1)).collect();
        runs.dedup_by_key(|run| run.1);
        assert_eq!(state.term_runs().collect::<Vec<_>>(), runs, "{what}");
    }
}

/// The next operation, chosen among those that a valid caller may make.
fn operation(random: &mut Random, model: &Model, count_max: u64) -> Op {
    let (point, last) = (model.point.index, model.last());
    let newest = model.snapshots.first().map_or(0, |marker| marker.index);
    match random.below(20) {
        0..8 => {
            // Mostly at the end, sometimes over a suffix; never over entries that a snapshot covers.
            let back = if random.below(4) == 0 { random.below(last - point.max(newest) + 1) } else { 0 };
            let first = last + 1 - back;
            let term = model.term(first - 1).expect("follows") + u64::from(random.below(6) == 0);
            let count = u32::try_from(1 + random.below(count_max)).expect("small");
            Op::Entries { first, term, count, truncates: first <= last, packed: false }
        }
        8..11 => {
            let hard = model.hard;
            let commit = hard.commit + random.below(3);
            Op::HardState(HardState { term: hard.term + random.below(2), vote: hard.vote, commit })
        }
        11..14 if last > point => {
            let index = point + 1 + random.below(last - point);
            Op::Compact(CompactionPoint { index, term: model.term(index).expect("in the log") })
        }
        14 => {
            let index = point.max(newest) + 1 + random.below(20);
            Op::Start(CompactionPoint { index, term: 1 + random.below(5) })
        }
        16 | 17 => {
            let key = MetaKey::new(&[b'a' + u8::try_from(random.below(3)).expect("small")]).expect("a key");
            Op::Meta { key, removes: random.below(3) == 0 }
        }
        18 | 19 if last > 0 => {
            let index = point.max(newest).max(1);
            let index = index + random.below(last - index + 1);
            let term = model.term(index).expect("in the log");
            Op::Snapshot(SnapshotMarker { index, term, digest: random.below(100) })
        }
        15 if random.below(4) == 0 => Op::Remove,
        _ => Op::HardState(model.hard),
    }
}

/// The value that goes with `op`, if it sets one; a different one each time.
fn state_value(op: &Op, next: &mut u32) -> Option<StateValue> {
    *next += 1;
    op.has_state_value().then(|| StateValue::Meta(Bytes::copy_from_slice(&next.to_le_bytes())))
}

/// The operation that writes again what `op` set, with the value that the model has.
fn again(op: &Op, model: &Model, next: &mut u32) -> Option<StateValue> {
    match op {
        Op::Meta { key, .. } if op.has_state_value() => Some(StateValue::Meta(model.metas[key].clone())),
        _ => state_value(op, next),
    }
}

/// `locations` as an index stores them, in `bytes`; unchanged if they have no place in it.
fn encoded<'a>(op: &Op, segment: u32, locations: &'a [Location], bytes: &'a mut Vec<u8>) -> Parts<'a> {
    bytes.clear();
    let first = op.first_entry();
    let chunk = |(i, _): &(u64, &Location)| (first + i) / FRAME as u64;
    let all: Vec<_> = (0..).zip(locations).collect();
    for own in all.chunk_by(|a, b| chunk(a) == chunk(b)) {
        let places: Vec<Place> = own.iter().map(|(_, at)| Place::from(*at)).collect();
        encode_frame(&places, bytes).expect("they follow each other");
    }
    let (run, rest) = Run::split(first, op.places(), bytes).expect("just encoded");
    assert!(rest.is_empty() && run.is_valid(u32::MAX));
    Parts::Run(SegmentRun { run, segment, packed: false })
}

fn places(op: &Op, segment: u32, next: &mut u32) -> Vec<Location> {
    (0..op.places())
        .map(|_| {
            *next += 1;
            Location::plain(segment, *next * 8, *next % 7, !*next)
        })
        .collect()
}

#[test]
fn a_group_is_what_its_model_is() {
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let (mut model, mut state) = (Model::default(), GroupState::default());
        let (usage, mut next) = (SegmentUsage::default(), 0);
        for step in 1..120 {
            let op = operation(&mut random, &model, if seed % 3 == 0 { 300 } else { 6 });
            let locations = places(&op, step, &mut next);
            let value = state_value(&op, &mut next);
            let mut uses = UsageDelta::default();
            let what = format!("seed {seed}, step {step}, {op:?}");
            assert_eq!(
                state.apply(&op, step, Parts::from(&locations[..]), value.as_ref(), &mut uses),
                Ok(()),
                "{what}"
            );
            model.apply(&op, &locations, value.as_ref());
            usage.settle(&uses);
            model.check(&state, &what);
            assert_eq!(usage.live_entries(), model.entries.len() as u64, "{what}");
        }
        let mut uses = UsageDelta::default();
        assert_eq!(state.apply(&Op::Remove, 999, Parts::from(&[][..]), None, &mut uses), Ok(()));
        usage.settle(&uses);
        assert_eq!(usage.lowest(), None, "seed {seed}: a removed group holds nothing");
    }
}

/// Copies of some entries of the oldest segment, possibly too many or too few for its release.
fn copies(random: &mut Random, state: &GroupState, usage: &SegmentUsage, active: u32) -> Vec<Op> {
    let Some((oldest, _)) = usage.movable(|| active) else { return Vec::new() };
    let mut ops = Vec::<Op>::new();
    for (index, term, _) in state.entries_up_to(oldest) {
        match ops.last_mut() {
            Some(Op::Moved { first, term: run, count, .. })
                if *run == term && *first + u64::from(*count) == index =>
            {
                *count += 1;
            }
            _ => ops.push(Op::Moved { first: index, term, count: 1, packed: false }),
        }
    }
    if random.below(4) == 0 {
        ops.truncate(1);
    }
    ops
}

/// The release rule: for every segment that was free at some moment, a replay that starts after it, with all records
/// up to that moment and later ones, ends in the same state.
#[test]
fn a_replay_behind_any_released_prefix_ends_in_the_same_state() {
    let (mut shortened, mut adopted) = (0, 0);
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let (mut model, mut state) = (Model::default(), GroupState::default());
        let (usage, mut next, mut segment) = (SegmentUsage::default(), 0, 1);
        let mut log: Vec<(u32, Op, Vec<Location>, Option<StateValue>)> = Vec::new();
        let mut floor = 1;
        for step in 0..80 {
            segment += u32::from(random.below(3) == 0);
            let (reemitted, repeats) = match usage.only_state(|| segment) {
                Some(oldest) if random.below(2) == 0 => (state.state_up_to(oldest).collect(), true),
                None if random.below(3) == 0 => (copies(&mut random, &state, &usage, segment), true),
                _ => (vec![operation(&mut random, &model, 4)], false),
            };
            for op in reemitted {
                let locations = places(&op, segment, &mut next);
                let value = if repeats { again(&op, &model, &mut next) } else { state_value(&op, &mut next) };
                let mut uses = UsageDelta::default();
                let applied =
                    state.apply(&op, segment, Parts::from(&locations[..]), value.as_ref(), &mut uses);
                assert_eq!(applied, Ok(()), "seed {seed}");
                usage.settle(&uses);
                model.apply(&op, &locations, value.as_ref());
                log.push((segment, op, locations, value));
            }
            floor = floor.max(usage.floor(|| segment));

            let what = format!("seed {seed}, step {step}, from segment {floor}");
            let mut replayed = GroupState::before_replay(floor > 1);
            let (again, mut uses) = (SegmentUsage::default(), UsageDelta::default());
            let mut bytes = Vec::new();
            for (segment, op, locations, value) in log.iter().filter(|record| record.0 >= floor) {
                let by_index = random.below(2) == 0;
                let parts = if by_index {
                    encoded(op, *segment, locations, &mut bytes)
                } else {
                    Parts::from(&locations[..])
                };
                let applied = replayed.apply(op, *segment, parts, value.as_ref(), &mut uses);
                assert_eq!(applied, Ok(()), "{what}: {op:?}");
            }
            again.settle(&uses);
            adopted += u32::from(!replayed.moved.is_empty());
            match replayed.settle() {
                Settled::Absent => assert!(!state.exists(), "{what}"),
                settled => assert_eq!(settled, Settled::Whole, "{what}"),
            }
            model.check(&replayed, &what);
            assert_eq!(again.lowest(), usage.lowest(), "{what}");
        }
        shortened += u32::from(floor > 1);
    }
    assert!(shortened > 200, "only {shortened} logs lost a prefix");
    assert!(adopted > 200, "only {adopted} replays met copies of entries whose first place was gone");
}

#[test]
fn a_hole_that_nothing_closes_is_damage() {
    let entries = |first| Op::Entries { first, term: 1, count: 1, truncates: false, packed: false };
    let at = [Location::default()];
    let mut uses = UsageDelta::default();

    let mut whole = GroupState::before_replay(false);
    let gap = Fault::Gap { expected: 1, found: 5 };
    assert_eq!(whole.apply(&entries(5), 1, Parts::from(&at[..]), None, &mut uses), Err(gap));

    let mut cut = GroupState::before_replay(true);
    assert_eq!(cut.apply(&entries(5), 1, Parts::from(&at[..]), None, &mut uses), Ok(()));
    let gap = Fault::Gap { expected: 6, found: 7 };
    assert_eq!(
        cut.apply(&entries(7), 1, Parts::from(&at[..]), None, &mut uses),
        Err(gap),
        "only the first may jump"
    );
    assert_eq!(cut.settle(), Settled::Faulty(Fault::Missing { first: 1, last: 4 }));
    let point = CompactionPoint { index: 4, term: 1 };
    assert_eq!(cut.apply(&Op::Compact(point), 1, Parts::from(&[][..]), None, &mut uses), Ok(()));
    assert_eq!(cut.settle(), Settled::Whole);
    // A snapshot covers entries that the log lacks.
    let marker = SnapshotMarker { index: 9, term: 1, digest: 0 };
    assert_eq!(cut.apply(&Op::Snapshot(marker), 1, Parts::from(&[][..]), None, &mut uses), Ok(()));
    assert_eq!(cut.settle(), Settled::Faulty(Fault::Missing { first: 6, last: 9 }));
}

#[test]
fn operations_that_contradict_the_group_are_faults() {
    let at = [Location::default(); 2];
    let entries = |first, term, truncates| Op::Entries { first, term, count: 2, truncates, packed: false };
    let point = |index, term| CompactionPoint { index, term };
    let group = || {
        let (mut state, mut uses) = (GroupState::default(), UsageDelta::default());
        let hard = HardState { term: 3, vote: 1, commit: 4 };
        for op in [Op::Start(point(2, 2)), entries(3, 3, false), Op::HardState(hard)] {
            assert_eq!(state.apply(&op, 1, Parts::from(&at[..op.parts() as usize]), None, &mut uses), Ok(()));
        }
        state
    };
    let back = |field| Fault::HardState { field };
    let marker = |index, term| Op::Snapshot(SnapshotMarker { index, term, digest: 0 });
    let hard = |term, vote, commit| Op::HardState(HardState { term, vote, commit });
    for (op, fault) in [
        (entries(6, 3, false), Fault::Gap { expected: 5, found: 6 }),
        (entries(5, 3, true), Fault::Truncation { index: 5 }),
        (entries(4, 3, false), Fault::Truncation { index: 4 }),
        (entries(5, 2, false), Fault::Term { index: 5, term: 2, known: 3 }),
        (entries(2, 3, true), Fault::Index { index: 2, point: 2 }),
        (entries(u64::MAX, 3, false), Fault::Index { index: u64::MAX, point: 2 }),
        (Op::Compact(point(1, 2)), Fault::Point { index: 1, from: 2, to: 4 }),
        (Op::Compact(point(5, 3)), Fault::Point { index: 5, from: 2, to: 4 }),
        (Op::Compact(point(3, 9)), Fault::Term { index: 3, term: 9, known: 3 }),
        (Op::Start(point(2, 2)), Fault::Point { index: 2, from: 2, to: 4 }),
        (Op::Start(point(u64::MAX, 2)), Fault::Point { index: u64::MAX, from: 2, to: 4 }),
        (hard(2, 0, 4), back("term")),
        (hard(3, 2, 4), back("vote")),
        (hard(3, 1, 3), back("commit")),
        (Op::ConfState, Fault::Part),
        (Op::Meta { key: MetaKey::new(b"a").expect("a key"), removes: false }, Fault::Part),
        (marker(4, 9), Fault::Term { index: 4, term: 9, known: 3 }),
        (marker(0, 0), Fault::Index { index: 0, point: 2 }),
        (marker(u64::MAX, 3), Fault::Index { index: u64::MAX, point: 2 }),
    ] {
        let locations = if matches!(op, Op::Entries { .. }) { &at[..] } else { &[] };
        let mut uses = UsageDelta::default();
        assert_eq!(group().apply(&op, 2, Parts::from(locations), None, &mut uses), Err(fault), "{op:?}");
    }
}
