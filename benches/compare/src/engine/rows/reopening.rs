//! Row 6: time to open an engine with millions of live entries, and its memory afterwards.
//!
//! Each opening runs in its own process, as after a restart, so that the process's memory is the engine's alone. The
//! process is this program with the command `open-once`. `warm` opens find the files in the page cache; before a `cold`
//! one they are dropped from it.

use crate::args::Site;
use crate::store::{RaftEngine, Seawall, Setup, Store};
use crate::turns::{Check, Figures, Line, Outcome, take_turns};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use rustix::fs::{Advice, fadvise};
use seawall_compare::bar::Bar;
use seawall_harness::load::payload;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const MIB: f64 = 1_048_576.0;

/// Openings of an engine with many entries.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Live entries
    #[arg(long, default_value_t = 4_000_000)]
    entries: u64,
    /// Payload of an entry
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Numbers of groups, one table each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10_000])]
    groups: Vec<u64>,
    /// Entries of one batch, each of a different group if there are enough groups
    #[arg(long, default_value_t = 64)]
    per_batch: u64,
}

/// The engine to open.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum Who {
    Seawall,
    RaftEngine,
}

/// One opening. Prints its measurements.
#[derive(Args, Clone, Debug)]
pub(crate) struct Once {
    who: Who,
    path: PathBuf,
    groups: u64,
    entries: u64,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { entries: 20_000, groups: vec![1, 100], ..self }
    }

    pub(crate) fn needed_bytes(&self) -> u64 {
        self.entries * (self.bytes as u64 + 64) * 2 + (1 << 30)
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        let mut outcomes = Vec::new();
        for &groups in &self.groups {
            let (ours, theirs) = (site.dir.join("ours"), site.dir.join("theirs"));
            let data = Bytes::from(payload(site.seed, self.bytes));
            self.fill::<Seawall>(&ours, groups, &data)?;
            self.fill::<RaftEngine>(&theirs, groups, &data)?;
            for cold in [false, true] {
                let line = |name, who, dir: &Path| {
                    let once = Once { who, path: dir.to_owned(), groups, entries: self.entries };
                    Line::new(name, move || once.spawn(cold))
                };
                let lines = vec![
                    line(Seawall::NAME, Who::Seawall, &ours),
                    line(RaftEngine::NAME, Who::RaftEngine, &theirs),
                ];
                let state = if cold { "cold" } else { "warm" };
                let title =
                    format!("open {} entries of {} B in {groups} groups, {state}", self.entries, self.bytes);
                let rounds = take_turns(&title, site.dir, site.rounds, lines)?;
                let over = |name, what, bar| Check::new(what, rounds.ratio(name, 0, 1), Bar::AtMost(bar));
                let checks = vec![
                    over("open ms", "of raft-engine's time", 1.0 / 3.0),
                    over("resident MiB", "of its memory once open", 0.5),
                    over("peak MiB", "of its memory at most", 0.5),
                ];
                outcomes.push(rounds.outcome(6, title, checks));
            }
            for dir in [ours, theirs] {
                fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
            }
        }
        Ok(outcomes)
    }

    fn fill<S: Store>(&self, dir: &Path, groups: u64, data: &Bytes) -> Result<()> {
        let store = S::create(dir, &Setup::default())?;
        let mut writer = store.writer();
        let mut written = 0;
        while written < self.entries {
            let count = self.per_batch.min(self.entries - written);
            if groups == 1 {
                S::append(&mut writer, 1, written + 1, count, data)?;
            } else {
                for at in written..written + count {
                    S::append(&mut writer, 1 + at % groups, 1 + at / groups, 1, data)?;
                }
            }
            store.submit_lazily(&mut writer)?;
            written += count;
        }
        store.flush()?;
        store.close()
    }
}

impl Once {
    /// Runs this opening in another process and returns its figures.
    fn spawn(&self, cold: bool) -> Result<Figures> {
        if cold {
            forget(&self.path)?;
        }
        let program = std::env::current_exe().context("find this program")?;
        let who = self.who.to_possible_value().context("an engine without a name")?;
        let output = Command::new(program)
            .args(["open-once", who.get_name()])
            .arg(&self.path)
            .args([self.groups.to_string(), self.entries.to_string()])
            .output()
            .context("run this program again")?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "it failed: {}", String::from_utf8_lossy(&output.stderr));
        let figures: Vec<f64> = stdout.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [open_ms, resident, peak] = figures[..] else { bail!("it printed {stdout}") };
        Ok(vec![("open ms", open_ms), ("resident MiB", resident), ("peak MiB", peak)])
    }

    /// Opens the engine. Prints the time in milliseconds, and the added resident and peak memory in MiB.
    pub(crate) fn run(&self) -> Result<()> {
        match self.who {
            Who::Seawall => self.open::<Seawall>(),
            Who::RaftEngine => self.open::<RaftEngine>(),
        }
    }

    fn open<S: Store>(&self) -> Result<()> {
        let (before, _) = resident()?;
        let begin = Instant::now();
        let store = S::open(&self.path, &Setup::default())?;
        let open_ms = begin.elapsed().as_secs_f64() * 1e3;
        let (after, peak) = resident()?;
        let entries: u64 = (1..=self.groups).map(|group| store.last_index(group)).sum();
        ensure!(entries == self.entries, "{entries} entries are there");
        let more = |bytes: u64| bytes.saturating_sub(before) as f64 / MIB;
        println!("{open_ms} {} {}", more(after), more(peak));
        store.close()
    }
}

/// Memory of this process: resident now, and the peak so far.
fn resident() -> Result<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    };
    let fields = field("VmRSS:").zip(field("VmHWM:"));
    fields.context("/proc/self/status has no VmRSS and VmHWM")
}

/// Drops the files of a directory from the page cache.
fn forget(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry.with_context(|| format!("list {}", dir.display()))?.path();
        if path.is_file() {
            let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
            fadvise(&file, 0, None, Advice::DontNeed)
                .with_context(|| format!("forget {}", path.display()))?;
        }
    }
    Ok(())
}
