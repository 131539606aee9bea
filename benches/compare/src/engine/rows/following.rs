//! Row 5: the read load of a leader with followers: another thread reads each entry soon after it is durable.
//!
//! Appending and reading threads come in pairs, connected by a bounded channel of entries to read.

use crate::args::Site;
use crate::load::{count, latencies};
use crate::store::{RaftEngine, Seawall, Setup, Store};
use crate::turns::{Check, Figures, Line, Outcome, take_turns};
use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use seawall_compare::bar::Bar;
use seawall_harness::load::payload;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Most entries that a reading thread may lag.
const BEHIND: usize = 1024;

/// Reading what was just appended.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Groups
    #[arg(long, default_value_t = 1000)]
    groups: u64,
    /// Pairs of an appending and a reading thread
    #[arg(long, default_value_t = 8)]
    pairs: u64,
    /// Payload of an entry
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Entries of one batch, each of another group
    #[arg(long, default_value_t = 8)]
    per_batch: u64,
    /// Time measured per line and round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { groups: 40, pairs: 2, seconds: 0.05, ..self }
    }

    pub(crate) fn needed_bytes(&self) -> u64 {
        16 << 30
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        let data = Bytes::from(payload(site.seed, self.bytes));
        let ours = Seawall::create(&site.dir.join("ours"), &Setup::default())?;
        let theirs = RaftEngine::create(&site.dir.join("theirs"), &Setup::default())?;
        let lines = vec![
            Line::new(Seawall::NAME, || self.measure(&ours, &data)),
            Line::new(RaftEngine::NAME, || self.measure(&theirs, &data)),
        ];
        let title = format!("{} pairs, {} B, {} entries per batch", self.pairs, self.bytes, self.per_batch);
        let rounds = take_turns(&title, site.dir, site.rounds, lines)?;
        let share = rounds.median("from memory", 0);
        let checks = vec![Check::new("of reads from the entry cache", share, Bar::AtLeast(0.99))];
        let outcome = rounds.outcome(5, title, checks);
        ours.close()?;
        theirs.close()?;
        Ok(vec![outcome])
    }

    fn measure<S: Store>(&self, store: &S, data: &Bytes) -> Result<Figures> {
        let before = store.cache()?;
        let begin = Instant::now();
        let until = begin + Duration::from_secs_f64(self.seconds);
        let mut reads = latencies()?;
        thread::scope(|scope| {
            let mut pairs = Vec::new();
            for key in 0..self.pairs {
                let (send, receive) = sync_channel(BEHIND);
                let appending = scope.spawn(move || self.append(store, data, key, until, send));
                pairs.push((appending, scope.spawn(move || self.read(store, receive))));
            }
            for (appending, reading) in pairs {
                let panicked = |_| Err(anyhow!("a thread panicked"));
                let read = reading.join().unwrap_or_else(|_| Err(anyhow!("a reading thread panicked")));
                appending.join().unwrap_or_else(panicked)?;
                reads.add(read?).map_err(|e| anyhow!("a histogram: {e}"))?;
            }
            anyhow::Ok(())
        })?;
        let us = |quantile| reads.value_at_quantile(quantile) as f64 / 1e3;
        let mut figures = vec![
            ("entries/s", reads.len() as f64 / begin.elapsed().as_secs_f64()),
            ("read p50 us", us(0.5)),
            ("read p99 us", us(0.99)),
        ];
        if let Some((after, before)) = store.cache()?.zip(before) {
            let (hits, misses) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
            figures.push(("from memory", hits / (hits + misses)));
        }
        Ok(figures)
    }

    fn append<S: Store>(
        &self,
        store: &S,
        data: &Bytes,
        key: u64,
        until: Instant,
        read: SyncSender<(u64, u64)>,
    ) -> Result<()> {
        let own: Vec<u64> = (1..=self.groups).filter(|group| group % self.pairs == key).collect();
        let mut writer = store.writer();
        let mut turns = own.iter().cycle();
        while Instant::now() < until {
            let mut batch = Vec::new();
            for &group in turns.by_ref().take(usize::try_from(self.per_batch)?) {
                let index = store.last_index(group) + 1;
                S::append(&mut writer, group, index, 1, data)?;
                batch.push((group, index));
            }
            let ticket = store.submit(&mut writer)?;
            store.wait(ticket)?;
            for entry in batch {
                read.send(entry).context("the reading thread has ended")?;
            }
        }
        Ok(())
    }

    fn read<S: Store>(&self, store: &S, entries: Receiver<(u64, u64)>) -> Result<Histogram<u64>> {
        let mut latency_ns = latencies()?;
        for (group, index) in entries {
            let begin = Instant::now();
            let found = store.read(group, index, index + 1)?;
            count(&mut latency_ns, begin);
            ensure!(found == (1, self.bytes as u64), "entry {index} of group {group}: {found:?}");
        }
        Ok(latency_ns)
    }
}
