//! Tests random histories of one log against a model, with power cuts at any disk operation. A reopened log
//! must be in the state after one of the calls, not earlier than the last answered one.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --features openraft a_reopened_log` repeats one run; `SEAWALL_RUNS=n`
//! makes n random ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use seawall_wal::disk::clock::{Random, SystemRandom};
use seawall_wal::disk::sim::SimDisk;

use crate::adapters::openraft::error::{Error, Result};
use crate::adapters::openraft::log::write::LogWrites;
use crate::adapters::openraft::log_id::{Ends, Id};
use crate::adapters::openraft::tests::version::*;
use crate::engine::Engine;

/// A log as the core sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Model {
    entries: BTreeMap<u64, Entry>,
    purged: Option<Id<Leader>>,
    vote: Option<(u64, u64, bool)>,
    committed: Option<u64>,
}

/// Everything that the log store exposes.
type Seen = (Vec<Entry>, Ends<Leader>, Option<(u64, u64, bool)>, Option<Id<Leader>>, Vec<Id<Leader>>);

impl Model {
    fn last(&self) -> Option<Id<Leader>> {
        self.entries.values().next_back().map(|entry| entry.0.clone()).or_else(|| self.purged.clone())
    }

    fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn purge(&mut self, id: Id<Leader>) {
        if self.purged.as_ref().is_some_and(|purged| id.index <= purged.index) {
            return;
        }
        let reached = self.entries.keys().next().is_some_and(|first| *first <= id.index);
        if reached && self.entries.get(&id.index).is_none_or(|entry| entry.0 != id) {
            self.entries.clear();
        }
        self.entries = self.entries.split_off(&(id.index + 1));
        self.purged = Some(id);
    }

    fn seen(&self) -> Seen {
        let entries: Vec<Entry> = self.entries.values().cloned().collect();
        let committed = self.committed.and_then(|index| {
            self.entries.get(&index).map(|entry| entry.0.clone()).or_else(|| self.purged.clone())
        });
        let mut ids: Vec<Id<Leader>> = Vec::new();
        for (id, _) in &entries {
            match ids.last_mut() {
                Some(last) if last.leader == id.leader => *last = id.clone(),
                _ => ids.push(id.clone()),
            }
        }
        (entries, Ends { purged: self.purged.clone(), last: self.last() }, self.vote, committed, ids)
    }
}

fn seen(log: &LogWrites<Line>) -> Seen {
    let reads = log.reads();
    let entries = once(reads.entries(..)).unwrap().unwrap();
    (entries, reads.ends(), reads.vote(), reads.committed(), reads.last_of_each_leader(0, u64::MAX - 4))
}

struct Run {
    rng: Rng,
    disk: Arc<SimDisk>,
    open: Option<(Engine, LogWrites<Line>)>,
    /// The state after each call since the log was opened.
    states: Vec<Model>,
    answers: Answers,
    leader: Leader,
    crashes: u64,
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

impl Run {
    /// Makes one call. After `Err` the power is off, and the call may or may not have taken effect.
    fn step(&mut self) -> Result<()> {
        let mut model = self.states.last().unwrap().clone();
        let result = match self.rng.below(100) {
            0..45 => self.append(&mut model),
            45..55 => self.vote(&mut model),
            55..65 => self.commit(&mut model),
            65..75 => self.purge(&mut model),
            75..95 => {
                let flushed = self.open.as_ref().unwrap().0.flush();
                if flushed.is_ok() {
                    self.answers.callback(self.states.len() as u64)(Ok(()));
                }
                flushed.map_err(Error::from)
            }
            _ => {
                self.disk.crash_after(1 + self.rng.below(30));
                Ok(())
            }
        };
        if result.is_ok() {
            assert_eq!(seen(&self.open.as_ref().unwrap().1), model.seen());
        }
        self.states.push(model);
        result
    }

    fn append(&mut self, model: &mut Model) -> Result<()> {
        let Run { rng, open, states, answers, leader, .. } = self;
        let (engine, log) = open.as_mut().unwrap();
        if rng.below(4) == 0 {
            *leader = (leader.0 + rng.below(2), leader.1 + 1);
        }
        // Often overwrites entries that are not committed, which the core truncates first.
        let floor = model.committed.map_or(0, |index| index + 1);
        let floor = floor.max(model.purged.as_ref().map_or(0, |purged| purged.index + 1));
        let next = model.next();
        let from = if rng.below(3) == 0 { floor + rng.below(next.saturating_sub(floor) + 1) } else { next };
        model.entries.split_off(&from);
        states.push(model.clone());
        drive(engine, log.truncate(from))?;
        let from = if model.last().is_none() { rng.below(3) } else { model.next() };
        let list: Vec<Entry> = (from..from + 1 + rng.below(4))
            .map(|index| {
                (id(leader.0, leader.1, index), "x".repeat(usize::try_from(rng.below(3000)).unwrap()))
            })
            .collect();
        model.entries.extend(list.iter().map(|entry| (entry.0.index, entry.clone())));
        drive(engine, log.append(list, answers.callback(states.len() as u64)))
    }

    fn vote(&mut self, model: &mut Model) -> Result<()> {
        let (engine, log) = self.open.as_mut().unwrap();
        let vote = (self.leader.0, self.rng.below(5), self.rng.below(2) == 0);
        model.vote = Some(vote);
        if self.rng.below(2) == 0 {
            // Abandoned before it was durable.
            return once(log.save_vote(vote)).unwrap_or(Ok(()));
        }
        drive(engine, log.save_vote(vote))?;
        self.answers.callback(self.states.len() as u64)(Ok(()));
        Ok(())
    }

    fn commit(&mut self, model: &mut Model) -> Result<()> {
        let (engine, log) = self.open.as_mut().unwrap();
        let (Some(first), Some(last)) = (model.entries.keys().next(), model.entries.keys().next_back())
        else {
            return Ok(());
        };
        let index = first + self.rng.below(last - first + 1);
        model.committed = model.committed.max(Some(index));
        drive(engine, log.save_committed(Some(index)))
    }

    fn purge(&mut self, model: &mut Model) -> Result<()> {
        let (engine, log) = self.open.as_mut().unwrap();
        let index = model.next().saturating_sub(3) + self.rng.below(6);
        let here = model.entries.get(&index).map(|entry| entry.0.clone());
        let mut purged = here.unwrap_or(id(self.leader.0, self.leader.1, index));
        // Sometimes another entry than the log has, but never a committed one.
        if self.rng.below(8) == 0 && model.committed.is_none_or(|committed| committed < index) {
            purged = id(self.leader.0 + 1, 0, index);
        }
        model.purge(purged.clone());
        drive(engine, log.purge(purged))
    }

    fn reopen(&mut self) {
        if let Some((engine, log)) = self.open.take() {
            let cut = self.disk.crash_reached() || self.rng.below(2) == 0;
            if !cut && engine.close().is_ok() {
                self.answers.callback(self.states.len() as u64 - 1)(Ok(()));
            }
            drop((engine, log));
        }
        // Callbacks with `Ok` came in order, and their entries are present.
        let answers = self.answers.take();
        let good: Vec<u64> = answers.iter().filter(|(_, result)| result.is_ok()).map(|(n, _)| *n).collect();
        let acked = usize::try_from(good.iter().copied().max().unwrap_or(0)).unwrap();
        self.disk.crash();
        self.crashes += 1;
        loop {
            if self.rng.below(4) == 0 {
                self.disk.crash_after(1 + self.rng.below(30));
            }
            match open(&self.disk, self.rng.0) {
                Ok((engine, _, log)) => {
                    let now = seen(&log);
                    let found = self.states.iter().enumerate().rev().find(|(_, model)| model.seen() == now);
                    let Some((at, model)) = found else { panic!("was never so: {now:?}") };
                    assert!(at >= acked, "{acked} was answered, this is {at}");
                    self.states = vec![model.clone()];
                    self.open = Some((engine, log));
                    return;
                }
                Err(error) => {
                    assert!(self.disk.crash_reached(), "{error}");
                    self.disk.crash();
                }
            }
        }
    }
}

fn run(seed: u64) -> u64 {
    let (rng, disk) = (Rng(seed), disk(seed));
    let (engine, _, log) = open(&disk, seed).unwrap();
    let states = vec![Model::default()];
    let answers = Answers::default();
    let mut run = Run { rng, disk, open: Some((engine, log)), states, answers, leader: (1, 0), crashes: 0 };
    for _ in 0..120 {
        let done = run.step();
        if let Err(error) = &done {
            assert!(run.disk.crash_reached(), "{error}");
        }
        if done.is_err() || run.rng.below(25) == 0 {
            run.reopen();
        }
    }
    run.crashes
}

#[test]
fn a_reopened_log_is_what_it_was_behind_an_answered_call() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    if let Some(seed) = number("SEAWALL_SEED") {
        run(seed);
        return;
    }
    let (random, mut crashes) = (number("SEAWALL_RUNS"), 0);
    for n in 0..random.unwrap_or(150) {
        let seed = if random.is_some() { SystemRandom.next_u64() } else { n };
        // A failure was printed when it happened.
        let run = std::panic::catch_unwind(|| run(seed));
        crashes += run.unwrap_or_else(|_| panic!("repeat with SEAWALL_SEED={seed}"));
    }
    assert!(random.is_some() || crashes > 500, "{crashes} crashes");
}
