//! Releases the oldest segments of the log, after copying small state out of them.
//!
//! The engine's background thread does this in bounded pieces; a stepped engine does a piece after each write. A
//! segment is released only if neither it nor a lower segment holds a live entry, the latest small state of a group,
//! or anything that a call under way reads or writes. If the log fails, the next write fails with the same error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use seawall_wal::{Durability, RecordBuilder, Wal};

use crate::error::Result;
use crate::format::{GroupOp, Op, encode, encode_conf_state};
use crate::group::{Groups, SegmentUsage, ValidRecord, footer_bytes, publish};
use crate::types::{GroupId, StateValue};

/// Bytes of a record of small state after which no further piece is added.
const MOVE_BYTES_MAX: usize = 64 << 10;

/// State of the work between two pieces.
#[derive(Debug, Default)]
pub(crate) struct PrefixRelease {
    progress: Mutex<Progress>,
    /// The floor that was last given to the log. Changed only with the progress locked.
    released: AtomicU32,
    /// Separate from the progress, so that reading the statistics does not wait for I/O.
    stats: Mutex<ReemitStats>,
}

/// Statistics of small state that was written again so that old segments could be released, since the engine was
/// opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReemitStats {
    /// Number of records written.
    pub pieces: u64,
    /// Number of pieces of small state in these records.
    pub states: u64,
    /// Total bytes of these records.
    pub bytes: u64,
    /// Bytes of the largest of these records.
    pub piece_bytes_max: u64,
}

#[derive(Debug, Default)]
struct Progress {
    /// The segment that is being emptied, and its groups that are still to be handled. No group is ever added,
    /// because state moves only to the segment being written.
    segment: u32,
    groups: Vec<GroupId>,
}

impl PrefixRelease {
    pub(crate) fn stats(&self) -> ReemitStats {
        *self.stats.lock()
    }
}

/// Does one piece of the work. If only small state keeps the oldest segment, writes that of up to `groups_max` groups
/// again, in one lazy record. Then tells the log which segments may be released. Returns the bytes of the record if
/// there was state to write; 0 if all of its groups were busy.
///
/// The log releases segments only after a write group that records the release is durable. That write group comes
/// after the records that made the content of the segments dead, so after a crash either the old state or the new one
/// is found, never neither (INV-6).
pub(crate) fn advance(
    wal: &Wal,
    groups: &Groups,
    usage: &SegmentUsage,
    prefix_release: &PrefixRelease,
    groups_max: usize,
) -> Result<Option<u64>> {
    // One thread at a time. The others do not need to wait for it.
    let Some(mut progress) = prefix_release.progress.try_lock() else { return Ok(None) };
    let mut repeated = None;
    if let Some(segment) = usage.only_state(|| wal.active_segment()) {
        if progress.segment != segment || progress.groups.is_empty() {
            progress.segment = segment;
            progress.groups = groups.select(|state| state.state_up_to(segment).next().is_some());
        }
        let rest = progress.groups.len().saturating_sub(groups_max);
        let chosen = progress.groups.split_off(rest);
        let (later, bytes) = reemit(wal, groups, usage, prefix_release, segment, chosen)?;
        progress.groups.extend(later);
        repeated = Some(bytes);
    }
    release(wal, usage.floor(|| wal.active_segment()), prefix_release)?;
    Ok(repeated)
}

/// Tells the log that segments below `floor` may be released, and does nothing else.
pub(crate) fn release_only(wal: &Wal, floor: u32, prefix_release: &PrefixRelease) -> Result<()> {
    if floor <= prefix_release.released.load(Ordering::Relaxed) {
        return Ok(());
    }
    // The thread that holds the lock does the same.
    let Some(_progress) = prefix_release.progress.try_lock() else { return Ok(()) };
    release(wal, floor, prefix_release)
}

/// The caller holds the progress.
fn release(wal: &Wal, floor: u32, prefix_release: &PrefixRelease) -> Result<()> {
    if floor <= prefix_release.released.load(Ordering::Relaxed) {
        return Ok(());
    }
    if floor > wal.first_segment() {
        wal.release(floor)?;
    }
    prefix_release.released.store(floor, Ordering::Relaxed);
    Ok(())
}

/// Writes the small state of `chosen` again that was last written in segments up to `segment`. Returns the groups
/// that were busy or did not fit into one record, and the bytes of the record. A busy group is likely to write its
/// state itself.
fn reemit(
    wal: &Wal,
    groups: &Groups,
    usage: &SegmentUsage,
    prefix_release: &PrefixRelease,
    segment: u32,
    chosen: Vec<GroupId>,
) -> Result<(Vec<GroupId>, u64)> {
    let (locked, mut later) = groups.try_lock(chosen);
    let (mut record, mut ops, mut values) = (RecordBuilder::new(), Vec::new(), Vec::new());
    // A piece has at most a quarter of the bytes of a record, so one more always fits.
    let bytes_max = MOVE_BYTES_MAX.min(wal.record_bytes_max() / 2);
    for (group, state) in locked.read() {
        for op in state.state_up_to(segment) {
            // An operation takes less room in the record than in the footer, so this counts it once more than
            // necessary.
            let bytes = record.encoded_len().saturating_add(2 * footer_bytes(&ops));
            if bytes >= bytes_max {
                later.push(group);
                break;
            }
            match op {
                Op::ConfState => {
                    let Some(conf) = state.conf() else { continue };
                    record.push_part(&encode_conf_state(conf));
                    values.push(StateValue::Conf(Arc::clone(conf)));
                }
                Op::Meta { key, .. } => {
                    let Some(value) = state.meta(&key) else { continue };
                    record.push_part(value);
                    values.push(StateValue::Meta(value.clone()));
                }
                _ => {}
            }
            ops.push(GroupOp { group, op });
        }
    }
    let mut bytes = 0;
    if !ops.is_empty() {
        encode(&ops, record.meta());
        record.set_footer_bytes(u32::try_from(footer_bytes(&ops)).unwrap_or(u32::MAX));
        let valid = ValidRecord { ops: &ops, values: &values, record: &record, class: Durability::Lazy };
        drop(publish(wal, usage, locked, valid, Wal::append_admitted)?);
        bytes = record.encoded_len() as u64;
        let mut stats = prefix_release.stats.lock();
        stats.pieces += 1;
        stats.states += ops.len() as u64;
        stats.bytes += bytes;
        stats.piece_bytes_max = stats.piece_bytes_max.max(bytes);
    }
    Ok((later, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{GroupState, Parts, UsageDelta};
    use crate::types::{CompactionPoint, HardState};

    #[test]
    fn only_what_lies_in_old_segments_is_repeated() {
        let (mut state, mut uses) = (GroupState::default(), UsageDelta::default());
        let point = CompactionPoint { index: 4, term: 2 };
        let hard = HardState { term: 2, vote: 1, commit: 4 };
        for (segment, op) in [(3, Op::Start(point)), (5, Op::HardState(hard))] {
            assert_eq!(state.apply(&op, segment, Parts::from(&[][..]), None, &mut uses), Ok(()));
        }
        let up_to = |segment| state.state_up_to(segment).collect::<Vec<_>>();
        assert_eq!(up_to(2), []);
        assert_eq!(up_to(4), [Op::Compact(point)]);
        assert_eq!(up_to(5), [Op::Compact(point), Op::HardState(hard)]);
    }
}
