//! The core takes the log store by value and is its only writer, so the caller can keep a reader at most.
use seawall::openraft::LogStore;
use seawall::openraft::openraft::RaftTypeConfig;
use seawall::openraft::openraft::storage::RaftLogStorage;

fn core<C: RaftTypeConfig>(_store: impl RaftLogStorage<C>) {}

fn misuse<C: RaftTypeConfig>(store: LogStore<C>) {
    core::<C>(store);
    let _reader = store.reader();
}

fn main() {}
