//! Provides the network between the nodes: channels, and the state of each node that others can read.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};

use seawall::raft_rs::raft::eraftpb::Message;
use seawall::snapshots::Snapshots;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub(crate) const NODES: usize = 3;

/// An event for the thread of a node.
pub(crate) enum Event {
    Message(Message),
    /// Propose the numbers in the range.
    Propose(std::ops::Range<u64>),
    /// A snapshot that this node sent did not reach the peer.
    SnapshotLost {
        peer: u64,
    },
    /// A write became durable.
    Wake,
    /// Stop, with a clean close or without.
    Stop {
        close: bool,
    },
}

/// State shared by all nodes: the channel to each node, and its progress.
#[derive(Default)]
pub(crate) struct Net {
    pub(crate) senders: [Mutex<Option<Sender<Event>>>; NODES],
    pub(crate) applied: [AtomicU64; NODES],
    /// First index of each log.
    pub(crate) first: [AtomicU64; NODES],
    pub(crate) leads: [AtomicBool; NODES],
    /// Sources from which peers fetch snapshots. A real node uses a connection instead.
    pub(crate) snapshots: [Mutex<Option<Snapshots>>; NODES],
}

impl Net {
    /// Sends an event. Returns false if the node is down, in which case the event is lost.
    pub(crate) fn send(&self, node: usize, event: Event) -> bool {
        let sender = self.senders[node].lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_some_and(|sender| sender.send(event).is_ok())
    }

    /// Sets the source from which peers fetch the snapshots of `node`.
    pub(crate) fn publish(&self, node: usize, snapshots: Option<Snapshots>) {
        *self.snapshots[node].lock().unwrap_or_else(PoisonError::into_inner) = snapshots;
    }
}
