//! Keeps the futures, callbacks and notices that wait for a record to become durable.
//!
//! A [`Notify`] runs no code of the caller, so the thread that completes the write delivers it. Callbacks and wakers
//! are code of the caller (an executor may poll a task inside `wake`); `delivery` calls them.

use crate::commit::waiters::wait_slot::Bell;
use crate::error::Error;
use crate::types::Lsn;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Waker;
use std::thread::Thread;

/// A notification that runs no code of the caller, for [`Ticket::notify`](crate::Ticket::notify). The thread that
/// completes the write delivers it, so no other thread has to be woken first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notify {
    /// Unparks the thread.
    Thread(Thread),
    /// Adds 1 to the counter of an eventfd. Another kind of descriptor must not block when 8 bytes are written to it:
    /// the log's writes would wait for it.
    EventFd(Arc<OwnedFd>),
    /// Rings the bell.
    Bell(Arc<Bell>),
}

impl Notify {
    /// Delivers the notification now. For callers that report other events in the same way.
    pub fn deliver(&self) {
        match self {
            Notify::Thread(thread) => thread.unpark(),
            // Fails only if the counter is at its maximum; then its reader is woken anyway.
            Notify::EventFd(fd) => _ = rustix::io::write(fd, &1_u64.to_ne_bytes()),
            Notify::Bell(bell) => bell.ring(),
        }
    }
}

/// A callback of a ticket.
pub(crate) type Callback = Box<dyn FnOnce(Result<Lsn, Error>) + Send>;

/// Code of the caller that is called once the outcome of a record is known.
pub(crate) enum UserCode {
    /// The waker of a future that was polled.
    Task(Waker),
    /// A callback.
    Call(Callback),
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UserCode::Task(_) => "Task",
            UserCode::Call(_) => "Call",
        })
    }
}

/// A notice, callback or waker that waits for a record.
#[derive(Debug)]
pub(crate) enum AsyncWaiter {
    Notify(Notify),
    User(UserCode),
}

/// Code of the caller, and the outcome to call it with.
pub(crate) type Answer = (UserCode, Result<Lsn, Error>);

/// The waiters whose record is durable, or never will be, in log order.
#[derive(Debug, Default)]
pub(crate) struct DueAnswers {
    pub(crate) notices: Vec<Notify>,
    pub(crate) answers: Vec<Answer>,
}

impl DueAnswers {
    fn add(&mut self, waiter: AsyncWaiter, result: Result<Lsn, Error>) {
        match waiter {
            AsyncWaiter::Notify(notify) => self.notices.push(notify),
            AsyncWaiter::User(user) => self.answers.push((user, result)),
        }
    }
}

/// All waiting futures, callbacks and notices, in log order.
#[derive(Debug, Default)]
pub(crate) struct AsyncWaiters {
    by_lsn: BTreeMap<(Lsn, u64), AsyncWaiter>,
    next_key: u64,
}

impl AsyncWaiters {
    /// Adds a waiter; returns its key.
    pub(crate) fn add(&mut self, lsn: Lsn, waiter: AsyncWaiter) -> u64 {
        self.next_key += 1;
        self.by_lsn.insert((lsn, self.next_key), waiter);
        self.next_key
    }

    /// Removes a waiter and returns it; `None` if it was taken before.
    pub(crate) fn remove(&mut self, lsn: Lsn, key: u64) -> Option<AsyncWaiter> {
        self.by_lsn.remove(&(lsn, key))
    }

    /// Whether there is no waiter.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_lsn.is_empty()
    }

    /// Takes all waiters whose record starts below `end`, which is durable.
    pub(crate) fn take_below(&mut self, end: Lsn) -> DueAnswers {
        let mut due = DueAnswers::default();
        if self.by_lsn.first_key_value().is_none_or(|((lsn, _), _)| *lsn >= end) {
            return due;
        }
        let rest = self.by_lsn.split_off(&(end, 0));
        for ((lsn, _), waiter) in std::mem::replace(&mut self.by_lsn, rest) {
            due.add(waiter, Ok(lsn));
        }
        due
    }

    /// Takes all waiters, to be answered with `error`.
    pub(crate) fn take_all(&mut self, error: &Error) -> DueAnswers {
        let mut due = DueAnswers::default();
        for waiter in std::mem::take(&mut self.by_lsn).into_values() {
            due.add(waiter, Err(error.clone()));
        }
        due
    }
}
