//! The state machine with its lock. Releasing the lock tells other threads what the change left them to do.

use crate::commit::state::CommitState;
use crate::commit::waiters::wait_slot::WaitSlot;
use crate::sync::{AtomicBool, Mutex, MutexGuard};
use seawall_disk::ring::RingWaker;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// The state machine, its lock, and what threads look at without the lock.
#[derive(Debug)]
pub(crate) struct SharedState {
    state: Mutex<CommitState>,
    /// Whether an operation could be issued when the lock was last released. A waiter that finds `false` has nothing to
    /// write and does not take the lock.
    work_available: AtomicBool,
    pub(super) flusher: FlusherSlot,
    /// Whether the next group is held back, as of the last release of the lock. Kept only while a thread waits for that.
    gathering: AtomicBool,
    /// Where the thread sleeps that waits until the next group is no longer held back.
    pub(super) gatherer_slot: WaitSlot,
}

impl SharedState {
    pub(super) fn new(state: CommitState) -> SharedState {
        let (work_available, flusher) = (AtomicBool::new(false), FlusherSlot::default());
        SharedState {
            state: Mutex::new(state),
            work_available,
            flusher,
            gathering: AtomicBool::new(false),
            gatherer_slot: WaitSlot::default(),
        }
    }

    /// Locks the state machine. Hold the lock for a short time and never during I/O.
    pub(super) fn lock(&self) -> StateGuard<'_> {
        let wakes = WakeOnDrop { shared: self, flusher: false, gatherer: false };
        StateGuard { shared: self, state: self.state.lock(), wakes }
    }

    /// Whether the next group is still held back, as far as the thread that waits for it can see. Takes no lock.
    pub(super) fn gathering(&self) -> bool {
        self.gathering.load(Ordering::SeqCst)
    }

    /// Whether a waiting thread may find an operation to issue. Takes no lock.
    pub(super) fn work_available(&self) -> bool {
        self.work_available.load(Ordering::SeqCst)
    }
}

/// The locked state machine.
///
/// Dropping it publishes whether an operation can be issued, releases the lock, and then wakes the flusher if one of
/// the methods here found that the change is its to continue, and the gatherer if the next group is no longer held
/// back. So a change needs no further call, whatever it was.
pub(crate) struct StateGuard<'a> {
    shared: &'a SharedState,
    state: MutexGuard<'a, CommitState>,
    /// Declared after `state`, so threads are woken when the lock is free.
    wakes: WakeOnDrop<'a>,
}

impl StateGuard<'_> {
    /// After an append: wakes the flusher if it issues the next operation, or if it sleeps.
    pub(super) fn continue_append(&mut self) {
        self.wakes.flusher |= self.state.claim_driver(false) | self.state.claim_flusher_wake();
    }

    /// After a thread asked for a group to be written, and will wait: wakes the flusher if the log is driven.
    pub(super) fn continue_wait(&mut self) {
        self.wakes.flusher |= self.state.driven() && self.state.claim_driver(false);
    }

    /// After a waiter without a thread was registered: wakes the flusher, which writes for it.
    pub(super) fn continue_async(&mut self) {
        self.wakes.flusher |= self.state.next_requested().is_some() | self.state.claim_flusher_wake();
    }

    /// After a release: wakes the flusher if it sleeps, so that a mark records it.
    pub(super) fn continue_release(&mut self) {
        self.wakes.flusher |= self.state.claim_flusher_wake();
    }

    /// Wakes the flusher in any case.
    pub(super) fn wake_flusher(&mut self) {
        self.wakes.flusher = true;
    }
}

impl Deref for StateGuard<'_> {
    type Target = CommitState;

    fn deref(&self) -> &CommitState {
        &self.state
    }
}

impl DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut CommitState {
        &mut self.state
    }
}

impl Drop for StateGuard<'_> {
    fn drop(&mut self) {
        self.shared.work_available.store(self.state.waiters_may_issue(), Ordering::SeqCst);
        if self.state.gatherer {
            let gathering = self.state.is_gathering();
            self.shared.gathering.store(gathering, Ordering::SeqCst);
            self.wakes.gatherer = !gathering;
        }
    }
}

/// Wakes threads when it is dropped, if it is told to.
struct WakeOnDrop<'a> {
    shared: &'a SharedState,
    flusher: bool,
    gatherer: bool,
}

impl Drop for WakeOnDrop<'_> {
    fn drop(&mut self) {
        if self.flusher {
            self.shared.flusher.wake();
        }
        if self.gatherer {
            self.shared.gatherer_slot.wake(1);
        }
    }
}

/// Where the flusher's thread sleeps: on its wait slot, or in its ring.
#[derive(Debug, Default)]
pub(super) struct FlusherSlot {
    pub(super) slot: WaitSlot,
    /// Whether the flusher waits in its ring, where a change of its wait slot does not wake it.
    pub(super) in_ring: AtomicBool,
    pub(super) ring_waker: OnceLock<Arc<dyn RingWaker>>,
}

impl FlusherSlot {
    /// Wakes the flusher's thread, wherever it sleeps.
    pub(super) fn wake(&self) {
        self.slot.wake(1);
        if self.in_ring.swap(false, Ordering::SeqCst)
            && let Some(waker) = self.ring_waker.get()
        {
            waker.wake();
        }
    }
}
