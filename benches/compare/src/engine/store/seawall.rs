//! Seawall's engine as a [`Store`], through its public interface only.

use super::{Setup, Store};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use seawall::{Engine, EntryRef, Options, Ticket, WriteBatch};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Slack that no run reaches, so nothing is ever rewritten.
const NEVER_BYTES: usize = 1 << 40;

/// Time limit for the preparation of spares.
const SETTLE_MAX: Duration = Duration::from_secs(20);

/// An engine.
pub(crate) struct Seawall(Engine);

impl Seawall {
    /// Returns the engine itself, for features that other engines lack.
    pub(crate) fn into_engine(self) -> Engine {
        self.0
    }

    /// Waits until a new log has its spares and their blocks are written.
    fn settle(&self) -> Result<()> {
        let (spares, begin) = (Options::default().log.spare_segments as usize, Instant::now());
        while self.0.stats().context("figures of seawall")?.log.spares_zeroed < spares {
            ensure!(begin.elapsed() < SETTLE_MAX, "the log's spares are not ready after {SETTLE_MAX:?}");
            thread::sleep(SETTLE_MAX / 1000);
        }
        Ok(())
    }
}

fn options(setup: &Setup) -> Options {
    let mut options = Options::default()
        .with_slack_bytes(setup.slack_bytes.unwrap_or(NEVER_BYTES))
        .with_cache_bytes(setup.cache_bytes)
        .with_map_sealed(setup.map_sealed);
    options.log.segment_bytes = setup.segment_bytes;
    options
}

impl Store for Seawall {
    const NAME: &'static str = "seawall";
    type Writer = WriteBatch;
    type Ticket = Ticket;

    fn create(dir: &Path, setup: &Setup) -> Result<Seawall> {
        let store = Seawall(Engine::create(dir, &options(setup)).context("create seawall")?);
        if setup.run_in {
            store.settle()?;
        }
        Ok(store)
    }

    fn open(dir: &Path, setup: &Setup) -> Result<Seawall> {
        let (engine, _) = Engine::open(dir, &options(setup)).context("open seawall")?;
        Ok(Seawall(engine))
    }

    fn close(self) -> Result<()> {
        self.0.close().context("close seawall")
    }

    fn writer(&self) -> WriteBatch {
        WriteBatch::new()
    }

    fn append(batch: &mut WriteBatch, group: u64, first: u64, count: u64, payload: &Bytes) -> Result<()> {
        let entry = |index| EntryRef { index, term: 1, payload };
        if count == 1 {
            batch.append(group, &[entry(first)]);
        } else {
            let entries: Vec<_> = (first..first + count).map(entry).collect();
            batch.append(group, &entries);
        }
        Ok(())
    }

    fn compact(batch: &mut WriteBatch, group: u64, index: u64) {
        batch.compact(group, index);
    }

    fn submit(&self, batch: &mut WriteBatch) -> Result<Ticket> {
        self.0.write(batch).context("write to seawall")
    }

    fn wait(&self, ticket: Ticket) -> Result<()> {
        ticket.wait().context("wait for seawall")?;
        Ok(())
    }

    fn segment(ticket: &Ticket) -> Option<u32> {
        Some(ticket.lsn().segment())
    }

    fn submit_lazily(&self, batch: &mut WriteBatch) -> Result<()> {
        self.submit(batch).map(drop)
    }

    fn flush(&self) -> Result<()> {
        self.0.flush().context("flush seawall")
    }

    fn read(&self, group: u64, low: u64, high: u64) -> Result<(u64, u64)> {
        let entries = self.0.group(group).entries(low, high, None).context("read from seawall")?;
        let bytes = entries.iter().map(|entry| entry.payload.len() as u64).sum();
        Ok((entries.len() as u64, bytes))
    }

    fn has(&self, group: u64, index: u64, expected: &Bytes) -> Result<bool> {
        let entries = self.0.group(group).entries(index, index + 1, None).context("read from seawall")?;
        Ok(entries.first().is_some_and(|entry| entry.payload == expected))
    }

    fn first_index(&self, group: u64) -> u64 {
        self.0.group(group).first_index()
    }

    fn last_index(&self, group: u64) -> u64 {
        self.0.group(group).last_index()
    }

    fn cache(&self) -> Result<Option<(u64, u64)>> {
        let cache = self.0.stats().context("figures of seawall")?.cache;
        Ok(Some((cache.hits, cache.misses)))
    }

    /// The engine does its background work itself.
    fn tidy(&self) -> Result<()> {
        Ok(())
    }
}
