//! The shelf where prepared segments wait, between the pipeline and the append path.
//!
//! The pipeline puts named, durable spares down; rotation takes them. Neither waits for the other while
//! holding the other's lock. State as inequalities: the numbers on the shelf are contiguous and above
//! the segment in use; `written_to <= file_bytes`.

use crate::error::Error;
use crate::listener::Listener;
use crate::segment::{OpenSegment, Segment};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex};
use crate::types::PriorContents;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Spares that records with payload leave behind: the successor that every segment needs, and one for
/// control records and for reopening on a full disk.
pub(crate) const KEPT_SPARES: usize = 2;

#[derive(Debug, Default)]
struct Inner {
    ready: VecDeque<OpenSegment>,
    in_use: Option<OpenSegment>,
    /// Segments that the log has left, until they are durable to their end.
    left: Vec<Arc<Segment>>,
    /// Segments below are durable to their end.
    seal_below: u32,
    release_below: u32,
    /// Segments that the readers' table let go of.
    retired: Vec<Arc<Segment>>,
    /// Released segments that readers have not let go of; their files keep their names.
    lingering: Vec<Arc<Segment>>,
    failure: Option<Error>,
    /// Why blocks of a segment cannot be written.
    unwritable: Option<Error>,
    stop: bool,
}

/// Where the pipeline and the append path meet.
#[derive(Debug, Default)]
pub(crate) struct SparePool {
    inner: Mutex<Inner>,
    /// Grows with every change, under the lock; readable without it.
    version: AtomicU64,
    /// The disk is full and fewer than [`KEPT_SPARES`] are ready; changes under the lock, readable without it.
    scarce: AtomicBool,
    writes: AtomicU64,
    /// Bytes that the pipeline wrote.
    prepared_bytes: AtomicU64,
    /// Times that the pipeline found no room.
    no_room: AtomicU64,
    /// Released files that were removed because they could not be zeroed.
    given_up: AtomicU64,
    listener: OnceLock<Arc<dyn Listener>>,
    /// Signalled on every change that somebody may wait for.
    changed: Condvar,
}

/// What the pipeline is to do next, as the shelf sees it.
#[derive(Debug)]
pub(crate) struct SpareRequest {
    /// Segments that need their blocks written, most urgent first.
    pub(crate) unwritten: Vec<OpenSegment>,
    /// Segments that are durable to their end since they were last asked for.
    pub(crate) sealed: Vec<Arc<Segment>>,
    /// Segments that the log has left and that are not durable to their end, as far as is known.
    pub(crate) left: usize,
    /// Readers hold segments that were released.
    pub(crate) lingering: bool,
    /// Number of spares ready.
    pub(crate) ready: usize,
    /// Files below this number may go.
    pub(crate) release_below: u32,
    /// The version that this describes.
    pub(crate) version: u64,
}

impl SparePool {
    /// Puts a spare down; numbers ascend.
    pub(crate) fn put(&self, segment: OpenSegment) {
        let mut inner = self.inner.lock();
        inner.ready.push_back(segment);
        inner.failure = None;
        self.note_scarce(&inner);
        self.bump(&mut inner);
    }

    /// Takes the next spare if `keep` more stay behind it, at least one: a segment is used only when its
    /// successor cannot be missing.
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

    /// Takes segments that no new reader can reach.
    pub(crate) fn put_released(&self, segments: Vec<Arc<Segment>>) {
        self.inner.lock().retired.extend(segments);
    }

    /// Lets go of segment `sequence`; says whether no reader holds it any more. [`Shelf::let_go`] has it when the last
    /// one does not.
    pub(crate) fn forget(&self, sequence: u32) -> bool {
        let mut inner = self.inner.lock();
        let Some(i) = inner.retired.iter().position(|s| s.sequence == sequence) else { return true };
        let segment = inner.retired.swap_remove(i);
        if Arc::strong_count(&segment) > 1 {
            inner.lingering.push(segment);
            return false;
        }
        drop(inner);
        // Closes its file, so not under the lock.
        drop(segment);
        true
    }

    /// A released segment that [`Shelf::forget`] found in use and that nobody reads any more.
    pub(crate) fn take_released(&self) -> Option<Arc<Segment>> {
        let mut inner = self.inner.lock();
        let i = inner.lingering.iter().position(|s| Arc::strong_count(s) == 1)?;
        Some(inner.lingering.swap_remove(i))
    }

    /// Takes all released segments that readers hold.
    pub(crate) fn unreleased(&self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut self.inner.lock().lingering)
    }

    /// Counts writes issued: the pipeline looks whether the log is idle.
    pub(crate) fn note_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes issued so far.
    pub(crate) fn activity(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Says which segment is being appended to.
    pub(crate) fn set_in_use(&self, segment: OpenSegment) {
        self.inner.lock().in_use = Some(segment);
    }

    /// Installs the listener; only the first one counts.
    pub(crate) fn set_listener(&self, listener: Arc<dyn Listener>) {
        let _ = self.listener.set(listener);
    }

    /// Calls `f` with the listener, if there is one; not while a lock is held.
    pub(crate) fn notify_listener(&self, f: impl FnOnce(&dyn Listener)) {
        if let Some(listener) = self.listener.get() {
            f(&**listener);
        }
    }

    /// Counts bytes that the pipeline wrote.
    pub(crate) fn note_prepared(&self, bytes: u64) {
        self.prepared_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts that the pipeline found no room.
    pub(crate) fn note_no_room(&self) {
        self.no_room.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a released file that could not be zeroed.
    pub(crate) fn note_given_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// Times that the pipeline found no room, and released files that it gave up.
    pub(crate) fn trouble(&self) -> (u64, u64) {
        (self.no_room.load(Ordering::Relaxed), self.given_up.load(Ordering::Relaxed))
    }

    /// Bytes that the pipeline wrote so far.
    pub(crate) fn prepared_bytes(&self) -> u64 {
        self.prepared_bytes.load(Ordering::Relaxed)
    }

    /// Spares ready: zeroed ones, and stale ones.
    pub(crate) fn ready_by_prior(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        let stale = inner.ready.iter().filter(|s| s.prior == PriorContents::Stale).count();
        (inner.ready.len() - stale, stale)
    }

    /// Spares ready.
    pub(crate) fn ready(&self) -> usize {
        self.inner.lock().ready.len()
    }

    /// Lets files below `sequence` go. Call only once a group that says so is durable.
    pub(crate) fn release_below(&self, sequence: u32) {
        let mut inner = self.inner.lock();
        if sequence > inner.release_below {
            inner.release_below = sequence;
            self.bump(&mut inner);
        }
    }

    /// Segments below `sequence` are durable to their end, so their files may be closed.
    pub(crate) fn seal_below(&self, sequence: u32) {
        let mut inner = self.inner.lock();
        inner.seal_below = inner.seal_below.max(sequence);
        self.bump(&mut inner);
    }

    /// Blocks of `segment` below `offset` are written now.
    pub(crate) fn written(&self, segment: &Segment, offset: u32) {
        segment.written_to.store(offset, Ordering::Release);
        let mut inner = self.inner.lock();
        inner.unwritable = None;
        self.bump(&mut inner);
    }

    /// No further segment can be made; appends that need one get `error`, until there is one.
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

    /// Whether the disk is full and fewer than [`KEPT_SPARES`] are ready.
    pub(crate) fn is_scarce(&self) -> bool {
        self.scarce.load(Ordering::Acquire)
    }

    /// Why there is no further segment.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.inner.lock().failure.clone()
    }

    /// Zeros could not be written; appends that need the blocks get `error`, until some were.
    pub(crate) fn set_unwritable(&self, error: Error) {
        let mut inner = self.inner.lock();
        inner.unwritable = Some(error);
        self.bump(&mut inner);
    }

    /// Why blocks cannot be written.
    pub(crate) fn unwritable(&self) -> Option<Error> {
        self.inner.lock().unwritable.clone()
    }

    /// A count that grows with every change; read it before looking, so that no change is slept through.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What there is to do.
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

    /// Sleeps until something has changed since version `seen`, at most `timeout`; `false` when the log
    /// stops.
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

    /// Says that something changed; the caller holds the lock, so that no sleeper misses it.
    fn bump(&self, _inner: &mut Inner) {
        self.version.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
    }

    /// Whether [`Shelf::stop`] was called.
    pub(crate) fn stopped(&self) -> bool {
        self.inner.lock().stop
    }

    /// Ends the pipeline and whoever waits for it.
    pub(crate) fn stop(&self) {
        self.inner.lock().stop = true;
        self.changed.notify_all();
    }
}
