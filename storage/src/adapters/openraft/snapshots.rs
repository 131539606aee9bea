//! Keeps the snapshots of an openraft state machine in a catalog.

use std::fmt;
use std::io::{self, Write};
use std::marker::PhantomData;
use std::ops::ControlFlow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::adapters::openraft::codec;
use crate::engine::{Engine, Group};
use crate::snapshots::snap::{Catalog, Error as SnapError, SnapshotId, SnapshotReader};
use crate::types::GroupId;

/// The snapshots of one group, each with its `Meta`, for which openraft's `SnapshotMeta` is meant. Build, install and load
/// snapshots with it in the state machine.
///
/// A snapshot counts once it is durable and was read back in full. As many are kept as the options of the catalog say. If
/// the newest is damaged, an older one is used only if the log still has every entry after it.
///
/// All calls read or write the disk: call them where blocking is allowed, such as `tokio::task::spawn_blocking`. A clone
/// is another handle.
///
/// ```
/// # fn run(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
/// use seawall::openraft::SnapshotStore;
/// use seawall::snapshots::snap::{self, Catalog};
/// use seawall::{Engine, Options};
/// use std::io::{Read, Write};
///
/// let (engine, _) = Engine::open_or_create(dir.join("log"), &Options::default())?;
/// let (catalog, _) = Catalog::open_dir(&dir.join("snapshots"), &snap::Options::default())?;
/// // Instead of a string: `SnapshotStore<SnapshotMetaOf<TypeConfig>>`.
/// let store: SnapshotStore<String> = SnapshotStore::new(&engine, &catalog, 7);
/// assert!(store.newest()?.is_none());
/// store.save(Some(40), &"the meta".to_owned(), |to| to.write_all(b"the state after entry 40"))?;
///
/// let (meta, mut reader) = store.newest()?.expect("one");
/// let mut state = String::new();
/// reader.read_to_string(&mut state)?;
/// assert_eq!((meta.as_str(), state.as_str()), ("the meta", "the state after entry 40"));
/// # Ok(())
/// # }
/// # let dir = tempfile::tempdir().unwrap();
/// # run(dir.path()).unwrap();
/// ```
pub struct SnapshotStore<Meta> {
    catalog: Catalog,
    group: Group,
    meta: PhantomData<fn() -> Meta>,
}

impl<Meta: Serialize + DeserializeOwned> SnapshotStore<Meta> {
    /// The snapshots of group `group` of `engine`, in `catalog`.
    pub fn new(engine: &Engine, catalog: &Catalog, group: GroupId) -> SnapshotStore<Meta> {
        SnapshotStore { catalog: catalog.clone(), group: engine.group(group), meta: PhantomData }
    }

    /// Keeps a snapshot of the state after the log id with index `last`, or of the initial state for `None`: calls `dump`
    /// to write the content, makes it durable, reads it back, and removes older snapshots that are no longer to be kept.
    /// For a snapshot that was built here and for one that was received. If there is one of the same index already, it is
    /// kept, since it has the same state, and `dump` is not called.
    ///
    /// # Errors
    /// The error of `dump`, and nothing is left of the snapshot; or an error of the catalog, as an [`io::Error`] that
    /// contains it. The kind is `StorageFull` if the disk is full.
    pub fn save(
        &self,
        last: Option<u64>,
        meta: &Meta,
        dump: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        // The catalog's index 0 is no snapshot, and the core's index 0 is an entry.
        let index = last.map_or(1, |last| last.saturating_add(2));
        let id = SnapshotId { group: self.group.id(), index, term: 1 };
        let encoded = codec::encode(meta).map_err(io::Error::other)?;
        match self.catalog.write(id, &[], &encoded) {
            Ok(mut writer) => {
                dump(&mut writer)?;
                writer.finish().map_err(failed)?;
            }
            Err(SnapError::Exists { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        self.catalog.verify(id, &mut |_| ControlFlow::Continue(())).map_err(failed)?;
        self.catalog.retain(id.group).map_err(failed)?;
        Ok(())
    }

    /// Returns the newest snapshot: its meta, and its content from the start. `None` if there is none. Reads it in full
    /// first, unless this process has done so before.
    ///
    /// # Errors
    /// An error of the catalog, as an [`io::Error`] that contains it: `InvalidData` if every snapshot is damaged, or if
    /// the newest is and the log does not reach back to an older one. The state machine then has to get a snapshot from
    /// the leader.
    pub fn newest(&self) -> io::Result<Option<(Meta, SnapshotReader)>> {
        let point = self.group.compaction_point().0;
        // The engine's index of an entry is the core's plus 1, and the catalog's is one more.
        let covers = |id: SnapshotId| point < id.index;
        let newest = self.catalog.newest(self.group.id(), covers, &mut |_| ControlFlow::Continue(()));
        let Some(newest) = newest.map_err(failed)? else { return Ok(None) };
        let meta = codec::decode(newest.reader.metadata());
        let meta = meta.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Some((meta, newest.reader)))
    }
}

fn failed(error: SnapError) -> io::Error {
    let kind = match &error {
        error if error.is_no_space() => io::ErrorKind::StorageFull,
        error if error.is_damage() => io::ErrorKind::InvalidData,
        SnapError::Gap { .. } | SnapError::NoneLeft { .. } => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl<Meta> Clone for SnapshotStore<Meta> {
    fn clone(&self) -> SnapshotStore<Meta> {
        SnapshotStore { catalog: self.catalog.clone(), group: self.group.clone(), meta: PhantomData }
    }
}

impl<Meta> fmt::Debug for SnapshotStore<Meta> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotStore").field("group", &self.group).finish_non_exhaustive()
    }
}
