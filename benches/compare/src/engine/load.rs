//! Runs threads that append to their shares of the groups, while another thread calls `Store::tidy`.

use crate::store::Store;
use anyhow::{Result, anyhow};
use bytes::Bytes;
use hdrhistogram::Histogram;
use seawall_harness::load::Target;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two calls of `Store::tidy`.
const PAUSE: Duration = Duration::from_millis(200);
/// Slow groups are appended to this many times less often than the others.
const SLOWER: u64 = 100;

/// Threads that append to their shares of the groups `1..=groups`; one batch has an entry each of `per_batch`.
pub(crate) struct Appending<'a, S> {
    pub(crate) store: &'a S,
    pub(crate) groups: u64,
    pub(crate) threads: u64,
    pub(crate) per_batch: u64,
    /// Groups up to this number are appended to in only one of [`SLOWER`] turns.
    pub(crate) slow: u64,
    /// A group with half as many entries again is compacted to this many.
    pub(crate) keep: u64,
    pub(crate) data: Bytes,
}

/// One thread's groups in a random order, each with the index of its first entry and of its next one.
pub(crate) struct Share<W> {
    writer: W,
    groups: Vec<(u64, u64, u64)>,
    at: usize,
    /// Number of passes over all groups.
    turns: u64,
    /// Entries appended, and entries removed by compaction.
    pub(crate) appended: u64,
    pub(crate) dropped: u64,
}

impl<S: Store> Target for Appending<'_, S> {
    type Producer = Share<S::Writer>;
    type Ticket = S::Ticket;

    fn producer(&self, key: u64) -> Self::Producer {
        let store = self.store;
        let own = (1..=self.groups).filter(|group| group % self.threads == key);
        let entries = |group| {
            let next = store.last_index(group) + 1;
            let first = store.first_index(group);
            (group, if next > 1 { first } else { 1 }, next)
        };
        let mut groups: Vec<_> = own.map(entries).collect();
        // A fixed pseudo-random order: the numbers are multiplied by a constant.
        groups.sort_by_key(|(group, ..)| group.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Share { writer: store.writer(), groups, at: 0, turns: 0, appended: 0, dropped: 0 }
    }

    fn append(&self, share: &mut Self::Producer, _payload: &[u8]) -> Result<S::Ticket> {
        let Share { writer, groups, at, turns, appended, dropped } = share;
        let before = *appended;
        while *appended < before + self.per_batch {
            *at = (*at + 1) % groups.len();
            *turns += u64::from(*at == 0);
            let (group, first, next) = &mut groups[*at];
            if *group <= self.slow && !turns.is_multiple_of(SLOWER) {
                continue;
            }
            S::append(writer, *group, *next, 1, &self.data)?;
            *next += 1;
            *appended += 1;
            if *next - *first >= self.keep.saturating_add(self.keep / 2) {
                *dropped += *next - self.keep - *first;
                *first = *next - self.keep;
                S::compact(writer, *group, *first - 1);
            }
        }
        self.store.submit(writer)
    }

    fn wait(&self, ticket: S::Ticket) -> Result<()> {
        self.store.wait(ticket)
    }
}

/// Creates a histogram of latencies in nanoseconds, up to one minute.
pub(crate) fn latencies() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(|e| anyhow!("a histogram: {e}"))
}

/// Records the time since `begin`.
pub(crate) fn count(latencies: &mut Histogram<u64>, begin: Instant) {
    latencies.saturating_record(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
}

/// Runs `work` while another thread calls `Store::tidy` at intervals.
pub(crate) fn tidied<S: Store, T>(store: &S, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let (done, ended) = channel::<()>();
    thread::scope(|scope| {
        let tidier = scope.spawn(move || {
            loop {
                store.tidy()?;
                if ended.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                    return anyhow::Ok(());
                }
            }
        });
        let outcome = work();
        drop(done);
        tidier.join().map_err(|_| anyhow!("the tidying thread panicked"))??;
        outcome
    })
}
