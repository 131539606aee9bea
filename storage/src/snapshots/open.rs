//! Chooses the snapshot that a node starts from.
//!
//! The chosen snapshot was read back in full, is named by the log, and the log has every entry after it.
//! Damaged files are set aside. Opening fails if the state machine would have to start before the log does.

use seawall_snap::{Catalog, Error as SnapError, Quarantined, SnapshotId, SnapshotReader};

use super::error::{Error, Result};
use super::options::SnapshotOptions;
use super::take::verify;
use crate::engine::Engine;
use crate::snapshots::eligibility::{Content, named, short};
use crate::snapshots::handle::{Shared, Snapshots};
use crate::types::GroupId;

/// Where the state machine starts.
#[derive(Debug)]
pub struct Start {
    /// The snapshot to load, from its start. `None` if the state machine is newer, or if there is no snapshot
    /// and the log has every entry.
    pub reader: Option<SnapshotReader>,
    /// The applied index of the state machine after it has loaded `reader`.
    pub applied: u64,
    /// Damaged snapshots that this call set aside, newest first.
    pub set_aside: Vec<Quarantined>,
}

impl Snapshots {
    /// Opens the snapshots of `group` in `catalog` and finds the one to start from: the newest readable one
    /// that the log names and reaches back to. `applied` is the index up to which the state machine keeps its
    /// state durably by itself, or 0 if it keeps nothing.
    ///
    /// Reads one snapshot in full, or several if some are damaged. Open each group only once at a time.
    ///
    /// # Errors
    /// [`Error::NoneLeft`] if the log starts after every remaining snapshot and after `applied`;
    /// [`Error::OptionOutOfRange`], [`Error::Members`]; or an error of the catalog.
    pub fn open(
        engine: &Engine,
        group: GroupId,
        catalog: &Catalog,
        options: SnapshotOptions,
        applied: u64,
    ) -> Result<(Snapshots, Start)> {
        let shared = Shared::new(engine, group, catalog, options)?;
        let mut start = Start { reader: None, applied, set_aside: Vec::new() };
        if let Some(id) = newest(&shared, &mut start.set_aside)? {
            shared.named(id)?;
            if id.index > applied {
                start.applied = id.index;
                start.reader = Some(catalog.reader(id)?);
            }
        }
        let point = shared.group.compaction_point().0;
        if start.applied < point {
            let newest = shared.group.snapshots().first().map_or(0, |newest| newest.index);
            return Err(Error::NoneLeft { group, point, newest, damaged: start.set_aside.len() });
        }
        {
            let mut state = shared.state();
            shared.pin(&mut state);
            state.base = start.applied;
        }
        Ok((Snapshots::new(shared), start))
    }
}

/// Finds the newest snapshot that the log names and that passes its checksums.
fn newest(shared: &Shared, set_aside: &mut Vec<Quarantined>) -> Result<Option<SnapshotId>> {
    let (catalog, group) = (&shared.catalog, &shared.group);
    let (point, markers) = (group.compaction_point().0, group.snapshots());
    for id in catalog.snapshots(group.id()).into_iter().rev() {
        let Some(content) = named(id, point, &markers, |index| group.term(index).ok()) else { continue };
        let stated = catalog.reader(id).map(|reader| short(&reader.stated().digest));
        match stated {
            Ok(found) if content != Content::Any && content != Content::Digest(found) => continue,
            Ok(_) => {}
            Err(cause) => {
                aside(catalog, id, cause, set_aside)?;
                continue;
            }
        }
        match verify(shared, id) {
            Ok(()) => return Ok(Some(id)),
            Err(Error::Catalog(cause)) => aside(catalog, id, cause, set_aside)?,
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Sets a damaged snapshot aside and adds it to `list`. Returns `cause` if it is not damage.
fn aside(catalog: &Catalog, id: SnapshotId, cause: SnapError, list: &mut Vec<Quarantined>) -> Result<()> {
    if !cause.is_damage() {
        return Err(cause.into());
    }
    let file = catalog.set_aside(id)?;
    list.push(Quarantined { id, file, cause });
    Ok(())
}
