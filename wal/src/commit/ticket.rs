//! The ticket that `append` returns: the promise that a record will be durable.

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
use std::time::Duration;

/// The promise that a record will be durable.
///
/// Block with [`Ticket::wait`], `.await` it, register a callback with [`Ticket::on_durable`], or have a thread woken
/// with [`Ticket::notify`], after it has tried to write by itself ([`Ticket::try_write`]). A thread that appends many records need not keep their tickets:
/// [`Wal::wait_past`](crate::Wal::wait_past) returns how far the log is durable. Dropping a ticket does not affect the
/// record.
///
/// `Ok` is returned only after the device has confirmed a flush, or a forced write, that covers the record and
/// everything before it (INV-1, INV-2). A lazy record is written with the next group, or by the log `idle_ms` after it
/// was appended, or earlier when the log is flushed or closed or a thread blocks for the record.
///
/// # Use as a future
///
/// The thread that runs callbacks wakes the task, never a thread that writes, so an executor may poll inside `wake`. A
/// waiting task counts as a callback in [`Options::callbacks_max`](crate::Options::callbacks_max). If the future is
/// polled inside a callback of the same log, for example by `block_on`, it blocks as [`Ticket::wait`] does, since no
/// other thread could wake it.
#[must_use = "wait for the ticket, or drop it explicitly if a later ticket covers it"]
#[derive(Debug)]
pub struct Ticket {
    log: Arc<Committer>,
    lsn: Lsn,
    group: u64,
    class: Durability,
    /// Key of the waker that the last poll registered.
    polled: Option<u64>,
}

impl Ticket {
    /// The ticket of the record that `log` has placed at `placed`.
    pub(crate) fn new(log: Arc<Committer>, placed: Appended, class: Durability) -> Ticket {
        Ticket { log, lsn: placed.lsn, group: placed.group, class, polled: None }
    }

    /// Position of the record's first byte.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether the record is durable. Does not block.
    ///
    /// Comparing the record's first byte with the watermark is enough: a watermark is always the end of a group, and a
    /// record lies within one group.
    pub fn is_durable(&self) -> bool {
        self.log.durable() > self.lsn
    }

    /// The outcome of the record: its position once it is durable, or the error that stopped the log before that.
    /// `None` while it is still open. Does not block.
    pub fn outcome(&self) -> Option<Result<Lsn, Error>> {
        self.log.outcome(self.lsn)
    }

    /// Blocks until the record is durable; returns its position.
    ///
    /// A thread that finds the disk free writes the group itself, at once even if the record is lazy. It runs no
    /// callbacks. It may be called inside a callback; other callbacks that are due wait until that one returns.
    ///
    /// # Errors
    /// [`Error::Latched`] if the log stopped before the record was durable, [`Error::Closed`] if it was closed.
    pub fn wait(&self) -> Result<Lsn, Error> {
        if self.class == Durability::Lazy && !self.is_durable() {
            self.log.request_sync(self.group);
        }
        self.log.wait(self.lsn, self.group, None)?;
        Ok(self.lsn)
    }

    /// As [`Ticket::wait`], for up to `timeout`; `None` if the record is not durable by then. If this thread writes the
    /// group itself, the timeout does not interrupt the write.
    ///
    /// # Errors
    /// As [`Ticket::wait`].
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Lsn>, Error> {
        let durable = self.log.wait_past(self.lsn, timeout)?;
        Ok((durable > self.lsn).then_some(self.lsn))
    }

    /// Writes the record's group on this thread if no other thread writes or is about to; returns whether it wrote. Does
    /// not wait for the write of another thread: if [`Ticket::outcome`] is still open afterwards, register a wake-up
    /// ([`Ticket::notify`]). A lazy record stays open until something else asks for its group.
    ///
    /// For a thread that waits for other events too, and so cannot block in [`Ticket::wait`].
    pub fn try_write(&self) -> bool {
        self.log.try_write(self.lsn)
    }

    /// Calls `f` once: when the record is durable, or with the error that stopped the log.
    ///
    /// Callbacks that were registered in log order run in log order, one at a time. A callback that is registered after
    /// its record became durable runs after those that are due already. A thread of the log, started with the first
    /// callback or future, runs callbacks and wakers and does nothing else. (A log without threads, see
    /// [`Threads::Stepped`](crate::Threads::Stepped), runs them on the thread that completes the write.) So a callback
    /// may take long, block or panic. That delays other callbacks and woken tasks, and nothing else until
    /// [`Options::callbacks_max`](crate::Options::callbacks_max) of them are outstanding; then appends wait. Threads
    /// that wait, flush or close the log may return before callbacks have run.
    ///
    /// **What a callback may do with the log:** everything. It may append, wait for tickets, flush, read, close the log
    /// or drop its last handle. Inside a callback `append` does not wait for other callbacks; it fails with
    /// [`Error::CallbacksFull`] when twice the allowed number is outstanding. A callback must not wait until another
    /// callback or task of the same log has run, nor for a thread that may wait for that in `append`.
    ///
    /// If no thread can be started, this blocks until the record is durable and calls `f` itself.
    pub fn on_durable(self, f: impl FnOnce(Result<Lsn, Error>) + Send + 'static) {
        self.leave(Box::new(f));
    }

    /// Delivers `notify` when the record is durable or the log has stopped; at once if that is so already.
    /// [`Ticket::outcome`] then tells which. No code of the caller runs, so the thread that completes the write
    /// delivers it directly; [`Ticket::on_durable`] has to wake another thread first.
    pub fn notify(&self, notify: Notify) {
        self.log.notify(self.lsn, notify);
    }

    /// As [`Ticket::notify`], but calls `f`, on the thread and in the order of [`Ticket::on_durable`].
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
