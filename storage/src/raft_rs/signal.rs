//! What other threads tell the one that polls: how far the log is durable, that it failed, that a read ended.
//! Place on the data's way: from the log's callbacks and the fetches to the pump. Invariants: what was told is never
//! taken back; the wake is called without a lock. Cannot fail: the log's failure is one of the things told.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use seawall_wal::Lsn;
use seawall_wal::mutant::mutant;

/// Called when there may be something to poll for; from any thread, so it should only leave a note.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// Where it is told.
#[derive(Default)]
pub(super) struct Signal {
    told: Mutex<Told>,
    changed: Condvar,
    wake: Option<Wake>,
}

/// What was told.
#[derive(Clone, Default)]
pub(super) struct Told {
    /// Every write of a Ready up to this number is durable.
    pub(super) number: u64,
    /// What stopped the log.
    pub(super) failure: Option<seawall_wal::Error>,
    /// A read has ended that the pump has not looked at.
    pub(super) fetched: bool,
}

impl Signal {
    pub(super) fn new(wake: Option<Wake>) -> Signal {
        Signal { wake, ..Signal::default() }
    }

    /// The write of Ready `number` is durable, or never will be.
    pub(super) fn written(&self, number: u64, result: Result<Lsn, seawall_wal::Error>) {
        self.tell(|told| match result {
            Ok(_) => told.number = told.number.max(number),
            Err(_) if mutant("failure_taken_for_durable") => told.number = told.number.max(number),
            Err(error) => {
                told.failure.get_or_insert(error);
            }
        });
    }

    /// A read has ended.
    pub(super) fn fetched(&self) {
        self.tell(|told| told.fetched = true);
    }

    fn tell(&self, what: impl FnOnce(&mut Told)) {
        what(&mut self.told.lock());
        self.changed.notify_all();
        if let Some(wake) = &self.wake {
            wake();
        }
    }

    /// What was told up to now.
    pub(super) fn told(&self) -> Told {
        self.told.lock().clone()
    }

    /// Whether a read has ended since the last call.
    pub(super) fn take_fetched(&self) -> bool {
        std::mem::take(&mut self.told.lock().fetched)
    }

    /// Blocks until `enough` was told, or `timeout` is over.
    pub(super) fn wait(&self, timeout: Duration, enough: impl Fn(&Told) -> bool) {
        let mut told = self.told.lock();
        self.changed.wait_while_for(&mut told, |told| !enough(told), timeout);
    }
}
