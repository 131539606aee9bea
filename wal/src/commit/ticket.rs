//! What `append` returns: the promise that a record will be durable, to be awaited in one of three ways.

use super::core::Placed;
use super::log::Log;
use super::waiters::Waiter;
use crate::error::Error;
use crate::types::{Class, Lsn};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The promise that a record will be durable.
///
/// Block with [`Ticket::wait`], `.await` it, or leave a callback with [`Ticket::on_durable`]. Dropping
/// it changes nothing for the record. `Ok` comes only after the device confirmed a flush, or a forced
/// write, that covers the record and everything before it (INV-1, INV-2). A lazy record is durable with
/// the next group, when the log goes idle, when it is closed, or when a thread blocks for it.
#[derive(Debug)]
pub struct Ticket {
    log: Arc<Log>,
    lsn: Lsn,
    group: u64,
    class: Class,
    /// Names the waker that a poll left.
    polled: Option<u64>,
}

impl Ticket {
    /// For the record that `log` has placed.
    pub(crate) fn new(log: Arc<Log>, placed: Placed, class: Class) -> Ticket {
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

    /// Blocks until the record is durable; returns its position. A thread that finds the disk free
    /// writes the group itself, at once also if the record is lazy.
    ///
    /// # Errors
    /// [`Error::Latched`] if the log stopped first, [`Error::Closed`] if it was closed.
    pub fn wait(&self) -> Result<Lsn, Error> {
        if self.class == Class::Lazy && !self.is_durable() {
            self.log.want(self.group);
        }
        self.log.wait(self.lsn, self.group)?;
        Ok(self.lsn)
    }

    /// Calls `f` once: when the record is durable, or with the error that stopped the log. Callbacks that
    /// were left in log order run in log order, one at a time; one that comes when its record is durable
    /// runs next. They run on whichever thread completed the write, so they should be short; one that
    /// panics harms nobody else. Who waits or flushes meanwhile may return before they have run.
    pub fn on_durable(self, f: impl FnOnce(Result<Lsn, Error>) + Send + 'static) {
        self.log.register(self.lsn, Waiter::Call(Box::new(f)));
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
        match self.log.poll(self.lsn, cx.waker()) {
            Ok(None) => Poll::Ready(Ok(self.lsn)),
            Ok(Some(key)) => {
                self.polled = Some(key);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
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
