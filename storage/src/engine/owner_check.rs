//! Sets the owner of the log once, and compares it from then on.

use crate::engine::handle::Engine;
use crate::engine::inner::EngineInner;
use crate::error::{Error, Result};
use crate::group::Groups;
use crate::owner::{OWNER_GROUP, OWNER_USER_BYTES_MAX, owner_key};
use crate::types::Owner;
use crate::write::{self, Wait, WriteBatch};

impl Engine {
    /// Returns the owner of the log; `None` if none was set. Read from memory.
    ///
    /// # Errors
    /// [`Error::OwnerUnreadable`] if a later version of this crate wrote the owner.
    pub fn owner(&self) -> Result<Option<Owner>> {
        stored(&self.0.groups)
    }

    /// Sets the owner of the log; it is durable when this returns. If the log already has the same owner, nothing is
    /// written. An owner cannot be changed.
    ///
    /// # Errors
    /// [`Error::OtherOwner`] if the log has another owner, [`Error::OwnerTooLarge`], [`Error::OwnerUnreadable`]:
    /// nothing was written. [`Error::Closed`], or the error of the log.
    pub fn set_owner(&self, owner: &Owner) -> Result<()> {
        let core: &EngineInner = &self.0;
        let _one_at_a_time = core.owner_lock.lock();
        if compare(&core.groups, owner)? {
            return Ok(());
        }
        let wal = core.wal()?;
        let mut batch = WriteBatch::new();
        batch.put_owner(owner);
        // The limit of a group's metadata applies to users only.
        let meta_bytes_max = usize::MAX;
        let (ticket, _) = write::write(core.store(&wal), meta_bytes_max, &mut batch, Wait::Yes)?;
        ticket.wait().map_err(Error::Log)?;
        Ok(())
    }
}

/// The owner in the metadata of `groups`.
pub(super) fn stored(groups: &Groups) -> Result<Option<Owner>> {
    let Some((slot, key)) = groups.get(OWNER_GROUP).zip(owner_key()) else { return Ok(None) };
    let bytes = slot.read().meta(&key).cloned();
    bytes.map(|bytes| Owner::decode(&bytes).ok_or(Error::OwnerUnreadable)).transpose()
}

/// Whether the stored owner is `given`; `false` if no owner is stored. Another owner is an error.
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
