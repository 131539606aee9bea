//! The directory of snapshots: what is there, which one serves, what may go.
//!
//! FilePart: the top; composes writers, readers, exports and receivers over one shelf. Invariants: what is listed has its
//! name durably (INV-3); a damaged file is set aside, and deleted only when newer snapshots have replaced it or
//! there are too many; with a newer one known no older snapshot is offered unless the caller says that the log covers
//! the gap; names that are not the catalog's are left alone. Fails
//! with file and reason.

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
use seawall_wal::disk::{Disk, Mode, NameKind, PosixDisk};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// A directory of snapshots of many groups, open in one process at a time.
///
/// Shared by threads. Calls block for the disk, and do not block each other, but for moments.
#[derive(Clone, Debug)]
pub struct Catalog {
    shelf: Arc<Store>,
}

/// What [`Catalog::open`] found besides snapshots. Names are sorted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Files of writers that a crash had cut: removed.
    pub removed: Vec<String>,
    /// Files of transfers that were not finished: kept, for [`Catalog::receive`].
    pub unfinished: Vec<String>,
    /// Files that were set aside as damaged, in this life or an earlier one.
    pub damaged: Vec<String>,
    /// Names that are not the catalog's: left alone.
    pub foreign: Vec<String>,
}

/// What [`Catalog::newest`] offers.
#[derive(Debug)]
pub struct Newest {
    /// Reads the newest snapshot that checks, from its start.
    pub reader: SnapshotReader,
    /// Newer ones that were set aside by this call, newest first.
    pub set_aside: Vec<Quarantined>,
}

impl Catalog {
    /// Opens the directory `path`, made if it is missing; its parents must exist.
    ///
    /// # Errors
    /// As [`Catalog::open`].
    pub fn open_dir(path: &Path, options: &Options) -> Result<(Catalog, Found), Error> {
        let io = |e| Error::io("open", path.display().to_string(), e);
        PosixDisk::create_dir(path).map_err(io)?;
        // Snapshots end on any byte, which direct writes cannot.
        let disk = PosixDisk::open(path, Some(Mode::Buffered)).map_err(io)?;
        Catalog::open(Arc::new(disk), options)
    }

    /// Opens the directory of `disk`, which must write through the page cache and hold nothing else that uses a file
    /// `LOCK`. Removes what a crash left of writers; opens no snapshot.
    ///
    /// # Errors
    /// [`Error::Option`], [`Error::DirectDisk`], [`Error::Locked`], [`Error::NotAFile`]; or the disk fails.
    pub fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<(Catalog, Found), Error> {
        options.check()?;
        let path = disk.location();
        if disk.mode() != Mode::Buffered {
            return Err(Error::DirectDisk { path });
        }
        let io = |action, name: &str| {
            let site = FileContext::new(&path, name);
            move |e| site.io(action, e)
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
        // Which was received last is not known: the newest, perhaps.
        state.parts.sort_unstable();
        for names in [&mut found.removed, &mut found.unfinished, &mut found.damaged, &mut found.foreign] {
            names.sort_unstable();
        }
        for name in &found.removed {
            disk.remove(name).map_err(io("remove", name))?;
        }
        // A process may have been killed between a rename and its sync: what is listed is durable.
        disk.sync().map_err(io("sync", ""))?;
        Ok((Catalog { shelf: Arc::new(Store::new(disk, *options, state, lock)) }, found))
    }

    /// As it was opened with.
    pub fn options(&self) -> &Options {
        &self.shelf.options
    }

    /// Whether a snapshot was read back in full, and as it was written, since the catalog was opened.
    pub fn is_verified(&self, id: SnapshotId) -> bool {
        self.shelf.is_verified(id)
    }

    /// The published snapshots of a group that are not known to be damaged, ascending.
    pub fn snapshots(&self, group: u64) -> Vec<SnapshotId> {
        self.shelf.known(group).iter().map(|known| known.id).collect()
    }

    /// The groups that have published snapshots, ascending.
    pub fn groups(&self) -> Vec<u64> {
        let mut groups: Vec<u64> = self.shelf.state().published.keys().map(|id| id.group).collect();
        groups.dedup();
        groups
    }

    /// Starts a snapshot. `conf_state` and `metadata`, at most 16 MiB each, are kept as they are.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Busy`], [`Error::Invalid`]; or the disk fails: nothing is left.
    pub fn write(&self, id: SnapshotId, conf_state: &[u8], metadata: &[u8]) -> Result<SnapshotWriter, Error> {
        SnapshotWriter::create(self.shelf.reserve(id, false)?, conf_state, metadata)
    }

    /// The newest snapshot of a group that is what was written; `None` if the group never had one. Each is read in
    /// full before it is offered, unless it was verified already. Damaged ones are set aside (`.damaged`) and
    /// reported. While damaged ones newer than the one found are in the directory, `covers` is asked whether the
    /// log still has every entry behind it.
    ///
    /// `watch` is called after each chunk; `Break` cancels.
    ///
    /// # Errors
    /// [`Error::Gap`] if the log does not cover; [`Error::NoneLeft`] if all are damaged; [`Error::Version`] if the
    /// newest is of another version of the format; [`Error::Cancelled`]; or the disk fails.
    pub fn newest(
        &self,
        group: u64,
        mut covers: impl FnMut(SnapshotId) -> bool,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Option<Newest>, Error> {
        let mut set_aside = Vec::new();
        loop {
            let newest = self.shelf.known(group).last().map(|known| known.id);
            let damaged = self.shelf.state().newest_damaged(group).filter(|id| Some(*id) > newest);
            let path = || self.shelf.path();
            let id = match (newest, damaged) {
                (None, None) => return Ok(None),
                (None, Some(damaged)) => return Err(Error::NoneLeft { path: path(), damaged }),
                (Some(id), _) => id,
            };
            // Disconnected if another thread has removed it or set it aside: look again.
            let Ok(pin) = self.shelf.pin(id) else { continue };
            let sound = SnapshotReader::open(pin).and_then(|mut reader| {
                if !self.shelf.is_verified(id) {
                    reader.verify(watch)?;
                    reader.seek_chunk(0)?;
                }
                Ok(reader)
            });
            match (sound, damaged) {
                (Ok(reader), None) => return Ok(Some(Newest { reader, set_aside })),
                (Ok(reader), Some(_)) if covers(id) => return Ok(Some(Newest { reader, set_aside })),
                (Ok(_), Some(damaged)) => return Err(Error::Gap { path: path(), damaged, older: id }),
                (Err(cause), _) if cause.is_damage() => match self.shelf.set_aside(id) {
                    Ok(file) => set_aside.push(Quarantined { id, file, cause }),
                    Err(Error::Unknown { .. }) => {}
                    Err(error) => return Err(error),
                },
                (Err(error), _) => return Err(error),
            }
        }
    }

    /// Reads a snapshot, which checks as it is read.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Damaged`]; or the disk fails.
    pub fn reader(&self, id: SnapshotId) -> Result<SnapshotReader, Error> {
        SnapshotReader::open(self.shelf.pin(id)?)
    }

    /// Keeps a snapshot from being removed by [`Catalog::retain`].
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn pin(&self, id: SnapshotId) -> Result<Pin, Error> {
        self.shelf.pin(id)
    }

    /// Reads a snapshot in full, from the medium; if it is what was written, it counts for [`Catalog::retain`] and
    /// [`Catalog::release_floor`] from then on, until the catalog is closed.
    ///
    /// `watch` is called after each chunk; `Break` cancels.
    ///
    /// # Errors
    /// As [`Catalog::reader`], and [`Error::Cancelled`]. A damaged snapshot stays where it is until
    /// [`Catalog::set_aside`] or [`Catalog::newest`].
    pub fn verify(
        &self,
        id: SnapshotId,
        watch: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.reader(id)?.verify(watch)
    }

    /// Sets a snapshot aside (`.damaged`) that turned out damaged when it was read. Returns its file's name. Of the damaged
    /// files of a group the newest [`Options::keep`] and two more stay, until [`Catalog::retain`] finds as many newer
    /// verified snapshots as a sound one would need to go.
    ///
    /// # Errors
    /// [`Error::Unknown`]; or the disk fails.
    pub fn set_aside(&self, id: SnapshotId) -> Result<String, Error> {
        self.shelf.set_aside(id)
    }

    /// Removes a snapshot, whatever is known of others: for one that turned out to be of no use.
    ///
    /// # Errors
    /// [`Error::Unknown`]; [`Error::Busy`] if it is pinned; or the disk fails, and it may come back.
    pub fn remove(&self, id: SnapshotId) -> Result<(), Error> {
        self.shelf.remove(id)
    }

    /// Removes the snapshots of a group that have [`Options::keep`] newer verified ones and are not pinned, and
    /// transfers that are not newer than the newest verified one, and damaged files that as many newer verified ones have
    /// replaced. Returns the snapshots removed, oldest first. To be
    /// called after [`Catalog::verify`].
    ///
    /// # Errors
    /// The disk fails: what could not be removed is still there, and the next call tries again.
    pub fn retain(&self, group: u64) -> Result<Vec<SnapshotId>, Error> {
        self.shelf.retain(group)
    }

    /// The snapshot up to whose index the log of a group may be released: the second newest verified one, or the
    /// newest ([`Options::fall_back`]). `None` if there is none such: nothing may be released. After an open it is
    /// `None` until snapshots are verified again; it may also go back, when one is set aside.
    pub fn release_floor(&self, group: u64) -> Option<SnapshotId> {
        self.shelf.release_floor(group)
    }

    /// Sends a snapshot.
    ///
    /// # Errors
    /// As [`Catalog::reader`].
    pub fn export(&self, id: SnapshotId) -> Result<Export, Error> {
        Export::open(self.shelf.pin(id)?)
    }

    /// Receives a snapshot, from where an earlier receiver of the same offer stopped. Of other unfinished transfers to
    /// the group the one received last stays, so that two senders which take turns come to an end: two files per group,
    /// each no larger than was offered.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::Busy`] if a transfer to the group is running; [`Error::Offer`]; or the disk fails.
    pub fn receive(&self, offer: &Offer) -> Result<Receiver, Error> {
        Receiver::begin(self.shelf.reserve(offer.id, true)?, offer)
    }

    /// Removes what unfinished transfers to a group have left, such as one that no sender goes on with.
    ///
    /// # Errors
    /// [`Error::Busy`] if one is running; or the disk fails.
    pub fn discard_unfinished(&self, group: u64) -> Result<(), Error> {
        let parts = self.shelf.state().parts.clone();
        for (id, tag) in parts.into_iter().filter(|(id, _)| id.group == group) {
            let _held = self.shelf.occupy(id, true)?;
            self.shelf.remove_part(id, tag)?;
        }
        Ok(())
    }
}
