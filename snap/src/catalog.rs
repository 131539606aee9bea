//! The catalog: the snapshots in a directory, which of them to read, and which to remove.
//!
//! A snapshot is listed only when its name is durable (INV-3). A damaged file is set aside, and deleted only
//! once newer snapshots have replaced it or there are too many damaged files. If a newer snapshot is damaged,
//! an older one is returned only if the caller confirms that the log covers the gap. Files with other names are
//! left alone.

use crate::directory::store::{Pin, Quarantined, State, Store};
use crate::error::{Error, FileContext};
use crate::format::name::{self, Kind};
use crate::format::wire::Offer;
use crate::options::Options;
use crate::read::SnapshotReader;
use crate::transfer::export::Export;
use crate::transfer::receive::Receiver;
use crate::types::{Progress, SnapshotId};
use crate::write::SnapshotWriter;
use seawall_disk::{Disk, Mode, NameKind, PosixDisk};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// A directory of snapshots of many groups, open in one process at a time.
///
/// Can be shared between threads. Calls block on the disk, but block each other only for moments.
#[derive(Clone, Debug)]
pub struct Catalog {
    store: Arc<Store>,
}

/// Files other than snapshots that [`Catalog::open`] found. Names are sorted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Files of writers that a crash interrupted; removed.
    pub removed: Vec<String>,
    /// Files of unfinished transfers; kept for [`Catalog::receive`].
    pub unfinished: Vec<String>,
    /// Files that were set aside as damaged, now or earlier.
    pub damaged: Vec<String>,
    /// Files that do not belong to the catalog; left alone.
    pub foreign: Vec<String>,
}

/// The result of [`Catalog::newest`].
#[derive(Debug)]
pub struct Newest {
    /// Reads the newest intact snapshot from its start.
    pub reader: SnapshotReader,
    /// Newer snapshots that this call set aside, newest first.
    pub set_aside: Vec<Quarantined>,
}

impl Catalog {
    /// Opens the directory `path`, which is created if it does not exist. Its parent must exist.
    ///
    /// # Errors
    /// Like [`Catalog::open`].
    pub fn open_dir(path: &Path, options: &Options) -> Result<(Catalog, Found), Error> {
        let io = |e| Error::io("open", path.display().to_string(), e);
        PosixDisk::create_dir(path).map_err(io)?;
        // Snapshots end at any byte, which direct writes do not support.
        let disk = PosixDisk::open(path, Some(Mode::Buffered)).map_err(io)?;
        Catalog::open(Arc::new(disk), options)
    }

    /// Opens the directory of `disk`, which must use buffered writes and contain nothing else that uses a file
    /// `LOCK`. Removes what a crash left of writers. Does not open any snapshot.
    ///
    /// # Errors
    /// [`Error::OptionOutOfRange`], [`Error::DirectDisk`], [`Error::Locked`], [`Error::NotAFile`]; or the disk fails.
    pub fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<(Catalog, Found), Error> {
        options.check()?;
        let path = disk.location();
        if disk.mode() != Mode::Buffered {
            return Err(Error::DirectDisk { path });
        }
        let io = |action, name: &str| {
            let context = FileContext::new(&path, name);
            move |e| context.io(action, e)
        };
        let holder = format!("process {}", std::process::id());
        let lock = disk.lock(name::LOCK, &holder).map_err(io("lock", name::LOCK))?;
        let lock = lock.map_err(|holder| Error::Locked { path: path.clone(), holder })?;

        let (mut state, mut found) = (State::default(), Found::default());
        for (name, kind) in disk.list().map_err(io("list", ""))? {
            let Some(known) = name::parse(&name) else {
                if name != name::LOCK {
                    found.foreign.push(name);
                }
                continue;
            };
            if kind != NameKind::File {
                return Err(Error::NotAFile { path, file: name });
            }
            match known {
                Kind::Published(id) => state.add(id),
                Kind::Writing(_) => found.removed.push(name),
                Kind::Receiving(id, tag) => {
                    state.parts.push((id, tag));
                    found.unfinished.push(name);
                }
                Kind::Damaged(id, _) => {
                    state.damaged.insert(id);
                    found.damaged.push(name);
                }
            }
        }
        // The order of reception is unknown, so assume that the newest snapshot was received last.
        state.parts.sort_unstable();
        for names in [&mut found.removed, &mut found.unfinished, &mut found.damaged, &mut found.foreign] {
            names.sort_unstable();
        }
        for name in &found.removed {
            disk.remove(name).map_err(io("remove", name))?;
        }
        // A process may have been killed between a rename and its sync; this makes every listed name durable.
        disk.sync().map_err(io("sync", ""))?;
        Ok((Catalog { store: Arc::new(Store::new(disk, *options, state, lock)) }, found))
    }

    /// The options that the catalog was opened with.
    pub fn options(&self) -> &Options {
        &self.store.options
    }

    /// Whether a snapshot was read back in full and found intact since the catalog was opened.
    pub fn is_verified(&self, id: SnapshotId) -> bool {
        self.store.is_verified(id)
    }

    /// The published snapshots of a group that are not known to be damaged, in ascending order.
    pub fn snapshots(&self, group: u64) -> Vec<SnapshotId> {
        self.store.known(group).iter().map(|known| known.id).collect()
    }

    /// The groups that have published snapshots, in ascending order.
    pub fn groups(&self) -> Vec<u64> {
        let mut groups: Vec<u64> = self.store.state().published.keys().map(|id| id.group).collect();
        groups.dedup();
        groups
    }

    /// Starts to write a snapshot. `conf_state` and `metadata`, at most 16 MiB each, are stored as they are.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Busy`], [`Error::Invalid`]; or the disk fails. Nothing is left of the
    /// snapshot.
    pub fn write(&self, id: SnapshotId, conf_state: &[u8], metadata: &[u8]) -> Result<SnapshotWriter, Error> {
        SnapshotWriter::create(self.store.reserve(id, false)?, conf_state, metadata)
    }

    /// Returns the newest intact snapshot of a group; `None` if the group never had one. Reads each candidate
    /// in full first, unless it is already verified. Sets damaged ones aside (`.damaged`) and reports them. If
    /// the directory has a damaged snapshot that is newer than the one found, calls `covers` to ask whether the
    /// log still has every entry after the one found.
    ///
    /// Calls `watch` after each chunk; `Break` cancels.
    ///
    /// # Errors
    /// [`Error::Gap`] if the log does not cover the gap; [`Error::NoneLeft`] if all are damaged;
    /// [`Error::Version`] if the newest has another version of the format; [`Error::Cancelled`]; or the disk
    /// fails.
    pub fn newest(
        &self,
        group: u64,
        mut covers: impl FnMut(SnapshotId) -> bool,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Option<Newest>, Error> {
        let mut set_aside = Vec::new();
        loop {
            let newest = self.store.known(group).last().map(|known| known.id);
            let damaged = self.store.state().newest_damaged(group).filter(|id| Some(*id) > newest);
            let path = || self.store.path();
            let id = match (newest, damaged) {
                (None, None) => return Ok(None),
                (None, Some(damaged)) => return Err(Error::NoneLeft { path: path(), damaged }),
                (Some(id), _) => id,
            };
            // Fails if another thread has removed it or set it aside: try again.
            let Ok(pin) = self.store.pin(id) else { continue };
            let sound = SnapshotReader::open(pin).and_then(|mut reader| {
                if !self.store.is_verified(id) {
                    reader.verify(watch)?;
                    reader.seek_chunk(0)?;
                }
                Ok(reader)
            });
            match (sound, damaged) {
                (Ok(reader), None) => return Ok(Some(Newest { reader, set_aside })),
                (Ok(reader), Some(_)) if covers(id) => return Ok(Some(Newest { reader, set_aside })),
                (Ok(_), Some(damaged)) => return Err(Error::Gap { path: path(), damaged, older: id }),
                (Err(cause), _) if cause.is_damage() => match self.store.set_aside(id) {
                    Ok(file) => set_aside.push(Quarantined { id, file, cause }),
                    Err(Error::Unknown { .. }) => {}
                    Err(error) => return Err(error),
                },
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Opens a snapshot for reading. Its checksums are checked as it is read.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Damaged`]; or the disk fails.
    pub fn reader(&self, id: SnapshotId) -> Result<SnapshotReader, Error> {
        SnapshotReader::open(self.store.pin(id)?)
    }

    /// Keeps a snapshot from being removed by [`Catalog::retain`].
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn pin(&self, id: SnapshotId) -> Result<Pin, Error> {
        self.store.pin(id)
    }

    /// Reads a snapshot in full from the medium. If it is intact, it counts for [`Catalog::retain`] and
    /// [`Catalog::release_floor`] until the catalog is closed.
    ///
    /// Calls `watch` after each chunk; `Break` cancels.
    ///
    /// # Errors
    /// Like [`Catalog::reader`], and [`Error::Cancelled`]. A damaged snapshot stays in place until
    /// [`Catalog::set_aside`] or [`Catalog::newest`].
    pub fn verify(
        &self,
        id: SnapshotId,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.reader(id)?.verify(watch)
    }

    /// Sets a snapshot aside (`.damaged`) that turned out damaged when it was read. Returns the name of its
    /// file. The newest [`Options::keep`] plus two damaged files of a group stay, until [`Catalog::retain`]
    /// finds as many newer verified snapshots as it requires to remove an intact one.
    ///
    /// # Errors
    /// [`Error::Unknown`]; or the disk fails.
    pub fn set_aside(&self, id: SnapshotId) -> Result<String, Error> {
        self.store.set_aside(id)
    }

    /// Removes a snapshot whether or not newer ones are verified, for one that turned out to be useless.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Busy`] if it is pinned. If the disk fails, the snapshot may come back.
    pub fn remove(&self, id: SnapshotId) -> Result<(), Error> {
        self.store.remove(id)
    }

    /// Removes the snapshots of a group that have [`Options::keep`] newer verified ones and are not pinned,
    /// transfers that are not newer than the newest verified snapshot, and damaged files with [`Options::keep`]
    /// newer verified snapshots. Returns the removed snapshots, oldest first. Call it after
    /// [`Catalog::verify`].
    ///
    /// # Errors
    /// The disk fails. Files that could not be removed remain, and the next call tries again.
    pub fn retain(&self, group: u64) -> Result<Vec<SnapshotId>, Error> {
        self.store.retain(group)
    }

    /// Returns the snapshot up to whose index the log of a group may be compacted: the second newest verified
    /// one, or the newest, depending on [`Options::fall_back`]. `None` if there is none; then the log must not
    /// be compacted. After an open it is `None` until snapshots are verified again, and it may go back when a
    /// snapshot is set aside.
    pub fn release_floor(&self, group: u64) -> Option<SnapshotId> {
        self.store.release_floor(group)
    }

    /// Opens a snapshot for sending.
    ///
    /// # Errors
    /// Like [`Catalog::reader`].
    pub fn export(&self, id: SnapshotId) -> Result<Export, Error> {
        Export::open(self.store.pin(id)?)
    }

    /// Starts to receive a snapshot, or continues where an earlier receiver of the same offer stopped. Of the
    /// other unfinished transfers to the group, only the latest is kept, so that two senders that alternate
    /// both finish. A group thus has at most two such files, each no larger than its offer.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::Busy`] if a transfer to the group is in progress; [`Error::Offer`]; or the
    /// disk fails.
    pub fn receive(&self, offer: &Offer) -> Result<Receiver, Error> {
        Receiver::begin(self.store.reserve(offer.id, true)?, offer)
    }

    /// Removes the files of unfinished transfers to a group, for instance of one that no sender continues.
    ///
    /// # Errors
    /// [`Error::Busy`] if a transfer is in progress; or the disk fails.
    pub fn discard_unfinished(&self, group: u64) -> Result<(), Error> {
        let parts = self.store.state().parts.clone();
        for (id, tag) in parts.into_iter().filter(|(id, _)| id.group == group) {
            let _held = self.store.occupy(id, true)?;
            self.store.remove_part(id, tag)?;
        }
        Ok(())
    }
}
