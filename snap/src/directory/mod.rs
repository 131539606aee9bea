//! The directory of snapshots: its files, their use, and which of them are kept.

pub(crate) mod retention;
pub(crate) mod store;
