//! Reads entries for slow peers on another thread than the one that drives the core.
//!
//! The core asks for entries. If memory holds them, it gets them at once, so this module never blocks on the
//! disk. Otherwise a read starts, and the core asks again once the read has ended; each peer has at most one
//! read in progress. Entries that were overwritten in the meantime are left out, and compacted entries are
//! refused, so the core gets only entries that are in the log at that moment. If the node no longer leads, the
//! core does not ask again.
//!
//! A failed read returns its error only if the core still asks for the same entries.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use raft::GetEntriesContext;
use raft::eraftpb::Entry;

use crate::adapters::raft_rs::completions::Completions;
use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::storage::read;
use crate::engine::{Engine, Group};
use crate::error::Error as EngineError;

/// Minimum size of a read, in protobuf bytes, if that many entries exist. A disk returns this much in about the
/// time of one entry, and the core may send several messages at once.
const READ_BYTES_MIN: u64 = 256 << 10;

/// Maximum size of a read, in protobuf bytes, even if a message may be larger: the entries of a peer stay in
/// memory until they are sent.
const READ_BYTES_MAX: u64 = 8 << 20;

/// Maximum number of reads in progress. The core requests one at a time for each peer; if this limit is
/// reached, it asks again with the next heartbeat.
const READS_MAX: usize = 64;

/// The reads of one pump.
pub(in crate::adapters::raft_rs) struct AsyncFetches {
    signal: Arc<Completions>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// No two reads start at the same index.
    reads: Vec<Read>,
    /// Results that are being delivered to the core: the index that was asked for, and the entries read from
    /// there on.
    delivered: Vec<(u64, Result<Vec<Entry>>)>,
}

struct Read {
    low: u64,
    waiting: Vec<Waiting>,
    /// The result; `None` while the read is in progress.
    found: Option<Result<Vec<Entry>>>,
}

/// A request of the core that waits for a read.
struct Waiting {
    /// The peer that the core needs the entries for. The context does not expose it, but its debug form differs
    /// between peers. If it did not, the core would have to repeat some requests.
    peer: String,
    context: GetEntriesContext,
}

impl AsyncFetches {
    pub(in crate::adapters::raft_rs) fn new(signal: Arc<Completions>) -> AsyncFetches {
        AsyncFetches { signal, state: Mutex::default() }
    }

    /// Returns the entries of `range` up to `limit` protobuf bytes, or fewer. Returns `None` if they have to be
    /// read first; [`AsyncFetches::deliver`] then passes `context` to the core.
    pub(super) fn entries(
        self: &Arc<Self>,
        engine: &Engine,
        group: &Group,
        range: Range<u64>,
        limit: Option<u64>,
        context: GetEntriesContext,
    ) -> Result<Option<Vec<Entry>>> {
        let Range { start: low, end: high } = range;
        // This check comes first because the core asks with every proposal.
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
                // If the pump is gone, nothing needs the entries.
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

    /// Whether a read is in progress.
    pub(in crate::adapters::raft_rs) fn under_way(&self) -> bool {
        self.state.lock().reads.iter().any(|read| read.found.is_none())
    }

    /// Passes the context of each request whose read has ended to `core`, which then asks again. Returns
    /// whether a read has ended.
    pub(in crate::adapters::raft_rs) fn deliver(&self, core: impl FnMut(GetEntriesContext)) -> bool {
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
    /// Whether a read for the peer of `context` is in progress, or has ended and is not delivered yet.
    fn serves(&self, context: &GetEntriesContext) -> bool {
        if self.reads.is_empty() {
            return false;
        }
        let peer = format!("{context:?}");
        self.reads.iter().flat_map(|read| &read.waiting).any(|waiting| waiting.peer == peer)
    }

    /// Returns the entries of a range that were read and are still in the log unchanged; `None` if there are
    /// none.
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
            // Compacted or truncated since the read started, so the result does not apply to this request.
            Err(Error::Engine(EngineError::Compacted { .. } | EngineError::Unavailable { .. })) => None,
            Err(error) => (*from == low).then(|| Err(error.clone())),
        })
    }
}

impl fmt::Debug for AsyncFetches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let reads: Vec<u64> = state.reads.iter().map(|read| read.low).collect();
        f.debug_struct("AsyncFetches").field("reads", &reads).finish_non_exhaustive()
    }
}
