//! The part of the output that all commands share, and the formats of times, identities and reasons.
//!
//! JSON field names are an interface, listed in `tools/README.md`: fields are only added. The text output is for people
//! and may change. Fails only if the output cannot be written.

use crate::damage::Place;
use crate::look::{Look, Outcome};
use seawall_tools::open_report::{closed_at, closed_fault};
use seawall_tools::utc;
use seawall_wal::Lsn;
use seawall_wal::inspect::{DropReason, Dropped, file_name};
use serde::Serialize;
use std::io::{self, Write};

/// Version of the JSON documents.
const SCHEMA: u32 = 1;

/// Fields that the documents of all commands have.
#[derive(Debug, Serialize)]
pub(crate) struct Common {
    schema: u32,
    command: &'static str,
    dir: String,
    result: Outcome,
    exit_code: u8,
    /// Whether files kept changing during the inspection.
    being_written: bool,
    uuid: String,
    /// End of the log; `null` without a verdict, or if it is empty.
    end: Option<String>,
    /// Everything below this position was known to be durable.
    watermark: String,
    /// Lowest live segment; `null` without a verdict.
    first_live: Option<u32>,
    damage: Vec<Place>,
    /// Ranges that the next open would drop.
    dropped: Vec<Range>,
    /// Ranges that earlier opens dropped and that are still in the files.
    void: Vec<Range>,
    /// Bytes without a group header after the end of the log. The next open ignores them.
    remains: Vec<Range>,
    /// End of the log at its last clean close; `null` if there is no record of it.
    closed_at: Option<String>,
    /// Why the file of that close is not used; `null` if it is used, or if there is none.
    closed_fault: Option<String>,
    /// Names of unfinished spares; the next open removes them.
    unfinished: Vec<String>,
    /// Names of files that are not part of the log.
    foreign: Vec<String>,
}

/// A range of a segment.
#[derive(Debug, Serialize)]
struct Range {
    file: String,
    offset: u32,
    from: String,
    to: String,
    bytes: u64,
    /// `torn`, `after_torn`, `void`, `suspect`, `headless`.
    why: &'static str,
}

impl Range {
    fn new(from: Lsn, to: Lsn, why: &'static str) -> Range {
        Range {
            file: file_name(from.segment()),
            offset: from.offset(),
            from: from.to_string(),
            to: to.to_string(),
            bytes: to.as_u64().saturating_sub(from.as_u64()),
            why,
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Range { file, offset, from, to, bytes, why } = self;
        writeln!(out, "  {file} at byte {offset:#x}, {from} to {to}, {bytes} bytes: {why}")
    }
}

impl Common {
    /// Collects the common fields that `command` shows of `look`, with the damaged ranges `damage`.
    pub(crate) fn new(command: &'static str, look: &Look, damage: Vec<Place>) -> Common {
        let found = &look.found;
        let verdict = found.verdict.as_ref().ok();
        let heads = || found.segments.iter().flat_map(|s| &s.heads);
        let (mut dropped, mut void) = (Vec::new(), Vec::new());
        if let Some(verdict) = verdict {
            for d in &verdict.dropped {
                let to = if d.from >= verdict.end { &mut dropped } else { &mut void };
                to.push(Range::new(d.from, d.to, why(look, d, d.from >= verdict.end)));
            }
        }
        Common {
            schema: SCHEMA,
            command,
            dir: look.dir.display().to_string(),
            result: look.outcome(),
            exit_code: look.outcome().code(),
            being_written: look.being_written,
            uuid: uuid(&found.identity.uuid),
            end: verdict.map(|v| v.end).filter(|end| !end.is_zero()).map(|end| end.to_string()),
            watermark: heads()
                .map(|h| h.watermark)
                .chain([found.witness.durable()])
                .max()
                .unwrap_or(Lsn::ZERO)
                .to_string(),
            closed_at: closed_at(&found.witness),
            closed_fault: closed_fault(&found.witness),
            first_live: verdict.map(|v| v.first_live),
            damage,
            dropped,
            void,
            remains: look.remains.iter().map(|r| Range::new(r.from, r.to, "headless")).collect(),
            unfinished: found.unfinished.clone(),
            foreign: found.foreign.clone(),
        }
    }

    /// Writes the first line of every text output: the conclusion.
    pub(crate) fn write_answer(&self, out: &mut dyn Write) -> io::Result<()> {
        let answer = match self.result {
            Outcome::Sound => "sound",
            Outcome::Damaged => "DAMAGED",
            Outcome::TornTail => "torn tail: the next open drops what was never acknowledged",
        };
        writeln!(out, "{}: {answer}", self.dir)?;
        if self.being_written && self.result != Outcome::Sound {
            writeln!(out, "the log is being written: look again when it is idle or closed")?;
        }
        Ok(())
    }

    /// Writes the log's owner, its start and its end.
    pub(crate) fn write_position(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "log {}", self.uuid)?;
        if let (Some(first_live), end) =
            (self.first_live, self.end.as_deref().unwrap_or("nowhere, it is empty"))
        {
            writeln!(out, "from segment {first_live}, ends at {end}")?;
        }
        if let Some(end) = &self.closed_at {
            writeln!(out, "ended at {end} when it was last closed")?;
        }
        if let Some(fault) = &self.closed_fault {
            writeln!(out, "CLOSED is not used, {fault}; the next close replaces it")?;
        }
        writeln!(out, "known durable below {}", self.watermark)
    }

    /// Writes all findings that are unusual or of interest.
    pub(crate) fn write_findings(&self, out: &mut dyn Write) -> io::Result<()> {
        section(out, "damaged", &self.damage, |place, out| place.write(out))?;
        section(out, "the next open would drop", &self.dropped, |range, out| range.write(out))?;
        let remains = "after the end, without a group header (passed over by the next open)";
        section(out, remains, &self.remains, |range, out| range.write(out))?;
        section(out, "void since an earlier open", &self.void, |range, out| range.write(out))?;
        section(out, "unfinished spares (removed by the next open)", &self.unfinished, |name, out| {
            write_name(name, out)
        })?;
        section(out, "not the log's (left alone)", &self.foreign, |name, out| write_name(name, out))
    }
}

fn write_name(name: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  {}", name.escape_debug())
}

/// Writes a heading and its lines, if there are any.
pub(crate) fn section<T>(
    out: &mut dyn Write,
    heading: &str,
    items: &[T],
    line: impl Fn(&T, &mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out, "{heading}:")?;
    items.iter().try_for_each(|item| line(item, out))
}

/// Returns why a range is dropped. A group after the end cannot have been dropped by an earlier open, which would have
/// continued the log after it. There, a group that the verdict calls void belongs to a segment whose first group is
/// lost.
fn why(look: &Look, dropped: &Dropped, pending: bool) -> &'static str {
    match dropped.why {
        DropReason::Torn => "torn",
        DropReason::BehindTorn => "after_torn",
        DropReason::Suspect => "suspect",
        DropReason::Void if !pending => "void",
        DropReason::Void => {
            let segment = look.found.segments.iter().find(|s| s.sequence == dropped.from.segment());
            let heads = segment.map_or(&[][..], |s| &s.heads);
            let head = heads.binary_search_by_key(&dropped.from.offset(), |h| h.offset).map(|at| &heads[at]);
            if head.is_ok_and(|h| h.fault.is_some()) { "torn" } else { "after_torn" }
        }
    }
}

/// Writes one JSON document.
pub(crate) fn write_json(out: &mut dyn Write, document: &impl Serialize) -> Result<(), serde_json::Error> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    out.write_all(b"\n").map_err(serde_json::Error::io)
}

/// Formats an identity as a UUID.
fn uuid(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Formats milliseconds since the Unix epoch as `2025-01-31T23:59:59Z`.
pub(crate) fn time(ms: u64) -> String {
    utc(ms / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_spelled_as_usual() {
        let bytes = std::array::from_fn(|i| u8::try_from(i).unwrap() * 0x11);
        assert_eq!(uuid(&bytes), "00112233-4455-6677-8899-aabbccddeeff");
    }
}
