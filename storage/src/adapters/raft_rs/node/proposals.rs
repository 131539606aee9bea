//! The proposals of a node that wait until they are applied.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use raft::eraftpb::Entry;

use crate::adapters::raft_rs::error::Error;
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::node::inbox::NodeHandle;
use crate::adapters::raft_rs::node::pending::{Answer, Pending, pending};

/// The proposals of this node that wait until they are applied, each with a context that no other proposal of the group
/// has. `T` is what the state machine answers. A clone is another handle of the same proposals.
///
/// The host keeps a clone and calls [`Proposals::answer`] for each entry that it applies:
///
/// ```
/// use seawall::raft_rs::{Host, HostError, NodeHandle, Proposals, raft::eraftpb::{Entry, Message}};
///
/// struct Counter {
///     proposals: Proposals<u64>,
///     sum: u64,
/// }
///
/// impl Host for Counter {
///     fn send(&mut self, _: Vec<Message>) {}
///
///     fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
///         for entry in entries {
///             self.sum += entry.data.len() as u64;
///             self.proposals.answer(entry, self.sum);
///         }
///         Ok(())
///     }
/// }
///
/// fn add(node: &NodeHandle<Counter>, proposals: &Proposals<u64>) -> Result<u64, seawall::raft_rs::Error> {
///     proposals.propose(node, b"+1".to_vec()).wait(std::time::Duration::from_secs(5))
/// }
/// ```
pub struct Proposals<T>(Arc<Shared<T>>);

struct Shared<T> {
    /// First bytes of every context: differs from those of all other nodes and of earlier lives of this one.
    instance: [u8; 16],
    state: Mutex<State<T>>,
}

struct State<T> {
    last: u64,
    waiting: HashMap<u64, Answer<T>>,
    /// Number of waiting proposals at which abandoned ones are removed.
    sweep_at: usize,
}

/// Fewest waiting proposals that are searched for abandoned ones.
const SWEEP_MIN: usize = 64;

impl<T> Proposals<T> {
    /// No proposals yet.
    pub fn new() -> Proposals<T> {
        let random = || RandomState::new().build_hasher().finish().to_le_bytes();
        let mut instance = [0; 16];
        instance[..8].copy_from_slice(&random());
        instance[8..].copy_from_slice(&random());
        let state = State { last: 0, waiting: HashMap::new(), sweep_at: SWEEP_MIN };
        Proposals(Arc::new(Shared { instance, state: Mutex::new(state) }))
    }

    /// Proposes `data` on the thread of `node`. The answer comes once the entry is applied on this node.
    ///
    /// The request fails with the error of [`Pump::propose`](crate::adapters::raft_rs::Pump::propose), which means that
    /// nothing was proposed, or with [`Error::NoAnswer`], which means that the proposal may still be committed. A
    /// proposal that is repeated after that may be applied twice, unless the state machine prevents it.
    pub fn propose<H: Host>(&self, node: &NodeHandle<H>, data: Vec<u8>) -> Pending<T>
    where
        T: Send + 'static,
    {
        let (answer, pending) = pending();
        let this = self.clone();
        node.send(Box::new(move |pump| {
            let (number, context) = this.add(answer);
            if let Err(error) = pump.propose(context, data)
                && let Some(answer) = this.0.state.lock().waiting.remove(&number)
            {
                answer.give(Err(error));
            }
        }));
        pending
    }

    /// Answers the proposal of `entry`, if this node proposed it and somebody waits for it. Call it for every entry, in
    /// [`Host::apply`].
    pub fn answer(&self, entry: &Entry, answer: T) {
        let number =
            entry.context.strip_prefix(&self.0.instance[..]).and_then(|number| number.try_into().ok());
        let Some(number) = number.map(u64::from_le_bytes) else { return };
        if let Some(waiting) = self.0.state.lock().waiting.remove(&number) {
            waiting.give(Ok(answer));
        }
    }

    /// Answers all waiting proposals with [`Error::NoAnswer`]. Call it in [`Host::role_changed`] when this node no longer
    /// leads, and in [`Host::restore`]: an entry that a snapshot replaces is not applied one by one.
    pub fn give_up(&self) {
        let waiting = std::mem::take(&mut self.0.state.lock().waiting);
        waiting.into_values().for_each(|answer| answer.give(Err(Error::NoAnswer)));
    }

    fn add(&self, answer: Answer<T>) -> (u64, Vec<u8>) {
        let mut state = self.0.state.lock();
        state.last += 1;
        let number = state.last;
        if state.waiting.len() >= state.sweep_at {
            state.waiting.retain(|_, answer| !answer.is_abandoned());
            state.sweep_at = SWEEP_MIN.max(2 * state.waiting.len());
        }
        state.waiting.insert(number, answer);
        (number, [&self.0.instance[..], &number.to_le_bytes()].concat())
    }
}

impl<T> Default for Proposals<T> {
    fn default() -> Proposals<T> {
        Proposals::new()
    }
}

impl<T> Clone for Proposals<T> {
    fn clone(&self) -> Proposals<T> {
        Proposals(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Proposals<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposals")
            .field("waiting", &self.0.state.lock().waiting.len())
            .finish_non_exhaustive()
    }
}
