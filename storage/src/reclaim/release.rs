//! Giving the prefix of the log back: moves small state out of the oldest segment, then releases it.
//! Place on the data's way: beside the writes, in bounded pieces on the engine's own thread, or behind each write
//! where there is none; no caller drives it. Invariants: a segment goes only when nothing in it or below it is live, is the latest small state of
//! a group, or is being read or written. Fails: with the log's error; the next write meets the same.

use std::sync::Arc;

use parking_lot::Mutex;
use seawall_wal::{Durability, RecordBuilder, Wal};

use crate::error::Result;
use crate::format::{GroupOp, Op, encode, encode_conf_state};
use crate::group::{Groups, SegmentUsage, footer_bytes, publish};
use crate::types::{GroupId, StateValue};

/// Bytes after which no further group is added to a record of moved state.
const MOVE_BYTES_MAX: usize = 64 << 10;

/// How far the work has come.
#[derive(Debug, Default)]
pub(crate) struct PrefixRelease {
    progress: Mutex<Progress>,
    /// Apart, so that who asks waits for no I/O.
    stats: Mutex<ReemitStats>,
}

/// Small state that was repeated since the engine was opened, so that old segments can go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReemitStats {
    /// Records that it took.
    pub pieces: u64,
    /// Pieces of small state in them.
    pub states: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// Bytes of the largest of them.
    pub piece_bytes_max: u64,
}

#[derive(Debug, Default)]
struct Progress {
    /// The segment that is being emptied, and its groups still to be looked at. No group is ever added:
    /// state moves only to the segment being written.
    segment: u32,
    groups: Vec<GroupId>,
    /// What the log was last told.
    released: u32,
}

impl PrefixRelease {
    pub(crate) fn stats(&self) -> ReemitStats {
        *self.stats.lock()
    }
}

/// One step: if only small state keeps the oldest segment, repeats that of up to `groups_max` groups in
/// one lazy record; then tells the log what may go. Returns the bytes of the record if there was something to
/// repeat; 0 if the groups were busy.
///
/// The log lets go of segments only behind a durable group that says so, and that group lies behind the
/// records that made them dead: a crash finds the old state or the new one, never neither (INV-6).
pub(crate) fn advance(
    wal: &Wal,
    groups: &Groups,
    pins: &SegmentUsage,
    sweep: &PrefixRelease,
    groups_max: usize,
) -> Result<Option<u64>> {
    // One thread at a time; the others have nothing to wait for.
    let Some(mut progress) = sweep.progress.try_lock() else { return Ok(None) };
    let mut repeated = None;
    if let Some(segment) = pins.only_state(|| wal.active_segment()) {
        if progress.segment != segment || progress.groups.is_empty() {
            progress.segment = segment;
            progress.groups = groups.select(|state| state.state_up_to(segment).next().is_some());
        }
        let rest = progress.groups.len().saturating_sub(groups_max);
        let chosen = progress.groups.split_off(rest);
        let (later, bytes) = restate(wal, groups, pins, sweep, segment, chosen)?;
        progress.groups.extend(later);
        repeated = Some(bytes);
    }
    release(wal, pins.floor(|| wal.active_segment()), &mut progress)?;
    Ok(repeated)
}

/// Tells the log that segments below `floor` may go, and does nothing else.
pub(crate) fn release_only(wal: &Wal, floor: u32, sweep: &PrefixRelease) -> Result<()> {
    // Who has it will do the same.
    let Some(mut progress) = sweep.progress.try_lock() else { return Ok(()) };
    release(wal, floor, &mut progress)
}

fn release(wal: &Wal, floor: u32, progress: &mut Progress) -> Result<()> {
    if floor <= progress.released {
        return Ok(());
    }
    if floor > wal.first_segment() {
        wal.release(floor)?;
    }
    progress.released = floor;
    Ok(())
}

/// Repeats the small state of `chosen` that was last said in segments up to `segment`. Returns the groups
/// that were busy, or too many for one record, and the record's bytes; a busy group is likely to write its state itself.
fn restate(
    wal: &Wal,
    groups: &Groups,
    pins: &SegmentUsage,
    sweep: &PrefixRelease,
    segment: u32,
    chosen: Vec<GroupId>,
) -> Result<(Vec<GroupId>, u64)> {
    let (locked, mut later) = groups.try_lock(chosen);
    let (mut record, mut ops, mut smalls) = (RecordBuilder::new(), Vec::new(), Vec::new());
    // A piece has at most a quarter of a record, so one more always fits.
    let bytes_max = MOVE_BYTES_MAX.min(wal.record_bytes_max() / 2);
    for (group, state) in locked.read() {
        for op in state.state_up_to(segment) {
            // An operation takes less room in the record than in the footer, so this counts it once too often.
            let bytes = record.encoded_len().saturating_add(2 * footer_bytes(&ops));
            if bytes >= bytes_max {
                later.push(group);
                break;
            }
            match op {
                Op::ConfState => {
                    let Some(conf) = state.conf() else { continue };
                    record.push_part(&encode_conf_state(conf));
                    smalls.push(StateValue::Conf(Arc::clone(conf)));
                }
                Op::Meta { key, .. } => {
                    let Some(value) = state.meta(&key) else { continue };
                    record.push_part(value);
                    smalls.push(StateValue::Meta(value.clone()));
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
        publish(wal, pins, &locked, &ops, &smalls, &record, (Durability::Lazy, Wal::append_admitted))?;
        bytes = record.encoded_len() as u64;
        let mut stats = sweep.stats.lock();
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
    use crate::group::{GroupState, UsageDelta};
    use crate::types::{CompactionPoint, HardState};

    #[test]
    fn only_what_lies_in_old_segments_is_repeated() {
        let (mut state, mut uses) = (GroupState::default(), UsageDelta::default());
        let point = CompactionPoint { index: 4, term: 2 };
        let hard = HardState { term: 2, vote: 1, commit: 4 };
        for (segment, op) in [(3, Op::Start(point)), (5, Op::HardState(hard))] {
            assert_eq!(state.apply(&op, segment, &[], None, &mut uses), Ok(()));
        }
        let up_to = |segment| state.state_up_to(segment).collect::<Vec<_>>();
        assert_eq!(up_to(2), []);
        assert_eq!(up_to(4), [Op::Compact(point)]);
        assert_eq!(up_to(5), [Op::Compact(point), Op::HardState(hard)]);
    }
}
