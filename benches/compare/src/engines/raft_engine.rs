//! raft-engine: one region per thread, every write with `sync`, syncs counted by its file system hook.
//!
//! Tuned: no compression, which random payloads only pay for, and run in: all of its files have been filled
//! once, by small appends, and are used again, so that a sync changes no metadata. (Files that it prefills by
//! itself change none either, but made 64 threads with 4 KiB each half as fast.) An append is durable when
//! `write` returns, so a thread has one in flight. Where appends are *gathered*, the caller collects all that
//! are in flight in one batch and writes them with one call: the most that one thread can get out of it.

use super::{Engine, Seen};
use crate::args::Scale;
use crate::plan::{Kind, Load, Who};
use anyhow::{Context, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission};
use raft_engine::internals::{FilePipeLog, LogQueue};
use raft_engine::{Config, LogBatch, MessageExt, ReadableSize};
use raft_proto::eraftpb::Entry;
use seawall_tools::bench::load::{Drive, Target, drive};
use std::io;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Regions that threads append to, and one for the sync that ends appends without syncs.
const REGIONS: u64 = 64;
const SYNC_REGION: u64 = REGIONS + 1;
/// Files that it fills before it purges.
const PURGED_FILES: u64 = 4;
const RUN_IN_BYTES: usize = 4096;

type Inner = raft_engine::Engine<CountingSyncs, FilePipeLog<CountingSyncs>>;

/// An engine and its syncs.
pub(super) struct RaftEngine {
    inner: Inner,
    config: Config,
    syncs: Arc<AtomicU64>,
}

/// As it comes.
pub(super) fn open_default(dir: &Path) -> Result<RaftEngine> {
    open(Config { dir: dir.join("log").display().to_string(), ..Config::default() })
}

/// As well as it can be for these loads.
pub(super) fn open_tuned(dir: &Path, scale: &Scale) -> Result<RaftEngine> {
    let engine = open(Config {
        dir: dir.join("log").display().to_string(),
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(scale.raft_engine_file_bytes),
        purge_threshold: ReadableSize(PURGED_FILES * scale.raft_engine_file_bytes),
        enable_log_recycle: true,
        ..Config::default()
    })?;
    engine.run_in()?;
    Ok(engine)
}

fn open(config: Config) -> Result<RaftEngine> {
    let syncs = Arc::new(AtomicU64::new(0));
    let file_system = Arc::new(CountingSyncs { syncs: Arc::clone(&syncs) });
    let inner = Inner::open_with_file_system(config.clone(), file_system).context("open raft-engine")?;
    Ok(RaftEngine { inner, config, syncs })
}

impl RaftEngine {
    /// Fills as many files as it recycles, and frees them.
    fn run_in(&self) -> Result<()> {
        let mut producer = self.producer(0);
        // It recycles half as many again as it purges.
        while self.inner.file_span(LogQueue::Append).1 <= PURGED_FILES / 2 * 3 {
            producer.push(&[7; RUN_IN_BYTES])?;
            self.inner.write(&mut producer.batch, false).context("write to raft-engine")?;
        }
        self.rest()?;
        // The file in use was made before there was one to recycle; the next is a recycled one.
        self.inner.purge_manager().must_purge_all_stale();
        Ok(())
    }

    fn next_index(&self, region: u64) -> u64 {
        self.inner.last_index(region).map_or(1, |last| last + 1)
    }

    /// Appends without syncs, and one sync at the end.
    fn lazy(&self, appends: u64, payload: &[u8]) -> Result<Seen> {
        let mut producer = self.producer(0);
        let begin = Instant::now();
        for _ in 0..appends {
            producer.push(payload)?;
            self.inner.write(&mut producer.batch, false).context("write to raft-engine")?;
        }
        // Its `sync` writes an empty batch, which does nothing at all; a batch that is not empty syncs.
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

/// One thread's batch, reused, and its region.
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

/// One thread that gathers what is in flight until it has to wait.
struct Gathered<'a> {
    engine: &'a RaftEngine,
    open: Mutex<Open>,
}

struct Open {
    producer: Producer,
    next: u64,
    /// Appends before this one are durable.
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

/// What raft-engine has to know about entries.
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// The default file system, its syncs counted.
struct CountingSyncs {
    syncs: Arc<AtomicU64>,
}

type PlainHandle = <DefaultFileSystem as FileSystem>::Handle;

/// A file, and where its syncs are counted.
struct CountedHandle {
    plain: Arc<PlainHandle>,
    syncs: Arc<AtomicU64>,
}

impl Handle for CountedHandle {
    fn truncate(&self, offset: usize) -> io::Result<()> {
        Handle::truncate(&*self.plain, offset)
    }

    fn file_size(&self) -> io::Result<usize> {
        Handle::file_size(&*self.plain)
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Handle::sync(&*self.plain)
    }
}

impl CountingSyncs {
    fn counted(&self, plain: io::Result<PlainHandle>) -> io::Result<CountedHandle> {
        Ok(CountedHandle { plain: Arc::new(plain?), syncs: Arc::clone(&self.syncs) })
    }
}

impl FileSystem for CountingSyncs {
    type Handle = CountedHandle;
    type Reader = <DefaultFileSystem as FileSystem>::Reader;
    type Writer = <DefaultFileSystem as FileSystem>::Writer;

    fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<CountedHandle> {
        self.counted(DefaultFileSystem.create(path))
    }

    fn open<P: AsRef<Path>>(&self, path: P, permission: Permission) -> io::Result<CountedHandle> {
        self.counted(DefaultFileSystem.open(path, permission))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        DefaultFileSystem.delete(path)
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> io::Result<()> {
        DefaultFileSystem.rename(from, to)
    }

    fn new_reader(&self, handle: Arc<CountedHandle>) -> io::Result<Self::Reader> {
        DefaultFileSystem.new_reader(Arc::clone(&handle.plain))
    }

    fn new_writer(&self, handle: Arc<CountedHandle>) -> io::Result<Self::Writer> {
        DefaultFileSystem.new_writer(Arc::clone(&handle.plain))
    }
}
