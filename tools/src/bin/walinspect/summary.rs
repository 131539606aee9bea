//! `walinspect summary`: shows the log's owner, the use of each segment, and the end of the log.
//!
//! The counts are the same as those of `verify`, since both read every byte.

use crate::args::Target;
use crate::damage::Place;
use crate::failure::Failure;
use crate::judge::{Judge, Role, State};
use crate::look::Look;
use crate::report::{Common, time, write_json};
use crate::tally::Counts;
use seawall_wal::disk::{Access, Disk};
use seawall_wal::inspect::layout::FORMAT_VERSION;
use seawall_wal::inspect::{HeaderFault, PriorContents, SegmentScan, file_name};
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Summary<'a> {
    #[serde(flatten)]
    common: Common,
    format_version: u32,
    block_bytes: u32,
    created_ms: u64,
    created: String,
    /// Position of the next group; `null` without a verdict.
    next: Option<String>,
    segments: Vec<Segment>,
    counts: &'a Counts,
    padding_ratio: f64,
}

#[derive(Serialize)]
struct Segment {
    segment: u32,
    file: String,
    role: Role,
    file_bytes: u64,
    /// Why the header fails its check; `null` if it is intact.
    header_fault: Option<String>,
    /// `zeros` or `stale`.
    prior: Option<&'static str>,
    /// Salt of the current incarnation of the file, in hexadecimal.
    salt: Option<String>,
    /// Number of groups that are part of the log.
    groups_kept: u64,
    /// Number of intact groups, whether part of the log or not.
    groups_valid: u64,
    /// Number of groups that fail their check.
    groups_invalid: u64,
    /// Position after the last group of the log.
    kept_end: Option<String>,
    /// Wall-clock times of the first and the last group of the log, in milliseconds since the Unix epoch.
    first_ms: Option<u64>,
    last_ms: Option<u64>,
}

/// Writes the summary of `look`.
pub(crate) fn show(look: &Look, target: &Target, out: &mut dyn Write) -> Result<(), Failure> {
    let found = &look.found;
    let damage = found.verdict.as_ref().err().into_iter().flatten().map(Place::new).collect();
    let judge = look.judge();
    let segments = found.segments.iter().map(|scan| segment(look, &judge, scan));
    let summary = Summary {
        common: Common::new("summary", look, damage),
        format_version: FORMAT_VERSION,
        block_bytes: found.identity.block_bytes,
        created_ms: found.identity.created_ms,
        created: time(found.identity.created_ms),
        next: found.verdict.as_ref().ok().map(|v| v.next.at.to_string()),
        segments: segments.collect::<Result<_, _>>()?,
        counts: &look.tally.counts,
        padding_ratio: look.tally.counts.padding_ratio(),
    };
    if target.json {
        write_json(out, &summary)?
    } else {
        summary.write(out)?
    }
    Ok(())
}

fn segment(look: &Look, judge: &Judge, scan: &SegmentScan) -> Result<Segment, Failure> {
    let header = scan.header.ok();
    let kept = || scan.heads.iter().filter(|h| judge.state(scan.sequence, h) == State::Kept);
    let count = |valid| scan.heads.iter().filter(|h| h.fault.is_none() == valid).count() as u64;
    let file = file_name(scan.sequence);
    let file_bytes = match (header, scan.header) {
        (Some(header), _) => header.file_bytes,
        (None, Err(HeaderFault::Length(length))) => length,
        _ => {
            let length = look.disk.open(&file, Access::Read).and_then(|f| f.len());
            length.map_err(|e| Failure::CouldNot(format!("{}/{file}: {e}", look.dir.display())))?
        }
    };
    Ok(Segment {
        segment: scan.sequence,
        role: judge.role(scan, &look.remains),
        file,
        file_bytes,
        header_fault: scan.header.err().map(|fault| format!("{fault:?}")),
        prior: header.map(|h| match h.prior {
            PriorContents::Zeros => "zeros",
            PriorContents::Stale => "stale",
        }),
        salt: header.map(|h| format!("{:016x}", h.salt)),
        groups_kept: kept().count() as u64,
        groups_valid: count(true),
        groups_invalid: count(false),
        kept_end: judge
            .kept_end(scan.sequence)
            .map(|end| seawall_wal::Lsn::new(scan.sequence, end).to_string()),
        first_ms: kept().next().map(|h| h.wall_clock_ms),
        last_ms: kept().next_back().map(|h| h.wall_clock_ms),
    })
}

impl Summary<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (common, counts) = (&self.common, self.counts);
        common.write_answer(out)?;
        writeln!(
            out,
            "format {}, blocks of {} bytes, created {}",
            self.format_version, self.block_bytes, self.created
        )?;
        common.write_position(out)?;
        if let Some(next) = &self.next {
            writeln!(out, "goes on at {next}")?;
        }
        writeln!(
            out,
            "{} groups ({} marks, {} footers), {} records, {} entries written, {} payload bytes",
            counts.groups,
            counts.marks,
            counts.footers,
            counts.records,
            counts.entries_written,
            counts.payload_bytes
        )?;
        writeln!(
            out,
            "{} bytes in groups, {:.1} % of them padding",
            counts.disk_bytes,
            self.padding_ratio * 100.0
        )?;
        writeln!(out, "segments:")?;
        self.segments.iter().try_for_each(|segment| segment.write(out))?;
        common.write_findings(out)
    }
}

impl Segment {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let role = format!("{:?}", self.role).to_lowercase();
        write!(out, "  {} {role:8} {:>11} bytes", self.file, self.file_bytes)?;
        if let Some(fault) = &self.header_fault {
            return writeln!(out, ", header is not valid ({fault})");
        }
        if let (Some(prior), Some(salt)) = (self.prior, &self.salt) {
            write!(out, ", on {prior}, salt {salt}, {} groups kept", self.groups_kept)?;
        }
        let others = self.groups_valid - self.groups_valid.min(self.groups_kept);
        if others + self.groups_invalid > 0 {
            write!(out, ", {others} others, {} that fail their check", self.groups_invalid)?;
        }
        if let Some(end) = &self.kept_end {
            write!(out, ", to {end}")?;
        }
        if let (Some(first), Some(last)) = (self.first_ms, self.last_ms) {
            write!(out, ", {} to {}", time(first), time(last))?;
        }
        writeln!(out)
    }
}
