//! Wakes the pump's owner when a write becomes durable, the log fails, or a read ends.
//!
//! A wake-up that was requested is never lost. The log delivers wake-ups itself, without another thread, except for
//! [`Wake::Call`]. The tickets and the reads tell what happened.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use seawall_wal::{
    Ticket,
    notify::{Bell, Notify},
};

/// How a pump tells its owner that [`Pump::poll`](crate::adapters::raft_rs::Pump::poll) has work.
#[derive(Clone)]
#[non_exhaustive]
pub enum Wake {
    /// Unparks the thread. The thread that completes the write does this, so no other thread has to run in
    /// between.
    Thread(Thread),
    /// Adds 1 to the eventfd, for owners that sleep in `poll` or `epoll`. The thread that completes the write
    /// does this.
    EventFd(Arc<OwnedFd>),
    /// Rings the bell, for owners that wait for other events with the same [`Bell`]. The thread that completes the write
    /// does this.
    Bell(Arc<Bell>),
    /// Calls the closure, for writes on the log's callback thread ([`Ticket::on_durable`]), for reads on a
    /// thread of the engine. A closure that blocks delays other callbacks.
    Call(Arc<dyn Fn() + Send + Sync>),
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wake::Thread(_) => "Thread",
            Wake::EventFd(_) => "EventFd",
            Wake::Bell(_) => "Bell",
            Wake::Call(_) => "Call",
        })
    }
}

/// The wake-ups of one pump.
#[derive(Default)]
pub(super) struct Completions {
    /// Rung by the log and at the end of a read, for [`Completions::wait`]. The owner's bell, if it has one.
    bell: Arc<Bell>,
    /// Whether a read has ended since the last [`Completions::take_fetched`].
    fetched: AtomicBool,
    wake: Option<Wake>,
}

impl Completions {
    pub(super) fn new(wake: Option<Wake>) -> Completions {
        let bell = match &wake {
            Some(Wake::Bell(bell)) => Arc::clone(bell),
            _ => Arc::default(),
        };
        Completions { bell, wake, ..Completions::default() }
    }

    /// Whether the owner wants to be told of durable writes and of reads.
    pub(super) fn tells_owner(&self) -> bool {
        self.wake.is_some()
    }

    /// Registers a wake-up for when the record of `ticket` is durable, or can no longer become durable.
    pub(super) fn expect(&self, ticket: &Ticket) {
        ticket.notify(Notify::Bell(Arc::clone(&self.bell)));
        match &self.wake {
            None | Some(Wake::Bell(_)) => {}
            Some(Wake::Thread(thread)) => ticket.notify(Notify::Thread(thread.clone())),
            Some(Wake::EventFd(fd)) => ticket.notify(Notify::EventFd(Arc::clone(fd))),
            Some(Wake::Call(call)) => {
                let call = Arc::clone(call);
                ticket.notify_with(move || call());
            }
        }
    }

    /// Notes the end of a read and wakes the owner.
    pub(super) fn fetched(&self) {
        self.fetched.store(true, Ordering::SeqCst);
        self.bell.ring();
        match &self.wake {
            None | Some(Wake::Bell(_)) => {}
            Some(Wake::Thread(thread)) => thread.unpark(),
            Some(Wake::EventFd(fd)) => Notify::EventFd(Arc::clone(fd)).deliver(),
            Some(Wake::Call(call)) => call(),
        }
    }

    /// Whether a read has ended since the last call.
    pub(super) fn take_fetched(&self) -> bool {
        self.fetched.swap(false, Ordering::SeqCst)
    }

    /// Blocks until a read has ended, `enough` returns true, or `timeout` has passed.
    pub(super) fn wait(&self, timeout: Duration, enough: impl Fn() -> bool) {
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
