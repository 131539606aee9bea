//! The runs: cases in which the rules have to hold, and wrong wordings that have to be refuted.

mod right;
mod wrong;

use crate::log::Case;

/// The result that a run has to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Every promise holds in every state.
    Holds,
    /// A promise is broken.
    Refuted,
}

/// Which set a run belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Set {
    /// Seconds in all.
    Short,
    /// Minutes in all; the short set is part of it.
    Long,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name on the command line.
    pub name: &'static str,
    /// The scope of a right rule, or the wording of a wrong one.
    pub about: &'static str,
    /// The result that it has to show.
    pub expect: Expect,
    /// Which set it belongs to.
    pub set: Set,
    /// The rules and the scope that it explores.
    pub case: Case,
}

/// All runs in the order in which they are reported.
pub fn all() -> Vec<Run> {
    let mut all = right::runs();
    all.extend(wrong::runs());
    all
}

#[cfg(test)]
mod tests {
    use super::all;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<&str> = all().iter().map(|run| run.name).collect();
        assert_eq!(names.len(), all().len());
    }
}
