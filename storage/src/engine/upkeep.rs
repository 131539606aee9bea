//! Background work of the engine on its log: empties the oldest segments and releases them.
//!
//! The engine's background thread does this work. A stepped engine, which has no threads, does a piece of it after
//! each write. The work may become due when the log enters a segment, when entries or state die (compaction, removal,
//! overwriting), when the disk is found full, and after an open.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use seawall_wal::Wal;

use crate::engine::inner::EngineInner;
use crate::engine::user_handle::InsideCall;
use crate::error::{Error, Result};
use crate::group::Released;
use crate::reclaim::release;
use crate::reclaim::rewrite::Rewrite;
use crate::threads::background::{BackgroundStep, BackgroundThread};

/// How long the thread waits for disk space before it tries again: as long as the log does.
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// How long the thread pauses if all groups to be handled are being written.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

impl EngineInner {
    /// Called after a write that may wait: releases what is free and leaves the rest to the background thread.
    pub(super) fn advance(&self, wal: &Wal, released: Released) -> Result<()> {
        match self.background.get() {
            Some(background) => {
                release::release_only(wal, released.floor, &self.release)?;
                self.wake_if_due(wal, released, background);
            }
            None => _ = self.step(wal)?,
        }
        Ok(())
    }

    /// Called after a write that must not wait: leaves all work to the background thread.
    pub(super) fn advance_now(&self, wal: &Wal, released: Released) {
        match self.background.get() {
            Some(background) => {
                if released.floor > wal.first_segment() && released.freed {
                    background.wake();
                }
                self.wake_if_due(wal, released, background);
            }
            // If the log has failed, the next write reports it.
            None => _ = self.step(wal),
        }
    }

    /// Called when the disk was found full. Until a record with a payload is written again, the slack counts as 0
    /// bytes.
    pub(super) fn found_full(&self, wal: &Wal) {
        self.full.store(true, Ordering::Relaxed);
        match self.background.get() {
            Some(background) => background.wake(),
            None => _ = self.step(wal),
        }
    }

    fn wake_if_due(&self, wal: &Wal, released: Released, background: &BackgroundThread) {
        // Read before it is exchanged, because all writers come here.
        let active = wal.active_segment();
        let entered = self.woken_in.load(Ordering::Relaxed) != active
            && self.woken_in.swap(active, Ordering::Relaxed) != active;
        let due = || released.freed && Rewrite::excess(wal, &self.usage, self.slack_bytes()) > 0;
        if entered || released.only_state.is_some() || due() {
            background.wake();
        }
    }

    fn slack_bytes(&self) -> u64 {
        if self.full.load(Ordering::Relaxed) { 0 } else { self.options.slack_bytes as u64 }
    }

    /// Does one piece of the work: writes small state again, releases what is free, copies entries. Returns the bytes
    /// of the copies and of the small state; `None` for a kind of work of which there was none.
    fn step(&self, wal: &Wal) -> Result<(Option<u64>, Option<u64>)> {
        let tell = |segment, error: &Error| {
            if let Some(listener) = self.listener.get() {
                let _inside = InsideCall::of(self);
                // A panic of the listener must not end the thread, and neither must a panic in the drop of its
                // payload.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| listener.segment_stuck(segment, error)))
                {
                    std::mem::forget(panic);
                }
            }
        };
        let groups_max = self.options.reemit_groups_max;
        let repeated = release::advance(wal, &self.groups, &self.usage, &self.release, groups_max);
        let copied = self.rewrite.step(wal, &self.groups, &self.usage, self.slack_bytes(), tell);
        // An error of one kind of work does not keep the other from being done.
        Ok((copied?, repeated?))
    }

    /// Does one piece of the work on the background thread.
    pub(super) fn keep(&self) -> BackgroundStep {
        let Ok(wal) = self.wal() else { return BackgroundStep::Sleep };
        let (copied, repeated) = match self.step(&wal) {
            Ok(done) => done,
            Err(error) if error.is_no_space() => {
                self.full.store(true, Ordering::Relaxed);
                return BackgroundStep::Again(FULL_PAUSE);
            }
            // The log has failed. Every write reports it.
            Err(_) => return BackgroundStep::Sleep,
        };
        // A busy group is likely to write its state itself, and its write wakes this thread again.
        let repeated = repeated.filter(|bytes| *bytes > 0);
        if copied.is_none() && repeated.is_none() {
            return BackgroundStep::Sleep;
        }
        let (piece, total) = (copied.unwrap_or(0) + repeated.unwrap_or(0), wal.stats().record_bytes);
        let slack = self.slack_bytes();
        let excess = Rewrite::excess(&wal, &self.usage, slack);
        let pause = self.throttle.lock().pause(Instant::now(), total, piece, excess, slack);
        BackgroundStep::Again(if piece == 0 { pause.max(BUSY_PAUSE) } else { pause })
    }

    /// Ends the engine: first its background thread, then the log. Waits for the calls under way.
    pub(super) fn end(&self) {
        if let Some(background) = self.background.get() {
            background.end();
        }
        // A listener that drops the last handle is inside a call that dropping the log would wait for. The log is
        // then dropped after that call.
        if !InsideCall::is(self) {
            let wal = self.wal.write().take();
            drop(wal);
        }
    }
}
