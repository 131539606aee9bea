//! `walinspect records`: prints one line per record, and per mark, footer and unreadable group.
//!
//! It reads the log a second time, segment by segment, from the requested position. Nothing is collected: lines are
//! written while the log is read, in JSON too.

use crate::args::RecordsArgs;
use crate::damage::Place;
use crate::failure::Failure;
use crate::judge::{Judge, State};
use crate::look::Look;
use crate::ops::Op;
use crate::report::{Common, time, write_json};
use seawall::inspect::decode_record;
use seawall_tools::open_report::fault_text;
use seawall_wal::inspect::{GroupHead, GroupKind, RecordRef, ScannedGroup, SegmentScan, visit_groups};
use seawall_wal::{Durability, Lsn};
use serde::ser::{Error as _, SerializeSeq};
use serde::{Serialize, Serializer};
use std::cell::RefCell;
use std::io::{self, Write};
use std::ops::ControlFlow;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line {
    Record(RecordLine),
    Group(GroupLine),
}

#[derive(Serialize)]
struct RecordLine {
    lsn: String,
    length: usize,
    /// `sync` or `lazy`.
    class: &'static str,
    parts: usize,
    part_bytes: u64,
    meta_bytes: usize,
    /// Position of the group that the record is in.
    group_lsn: String,
    state: State,
    /// Operations; `null` if the engine did not write the record.
    ops: Option<Vec<Op>>,
}

#[derive(Serialize)]
struct GroupLine {
    lsn: String,
    length: u32,
    /// `data` (only if the group fails its check), `mark`, `footer`.
    kind: &'static str,
    watermark: String,
    wall_clock_ms: u64,
    state: State,
    /// Why the group fails its check; `null` if it is intact.
    fault: Option<String>,
}

/// Writes the records of `look`.
pub(crate) fn show(look: &Look, args: &RecordsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    if let Some(segment) = args.segment
        && !look.found.segments.iter().any(|s| s.sequence == segment)
    {
        return Err(Failure::CouldNot(format!("{}: has no segment {segment}", look.dir.display())));
    }
    let damage = look.found.verdict.as_ref().err().into_iter().flatten().map(Place::new).collect();
    let common = Common::new("records", look, damage);
    if args.target.json {
        let failure = RefCell::new(None);
        let document = Document { common, records: Streamed { look, args, failure: &failure } };
        let written = write_json(out, &document);
        return match failure.into_inner() {
            Some(failure) => Err(failure),
            None => Ok(written?),
        };
    }
    visit(look, args, &mut |line| Ok(line.write(out)?))?;
    if look.outcome().code() != 0 {
        writeln!(out)?;
        common.write_answer(out)?;
        common.write_findings(out)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    common: Common,
    records: Streamed<'a>,
}

/// The lines as a JSON array that is written while the log is read.
struct Streamed<'a> {
    look: &'a Look,
    args: &'a RecordsArgs,
    /// Holds a read error, which the serializer's error cannot carry.
    failure: &'a RefCell<Option<Failure>>,
}

impl Serialize for Streamed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        let mut refused = None;
        let visited = visit(self.look, self.args, &mut |line| {
            seq.serialize_element(line).map_err(|e| {
                refused = Some(e);
                Failure::CouldNot(String::new())
            })
        });
        match (refused, visited) {
            (Some(e), _) => Err(e),
            (None, Err(failure)) => {
                *self.failure.borrow_mut() = Some(failure);
                Err(S::Error::custom("the log cannot be read"))
            }
            (None, Ok(())) => seq.end(),
        }
    }
}

/// Passes every requested line to `put`, in the order of the log.
fn visit(
    look: &Look,
    args: &RecordsArgs,
    put: &mut dyn FnMut(&Line) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let judge = look.judge();
    let mut walk = Walk { judge: &judge, args, left: args.limit.unwrap_or(u64::MAX), put };
    let from = args.from.unwrap_or(Lsn::ZERO);
    let wanted = |s: &&SegmentScan| {
        s.sequence >= from.segment() && args.segment.is_none_or(|segment| s.sequence == segment)
    };
    for scan in look.found.segments.iter().filter(wanted) {
        let first = if scan.sequence == from.segment() { from.offset() } else { 0 };
        let all = args.all || !judge.has_verdict();
        let Some(end) = judge.kept_end(scan.sequence).or(all.then_some(u32::MAX)) else { continue };
        let mut result = Ok(());
        let range = (first, if all { u32::MAX } else { end });
        visit_groups(&look.disk, scan, range, &mut |head, group| {
            if walk.left == 0 {
                return ControlFlow::Break(());
            }
            result = walk.group(scan.sequence, head, group);
            if result.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        result?;
        if walk.left == 0 {
            break;
        }
    }
    Ok(())
}

/// The selection of lines, and how many of them are still to be printed.
struct Walk<'a> {
    judge: &'a Judge,
    args: &'a RecordsArgs,
    left: u64,
    put: &'a mut dyn FnMut(&Line) -> Result<(), Failure>,
}

impl Walk<'_> {
    fn group(
        &mut self,
        segment: u32,
        head: &GroupHead,
        group: Option<&ScannedGroup<'_>>,
    ) -> Result<(), Failure> {
        let state = self.judge.state(segment, head);
        let lsn = Lsn::new(segment, head.offset);
        let from = self.args.from.unwrap_or(Lsn::ZERO);
        if let Some(group) = group.filter(|_| head.kind == GroupKind::Data) {
            for record in group.records().filter(|r| r.lsn() >= from) {
                if let Some(line) = record_line(&record, lsn, state, self.args.group) {
                    self.put(Line::Record(line))?;
                }
            }
            return Ok(());
        }
        if lsn >= from && self.args.group.is_none() {
            self.put(Line::Group(group_line(lsn, head, group.is_some(), state)))?;
        }
        Ok(())
    }

    fn put(&mut self, line: Line) -> Result<(), Failure> {
        match self.left.checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                self.left = left;
                (self.put)(&line)
            }
        }
    }
}

/// Returns `None` if the record does not concern the requested Raft group.
fn record_line(
    record: &RecordRef<'_>,
    group_lsn: Lsn,
    state: State,
    wanted: Option<u64>,
) -> Option<RecordLine> {
    let lengths: Vec<u32> = record.part_infos().map(|p| p.length).collect();
    let decoded = decode_record(record.meta(), record.part_count()).ok();
    let ops = decoded.map(|ops| {
        let of_interest = ops.iter().filter(|op| wanted.is_none_or(|wanted| op.group == wanted));
        of_interest.map(|op| Op::new(op, &lengths)).collect::<Vec<_>>()
    });
    if wanted.is_some() && ops.as_ref().is_none_or(Vec::is_empty) {
        return None;
    }
    Some(RecordLine {
        lsn: record.lsn().to_string(),
        length: record.len(),
        class: match record.class() {
            Durability::Sync => "sync",
            Durability::Lazy => "lazy",
        },
        parts: lengths.len(),
        part_bytes: lengths.iter().map(|&n| u64::from(n)).sum(),
        meta_bytes: record.meta().len(),
        group_lsn: group_lsn.to_string(),
        state,
        ops,
    })
}

fn group_line(lsn: Lsn, head: &GroupHead, readable: bool, state: State) -> GroupLine {
    let changed = || (!readable).then(|| "changed since the scan".to_owned());
    GroupLine {
        lsn: lsn.to_string(),
        length: head.end - head.offset,
        kind: match head.kind {
            GroupKind::Data => "data",
            GroupKind::Mark => "mark",
            GroupKind::Footer => "footer",
            GroupKind::Announcement => "announcement",
        },
        watermark: head.watermark.to_string(),
        wall_clock_ms: head.wall_clock_ms,
        state,
        fault: head.fault.map(fault_text).or_else(changed),
    }
}

impl Line {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Line::Record(record) => {
                write!(out, "{} {:>9} {} {} parts", record.lsn, record.length, record.class, record.parts)?;
                write_state(out, record.state)?;
                match record.ops.as_deref() {
                    None => write!(out, "  {} bytes of meta, not the engine's", record.meta_bytes)?,
                    Some([]) => write!(out, "  no operation")?,
                    Some(ops) => {
                        let ops: Vec<String> = ops.iter().map(Op::to_string).collect();
                        write!(out, "  {}", ops.join("; "))?;
                    }
                }
            }
            Line::Group(group) => {
                write!(out, "{} {:>9} {}", group.lsn, group.length, group.kind)?;
                write_state(out, group.state)?;
                write!(out, "  watermark {}, {}", group.watermark, time(group.wall_clock_ms))?;
                if let Some(fault) = &group.fault {
                    write!(out, ", {fault}")?;
                }
            }
        }
        writeln!(out)
    }
}

fn write_state(out: &mut dyn Write, state: State) -> io::Result<()> {
    match state {
        State::Kept => Ok(()),
        state => write!(out, " [{}]", format!("{state:?}").to_lowercase()),
    }
}
