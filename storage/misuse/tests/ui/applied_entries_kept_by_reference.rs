//! The host borrows entries only while it applies them, so it must copy the entries that it keeps.
use seawall::raft_rs::raft::eraftpb::{Entry, Message};
use seawall::raft_rs::{Host, HostError};

struct Node<'a> {
    applied: Vec<&'a Entry>,
}

impl<'a> Host for Node<'a> {
    fn send(&mut self, _: Vec<Message>) {}

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        self.applied.extend(entries);
        Ok(())
    }
}

fn main() {}
