//! Drives a log by hand: runs the operations that its threads would carry out one at a time, in any order, for a
//! seeded scheduler.
//!
//! The code of the log is the same; only the caller differs.

use crate::commit::{DiskOp, FlusherState, FlusherStep};
use crate::error::Error;
use crate::segment::preallocator::StepOutcome;
use crate::wal::Wal;
use std::sync::atomic::{AtomicU64, Ordering};

/// An operation that the log issued and that has not been carried out yet.
#[derive(Debug)]
#[must_use = "an operation that is dropped never completes"]
pub struct StepIo(DiskOp);

impl StepIo {
    /// Whether the operation is a sync rather than a write.
    pub fn is_sync(&self) -> bool {
        self.0.is_sync()
    }
}

/// Schedules the operations of a log that was opened with [`crate::Threads::Stepped`].
#[derive(Debug)]
pub struct Stepper<'a> {
    wal: &'a Wal,
    flusher_state: FlusherState,
    now_ns: AtomicU64,
}

impl<'a> Stepper<'a> {
    /// A scheduler for `wal`.
    pub fn new(wal: &'a Wal) -> Stepper<'a> {
        Stepper { wal, flusher_state: FlusherState::default(), now_ns: AtomicU64::new(0) }
    }

    /// Takes the next operation, if one may be issued now. A group that is held back for more records is issued too.
    pub fn issue(&self) -> Option<StepIo> {
        let mut state = self.wal.log().lock_state();
        state.stop_gathering();
        state.next_disk_op().map(StepIo)
    }

    /// As [`Stepper::issue`], but a group that is held back is not issued before its time.
    pub fn issue_in_time(&self, now_ns: u64) -> Option<StepIo> {
        let mut state = self.wal.log().lock_state();
        if state.gathering_until_ns().is_some_and(|until_ns| until_ns <= now_ns) {
            state.stop_gathering();
        }
        state.next_disk_op().map(StepIo)
    }

    /// Until when the next group is held back, in nanoseconds of the log's clock; `None` if it is not.
    pub fn held_back_until_ns(&self) -> Option<u64> {
        self.wal.log().lock_state().gathering_until_ns()
    }

    /// Carries out an operation and reports its result to the log.
    pub fn complete(&self, io: StepIo) {
        self.wal.log().run(io.0);
    }

    /// Abandons an operation when the power fails: its bytes may or may not have reached the disk.
    pub fn abandon(&self, io: &StepIo) {
        io.0.abandon();
    }

    /// Lets the preallocator write zeros no faster than the records need, as its own thread does.
    pub fn pace(&self) {
        self.wal.preallocator().lock().pace();
    }

    /// Makes one step of the preallocator; `false` if there was nothing to do or the disk is full.
    ///
    /// # Errors
    /// The error of the preallocator, which has stopped the log.
    pub fn prepare(&self) -> Result<bool, Error> {
        match self.wal.preallocator().lock().step() {
            Ok(progress) => Ok(progress == StepOutcome::Stepped),
            Err(error) => {
                self.wal.log().poison(error.clone());
                Err(error)
            }
        }
    }

    /// Simulates that the log has been idle for long: lazy records are written, and a mark ends the burst. Issues all
    /// operations that this needs, in order.
    pub fn idle(&mut self) {
        let now = self.now_ns.fetch_add(2, Ordering::Relaxed) + 2;
        self.wal.log().lock_state().stop_gathering();
        for _ in 0..64 {
            match self.wal.log().flusher_tick(&mut self.flusher_state, now, 1) {
                FlusherStep::Again | FlusherStep::Wait => {}
                FlusherStep::Sleep | FlusherStep::Stop => return,
            }
        }
    }
}
