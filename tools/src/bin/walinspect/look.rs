//! Inspects a log once, and repeats the inspection while a running process changes the files.
//!
//! All output is made from this one inspection. The scan reads every byte once, in pieces. It keeps 80 bytes per group
//! of the log and one line per Raft group in memory. If the log is being written, the scan may see an unfinished write
//! as damage or as a torn tail; such a result is final only if no file changed during the scan.

use crate::failure::{DAMAGED, Failure};
use crate::judge::{Judge, Remains, remains};
use crate::tally::{SegmentTally, Tally};
use seawall_wal::disk::PosixDisk;
use seawall_wal::inspect::{Inspection, Verdict, inspect_with, visit_groups};
use serde::Serialize;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// Most inspections of a log that keeps changing.
const LOOKS_MAX: u32 = 5;
/// Time that a write in flight gets to complete.
const SETTLE: Duration = Duration::from_millis(100);

/// The conclusion; its numbers are the exit codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Everything acknowledged is present and intact.
    Sound,
    /// Acknowledged bytes are missing or wrong, or there are bytes that no crash can have left.
    Damaged,
    /// The next open would drop something that was never acknowledged. Groups dropped by an earlier open do not count.
    TornTail,
}

impl Outcome {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Outcome::Sound => 0,
            Outcome::Damaged => DAMAGED,
            Outcome::TornTail => 3,
        }
    }
}

/// The result of one inspection.
#[derive(Debug)]
pub(crate) struct Look {
    /// Directory of the log.
    pub(crate) dir: PathBuf,
    /// The disk, for further reads.
    pub(crate) disk: PosixDisk,
    /// Contents of the files, and the verdict.
    pub(crate) found: Inspection,
    /// Sums over the kept groups; without a verdict, over all intact groups.
    pub(crate) tally: Tally,
    /// Bytes without a group header after the end of the log.
    pub(crate) remains: Vec<Remains>,
    /// Whether files kept changing, so that an unsound end may be a write in flight.
    pub(crate) being_written: bool,
    /// Duration of the scan.
    pub(crate) took: Duration,
}

impl Look {
    /// Inspects the log in `dir`.
    pub(crate) fn take(dir: &Path) -> Result<Look, Failure> {
        let disk = || PosixDisk::open(dir, None).map_err(|e| not_a_directory(dir, &e));
        disk()?;
        let mut looks = 0;
        loop {
            let before = stamps(dir);
            let look = Look::once(dir, disk()?);
            looks += 1;
            if look.as_ref().is_ok_and(|look| look.outcome() == Outcome::Sound) {
                return look;
            }
            thread::sleep(SETTLE);
            let still = before == stamps(dir);
            if still || looks == LOOKS_MAX {
                return look.map(|look| Look { being_written: !still, ..look });
            }
        }
    }

    fn once(dir: &Path, disk: PosixDisk) -> Result<Look, Failure> {
        let begin = Instant::now();
        let (found, tallies) = inspect_with(&disk, |_| SegmentTally::default(), SegmentTally::add)?;
        let took = begin.elapsed();
        let mut tally = Tally::default();
        tallies.into_iter().for_each(|segment| tally.add(segment));
        let mut unheaded = Vec::new();
        if let Ok(verdict) = &found.verdict {
            unheaded = remains(&found.segments, verdict);
            // Nearly always the intact groups are the kept ones. Otherwise the log is read again to count only the kept
            // ones.
            let kept: u64 = verdict.kept.iter().filter_map(|k| k.groups).map(u64::from).sum();
            if tally.visited() != kept {
                tally = kept_only(&disk, &found, verdict)?;
            }
        }
        Ok(Look { dir: dir.to_owned(), disk, found, tally, remains: unheaded, being_written: false, took })
    }

    /// The verdict as one word.
    pub(crate) fn outcome(&self) -> Outcome {
        let Ok(verdict) = &self.found.verdict else { return Outcome::Damaged };
        let torn = verdict.dropped.iter().any(|d| d.from >= verdict.end) || !self.remains.is_empty();
        if torn { Outcome::TornTail } else { Outcome::Sound }
    }

    /// Returns the classification of groups and segments.
    pub(crate) fn judge(&self) -> Judge {
        Judge::new(&self.found.verdict)
    }
}

fn kept_only(disk: &PosixDisk, found: &Inspection, verdict: &Verdict) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for kept in &verdict.kept {
        let Some(scan) = found.segments.iter().find(|s| s.sequence == kept.segment) else { continue };
        let mut segment = SegmentTally::default();
        visit_groups(disk, scan, (0, kept.end), &mut |_, group| {
            group.into_iter().for_each(|group| segment.add(group));
            ControlFlow::Continue(())
        })?;
        tally.add(segment);
    }
    Ok(tally)
}

fn not_a_directory(dir: &Path, error: &io::Error) -> Failure {
    let dir = dir.display();
    Failure::CouldNot(match error.kind() {
        io::ErrorKind::NotFound => format!("{dir}: no such directory"),
        io::ErrorKind::NotADirectory => format!("{dir}: not a directory"),
        _ => format!("{dir}: {error}"),
    })
}

/// Returns name, length and modification time of every segment. A file that disappears meanwhile is left out.
fn stamps(dir: &Path) -> Vec<(OsString, u64, Option<SystemTime>)> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut stamps: Vec<_> = names
        .filter(|name| name.path().extension().is_some_and(|e| e == "wal"))
        .filter_map(|name| {
            let metadata = name.metadata().ok()?;
            Some((name.file_name(), metadata.len(), metadata.modified().ok()))
        })
        .collect();
    stamps.sort_unstable();
    stamps
}
