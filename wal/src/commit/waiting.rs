//! Threads that block: until a record is durable, until there is room. One that finds the disk free writes for
//! all; the others let it run for a while, and then sleep ([`Patience`](super::patience::Patience)).

use super::core::Core;
use super::log::{Log, Word};
use crate::error::Error;
use crate::sync::MutexGuard;
use crate::types::Lsn;
use std::sync::atomic::Ordering;

/// Yields that bring no record until a group is written without waiting for more.
const YIELDS_IN_VAIN: u32 = 2;

impl Log {
    /// Has group `group` written although all of it may wait: somebody waits for it after all.
    pub(super) fn want(&self, group: u64) {
        let mut core = self.core.lock();
        core.want(group);
        self.note_and_unlock(core);
    }

    /// Blocks until the record at `lsn` in group `group` is durable.
    pub(crate) fn wait(&self, lsn: Lsn, group: u64) -> Result<(), Error> {
        let word = self.word(group);
        loop {
            let seen = word.seen();
            if self.durable() > lsn {
                return Ok(());
            }
            if !self.issuable.load(Ordering::SeqCst) {
                self.pause(word, seen);
                continue;
            }
            let mut core = self.gathered();
            if core.watermark() > lsn {
                return Ok(());
            }
            if let Some(failure) = core.failure() {
                return Err(failure.clone());
            }
            let io = core.lead();
            self.note_and_unlock(core);
            match io {
                Some(io) => self.run(io),
                None => self.pause(word, seen),
            }
        }
    }

    /// Waits for `word` to change since `seen`, or for something to lead.
    fn pause(&self, word: &Word, seen: u32) {
        let look = || word.seen() != seen || self.issuable.load(Ordering::SeqCst);
        if !self.patience.wait(&*self.clock, look) {
            word.sleep(seen, None);
        }
    }

    /// The state machine, for a thread that is about to write: once the others that take part have appended,
    /// as far as letting them run makes them.
    pub(super) fn gathered(&self) -> MutexGuard<'_, Core> {
        let mut core = self.core.lock();
        if !core.expects_more() {
            return core;
        }
        let (mut now, mut vain) = (self.patience.begin(&*self.clock), 0);
        while let Some(now_ns) = now
            && vain < YIELDS_IN_VAIN
            && core.expects_more()
        {
            let filled = core.filled();
            drop(core);
            now = self.patience.give_way(&*self.clock, now_ns);
            core = self.core.lock();
            vain += u32::from(core.filled() <= filled);
        }
        core
    }

    /// Makes everything enqueued so far durable, lazy records included.
    pub(crate) fn flush(&self) -> Result<Lsn, Error> {
        let (lsn, group) = {
            let mut core = self.core.lock();
            if let Some(failure) = core.failure() {
                return Err(failure.clone());
            }
            let last = core.want_all();
            self.note_and_unlock(core);
            last
        };
        if !lsn.is_zero() {
            self.wait(lsn, group)?;
        }
        Ok(self.durable())
    }

    /// Sleeps until the oldest group in memory made progress, or leads.
    pub(crate) fn wait_for_space(&self) {
        let mut core = self.core.lock();
        if let Some(io) = core.lead() {
            drop(core);
            return self.run(io);
        }
        let Some(oldest) = core.oldest() else { return };
        // Groups that will never be durable wake nobody again.
        if core.failure().is_some() {
            return;
        }
        core.want_all();
        let word = self.word(oldest);
        let seen = word.seen();
        let retry = core.lead();
        self.note_and_unlock(core);
        match retry {
            Some(io) => self.run(io),
            None => word.sleep(seen, None),
        }
    }
}
