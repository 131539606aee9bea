//! Copying what little lives in the oldest segment to the log's end, so that the segment can go.
//! Place on the data's way: beside the writes, on the engine's own thread, a piece at a time. Invariants: a
//! copy is enqueued only while the index still points at its source, and the group is held meanwhile, so it
//! truncates nothing and revives nothing; the source goes only behind a durable record of its copies.
//! Fails: with the log's error, or with the entry that does not check: that one stays where it is.

use parking_lot::Mutex;
use seawall_wal::mutant::mutant;
use seawall_wal::{Batch, Class, Lsn, Wal};

use crate::error::{Error, Result};
use crate::group::{Groups, Pins, footer_bytes, publish};
use crate::record::{GroupOp, Op, encode};
use crate::types::{GroupId, Location};

/// Payload that one record of copies holds, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// What an entry takes in a record besides its payload, in bytes, at most: an operation and its share of the
/// index.
const ENTRY_BYTES: usize = 128;

/// Groups that are looked at for one record.
const PIECE_GROUPS: usize = 64;

/// How far the work has come.
#[derive(Debug, Default)]
pub(crate) struct Rewrite {
    progress: Mutex<Progress>,
    /// Apart, so that who asks waits for no I/O.
    stats: Mutex<RewriteStats>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The segment that is being emptied, and its groups still to be looked at. No entry is ever added to it.
    segment: u32,
    groups: Vec<GroupId>,
}

/// Figures of the rewriting since the engine was opened.
#[derive(Clone, Debug, Default)]
pub struct RewriteStats {
    /// Entries that were copied.
    pub entries: u64,
    /// Bytes of payload that were copied.
    pub bytes: u64,
    /// The segment that cannot be emptied, and the first entry in it that does not check: it stays until
    /// that entry is compacted or overwritten.
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

impl Rewrite {
    pub(crate) fn stats(&self) -> RewriteStats {
        self.stats.lock().clone()
    }

    /// Bytes that the log is longer than twice what lives in it and `slack_bytes` more, which it has to be for
    /// anything to be copied; and the segment that comes first.
    fn due(wal: &Wal, pins: &Pins, slack_bytes: u64) -> Option<(u32, u64)> {
        let (segment, live_bytes) = pins.movable(|| wal.active_segment())?;
        let segments = u64::from(wal.active_segment().saturating_sub(wal.first_segment())) + 1;
        let log_bytes = segments.saturating_mul(wal.segment_bytes());
        let limit = live_bytes.saturating_mul(2).saturating_add(slack_bytes);
        Some((segment, log_bytes.checked_sub(limit).filter(|excess| *excess > 0)?))
    }

    /// How far the log is beyond where rewriting begins, in bytes.
    pub(crate) fn excess(wal: &Wal, pins: &Pins, slack_bytes: u64) -> u64 {
        Rewrite::due(wal, pins, slack_bytes).map_or(0, |(_, excess)| excess)
    }

    /// Copies one piece, if the log is longer than twice what lives in it and `slack_bytes` more. Returns the
    /// bytes of payload copied, or `None` if there is nothing to do.
    ///
    /// The padding of groups that had a block to themselves is nothing that lives, so segments that are mostly
    /// padding count as what they are, and copies are dense.
    pub(crate) fn step(
        &self,
        wal: &Wal,
        groups: &Groups,
        pins: &Pins,
        slack_bytes: u64,
    ) -> Result<Option<u64>> {
        // One thread at a time; the others have nothing to wait for.
        let Some(mut progress) = self.progress.try_lock() else { return Ok(None) };
        let Some((segment, _)) = Rewrite::due(wal, pins, slack_bytes) else { return Ok(None) };
        if self.stats.lock().stuck.as_ref().is_some_and(|(at, _)| *at == segment) {
            return Ok(None);
        }
        if progress.segment != segment || progress.groups.is_empty() {
            progress.segment = segment;
            progress.groups = groups.select(|state| state.entries_up_to(segment).next().is_some());
        }
        let rest = progress.groups.len().saturating_sub(PIECE_GROUPS);
        let mut chosen = progress.groups.split_off(rest);
        let (sources, damaged) = read(wal, groups, pins, segment, &mut chosen)?;
        // Those that did not fit have their turn next.
        progress.groups.append(&mut chosen);
        if sources.is_empty() {
            // It stays whatever becomes of the others in it.
            if let Some(error) = damaged {
                self.stats.lock().stuck = Some((segment, error));
                return Ok(None);
            }
            return Ok((!progress.groups.is_empty()).then_some(0));
        }
        let (entries, bytes) = copy(wal, groups, pins, sources)?;
        let mut stats = self.stats.lock();
        stats.entries += entries;
        stats.bytes += bytes;
        Ok(Some(bytes))
    }
}

/// Reads up to a piece of what the groups `chosen` have in segments up to `segment`, without holding any of
/// them. Leaves those in `chosen` that have more.
fn read(
    wal: &Wal,
    groups: &Groups,
    pins: &Pins,
    segment: u32,
    chosen: &mut Vec<GroupId>,
) -> Result<(Sources, Option<Error>)> {
    let (mut found, mut damaged, mut bytes) = (Vec::new(), None, 0);
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
            let mut payload = vec![0; usize::try_from(at.length).unwrap_or(usize::MAX)];
            let from = Lsn::new(at.segment, at.offset);
            match wal.read_at(from, &mut payload) {
                _ if payload.is_empty() => {}
                // Of a damaged place the checksum, below, tells what is sound.
                Err(seawall_wal::Error::Corrupt { .. }) => wal.read_damaged_at(from, &mut payload)?,
                read => read?,
            }
            if crc_fast::crc32_iscsi(&payload) != at.crc && !mutant("moved_entry_unchecked") {
                let at = Lsn::new(at.segment, at.offset);
                damaged.get_or_insert(Error::DamagedEntry { group, index, term, at });
                continue;
            }
            sources.push(Source { index, term, at, payload });
        }
        drop(hold);
        if !sources.is_empty() {
            found.push((group, sources));
        }
    }
    *chosen = later;
    Ok((found, damaged))
}

/// Enqueues copies of those of `sources` that are still where they were read. A group that is being written
/// is left for another time. Returns entries and bytes.
fn copy(wal: &Wal, groups: &Groups, pins: &Pins, sources: Sources) -> Result<(u64, u64)> {
    let (locked, _busy) = groups.try_lock(sources.iter().map(|(group, _)| *group).collect());
    let (mut record, mut ops) = (Batch::new(), Vec::<GroupOp>::new());
    let (mut entries, mut bytes) = (0, 0);
    for (group, state) in locked.read() {
        let Some((_, sources)) = sources.iter().find(|(of, _)| *of == group) else { continue };
        for Source { index, term, at, payload } in sources {
            let (index, term) = (*index, *term);
            let owned = state.location(index) == Some(*at) && state.term(index) == Some(term);
            if !owned && !mutant("moved_entry_not_owned") {
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
        publish(wal, pins, &locked, &ops, &[], &record, (Class::Lazy, Wal::append_admitted))?;
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
        pins: Pins,
    }

    impl Log {
        fn new() -> Log {
            let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(3)));
            let disk = SimDisk::new(1, SimOptions::default()).process();
            let env = Env { disk, clock, random, threads: Threads::Stepped };
            let wal = Wal::create_in(env, &Options { segment_bytes: 64 << 10, ..Options::default() });
            Log { wal: wal.expect("a log"), groups: Groups::new([]), pins: Pins::default() }
        }

        fn append(&self, index: u64, truncates: bool, payload: &[u8]) {
            let op = Op::Entries { first: index, term: 1, count: 1, truncates, packed: false };
            let (mut record, ops) = (Batch::new(), [GroupOp { group: 7, op }]);
            record.push_part(payload);
            encode(&ops, record.meta());
            let locked = self.groups.lock(&[7]);
            publish(&self.wal, &self.pins, &locked, &ops, &[], &record, (Class::Sync, Wal::append_admitted))
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
        let (sources, damaged) =
            read(&log.wal, &log.groups, &log.pins, segment, &mut vec![7]).expect("readable");
        assert!(damaged.is_none());
        // The same index and term once more: only the place tells.
        log.append(2, true, b"other");
        let (first, second) = (log.place(1), log.place(2));
        let copied = copy(&log.wal, &log.groups, &log.pins, sources).expect("room");
        assert_eq!(copied, (1, 5), "entry 1 alone");
        assert_ne!(log.place(1), first);
        assert_eq!((log.place(2), log.place(3)), (second, None));
    }
}
