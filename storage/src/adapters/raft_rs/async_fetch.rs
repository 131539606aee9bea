//! Entries for peers that are behind, read by another thread than the one that drives the core.
//! Place on the data's way: between the core's question and the log. Invariants: what memory has is answered at once, so
//! nothing waits for a disk here; at most one read is under way for each peer that the core asks for; what the core is
//! given is in the log when it is given. Fails: with what a read failed with, if the core still asks for it.
//!
//! A read lives from the core's question to the end of its delivery, when the core asks again and finds the entries here.
//! Those that were overwritten meanwhile are left out, those that were compacted are refused, and if the node no longer
//! leads the core does not ask.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use raft::GetEntriesContext;
use raft::eraftpb::Entry;

use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::pump::completions::Completions;
use crate::adapters::raft_rs::read;
use crate::engine::{Engine, Group};
use crate::error::Error as EngineError;

/// Protobuf bytes that a read takes at least, if there are so many: a disk gives them in the time of one entry, and the
/// core may send several messages at once.
const READ_BYTES_MIN: u64 = 256 << 10;

/// And at most, whatever a message may have: a peer's entries lie in memory until they are sent.
const READ_BYTES_MAX: u64 = 8 << 20;

/// Reads under way. The core asks for one at a time for each peer; without room it asks again with the next heartbeat.
const READS_MAX: usize = 64;

/// The reads of one pump.
pub(super) struct AsyncFetches {
    signal: Arc<Completions>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Each begins at another index.
    reads: Vec<Read>,
    /// What the core is being told of: the index asked for, and what was read from there on.
    delivered: Vec<(u64, Result<Vec<Entry>>)>,
}

struct Read {
    low: u64,
    waiting: Vec<Waiting>,
    /// What was read; `None` while it is under way.
    found: Option<Result<Vec<Entry>>>,
}

/// A question of the core that waits.
struct Waiting {
    /// Whom the core asks for. A context does not give this, but its debug form tells one from another; if it did not,
    /// some would be asked for again by the core.
    peer: String,
    context: GetEntriesContext,
}

impl AsyncFetches {
    pub(super) fn new(signal: Arc<Completions>) -> AsyncFetches {
        AsyncFetches { signal, state: Mutex::default() }
    }

    /// The entries of `range` as far as `limit` protobuf bytes go, or fewer; or `None`: they are being read, and
    /// [`Fetches::deliver`] has `context` then.
    pub(super) fn entries(
        self: &Arc<Self>,
        engine: &Engine,
        group: &Group,
        range: Range<u64>,
        limit: Option<u64>,
        context: GetEntriesContext,
    ) -> Result<Option<Vec<Entry>>> {
        let Range { start: low, end: high } = range;
        // First, since the core asks with every proposal.
        if self.state.lock().serves(&context) {
            return Ok(None);
        }
        let bytes = limit.unwrap_or(u64::MAX).min(READ_BYTES_MAX);
        if let Some(entries) = read::in_memory(group, low, high, Some(bytes))? {
            return Ok(Some(entries));
        }
        let mut state = self.state.lock();
        if let Some(found) = state.delivered(group, low, high, bytes) {
            return found.map(Some);
        }
        let waiting = Waiting { peer: format!("{context:?}"), context };
        if let Some(read) = state.reads.iter_mut().find(|read| read.low == low) {
            read.waiting.push(waiting);
        } else if state.reads.len() < READS_MAX {
            state.reads.push(Read { low, waiting: vec![waiting], found: None });
            drop(state);
            let bytes = bytes.max(READ_BYTES_MIN);
            let (fetches, id) = (Arc::downgrade(self), group.id());
            engine.run_beside(move |engine| {
                // Nobody wants them any more if the pump is gone.
                let Some(fetches) = fetches.upgrade() else { return };
                fetches.end(low, read::entries(&engine.group(id), low, high, Some(bytes)));
            });
        }
        Ok(None)
    }

    fn end(&self, low: u64, found: Result<Vec<Entry>>) {
        let mut state = self.state.lock();
        if let Some(read) = state.reads.iter_mut().find(|read| read.low == low) {
            read.found = Some(found);
        }
        drop(state);
        self.signal.fetched();
    }

    /// Whether something is being read.
    pub(super) fn under_way(&self) -> bool {
        self.state.lock().reads.iter().any(|read| read.found.is_none())
    }

    /// Gives each question whose read has ended to `core`, which asks it again; says whether there was one.
    pub(super) fn deliver(&self, core: impl FnMut(GetEntriesContext)) -> bool {
        if !self.signal.take_fetched() {
            return false;
        }
        let mut state = self.state.lock();
        let mut contexts = Vec::new();
        for read in state.reads.extract_if(.., |read| read.found.is_some()).collect::<Vec<_>>() {
            contexts.extend(read.waiting.into_iter().map(|waiting| waiting.context));
            state.delivered.extend(read.found.map(|found| (read.low, found)));
        }
        drop(state);
        contexts.into_iter().for_each(core);
        self.state.lock().delivered.clear();
        true
    }
}

impl State {
    /// Whether a read is under way for the peer of `context`, or has ended and was not delivered.
    fn serves(&self, context: &GetEntriesContext) -> bool {
        if self.reads.is_empty() {
            return false;
        }
        let peer = format!("{context:?}");
        self.reads.iter().flat_map(|read| &read.waiting).any(|waiting| waiting.peer == peer)
    }

    /// What was read of a range, as far as it is in the log as it was; `None` if nothing of it is.
    fn delivered(&self, group: &Group, low: u64, high: u64, bytes: u64) -> Option<Result<Vec<Entry>>> {
        let still = |entry: &&Entry| {
            entry.index < high && group.term(entry.index).is_ok_and(|term| term == entry.term)
        };
        self.delivered.iter().find_map(|(from, found)| match found {
            Ok(entries) => {
                let skipped = usize::try_from(low.checked_sub(*from)?).ok()?;
                let rest = entries.get(skipped..)?.iter().take_while(still).cloned();
                let rest = read::limited(rest, Some(bytes));
                (!rest.is_empty()).then_some(Ok(rest))
            }
            // Compacted or cut off since they were asked for, so this is another question.
            Err(Error::Engine(EngineError::Compacted { .. } | EngineError::Unavailable { .. })) => None,
            Err(error) => (*from == low).then(|| Err(error.clone())),
        })
    }
}

impl fmt::Debug for AsyncFetches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let reads: Vec<u64> = state.reads.iter().map(|read| read.low).collect();
        f.debug_struct("Fetches").field("reads", &reads).finish_non_exhaustive()
    }
}
