//! What was found of each kind of damage, and when, as a table.

use super::log::Kind;
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
    /// An open in degraded mode, and one in salvage mode, where strict mode refuses.
    pub degraded: &'static str,
    pub salvage: &'static str,
}

impl Found {
    /// Of which the other modes were not asked.
    pub const NOT_ASKED: Found = Found { open: "-", read: "-", verify: "-", degraded: "-", salvage: "-" };
}

/// Outcomes by row and damage: how many cases, and in which logs.
#[derive(Default)]
pub struct Table(BTreeMap<(u8, String, Found), (u32, BTreeSet<Kind>)>);

impl Table {
    pub fn note(&mut self, row: u8, what: &str, kind: Kind, found: Found) {
        let entry = self.0.entry((row, what.to_owned(), found)).or_default();
        entry.0 += 1;
        entry.1.insert(kind);
    }

    pub fn add(&mut self, other: Table) {
        for (key, (cases, kinds)) in other.0 {
            let entry = self.0.entry(key).or_default();
            entry.0 += cases;
            entry.1.extend(kinds);
        }
    }

    pub fn rows(&self) -> BTreeSet<u8> {
        self.0.keys().map(|(row, ..)| *row).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |cells: [&str; 10]| {
            let [row, what, logs, cases, open, degraded, salvage, read, verify, at] = cells;
            writeln!(
                f,
                "| {row:>2} | {what:43} | {logs:42} | {cases:>5} | {open:22} | {degraded:8} | {salvage:9} | {read:9} | {verify:7} | {at:18} |"
            )
        };
        line(["#", "damage", "logs", "cases", "open", "degraded", "salvage", "read", "verify", "found at"])?;
        for ((row, what, found), (cases, kinds)) in &self.0 {
            let logs: Vec<String> = kinds.iter().map(ToString::to_string).collect();
            let logs = if kinds.len() == Kind::ALL.len() { "all".into() } else { logs.join(", ") };
            let says = [(found.open, "open"), (found.read, "read"), (found.verify, "verify")];
            let finds = |says: &str| says.starts_with("error") || says.starts_with("dropped");
            let at: Vec<&str> = says.into_iter().filter(|(says, _)| finds(says)).map(|s| s.1).collect();
            let at = if at.is_empty() { "nothing to find".into() } else { at.join(", ") };
            let (row, cases) = (row.to_string(), cases.to_string());
            let Found { open, degraded, salvage, read, verify } = *found;
            line([&row, what, &logs, &cases, open, degraded, salvage, read, verify, &at])?;
        }
        Ok(())
    }
}
