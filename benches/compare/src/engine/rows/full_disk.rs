//! Row 7: fills a small file system, frees it by compaction, and uses it again. The directory must be on a file system
//! without other users; `benches/engine-full-disk.sh` makes one.
//!
//! Each cycle appends until the engine refuses, sometimes while another file takes space. Every other cycle reopens the
//! engine while the disk is full. Then the cycle compacts and continues. After each step every entry that was
//! acknowledged and not compacted must be there, byte for byte, and no entry that was never appended. The report marks
//! an engine that must be reopened before it accepts appends again as needing a restart. Any other failure ends the
//! engine's line.

use crate::args::Site;
use crate::store::{RaftEngine, Seawall, Setup, Store};
use crate::turns::{Check, Figures, Outcome, OutcomeLine, progress};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clap::Args;
use seawall_compare::bar::Bar;
use seawall_harness::load::payload;
use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Time limit for an engine to notice freed space.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);
/// Number of appends in a row that must succeed before the disk counts as no longer full.
const GOES_ON: u64 = 10;
/// Number of entries that a group keeps when it is compacted.
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
    /// A disk with more free space than this is not filled, in MiB
    #[arg(long, default_value_t = 512)]
    room_mib: u64,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { cycles: 2, ..self }
    }

    /// The row fills whatever space there is, so it requires only a little: 64 MiB.
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
        // The engine may panic instead of returning an error. Its own message is enough.
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
        // The engine is dropped while the disk is full, which may fail or panic.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(filled)));
        let _ = fs::remove_file(&hog);
        fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))?;
        outcome.lines.push(OutcomeLine { engine: S::NAME.to_owned(), figures: figures.clone() });
        Ok(figures)
    }
}

/// The entries that one group must have.
#[derive(Clone, Copy, Default)]
struct Held {
    /// Entries up to this index may be gone.
    compacted: u64,
    /// Entries up to this index were acknowledged.
    acknowledged: u64,
}

/// One engine on the small disk, and the entries that it acknowledged.
struct Filled<'a, S: Store> {
    load: &'a Load,
    dir: PathBuf,
    setup: Setup,
    /// `None` while the engine is reopened.
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
            // Two files, so that compacted space is freed at once.
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
            // A refused append may have left an entry that was never acknowledged; this one replaces it.
            let index = held.acknowledged + 1;
            S::append(&mut writer, group, index, 1, &entry(group, index, self.load.bytes))?;
        }
        let ticket = store.submit(&mut writer)?;
        store.wait(ticket)?;
        self.held.iter_mut().for_each(|held| held.acknowledged += 1);
        self.acknowledged += self.load.groups;
        Ok(())
    }

    /// Appends until an append is refused.
    fn fill(&mut self) -> Result<()> {
        // More appends than any small disk has room for.
        for _ in 0..(self.load.room_mib << 20) / self.load.bytes as u64 {
            if self.append().is_err() {
                return Ok(());
            }
        }
        bail!("the disk did not get full")
    }

    /// Appends as soon as there is space. Reopens the engine if that never succeeds.
    fn go_on(&mut self) -> Result<()> {
        let begin = Instant::now();
        let (mut worked, mut restarted) = (0, false);
        while worked < GOES_ON {
            match self.append() {
                Ok(()) => worked += 1,
                Err(_) if begin.elapsed() < PATIENCE => {
                    worked = 0;
                    thread::sleep(PAUSE);
                    // The background work that a user of the engine would call.
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

    /// Compacts every group to its last entries.
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
        // If the engine refuses even this, the next appends fail as well.
        let _ = store.submit_lazily(&mut writer);
        let _ = store.tidy();
        Ok(())
    }

    /// Drops the engine, as a kill does, and opens it again.
    fn reopen(&mut self) -> Result<()> {
        drop(self.store.take());
        self.store = Some(S::open(&self.dir, &self.setup).context("reopen on a full disk")?);
        Ok(())
    }

    /// Checks that all acknowledged entries are there.
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

/// Contents of an entry: its group and index, and incompressible bytes.
fn entry(group: u64, index: u64, bytes: usize) -> Bytes {
    let mut data = payload(group << 40 | index, bytes);
    data[..8].copy_from_slice(&group.to_le_bytes());
    data[8..16].copy_from_slice(&index.to_le_bytes());
    Bytes::from(data)
}

/// Writes a file that takes space, as much as is available up to its size.
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
