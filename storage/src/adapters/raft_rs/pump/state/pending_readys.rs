//! Readys that were written to the log and are not durable yet, with the messages that wait for them.
//!
//! Readys complete in the order in which they were submitted (INV-2). A Ready that needs no durable write
//! completes together with the one before it, never earlier. Nothing completes after the log failed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::Message;
use seawall_wal::Ticket;

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
        if let Some(ticket) = &ticket {
            self.signal.expect(ticket);
        }
        self.queue.push_back(PendingReady { number, ticket, kept });
    }

    /// Also wakes the owner when `ticket`, which belongs to no Ready, is durable.
    pub(in crate::adapters::raft_rs) fn expect(&self, ticket: &Ticket) {
        self.signal.expect(ticket);
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

    /// Blocks until the oldest Ready can complete, `other` is durable, the log fails, a read ends, or `timeout`
    /// has passed.
    pub(in crate::adapters::raft_rs) fn wait(&self, timeout: Duration, other: Option<&Ticket>) {
        let oldest = self.queue.front().map(|ready| &ready.ticket);
        let done = |ticket: &Ticket| ticket.outcome().is_some();
        self.signal.wait(timeout, || {
            other.is_some_and(done) || oldest.is_some_and(|ticket| ticket.as_ref().is_none_or(done))
        });
    }

    pub(in crate::adapters::raft_rs) fn len(&self) -> usize {
        self.queue.len()
    }
}

impl fmt::Debug for PendingReadys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingReadys").field("queue", &self.queue).finish_non_exhaustive()
    }
}
