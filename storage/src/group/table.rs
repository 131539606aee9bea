//! The table of all groups, in shards, and the locks that order writes to a group.
//!
//! A writer holds the lock of each of its groups, taken in ascending order, from validation to publication: upgradable,
//! which keeps other writers out and lets readers in, and exclusive only while it publishes. So the records of a group
//! are in the log in the order in which they were validated, and readers wait only for publications.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{ArcRwLockUpgradableReadGuard, ArcRwLockWriteGuard, RawRwLock, RwLock};
use smallvec::SmallVec;

use super::state::GroupState;
use crate::group::groups_mut::GroupsMut;
use crate::types::{GroupId, GroupMap};

/// Number of shards in the table: enough that writers of different groups rarely wait for each other.
const SHARDS: u64 = 64;

/// One group. Readers lock it for reading.
pub(crate) type GroupSlot = RwLock<ListedGroup>;

/// The state of a group, and whether the group is in the table.
#[derive(Debug, Default)]
pub(crate) struct ListedGroup {
    state: GroupState,
    /// Set, with the slot locked for writing, when the group leaves the table. A writer that finds it looks the group up
    /// again.
    retired: AtomicBool,
}

impl ListedGroup {
    fn is_listed(&self) -> bool {
        !self.retired.load(Ordering::Relaxed)
    }
}

impl Deref for ListedGroup {
    type Target = GroupState;

    fn deref(&self) -> &GroupState {
        &self.state
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
    slots: SmallVec<[LockedSlot; 2]>,
}

struct LockedSlot {
    group: GroupId,
    slot: ArcRwLockUpgradableReadGuard<RawRwLock, ListedGroup>,
}

impl Groups {
    /// Makes the table from the result of a replay.
    pub(crate) fn new(states: impl IntoIterator<Item = (GroupId, GroupState)>) -> Groups {
        let mut shards: Vec<GroupMap<Arc<GroupSlot>>> = (0..SHARDS).map(|_| GroupMap::default()).collect();
        for (group, state) in states {
            if let Some(shard) = shards.get_mut(shard_of(group)) {
                let slot = ListedGroup { state, ..ListedGroup::default() };
                shard.insert(group, Arc::new(RwLock::new(slot)));
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
        let mut slots = SmallVec::with_capacity(ids.len());
        ids.retain(|group| {
            let Some(slot) = self.get(*group) else { return false };
            let Some(slot) = slot.try_upgradable_read_arc() else { return true };
            if slot.is_listed() {
                slots.push(LockedSlot { group: *group, slot });
            }
            false
        });
        (Locked { groups: self, slots }, ids)
    }

    /// As [`Groups::lock`], but `None` if one of `ids` does not exist or is locked.
    pub(crate) fn try_lock_all(&self, ids: &[GroupId]) -> Option<Locked<'_>> {
        let (locked, _) = self.try_lock(ids.to_vec());
        (locked.slots.len() == ids.len()).then_some(locked)
    }

    fn lock_one(&self, group: GroupId) -> LockedSlot {
        // Usually nobody else writes the group. Nobody waits for a group with the shard locked.
        let free = self.shard(group).read().get(&group).and_then(GroupSlot::try_upgradable_read_arc);
        if let Some(slot) = free.filter(|slot| slot.is_listed()) {
            return LockedSlot { group, slot };
        }
        loop {
            let listed = self.get(group);
            let slot =
                listed.unwrap_or_else(|| Arc::clone(self.shard(group).write().entry(group).or_default()));
            let slot = slot.upgradable_read_arc();
            if slot.is_listed() {
                return LockedSlot { group, slot };
            }
        }
    }

    /// Removes a group that does not exist from the table. The caller holds its slot, but not exclusively: a thread that
    /// holds the shard may wait for the slot.
    fn retire(&self, group: GroupId, slot: &ArcRwLockUpgradableReadGuard<RawRwLock, ListedGroup>) {
        if !slot.retired.swap(true, Ordering::Relaxed) {
            self.shard(group).write().remove(&group);
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

impl<'a> Locked<'a> {
    /// The states of the groups before the batch, ascending by group.
    pub(crate) fn read(&self) -> impl Iterator<Item = (GroupId, &GroupState)> {
        self.slots.iter().map(|locked| (locked.group, &locked.slot.state))
    }

    /// Keeps readers out for publication, so that a reader sees either the whole batch or nothing of it.
    pub(crate) fn write(mut self) -> Writing<'a> {
        let upgrade = |LockedSlot { group, slot }| (group, ArcRwLockUpgradableReadGuard::upgrade(slot));
        Writing { groups: self.groups, states: self.slots.drain(..).map(upgrade).collect() }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        for LockedSlot { group, slot } in &self.slots {
            if !slot.exists() {
                self.groups.retire(*group, slot);
            }
        }
    }
}

/// The states of locked groups, open for changes. On drop, groups that no longer exist leave the table.
pub(crate) struct Writing<'a> {
    groups: &'a Groups,
    states: SmallVec<[(GroupId, ArcRwLockWriteGuard<RawRwLock, ListedGroup>); 2]>,
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        for (group, state) in self.states.drain(..) {
            if !state.exists() {
                self.groups.retire(group, &ArcRwLockWriteGuard::downgrade_to_upgradable(state));
            }
        }
    }
}

impl GroupsMut for Writing<'_> {
    fn state(&mut self, group: GroupId) -> Option<&mut GroupState> {
        let at = self.states.binary_search_by_key(&group, |state| state.0).ok()?;
        self.states.get_mut(at).map(|(_, state)| &mut state.state)
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
        assert!(groups.try_lock_all(&[2]).is_none(), "somebody has it");
        assert!(groups.try_lock_all(&[3]).is_none(), "it does not exist");
        drop(locked);
        assert!(groups.get(1).is_none());
        assert!(groups.ids().is_empty());
    }

    #[test]
    fn readers_wait_for_publication_only_and_writers_for_all_of_a_batch() {
        let groups = Groups::new([(1, GroupState::default())]);
        let slot = groups.get(1).expect("listed");
        let is_busy = || groups.try_lock(vec![1]).1 == [1];
        let locked = groups.lock(&[1]);
        assert!(is_busy() && slot.try_read().is_some());
        let writing = locked.write();
        assert!(is_busy() && slot.try_read().is_none());
        drop(writing);
        assert!(!is_busy() && slot.try_read().is_some());
        assert!(groups.get(1).is_none(), "it holds nothing");
        let again = groups.lock(&[1]);
        assert!(!Arc::ptr_eq(&slot, &groups.get(1).expect("listed")), "a retired slot is not used again");
        drop(again);
    }

    #[test]
    fn a_writer_that_waited_for_a_group_that_left_gets_a_listed_one() {
        for _ in 0..20 {
            let groups = Groups::new([]);
            let locked = groups.lock(&[1]);
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    let own = groups.lock(&[1]);
                    let listed = groups.get(1).map(|slot| std::ptr::from_ref(&*slot.read()));
                    assert_eq!(listed, own.slots.first().map(|own| std::ptr::from_ref(&*own.slot)));
                });
                // Usually the other thread waits by then; the result is the same if it does not.
                std::thread::sleep(std::time::Duration::from_millis(1));
                drop(locked);
                waiting.join().expect("no panic");
            });
        }
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
