//! Mutable access to groups by number while records are applied.
//!
//! Implemented by the locked groups of a write and by the groups of a replay.

use super::state::GroupState;
use crate::types::GroupId;

/// Groups by number, while records are applied.
pub(crate) trait GroupsMut {
    /// The state of `group`, if the record may change it.
    fn state(&mut self, group: GroupId) -> Option<&mut GroupState>;
}
