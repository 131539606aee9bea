//! The lines name the parts of an entry differently: a core gets the store of its own line.
use seawall::openraft::openraft::RaftTypeConfig;
use seawall::openraft::openraft::storage::RaftLogStorage;
use seawall::openraft_09::{LogStore, openraft};

fn core<C: RaftTypeConfig>(_store: impl RaftLogStorage<C>) {}

fn misuse<C: RaftTypeConfig, Old: openraft::RaftTypeConfig>(store: LogStore<Old>) {
    core::<C>(store);
}

fn main() {}
