//! A table of the damage: what open, a reader and inspection found of each kind.

use super::log::Kind;
use super::media::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The results of each way to look at a damaged log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Found {
    /// An open in strict mode.
    pub open: &'static str,
    /// A reader of a log that was open before.
    pub read: &'static str,
    /// Inspection, without an open.
    pub verify: &'static str,
    /// An open in degraded mode, where strict mode refuses.
    pub degraded: &'static str,
    /// An open in salvage mode, where strict mode refuses.
    pub salvage: &'static str,
}

impl Found {
    /// A value for cases in which not all fields are determined.
    pub const NOT_ASKED: Found = Found { open: "-", read: "-", verify: "-", degraded: "-", salvage: "-" };
}

/// The outcomes by row and damage: the number of cases, and the kinds of log.
#[derive(Default)]
pub struct Table {
    found: BTreeMap<Key, (u32, BTreeSet<Kind>)>,
    turns: BTreeMap<(u8, String, Kind), u32>,
    /// In a directory, one of this many cases of the same damage runs, beginning with the first.
    one_of: u32,
    /// The numbers of cases that were run and of all cases, by kind.
    cases: BTreeMap<Kind, (u32, u32)>,
}

type Key = (u8, String, Found, Place);

impl Table {
    pub fn note(&mut self, row: u8, what: &str, kind: Kind, found: Found) {
        let entry = self.found.entry((row, what.to_owned(), found, kind.place)).or_default();
        entry.0 += 1;
        entry.1.insert(kind);
    }

    pub fn new(one_of: u32) -> Table {
        Table { one_of, ..Table::default() }
    }

    /// Whether to run the next case of this damage. On the simulated disk every case runs.
    pub fn runs(&mut self, (row, what): (u8, &str), kind: Kind) -> bool {
        let turn = self.turns.entry((row, what.to_owned(), kind)).or_default();
        *turn += 1;
        let runs = kind.place == Place::Simulated || (*turn - 1).is_multiple_of(self.one_of);
        let (run, all) = self.cases.entry(kind).or_default();
        (*run, *all) = (*run + u32::from(runs), *all + 1);
        runs
    }

    /// The numbers of cases that were run and of all cases of one kind.
    pub fn cases(&self, kind: Kind) -> (u32, u32) {
        self.cases.get(&kind).copied().unwrap_or_default()
    }

    pub fn add(&mut self, other: Table) {
        self.cases.extend(other.cases);
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

    /// Outcomes at `place` that do not occur on the simulated disk.
    pub fn others(&self, place: Place) -> Vec<&Key> {
        let known = |(row, what, found, _): &Key| {
            self.found.contains_key(&(*row, what.clone(), *found, Place::Simulated))
        };
        self.found.keys().filter(|key| key.3 == place && !known(key)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |cells: [&str; 11]| {
            let [row, what, logs, place, cases, open, degraded, salvage, read, verify, at] = cells;
            writeln!(
                f,
                "| {row:>2} | {what:43} | {logs:38} | {place:12} | {cases:>5} | {open:22} | {degraded:11} | {salvage:9} | {read:9} | {verify:7} | {at:18} |"
            )
        };
        line([
            "#",
            "damage",
            "logs",
            "disk/backend",
            "cases",
            "open",
            "degraded",
            "salvage",
            "read",
            "verify",
            "found at",
        ])?;
        let everywhere: BTreeSet<Place> = self.found.keys().map(|key| key.3).collect();
        let mut lines: BTreeMap<_, (u32, BTreeSet<String>, BTreeSet<Place>)> = BTreeMap::new();
        for ((row, what, found, place), (cases, kinds)) in &self.found {
            let (all, logs, places) = lines.entry((row, what, found)).or_default();
            *all += cases;
            logs.extend(kinds.iter().map(ToString::to_string));
            places.insert(*place);
        }
        for ((row, what, found), (cases, logs, places)) in &lines {
            let logs = if logs.len() == 4 { "all".into() } else { Vec::from_iter(logs.clone()).join(", ") };
            let place = if *places == everywhere { "all".into() } else { names(places) };
            let says = [(found.open, "open"), (found.read, "read"), (found.verify, "verify")];
            let finds = |says: &str| says.starts_with("error") || says.starts_with("dropped");
            let at: Vec<&str> = says.into_iter().filter(|(says, _)| finds(says)).map(|s| s.1).collect();
            let at = if at.is_empty() { "nothing to find".into() } else { at.join(", ") };
            let (row, cases) = (row.to_string(), cases.to_string());
            let Found { open, degraded, salvage, read, verify } = **found;
            line([&row, what, &logs, &place, &cases, open, degraded, salvage, read, verify, &at])?;
        }
        writeln!(f, "all: {}", names(&everywhere))
    }
}

fn names(places: &BTreeSet<Place>) -> String {
    places.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
