//! Row 8: bytes that the device writes per byte of payload, as the kernel counts them for the whole disk.
//!
//! Each line appends durably for a while and compacts what it appended, so that files are reused. The file system is
//! synced before and after, so that data in the page cache are counted. Writes of other users of the disk are counted
//! too.

use crate::args::Site;
use crate::load::{Appending, tidied};
use crate::store::{RaftEngine, Seawall, Setup, Store};
use crate::turns::{Figures, Line, Outcome, take_turns};
use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use rustix::fs::syncfs;
use seawall_compare::raft_engine::PURGED_FILES;
use seawall_harness::device::Device;
use seawall_harness::load::{Drive, drive, payload};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// Slack of Seawall in bytes. The default exceeds the volume that some lines append.
const SLACK_BYTES: usize = 64 << 20;

/// Device bytes per payload byte.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Payload of an entry
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Groups of the third table
    #[arg(long, default_value_t = 10_000)]
    groups: u64,
    /// Time measured per line and round
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Files of raft-engine
    #[arg(long, default_value_t = 128 << 20)]
    file_bytes: u64,
}

/// Parameters of a line.
#[derive(Clone, Copy)]
struct How {
    groups: u64,
    threads: u64,
    in_flight: usize,
    per_batch: u64,
    /// Number of slow groups, and number of entries that each group keeps.
    slow: u64,
    keep: u64,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { groups: 200, seconds: 0.05, file_bytes: 4 << 20, ..self }
    }

    pub(crate) fn needed_bytes(&self) -> u64 {
        3 * PURGED_FILES * self.file_bytes + (6 << 30)
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        let lone = How { groups: 1, threads: 1, in_flight: 1, per_batch: 1, slow: 0, keep: 1000 };
        // A thread of raft-engine has at most one append in flight.
        let wide = How { groups: 32, threads: 32, ..lone };
        let many = How {
            groups: self.groups,
            threads: 16,
            per_batch: 16,
            slow: self.groups / 200,
            keep: 16,
            ..lone
        };
        let cases = [
            ("lone appends", lone, lone),
            ("32 in flight", How { in_flight: 32, ..lone }, wide),
            ("many groups, rewriting", many, many),
        ];
        cases.into_iter().map(|(name, ours, theirs)| self.table(site, name, ours, theirs)).collect()
    }

    fn table(&self, site: &Site<'_>, name: &str, ours_how: How, theirs_how: How) -> Result<Outcome> {
        let setup = Setup {
            file_bytes: self.file_bytes,
            purge_bytes: Some(PURGED_FILES * self.file_bytes),
            run_in: true,
            slack_bytes: Some(SLACK_BYTES),
            ..Setup::default()
        };
        let data = Bytes::from(payload(site.seed, self.bytes));
        let dir = |who: &str| site.dir.join(format!("{who}-{}-{}", ours_how.groups, ours_how.in_flight));
        let ours = Seawall::create(&dir("ours"), &setup)?;
        let theirs = RaftEngine::create(&dir("theirs"), &setup)?;
        let lines = vec![
            Line::new(Seawall::NAME, || self.measure(&ours, site.dir, ours_how, &data)),
            Line::new(RaftEngine::NAME, || self.measure(&theirs, site.dir, theirs_how, &data)),
        ];
        let title = format!("device bytes per payload byte: {name}, {} B", self.bytes);
        let rounds = take_turns(&title, site.dir, site.rounds, lines)?;
        let over = rounds.ratio("bytes/byte", 0, 1);
        let mut outcome = rounds.outcome(8, title, Vec::new());
        outcome.notes.push(format!("seawall over raft-engine: {over:.2}"));
        ours.close()?;
        theirs.close()?;
        Ok(outcome)
    }

    fn measure<S: Store>(&self, store: &S, dir: &Path, how: How, data: &Bytes) -> Result<Figures> {
        let root = File::open(dir).with_context(|| format!("open {}", dir.display()))?;
        let device = Device::below(dir)?;
        let How { groups, threads, in_flight, per_batch, slow, keep } = how;
        let appending = Appending { store, groups, threads, per_batch, slow, keep, data: data.clone() };
        let window = Duration::from_secs_f64(self.seconds);
        let drive_it = || {
            drive(&appending, Drive { threads: usize::try_from(threads)?, in_flight, payload: data, window })
        };
        syncfs(&root).context("sync the file system")?;
        let before = device.read()?;
        let sample = tidied(store, drive_it)?;
        store.flush()?;
        syncfs(&root).context("sync the file system")?;
        let seen = device.read()?.since(&before);
        let appends = (sample.appended * per_batch) as f64;
        let flushes = seen.flushes.map(|flushes| ("flushes/append", flushes as f64 / appends));
        let mut figures = vec![
            ("bytes/byte", seen.write_bytes as f64 / (appends * data.len() as f64)),
            ("writes/append", seen.writes as f64 / appends),
            ("appends/s", sample.ops_s() * per_batch as f64),
        ];
        figures.extend(flushes);
        Ok(figures)
    }
}
