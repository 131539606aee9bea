//! What `append` returns: the promise that a record will be durable, to be awaited in one of four ways.

use crate::commit::committer::{Committer, PollOutcome};
use crate::commit::state::Appended;
use crate::commit::waiters::futures::{Callback, Notify};
use crate::error::Error;
use crate::types::{Durability, Lsn};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The promise that a record will be durable.
///
/// Block with [`Ticket::wait`], `.await` it, leave a callback with [`Ticket::on_durable`], or have a thread woken
/// with [`Ticket::notify`]. A thread that appends many records need not keep their tickets:
/// [`Wal::wait_past`](crate::Wal::wait_past) says how far the log is durable. Dropping a ticket changes nothing
/// for the record. `Ok` comes only after the device confirmed a flush, or a forced
/// write, that covers the record and everything before it (INV-1, INV-2). A lazy record is durable with
/// the next group, `idle_ms` after it was appended, when the log is closed, or when a thread blocks for it.
///
/// # The future
///
/// The log wakes a task from the thread that runs callbacks, never from a thread that writes, so an executor may
/// poll inside of `wake`. A task that is woken counts as a callback in
/// [`Options::answers_max`](crate::Options::answers_max). Polled inside of a callback of the same log, by
/// `block_on` for example, the future blocks as [`Ticket::wait`] does: no other thread could wake it.
#[derive(Debug)]
pub struct Ticket {
    log: Arc<Committer>,
    lsn: Lsn,
    group: u64,
    class: Durability,
    /// Names the waker that a poll left.
    polled: Option<u64>,
}

impl Ticket {
    /// For the record that `log` has placed.
    pub(crate) fn new(log: Arc<Committer>, placed: Appended, class: Durability) -> Ticket {
        Ticket { log, lsn: placed.lsn, group: placed.group, class, polled: None }
    }

    /// Position of the record's first byte.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether the record is durable by now.
    pub fn is_durable(&self) -> bool {
        self.log.durable() > self.lsn
    }

    /// What became of the record: its position once it is durable, or the error that stopped the log before that.
    /// `None` while that is open. Does not block.
    pub fn outcome(&self) -> Option<Result<Lsn, Error>> {
        self.log.outcome(self.lsn)
    }

    /// Blocks until the record is durable; returns its position. A thread that finds the disk free
    /// writes the group itself, at once also if the record is lazy. It runs nobody's callbacks. May be called
    /// inside of a callback; callbacks that are due wait until that one returns.
    ///
    /// # Errors
    /// [`Error::Latched`] if the log stopped first, [`Error::Closed`] if it was closed.
    pub fn wait(&self) -> Result<Lsn, Error> {
        if self.class == Durability::Lazy && !self.is_durable() {
            self.log.request_sync(self.group);
        }
        self.log.wait(self.lsn, self.group, None)?;
        Ok(self.lsn)
    }

    /// Calls `f` once: when the record is durable, or with the error that stopped the log.
    ///
    /// Callbacks that were left in log order run in log order, one at a time; one that comes when its record is
    /// durable runs next. A thread of the log, started with the first callback or future, runs them and nothing
    /// else (without threads, see [`Threads::Stepped`](crate::Threads::Stepped), the thread that completes the write
    /// does). So a callback may take long, block or panic: that delays other callbacks and woken
    /// tasks, and nothing else, until [`Options::answers_max`](crate::Options::answers_max) of them are outstanding and
    /// appends wait. Threads that wait, flush or close the log may return before callbacks have run.
    ///
    /// **What a callback may do with the log:** everything. It may append, wait for tickets, flush, read, close
    /// the log or drop its last handle. Inside of a callback `append` does not wait for room among
    /// the callbacks; it fails with [`Error::AnswersFull`] when twice as many are outstanding as allowed. The one thing
    /// that a callback must not do is to wait until another callback or task of the same log has run, or for a thread
    /// that may wait for that in `append`.
    ///
    /// If no thread can be started, this blocks until the record is durable and calls `f` itself.
    pub fn on_durable(self, f: impl FnOnce(Result<Lsn, Error>) + Send + 'static) {
        self.leave(Box::new(f));
    }

    /// Has `notify` delivered when the record is durable or the log has stopped, at once if that is so already;
    /// [`Ticket::outcome`] then says which. It runs no code of the caller, so the thread that completes the write
    /// delivers it: nothing is woken in between, unlike with [`Ticket::on_durable`].
    pub fn notify(&self, notify: Notify) {
        self.log.notify(self.lsn, notify);
    }

    /// As [`Ticket::notify`], by calling `f` where and when a callback of [`Ticket::on_durable`] is called.
    pub fn notify_with(&self, f: impl FnOnce() + Send + 'static) {
        self.leave(Box::new(|_| f()));
    }

    fn leave(&self, f: Callback) {
        if let Some(f) = self.log.register(self.lsn, f) {
            let result = self.wait();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| f(result))) {
                std::mem::forget(panic);
            }
        }
    }
}

impl Future for Ticket {
    type Output = Result<Lsn, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_durable() {
            return Poll::Ready(Ok(self.lsn));
        }
        if let Some(key) = self.polled.take() {
            self.log.forget(self.lsn, key);
        }
        match self.log.poll(self.lsn, self.group, cx.waker()) {
            PollOutcome::Ready(result) => Poll::Ready(result),
            PollOutcome::Pending(key) => {
                self.polled = Some(key);
                Poll::Pending
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(key) = self.polled.take() {
            self.log.forget(self.lsn, key);
        }
    }
}
