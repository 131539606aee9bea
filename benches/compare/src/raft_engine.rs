//! Opens raft-engine for all comparisons: with counted syncs, tuned, and run in.
//!
//! Tuned means without compression, which only costs time for random payloads. Run in means that all files have been
//! filled once by small appends and are reused, so that a sync changes no metadata. (Files that raft-engine prefills
//! itself change none either, but with them 64 threads with 4 KiB each were half as fast.)

use anyhow::{Context, Result};
use bytes::Bytes;
use raft_engine::env::{DefaultFileSystem, FileSystem, Handle, Permission};
use raft_engine::internals::{FilePipeLog, LogQueue};
use raft_engine::{Command, Config, LogBatch, MessageExt, ReadableSize};
use raft_proto::eraftpb::Entry;
use std::io;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Number of files that it fills before it purges, if it is run in.
pub const PURGED_FILES: u64 = 4;
/// A region that only the run-in writes to.
const RUN_IN_REGION: u64 = u64::MAX;
const RUN_IN_BYTES: usize = 4096;

/// The engine, with a file system that counts syncs.
pub type Inner = raft_engine::Engine<CountingSyncs, FilePipeLog<CountingSyncs>>;

/// Options for these loads. The engine purges above `purge_bytes`.
pub fn tuned(dir: &Path, file_bytes: u64, purge_bytes: u64) -> Config {
    Config {
        dir: dir.display().to_string(),
        batch_compression_threshold: ReadableSize(0),
        target_file_size: ReadableSize(file_bytes),
        purge_threshold: ReadableSize(purge_bytes),
        enable_log_recycle: true,
        ..Config::default()
    }
}

/// Opens the engine. Also returns the counter of its syncs.
pub fn open(config: Config) -> Result<(Inner, Arc<AtomicU64>)> {
    let syncs = Arc::new(AtomicU64::new(0));
    let file_system = Arc::new(CountingSyncs { syncs: Arc::clone(&syncs) });
    let inner = Inner::open_with_file_system(config, file_system).context("open raft-engine")?;
    Ok((inner, syncs))
}

/// Fills as many files as it recycles, and frees them. It must purge above [`PURGED_FILES`].
pub fn run_in(inner: &Inner) -> Result<()> {
    let mut batch = LogBatch::default();
    let data = Bytes::from(vec![7; RUN_IN_BYTES]);
    let mut entry = Entry { term: 1, data, ..Entry::default() };
    // It recycles half as many files again as it purges.
    while inner.file_span(LogQueue::Append).1 <= PURGED_FILES / 2 * 3 {
        entry.index += 1;
        let added = batch.add_entries::<Entries>(RUN_IN_REGION, slice::from_ref(&entry));
        added.context("add an entry to a batch of raft-engine")?;
        inner.write(&mut batch, false).context("write to raft-engine")?;
    }
    batch.add_command(RUN_IN_REGION, Command::Clean);
    inner.write(&mut batch, true).context("write to raft-engine")?;
    inner.purge_expired_files().context("purge raft-engine")?;
    // The current file was made before any could be recycled; the next one is recycled.
    inner.purge_manager().must_purge_all_stale();
    Ok(())
}

/// The entry types that raft-engine requires.
pub struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

/// The default file system with counted syncs.
pub struct CountingSyncs {
    syncs: Arc<AtomicU64>,
}

type PlainHandle = <DefaultFileSystem as FileSystem>::Handle;

/// A file and the counter of its syncs.
pub struct CountedHandle {
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
