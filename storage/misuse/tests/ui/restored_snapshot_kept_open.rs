//! The host borrows the reader of a snapshot only while it restores from it.
use seawall::raft_rs::raft::eraftpb::{Entry, Message};
use seawall::raft_rs::{Host, HostError};
use seawall::snapshots::snap::SnapshotReader;

struct Node<'a> {
    later: Option<&'a mut SnapshotReader>,
}

impl<'a> Host for Node<'a> {
    fn send(&mut self, _: Vec<Message>) {}

    fn apply(&mut self, _: &[Entry]) -> Result<(), HostError> {
        Ok(())
    }

    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), HostError> {
        self.later = Some(snapshot);
        Ok(())
    }
}

fn main() {}
