//! Entries are the host's while it applies them; what it keeps, it copies.
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
