//! Row 2: memory per live entry throughout a load, measured by a counting allocator.
//!
//! The index must be told apart from other memory: queues, write buffers, data collected for a footer. So the same load
//! first runs with its entries compacted repeatedly. The most memory allocated in that run, minus the least that the
//! entries alive at that moment take, is the memory of everything else. It is subtracted from the most memory allocated
//! during each write of the load; the remainder is the index. Seawall's entry cache, which holds payloads up to its own
//! bound, is off.

use crate::args::Site;
use crate::heap;
use crate::store::{RaftEngine, Seawall, Setup, Store};
use crate::turns::{Check, Figures, Outcome, OutcomeLine, progress};
use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use seawall_compare::bar::Bar;
use seawall_harness::load::payload;
use std::fs;
use std::path::Path;

/// Least bytes of index per entry alive in the warm-up. With it, the subtracted amount is an upper bound.
const ENTRY_BYTES_MIN: f64 = 12.0;
/// Entries between two compactions of the warm-up.
const WARM_UP_STEP: u64 = 50_000;
/// Entries before this share of the load are not judged: the noise of the buffers per entry is larger than an entry.
const JUDGED_FROM: u64 = 50;
const MIB: f64 = 1_048_576.0;

/// Memory of the index.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Live entries
    #[arg(long, default_value_t = 10_000_000)]
    entries: u64,
    /// Payload of an entry
    #[arg(long, default_value_t = 128)]
    bytes: usize,
    /// Groups
    #[arg(long, default_value_t = 1000)]
    groups: u64,
    /// Number of groups that one batch has an entry of
    #[arg(long, default_value_t = 250)]
    per_batch: u64,
    /// Entries of the warm-up
    #[arg(long, default_value_t = 1_500_000)]
    warm_up: u64,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { entries: 100_000, groups: 100, per_batch: 50, warm_up: 60_000, ..self }
    }

    pub(crate) fn needed_bytes(&self) -> u64 {
        (self.entries + self.warm_up) * (self.bytes as u64 + 64) * 2 + (1 << 30)
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        heap::count();
        let data = Bytes::from(payload(site.seed, self.bytes));
        let ours = self.measure::<Seawall>(&site.dir.join("ours"), &data)?;
        let theirs = self.measure::<RaftEngine>(&site.dir.join("theirs"), &data)?;
        progress("");
        let most = |figures: &Figures| figures.first().map_or(f64::NAN, |(_, most)| *most);
        let checks = vec![
            Check::new("bytes per entry at most", most(&ours), Bar::AtMost(16.0)),
            Check::new("seawall over raft-engine", most(&ours) / most(&theirs), Bar::AtMost(1.0)),
        ];
        let line = |engine: &str, figures| OutcomeLine { engine: engine.to_owned(), figures };
        let title =
            format!("index of {} entries of {} B in {} groups", self.entries, self.bytes, self.groups);
        let lines = vec![line(Seawall::NAME, ours), line(RaftEngine::NAME, theirs)];
        let notes = vec![format!("judged from {} entries on", self.entries / JUDGED_FROM)];
        Ok(vec![Outcome { row: 2, title, checks, lines, notes }])
    }

    fn measure<S: Store>(&self, dir: &Path, data: &Bytes) -> Result<Figures> {
        heap::peak_since_last();
        let begin = heap::peak_since_last() as f64;
        let store = S::create(dir, &Setup { cache_bytes: 0, ..Setup::default() })?;
        let mut writer = store.writer();
        let mut next = vec![1; usize::try_from(self.groups)?];

        let mut rest = 0f64;
        for from in (0..self.warm_up).step_by(usize::try_from(WARM_UP_STEP)?) {
            progress(&format!("{}: warm-up, {from} entries", S::NAME));
            for at in (0..WARM_UP_STEP).step_by(usize::try_from(self.per_batch)?) {
                self.batch(&store, &mut writer, &mut next, from + at, data)?;
                let live = (at + self.per_batch) as f64;
                rest = rest.max(heap::peak_since_last() as f64 - begin - live * ENTRY_BYTES_MIN);
            }
            for (group, next) in (1..).zip(&next) {
                S::compact(&mut writer, group, next - 1);
            }
            let ticket = store.submit(&mut writer)?;
            store.wait(ticket)?;
            store.tidy()?;
            heap::peak_since_last();
        }

        let (mut most, mut most_at, mut last) = (0f64, 0, 0f64);
        for from in (0..self.entries).step_by(usize::try_from(self.per_batch)?) {
            if from % WARM_UP_STEP == 0 {
                progress(&format!("{}: {from} entries", S::NAME));
            }
            self.batch(&store, &mut writer, &mut next, from, data)?;
            let entries = from + self.per_batch;
            last = (heap::peak_since_last() as f64 - begin - rest) / entries as f64;
            if entries >= self.entries / JUDGED_FROM && last > most {
                (most, most_at) = (last, entries);
            }
        }
        store.close()?;
        fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))?;
        Ok(vec![
            ("B/entry at most", most),
            ("at entries", most_at as f64),
            ("B/entry at the end", last),
            ("all heap MiB", (last * self.entries as f64 + rest) / MIB),
            ("not index MiB", rest / MIB),
        ])
    }

    /// Writes one durable batch with one entry for each of the next groups in turn.
    fn batch<S: Store>(
        &self,
        store: &S,
        writer: &mut S::Writer,
        next: &mut [u64],
        from: u64,
        data: &Bytes,
    ) -> Result<()> {
        for at in from..from + self.per_batch {
            let group = 1 + at % self.groups;
            let index = &mut next[usize::try_from(group - 1)?];
            S::append(writer, group, *index, 1, data)?;
            *index += 1;
        }
        let ticket = store.submit(writer)?;
        store.wait(ticket)
    }
}
