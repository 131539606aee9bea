//! The directory of snapshots: which files are there, which are kept, which are in use.

pub(crate) mod retention;
pub(crate) mod store;
