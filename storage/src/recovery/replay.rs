//! The groups under replay, and what a replay has counted.

use crate::group::{GroupState, GroupsMut};
use crate::types::{GroupId, GroupMap};

/// Counts of a replay.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) records: u64,
    pub(crate) groups: u64,
    pub(crate) entries: u64,
}

/// Groups under replay. The first record that names a group creates it.
pub(super) struct Replay {
    pub(super) states: GroupMap<GroupState>,
    pub(super) released: bool,
}

impl Replay {
    pub(super) fn of(&mut self, group: GroupId) -> &mut GroupState {
        let released = self.released;
        self.states.entry(group).or_insert_with(|| GroupState::before_replay(released))
    }

    /// Reads from the states of `groups` to bring them into the processor's cache before they are changed; returns
    /// the number of groups.
    pub(super) fn approach(&self, groups: impl Iterator<Item = GroupId>) -> usize {
        let (mut seen, mut count) = (0, 0);
        for group in groups {
            seen ^= self.states.get(&group).map_or(0, GroupState::glance);
            count += 1;
        }
        std::hint::black_box(seen);
        count
    }
}

impl GroupsMut for Replay {
    fn state(&mut self, group: GroupId) -> Option<&mut GroupState> {
        Some(self.of(group))
    }
}
