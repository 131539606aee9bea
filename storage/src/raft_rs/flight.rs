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
use seawall_wal::mutant::mutant;

use crate::error::Error as EngineError;
use crate::raft_rs::signal::Signal;

/// One Ready in flight.
#[derive(Debug)]
struct Flying {
    number: u64,
    /// The last Ready, up to this one, whose write has to be durable.
    rests_on: u64,
    kept: Vec<Message>,
}

/// The Readys in flight, oldest first.
#[derive(Default)]
pub(super) struct Flight {
    queue: VecDeque<Flying>,
    /// The last Ready with an urgent write.
    urgent: u64,
    signal: Arc<Signal>,
}

impl Flight {
    pub(super) fn new(signal: Arc<Signal>) -> Flight {
        Flight { signal, ..Flight::default() }
    }

    /// Ready `number` was written; `ticket` is there if it has to be durable before `kept` may leave.
    pub(super) fn depart(&mut self, number: u64, ticket: Option<Ticket>, kept: Vec<Message>) {
        if let Some(ticket) = ticket {
            self.urgent = number;
            let signal = Arc::clone(&self.signal);
            ticket.on_durable(move |result| signal.written(number, result));
        }
        let nothing = self.urgent < number && mutant("ready_without_a_write_overtakes");
        self.queue.push_back(Flying { number, rests_on: if nothing { 0 } else { self.urgent }, kept });
    }

    /// Takes the Readys that are durable: the number of the last, and their messages in order.
    ///
    /// # Errors
    /// What stopped the log; what became durable before that is not taken either.
    pub(super) fn land(&mut self) -> Result<Option<(u64, Vec<Message>)>, EngineError> {
        if self.queue.is_empty() {
            return Ok(None);
        }
        let told = self.signal.told();
        if let Some(failure) = told.failure {
            return Err(EngineError::Log(failure));
        }
        let mut landed: Option<(u64, Vec<Message>)> = None;
        if mutant("ready_without_a_write_overtakes") {
            self.queue.make_contiguous().sort_by_key(|ready| ready.rests_on);
        }
        let mut durable = self.queue.iter().take_while(|ready| ready.rests_on <= told.number).count();
        if mutant("readys_land_one_early") && durable > 0 {
            durable = self.queue.len().min(durable + 1);
        }
        for mut ready in self.queue.drain(..durable) {
            let (number, messages) = landed.get_or_insert_default();
            *number = ready.number;
            messages.append(&mut ready.kept);
        }
        Ok(landed)
    }

    /// Blocks until the oldest Ready can land, the log failed, a read ended, or `timeout` is over.
    pub(super) fn wait(&self, timeout: Duration) {
        let first = self.queue.front().map_or(u64::MAX, |first| first.rests_on);
        self.signal.wait(timeout, |told| told.failure.is_some() || told.fetched || told.number >= first);
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("queue", &self.queue).field("urgent", &self.urgent).finish()
    }
}
