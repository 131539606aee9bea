//! State of one group other than its log: hard state, conf state, snapshot markers, metadata.
//!
//! Each piece remembers the segment of the record that wrote it last, and keeps this segment from being released
//! until the piece is written again in a later one. Each piece can be written again on its own and in any order. In
//! replay, a hard state that goes back is a fault.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Fault;
use crate::format::Op;
use crate::group::segment_usage::UsageDelta;
use crate::types::{ConfState, HardState, MetaKey, SnapshotMarker, StateValue};

/// Number of snapshots that a group remembers: the newest, and the one to fall back to.
const SNAPSHOTS: usize = 2;

/// The small state of one group. A segment of 0 means that the piece was never written.
#[derive(Debug, Default)]
pub(super) struct GroupMeta {
    hard: HardState,
    hard_at: u32,
    conf: Option<Arc<ConfState>>,
    conf_at: u32,
    /// Newest first, each with its segment.
    snapshots: Vec<(SnapshotMarker, u32)>,
    metas: BTreeMap<MetaKey, (Bytes, u32)>,
}

/// Adds `marker` to `list`, which is sorted newest first and keeps the two markers with the highest indexes. Returns
/// the value that was stored with the marker that was replaced or dropped.
pub(super) fn keep<T>(list: &mut Vec<(SnapshotMarker, T)>, marker: SnapshotMarker, with: T) -> Option<T> {
    let at = list.iter().position(|(other, _)| other.index <= marker.index).unwrap_or(list.len());
    match list.get_mut(at) {
        Some(same) if same.0.index == marker.index => {
            return Some(std::mem::replace(same, (marker, with)).1);
        }
        _ => list.insert(at, (marker, with)),
    }
    if list.len() > SNAPSHOTS { list.pop().map(|(_, with)| with) } else { None }
}

impl GroupMeta {
    pub(super) fn exists(&self) -> bool {
        self.hard_at != 0 || self.conf_at != 0 || !self.snapshots.is_empty() || !self.metas.is_empty()
    }

    pub(super) fn hard(&self) -> HardState {
        self.hard
    }

    pub(super) fn conf(&self) -> Option<&Arc<ConfState>> {
        self.conf.as_ref()
    }

    /// Markers of the two newest snapshots, the newest first.
    pub(super) fn snapshots(&self) -> impl Iterator<Item = SnapshotMarker> {
        self.snapshots.iter().map(|(marker, _)| *marker)
    }

    pub(super) fn meta(&self, key: &MetaKey) -> Option<&Bytes> {
        self.metas.get(key).map(|(value, _)| value)
    }

    /// All metadata, sorted by key.
    pub(super) fn metas(&self) -> impl Iterator<Item = (&MetaKey, &Bytes)> {
        self.metas.iter().map(|(key, (value, _))| (key, value))
    }

    /// The operations that write again all pieces last written in segments up to `segment`.
    pub(super) fn up_to(&self, segment: u32) -> impl Iterator<Item = Op> {
        let old = move |at: u32| at != 0 && at <= segment;
        let hard = old(self.hard_at).then_some(Op::HardState(self.hard));
        let conf = (old(self.conf_at) && self.conf.is_some()).then_some(Op::ConfState);
        let snapshots = self.snapshots.iter().filter(move |(_, at)| old(*at));
        let metas = self.metas.iter().filter(move |(_, (_, at))| old(*at));
        [hard, conf]
            .into_iter()
            .flatten()
            .chain(snapshots.map(|(marker, _)| Op::Snapshot(*marker)))
            .chain(metas.map(|(key, _)| Op::Meta { key: *key, removes: false }))
    }

    pub(super) fn set_hard(
        &mut self,
        hard: HardState,
        segment: u32,
        uses: &mut UsageDelta,
    ) -> Result<(), Fault> {
        if let Some((field, ..)) = hard_state_back(&self.hard, &hard) {
            return Err(Fault::HardState { field });
        }
        self.hard = hard;
        uses.state(self.hard_at, segment);
        self.hard_at = segment;
        Ok(())
    }

    pub(super) fn set_conf(
        &mut self,
        value: Option<&StateValue>,
        segment: u32,
        uses: &mut UsageDelta,
    ) -> Result<(), Fault> {
        let Some(StateValue::Conf(conf)) = value else { return Err(Fault::Part) };
        self.conf = Some(Arc::clone(conf));
        uses.state(self.conf_at, segment);
        self.conf_at = segment;
        Ok(())
    }

    pub(super) fn add_snapshot(&mut self, marker: SnapshotMarker, segment: u32, uses: &mut UsageDelta) {
        let gone = keep(&mut self.snapshots, marker, segment);
        uses.state(gone.unwrap_or(0), segment);
    }

    pub(super) fn set_meta(
        &mut self,
        key: MetaKey,
        value: Option<&StateValue>,
        segment: u32,
        uses: &mut UsageDelta,
    ) -> Result<(), Fault> {
        let Some(StateValue::Meta(value)) = value else { return Err(Fault::Part) };
        let before = self.metas.insert(key, (value.clone(), segment));
        uses.state(before.map_or(0, |(_, at)| at), segment);
        Ok(())
    }

    pub(super) fn remove_meta(&mut self, key: &MetaKey, uses: &mut UsageDelta) {
        if let Some((_, at)) = self.metas.remove(key) {
            uses.state(at, 0);
        }
    }

    /// Drops everything, because the group was removed.
    pub(super) fn clear(&mut self, uses: &mut UsageDelta) {
        let old = std::mem::take(self);
        let snapshots = old.snapshots.iter().map(|(_, at)| *at);
        let metas = old.metas.values().map(|(_, at)| *at);
        [old.hard_at, old.conf_at].into_iter().chain(snapshots).chain(metas).for_each(|at| uses.state(at, 0));
    }
}

/// Returns the field of `new` that goes back, with its old and new values: a term or commit index below the old one,
/// or another vote in the same term once there was one.
pub(crate) fn hard_state_back(old: &HardState, new: &HardState) -> Option<(&'static str, u64, u64)> {
    if new.term < old.term {
        Some(("term", old.term, new.term))
    } else if new.term == old.term && old.vote != 0 && new.vote != old.vote {
        Some(("vote", old.vote, new.vote))
    } else if new.commit < old.commit {
        Some(("commit", old.commit, new.commit))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_highest_markers_stay_in_whatever_order_they_come() {
        let marker = |index, digest| SnapshotMarker { index, term: 1, digest };
        for order in [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]] {
            let (mut list, mut gone) = (Vec::new(), Vec::new());
            for index in order {
                gone.extend(keep(&mut list, marker(index, 0), index));
            }
            assert_eq!(list, [(marker(3, 0), 3), (marker(2, 0), 2)], "{order:?}");
            assert_eq!(gone, [1], "{order:?}");
            assert_eq!(keep(&mut list, marker(2, 9), 7), Some(2), "the same again takes its place");
            assert_eq!(list, [(marker(3, 0), 3), (marker(2, 9), 7)]);
        }
    }
}
