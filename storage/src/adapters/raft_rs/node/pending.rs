//! Carries the answer of a request from the thread of a node to the thread or task that waits for it.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::adapters::raft_rs::error::{Error, Result};

/// The answer to a request, once there is one. Dropping it abandons the answer, not the request.
#[must_use = "a request may fail"]
pub struct Pending<T>(oneshot::Receiver<Result<T>>);

/// Answers a [`Pending`].
pub(in crate::adapters::raft_rs) struct Answer<T>(oneshot::Sender<Result<T>>);

/// Returns a request without an answer, and what answers it.
pub(in crate::adapters::raft_rs) fn pending<T>() -> (Answer<T>, Pending<T>) {
    let (sender, receiver) = oneshot::channel();
    (Answer(sender), Pending(receiver))
}

impl<T> Answer<T> {
    /// Whether no caller waits for the answer any more.
    pub(in crate::adapters::raft_rs) fn is_abandoned(&self) -> bool {
        self.0.is_closed()
    }

    pub(in crate::adapters::raft_rs) fn give(self, answer: Result<T>) {
        // Nobody may be waiting any more.
        let _ = self.0.send(answer);
    }
}

impl<T> Pending<T> {
    /// Waits for the answer. Do not call it on the thread of the node, which gives the answer.
    ///
    /// # Errors
    /// The error of the request. [`Error::NoAnswer`] if there was no answer within `timeout`, or if the node ended: a
    /// proposal may still be committed.
    pub fn wait(self, timeout: Duration) -> Result<T> {
        self.0.recv_timeout(timeout).unwrap_or(Err(Error::NoAnswer))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        pin!(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Error::NoAnswer)))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pending")
    }
}
