//! Copies the live entries of the oldest segment to the end of the log, so that the segment can be released.
//!
//! The engine's background thread does this, a piece at a time. A copy is enqueued only if the index still points at
//! its source, while the group is locked, so copying neither truncates a log nor revives an entry. The source is
//! released only after its copies are durable. An entry that cannot be read stays where it is and is reported; it does
//! not keep other entries from being copied.

use std::collections::HashSet;

use parking_lot::Mutex;
use seawall_wal::{Durability, Lsn, RecordBuilder, Wal};

use crate::error::{Error, Result};
use crate::format::{GroupOp, Op, encode};
use crate::group::{Groups, SegmentUsage, ValidRecord, footer_bytes, publish};
use crate::types::{GroupId, Location};

/// Bytes of payload in one record of copies.
const PIECE_BYTES: usize = 256 << 10;

/// Largest number of bytes that an entry takes in a record in addition to its payload: an operation and its share of
/// the index.
const ENTRY_BYTES: usize = 128;

/// Number of groups that are examined for one record.
const PIECE_GROUPS: usize = 64;

/// Number of unreadable entries after which a pass ends: reading each may take seconds on a bad disk.
const UNREADABLE_MAX: usize = 1024;

/// State of the work between two pieces.
#[derive(Debug, Default)]
pub(crate) struct Rewrite {
    progress: Mutex<Progress>,
    /// Separate from the progress, so that reading the statistics does not wait for I/O.
    figures: Mutex<Figures>,
}

/// Progress of a pass, which examines each group with entries in the oldest segment once.
#[derive(Debug, Default)]
struct Progress {
    /// The segment that is being emptied, and its groups that are still to be examined. No entry is ever added to it.
    segment: u32,
    groups: Vec<GroupId>,
    /// Whether the pass found an entry that can be copied.
    copies: bool,
    /// Entries that the pass could not read.
    unreadable: HashSet<(GroupId, u64)>,
    /// The segment that was being written when a pass found nothing but unreadable entries. The next pass starts in
    /// the next segment, or once the reported entry is gone.
    rests_in: u32,
}

#[derive(Debug, Default)]
struct Figures {
    entries: u64,
    bytes: u64,
    stuck: Option<Unreadable>,
}

/// Statistics of copying entries since the engine was opened.
#[derive(Clone, Debug, Default)]
pub struct RewriteStats {
    /// Number of entries that were copied.
    pub entries: u64,
    /// Bytes of payload that were copied.
    pub bytes: u64,
    /// The segment that cannot be emptied, and the reason: [`Error::DamagedEntry`] or [`Error::UnreadableEntry`] of
    /// the first entry in it that cannot be read. This segment and all later ones are kept until the entry is
    /// compacted, overwritten, removed with its group, or readable again; the engine tries once in each segment that
    /// the log enters. All other entries are copied out of the segment nevertheless. `None` as soon as the entry is
    /// gone.
    pub stuck: Option<(u32, Error)>,
}

/// One entry that is to be copied.
struct Source {
    index: u64,
    term: u64,
    at: Location,
    payload: Vec<u8>,
}

/// The entries that are to be copied, by group.
type Sources = Vec<(GroupId, Vec<Source>)>;

/// A live entry that cannot be read.
#[derive(Clone, Debug)]
struct Unreadable {
    group: GroupId,
    index: u64,
    at: Location,
    error: Error,
}

impl Unreadable {
    /// Whether the entry is still at the location where it could not be read.
    fn still(&self, groups: &Groups) -> bool {
        let now = groups.get(self.group).and_then(|slot| slot.read().location(self.index));
        now == Some(self.at)
    }
}

impl Rewrite {
    pub(crate) fn stats(&self, groups: &Groups) -> RewriteStats {
        let stuck = self.stuck(groups).map(|entry| (entry.at.segment, entry.error));
        let figures = self.figures.lock();
        RewriteStats { entries: figures.entries, bytes: figures.bytes, stuck }
    }

    /// The reported entry, if it still keeps its segment.
    fn stuck(&self, groups: &Groups) -> Option<Unreadable> {
        let stuck = self.figures.lock().stuck.clone();
        stuck.filter(|entry| entry.still(groups))
    }

    /// Returns the segment to empty and the excess in bytes, if the log is longer than twice its live data plus
    /// `slack_bytes`.
    fn due(wal: &Wal, usage: &SegmentUsage, slack_bytes: u64) -> Option<(u32, u64)> {
        let (segment, live_bytes) = usage.movable(|| wal.active_segment())?;
        let segments = u64::from(wal.active_segment().saturating_sub(wal.first_segment())) + 1;
        let log_bytes = segments.saturating_mul(wal.segment_bytes());
        let limit = live_bytes.saturating_mul(2).saturating_add(slack_bytes);
        Some((segment, log_bytes.checked_sub(limit).filter(|excess| *excess > 0)?))
    }

    /// Bytes by which the log exceeds the length at which copying starts; 0 if it does not.
    pub(crate) fn excess(wal: &Wal, usage: &SegmentUsage, slack_bytes: u64) -> u64 {
        Rewrite::due(wal, usage, slack_bytes).map_or(0, |(_, excess)| excess)
    }

    /// Copies one piece, if the log is longer than twice its live data plus `slack_bytes`. Returns the bytes of
    /// payload copied, or `None` if there is nothing to do. Calls `tell` when an entry that cannot be read is newly
    /// reported as keeping its segment.
    ///
    /// The padding of write groups does not count as live data, and copies are stored densely, so segments that are
    /// mostly padding are worth emptying.
    pub(crate) fn step(
        &self,
        wal: &Wal,
        groups: &Groups,
        usage: &SegmentUsage,
        slack_bytes: u64,
        tell: impl FnOnce(u32, &Error),
    ) -> Result<Option<u64>> {
        // One thread at a time. The others do not need to wait for it.
        let Some(mut progress) = self.progress.try_lock() else { return Ok(None) };
        let Some((segment, _)) = Rewrite::due(wal, usage, slack_bytes) else { return Ok(None) };
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
        let (sources, first) = read(wal, groups, usage, segment, &mut chosen, &mut progress.unreadable);
        // The groups that did not fit are handled next.
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
        let (entries, bytes) = copy(wal, groups, usage, sources)?;
        let mut figures = self.figures.lock();
        figures.entries += entries;
        figures.bytes += bytes;
        Ok(Some(bytes))
    }

    /// Reports that `entry` keeps its segment, unless another reported entry still does.
    fn name(&self, entry: Unreadable, groups: &Groups, tell: impl FnOnce(u32, &Error)) {
        if self.stuck(groups).is_none() {
            self.figures.lock().stuck = Some(entry.clone());
            tell(entry.at.segment, &entry.error);
        }
    }
}

/// Reads up to one piece of the entries that the groups `chosen` have in segments up to `segment`, without locking
/// any group. Leaves in `chosen` the groups that have more. Skips the entries in `unreadable`, adds to it those that
/// cannot be read, and returns the first of these.
fn read(
    wal: &Wal,
    groups: &Groups,
    usage: &SegmentUsage,
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
        let Some(slot) = groups.get(group) else { continue };
        let mut places: Vec<(u64, u64, Location)> = Vec::new();
        let state = slot.read();
        for (index, term, at) in state.entries_up_to(segment) {
            if unreadable.contains(&(group, index)) {
                continue;
            }
            let length = usize::try_from(at.length).unwrap_or(usize::MAX).saturating_add(ENTRY_BYTES);
            // An entry that is larger than a piece is copied alone: it fitted into a record before.
            if bytes > 0 && length > budget.saturating_sub(bytes) {
                full = true;
                break;
            }
            bytes = bytes.saturating_add(length);
            places.push((index, term, at));
        }
        // Taken before the group is unlocked: until then, its entries keep their segments.
        let hold = usage.hold(|| places.iter().map(|(_, _, at)| at.segment).min().unwrap_or(segment));
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

/// Reads the stored bytes of an entry at `at`.
fn payload(wal: &Wal, group: GroupId, (index, term): (u64, u64), at: Location) -> Result<Vec<u8>> {
    let mut payload = vec![0; usize::try_from(at.length).unwrap_or(usize::MAX)];
    let lsn = Lsn::new(at.segment, at.offset);
    if !payload.is_empty() {
        // In a damaged range, the checksum below decides whether the payload is intact.
        let read = wal.read_damaged_at(lsn, &mut payload);
        read.map_err(|source| Error::UnreadableEntry { group, index, term, at: lsn, source })?;
    }
    let intact = at.matches(&payload);
    if !intact {
        // A cached page may be older than the medium.
        let read = wal.read_medium_at(lsn, &mut payload);
        read.map_err(|source| Error::UnreadableEntry { group, index, term, at: lsn, source })?;
    }
    if !at.matches(&payload) {
        return Err(Error::DamagedEntry { group, index, term, at: lsn });
    }
    Ok(payload)
}

/// Enqueues copies of those of `sources` that are still where they were read. Skips groups that are being written.
/// Returns the number of entries and the bytes of payload copied.
fn copy(wal: &Wal, groups: &Groups, usage: &SegmentUsage, sources: Sources) -> Result<(u64, u64)> {
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
        let valid = ValidRecord { ops: &ops, values: &[], record: &record, class: Durability::Lazy };
        drop(publish(wal, usage, locked, valid, Wal::append_admitted)?);
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
        usage: SegmentUsage,
    }

    impl Log {
        fn new() -> Log {
            let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(3)));
            let disk = SimDisk::new(1, SimOptions::default()).process();
            let env = Env { disk, clock, random, threads: Threads::Stepped };
            let wal = Wal::create_in(env, &Options::default().with_segment_bytes(64 << 10));
            Log { wal: wal.expect("a log"), groups: Groups::new([]), usage: SegmentUsage::default() }
        }

        fn append(&self, index: u64, truncates: bool, payload: &[u8]) {
            let op = Op::Entries { first: index, term: 1, count: 1, truncates, packed: false };
            let (mut record, ops) = (RecordBuilder::new(), [GroupOp { group: 7, op }]);
            record.push_part(payload);
            encode(&ops, record.meta());
            let locked = self.groups.lock(&[7]);
            let valid = ValidRecord { ops: &ops, values: &[], record: &record, class: Durability::Sync };
            drop(publish(&self.wal, &self.usage, locked, valid, Wal::append_admitted).expect("room"));
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
            read(&log.wal, &log.groups, &log.usage, segment, &mut vec![7], &mut HashSet::new());
        assert!(unreadable.is_none());
        // The same index and term again: only the location differs.
        log.append(2, true, b"other");
        let (first, second) = (log.place(1), log.place(2));
        let copied = copy(&log.wal, &log.groups, &log.usage, sources).expect("room");
        assert_eq!(copied, (1, 5), "entry 1 alone");
        assert_ne!(log.place(1), first);
        assert_eq!((log.place(2), log.place(3)), (second, None));
    }
}
