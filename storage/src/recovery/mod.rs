//! Rebuilds the groups when an engine is opened.
//!
//! Replays the records of the log in order with `group::apply`, the function that the write path uses. Segments that
//! the log accepted because of their footer are replayed from their index instead (`footers`). No value is adjusted
//! to make records fit: records that contradict each other are an error that names the group. The log is only
//! prepared and nothing has been written to it, so a refusal leaves it as it was found.

mod footers;
mod replay;

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use footers::Footers;
pub(crate) use replay::Findings;
use replay::Replay;
use seawall_wal::inspect::RecordRef;
use seawall_wal::{Lsn, OpenMode, PartInfo, Prepared, Threads, report::Damage};

use crate::error::{Error, Result};
use crate::format::{GroupOp, Op, decode, decode_conf_state};
use crate::group::{FooterIndexBuilder, GroupState, Groups, SegmentUsage, Settled, UsageDelta, apply};
use crate::types::{DamagedEntry, GroupId, GroupMap, Location, StateValue};

/// Sequence number of the first segment of every log.
const FIRST_SEGMENT: u32 = 1;

/// Entries whose payloads fail their checksums, with their locations.
pub(crate) type DamagedRecords = Vec<(DamagedEntry, Location)>;

/// Replays a log for an engine. `index_builder` has the index of the segment in use.
///
/// # Errors
/// [`Error::Lost`] with everything in damaged ranges that the groups need and that is lost; `Corrupt` of the log with
/// every damaged range, whichever the replay meets first (INV-5); the errors of [`restore`].
pub(crate) fn open(log: &Prepared, threads: Threads, index_builder: &FooterIndexBuilder) -> Result<Restored> {
    let (by_footer, writable) = (&log.report().by_footer, log.report().mode != OpenMode::Salvage);
    let lost = lost(log)?;
    if !lost.is_empty() {
        return Err(Error::Lost { all: lost.into() });
    }
    restore(log, by_footer, threads, writable.then_some(index_builder))
        .map_err(|error| every_place(log, error))
}

/// Extends an error about a damaged range to all damaged ranges. Errors that the replay would have met after that
/// range, such as gaps and contradicting terms, are consequences of the damage and are not reported.
fn every_place(log: &Prepared, error: Error) -> Error {
    let Error::Log(seawall_wal::Error::Corrupt { path, damage }) = error else { return error };
    // If the medium fails now, at least the known range is reported.
    let all = log.every_damage(&damage).map_or(damage, Arc::from);
    seawall_wal::Error::Corrupt { path, damage: all }.into()
}

/// Losses in damaged ranges in addition to payloads of entries, in log order.
fn lost(log: &Prepared) -> Result<Vec<Error>> {
    let (mut lost, mut ops) = (Vec::new(), Vec::new());
    for damage in log.damaged() {
        let mut each = |record: &RecordRef<'_>, bad: &[u32]| {
            if bad.is_empty() || decode(record.meta(), record.part_count(), &mut ops).is_err() {
                return; // the replay reports records that cannot be decoded
            }
            lost.extend(lost_parts(&ops, record.lsn(), bad));
        };
        let accounted = log.damaged_records(&damage, &mut each)?;
        if !accounted {
            let Damage { from, to, what } = damage;
            lost.push(Error::Unaccounted { from, to, what });
        }
    }
    Ok(lost)
}

/// The small state in the parts `bad` of the record at `at`; these parts fail their checksums.
fn lost_parts(ops: &[GroupOp], at: Lsn, bad: &[u32]) -> impl Iterator<Item = Error> {
    let is_bad = |part: usize| bad.iter().any(|&bad| usize::try_from(bad) == Ok(part));
    state_value_parts(ops).filter(move |(part, _)| is_bad(*part)).map(move |(_, GroupOp { group, op })| {
        match op {
            Op::Meta { key, .. } => Error::DamagedMeta { group, key: key.as_bytes().into(), at },
            _ => Error::DamagedConfState { group, at },
        }
    })
}

/// Replays every kept segment. Those in `by_footer`, which is ascending, are replayed from their index.
///
/// If the log has lost its prefix to releases, the first records of a group may refer to entries that are gone.
/// `GroupState::settle` explains why all gaps must be closed at the end, and checks it.
///
/// Only a log in degraded or salvage mode has damaged ranges here. Every record in such a range must still tell what
/// it did, which [`lost`] has checked. Then only payloads are missing, and indexes and terms are correct (INV-5).
///
/// `index_builder` has the index of the segment in use, and its records are replayed from that. Without
/// `index_builder`, they are read.
pub(crate) fn restore(
    log: &Prepared,
    by_footer: &[u32],
    threads: Threads,
    index_builder: Option<&FooterIndexBuilder>,
) -> Result<Restored> {
    let mut restoring = Restoring::new(log.first_segment() > FIRST_SEGMENT);
    let mut from = Lsn::ZERO;
    thread::scope(|scope| {
        let footers = Footers::of(scope, log, by_footer, threads);
        for &segment in by_footer {
            restoring.records(log, from, Lsn::new(segment, 0))?;
            from = Lsn::new(segment, 0);
            let Some(footer) = footers.next(segment)? else { continue };
            if restoring.index(log, footer.index(), footer.lsn())? {
                from = Lsn::new(segment.saturating_add(1), 0);
            }
            footers.done(footer);
        }
        Result::Ok(())
    })?;
    let (end, active) = (log.end(), Lsn::new(log.active_segment(), 0).max(from));
    if let Some(index_builder) = index_builder.filter(|_| active < end) {
        restoring.records(log, from, active)?;
        from = active;
        if restoring.index(log, &index_builder.written(), end)? {
            from = end;
        }
    }
    if from < end {
        restoring.records(log, from, end)?;
    }
    restoring.finish(end)
}

/// The groups as the log has them.
#[derive(Default)]
pub(crate) struct Restored {
    pub(crate) groups: Groups,
    pub(crate) usage: SegmentUsage,
    pub(crate) found: Findings,
    pub(crate) damaged: DamagedRecords,
}

/// A replay and its results so far.
struct Restoring {
    replay: Replay,
    usage: SegmentUsage,
    found: Findings,
    damaged: DamagedRecords,
    ops: Vec<GroupOp>,
    locations: Vec<Location>,
    values: Vec<StateValue>,
}

impl Restoring {
    fn new(released: bool) -> Restoring {
        Restoring {
            replay: Replay { states: GroupMap::default(), released },
            usage: SegmentUsage::default(),
            found: Findings::default(),
            damaged: Vec::new(),
            ops: Vec::new(),
            locations: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Replays a segment up to `end` from its `index`; `false` if it must be replayed from its records, see
    /// [`footers::replay`].
    fn index(&mut self, log: &Prepared, index: &[u8], end: Lsn) -> Result<bool> {
        footers::replay(log, index, end, &mut self.replay, &self.usage, &mut self.found)
    }

    /// Replays the records from `from` up to `to`.
    fn records(&mut self, log: &Prepared, from: Lsn, to: Lsn) -> Result<()> {
        for record in log.records_between(from, to) {
            match record {
                Ok(record) => {
                    let (at, meta) = (record.lsn(), record.meta());
                    self.record(at, meta, &mut record.parts(), record.part_count(), &[])?;
                }
                Err(seawall_wal::Error::Corrupt { path, damage }) => match damage[..] {
                    [damage] if log.damaged().contains(&damage) => self.damaged(log, &damage)?,
                    _ => return Err(seawall_wal::Error::Corrupt { path, damage }.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Applies one record; its parts with the numbers `bad` fail their checksums.
    fn record(
        &mut self,
        at: Lsn,
        meta: &[u8],
        parts: &mut dyn Iterator<Item = (PartInfo, &[u8])>,
        part_count: usize,
        bad: &[u32],
    ) -> Result<()> {
        let Restoring { ops, locations, values, .. } = self;
        let unreadable = |source| Error::Record { at, source };
        decode(meta, part_count, ops).map_err(unreadable)?;
        locations.clear();
        values.clear();
        let is_bad = |part: usize| bad.iter().any(|&bad| usize::try_from(bad) == Ok(part));
        if let Some(lost) = lost_parts(ops, at, bad).next() {
            return Err(lost);
        }
        let mut state_value_parts = state_value_parts(ops);
        let mut next_state_value = state_value_parts.next();
        for (part, (info, bytes)) in parts.enumerate() {
            let (segment, offset, length, crc) = (at.segment(), info.offset, info.length, info.crc);
            locations.push(Location::plain(segment, offset, length, crc));
            if let Some((_, GroupOp { op, .. })) = next_state_value.filter(|(at, _)| *at == part) {
                values.push(match op {
                    Op::Meta { .. } => StateValue::Meta(Bytes::copy_from_slice(bytes)),
                    _ => StateValue::Conf(Arc::new(decode_conf_state(bytes).map_err(unreadable)?)),
                });
                next_state_value = state_value_parts.next();
            }
        }
        drop(state_value_parts);
        let entries = entry_parts(ops).filter(|(part, _)| !bad.is_empty() && is_bad(*part));
        self.damaged.extend(entries.filter_map(|(part, entry)| Some((entry, *locations.get(part)?))));
        let mut uses = UsageDelta::default();
        apply(&mut self.replay, at, ops, locations, values, &mut uses)?;
        self.usage.settle(&uses);
        self.found.records += 1;
        Ok(())
    }

    /// Applies the intact rest of the records in a damaged range.
    fn damaged(&mut self, log: &Prepared, damage: &Damage) -> Result<()> {
        let mut applied = Ok(());
        let mut each = |record: &RecordRef<'_>, bad: &[u32]| {
            if applied.is_ok() {
                let (at, meta) = (record.lsn(), record.meta());
                applied = self.record(at, meta, &mut record.parts(), record.part_count(), bad);
            }
        };
        log.damaged_records(damage, &mut each)?;
        applied
    }

    fn finish(mut self, end: Lsn) -> Result<Restored> {
        settle(&mut self.replay.states, end, &mut self.found)?;
        let Restoring { usage, found, damaged, .. } = self;
        Ok(Restored { groups: Groups::new(self.replay.states), usage, found, damaged })
    }
}

/// The entries of a record, each with the position of its payload among the parts.
fn entry_parts(ops: &[GroupOp]) -> impl Iterator<Item = (usize, DamagedEntry)> {
    let mut part = 0;
    ops.iter().flat_map(move |of| {
        let (group, from) = (of.group, part);
        part += usize::try_from(of.op.parts()).unwrap_or(0);
        let (first, term, count) = match of.op {
            Op::Entries { first, term, count, .. }
            | Op::Moved { first, term, count, .. }
            | Op::Repaired { first, term, count, .. } => (first, term, count),
            _ => (0, 0, 0),
        };
        (0..count).map(move |i| {
            let index = first.saturating_add(u64::from(i));
            (from.saturating_add(i as usize), DamagedEntry { group, index, term })
        })
    })
}

/// The operations of a record that have small state as their part, each with the position of that part.
fn state_value_parts(ops: &[GroupOp]) -> impl Iterator<Item = (usize, GroupOp)> {
    let mut part = 0;
    ops.iter().filter_map(move |op| {
        let at = part;
        part += usize::try_from(op.op.parts()).unwrap_or(0);
        op.op.has_state_value().then_some((at, *op))
    })
}

/// Checks every group after all records are applied, in ascending order, so that the same log always gives the same
/// error.
fn settle(states: &mut GroupMap<GroupState>, at: Lsn, found: &mut Findings) -> Result<()> {
    let mut ids: Vec<GroupId> = states.keys().copied().collect();
    ids.sort_unstable();
    for group in ids {
        let Some(state) = states.get_mut(&group) else { continue };
        match state.settle() {
            Settled::Absent => {
                states.remove(&group);
                continue;
            }
            Settled::Faulty(fault) => return Err(Error::Damage { group, at, fault }),
            Settled::Whole => {}
        }
        let (commit, last_index) = (state.hard().commit, state.last_index());
        if commit > last_index {
            return Err(Error::CommitBeyondLog { group, commit, last_index });
        }
        found.groups += 1;
        found.entries += state.entries() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fault;
    use crate::types::{CompactionPoint, HardState};

    /// Groups after the replay of `ops`; each entry is in a part of its own.
    fn replayed(released: bool, ops: &[(GroupId, Op)]) -> Result<Findings> {
        let mut replay = Replay { states: GroupMap::default(), released };
        let ops: Vec<GroupOp> = ops.iter().map(|(group, op)| GroupOp { group: *group, op: *op }).collect();
        let locations = vec![Location::default(); ops.iter().map(|op| op.op.parts() as usize).sum()];
        let (mut uses, mut found) = (UsageDelta::default(), Findings::default());
        apply(&mut replay, Lsn::new(3, 8), &ops, &locations, &[], &mut uses)?;
        settle(&mut replay.states, Lsn::new(3, 8), &mut found)?;
        Ok(found)
    }

    fn entries(first: u64, count: u32) -> Op {
        Op::Entries { first, term: 1, count, truncates: false, packed: false }
    }

    fn commit(commit: u64) -> Op {
        Op::HardState(HardState { term: 1, vote: 0, commit })
    }

    #[test]
    fn a_commit_beyond_the_log_is_an_error_and_no_clamp() {
        let found = replayed(false, &[(1, entries(1, 4)), (1, commit(4)), (2, commit(0))]).expect("whole");
        assert_eq!((found.groups, found.entries), (2, 4));
        let error = replayed(false, &[(1, entries(1, 4)), (1, commit(5))]).expect_err("5 is missing");
        assert!(matches!(error, Error::CommitBeyondLog { group: 1, commit: 5, last_index: 4 }), "{error}");
    }

    #[test]
    fn a_hole_names_its_group_and_what_is_missing() {
        let error = replayed(false, &[(1, entries(1, 1)), (9, entries(3, 1))]).expect_err("a gap");
        let fault = Fault::Gap { expected: 1, found: 3 };
        assert!(matches!(error, Error::Damage { group: 9, fault: f, .. } if f == fault), "{error}");
        let error = replayed(true, &[(9, entries(3, 1))]).expect_err("nothing closes it");
        let fault = Fault::Missing { first: 1, last: 2 };
        assert!(matches!(error, Error::Damage { group: 9, fault: f, .. } if f == fault), "{error}");
        let point = Op::Compact(CompactionPoint { index: 2, term: 1 });
        assert_eq!(replayed(true, &[(9, entries(3, 1)), (9, point)]).expect("closed").entries, 1);
    }

    #[test]
    fn a_record_with_too_few_parts_is_damage() {
        let mut replay = Replay { states: GroupMap::default(), released: false };
        let ops = [GroupOp { group: 1, op: entries(1, 2) }];
        let at = Lsn::new(1, 4096);
        let error = apply(&mut replay, at, &ops, &[Location::default()], &[], &mut UsageDelta::default());
        assert!(matches!(error, Err(Error::Damage { group: 1, fault: Fault::Part, .. })));
    }
}
