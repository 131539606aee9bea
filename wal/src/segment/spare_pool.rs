//! The pool of prepared segments, between the preallocator and the commit path.
//!
//! The preallocator adds spares whose names are durable; rotation takes them. Neither waits for the other while it
//! holds the other's lock. The numbers of the spares are contiguous and above the segment in use.

use crate::error::Error;
use crate::listener::Listener;
use crate::segment::open_segment::{OpenSegment, Segment};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Condvar, Mutex};
use crate::types::PriorContents;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Number of spares that records with payload leave in the pool: the successor that every segment needs, and one for
/// control records and for reopening on a full disk.
pub(crate) const KEPT_SPARES: usize = 2;

/// Bytes of zeros written in one operation: while the log is idle, and while records are written.
pub(crate) const ZERO_BYTES: u32 = 1 << 20;
const ZERO_BYTES_BUSY: u32 = 128 << 10;

/// While records are written, zeros stay this far ahead of them, in bytes.
const AHEAD_BYTES: u64 = 4 << 20;

/// How often in a row the zeros are found to be ahead, without a write in between, until the log counts as idle.
const IDLE_LOOKS: u32 = 20;

#[derive(Debug, Default)]
struct Inner {
    ready: VecDeque<OpenSegment>,
    in_use: Option<OpenSegment>,
    /// Full segments that are not yet known to be durable to their end.
    left: Vec<Arc<Segment>>,
    /// All segments below this number are durable to their end.
    seal_below: u32,
    release_below: u32,
    /// Released segments that new readers cannot reach and that are not yet recycled or removed.
    released: Vec<Arc<Segment>>,
    /// Released segments that still have readers; their files keep their names.
    lingering: Vec<Arc<Segment>>,
    failure: Option<Error>,
    /// Why the blocks of a segment cannot be written.
    unwritable: Option<Error>,
    stop: bool,
}

/// The prepared segments of one log, and everything that the commit path and the preallocator tell each other.
#[derive(Debug, Default)]
pub(crate) struct SparePool {
    inner: Mutex<Inner>,
    /// Grows with every change, under the lock; readable without it.
    version: AtomicU64,
    /// Whether the last attempt to make a spare failed and fewer than [`KEPT_SPARES`] are ready. Changes under the
    /// lock; readable without it.
    scarce: AtomicBool,
    writes: AtomicU64,
    /// Whether an append waits for blocks to be written, or for a spare.
    waited_for: AtomicBool,
    /// Offset up to which the segment in use is taken.
    position: AtomicU32,
    /// Bytes that the preallocator wrote.
    prepared_bytes: AtomicU64,
    /// How often the preallocator found no space.
    no_room: AtomicU64,
    /// Released files that were removed because they could not be zeroed.
    given_up: AtomicU64,
    listener: OnceLock<Arc<dyn Listener>>,
    /// Signalled on every change.
    changed: Condvar,
}

/// The preallocator's next task.
#[derive(Debug)]
pub(crate) struct SpareRequest {
    /// Segments whose blocks must be written, most urgent first.
    pub(crate) unwritten: Vec<OpenSegment>,
    /// Segments that became durable to their end since the last request.
    pub(crate) sealed: Vec<Arc<Segment>>,
    /// Number of full segments that are not yet known to be durable to their end.
    pub(crate) left: usize,
    /// Whether released segments still have readers.
    pub(crate) lingering: bool,
    /// Number of spares ready.
    pub(crate) ready: usize,
    /// Files of segments below this number are released.
    pub(crate) release_below: u32,
    /// The version of the pool that this describes.
    pub(crate) version: u64,
}

impl SparePool {
    /// Adds a spare. Numbers must ascend.
    pub(crate) fn put(&self, segment: OpenSegment) {
        let mut inner = self.inner.lock();
        inner.ready.push_back(segment);
        inner.failure = None;
        self.note_scarce(&inner);
        self.bump(&mut inner);
    }

    /// Takes the next spare if at least `keep` more, and at least one, stay in the pool: a segment is used only when
    /// its successor exists.
    pub(crate) fn take(&self, keep: usize) -> Option<OpenSegment> {
        let mut inner = self.inner.lock();
        if inner.ready.len() <= keep.max(1) {
            return None;
        }
        let segment = inner.ready.pop_front();
        let left = std::mem::replace(&mut inner.in_use, segment.clone());
        inner.left.extend(left.map(|left| left.segment));
        self.note_scarce(&inner);
        self.bump(&mut inner);
        segment
    }

    /// Adds released segments that new readers cannot reach.
    pub(crate) fn put_released(&self, segments: Vec<Arc<Segment>>) {
        self.inner.lock().released.extend(segments);
    }

    /// Forgets the released segment `sequence`; returns whether it has no readers. If it has,
    /// [`SparePool::take_released`] returns it when its last reader has ended.
    pub(crate) fn forget(&self, sequence: u32) -> bool {
        let mut inner = self.inner.lock();
        let Some(i) = inner.released.iter().position(|s| s.sequence == sequence) else { return true };
        let segment = inner.released.swap_remove(i);
        if Arc::strong_count(&segment) > 1 {
            inner.lingering.push(segment);
            return false;
        }
        drop(inner);
        // Dropping it closes its file, so not under the lock.
        drop(segment);
        true
    }

    /// Takes a released segment for which [`SparePool::forget`] returned `false` and whose last reader has ended.
    pub(crate) fn take_released(&self) -> Option<Arc<Segment>> {
        let mut inner = self.inner.lock();
        let i = inner.lingering.iter().position(|s| Arc::strong_count(s) == 1)?;
        Some(inner.lingering.swap_remove(i))
    }

    /// Takes all released segments that had readers.
    pub(crate) fn unreleased(&self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut self.inner.lock().lingering)
    }

    /// Counts a write that was issued. The preallocator uses the count to detect that the log is idle.
    pub(crate) fn note_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the offset up to which the segment in use is taken.
    pub(crate) fn set_position(&self, offset: u32) {
        self.position.store(offset, Ordering::Relaxed);
    }

    /// Bytes that are written and not taken, in the segment in use and in the spares.
    pub(crate) fn ahead_bytes(&self) -> u64 {
        let inner = self.inner.lock();
        let written = |s: &OpenSegment| u64::from(s.written_to.load(Ordering::Acquire));
        let all: u64 = inner.in_use.iter().chain(inner.ready.iter()).map(written).sum();
        all.saturating_sub(u64::from(self.position.load(Ordering::Relaxed)))
    }

    /// Notes that an append waits for blocks to be written, so that the preallocator does not let them wait.
    pub(crate) fn note_waited_for(&self) {
        self.waited_for.store(true, Ordering::Relaxed);
    }

    /// Whether an append has waited for blocks since the last call.
    pub(crate) fn take_waited_for(&self) -> bool {
        self.waited_for.swap(false, Ordering::Relaxed)
    }

    /// Number of writes issued so far.
    pub(crate) fn activity(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Sets the segment that is appended to.
    pub(crate) fn set_in_use(&self, segment: OpenSegment) {
        self.inner.lock().in_use = Some(segment);
    }

    /// Installs the listener; only the first one counts.
    pub(crate) fn set_listener(&self, listener: Arc<dyn Listener>) {
        let _ = self.listener.set(listener);
    }

    /// Calls `f` with the listener, if there is one. Takes no lock.
    pub(crate) fn notify_listener(&self, f: impl FnOnce(&dyn Listener)) {
        if let Some(listener) = self.listener.get() {
            f(&**listener);
        }
    }

    /// Counts bytes that the preallocator wrote.
    pub(crate) fn note_prepared(&self, bytes: u64) {
        self.prepared_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts that the preallocator found no space.
    pub(crate) fn note_no_room(&self) {
        self.no_room.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a released file that could not be zeroed.
    pub(crate) fn note_given_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the preallocator found no space, and how many released files could not be zeroed.
    pub(crate) fn trouble(&self) -> (u64, u64) {
        (self.no_room.load(Ordering::Relaxed), self.given_up.load(Ordering::Relaxed))
    }

    /// Bytes that the preallocator wrote so far.
    pub(crate) fn prepared_bytes(&self) -> u64 {
        self.prepared_bytes.load(Ordering::Relaxed)
    }

    /// Numbers of ready spares: those that are all zeros, and those that hold stale blocks.
    pub(crate) fn ready_by_prior(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        let stale = inner.ready.iter().filter(|s| s.prior == PriorContents::Stale).count();
        (inner.ready.len() - stale, stale)
    }

    /// Number of ready spares.
    pub(crate) fn ready(&self) -> usize {
        self.inner.lock().ready.len()
    }

    /// Releases the files of segments below `sequence`. Call it only after a group that records the release is durable.
    pub(crate) fn release_below(&self, sequence: u32) {
        let mut inner = self.inner.lock();
        if sequence > inner.release_below {
            inner.release_below = sequence;
            self.bump(&mut inner);
        }
    }

    /// Records that segments below `sequence` are durable to their end, so their files may be closed.
    pub(crate) fn seal_below(&self, sequence: u32) {
        let mut inner = self.inner.lock();
        inner.seal_below = inner.seal_below.max(sequence);
        self.bump(&mut inner);
    }

    /// Records that the blocks of `segment` below `offset` have been written.
    pub(crate) fn written(&self, segment: &Segment, offset: u32) {
        segment.written_to.store(offset, Ordering::Release);
        let mut inner = self.inner.lock();
        inner.unwritable = None;
        self.bump(&mut inner);
    }

    /// Records that no further segment can be made. Appends that need one fail with `error` until a spare is added.
    pub(crate) fn set_failure(&self, error: Error) {
        let mut inner = self.inner.lock();
        inner.failure = Some(error);
        self.note_scarce(&inner);
        self.bump(&mut inner);
    }

    fn note_scarce(&self, inner: &Inner) {
        let scarce = inner.failure.is_some() && inner.ready.len() < KEPT_SPARES;
        self.scarce.store(scarce, Ordering::Release);
    }

    /// Whether the last attempt to make a spare failed and fewer than [`KEPT_SPARES`] are ready.
    pub(crate) fn is_scarce(&self) -> bool {
        self.scarce.load(Ordering::Acquire)
    }

    /// Why no further segment can be made.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.inner.lock().failure.clone()
    }

    /// Records that zeros could not be written. Appends that need the blocks fail with `error` until some have been
    /// written.
    pub(crate) fn set_unwritable(&self, error: Error) {
        let mut inner = self.inner.lock();
        inner.unwritable = Some(error);
        self.bump(&mut inner);
    }

    /// Why blocks cannot be written.
    pub(crate) fn unwritable(&self) -> Option<Error> {
        self.inner.lock().unwritable.clone()
    }

    /// A count that grows with every change. Read it before checking for work, and pass it to [`SparePool::sleep`], so
    /// that no change is missed.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Returns the work for the preallocator.
    pub(crate) fn wanted(&self) -> SpareRequest {
        let mut inner = self.inner.lock();
        let below = inner.seal_below;
        let sealed = inner.left.extract_if(.., |segment| segment.sequence < below).collect();
        let inner = inner;
        let unwritten = inner
            .in_use
            .iter()
            .chain(inner.ready.iter())
            .filter(|s| s.written_to.load(Ordering::Acquire) < s.file_bytes)
            .cloned()
            .collect();
        SpareRequest {
            unwritten,
            sealed,
            left: inner.left.len(),
            lingering: !inner.lingering.is_empty(),
            ready: inner.ready.len(),
            release_below: inner.release_below,
            version: self.version(),
        }
    }

    /// Sleeps until the pool has changed since version `seen`, at most `timeout`. Returns `false` when the log stops.
    pub(crate) fn sleep(&self, seen: u64, timeout: Option<Duration>) -> bool {
        let mut inner = self.inner.lock();
        while self.version() == seen && !inner.stop {
            match timeout {
                Some(timeout) => {
                    if self.changed.wait_for(&mut inner, timeout).timed_out() {
                        break;
                    }
                }
                None => self.changed.wait(&mut inner),
            }
        }
        !inner.stop
    }

    /// Records a change and wakes sleepers. The caller holds the lock, so no sleeper misses it.
    fn bump(&self, _inner: &mut Inner) {
        self.version.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
    }

    /// Whether [`SparePool::stop`] was called.
    pub(crate) fn stopped(&self) -> bool {
        self.inner.lock().stop
    }

    /// Stops the preallocator, and wakes everything that waits for it.
    pub(crate) fn stop(&self) {
        self.inner.lock().stop = true;
        self.changed.notify_all();
    }
}

/// How fast the preallocator writes zeros. While records are written, zeros stay a fixed distance ahead of them and are
/// written in small pieces, since an append that meets a piece waits for it. On an idle log, or if an append waits for
/// blocks, they are written as fast as the device allows.
#[derive(Debug)]
pub(crate) struct ZeroPace {
    /// Whether there is a pace at all: a log without threads writes zeros as soon as it is told to.
    enabled: bool,
    /// The count of the log's writes at the last look.
    writes: u64,
    /// How often the zeros were found to be ahead since the log wrote last.
    looks: u32,
}

impl ZeroPace {
    /// No pace, until [`ZeroPace::enable`].
    pub(crate) fn new() -> ZeroPace {
        ZeroPace { enabled: false, writes: 0, looks: IDLE_LOOKS }
    }

    /// Zeros are written no faster than needed from now on.
    pub(crate) fn enable(&mut self) {
        self.enabled = true;
    }

    /// How many bytes of zeros to write next; `None` if they are far enough ahead of the records.
    pub(crate) fn next_bytes(&mut self, spare_pool: &SparePool) -> Option<u32> {
        let before = std::mem::replace(&mut self.writes, spare_pool.activity());
        if before != self.writes {
            self.looks = 0;
        }
        if !self.enabled || self.looks >= IDLE_LOOKS || spare_pool.take_waited_for() {
            return Some(ZERO_BYTES);
        }
        if spare_pool.ahead_bytes() < AHEAD_BYTES {
            return Some(ZERO_BYTES_BUSY);
        }
        self.looks += 1;
        None
    }
}
