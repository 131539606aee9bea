//! Who is to be told when a record is durable, other than threads that block.

use crate::error::Error;
use crate::types::Lsn;
use std::collections::BTreeMap;
use std::fmt;
use std::task::Waker;

/// A callback of a ticket.
pub(crate) type Callback = Box<dyn FnOnce(Result<Lsn, Error>) + Send>;

/// One that is to be told.
pub(crate) enum Waiter {
    /// A future that was polled.
    Task(Waker),
    /// A callback.
    Call(Callback),
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Waiter::Task(_) => "Task",
            Waiter::Call(_) => "Call",
        })
    }
}

/// All that wait, in log order.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    by_lsn: BTreeMap<(Lsn, u64), Waiter>,
    next_key: u64,
}

impl Waiters {
    /// Adds one; returns what names it.
    pub(crate) fn add(&mut self, lsn: Lsn, waiter: Waiter) -> u64 {
        self.next_key += 1;
        self.by_lsn.insert((lsn, self.next_key), waiter);
        self.next_key
    }

    /// Forgets one and gives it back.
    pub(crate) fn remove(&mut self, lsn: Lsn, key: u64) -> Option<Waiter> {
        self.by_lsn.remove(&(lsn, key))
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_lsn.is_empty()
    }

    /// Takes all whose record lies below `end`, in order.
    pub(crate) fn take_below(&mut self, end: Lsn) -> Vec<(Waiter, Result<Lsn, Error>)> {
        if self.by_lsn.first_key_value().is_none_or(|((lsn, _), _)| *lsn >= end) {
            return Vec::new();
        }
        let rest = self.by_lsn.split_off(&(end, 0));
        let due = std::mem::replace(&mut self.by_lsn, rest);
        due.into_iter().map(|((lsn, _), waiter)| (waiter, Ok(lsn))).collect()
    }

    /// Takes all, to be told of `error`.
    pub(crate) fn take_all(&mut self, error: &Error) -> Vec<(Waiter, Result<Lsn, Error>)> {
        std::mem::take(&mut self.by_lsn).into_values().map(|w| (w, Err(error.clone()))).collect()
    }
}
