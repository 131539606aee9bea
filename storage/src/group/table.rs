//! The table of all groups, in shards, and the locks that order writes to a group.
//!
//! A writer holds the order lock of each of its groups, taken in ascending order, from validation to publication. So
//! the records of a group are in the log in the order in which they were validated. Readers wait only for
//! publications.

use std::sync::Arc;

use parking_lot::{ArcMutexGuard, Mutex, RawMutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::state::GroupState;
use crate::group::groups_mut::GroupsMut;
use crate::types::{GroupId, GroupMap};

/// Number of shards in the table: enough that writers of different groups rarely wait for each other.
const SHARDS: u64 = 64;

/// One group: the lock that orders its writers, and the state that readers see.
#[derive(Debug, Default)]
pub(crate) struct GroupSlot {
    /// `Retired` if the group is no longer in the table; the caller must look it up again.
    order: Arc<Mutex<SlotState>>,
    state: RwLock<GroupState>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum SlotState {
    #[default]
    Listed,
    Retired,
}

impl GroupSlot {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, GroupState> {
        self.state.read()
    }
}

type Shard = RwLock<GroupMap<Arc<GroupSlot>>>;

/// All groups by number.
#[derive(Debug)]
pub(crate) struct Groups {
    shards: Vec<Shard>,
}

impl Default for Groups {
    fn default() -> Groups {
        Groups::new([])
    }
}

/// Groups locked for one batch, ascending. On drop, groups that still do not exist leave the table.
pub(crate) struct Locked<'a> {
    groups: &'a Groups,
    slots: Vec<LockedSlot>,
}

struct LockedSlot {
    group: GroupId,
    slot: Arc<GroupSlot>,
    slot_state: ArcMutexGuard<RawMutex, SlotState>,
}

impl Groups {
    /// Makes the table from the result of a replay.
    pub(crate) fn new(states: impl IntoIterator<Item = (GroupId, GroupState)>) -> Groups {
        let mut shards: Vec<GroupMap<Arc<GroupSlot>>> = (0..SHARDS).map(|_| GroupMap::default()).collect();
        for (group, state) in states {
            if let Some(shard) = shards.get_mut(shard_of(group)) {
                shard
                    .insert(group, Arc::new(GroupSlot { state: RwLock::new(state), ..GroupSlot::default() }));
            }
        }
        Groups { shards: shards.into_iter().map(RwLock::new).collect() }
    }

    /// Returns the group, if it exists.
    pub(crate) fn get(&self, group: GroupId) -> Option<Arc<GroupSlot>> {
        self.shard(group).read().get(&group).cloned()
    }

    /// Numbers of all groups that exist, ascending.
    pub(crate) fn ids(&self) -> Vec<GroupId> {
        let mut ids = self.select(GroupState::exists);
        ids.sort_unstable();
        ids
    }

    /// Numbers of the groups for whose state `wanted` returns `true`, unordered.
    pub(crate) fn select(&self, wanted: impl Fn(&GroupState) -> bool) -> Vec<GroupId> {
        let mut ids = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            ids.extend(shard.iter().filter(|(_, slot)| wanted(&slot.read())).map(|(group, _)| *group));
        }
        ids
    }

    /// Locks `ids`, which must be ascending, for one batch. Waits for other batches of these groups. Creates groups
    /// that do not exist.
    pub(crate) fn lock(&self, ids: &[GroupId]) -> Locked<'_> {
        let slots = ids.iter().map(|group| self.lock_one(*group)).collect();
        Locked { groups: self, slots }
    }

    /// Locks those of `ids` that are not locked and exist. It never waits, so the order of `ids` does not matter.
    /// Returns the groups that are locked by others.
    pub(crate) fn try_lock(&self, mut ids: Vec<GroupId>) -> (Locked<'_>, Vec<GroupId>) {
        ids.sort_unstable();
        let mut slots = Vec::with_capacity(ids.len());
        ids.retain(|group| {
            let Some(slot) = self.get(*group) else { return false };
            let Some(slot_state) = slot.order.try_lock_arc() else { return true };
            if *slot_state == SlotState::Listed {
                slots.push(LockedSlot { group: *group, slot, slot_state });
            }
            false
        });
        (Locked { groups: self, slots }, ids)
    }

    /// As [`Groups::lock`], but `None` if one of `ids` does not exist or is locked.
    pub(crate) fn try_lock_all(&self, ids: Vec<GroupId>) -> Option<Locked<'_>> {
        let wanted = ids.len();
        let (locked, _) = self.try_lock(ids);
        (locked.slots.len() == wanted).then_some(locked)
    }

    fn lock_one(&self, group: GroupId) -> LockedSlot {
        loop {
            let listed = self.get(group);
            let slot =
                listed.unwrap_or_else(|| Arc::clone(self.shard(group).write().entry(group).or_default()));
            let slot_state = slot.order.lock_arc();
            if *slot_state == SlotState::Listed {
                return LockedSlot { group, slot, slot_state };
            }
        }
    }

    fn shard(&self, group: GroupId) -> &Shard {
        // `shard_of` is below the number of shards, which never changes.
        &self.shards[shard_of(group)]
    }
}

fn shard_of(group: GroupId) -> usize {
    // Multiplication spreads numbers that share their low bits. The high bits are mixed best.
    let mixed = group.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    usize::try_from(mixed % SHARDS).unwrap_or(0)
}

impl Locked<'_> {
    /// The states of the groups before the batch, ascending by group.
    pub(crate) fn read(&self) -> impl Iterator<Item = (GroupId, RwLockReadGuard<'_, GroupState>)> {
        self.slots.iter().map(|locked| (locked.group, locked.slot.read()))
    }

    /// Locks the states of all groups for publication, so that a reader sees either the whole batch or nothing of it.
    pub(crate) fn write(&self) -> Writing<'_> {
        Writing {
            states: self.slots.iter().map(|locked| (locked.group, locked.slot.state.write())).collect(),
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        for locked in &mut self.slots {
            if !locked.slot.read().exists() && *locked.slot_state == SlotState::Listed {
                *locked.slot_state = SlotState::Retired;
                self.groups.shard(locked.group).write().remove(&locked.group);
            }
        }
    }
}

/// The states of locked groups, open for changes.
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    states: Vec<(GroupId, RwLockWriteGuard<'a, GroupState>)>,
}

impl GroupsMut for Writing<'_> {
    fn state(&mut self, group: GroupId) -> Option<&mut GroupState> {
        let at = self.states.binary_search_by_key(&group, |state| state.0).ok()?;
        self.states.get_mut(at).map(|state| &mut *state.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_stays_empty_leaves_the_table() {
        let groups = Groups::new([]);
        let locked = groups.lock(&[1, 2]);
        assert!(groups.get(1).is_some());
        let (busy, rest) = groups.try_lock(vec![2, 3]);
        assert_eq!((busy.slots.len(), rest), (0, vec![2]));
        drop(busy);
        assert!(groups.try_lock_all(vec![2]).is_none(), "somebody has it");
        assert!(groups.try_lock_all(vec![3]).is_none(), "it does not exist");
        drop(locked);
        assert!(groups.get(1).is_none());
        assert!(groups.ids().is_empty());
    }

    #[test]
    fn every_number_has_a_shard() {
        let mut seen = [0; 64];
        for group in (0..64_000).chain([u64::MAX]) {
            seen[shard_of(group)] += 1;
        }
        assert!(seen.iter().all(|n| (500..2000).contains(n)), "{seen:?}");
    }
}
