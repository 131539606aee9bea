//! The entries of the two openraft versions differ, so a core accepts only the log store for its own version.
use seawall::openraft::openraft::RaftTypeConfig;
use seawall::openraft::openraft::storage::RaftLogStorage;
use seawall::openraft_09::{LogStore, openraft};

fn core<C: RaftTypeConfig>(_store: impl RaftLogStorage<C>) {}

fn misuse<C: RaftTypeConfig, Old: openraft::RaftTypeConfig>(store: LogStore<Old>) {
    core::<C>(store);
}

fn main() {}
