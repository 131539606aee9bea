//! Groups by number, as one record may change them.
//! Place on the data's way: between a record and its groups; locked groups are such, and groups under replay.
//! Invariants: a group that is not the record's is not given out. Cannot fail: the answer is none.

use super::state::GroupState;
use crate::types::GroupId;

/// Groups by number, while records are applied.
pub(crate) trait GroupsMut {
    /// The state of `group`, if this record may change it.
    fn state(&mut self, group: GroupId) -> Option<&mut GroupState>;
}
