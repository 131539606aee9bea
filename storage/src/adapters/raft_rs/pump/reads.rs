//! Linearizable reads: runs a closure on the host once its state is new enough.
//!
//! All reads that are waiting when the pump asks its core for a read index share that request. The core may drop a
//! request without an answer, as it does while there is no leader, so the pump repeats it at every heartbeat interval. A
//! read that gets no answer within a number of election timeouts fails.

use raft::ReadState;

use crate::adapters::raft_rs::error::{Error, Result};
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::pump::Pump;

/// Election timeouts after which a read without an answer fails.
const TIMEOUTS: usize = 3;

/// First bytes of the contexts of the pump's own requests.
const PREFIX: &[u8; 8] = b"seawall.";

/// A read that waits for its index.
pub(in crate::adapters::raft_rs) type Read<H> = Box<dyn FnOnce(Result<&H>) + Send>;

/// The reads of a pump.
pub(in crate::adapters::raft_rs) struct Reads<H> {
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
    pub(in crate::adapters::raft_rs) fn new() -> Reads<H> {
        use std::hash::{BuildHasher, Hasher, RandomState};
        Reads { new: Vec::new(), requests: Vec::new(), last: RandomState::new().build_hasher().finish() }
    }

    /// Whether reads wait for a request of theirs.
    fn has_new(&self) -> bool {
        !self.new.is_empty()
    }

    /// Makes a request of the new reads, and returns its context.
    fn request(&mut self) -> Vec<u8> {
        self.last = self.last.wrapping_add(1);
        let reads = std::mem::take(&mut self.new);
        self.requests.push(Request { number: self.last, reads, index: None, age: 0 });
        context(self.last)
    }

    /// Takes the answers to requests of this pump out of `states`.
    fn answered(&mut self, states: &mut Vec<ReadState>) {
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
    fn ready(&mut self, applied: u64) -> Vec<Read<H>> {
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
    fn tick(&mut self, most: usize) -> Vec<Read<H>> {
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
    fn repeated(&self, interval: usize) -> Vec<Vec<u8>> {
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

impl<H: Host> Pump<H> {
    /// Calls `read` with the host once its state includes every entry that was committed when this was called, on any
    /// node of the group (a linearizable read). Works on leaders, followers and learners. The call runs on the thread
    /// that calls the pump, from [`Pump::poll`] or [`Pump::tick`].
    ///
    /// While the disk is full, reads wait. Reads that are started together share one round of messages. If the group has no leader for three election
    /// timeouts, `read` gets [`Error::NoAnswer`]; if the pump stops first, the error that stopped it, or
    /// [`Error::Stopping`]. If the pump is dropped, `read` is dropped without a call.
    pub fn read(&mut self, read: impl FnOnce(Result<&H>) + Send + 'static) {
        match self.stopped() {
            Some(stopped) => read(Err(stopped.clone())),
            None => self.reads.new.push(Box::new(read)),
        }
    }

    /// Requests a read index for the new reads; returns whether there were any.
    pub(in crate::adapters::raft_rs) fn request_reads(&mut self) -> bool {
        let requested = self.reads.has_new();
        if requested {
            let context = self.reads.request();
            self.node.read_index(context);
        }
        requested
    }

    /// Takes the answers to this pump's own requests out of `states`.
    pub(in crate::adapters::raft_rs) fn take_answers(&mut self, states: &mut Vec<ReadState>) {
        self.reads.answered(states);
    }

    /// Makes the reads whose index is applied; returns whether there were any.
    pub(in crate::adapters::raft_rs) fn make_reads(&mut self) -> bool {
        let ready = self.reads.ready(self.applied);
        let made = !ready.is_empty();
        ready.into_iter().for_each(|read| read(Ok(&self.host)));
        made
    }

    /// Repeats requests without an answer, and fails those that are too old.
    pub(in crate::adapters::raft_rs) fn age_reads(&mut self) {
        let (elect, beat) = (self.node.raft.election_timeout(), self.node.raft.heartbeat_timeout());
        for read in self.reads.tick(TIMEOUTS * elect) {
            read(Err(Error::NoAnswer));
        }
        for context in self.reads.repeated(beat) {
            self.node.read_index(context);
        }
    }

    /// Fails all reads.
    pub(in crate::adapters::raft_rs) fn fail_reads(&mut self, why: &Error) {
        let waiting = self.reads.requests.drain(..).flat_map(|request| request.reads);
        for read in std::mem::take(&mut self.reads.new).into_iter().chain(waiting) {
            read(Err(why.clone()));
        }
    }
}
