//! A group has one writer at a time, so its log store cannot be cloned. Readers can be cloned.
use seawall::openraft::LogStore;
use seawall::openraft::openraft::RaftTypeConfig;

fn misuse<C: RaftTypeConfig>(store: LogStore<C>) {
    let _reader = store.reader().clone();
    let _second = store.clone();
}

fn main() {}
