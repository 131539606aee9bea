//! Runs one life of an engine: threads write their batches, read at times, and print what is durable.

use crate::acks::Acks;
use crate::check::State;
use crate::plan::Plan;
use crate::reference::build;
use seawall::{Engine, Ticket, WriteBatch};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The threads wait for all batches, and the engine is closed.
    Close,
    /// The engine is dropped while batches are in flight, as a kill does.
    Drop,
}

/// Writes `batches` more batches of every thread, then ends as `end` tells.
pub fn live(
    plan: &Plan,
    acks: &Arc<Acks>,
    engine: Engine,
    states: Vec<State>,
    batches: u64,
    end: End,
) -> Result<(), String> {
    let life = acks.history().lives.len() as u64 - 1;
    std::thread::scope(|scope| {
        let spawn = |(thread, state): (u64, State)| {
            let engine = &engine;
            scope.spawn(move || write(plan, acks, engine, (life, thread), state, batches, end))
        };
        let threads: Vec<_> = (0..).zip(states).map(spawn).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
    })?;
    match end {
        End::Close => engine.close().map_err(|error| format!("close: {error}")),
        End::Drop => Ok(()),
    }
}

fn write(
    plan: &Plan,
    acks: &Arc<Acks>,
    engine: &Engine,
    (life, thread): (u64, u64),
    mut state: State,
    batches: u64,
    end: End,
) -> Result<(), String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("thread {thread}: {what}: {error}");
    let threads = usize::try_from(plan.threads).map_err(|error| failed("threads", &error))?;
    let mut sent = Sent::new(acks, thread, threads);
    let mut rng = plan.rng(life, thread, u64::MAX);
    for _ in 0..batches {
        let planned = plan.batch(life, thread, state.next, &mut state.groups);
        state.next += 1;
        let mut batch = WriteBatch::new();
        planned.acts.iter().for_each(|(group, act)| build(&mut batch, *group, act));
        if planned.urgent {
            batch.sync();
        }
        let ticket = engine.write(&mut batch).map_err(|error| failed("write", &error))?;
        sent.add(ticket, state.next);
        sent.wait_until(plan.window - 1)?;
        if rng.chance(10) {
            let group = plan.group_id(thread, rng.below(plan.groups));
            let other = state.groups.read_some(engine, group, &mut rng);
            if let Some(why) = other.map_err(|error| failed("read", &error))? {
                return Err(failed("what was just written reads otherwise", &why));
            }
        }
    }
    if end == End::Close { sent.wait_until(0) } else { Ok(()) }
}

/// Result of a batch.
type Answer = Result<(), String>;

/// Batches of a thread that are not known to be durable. Every second thread waits for its tickets, the
/// others use callbacks; both ways must keep the promise.
struct Sent<'a> {
    acks: &'a Arc<Acks>,
    thread: u64,
    threads: usize,
    tickets: VecDeque<(Ticket, u64)>,
    called: u64,
    answers: (Sender<Answer>, Receiver<Answer>),
}

impl<'a> Sent<'a> {
    fn new(acks: &'a Arc<Acks>, thread: u64, threads: usize) -> Sent<'a> {
        Sent { acks, thread, threads, tickets: VecDeque::new(), called: 0, answers: channel() }
    }

    /// Adds `ticket`. Once it is durable, the thread's first `number` batches are durable.
    fn add(&mut self, ticket: Ticket, number: u64) {
        if self.thread.is_multiple_of(2) {
            self.tickets.push_back((ticket, number));
            return;
        }
        let (acks, answer) = (Arc::clone(self.acks), self.answers.0.clone());
        let (thread, threads) = (self.thread, self.threads);
        self.called += 1;
        ticket.on_durable(move |result| {
            let said = match result {
                Ok(_) => acks.batch(thread, number, threads),
                Err(error) => Err(format!("thread {thread}: batch {number}: {error}")),
            };
            // The receiver is gone if the life ended without waiting.
            let _ = answer.send(said);
        });
    }

    /// Waits until at most `left` batches are not acknowledged.
    fn wait_until(&mut self, left: u64) -> Result<(), String> {
        while self.called > left {
            self.called -= 1;
            self.answers.1.recv().map_err(|error| error.to_string())??;
        }
        while self.tickets.len() as u64 > left {
            let Some((ticket, number)) = self.tickets.pop_front() else { break };
            ticket.wait().map_err(|error| format!("thread {}: batch {number}: {error}", self.thread))?;
            self.acks.batch(self.thread, number, self.threads)?;
        }
        Ok(())
    }
}
