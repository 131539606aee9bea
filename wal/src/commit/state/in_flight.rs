//! Holds the groups that were issued, in log order, and turns completions in any order into a durable prefix.
//!
//! The watermark is the end of the last group of that prefix, never the start of the next group.

use crate::commit::state::write_group::WriteGroup;
use crate::types::Lsn;
use std::collections::VecDeque;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WriteState {
    /// The write was issued and has not completed.
    Writing,
    /// Written; becomes durable with a sync that is issued from now on.
    Written,
    /// Written, and covered by the sync that is running.
    Syncing,
    /// Durable; groups before it may not be.
    Durable,
}

/// The groups that were issued and are not yet part of the durable prefix.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    groups: VecDeque<(WriteGroup, WriteState)>,
    syncing: bool,
}

impl InFlight {
    /// Adds a group whose write is about to start. Call it in log order.
    pub(crate) fn issue(&mut self, group: WriteGroup) {
        self.groups.push_back((group, WriteState::Writing));
    }

    /// Number of groups that are not yet part of the durable prefix.
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Number of groups whose write has not completed.
    pub(crate) fn writing(&self) -> usize {
        self.groups.iter().filter(|(_, s)| *s == WriteState::Writing).count()
    }

    /// Bytes of all groups, padding included.
    pub(crate) fn bytes(&self) -> u64 {
        self.groups().map(|g| g.len() as u64).sum()
    }

    /// The groups in log order.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &WriteGroup> {
        self.groups.iter().map(|(g, _)| g)
    }

    /// Records that the write of group `ordinal` completed. `durable`: the write was a durable one.
    pub(crate) fn written(&mut self, ordinal: u64, durable: bool) {
        if let Some((_, state)) = self.groups.iter_mut().find(|(g, _)| g.ordinal == ordinal) {
            *state = if durable { WriteState::Durable } else { WriteState::Written };
        }
    }

    /// The group that [`InFlight::start_sync`] would return.
    pub(crate) fn next_sync(&self) -> Option<&WriteGroup> {
        let written = self.groups.iter().find(|(_, s)| *s == WriteState::Written);
        written.filter(|_| !self.syncing).map(|(g, _)| g)
    }

    /// Starts a sync of the file of the earliest written group, and returns that group; `None` if a sync is running or
    /// no group needs one. The sync covers the groups in the same file whose writes have completed by now.
    pub(crate) fn start_sync(&mut self) -> Option<&WriteGroup> {
        if self.syncing {
            return None;
        }
        let first = self.groups.iter().position(|(_, s)| *s == WriteState::Written)?;
        let sequence = self.groups[first].0.segment.sequence;
        for (group, state) in self.groups.range_mut(first..) {
            if *state == WriteState::Written && group.segment.sequence == sequence {
                *state = WriteState::Syncing;
            }
        }
        self.syncing = true;
        Some(&self.groups[first].0)
    }

    /// Records that the running sync completed.
    pub(crate) fn synced(&mut self) {
        self.syncing = false;
        for (_, state) in self.groups.iter_mut().filter(|(_, s)| *s == WriteState::Syncing) {
            *state = WriteState::Durable;
        }
    }

    /// Removes and returns the first group, with its end, if it is durable.
    pub(crate) fn pop_durable(&mut self) -> Option<(WriteGroup, Lsn)> {
        match self.groups.front() {
            Some((_, WriteState::Durable)) => {
                let (group, _) = self.groups.pop_front()?;
                let end = Lsn::new(group.segment.sequence, group.end());
                Some((group, end))
            }
            _ => None,
        }
    }
}
