//! What the user of a pump brings: the network and the state machine, and options.
//! Place on the data's way: both ends of it, above the core. Invariants: what a host is given to apply is
//! committed and durable on this node; what it is given to send may leave at once.
//! Fails: as the state machine does, and that stops the pump.

use std::fmt;
use std::sync::Arc;

use raft::eraftpb::{ConfState, Entry, Message};
use raft::{ReadState, SoftState};

use crate::raft_rs::error::HostError;

/// What a pump drives: the network and the state machine. Called on the thread that calls the pump.
pub trait Host {
    /// Sends `messages`, each to its `to`. They may be lost; they should keep their order.
    fn send(&mut self, messages: Vec<Message>);

    /// Applies entries that are committed, and durable here: every index once and in order, the core's
    /// own empty entries and membership changes included, so that the last index is the applied one.
    ///
    /// # Errors
    /// Whatever keeps the state machine from going on: it stops the pump.
    fn apply(&mut self, entries: &[Entry]) -> std::result::Result<(), HostError>;

    /// Entry `index`, which is applied next, made `conf` the members; durable already.
    fn members_changed(&mut self, _index: u64, _conf: &ConfState) {}

    /// Entry `index`, which is applied next, would change the members in a way that is not allowed. It is
    /// left out, here as on every node.
    fn change_refused(&mut self, _index: u64, _why: &raft::Error) {}

    /// The node's role, or the leader it knows, changed.
    fn role_changed(&mut self, _role: &SoftState) {}

    /// Answers to [`Pump::read_index`](super::Pump::read_index).
    fn read_states(&mut self, _states: Vec<ReadState>) {}
}

/// Options of a pump.
#[derive(Clone)]
pub struct PumpOptions {
    /// Readys that may be in flight, at least 1; default 256. Each is a record of its own in the log, and
    /// many share a group commit; the bound keeps what waits for a slow disk from growing.
    pub readys_max: usize,
    /// Called when something became durable and [`Pump::poll`](super::Pump::poll) has work; from a thread
    /// of the log, so it should only leave a note: unpark a thread, notify a task.
    pub wake: Option<Arc<dyn Fn() + Send + Sync>>,
    /// Where the core logs to; nowhere by default.
    pub logger: Option<slog::Logger>,
}

impl Default for PumpOptions {
    fn default() -> PumpOptions {
        PumpOptions { readys_max: 256, wake: None, logger: None }
    }
}

impl fmt::Debug for PumpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PumpOptions").field("readys_max", &self.readys_max).finish_non_exhaustive()
    }
}
