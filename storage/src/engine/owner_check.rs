//! Whose log the engine's is: set once, compared from then on.

use super::{Engine, EngineInner};
use crate::error::{Error, Result};
use crate::group::Groups;
use crate::owner::{OWNER_GROUP, OWNER_USER_BYTES_MAX, owner_key};
use crate::types::Owner;
use crate::write::{self, Wait, WriteBatch};

impl Engine {
    /// Whose log it is, if somebody has said it. From memory.
    ///
    /// # Errors
    /// [`Error::OwnerUnreadable`] if a later version of this crate has written it.
    pub fn owner(&self) -> Result<Option<Owner>> {
        stored(&self.0.groups)
    }

    /// Says whose log it is, durably when this returns. If that is known already, it must be the same: then nothing is
    /// written. It cannot be changed.
    ///
    /// # Errors
    /// [`Error::OtherOwner`], [`Error::OwnerTooLarge`]: nothing was written; [`Error::OwnerUnreadable`],
    /// [`Error::Closed`]; or the log's error.
    pub fn set_owner(&self, owner: &Owner) -> Result<()> {
        let core: &EngineInner = &self.0;
        let _one_at_a_time = core.whose.lock();
        if compare(&core.groups, owner)? {
            return Ok(());
        }
        let wal = core.wal()?;
        let mut batch = WriteBatch::new();
        batch.put_owner(owner);
        // The limit of a group's metadata is for users.
        let (memory, meta_bytes_max) = ((&core.tail, &core.packer), usize::MAX);
        let ticket =
            write::write(&wal, &core.groups, &core.pins, memory, meta_bytes_max, &mut batch, Wait::Yes)?;
        ticket.wait().map_err(Error::Log)?;
        Ok(())
    }
}

/// Whose log `groups` say it is.
pub(super) fn stored(groups: &Groups) -> Result<Option<Owner>> {
    let Some((cell, key)) = groups.get(OWNER_GROUP).zip(owner_key()) else { return Ok(None) };
    let bytes = cell.read().meta(&key).cloned();
    bytes.map(|bytes| Owner::decode(&bytes).ok_or(Error::OwnerUnreadable)).transpose()
}

/// Whether `groups` say that the log is `given`'s; `false` if they do not say whose it is.
pub(super) fn compare(groups: &Groups, given: &Owner) -> Result<bool> {
    if given.user.len() > OWNER_USER_BYTES_MAX {
        return Err(Error::OwnerTooLarge { bytes: given.user.len(), max: OWNER_USER_BYTES_MAX });
    }
    match stored(groups)? {
        None => Ok(false),
        Some(stored) if stored == *given => Ok(true),
        Some(stored) => Err(Error::OtherOwner { stored: Box::new(stored), given: Box::new(given.clone()) }),
    }
}
