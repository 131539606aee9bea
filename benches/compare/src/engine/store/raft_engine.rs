//! raft-engine as a [`Store`]: batches over many regions, payloads shared instead of copied into entries, and a purge
//! that the caller's thread runs.

use super::{Setup, Store};
use anyhow::{Context, Result};
use bytes::Bytes;
use raft_engine::{Command, LogBatch};
use raft_proto::eraftpb::Entry;
use seawall_compare::raft_engine::{Entries, Inner, open, run_in, tuned};
use std::cell::RefCell;
use std::path::Path;

/// Total file size that no run reaches, in bytes.
const NEVER_BYTES: u64 = 1 << 40;
/// A region that only syncs write to, because an empty batch syncs nothing.
const SYNC_REGION: u64 = u64::MAX - 1;

/// An engine.
pub(crate) struct RaftEngine(Inner);

/// A batch, and the entries of one append to it.
pub(crate) struct Writer {
    batch: LogBatch,
    entries: Vec<Entry>,
}

impl Store for RaftEngine {
    const NAME: &'static str = "raft-engine";
    type Writer = Writer;
    type Ticket = ();

    fn create(dir: &Path, setup: &Setup) -> Result<RaftEngine> {
        let engine = RaftEngine::open(dir, setup)?;
        if setup.run_in {
            run_in(&engine.0)?;
        }
        Ok(engine)
    }

    fn open(dir: &Path, setup: &Setup) -> Result<RaftEngine> {
        let purge_bytes = setup.purge_bytes.unwrap_or(NEVER_BYTES);
        let (inner, _syncs) = open(tuned(dir, setup.file_bytes, purge_bytes))?;
        Ok(RaftEngine(inner))
    }

    fn close(self) -> Result<()> {
        self.flush()
    }

    fn writer(&self) -> Writer {
        Writer { batch: LogBatch::default(), entries: Vec::new() }
    }

    fn append(writer: &mut Writer, group: u64, first: u64, count: u64, payload: &Bytes) -> Result<()> {
        let Writer { batch, entries } = writer;
        let entry = |index| Entry { index, term: 1, data: payload.clone(), ..Entry::default() };
        entries.clear();
        entries.extend((first..first + count).map(entry));
        batch.add_entries::<Entries>(group, entries).context("add entries to a batch of raft-engine")
    }

    fn compact(writer: &mut Writer, group: u64, index: u64) {
        // raft-engine keeps the entries from this index on.
        writer.batch.add_command(group, Command::Compact { index: index + 1 });
    }

    fn submit(&self, writer: &mut Writer) -> Result<()> {
        self.0.write(&mut writer.batch, true).context("write to raft-engine")?;
        Ok(())
    }

    fn wait(&self, (): ()) -> Result<()> {
        Ok(())
    }

    fn segment((): &()) -> Option<u32> {
        None
    }

    fn submit_lazily(&self, writer: &mut Writer) -> Result<()> {
        self.0.write(&mut writer.batch, false).context("write to raft-engine")?;
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut batch = LogBatch::default();
        batch.put(SYNC_REGION, b"sync".to_vec(), vec![1]).context("put to raft-engine")?;
        self.0.write(&mut batch, true).context("sync raft-engine")?;
        Ok(())
    }

    fn read(&self, group: u64, low: u64, high: u64) -> Result<(u64, u64)> {
        // raft-engine fills a list of the caller, so each thread keeps one.
        thread_local!(static ENTRIES: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) });
        ENTRIES.with_borrow_mut(|entries| {
            entries.clear();
            if high == low + 1 {
                let entry = self.0.get_entry::<Entries>(group, low).context("read from raft-engine")?;
                entries.extend(entry);
            } else {
                let fetched = self.0.fetch_entries_to::<Entries>(group, low, high, None, entries);
                fetched.context("read from raft-engine")?;
            }
            let bytes = entries.iter().map(|entry| entry.data.len() as u64).sum();
            Ok((entries.len() as u64, bytes))
        })
    }

    fn has(&self, group: u64, index: u64, expected: &Bytes) -> Result<bool> {
        let entry = self.0.get_entry::<Entries>(group, index).context("read from raft-engine")?;
        Ok(entry.is_some_and(|entry| entry.data == expected))
    }

    fn first_index(&self, group: u64) -> u64 {
        self.0.first_index(group).unwrap_or(0)
    }

    fn last_index(&self, group: u64) -> u64 {
        self.0.last_index(group).unwrap_or(0)
    }

    fn tidy(&self) -> Result<()> {
        self.0.purge_expired_files().context("purge raft-engine")?;
        Ok(())
    }
}
