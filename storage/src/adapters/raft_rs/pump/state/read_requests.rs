//! The linearizable reads of a pump, and the requests for read indexes that cover them.

use raft::ReadState;

use crate::adapters::raft_rs::error::Result;

/// First bytes of the contexts of the pump's own requests.
const PREFIX: &[u8; 8] = b"seawall.";

/// A read that waits for its index.
pub(in crate::adapters::raft_rs::pump) type Read<H> = Box<dyn FnOnce(Result<&H>) + Send>;

/// The reads of a pump.
pub(in crate::adapters::raft_rs::pump) struct Reads<H> {
    /// Reads that no request covers yet.
    new: Vec<Read<H>>,
    /// The requests without an answer, and those whose index is not applied yet; the oldest first.
    requests: Vec<Request<H>>,
    /// Number of the last request. Starts at a random number, so that no request of an earlier life of this node has the
    /// same context.
    last: u64,
}

struct Request<H> {
    number: u64,
    reads: Vec<Read<H>>,
    /// The read index, once the core has answered.
    index: Option<u64>,
    /// Ticks since the request.
    age: usize,
}

impl<H> Reads<H> {
    pub(in crate::adapters::raft_rs::pump) fn new() -> Reads<H> {
        use std::hash::{BuildHasher, Hasher, RandomState};
        Reads { new: Vec::new(), requests: Vec::new(), last: RandomState::new().build_hasher().finish() }
    }

    /// Adds a read, which the next request covers.
    pub(in crate::adapters::raft_rs::pump) fn add(&mut self, read: Read<H>) {
        self.new.push(read);
    }

    /// Takes all reads.
    pub(in crate::adapters::raft_rs::pump) fn take(&mut self) -> Vec<Read<H>> {
        let mut all = std::mem::take(&mut self.new);
        all.extend(self.requests.drain(..).flat_map(|request| request.reads));
        all
    }

    /// Whether reads wait for a request of theirs.
    pub(in crate::adapters::raft_rs::pump) fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Makes a request of the new reads, and returns its context.
    pub(in crate::adapters::raft_rs::pump) fn request(&mut self) -> Vec<u8> {
        self.last = self.last.wrapping_add(1);
        let reads = std::mem::take(&mut self.new);
        self.requests.push(Request { number: self.last, reads, index: None, age: 0 });
        context(self.last)
    }

    /// Takes the answers to requests of this pump out of `states`.
    pub(in crate::adapters::raft_rs::pump) fn answered(&mut self, states: &mut Vec<ReadState>) {
        states.retain(|state| {
            let Some(number) = number(&state.request_ctx) else { return true };
            if let Some(request) = self.requests.iter_mut().find(|request| request.number == number) {
                // A repeated request may be answered twice. Both indexes are right; the first is the lower one.
                request.index.get_or_insert(state.index);
            }
            false
        });
    }

    /// Takes the reads whose index is at most `applied`.
    pub(in crate::adapters::raft_rs::pump) fn ready(&mut self, applied: u64) -> Vec<Read<H>> {
        let mut ready = Vec::new();
        self.requests.retain_mut(|request| {
            let now = request.index.is_some_and(|index| index <= applied);
            if now {
                ready.append(&mut request.reads);
            }
            !now
        });
        ready
    }

    /// Counts a tick. Takes the reads that got no answer within `most` ticks.
    pub(in crate::adapters::raft_rs::pump) fn tick(&mut self, most: usize) -> Vec<Read<H>> {
        let mut late = Vec::new();
        self.requests.retain_mut(|request| {
            request.age += 1;
            let dropped = request.index.is_none() && request.age > most;
            if dropped {
                late.append(&mut request.reads);
            }
            !dropped
        });
        late
    }

    /// The contexts of the requests to be repeated in this tick, if one is repeated every `interval` ticks.
    pub(in crate::adapters::raft_rs::pump) fn repeated(&self, interval: usize) -> Vec<Vec<u8>> {
        let due =
            |request: &&Request<H>| request.index.is_none() && request.age.is_multiple_of(interval.max(1));
        self.requests.iter().filter(due).map(|request| context(request.number)).collect()
    }
}

fn context(number: u64) -> Vec<u8> {
    [&PREFIX[..], &number.to_le_bytes()].concat()
}

/// The number of the request with this context; `None` if a user made it.
fn number(context: &[u8]) -> Option<u64> {
    let number = context.strip_prefix(PREFIX)?;
    Some(u64::from_le_bytes(number.try_into().ok()?))
}
