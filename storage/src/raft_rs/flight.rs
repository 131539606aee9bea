//! Readys that were handed to the log and are not durable yet, with the messages that wait for them.
//! Place on the data's way: between the engine's tickets and the network. Invariants: Readys land in the
//! order in which they left (INV-2); a Ready that wrote nothing urgent lands with the one before it, never
//! sooner; nothing lands after the log failed. Fails: with the error that stopped the log.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use raft::eraftpb::Message;
use seawall_wal::{Lsn, Ticket};

use crate::error::Error as EngineError;

/// Called when there may be something to poll for; from any thread, so it should only leave a note.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// What the log's callbacks say, for the thread that polls.
#[derive(Default)]
struct Signal {
    state: Mutex<Landed>,
    changed: Condvar,
    wake: Option<Wake>,
}

#[derive(Clone, Default)]
struct Landed {
    /// Every write of a Ready up to this number is durable.
    number: u64,
    failure: Option<seawall_wal::Error>,
}

impl Signal {
    fn tell(&self, number: u64, result: Result<Lsn, seawall_wal::Error>) {
        let mut state = self.state.lock();
        match result {
            Ok(_) => state.number = state.number.max(number),
            Err(error) => {
                state.failure.get_or_insert(error);
            }
        }
        drop(state);
        self.changed.notify_all();
        if let Some(wake) = &self.wake {
            wake();
        }
    }
}

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
    pub(super) fn new(wake: Option<Wake>) -> Flight {
        Flight { signal: Arc::new(Signal { wake, ..Signal::default() }), ..Flight::default() }
    }

    /// Ready `number` was written; `ticket` is there if it has to be durable before `kept` may leave.
    pub(super) fn depart(&mut self, number: u64, ticket: Option<Ticket>, kept: Vec<Message>) {
        if let Some(ticket) = ticket {
            self.urgent = number;
            let signal = Arc::clone(&self.signal);
            ticket.on_durable(move |result| signal.tell(number, result));
        }
        self.queue.push_back(Flying { number, rests_on: self.urgent, kept });
    }

    /// Takes the Readys that are durable: the number of the last, and their messages in order.
    ///
    /// # Errors
    /// What stopped the log; what became durable before that is not taken either.
    pub(super) fn land(&mut self) -> Result<Option<(u64, Vec<Message>)>, EngineError> {
        if self.queue.is_empty() {
            return Ok(None);
        }
        let state = self.signal.state.lock().clone();
        if let Some(failure) = state.failure {
            return Err(EngineError::Log(failure));
        }
        let mut landed: Option<(u64, Vec<Message>)> = None;
        let durable = self.queue.iter().take_while(|ready| ready.rests_on <= state.number).count();
        for mut ready in self.queue.drain(..durable) {
            let (number, messages) = landed.get_or_insert_default();
            *number = ready.number;
            messages.append(&mut ready.kept);
        }
        Ok(landed)
    }

    /// Blocks until the oldest Ready can land, the log failed, or `timeout` is over.
    pub(super) fn wait(&self, timeout: Duration) {
        let Some(first) = self.queue.front() else { return };
        let mut state = self.signal.state.lock();
        let waits = |state: &mut Landed| state.failure.is_none() && state.number < first.rests_on;
        self.signal.changed.wait_while_for(&mut state, waits, timeout);
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
