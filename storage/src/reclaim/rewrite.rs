//! Copies what lives in the oldest segment to the log's end, so that the segment can go.
//!
//! The engine's own thread does it, a piece at a time. Invariants: a copy is enqueued only while the index still points
//! at its source, and the group is held meanwhile, so it truncates nothing and revives nothing; the source goes only after
//! a record of its copies is durable. An entry that cannot be read stays where it is, is named, and keeps no other
//! entry from being copied. Fails with the error of the log's `append`.

use std::collections::HashSet;

use parking_lot::Mutex;
use seawall_wal::{Durability, Lsn, RecordBuilder, Wal};

use crate::error::{Error, Result};
use crate::format::{GroupOp, Op, encode};
use crate::group::{Groups, SegmentUsage, footer_bytes, publish};
use crate::types::{GroupId, Location};

/// Payload that one record of copies holds, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// What an entry takes in a record besides its payload, in bytes, at most: an operation and its share of the
/// index.
const ENTRY_BYTES: usize = 128;

/// Groups that are looked at for one record.
const PIECE_GROUPS: usize = 64;

/// Entries that one pass gives up on before it ends: a bad disk may take seconds for each.
const UNREADABLE_MAX: usize = 1024;

/// How far the work has come.
#[derive(Debug, Default)]
pub(crate) struct Rewrite {
    progress: Mutex<Progress>,
    /// Apart, so that who asks waits for no I/O.
    figures: Mutex<Figures>,
}

/// A pass looks once at each group that has entries in the oldest segment.
#[derive(Debug, Default)]
struct Progress {
    /// The segment that is being emptied, and its groups still to be looked at. No entry is ever added to it.
    segment: u32,
    groups: Vec<GroupId>,
    /// Whether the pass found anything that can be copied.
    copies: bool,
    /// Entries that the pass could not read.
    unreadable: HashSet<(GroupId, u64)>,
    /// The segment that was being written when a pass ended that found nothing but unreadable entries. The next pass waits
    /// for the next segment, or until the entry that is named is gone.
    rests_in: u32,
}

#[derive(Debug, Default)]
struct Figures {
    entries: u64,
    bytes: u64,
    stuck: Option<Unreadable>,
}

/// Figures of the rewriting since the engine was opened.
#[derive(Clone, Debug, Default)]
pub struct RewriteStats {
    /// Entries that were copied.
    pub entries: u64,
    /// Bytes of payload that were copied.
    pub bytes: u64,
    /// The segment that cannot be emptied, and why: [`Error::DamagedEntry`] or [`Error::UnreadableEntry`] of the first entry
    /// in it that cannot be read. The segment, and all later ones, stay until that entry is compacted, overwritten or
    /// removed with its group, or can be read again: the engine tries once in each segment that the log enters. Everything
    /// else is copied out of the segment all the same. `None` as soon as the entry is gone.
    pub stuck: Option<(u32, Error)>,
}

/// One entry that is to be copied.
struct Source {
    index: u64,
    term: u64,
    at: Location,
    payload: Vec<u8>,
}

/// What is to be copied, by group.
type Sources = Vec<(GroupId, Vec<Source>)>;

/// An entry that is live and cannot be read.
#[derive(Clone, Debug)]
struct Unreadable {
    group: GroupId,
    index: u64,
    at: Location,
    error: Error,
}

impl Unreadable {
    /// Whether the entry still lies where it could not be read.
    fn still(&self, groups: &Groups) -> bool {
        let now = groups.get(self.group).and_then(|cell| cell.read().location(self.index));
        now == Some(self.at)
    }
}

impl Rewrite {
    pub(crate) fn stats(&self, groups: &Groups) -> RewriteStats {
        let stuck = self.stuck(groups).map(|entry| (entry.at.segment, entry.error));
        let figures = self.figures.lock();
        RewriteStats { entries: figures.entries, bytes: figures.bytes, stuck }
    }

    /// The entry that is named as the one that keeps its segment, if it still does.
    fn stuck(&self, groups: &Groups) -> Option<Unreadable> {
        let stuck = self.figures.lock().stuck.clone();
        stuck.filter(|entry| entry.still(groups))
    }

    /// Bytes that the log is longer than twice what lives in it and `slack_bytes` more, which it has to be for
    /// anything to be copied; and the segment that comes first.
    fn due(wal: &Wal, pins: &SegmentUsage, slack_bytes: u64) -> Option<(u32, u64)> {
        let (segment, live_bytes) = pins.movable(|| wal.active_segment())?;
        let segments = u64::from(wal.active_segment().saturating_sub(wal.first_segment())) + 1;
        let log_bytes = segments.saturating_mul(wal.segment_bytes());
        let limit = live_bytes.saturating_mul(2).saturating_add(slack_bytes);
        Some((segment, log_bytes.checked_sub(limit).filter(|excess| *excess > 0)?))
    }

    /// How far the log is beyond where rewriting begins, in bytes; 0 if it does not begin.
    pub(crate) fn excess(wal: &Wal, pins: &SegmentUsage, slack_bytes: u64) -> u64 {
        Rewrite::due(wal, pins, slack_bytes).map_or(0, |(_, excess)| excess)
    }

    /// Copies one piece, if the log is longer than twice what lives in it and `slack_bytes` more. Returns the
    /// bytes of payload copied, or `None` if there is nothing to do. Calls `tell` when an entry is found that keeps its
    /// segment because it cannot be read.
    ///
    /// The padding of groups that had a block to themselves is nothing that lives, so segments that are mostly
    /// padding count as what they are, and copies are dense.
    pub(crate) fn step(
        &self,
        wal: &Wal,
        (groups, pins): (&Groups, &SegmentUsage),
        slack_bytes: u64,
        tell: impl FnOnce(u32, &Error),
    ) -> Result<Option<u64>> {
        // One thread at a time; the others have nothing to wait for.
        let Some(mut progress) = self.progress.try_lock() else { return Ok(None) };
        let Some((segment, _)) = Rewrite::due(wal, pins, slack_bytes) else { return Ok(None) };
        if progress.segment != segment {
            *progress = Progress { segment, ..Progress::default() };
        }
        if progress.groups.is_empty() {
            if progress.rests_in == wal.active_segment() && self.stuck(groups).is_some() {
                return Ok(None);
            }
            progress.groups = groups.select(|state| state.entries_up_to(segment).next().is_some());
            progress.unreadable.clear();
            (progress.copies, progress.rests_in) = (false, 0);
        }
        let rest = progress.groups.len().saturating_sub(PIECE_GROUPS);
        let mut chosen = progress.groups.split_off(rest);
        let (sources, first) = read(wal, groups, pins, segment, &mut chosen, &mut progress.unreadable);
        // Those that did not fit have their turn next.
        progress.groups.append(&mut chosen);
        if let Some(first) = first {
            self.name(first, groups, tell);
            if progress.unreadable.len() >= UNREADABLE_MAX {
                progress.groups.clear();
            }
        }
        progress.copies |= !sources.is_empty();
        if progress.groups.is_empty() && !progress.copies {
            if !progress.unreadable.is_empty() {
                progress.rests_in = wal.active_segment();
            }
            return Ok(None);
        }
        let (entries, bytes) = copy(wal, groups, pins, sources)?;
        let mut figures = self.figures.lock();
        figures.entries += entries;
        figures.bytes += bytes;
        Ok(Some(bytes))
    }

    /// Names `entry` as what keeps its segment, unless another one is named that still does.
    fn name(&self, entry: Unreadable, groups: &Groups, tell: impl FnOnce(u32, &Error)) {
        if self.stuck(groups).is_none() {
            self.figures.lock().stuck = Some(entry.clone());
            tell(entry.at.segment, &entry.error);
        }
    }
}

/// Reads up to a piece of what the groups `chosen` have in segments up to `segment`, without holding any of
/// them. Leaves those in `chosen` that have more. What cannot be read is added to `unreadable`, whose entries are
/// passed over; the first such entry is returned.
fn read(
    wal: &Wal,
    groups: &Groups,
    pins: &SegmentUsage,
    segment: u32,
    chosen: &mut Vec<GroupId>,
    unreadable: &mut HashSet<(GroupId, u64)>,
) -> (Sources, Option<Unreadable>) {
    let (mut found, mut first, mut bytes) = (Vec::new(), None, 0);
    let budget = PIECE_BYTES.min(wal.record_bytes_max() / 4);
    let mut full = false;
    let mut later = Vec::new();
    for &group in chosen.iter() {
        if full {
            later.push(group);
            continue;
        }
        let Some(cell) = groups.get(group) else { continue };
        let mut places: Vec<(u64, u64, Location)> = Vec::new();
        let state = cell.read();
        for (index, term, at) in state.entries_up_to(segment) {
            if unreadable.contains(&(group, index)) {
                continue;
            }
            let length = usize::try_from(at.length).unwrap_or(usize::MAX).saturating_add(ENTRY_BYTES);
            // One that is larger than a piece goes alone: it fitted into a record before.
            if bytes > 0 && length > budget.saturating_sub(bytes) {
                full = true;
                break;
            }
            bytes = bytes.saturating_add(length);
            places.push((index, term, at));
        }
        // Before the group is let go: until then its entries keep their segments.
        let hold = pins.hold(|| places.iter().map(|(_, _, at)| at.segment).min().unwrap_or(segment));
        drop(state);
        if full {
            later.push(group);
        }
        let mut sources = Vec::with_capacity(places.len());
        for (index, term, at) in places {
            match payload(wal, group, (index, term), at) {
                Ok(payload) => sources.push(Source { index, term, at, payload }),
                Err(error) => {
                    unreadable.insert((group, index));
                    first.get_or_insert(Unreadable { group, index, at, error });
                }
            }
        }
        drop(hold);
        if !sources.is_empty() {
            found.push((group, sources));
        }
    }
    *chosen = later;
    (found, first)
}

/// What is stored of an entry at `at`.
fn payload(wal: &Wal, group: GroupId, (index, term): (u64, u64), at: Location) -> Result<Vec<u8>> {
    let mut payload = vec![0; usize::try_from(at.length).unwrap_or(usize::MAX)];
    let (crc, at) = (at.crc, Lsn::new(at.segment, at.offset));
    let read = match wal.read_at(at, &mut payload) {
        _ if payload.is_empty() => Ok(()),
        // Of a damaged place the checksum, below, tells what is sound.
        Err(seawall_wal::Error::Corrupt { .. }) => wal.read_damaged_at(at, &mut payload),
        read => read,
    };
    read.map_err(|source| Error::UnreadableEntry { group, index, term, at, source })?;
    if crc_fast::crc32_iscsi(&payload) != crc {
        return Err(Error::DamagedEntry { group, index, term, at });
    }
    Ok(payload)
}

/// Enqueues copies of those of `sources` that are still where they were read. A group that is being written
/// is left for another time. Returns entries and bytes.
fn copy(wal: &Wal, groups: &Groups, pins: &SegmentUsage, sources: Sources) -> Result<(u64, u64)> {
    let (locked, _busy) = groups.try_lock(sources.iter().map(|(group, _)| *group).collect());
    let (mut record, mut ops) = (RecordBuilder::new(), Vec::<GroupOp>::new());
    let (mut entries, mut bytes) = (0, 0);
    for (group, state) in locked.read() {
        let Some((_, sources)) = sources.iter().find(|(of, _)| *of == group) else { continue };
        for Source { index, term, at, payload } in sources {
            let (index, term) = (*index, *term);
            let owned = state.location(index) == Some(*at) && state.term(index) == Some(term);
            if !owned {
                continue;
            }
            record.push_part(payload);
            entries += 1;
            bytes += payload.len() as u64;
            match ops.last_mut() {
                Some(GroupOp { group: of, op: Op::Moved { first, term: run, count, packed } })
                    if *of == group
                        && (*run, *packed) == (term, at.packed)
                        && first.checked_add(u64::from(*count)) == Some(index) =>
                {
                    *count += 1;
                }
                _ => {
                    let op = Op::Moved { first: index, term, count: 1, packed: at.packed };
                    ops.push(GroupOp { group, op });
                }
            }
        }
    }
    if !ops.is_empty() {
        encode(&ops, record.meta());
        record.set_footer_bytes(u32::try_from(footer_bytes(&ops)).unwrap_or(u32::MAX));
        publish(wal, pins, &locked, &ops, &[], &record, (Durability::Lazy, Wal::append_admitted))?;
    }
    Ok((entries, bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
    use seawall_wal::{Env, Options, Threads};

    use super::*;

    struct Log {
        wal: Wal,
        groups: Groups,
        pins: SegmentUsage,
    }

    impl Log {
        fn new() -> Log {
            let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(3)));
            let disk = SimDisk::new(1, SimOptions::default()).process();
            let env = Env { disk, clock, random, threads: Threads::Stepped };
            let wal = Wal::create_in(env, &Options { segment_bytes: 64 << 10, ..Options::default() });
            Log { wal: wal.expect("a log"), groups: Groups::new([]), pins: SegmentUsage::default() }
        }

        fn append(&self, index: u64, truncates: bool, payload: &[u8]) {
            let op = Op::Entries { first: index, term: 1, count: 1, truncates, packed: false };
            let (mut record, ops) = (RecordBuilder::new(), [GroupOp { group: 7, op }]);
            record.push_part(payload);
            encode(&ops, record.meta());
            let locked = self.groups.lock(&[7]);
            publish(
                &self.wal,
                &self.pins,
                &locked,
                &ops,
                &[],
                &record,
                (Durability::Sync, Wal::append_admitted),
            )
            .expect("room");
        }

        fn place(&self, index: u64) -> Option<Location> {
            self.groups.get(7)?.read().location(index)
        }
    }

    #[test]
    fn what_was_overwritten_since_it_was_read_is_not_copied() {
        let log = Log::new();
        (1..=3).for_each(|index| log.append(index, false, b"first"));
        let segment = log.wal.active_segment();
        let (sources, unreadable) =
            read(&log.wal, &log.groups, &log.pins, segment, &mut vec![7], &mut HashSet::new());
        assert!(unreadable.is_none());
        // The same index and term once more: only the place tells.
        log.append(2, true, b"other");
        let (first, second) = (log.place(1), log.place(2));
        let copied = copy(&log.wal, &log.groups, &log.pins, sources).expect("room");
        assert_eq!(copied, (1, 5), "entry 1 alone");
        assert_ne!(log.place(1), first);
        assert_eq!((log.place(2), log.place(3)), (second, None));
    }
}
