//! What wakes the thread that polls: a write became durable, the log failed, or a read ended.
//! Place on the data's way: from the log and the fetches to the pump. Invariants: a wake-up after something happened
//! is never lost; the log delivers its own without code of the user, so it goes through no other thread, unless the
//! user brought a closure. Cannot fail: what happened is asked of the tickets and the fetches.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use seawall_wal::{Bell, Notify, Ticket};

/// How a pump tells its owner that [`Pump::poll`](crate::adapters::raft_rs::Pump::poll) has work.
#[derive(Clone)]
#[non_exhaustive]
pub enum Wake {
    /// Unparks the thread. The thread that completes the write does it, so nothing else is woken in between.
    Thread(Thread),
    /// Adds 1 to the eventfd, for owners that sleep in `poll` or `epoll`; in the same way.
    EventFd(Arc<OwnedFd>),
    /// Calls the closure: on the log's thread for callbacks ([`Ticket::on_durable`]), or the engine's for reads. One
    /// that blocks delays other callbacks.
    Call(Arc<dyn Fn() + Send + Sync>),
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wake::Thread(_) => "Thread",
            Wake::EventFd(_) => "EventFd",
            Wake::Call(_) => "Call",
        })
    }
}

/// Where it is told.
#[derive(Default)]
pub(in crate::adapters::raft_rs) struct Completions {
    /// Rung by the log and by ended reads, for the pump's own wait.
    bell: Arc<Bell>,
    /// A read has ended that the pump has not looked at.
    fetched: AtomicBool,
    wake: Option<Wake>,
}

impl Completions {
    pub(in crate::adapters::raft_rs) fn new(wake: Option<Wake>) -> Completions {
        Completions { wake, ..Completions::default() }
    }

    /// Wakes when the record of `ticket` is durable, or never will be.
    pub(in crate::adapters::raft_rs) fn expect(&self, ticket: &Ticket) {
        ticket.notify(Notify::Bell(Arc::clone(&self.bell)));
        match &self.wake {
            None => {}
            Some(Wake::Thread(thread)) => ticket.notify(Notify::Thread(thread.clone())),
            Some(Wake::EventFd(fd)) => ticket.notify(Notify::EventFd(Arc::clone(fd))),
            Some(Wake::Call(call)) => {
                let call = Arc::clone(call);
                ticket.notify_with(move || call());
            }
        }
    }

    /// A read has ended.
    pub(in crate::adapters::raft_rs) fn fetched(&self) {
        self.fetched.store(true, Ordering::SeqCst);
        self.bell.ring();
        match &self.wake {
            None => {}
            Some(Wake::Thread(thread)) => thread.unpark(),
            Some(Wake::EventFd(fd)) => Notify::EventFd(Arc::clone(fd)).deliver(),
            Some(Wake::Call(call)) => call(),
        }
    }

    /// Whether a read has ended since the last call.
    pub(in crate::adapters::raft_rs) fn take_fetched(&self) -> bool {
        self.fetched.swap(false, Ordering::SeqCst)
    }

    /// Blocks until a read has ended, `enough` says so, or `timeout` is over.
    pub(in crate::adapters::raft_rs) fn wait(&self, timeout: Duration, enough: impl Fn() -> bool) {
        let end = Instant::now().checked_add(timeout);
        loop {
            let rung = self.bell.rung();
            if self.fetched.load(Ordering::SeqCst) || enough() {
                return;
            }
            let rest = end.map(|end| end.saturating_duration_since(Instant::now()));
            if rest == Some(Duration::ZERO) {
                return;
            }
            self.bell.wait(rung, rest);
        }
    }
}
