//! Linearizable reads: runs a closure on the host once its state is new enough.
//!
//! All reads that are waiting when the pump asks its core for a read index share that request. The core may drop a
//! request without an answer, as it does while there is no leader, so the pump repeats it at every heartbeat interval. A
//! read that gets no answer within a number of election timeouts fails.

use raft::ReadState;

use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::state::Pump;

/// Election timeouts after which a read without an answer fails.
const TIMEOUTS: usize = 3;

impl<H: Host> Pump<H> {
    /// Calls `read` with the host once its state includes every entry that was committed when this was called, on any
    /// node of the group (a linearizable read). Works on leaders, followers and learners. The call runs on the thread
    /// that calls the pump, from [`Pump::poll`] or [`Pump::tick`].
    ///
    /// While the disk is full, reads wait. Reads that are started together share one round of messages. If the group has no leader for three election
    /// timeouts, `read` gets [`Error::NoAnswer`]; if the pump stops first, the error that stopped it, or
    /// [`Error::Stopping`]. If the pump is dropped, `read` is dropped without a call.
    pub fn read(&mut self, read: impl FnOnce(Result<&H>) + Send + 'static) {
        match self.stopped() {
            Some(stopped) => read(Err(stopped.clone())),
            None => self.reads.add(Box::new(read)),
        }
    }

    /// Requests a read index for the new reads; returns whether there were any.
    pub(in crate::adapters::raft_rs) fn request_reads(&mut self) -> bool {
        let requested = self.reads.has_new();
        if requested {
            let context = self.reads.request();
            self.node.read_index(context);
        }
        requested
    }

    /// Takes the answers to this pump's own requests out of `states`.
    pub(in crate::adapters::raft_rs) fn take_answers(&mut self, states: &mut Vec<ReadState>) {
        self.reads.answered(states);
    }

    /// Makes the reads whose index is applied; returns whether there were any.
    pub(in crate::adapters::raft_rs) fn make_reads(&mut self) -> bool {
        let ready = self.reads.ready(self.applied);
        let made = !ready.is_empty();
        ready.into_iter().for_each(|read| read(Ok(&self.host)));
        made
    }

    /// Repeats requests without an answer, and fails those that are too old.
    pub(in crate::adapters::raft_rs) fn age_reads(&mut self) {
        let (elect, beat) = (self.node.raft.election_timeout(), self.node.raft.heartbeat_timeout());
        for read in self.reads.tick(TIMEOUTS * elect) {
            read(Err(Error::NoAnswer));
        }
        for context in self.reads.repeated(beat) {
            self.node.read_index(context);
        }
    }
}
