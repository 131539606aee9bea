//! From which snapshot a node starts.
//! Place on the data's way: once, when a group is joined with its catalog, before the state machine runs. Invariants:
//! what is chosen was read back in full, is named by the log, and the log has every entry behind it; damaged files are
//! set aside and never deleted. Fails: if the state machine would have to start before the log does.

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
    /// The snapshot to load, from its start; `None` if what the state machine has is newer, or there is none and the
    /// log has everything.
    pub reader: Option<SnapshotReader>,
    /// Index of the last entry that the state machine has, once it has loaded that.
    pub applied: u64,
    /// Damaged snapshots that were set aside by this call, newest first.
    pub set_aside: Vec<Quarantined>,
}

impl Snapshots {
    /// Joins `group` with its snapshots in `catalog`, and finds the one to start from: the newest that the log names and
    /// that can be read, or the one before if the log goes back to it. `applied` is the index up to which the state
    /// machine has everything durably on its own; 0 if it keeps nothing.
    ///
    /// Reads one snapshot in full, or more if some are damaged. To be called once for a group at a time.
    ///
    /// # Errors
    /// [`Error::NoneLeft`] if the log begins behind every snapshot that is left, and behind `applied`;
    /// [`Error::Option`], [`Error::Members`]; or the catalog fails.
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

/// The newest snapshot that the log names and that checks.
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

/// Sets a damaged snapshot aside and notes it; any other error is one.
fn aside(catalog: &Catalog, id: SnapshotId, cause: SnapError, list: &mut Vec<Quarantined>) -> Result<()> {
    if !cause.is_damage() {
        return Err(cause.into());
    }
    let file = catalog.set_aside(id)?;
    list.push(Quarantined { id, file, cause });
    Ok(())
}
