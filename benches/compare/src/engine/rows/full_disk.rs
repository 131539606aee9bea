//! Row 7: a small file system that is filled, freed by compaction, and used again, for a directory on one that
//! nobody else uses: `benches/engine-full-disk.sh` makes it.
//!
//! Each cycle appends until the engine refuses, sometimes with another file taking space meanwhile; reopens it while
//! the disk is full, every other cycle; compacts, and goes on. After each step every entry that was acknowledged and
//! not compacted must be there, byte for byte, and nothing that was never appended. An engine that has to be
//! reopened before it goes on is said to have needed a restart; one that fails otherwise ends its line.

use crate::args::Site;
use crate::store::{RaftEngine, Seawall, Setup, Store};
use crate::turns::{Check, Figures, Outcome, OutcomeLine, progress};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use seawall_compare::bar::Bar;
use seawall_tools::bench::load::payload;
use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take until freed space is noticed.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);
/// Appends in a row that must work before the disk is no longer full.
const GOES_ON: u64 = 10;
/// Entries that a group keeps when it is compacted.
const KEEP: u64 = 2;
const HOG_BYTES: usize = 32 << 20;

/// Filling a small file system.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Cycles
    #[arg(long, default_value_t = 12)]
    cycles: u32,
    /// Groups
    #[arg(long, default_value_t = 20)]
    groups: u64,
    /// Payload of an entry
    #[arg(long, default_value_t = 16 << 10)]
    bytes: usize,
    /// Segments of Seawall and files of raft-engine
    #[arg(long, default_value_t = 8 << 20)]
    file_bytes: u32,
    /// A disk with more room than this is not filled
    #[arg(long, default_value_t = 512)]
    room_mib: u64,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { cycles: 2, ..self }
    }

    /// It takes whatever there is.
    pub(crate) fn needed_bytes(&self) -> u64 {
        64 << 20
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        let stat = rustix::fs::statvfs(site.dir).context("look at the file system")?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        ensure!(
            free <= self.room_mib << 20,
            "{} has {} MiB free: this fills the disk, so it wants a small one of its own, \
             which benches/engine-full-disk.sh makes",
            site.dir.display(),
            free >> 20
        );
        let mut outcome = Outcome {
            row: 7,
            title: format!(
                "a full disk: {} MiB free, {} cycles, files of {} MiB",
                free >> 20,
                self.cycles,
                self.file_bytes >> 20
            ),
            checks: Vec::new(),
            lines: Vec::new(),
            notes: Vec::new(),
        };
        let ours = self.line::<Seawall>(site.dir, &mut outcome)?;
        let figure = |what| ours.iter().find(|(name, _)| *name == what).map_or(f64::NAN, |(_, n)| *n);
        let (restarts, lost, ended) = (figure("restarts"), figure("lost"), figure("to the end"));
        self.line::<RaftEngine>(site.dir, &mut outcome)?;
        outcome.checks.push(Check::new("seawall came to the end", ended, Bar::AtLeast(1.0)));
        outcome.checks.push(Check::new("restarts needed by seawall", restarts, Bar::AtMost(0.0)));
        outcome.checks.push(Check::new("acknowledged entries lost by seawall", lost, Bar::AtMost(0.0)));
        Ok(vec![outcome])
    }

    fn line<S: Store>(&self, dir: &Path, outcome: &mut Outcome) -> Result<Figures> {
        let home = dir.join(S::NAME);
        let mut filled = Filled::<S>::create(self, home.clone())?;
        let hog = dir.join("hog");
        // It may panic instead of failing; what it says on the way is its own.
        let ended = catch_unwind(AssertUnwindSafe(|| filled.cycles(&hog)));
        let failure = match ended {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some("it panicked".to_owned()),
        };
        progress("");
        let figures = filled.figures(failure.is_none());
        if let Some(failure) = failure {
            outcome.notes.push(format!("{} failed in cycle {}: {failure}", S::NAME, filled.cycle));
        }
        // Dropped while the disk is full, which may fail in its own way.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(filled)));
        let _ = fs::remove_file(&hog);
        fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))?;
        outcome.lines.push(OutcomeLine { engine: S::NAME.to_owned(), figures: figures.clone() });
        Ok(figures)
    }
}

/// What one group must have.
#[derive(Clone, Copy, Default)]
struct Held {
    /// Entries up to this one may be gone.
    compacted: u64,
    /// Entries up to this one were acknowledged.
    acknowledged: u64,
}

/// One engine on the small disk, and what it acknowledged.
struct Filled<'a, S: Store> {
    load: &'a Load,
    dir: PathBuf,
    setup: Setup,
    /// `None` while it is reopened.
    store: Option<S>,
    held: Vec<Held>,
    cycle: u32,
    acknowledged: u64,
    fills: u32,
    restarts: u32,
    reopened: u32,
    lost: u64,
    slowest: Duration,
}

impl<'a, S: Store> Filled<'a, S> {
    fn create(load: &'a Load, dir: PathBuf) -> Result<Filled<'a, S>> {
        let setup = Setup {
            segment_bytes: load.file_bytes,
            file_bytes: u64::from(load.file_bytes),
            // Two files: what is compacted is freed at once.
            purge_bytes: Some(2 * u64::from(load.file_bytes)),
            ..Setup::default()
        };
        let store = Some(S::create(&dir, &setup)?);
        let held = vec![Held::default(); usize::try_from(load.groups)?];
        let none = Duration::ZERO;
        Ok(Filled {
            load,
            dir,
            setup,
            store,
            held,
            cycle: 0,
            acknowledged: 0,
            fills: 0,
            restarts: 0,
            reopened: 0,
            lost: 0,
            slowest: none,
        })
    }

    fn figures(&self, whole: bool) -> Figures {
        vec![
            ("cycles", f64::from(self.fills)),
            ("acknowledged", self.acknowledged as f64),
            ("reopened full", f64::from(self.reopened)),
            ("restarts", f64::from(self.restarts)),
            ("lost", self.lost as f64),
            ("slowest ms", self.slowest.as_secs_f64() * 1e3),
            ("to the end", if whole { 1.0 } else { 0.0 }),
        ]
    }

    fn cycles(&mut self, hog_file: &Path) -> Result<()> {
        for cycle in 0..self.load.cycles {
            self.cycle = cycle;
            progress(&format!("{}: cycle {cycle}", S::NAME));
            let hogged = cycle % 4 == 1;
            if hogged {
                hog(hog_file)?;
            }
            self.fill()?;
            self.fills += 1;
            self.verify()?;
            if cycle % 2 == 1 {
                self.reopen()?;
                self.reopened += 1;
                self.verify()?;
            }
            if hogged {
                fs::remove_file(hog_file).context("remove the other file")?;
            } else {
                self.compact()?;
            }
            self.go_on()?;
            self.verify()?;
        }
        Ok(())
    }

    fn store(&self) -> Result<&S> {
        self.store.as_ref().context("it is not open")
    }

    /// Appends one entry to every group, in one batch, and waits for it.
    fn append(&mut self) -> Result<()> {
        let store = self.store.as_ref().context("it is not open")?;
        let mut writer = store.writer();
        for (group, held) in (1..).zip(&self.held) {
            // What was refused may have left an entry that was never acknowledged; it is replaced.
            let index = held.acknowledged + 1;
            S::append(&mut writer, group, index, 1, &entry(group, index, self.load.bytes))?;
        }
        let ticket = store.submit(&mut writer)?;
        store.wait(ticket)?;
        self.held.iter_mut().for_each(|held| held.acknowledged += 1);
        self.acknowledged += self.load.groups;
        Ok(())
    }

    /// Appends until that is refused.
    fn fill(&mut self) -> Result<()> {
        // More than any small disk has room for.
        for _ in 0..(self.load.room_mib << 20) / self.load.bytes as u64 {
            if self.append().is_err() {
                return Ok(());
            }
        }
        bail!("the disk did not get full")
    }

    /// Appends as soon as there is room; reopens if it never works.
    fn go_on(&mut self) -> Result<()> {
        let begin = Instant::now();
        let (mut worked, mut restarted) = (0, false);
        while worked < GOES_ON {
            match self.append() {
                Ok(()) => worked += 1,
                Err(_) if begin.elapsed() < PATIENCE => {
                    worked = 0;
                    thread::sleep(PAUSE);
                    // What its user would call in the background.
                    let _ = self.store()?.tidy();
                }
                Err(error) if restarted => return Err(error.context("not even after a restart")),
                Err(_) => {
                    restarted = true;
                    self.restarts += 1;
                    self.reopen()?;
                }
            }
        }
        self.slowest = self.slowest.max(begin.elapsed());
        Ok(())
    }

    /// Drops all but the last entries of every group.
    fn compact(&mut self) -> Result<()> {
        let store = self.store.as_ref().context("it is not open")?;
        let mut writer = store.writer();
        for (group, held) in (1..).zip(&mut self.held) {
            let index = held.acknowledged.saturating_sub(KEEP);
            if index > held.compacted {
                S::compact(&mut writer, group, index);
                held.compacted = index;
            }
        }
        // Of an engine that refuses even that, the next appends will tell.
        let _ = store.submit_lazily(&mut writer);
        let _ = store.tidy();
        Ok(())
    }

    /// Drops the engine, as a kill would, and opens it again.
    fn reopen(&mut self) -> Result<()> {
        drop(self.store.take());
        self.store = Some(S::open(&self.dir, &self.setup).context("reopen on a full disk")?);
        Ok(())
    }

    /// Whether all that was acknowledged is there.
    fn verify(&mut self) -> Result<()> {
        let mut lost = 0;
        for (group, held) in (1..).zip(&self.held) {
            let store = self.store()?;
            for index in held.compacted + 1..=held.acknowledged {
                let expected = entry(group, index, self.load.bytes);
                let is_there = store.last_index(group) >= index && store.has(group, index, &expected)?;
                lost += u64::from(!is_there);
            }
        }
        self.lost += lost;
        ensure!(lost == 0, "{lost} acknowledged entries are not there");
        Ok(())
    }
}

/// What an entry holds: bytes that tell where it belongs, and noise, which nobody compresses.
fn entry(group: u64, index: u64, bytes: usize) -> Bytes {
    let mut data = payload(group << 40 | index, bytes);
    data[..8].copy_from_slice(&group.to_le_bytes());
    data[8..16].copy_from_slice(&index.to_le_bytes());
    Bytes::from(data)
}

/// Takes space, as much as there is of what it wants.
fn hog(path: &Path) -> Result<()> {
    let mut file = File::create(path).context("create the other file")?;
    for _ in 0..HOG_BYTES >> 20 {
        match file.write_all(&[1; 1 << 20]) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => break,
            result => result.context("write the other file")?,
        }
    }
    match file.sync_all() {
        Err(e) if e.kind() == io::ErrorKind::StorageFull => Ok(()),
        result => result.context("sync the other file"),
    }
}
