//! raft-log: one Raft group per log. One thread pipelines appends, and callbacks run after the sync.
//!
//! Its worker waits for more appends before it syncs, 1 ms by default; shorter windows are measured too. Durable
//! entries are purged between measurements.

use super::{Engine, Seen};
use crate::load::{Kind, Load, Who, Window};
use anyhow::{Context, Result, anyhow, ensure};
use parking_lot::Mutex;
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{Callback, Config, RaftLog, Types, chunked_wal};
use seawall_harness::load::{Drive, Target, drive};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

/// Size of a file, in bytes. Purging frees whole files.
const CHUNK_BYTES: usize = 256 << 20;
const TERM: u64 = 1;

/// The entry types that raft-log requires.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Entries;

impl Types for Entries {
    type LogId = (u64, u64);
    type LogPayload = Vec<u8>;
    type Vote = (u64, u64);
    type Callback = Done;
    type UserData = String;

    fn log_index(log_id: &(u64, u64)) -> u64 {
        log_id.1
    }

    fn payload_size(payload: &Vec<u8>) -> u64 {
        payload.len() as u64
    }
}

/// Number of durable appends, and the thread that waits for more.
#[derive(Debug, Default)]
struct Progress {
    durable: AtomicU64,
    failed: AtomicBool,
    /// The waiting thread is woken when `durable` reaches this.
    wanted: AtomicU64,
    waiter: Mutex<Option<Thread>>,
}

impl Progress {
    /// Waits until `appends` appends are durable. Only one thread may wait at a time.
    fn wait(&self, appends: u64) -> Result<()> {
        if self.durable.load(Ordering::SeqCst) < appends {
            *self.waiter.lock() = Some(thread::current());
            self.wanted.store(appends, Ordering::SeqCst);
            while self.durable.load(Ordering::SeqCst) < appends && !self.failed.load(Ordering::SeqCst) {
                thread::park();
            }
        }
        ensure!(!self.failed.load(Ordering::SeqCst), "raft-log failed to sync");
        Ok(())
    }
}

/// Callback of one append. Callbacks run in the order of the appends.
#[derive(Debug)]
struct Done(Arc<Progress>);

impl Callback for Done {
    fn send(self, result: io::Result<()>) {
        let Done(progress) = self;
        if result.is_err() {
            progress.failed.store(true, Ordering::SeqCst);
        }
        let durable = progress.durable.fetch_add(1, Ordering::SeqCst) + 1;
        // Wake once for each wait, not once for each append.
        if (durable == progress.wanted.load(Ordering::SeqCst) || result.is_err())
            && let Some(waiter) = &*progress.waiter.lock()
        {
            waiter.unpark();
        }
    }
}

struct State {
    inner: RaftLog<Entries>,
    /// Index of the next entry.
    next: u64,
    /// Syncs requested, each with a callback.
    asked: u64,
}

impl State {
    fn push(&mut self, payload: &[u8]) -> Result<()> {
        self.inner.append([((TERM, self.next), payload.to_vec())]).context("append to raft-log")?;
        self.next += 1;
        Ok(())
    }

    /// Requests a sync of everything appended so far. Returns the number to wait for.
    fn sync(&mut self, progress: &Arc<Progress>) -> Result<u64> {
        self.inner.flush(true, Some(Done(Arc::clone(progress)))).context("flush raft-log")?;
        self.asked += 1;
        Ok(self.asked)
    }
}

/// A log and its progress.
pub(super) struct Log {
    state: Mutex<State>,
    progress: Arc<Progress>,
    config: Arc<Config>,
}

impl Log {
    pub(super) fn open(dir: &Path, window: Window) -> Result<Log> {
        let config = Arc::new(Config {
            wal: chunked_wal::Config {
                dir: dir.display().to_string(),
                chunk_max_size: Some(CHUNK_BYTES),
                flush_batch_wait: window.duration(),
                flush_batch_max_items: (window == Window::Batch32).then_some(32),
                ..chunked_wal::Config::default()
            },
            ..Config::default()
        });
        let inner = RaftLog::open(Arc::clone(&config)).context("open raft-log")?;
        let state = Mutex::new(State { inner, next: 0, asked: 0 });
        Ok(Log { state, progress: Arc::default(), config })
    }

    /// Appends without syncs, and syncs once at the end.
    fn lazy(&self, appends: u64, payload: &[u8]) -> Result<Seen> {
        let begin = Instant::now();
        let mut state = self.state.lock();
        for _ in 0..appends {
            state.push(payload)?;
        }
        let end = state.sync(&self.progress)?;
        drop(state);
        self.progress.wait(end)?;
        Ok(Seen::of_lazy(appends, begin))
    }
}

impl Engine for Log {
    fn measure(&self, _who: Who, load: &Load, payload: &[u8]) -> Result<Seen> {
        let window = match load.kind {
            Kind::Durable { window } => window,
            Kind::Lazy { appends } => return self.lazy(appends, payload),
        };
        ensure!(load.threads == 1, "raft-log has one Raft group per log");
        let how = Drive { threads: 1, in_flight: load.in_flight, payload, window };
        Ok(Seen::from(&drive(self, how)?))
    }

    fn rest(&self) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(&last) = state.inner.log_state().last() {
            // The last entry stays, so that it can be read back.
            if last.1 > 0 {
                state.inner.purge((TERM, last.1 - 1)).context("purge raft-log")?;
            }
            let end = state.sync(&self.progress)?;
            drop(state);
            self.progress.wait(end)?;
        }
        Ok(())
    }

    fn records(&self) -> Result<Option<u64>> {
        Ok(Some(self.state.lock().inner.log_state().last().map_or(0, |last| last.1 + 1)))
    }

    fn syncs(&self) -> Result<Option<u64>> {
        Ok(Some(self.state.lock().inner.stat().flush_metrics.sync_batch_count))
    }

    fn read_back(self: Box<Self>, payload: &[u8]) -> Result<Option<Vec<u8>>> {
        self.rest()?;
        let ticket = self.append(&mut (), payload)?;
        self.wait(ticket)?;
        let config = Arc::clone(&self.config);
        drop(self);
        let inner = RaftLog::<Entries>::open(config).context("open raft-log")?;
        let last = inner.log_state().last().context("raft-log is empty")?.1;
        let mut found = inner.read(last, last + 1);
        let (_, payload) = found.next().ok_or_else(|| anyhow!("the last entry is gone"))??;
        Ok(Some(payload))
    }
}

impl Target for Log {
    type Producer = ();
    type Ticket = u64;

    fn producer(&self, _key: u64) {}

    fn append(&self, (): &mut (), payload: &[u8]) -> Result<u64> {
        let mut state = self.state.lock();
        state.push(payload)?;
        state.sync(&self.progress)
    }

    fn wait(&self, ticket: u64) -> Result<()> {
        self.progress.wait(ticket)
    }
}
