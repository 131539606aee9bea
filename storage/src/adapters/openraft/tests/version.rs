//! A third implementation of the version types, for tests of the shared code: it needs neither crate and spells
//! out every value.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use seawall_wal::disk::Mode;
use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};

use crate::adapters::openraft::error::Result;
use crate::adapters::openraft::log::callback_order::Callback;
use crate::adapters::openraft::log::open::Types;
use crate::adapters::openraft::log::write::LogWrites;
use crate::adapters::openraft::log_id::Id;
use crate::adapters::openraft::stores::{LogOptions, LogStores};
use crate::engine::Engine;
use crate::options::Options;

pub(super) const GROUP: u64 = 7;

pub(super) struct Line;

/// Term and node.
pub(super) type Leader = (u64, u64);
pub(super) type Entry = (Id<Leader>, String);

impl Types for Line {
    type Leader = Leader;
    type Vote = (u64, u64, bool);
    type Entry = Entry;

    fn id(entry: &Entry) -> Id<Leader> {
        entry.0.clone()
    }
}

pub(super) fn id(term: u64, node: u64, index: u64) -> Id<Leader> {
    Id { leader: (term, node), index }
}

pub(super) fn entry(term: u64, node: u64, index: u64) -> Entry {
    (id(term, node, index), format!("{term} {node} {index}"))
}

pub(super) fn options() -> Options {
    let mut options = Options::default();
    options.log.segment_bytes = 4096 * 24;
    options.slack_bytes = 0;
    options
}

/// A simulated disk. With stepped threads its operations happen on the thread that flushes.
pub(super) fn disk(seed: u64) -> Arc<SimDisk> {
    let mode = if seed.is_multiple_of(2) { Mode::Direct } else { Mode::Buffered };
    SimDisk::new(seed, SimOptions { mode, ..SimOptions::default() })
}

/// Opens the engine on `disk`, or creates it.
pub(super) fn open(disk: &Arc<SimDisk>, seed: u64) -> Result<(Engine, LogStores, LogWrites<Line>)> {
    let env = Env {
        disk: disk.process(),
        clock: Arc::new(SimClock::new()),
        random: Arc::new(SimRandom::new(seed)),
        threads: Threads::Stepped,
    };
    let engine = match disk.exists("IDENTITY") {
        true => Engine::open_in(env, &options())?.0,
        false => Engine::create_in(env, &options())?,
    };
    let logs = LogStores::new(&engine, LogOptions::default().with_threads(0))?;
    let log = LogWrites::open(&logs, GROUP)?;
    Ok((engine, logs, log))
}

/// Returns the result of `future` if one poll is enough.
pub(super) fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Polls `future` once more and returns its result if it is ready.
pub(super) fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    match std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// Returns the result of `future`, which may wait only for flushes.
pub(super) fn drive<T>(engine: &Engine, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..3 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        let _ = engine.flush();
    }
    panic!("it waits for something else than a flush")
}

/// Callbacks that record their number and result.
#[derive(Clone, Default)]
pub(super) struct Answers(Arc<Mutex<Vec<Answer>>>);

type Answer = (u64, Result<()>);

impl Answers {
    pub(super) fn callback(&self, n: u64) -> Callback {
        let answers = Arc::clone(&self.0);
        Box::new(move |result| answers.lock().push((n, result)))
    }

    pub(super) fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut self.0.lock())
    }

    /// The numbers, and whether each result was `Ok`.
    pub(super) fn seen(&self) -> Vec<(u64, bool)> {
        self.0.lock().iter().map(|(n, result)| (*n, result.is_ok())).collect()
    }
}
