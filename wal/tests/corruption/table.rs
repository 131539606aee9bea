//! What was found of each kind of damage, and when, as a table.

use super::log::Kind;
use super::media::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What three ways to look at a damaged log say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Found {
    /// An open.
    pub open: &'static str,
    /// A reader of a log that was open before.
    pub read: &'static str,
    /// Whoever looks without opening.
    pub verify: &'static str,
}

/// Outcomes by row and damage: how many cases, and in which logs.
#[derive(Default)]
pub struct Table {
    found: BTreeMap<Key, (u32, BTreeSet<Kind>)>,
    turns: BTreeMap<(u8, String, Kind), u32>,
}

type Key = (u8, String, Found, Place);

impl Table {
    pub fn note(&mut self, row: u8, what: &str, kind: Kind, found: Found) {
        let entry = self.found.entry((row, what.to_owned(), found, kind.place)).or_default();
        entry.0 += 1;
        entry.1.insert(kind);
    }

    /// How often it was asked for this damage before.
    pub fn turn(&mut self, (row, what): (u8, &str), kind: Kind) -> u32 {
        let turn = self.turns.entry((row, what.to_owned(), kind)).or_default();
        *turn += 1;
        *turn - 1
    }

    pub fn add(&mut self, other: Table) {
        for (key, (cases, kinds)) in other.found {
            let entry = self.found.entry(key).or_default();
            entry.0 += cases;
            entry.1.extend(kinds);
        }
    }

    /// The rows that were run at `place`.
    pub fn rows(&self, place: Place) -> BTreeSet<u8> {
        self.found.keys().filter(|key| key.3 == place).map(|(row, ..)| *row).collect()
    }

    /// Damages of which `place` says something that the simulated disk does not.
    pub fn others(&self, place: Place) -> Vec<&Key> {
        let known = |(row, what, found, _): &Key| {
            self.found.contains_key(&(*row, what.clone(), *found, Place::Simulated))
        };
        self.found.keys().filter(|key| key.3 == place && !known(key)).collect()
    }
}

/// The same outcome at several places is one line, if the logs are the same too.
fn places(of: &[Place], all: usize) -> String {
    if of.len() == all {
        return "all".to_owned();
    }
    of.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |cells: [&str; 9]| {
            let [row, what, logs, place, cases, open, read, verify, at] = cells;
            writeln!(
                f,
                "| {row:>2} | {what:43} | {logs:38} | {place:12} | {cases:>5} | {open:22} | {read:9} | {verify:7} | {at:18} |"
            )
        };
        line(["#", "damage", "logs", "disk/backend", "cases", "open", "read", "verify", "found at"])?;
        let all: BTreeSet<Place> = self.found.keys().map(|key| key.3).collect();
        let mut lines: BTreeMap<_, (u32, Vec<Place>)> = BTreeMap::new();
        for ((row, what, found, place), (cases, kinds)) in &self.found {
            let logs: Vec<String> = kinds.iter().map(ToString::to_string).collect();
            let logs = if kinds.len() == 4 { "all".into() } else { logs.join(", ") };
            let entry = lines.entry((row, what, found, logs)).or_default();
            entry.0 += cases;
            entry.1.push(*place);
        }
        for ((row, what, found, logs), (cases, at)) in &lines {
            let says = [(found.open, "open"), (found.read, "read"), (found.verify, "verify")];
            let finds = |says: &str| says.starts_with("error") || says.starts_with("dropped");
            let by: Vec<&str> = says.into_iter().filter(|(says, _)| finds(says)).map(|s| s.1).collect();
            let by = if by.is_empty() { "nothing to find".into() } else { by.join(", ") };
            let (row, cases, at) = (row.to_string(), cases.to_string(), places(at, all.len()));
            line([&row, what, logs, &at, &cases, found.open, found.read, found.verify, &by])?;
        }
        Ok(())
    }
}
