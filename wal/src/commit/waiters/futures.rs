//! Who is to be told when a record is durable, other than threads that block.
//!
//! A [`Notify`] runs no code of the caller, so the thread that completes the write delivers it. Callbacks and
//! wakers are the caller's code (an executor may poll a task inside of `wake`): `delivery` calls them.

use crate::commit::waiters::wait_slot::Bell;
use crate::error::Error;
use crate::types::Lsn;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Waker;
use std::thread::Thread;

/// A wake-up without code of the caller, for [`Ticket::notify`](crate::Ticket::notify): the thread that completes
/// the write delivers it, so no other thread has to be woken first.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notify {
    /// Unparks the thread.
    Thread(Thread),
    /// Adds 1 to an eventfd. Another kind of descriptor must not block when 8 bytes are written to it: the log's
    /// writes would wait for it.
    EventFd(Arc<OwnedFd>),
    /// Rings the bell.
    Bell(Arc<Bell>),
}

impl Notify {
    /// Delivers it now, for callers that have other events to tell in the same way.
    pub fn deliver(&self) {
        match self {
            Notify::Thread(thread) => thread.unpark(),
            // Fails only if the counter is at its end: whoever reads it is woken either way.
            Notify::EventFd(fd) => _ = rustix::io::write(fd, &1_u64.to_ne_bytes()),
            Notify::Bell(bell) => bell.ring(),
        }
    }
}

/// A callback of a ticket.
pub(crate) type Callback = Box<dyn FnOnce(Result<Lsn, Error>) + Send>;

/// Code of the caller that is to be called.
pub(crate) enum UserCode {
    /// A future that was polled.
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

/// One that is to be told.
#[derive(Debug)]
pub(crate) enum AsyncWaiter {
    Notify(Notify),
    User(UserCode),
}

/// What is to be called, and with what.
pub(crate) type Answer = (UserCode, Result<Lsn, Error>);

/// Those whose record is durable, or never will be, in log order.
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

/// All that wait, in log order.
#[derive(Debug, Default)]
pub(crate) struct AsyncWaiters {
    by_lsn: BTreeMap<(Lsn, u64), AsyncWaiter>,
    next_key: u64,
}

impl AsyncWaiters {
    /// Adds one; returns what names it.
    pub(crate) fn add(&mut self, lsn: Lsn, waiter: AsyncWaiter) -> u64 {
        self.next_key += 1;
        self.by_lsn.insert((lsn, self.next_key), waiter);
        self.next_key
    }

    /// Forgets one and gives it back.
    pub(crate) fn remove(&mut self, lsn: Lsn, key: u64) -> Option<AsyncWaiter> {
        self.by_lsn.remove(&(lsn, key))
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_lsn.is_empty()
    }

    /// Takes all whose record lies below `end`.
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

    /// Takes all, to be told of `error`.
    pub(crate) fn take_all(&mut self, error: &Error) -> DueAnswers {
        let mut due = DueAnswers::default();
        for waiter in std::mem::take(&mut self.by_lsn).into_values() {
            due.add(waiter, Err(error.clone()));
        }
        due
    }
}
