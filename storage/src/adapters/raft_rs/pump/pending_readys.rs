//! Readys that were handed to the log and are not durable yet, with the messages that wait for them.
//! Place on the data's way: between the engine's tickets and the network. Invariants: Readys land in the
//! order in which they left (INV-2); a Ready that wrote nothing urgent lands with the one before it, never
//! sooner; nothing lands after the log failed. Fails: with the error that stopped the log.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use raft::eraftpb::Message;
use seawall_wal::Ticket;

use crate::adapters::raft_rs::pump::completions::Completions;
use crate::error::Error as EngineError;

/// One Ready in flight.
#[derive(Debug)]
struct PendingReady {
    number: u64,
    /// The promise of its write, if that has to be durable before `kept` may leave. Without one the Ready rests on
    /// the last one before it that has one.
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

    /// Ready `number` was written; `ticket` is there if it has to be durable before `kept` may leave.
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

    /// Wakes the owner also when `ticket`, which is no Ready's, is durable.
    pub(in crate::adapters::raft_rs) fn expect(&self, ticket: &Ticket) {
        self.signal.expect(ticket);
    }

    /// Takes the Readys that are durable: the number of the last, and their messages in order.
    ///
    /// # Errors
    /// What stopped the log; what became durable before that is not taken either.
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

    /// Blocks until the oldest Ready can land, `other` is durable, the log failed, a read ended, or `timeout` is over.
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
        f.debug_struct("Flight").field("queue", &self.queue).finish_non_exhaustive()
    }
}
