//! Keeps in memory which leader proposed which entries, as one run per leader.
//!
//! This answers questions about log ids without reading entries. Runs ascend, and adjacent runs have different
//! leaders. The number of a run, its *epoch*, ascends with them and is the engine's term of its entries.

/// Entries from `first` up to the next run, all of one leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::adapters::openraft) struct Run<L> {
    pub(in crate::adapters::openraft) first: u64,
    pub(in crate::adapters::openraft) epoch: u64,
    pub(in crate::adapters::openraft) leader: L,
}

/// The leaders of the live entries, by index of the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::adapters::openraft) struct Leaders<L>(Vec<Run<L>>);

impl<L: Clone + PartialEq> Leaders<L> {
    /// Makes the leaders from `runs`, one for each term run of the engine.
    pub(in crate::adapters::openraft) fn new(runs: Vec<Run<L>>) -> Leaders<L> {
        Leaders(runs)
    }

    /// The run of `index`, which must not be after the end of the log.
    pub(in crate::adapters::openraft) fn run(&self, index: u64) -> Option<&Run<L>> {
        let behind = self.0.partition_point(|run| run.first <= index);
        self.0.get(behind.checked_sub(1)?)
    }

    /// Removes the entries from `index` on.
    pub(in crate::adapters::openraft) fn truncate(&mut self, index: u64) {
        self.0.retain(|run| run.first < index);
    }

    /// Removes the entries below `index`; `last` is the last entry of the log.
    pub(in crate::adapters::openraft) fn advance(&mut self, index: u64, last: u64) {
        let gone = self.0.partition_point(|run| run.first <= index).saturating_sub(1);
        self.0.drain(..gone);
        match self.0.first_mut() {
            Some(_) if index > last => self.0.clear(),
            Some(run) => run.first = run.first.max(index),
            None => {}
        }
    }

    /// Replaces the entries from `run.first` on with entries of the leader of `run`.
    pub(in crate::adapters::openraft) fn push(&mut self, run: Run<L>) {
        self.truncate(run.first);
        if self.0.last().is_none_or(|last| last.epoch != run.epoch) {
            self.0.push(run);
        }
    }

    /// Leader and index of the last entry of each leader from `low` to `high`, both included.
    pub(in crate::adapters::openraft) fn last_of_each(&self, low: u64, high: u64) -> Vec<(L, u64)> {
        let ends = self.0.iter().skip(1).map(|run| run.first - 1).chain([u64::MAX]);
        let runs = self.0.iter().zip(ends).filter(|(run, end)| *end >= low && run.first <= high);
        runs.map(|(run, end)| (run.leader.clone(), end.min(high))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, epoch: u64, leader: char) -> Run<char> {
        Run { first, epoch, leader }
    }

    fn leaders() -> Leaders<char> {
        Leaders::new(vec![run(3, 1, 'a'), run(6, 2, 'b'), run(7, 4, 'c')])
    }

    #[test]
    fn every_entry_has_a_leader() {
        let leaders = leaders();
        let of = |index| leaders.run(index).map(|run| run.leader);
        assert_eq!(
            [2, 3, 5, 6, 7, 99].map(of),
            [None, Some('a'), Some('a'), Some('b'), Some('c'), Some('c')]
        );
    }

    #[test]
    fn entries_come_and_go() {
        let mut all = leaders();
        all.push(run(9, 4, 'c'));
        assert_eq!(all, leaders(), "the same leader goes on");
        all.push(run(8, 5, 'd'));
        all.push(run(7, 5, 'd'));
        assert_eq!(all.0, [run(3, 1, 'a'), run(6, 2, 'b'), run(7, 5, 'd')]);
        all.truncate(6);
        assert_eq!(all.0, [run(3, 1, 'a')]);
        for (index, expected) in [
            (2, leaders().0),
            (4, vec![run(4, 1, 'a'), run(6, 2, 'b'), run(7, 4, 'c')]),
            (6, vec![run(6, 2, 'b'), run(7, 4, 'c')]),
            (9, vec![run(9, 4, 'c')]),
            (10, vec![]),
        ] {
            let mut some = leaders();
            some.advance(index, 9);
            assert_eq!(some.0, expected, "{index}");
        }
    }

    #[test]
    fn the_last_entry_of_each_leader() {
        let all = leaders();
        assert_eq!(all.last_of_each(3, 9), [('a', 5), ('b', 6), ('c', 9)]);
        assert_eq!(all.last_of_each(4, 4), [('a', 4)]);
        assert_eq!(all.last_of_each(6, 7), [('b', 6), ('c', 7)]);
        assert_eq!(Leaders::<char>::new(vec![]).last_of_each(0, 9), []);
    }
}
