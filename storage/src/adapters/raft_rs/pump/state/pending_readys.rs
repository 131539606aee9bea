//! Readys that were written to the log and are not durable yet, with the messages that wait for them.
//!
//! Readys complete in the order in which they were submitted (INV-2). A Ready that needs no durable write
//! completes together with the one before it, never earlier. Nothing completes after the log failed.
//!
//! At most one wake-up of the log is outstanding, for the oldest write in flight. A membership change that is being
//! written and belongs to no Ready counts as a write in flight too; it is the argument `other` here.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::Message;
use seawall_wal::{Lsn, Ticket};

use crate::adapters::raft_rs::completions::Completions;
use crate::error::Error as EngineError;

/// One Ready in flight.
#[derive(Debug)]
struct PendingReady {
    number: u64,
    /// The ticket of its write, if that must be durable before `kept` may leave. A Ready without one depends on
    /// the last earlier Ready that has one.
    ticket: Option<Ticket>,
    kept: Vec<Message>,
}

/// The Readys in flight, oldest first.
#[derive(Default)]
pub(in crate::adapters::raft_rs) struct PendingReadys {
    queue: VecDeque<PendingReady>,
    signal: Arc<Completions>,
    /// The record of the last wake-up that was requested.
    expected: Option<Lsn>,
}

impl PendingReadys {
    pub(in crate::adapters::raft_rs) fn new(signal: Arc<Completions>) -> PendingReadys {
        PendingReadys { signal, ..PendingReadys::default() }
    }

    /// Adds Ready `number`, which was written. `ticket` is set if the write must be durable before `kept` may
    /// leave.
    pub(in crate::adapters::raft_rs) fn submit(
        &mut self,
        number: u64,
        ticket: Option<Ticket>,
        kept: Vec<Message>,
    ) {
        self.queue.push_back(PendingReady { number, ticket, kept });
    }

    /// Requests a wake-up for when the oldest write in flight is durable, unless it has been requested; returns whether it
    /// was requested now. The log then writes without waiting for this thread.
    pub(in crate::adapters::raft_rs) fn request_wake(&mut self, other: Option<&Ticket>) -> bool {
        let Some(oldest) = writes(&self.queue, other).min_by_key(|ticket| ticket.lsn()) else { return false };
        let requests = self.expected.is_none_or(|expected| expected < oldest.lsn());
        if requests {
            self.signal.expect(oldest);
            self.expected = Some(oldest.lsn());
        }
        requests
    }

    /// Whether more than one write is in flight.
    pub(in crate::adapters::raft_rs) fn is_pipelined(&self, other: Option<&Ticket>) -> bool {
        writes(&self.queue, other).nth(1).is_some()
    }

    /// Whether the owner sleeps elsewhere than in [`PendingReadys::wait`].
    pub(in crate::adapters::raft_rs) fn tells_owner(&self) -> bool {
        self.signal.tells_owner()
    }

    /// Makes the oldest write in flight durable on this thread if no other thread writes; returns whether it wrote.
    pub(in crate::adapters::raft_rs) fn try_write(&self, other: Option<&Ticket>) -> bool {
        let oldest = writes(&self.queue, other).min_by_key(|ticket| ticket.lsn());
        oldest.is_some_and(Ticket::try_write)
    }

    /// Removes the durable Readys; returns the number of the last one and the messages of all, in order.
    ///
    /// # Errors
    /// The error that stopped the log. Readys that became durable before it are not completed either.
    pub(in crate::adapters::raft_rs) fn complete(
        &mut self,
    ) -> Result<Option<(u64, Vec<Message>)>, EngineError> {
        let mut durable = 0;
        for ready in &self.queue {
            match ready.ticket.as_ref().map(Ticket::outcome) {
                None | Some(Some(Ok(_))) => durable += 1,
                Some(Some(Err(error))) => return Err(EngineError::Log(error)),
                Some(None) => break,
            }
        }
        let mut landed: Option<(u64, Vec<Message>)> = None;
        for mut ready in self.queue.drain(..durable) {
            let (number, messages) = landed.get_or_insert_default();
            *number = ready.number;
            messages.append(&mut ready.kept);
        }
        Ok(landed)
    }

    /// Whether the oldest Ready can complete, `other` is durable, or the log has failed.
    pub(in crate::adapters::raft_rs) fn is_settled(&self, other: Option<&Ticket>) -> bool {
        let oldest = self.queue.front().map(|ready| &ready.ticket);
        let done = |ticket: &Ticket| ticket.outcome().is_some();
        other.is_some_and(done) || oldest.is_some_and(|ticket| ticket.as_ref().is_none_or(done))
    }

    /// Blocks until [`PendingReadys::is_settled`], a read ends, or `timeout` has passed. Request a wake-up first.
    pub(in crate::adapters::raft_rs) fn wait(&self, timeout: Duration, other: Option<&Ticket>) {
        self.signal.wait(timeout, || self.is_settled(other));
    }

    pub(in crate::adapters::raft_rs) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// The writes in flight.
fn writes<'a>(
    queue: &'a VecDeque<PendingReady>,
    other: Option<&'a Ticket>,
) -> impl Iterator<Item = &'a Ticket> {
    queue.iter().filter_map(|ready| ready.ticket.as_ref()).chain(other)
}

impl fmt::Debug for PendingReadys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingReadys").field("queue", &self.queue).finish_non_exhaustive()
    }
}
