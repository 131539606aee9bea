//! Groups that were issued, in log order, until they are durable: turns completions in any order into a
//! durable prefix. The watermark is the end of the last group of that prefix, never the start of the next.

use crate::commit::state::write_group::Group;
use crate::types::Lsn;
use std::collections::VecDeque;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The write was issued and has not completed.
    Writing,
    /// Written; durable after a sync that is issued from now on.
    Written,
    /// Written, and covered by the sync that is running.
    Syncing,
    /// On the medium.
    Durable,
}

/// The groups in flight.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    groups: VecDeque<(Group, State)>,
    syncing: bool,
}

impl Flight {
    /// Adds a group that is about to be written; in log order.
    pub(crate) fn issue(&mut self, group: Group) {
        self.groups.push_back((group, State::Writing));
    }

    /// Groups whose write or sync has not completed.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Groups being written.
    pub(crate) fn writing(&self) -> usize {
        self.groups.iter().filter(|(_, s)| *s == State::Writing).count()
    }

    /// Records in them.
    pub(crate) fn records(&self) -> u32 {
        self.groups().map(|g| g.record_count).sum()
    }

    /// Bytes of all groups, padding included.
    pub(crate) fn bytes(&self) -> u64 {
        self.groups().map(|g| g.len() as u64).sum()
    }

    /// The groups in log order.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().map(|(g, _)| g)
    }

    /// The write of group `ordinal` completed; with `durable` it is on the medium.
    pub(crate) fn written(&mut self, ordinal: u64, durable: bool) {
        if let Some((_, state)) = self.groups.iter_mut().find(|(g, _)| g.ordinal == ordinal) {
            *state = if durable { State::Durable } else { State::Written };
        }
    }

    /// The group that [`Flight::start_sync`] would return.
    pub(crate) fn next_sync(&self) -> Option<&Group> {
        let written = self.groups.iter().find(|(_, s)| *s == State::Written);
        written.filter(|_| !self.syncing).map(|(g, _)| g)
    }

    /// Starts a sync of the file of the earliest written group, if none is running: returns that group.
    /// The sync covers only writes to the same file that have completed by now.
    pub(crate) fn start_sync(&mut self) -> Option<&Group> {
        if self.syncing {
            return None;
        }
        let first = self.groups.iter().position(|(_, s)| *s == State::Written)?;
        let sequence = self.groups[first].0.segment.sequence;
        for (group, state) in self.groups.range_mut(first..) {
            if *state == State::Written && group.segment.sequence == sequence {
                *state = State::Syncing;
            }
        }
        self.syncing = true;
        Some(&self.groups[first].0)
    }

    /// The running sync completed.
    pub(crate) fn synced(&mut self) {
        self.syncing = false;
        for (_, state) in self.groups.iter_mut().filter(|(_, s)| *s == State::Syncing) {
            *state = State::Durable;
        }
    }

    /// Takes the next group off the front if it is durable.
    pub(crate) fn pop_durable(&mut self) -> Option<(Group, Lsn)> {
        match self.groups.front() {
            Some((_, State::Durable)) => {
                let (group, _) = self.groups.pop_front()?;
                let end = Lsn::new(group.segment.sequence, group.end());
                Some((group, end))
            }
            _ => None,
        }
    }
}
