//! The contents of the directory, shared by catalog, writers, readers and transfers.
//!
//! Only this module assigns, changes and removes names of published snapshots. A snapshot is listed only once
//! its name is durable, and a failed one is not listed (INV-7). A pinned snapshot is not removed. At most one
//! writer uses a name at a time.
//!
//! The lock of the state is never held during I/O. A snapshot that is being removed or set aside is not listed
//! meanwhile.

use crate::directory::retention::{Known, floor, replaced};
use crate::error::{Error, FilePart};
use crate::format::name::{self, Kind};
use crate::options::Options;
use crate::types::SnapshotId;
use seawall_disk::{Disk, DiskLock};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of damaged files of a group that are kept in addition to [`Options::keep`] while nothing newer is
/// verified: all snapshots that a group has at once stay even if all of them turn out damaged.
pub(crate) const DAMAGED_BEYOND_KEEP: usize = 2;

/// A directory of snapshots.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    state: Mutex<State>,
    _lock: Box<dyn DiskLock>,
}

/// The files of the directory.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) published: BTreeMap<SnapshotId, Entry>,
    /// Snapshots that were set aside, now or earlier.
    pub(crate) damaged: BTreeSet<SnapshotId>,
    /// Transfers with a file, by snapshot and tag, in the order in which they were last received.
    pub(crate) parts: Vec<(SnapshotId, u64)>,
    /// Bytes that receivers still have to write.
    promised: u64,
    /// Snapshots that are being written or received; `receiving` has the groups with a receiver.
    busy: BTreeSet<SnapshotId>,
    receiving: BTreeSet<u64>,
}

/// A published snapshot.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    verified: bool,
    /// Every pin holds a clone.
    pins: Arc<()>,
}

/// The exclusive right to make a snapshot, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    store: Arc<Store>,
    id: SnapshotId,
    receiving: bool,
    /// Bytes that still have to be written.
    promised: u64,
}

/// Keeps a snapshot from being removed by retention, until it is dropped.
///
/// Each reader and export has its own pin. A snapshot that turns out damaged is set aside in spite of pins.
#[derive(Clone, Debug)]
pub struct Pin {
    id: SnapshotId,
    store: Arc<Store>,
    _share: Arc<()>,
}

impl Pin {
    /// The snapshot.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

impl Store {
    pub(crate) fn new(disk: Arc<dyn Disk>, options: Options, state: State, lock: Box<dyn DiskLock>) -> Store {
        Store { disk, options, state: Mutex::new(state), _lock: lock }
    }

    pub(crate) fn path(&self) -> String {
        self.disk.location()
    }

    /// Locks the state. Every statement leaves the state consistent, so a panic elsewhere does no harm.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self, action: &'static str, name: &str) -> impl FnOnce(io::Error) -> Error {
        let file = if name.is_empty() { self.path() } else { format!("{}/{name}", self.path()) };
        move |e| Error::io(action, file, e)
    }

    fn unknown(&self, id: SnapshotId) -> Error {
        Error::Unknown { path: self.path(), id }
    }

    /// Takes the right to make snapshot `id`. To receive it, no other snapshot of its group may be being
    /// received.
    pub(crate) fn reserve(self: &Arc<Store>, id: SnapshotId, receiving: bool) -> Result<Reservation, Error> {
        if self.state().published.contains_key(&id) {
            return Err(Error::Exists { path: self.path(), id });
        }
        self.occupy(id, receiving)
    }

    /// Like [`Store::reserve`], even if the snapshot exists.
    pub(crate) fn occupy(self: &Arc<Store>, id: SnapshotId, receiving: bool) -> Result<Reservation, Error> {
        let mut state = self.state();
        if state.busy.contains(&id) || (receiving && state.receiving.contains(&id.group)) {
            return Err(Error::Busy { path: self.path(), id });
        }
        state.busy.insert(id);
        if receiving {
            state.receiving.insert(id.group);
        }
        Ok(Reservation { store: Arc::clone(self), id, receiving, promised: 0 })
    }

    /// Renames the synced file `from` to the published snapshot `id`. If the name cannot be made durable,
    /// nothing is published.
    pub(crate) fn publish(&self, from: &str, id: SnapshotId) -> Result<(), Error> {
        let name = name::published(id);
        self.disk.rename(from, &name).map_err(self.io("rename", from))?;
        if let Err(e) = self.disk.sync() {
            // The complete file may still exist after a crash.
            let _ = self.disk.remove(&name);
            return Err(self.io("sync", "")(e));
        }
        self.state().published.insert(id, Entry::default());
        Ok(())
    }

    /// Keeps `id` from being removed.
    pub(crate) fn pin(self: &Arc<Store>, id: SnapshotId) -> Result<Pin, Error> {
        let state = self.state();
        let entry = state.published.get(&id).ok_or_else(|| self.unknown(id))?;
        Ok(Pin { id, store: Arc::clone(self), _share: Arc::clone(&entry.pins) })
    }

    pub(crate) fn is_verified(&self, id: SnapshotId) -> bool {
        self.state().published.get(&id).is_some_and(|entry| entry.verified)
    }

    pub(crate) fn set_verified(&self, id: SnapshotId) {
        if let Some(entry) = self.state().published.get_mut(&id) {
            entry.verified = true;
        }
    }

    /// The state of a group's snapshots, in ascending order.
    pub(crate) fn known(&self, group: u64) -> Vec<Known> {
        self.state().known(group)
    }

    /// The snapshot up to which the log may be released.
    pub(crate) fn release_floor(&self, group: u64) -> Option<SnapshotId> {
        floor(&self.known(group), self.options.release_behind())
    }

    /// Removes a damaged snapshot from the list and gives its file a `.damaged` name, which is returned.
    pub(crate) fn set_aside(&self, id: SnapshotId) -> Result<String, Error> {
        let Some(entry) = self.state().published.remove(&id) else { return Err(self.unknown(id)) };
        match self.give_damaged_name(id) {
            Ok(name) => {
                self.state().damaged.insert(id);
                self.disk.sync().map_err(self.io("sync", ""))?;
                self.prune_damaged(id.group)?;
                Ok(name)
            }
            Err(error) => {
                self.state().published.insert(id, entry);
                Err(error)
            }
        }
    }

    fn give_damaged_name(&self, id: SnapshotId) -> Result<String, Error> {
        let from = name::published(id);
        let names = self.disk.list().map_err(self.io("list", ""))?;
        let free = |name: &String| names.iter().all(|(taken, _)| taken != name);
        let to = (0..=u32::MAX).map(|n| name::damaged(id, n)).find(free);
        let to = to.ok_or_else(|| self.io("rename", &from)(io::ErrorKind::AlreadyExists.into()))?;
        self.disk.rename(&from, &to).map_err(self.io("rename", &from))?;
        Ok(to)
    }

    /// Removes snapshots, transfers and damaged files of the group that newer verified snapshots have replaced.
    /// Returns the removed snapshots, oldest first.
    pub(crate) fn retain(&self, group: u64) -> Result<Vec<SnapshotId>, Error> {
        let keep = self.options.keep as usize;
        let mut gone = Vec::new();
        let mut parts = Vec::new();
        {
            let mut state = self.state();
            let known = state.known(group);
            for id in replaced(&known, keep) {
                gone.extend(state.published.remove(&id).map(|entry| (id, entry)));
            }
            if let Some(newest) = floor(&known, 0)
                && !state.receiving.contains(&group)
            {
                parts.extend(state.parts.iter().filter(|(id, _)| id.group == group && *id <= newest));
            }
        }
        let mut removed = Vec::new();
        let mut result = Ok(());
        for (id, entry) in gone {
            if result.is_ok() {
                let name = name::published(id);
                result = self.disk.remove(&name).map_err(self.io("remove", &name));
            }
            match result {
                Ok(()) => removed.push(id),
                // The file still exists, so list it again for a later call.
                Err(_) => _ = self.state().published.insert(id, entry),
            }
        }
        result?;
        for &(id, tag) in &parts {
            self.remove_part(id, tag)?;
        }
        self.prune_damaged(group)?;
        if !removed.is_empty() || !parts.is_empty() {
            self.disk.sync().map_err(self.io("sync", ""))?;
        }
        Ok(removed)
    }

    /// Removes a snapshot that is not pinned.
    pub(crate) fn remove(&self, id: SnapshotId) -> Result<(), Error> {
        let entry = {
            let mut state = self.state();
            let entry = state.published.get(&id).ok_or_else(|| self.unknown(id))?;
            if Arc::strong_count(&entry.pins) > 1 {
                return Err(Error::Busy { path: self.path(), id });
            }
            state.published.remove(&id)
        };
        let name = name::published(id);
        if let Err(e) = self.disk.remove(&name) {
            self.state().published.extend(entry.map(|entry| (id, entry)));
            return Err(self.io("remove", &name)(e));
        }
        self.disk.sync().map_err(self.io("sync", ""))
    }

    /// Removes the file of a transfer that has no receiver.
    pub(crate) fn remove_part(&self, id: SnapshotId, tag: u64) -> Result<(), Error> {
        let name = name::receiving(id, tag);
        match self.disk.remove(&name) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(self.io("remove", &name)(e)),
            _ => {}
        }
        self.state().parts.retain(|part| *part != (id, tag));
        Ok(())
    }

    /// Removes damaged files of a group: those with as many newer verified snapshots as an intact one would
    /// need to be removed, and of the others all but the newest `keep + DAMAGED_BEYOND_KEEP`, which is more
    /// than a group has snapshots at once.
    fn prune_damaged(&self, group: u64) -> Result<(), Error> {
        let keep = self.options.keep as usize;
        let replaced = {
            let state = self.state();
            if state.damaged.range(of_group(group)).next().is_none() {
                return Ok(());
            }
            floor(&state.known(group), keep - 1)
        };
        let mut files = Vec::new();
        for (name, _) in self.disk.list().map_err(self.io("list", ""))? {
            if let Some(Kind::Damaged(id, n)) = name::parse(&name).filter(|kind| kind.of_group(group)) {
                files.push((id, n, name));
            }
        }
        files.sort_unstable();
        let many = files.len().saturating_sub(keep + DAMAGED_BEYOND_KEEP);
        let goes = |at: usize, id: SnapshotId| at < many || replaced.is_some_and(|replaced| id < replaced);
        let mut kept = BTreeSet::new();
        for (at, (id, _, name)) in files.iter().enumerate() {
            if goes(at, *id) {
                match self.disk.remove(name) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(self.io("remove", name)(e)),
                    _ => {}
                }
            } else {
                kept.insert(*id);
            }
        }
        self.state().damaged.retain(|id| id.group != group || kept.contains(id));
        Ok(())
    }
}

impl State {
    /// Adds a published snapshot that was found at open.
    pub(crate) fn add(&mut self, id: SnapshotId) {
        self.published.insert(id, Entry::default());
    }

    fn known(&self, group: u64) -> Vec<Known> {
        let of_group = of_group(group);
        let known = |(&id, entry): (&SnapshotId, &Entry)| Known {
            id,
            verified: entry.verified,
            pinned: Arc::strong_count(&entry.pins) > 1,
        };
        self.published.range(of_group).map(known).collect()
    }

    /// The newest snapshot of a group that was found damaged.
    pub(crate) fn newest_damaged(&self, group: u64) -> Option<SnapshotId> {
        self.damaged.range(of_group(group)).next_back().copied()
    }
}

/// The ids of all snapshots that a group can have.
fn of_group(group: u64) -> std::ops::RangeInclusive<SnapshotId> {
    SnapshotId { group, index: 0, term: 0 }..=SnapshotId { group, index: u64::MAX, term: u64::MAX }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.store.state();
        state.busy.remove(&self.id);
        state.promised -= self.promised;
        if self.receiving {
            state.receiving.remove(&self.id.group);
        }
    }
}

impl Reservation {
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub(crate) fn id(&self) -> SnapshotId {
        self.id
    }

    /// Reserves `bytes` of the free space for this transfer. `free` is the free space of the file system in
    /// bytes.
    ///
    /// # Errors
    /// The number of bytes that a transfer may use, if that is less than `bytes`.
    pub(crate) fn promise(&mut self, bytes: u64, free: u64) -> Result<(), u64> {
        let mut state = self.store.state();
        let taken = state.promised.saturating_add(self.store.options.receive_spare_bytes);
        let free = free.saturating_sub(taken);
        if bytes > free {
            return Err(free);
        }
        state.promised += bytes;
        self.promised += bytes;
        Ok(())
    }

    /// Releases `bytes` of the reservation, which are written now.
    pub(crate) fn written(&mut self, bytes: u64) {
        let bytes = bytes.min(self.promised);
        self.promised -= bytes;
        self.store.state().promised -= bytes;
    }
}

/// A damaged snapshot that was set aside.
#[derive(Clone, Debug)]
pub struct Quarantined {
    /// The snapshot.
    pub id: SnapshotId,
    /// The current name of its file.
    pub file: String,
    /// The cause: [`Error::Damaged`].
    pub cause: Error,
}

impl Quarantined {
    /// The damaged part, if known.
    pub fn place(&self) -> Option<FilePart> {
        match self.cause {
            Error::Damaged { place, .. } => Some(place),
            _ => None,
        }
    }
}
