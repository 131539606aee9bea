//! Describes a damaged range in full: file, offset, range, reason, and the Raft entries that it hits.
//!
//! The entries come from two sources. The first is the rest of the damaged bytes: a record whose header and part table
//! are intact names the index and term of each payload that fails its checksum. The second is the records around the
//! range: if a group's entries do not follow each other across the range, those between are gone. Fails only if reading
//! fails.

use crate::failure::Failure;
use crate::judge::State;
use crate::look::Look;
use crate::ops::{Op, named};
use seawall::inspect::{DecodedOp, OpKind, decode_record};
use seawall_tools::open_report::{fault_text, kind_name};
use seawall_wal::inspect::{Damage, SegmentScan, file_name, visit_remnants};
use seawall_wal::{Lsn, inspect::RecordRef};
use serde::Serialize;
use std::io::{self, Write};

/// Most records shown per damaged range.
const REMNANTS_MAX: usize = 100;
/// Most runs of missing entries shown per damaged range.
const MISSING_MAX: usize = 100;

/// One damaged range.
#[derive(Debug, Serialize)]
pub(crate) struct Place {
    /// File name of the segment.
    file: String,
    /// Byte offset in the file.
    offset: u32,
    /// Position of the first byte, and the position after the last byte.
    from: String,
    to: String,
    /// Length in bytes; absent if the whole segment is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// `no_group`, `group_record`, `group_padding`, `group_count`, `group_unchecked`, `header`, `missing`, `suspect`.
    kind: &'static str,
    /// The kind in words.
    reason: String,
    /// The intact rests of records in the range.
    remnants: Vec<Remnant>,
    /// Entries that are gone, as the records around the range show.
    missing: Vec<Missing>,
    /// Whether the whole range was searched and everything found is listed.
    complete: bool,
}

/// The rest of one record in a damaged range.
#[derive(Debug, Serialize)]
pub(crate) struct Remnant {
    lsn: String,
    length: usize,
    /// Numbers of its parts that fail their checksum. Empty if the record is intact but its group is damaged.
    damaged_parts: Vec<u32>,
    /// Entries whose payload fails its checksum.
    damaged_entries: Vec<Entry>,
    /// Its operations; `null` if the engine did not write the record.
    ops: Option<Vec<Op>>,
}

/// One entry of a Raft group.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    group: u64,
    index: u64,
    term: u64,
}

/// A run of entries of one Raft group.
#[derive(Debug, Serialize)]
pub(crate) struct Missing {
    group: u64,
    first: u64,
    last: u64,
}

impl Place {
    /// Describes `damage` without a search for entries.
    pub(crate) fn new(damage: &Damage) -> Place {
        let segment = damage.from.segment();
        let whole = segment != damage.to.segment() || damage.to.offset() == u32::MAX;
        Place {
            file: file_name(segment),
            offset: damage.from.offset(),
            from: damage.from.to_string(),
            to: damage.to.to_string(),
            bytes: (!whole).then(|| u64::from(damage.to.offset().saturating_sub(damage.from.offset()))),
            kind: kind_name(damage.what),
            reason: damage.what.to_string(),
            remnants: Vec::new(),
            missing: Vec::new(),
            complete: false,
        }
    }

    /// Describes `damage` with the entries that it hits.
    pub(crate) fn searched(look: &Look, damage: &Damage) -> Result<Place, Failure> {
        let mut place = Place::new(damage);
        place.complete = true;
        let in_segment = |s: &&SegmentScan| s.sequence == damage.from.segment();
        if let Some(scan) = look.found.segments.iter().find(in_segment)
            && scan.header.is_ok()
        {
            let mut more = false;
            let mut keep = |record: &RecordRef<'_>, bad_parts: &[u32]| match place.remnants.len() {
                REMNANTS_MAX => more = true,
                _ => place.remnants.push(Remnant::new(record, bad_parts)),
            };
            let range = (damage.from.offset(), end_of(scan, damage));
            place.complete = visit_remnants(&look.disk, scan, range, &mut keep)? && !more;
        }
        let around = look.tally.jumps.iter().filter(|j| j.after < damage.to && j.before > damage.from);
        for jump in around {
            if place.missing.len() == MISSING_MAX {
                place.complete = false;
                break;
            }
            place.missing.push(Missing { group: jump.group, first: jump.first, last: jump.last });
        }
        Ok(place)
    }

    /// Writes the range as text.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Place { file, offset, from, to, reason, .. } = self;
        let bytes = self.bytes.map_or(String::new(), |bytes| format!(", {bytes} bytes"));
        writeln!(out, "  {file} at byte {offset:#x}, {from} to {to}{bytes}: {reason}")?;
        for remnant in &self.remnants {
            remnant.write(out)?;
        }
        for Missing { group, first, last } in &self.missing {
            writeln!(
                out,
                "    {}: entries {first}..={last} are missing between the records around it",
                named(*group)
            )?;
        }
        Ok(())
    }
}

/// Offset at which the damaged bytes end. A damaged group may reach beyond the bytes that are known to be acknowledged,
/// but not beyond the next group header.
fn end_of(scan: &SegmentScan, damage: &Damage) -> u32 {
    let to = if damage.to.segment() > damage.from.segment() { u32::MAX } else { damage.to.offset() };
    let at = scan.heads.partition_point(|head| head.offset < damage.from.offset());
    let Some(head) = scan.heads.get(at).filter(|head| head.offset == damage.from.offset()) else {
        return to;
    };
    let next = scan.heads.get(at + 1).map_or(u32::MAX, |next| next.offset);
    head.end.min(next).max(to)
}

impl Remnant {
    fn new(record: &RecordRef<'_>, bad_parts: &[u32]) -> Remnant {
        let lengths: Vec<u32> = record.part_infos().map(|p| p.length).collect();
        let ops = decode_record(record.meta(), record.part_count()).ok();
        Remnant {
            lsn: record.lsn().to_string(),
            length: record.len(),
            damaged_parts: bad_parts.to_vec(),
            damaged_entries: ops.iter().flat_map(|ops| damaged_entries(ops, bad_parts)).collect(),
            ops: ops.map(|ops| ops.iter().map(|op| Op::new(op, &lengths)).collect()),
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Remnant { lsn, damaged_parts, .. } = self;
        match damaged_parts.as_slice() {
            [] => writeln!(out, "    record {lsn}: whole, in a group that is not")?,
            parts => writeln!(out, "    record {lsn}: damaged in part {parts:?}")?,
        }
        for Entry { group, index, term } in &self.damaged_entries {
            writeln!(out, "      {}: entry {index} of term {term} is damaged", named(*group))?;
        }
        self.ops.iter().flatten().try_for_each(|op| writeln!(out, "      it says: {op}"))
    }
}

/// Returns the entries whose payloads are among `bad_parts`.
fn damaged_entries(ops: &[DecodedOp], bad_parts: &[u32]) -> Vec<Entry> {
    let entry = |part: usize| {
        // The parts of consecutive operations follow each other.
        let op = ops.get(ops.partition_point(|op| op.parts.end <= part))?;
        let (OpKind::Entries { first, term, .. }
        | OpKind::Moved { first, term, .. }
        | OpKind::Repaired { first, term, .. }) = op.what
        else {
            return None;
        };
        let index = first.saturating_add((part - op.parts.start) as u64);
        Some(Entry { group: op.group, index, term })
    };
    bad_parts.iter().filter_map(|&part| entry(usize::try_from(part).ok()?)).collect()
}

/// A group that fails its check and is not part of a damaged range.
#[derive(Debug, Serialize)]
pub(crate) struct OtherFault {
    file: String,
    offset: u32,
    lsn: String,
    /// Where the group belongs.
    state: State,
    reason: String,
}

impl OtherFault {
    /// Writes the group as text.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let OtherFault { file, offset, lsn, state, reason } = self;
        let state = format!("{state:?}").to_lowercase();
        writeln!(out, "  {file} at byte {offset:#x}, {lsn}, {state}: {reason}")
    }
}

/// Returns all such groups: torn groups that are or were dropped, and damaged groups of released segments.
pub(crate) fn other_faults(look: &Look) -> Vec<OtherFault> {
    let judge = look.judge();
    let mut damage = look.found.verdict.as_ref().err().map_or_else(Vec::new, Vec::clone);
    damage.sort_unstable_by_key(|d| d.to);
    let mut found = Vec::new();
    for scan in &look.found.segments {
        for head in &scan.heads {
            let Some(fault) = head.fault else { continue };
            let lsn = Lsn::new(scan.sequence, head.offset);
            // No range is inside another one.
            if damage.get(damage.partition_point(|d| d.to <= lsn)).is_some_and(|d| d.from <= lsn) {
                continue;
            }
            found.push(OtherFault {
                file: file_name(scan.sequence),
                offset: head.offset,
                lsn: lsn.to_string(),
                state: judge.state(scan.sequence, head),
                reason: fault_text(fault),
            });
        }
    }
    found
}
