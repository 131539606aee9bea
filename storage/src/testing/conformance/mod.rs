//! A test suite that checks any store against what a Raft core requires (feature `conformance`).
//!
//! A store that passes answers every index, range and limit like the core's own in-memory store where that is right,
//! both as written and after every reopen. A failure is a value that names the case, the step and the difference; the
//! suite never panics.
//!
//! The cases follow the cores' own test tables: terms, ranges and their limits, first and last index, compactions,
//! appends (that extend, replace, repeat, begin below the compaction point, or leave a gap), snapshots (older, known,
//! conflicting, ahead), hard state and conf state. Not included: serving snapshots, and calls while writes are under
//! way.
//!
//! A store of one group that can be reopened implements [`Store`], and a test calls [`check`]:
//!
//! ```
//! use seawall::testing::conformance::{Refusal, Store, check};
//! use seawall::{ConfState, Entry, HardState};
//!
//! #[derive(Default)]
//! struct Memory {
//!     point: (u64, u64),
//!     log: Vec<Entry>,
//!     hard: HardState,
//!     conf: Option<ConfState>,
//! }
//!
//! impl Store for Memory {
//!     const TRIMS: bool = false;
//!
//!     fn append(&mut self, entries: &[Entry]) -> Result<(), Refusal> {
//!         let Some(first) = entries.first() else { return Ok(()) };
//!         if first.index <= self.point.0 {
//!             return Err(Refusal::Compacted);
//!         }
//!         if first.index > self.last_index() + 1 {
//!             return Err(Refusal::Gap);
//!         }
//!         self.log.retain(|entry| entry.index < first.index);
//!         self.log.extend_from_slice(entries);
//!         Ok(())
//!     }
//!
//!     fn compact(&mut self, index: u64) -> Result<(), Refusal> {
//!         if index <= self.point.0 {
//!             return Err(Refusal::Compacted);
//!         }
//!         self.point = (index, self.term(index)?);
//!         self.log.retain(|entry| entry.index > index);
//!         Ok(())
//!     }
//!
//!     fn install_snapshot(&mut self, index: u64, term: u64) -> Result<(), Refusal> {
//!         if index <= self.point.0 {
//!             return Err(Refusal::OutOfDate);
//!         }
//!         let known = self.term(index) == Ok(term);
//!         self.log.retain(|entry| known && entry.index > index);
//!         self.point = (index, term);
//!         Ok(())
//!     }
//!
//!     fn set_hard_state(&mut self, hard: HardState) -> Result<(), Refusal> {
//!         self.hard = hard;
//!         Ok(())
//!     }
//!
//!     fn set_conf_state(&mut self, conf: &ConfState) -> Result<(), Refusal> {
//!         self.conf = Some(conf.clone());
//!         Ok(())
//!     }
//!
//!     fn first_index(&self) -> u64 {
//!         self.point.0 + 1
//!     }
//!
//!     fn last_index(&self) -> u64 {
//!         self.point.0 + self.log.len() as u64
//!     }
//!
//!     fn term(&self, index: u64) -> Result<u64, Refusal> {
//!         if index == self.point.0 {
//!             return Ok(self.point.1);
//!         }
//!         let at = index.checked_sub(self.first_index()).ok_or(Refusal::Compacted)?;
//!         self.log.get(at as usize).map(|entry| entry.term).ok_or(Refusal::Unavailable)
//!     }
//!
//!     fn entries(&self, low: u64, high: u64, max_bytes: Option<u64>) -> Result<Vec<Entry>, Refusal> {
//!         if low <= self.point.0 {
//!             return Err(Refusal::Compacted);
//!         }
//!         if high > self.last_index() + 1 {
//!             return Err(Refusal::Unavailable);
//!         }
//!         let mut bytes = 0;
//!         let range = self.log.iter().filter(|entry| (low..high).contains(&entry.index));
//!         let fits = range.take_while(|entry| {
//!             bytes += self.size(entry);
//!             entry.index == low || max_bytes.is_none_or(|max| bytes <= max)
//!         });
//!         Ok(fits.cloned().collect())
//!     }
//!
//!     fn hard_state(&self) -> HardState {
//!         self.hard
//!     }
//!
//!     fn conf_state(&self) -> Option<ConfState> {
//!         self.conf.clone()
//!     }
//!
//!     /// A real one closes its files and opens them again.
//!     fn reopen(self) -> Memory {
//!         self
//!     }
//! }
//!
//! check(Memory::default).unwrap();
//! ```

mod cases;
mod judge;
mod store;

pub use store::{Refusal, Store};

use std::fmt;

use judge::Failed;

/// A difference between a store and what a Raft core requires.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Name of the case.
    pub case: &'static str,
    /// Number of steps of the case that were done.
    pub steps: usize,
    /// Whether the store was reopened after these steps.
    pub reopened: bool,
    /// The value found and the correct one.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.reopened { " and a reopen" } else { "" };
        write!(f, "{}, behind {} steps{when}: {}", self.case, self.steps, self.what)
    }
}

impl std::error::Error for Violation {}

/// Runs every case on a new empty store that `fresh` makes: once with a reopen at the end of the case, and once with
/// a reopen after each step.
///
/// # Errors
/// The first difference from what a Raft core requires.
pub fn check<S: Store>(mut fresh: impl FnMut() -> S) -> Result<(), Violation> {
    for case in cases::cases(S::TRIMS) {
        for reopen in [false, true] {
            let mut store = fresh();
            for (steps, (step, answer, expected)) in case.steps.iter().enumerate() {
                let violation =
                    |reopened, Failed(what)| Violation { case: case.name, steps: steps + 1, reopened, what };
                judge::step(&mut store, step, answer).map_err(|failed| violation(false, failed))?;
                judge::judge(&store, expected).map_err(|failed| violation(false, failed))?;
                if reopen || steps + 1 == case.steps.len() {
                    store = store.reopen();
                    judge::judge(&store, expected).map_err(|failed| violation(true, failed))?;
                }
            }
        }
    }
    Ok(())
}
