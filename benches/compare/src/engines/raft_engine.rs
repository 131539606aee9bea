//! raft-engine: one region per thread, every write with `sync`. A file system hook counts the syncs.
//!
//! An append is durable when `write` returns, so a thread has one in flight. In *gathered* mode the caller collects all
//! appends in flight in one batch and writes them with one call, which is the highest rate that one thread can reach.
//! `seawall_compare::raft_engine` tunes it and runs it in.

use super::{Engine, Seen};
use crate::args::Scale;
use crate::load::{Kind, Load, Who};
use anyhow::{Context, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use raft_engine::{Config, LogBatch};
use raft_proto::eraftpb::Entry;
use seawall_compare::raft_engine::{Entries, Inner, PURGED_FILES, run_in, tuned};
use seawall_harness::load::{Drive, Target, drive};
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Regions that threads append to, and one for the sync that ends appends without syncs.
const REGIONS: u64 = 64;
const SYNC_REGION: u64 = REGIONS + 1;

/// An engine and the number of its syncs.
pub(super) struct RaftEngine {
    inner: Inner,
    config: Config,
    syncs: Arc<AtomicU64>,
}

/// Opens an engine with its default options.
pub(super) fn open_default(dir: &Path) -> Result<RaftEngine> {
    open(Config { dir: dir.join("log").display().to_string(), ..Config::default() })
}

/// Opens an engine with the best options for these loads.
pub(super) fn open_tuned(dir: &Path, scale: &Scale) -> Result<RaftEngine> {
    let file_bytes = scale.raft_engine_file_bytes;
    let engine = open(tuned(&dir.join("log"), file_bytes, PURGED_FILES * file_bytes))?;
    run_in(&engine.inner)?;
    Ok(engine)
}

fn open(config: Config) -> Result<RaftEngine> {
    let (inner, syncs) = seawall_compare::raft_engine::open(config.clone())?;
    Ok(RaftEngine { inner, config, syncs })
}

impl RaftEngine {
    fn next_index(&self, region: u64) -> u64 {
        self.inner.last_index(region).map_or(1, |last| last + 1)
    }

    /// Appends without syncs, and syncs once at the end.
    fn lazy(&self, appends: u64, payload: &[u8]) -> Result<Seen> {
        let mut producer = self.producer(0);
        let begin = Instant::now();
        for _ in 0..appends {
            producer.push(payload)?;
            self.inner.write(&mut producer.batch, false).context("write to raft-engine")?;
        }
        // Its `sync` writes an empty batch, which does nothing; a batch that is not empty is synced.
        let mut last = LogBatch::default();
        last.put(SYNC_REGION, b"end".to_vec(), vec![1]).context("put to raft-engine")?;
        self.inner.write(&mut last, true).context("sync raft-engine")?;
        Ok(Seen::of_lazy(appends, begin))
    }
}

impl Engine for RaftEngine {
    fn measure(&self, who: Who, load: &Load, payload: &[u8]) -> Result<Seen> {
        let window = match load.kind {
            Kind::Durable { window } => window,
            Kind::Lazy { appends } => return self.lazy(appends, payload),
        };
        let how = Drive { threads: load.threads, in_flight: load.in_flight, payload, window };
        let sample = if who == Who::RaftEngineGathered {
            let producer = self.producer(0);
            drive(&Gathered { engine: self, open: Mutex::new(Open { producer, next: 0, written: 0 }) }, how)?
        } else {
            drive(self, how)?
        };
        Ok(Seen::from(&sample))
    }

    fn rest(&self) -> Result<()> {
        for region in 1..=REGIONS {
            if let Some(last) = self.inner.last_index(region) {
                self.inner.compact_to(region, last);
            }
        }
        self.inner.purge_expired_files().context("purge raft-engine")?;
        Ok(())
    }

    fn records(&self) -> Result<Option<u64>> {
        Ok(Some((1..=REGIONS).filter_map(|region| self.inner.last_index(region)).sum()))
    }

    fn syncs(&self) -> Result<Option<u64>> {
        Ok(Some(self.syncs.load(Ordering::Relaxed)))
    }

    fn read_back(self: Box<Self>, payload: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut producer = self.producer(0);
        self.append(&mut producer, payload)?;
        let config = self.config.clone();
        drop(self);
        let inner = open(config)?.inner;
        let last = inner.last_index(producer.region).context("the region is empty")?;
        let entry = inner.get_entry::<Entries>(producer.region, last).context("read from raft-engine")?;
        Ok(Some(entry.context("the last entry is gone")?.data.to_vec()))
    }
}

/// The reusable batch of one thread, and its region.
pub(super) struct Producer {
    region: u64,
    next: u64,
    batch: LogBatch,
    entry: Entry,
}

impl Producer {
    fn push(&mut self, payload: &[u8]) -> Result<()> {
        self.entry.index = self.next;
        self.entry.data = Bytes::copy_from_slice(payload);
        self.batch
            .add_entries::<Entries>(self.region, slice::from_ref(&self.entry))
            .context("add an entry to a batch of raft-engine")?;
        self.next += 1;
        Ok(())
    }
}

impl Target for RaftEngine {
    type Producer = Producer;
    type Ticket = ();

    fn producer(&self, key: u64) -> Producer {
        let region = 1 + key % REGIONS;
        let entry = Entry { term: 1, ..Entry::default() };
        Producer { region, next: self.next_index(region), batch: LogBatch::default(), entry }
    }

    fn append(&self, producer: &mut Producer, payload: &[u8]) -> Result<()> {
        producer.push(payload)?;
        self.inner.write(&mut producer.batch, true).context("write to raft-engine")?;
        Ok(())
    }

    fn wait(&self, (): ()) -> Result<()> {
        Ok(())
    }
}

/// One thread that gathers the appends in flight until it has to wait.
struct Gathered<'a> {
    engine: &'a RaftEngine,
    open: Mutex<Open>,
}

struct Open {
    producer: Producer,
    next: u64,
    /// Number of appends that are durable.
    written: u64,
}

impl Target for Gathered<'_> {
    type Producer = ();
    type Ticket = u64;

    fn producer(&self, _key: u64) {}

    fn append(&self, (): &mut (), payload: &[u8]) -> Result<u64> {
        let mut open = self.open.lock();
        open.producer.push(payload)?;
        open.next += 1;
        Ok(open.next - 1)
    }

    fn wait(&self, ticket: u64) -> Result<()> {
        let mut open = self.open.lock();
        if ticket >= open.written {
            self.engine.inner.write(&mut open.producer.batch, true).context("write to raft-engine")?;
            open.written = open.next;
        }
        Ok(())
    }
}
