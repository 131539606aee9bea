//! Row 1: durable appends to thousands of groups, compared with the same threads that have one group each.
//!
//! Each thread appends to its share of the groups in a random order. In the first table a thread writes one entry at a
//! time and waits for it, like a Raft group with its own thread. In the second a batch has entries of several groups,
//! like a store that drives many groups from one loop.

use crate::args::Site;
use crate::load::Appending;
use crate::store::{RaftEngine, Seawall, Setup, Store};
use crate::turns::{Check, Figures, Line, Outcome, take_turns};
use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use seawall_compare::bar::Bar;
use seawall_compare::raft_engine::PURGED_FILES;
use seawall_harness::load::{Drive, drive, payload};
use std::path::Path;
use std::time::Duration;

/// Number of groups that one batch of the preparation writes to.
const BATCH_GROUPS: u64 = 500;

/// Appends to many groups.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Groups
    #[arg(long, default_value_t = 10_000)]
    groups: u64,
    /// Threads
    #[arg(long, default_value_t = 16)]
    threads: u64,
    /// Payload of an entry
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Number of groups that one batch has an entry of, in the second table
    #[arg(long, default_value_t = 16)]
    per_batch: u64,
    /// Time measured per line and round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Files of raft-engine
    #[arg(long, default_value_t = 128 << 20)]
    file_bytes: u64,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { groups: 200, threads: 4, per_batch: 4, seconds: 0.05, file_bytes: 4 << 20, ..self }
    }

    pub(crate) fn needed_bytes(&self) -> u64 {
        // Two raft-engines with the files that they recycle, and the volume that a round appends.
        2 * (PURGED_FILES * 2 * self.file_bytes) + (2 << 30)
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        let setup = Setup {
            file_bytes: self.file_bytes,
            purge_bytes: Some(PURGED_FILES * self.file_bytes),
            run_in: true,
            ..Setup::default()
        };
        let data = Bytes::from(payload(site.seed, self.bytes));
        let few = self.threads;
        let ours = Grouped::<Seawall>::create(&site.dir.join("ours"), &setup, self.groups, data.clone())?;
        let ours_few = Grouped::<Seawall>::create(&site.dir.join("ours-few"), &setup, few, data.clone())?;
        let theirs =
            Grouped::<RaftEngine>::create(&site.dir.join("theirs"), &setup, self.groups, data.clone())?;
        let theirs_few = Grouped::<RaftEngine>::create(&site.dir.join("theirs-few"), &setup, few, data)?;

        let mut outcomes = Vec::new();
        // A batch with entries of several groups requires several groups per thread.
        for per_batch in [1, self.per_batch] {
            let mut lines = vec![self.line(&ours, per_batch)];
            if per_batch == 1 {
                lines.push(self.line(&ours_few, 1));
            }
            lines.push(self.line(&theirs, per_batch));
            if per_batch == 1 {
                lines.push(self.line(&theirs_few, 1));
            }
            let theirs_at = if per_batch == 1 { 2 } else { 1 };
            let title = format!("{} threads, {} B, {per_batch} entries per batch", self.threads, self.bytes);
            let rounds = take_turns(&title, site.dir, site.rounds, lines)?;
            let over = rounds.ratio("entries/s", 0, theirs_at);
            let mut checks = Vec::new();
            if per_batch == 1 {
                let share = rounds.ratio("entries/s", 0, 1);
                checks.push(Check::new("of the rate with one group per thread", share, Bar::AtLeast(0.7)));
            }
            checks.push(Check::new("seawall over raft-engine, same groups", over, Bar::AtLeast(1.5)));
            outcomes.push(rounds.outcome(1, title, checks));
        }
        Ok(outcomes)
    }

    fn line<'a, S: Store>(&'a self, grouped: &'a Grouped<S>, per_batch: u64) -> Line<'a> {
        Line::new(format!("{}, {} groups", S::NAME, grouped.groups), move || {
            grouped.rest()?;
            grouped.measure(self.threads, per_batch, Duration::from_secs_f64(self.seconds))
        })
    }
}

/// An engine with its groups.
struct Grouped<S> {
    store: S,
    groups: u64,
    data: Bytes,
}

impl<S: Store> Grouped<S> {
    /// Creates the engine with one entry in every group.
    fn create(dir: &Path, setup: &Setup, groups: u64, data: Bytes) -> Result<Grouped<S>> {
        let store = S::create(dir, setup)?;
        let mut writer = store.writer();
        for group in 1..=groups {
            S::append(&mut writer, group, 1, 1, &data)?;
            if group % BATCH_GROUPS == 0 {
                store.submit_lazily(&mut writer)?;
            }
        }
        S::append(&mut writer, 1, store.last_index(1) + 1, 1, &data)?;
        store.submit_lazily(&mut writer)?;
        store.flush()?;
        Ok(Grouped { store, groups, data })
    }

    /// Compacts each group to its last entry, as a node does after snapshots.
    fn rest(&self) -> Result<()> {
        let mut writer = self.store.writer();
        let mut pending = 0;
        for group in 1..=self.groups {
            let last = self.store.last_index(group);
            // The group has one entry from the last round, and perhaps none since.
            if last < 3 {
                continue;
            }
            S::compact(&mut writer, group, last - 1);
            S::append(&mut writer, group, last + 1, 1, &self.data)?;
            pending += 1;
            if pending % BATCH_GROUPS == 0 {
                self.store.submit_lazily(&mut writer)?;
            }
        }
        if pending % BATCH_GROUPS != 0 {
            self.store.submit_lazily(&mut writer)?;
        }
        self.store.flush()?;
        self.store.tidy()
    }

    fn measure(&self, threads: u64, per_batch: u64, window: Duration) -> Result<Figures> {
        let (store, groups, data) = (&self.store, self.groups, self.data.clone());
        let appending = Appending { store, groups, threads, per_batch, slow: 0, keep: u64::MAX, data };
        let threads = usize::try_from(threads)?;
        let sample = drive(&appending, Drive { threads, in_flight: 1, payload: &self.data, window })?;
        Ok(vec![
            ("entries/s", sample.ops_s() * per_batch as f64),
            ("p50 us", sample.quantile_us(0.5)),
            ("p99 us", sample.quantile_us(0.99)),
        ])
    }
}
