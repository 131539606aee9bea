//! The core is the one that writes: who gives it the store keeps a reader at most.
use seawall::openraft::LogStore;
use seawall::openraft::openraft::RaftTypeConfig;
use seawall::openraft::openraft::storage::RaftLogStorage;

fn core<C: RaftTypeConfig>(_store: impl RaftLogStorage<C>) {}

fn misuse<C: RaftTypeConfig>(store: LogStore<C>) {
    core::<C>(store);
    let _reader = store.reader();
}

fn main() {}
