//! The kinds of operations and their names.

// Kinds of operations. A record with another kind is refused.
pub(super) const ENTRIES: u8 = 1;
pub(super) const HARD_STATE: u8 = 2;
pub(super) const CONF_STATE: u8 = 3;
pub(super) const COMPACT: u8 = 4;
pub(super) const START: u8 = 5;
pub(super) const REMOVE: u8 = 6;
pub(super) const MOVED: u8 = 7;
pub(super) const SNAPSHOT_MARKER: u8 = 8;
pub(super) const METADATA: u8 = 9;
pub(super) const REPAIRED: u8 = 10;

/// Name of a kind, for messages.
pub(super) fn kind_name(kind: u8) -> &'static str {
    match kind {
        ENTRIES => "entries",
        HARD_STATE => "hard state",
        CONF_STATE => "conf state",
        COMPACT => "compact",
        START => "start",
        REMOVE => "remove",
        MOVED => "moved",
        SNAPSHOT_MARKER => "snapshot marker",
        METADATA => "metadata",
        REPAIRED => "repaired",
        _ => "unassigned",
    }
}
