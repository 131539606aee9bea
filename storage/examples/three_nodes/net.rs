//! The network between the nodes: channels, and what everyone sees of each.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};

use seawall::raft_rs::raft::eraftpb::Message;
use seawall::snapshots::Snapshots;

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub(crate) const NODES: usize = 3;

/// What a node's thread is told.
pub(crate) enum Event {
    Message(Message),
    /// Propose the numbers of the range.
    Propose(std::ops::Range<u64>),
    /// A snapshot that this node sent did not get to the peer.
    SnapshotLost {
        peer: u64,
    },
    /// Something became durable.
    Wake,
    /// End: cleanly, or as a kill would.
    Stop {
        close: bool,
    },
}

/// What everyone sees: the way to each node, and how far it is.
#[derive(Default)]
pub(crate) struct Net {
    pub(crate) senders: [Mutex<Option<Sender<Event>>>; NODES],
    pub(crate) applied: [AtomicU64; NODES],
    pub(crate) leads: [AtomicBool; NODES],
    /// Where peers fetch snapshots from; a real node has a connection for that.
    pub(crate) snapshots: [Mutex<Option<Snapshots>>; NODES],
}

impl Net {
    /// Messages to a node that is down are lost; says whether this one was not.
    pub(crate) fn send(&self, node: usize, event: Event) -> bool {
        let sender = self.senders[node].lock().unwrap_or_else(PoisonError::into_inner);
        sender.as_ref().is_some_and(|sender| sender.send(event).is_ok())
    }

    /// What peers fetch from `node` from now on.
    pub(crate) fn publish(&self, node: usize, snapshots: Option<Snapshots>) {
        *self.snapshots[node].lock().unwrap_or_else(PoisonError::into_inner) = snapshots;
    }
}
