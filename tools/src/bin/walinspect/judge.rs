//! Classifies groups and segments by recovery's verdict.
//!
//! It decides nothing itself: a group is kept if the verdict keeps it, and dropped or void if the verdict lists it.

use seawall_wal::Lsn;
use seawall_wal::inspect::{Damage, Dropped, GroupHead, PriorContents, SegmentScan, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;

/// Whether a group belongs to the log, and if not, why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// Part of the log.
    Kept,
    /// After the end of the log: the next open would drop it.
    Dropped,
    /// Dropped by an earlier open.
    Void,
    /// Below the first live segment.
    Released,
    /// The group is intact, but the log is damaged, so it is not known whether it is part of the log.
    Unjudged,
    /// The group fails its check, in a log that is damaged.
    Invalid,
}

/// The use of a segment file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Holds groups of the log.
    Live,
    /// Holds only groups that are or will be dropped.
    Void,
    /// Below the first live segment.
    Released,
    /// Prepared and not used yet.
    Spare,
    /// Not known: the log is damaged.
    Unknown,
}

/// Bytes after the end of the log that have no group header: a torn write whose first sector did not reach the device.
/// The next open ignores them without a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Remains {
    /// First byte after all groups of the segment.
    pub(crate) from: Lsn,
    /// Only zeros follow from here on.
    pub(crate) to: Lsn,
}

/// The verdict, indexed by position.
#[derive(Debug)]
pub(crate) struct Judge {
    verdict: bool,
    kept: BTreeMap<u32, u32>,
    dropped: BTreeMap<Lsn, State>,
    first_live: u32,
}

impl Judge {
    pub(crate) fn new(verdict: &Result<Verdict, Vec<Damage>>) -> Judge {
        let Ok(verdict) = verdict else {
            return Judge { verdict: false, kept: BTreeMap::new(), dropped: BTreeMap::new(), first_live: 0 };
        };
        let state = |d: &Dropped| if d.from >= verdict.end { State::Dropped } else { State::Void };
        Judge {
            verdict: true,
            kept: verdict.kept.iter().map(|k| (k.segment, k.end)).collect(),
            dropped: verdict.dropped.iter().map(|d| (d.from, state(d))).collect(),
            first_live: verdict.first_live,
        }
    }

    /// Offset after the last kept group of a segment.
    pub(crate) fn kept_end(&self, segment: u32) -> Option<u32> {
        self.kept.get(&segment).copied()
    }

    /// Whether there is a verdict.
    pub(crate) fn has_verdict(&self) -> bool {
        self.verdict
    }

    /// Classifies the group `head` of `segment`.
    pub(crate) fn state(&self, segment: u32, head: &GroupHead) -> State {
        if !self.verdict {
            return if head.fault.is_none() { State::Unjudged } else { State::Invalid };
        }
        if self.kept_end(segment).is_some_and(|end| head.offset < end) {
            return State::Kept;
        }
        self.dropped.get(&Lsn::new(segment, head.offset)).copied().unwrap_or(State::Released)
    }

    /// Returns what the segment is used for.
    pub(crate) fn role(&self, scan: &SegmentScan, remains: &[Remains]) -> Role {
        let listed = |h: &GroupHead| self.dropped.contains_key(&Lsn::new(scan.sequence, h.offset));
        let unheaded = || remains.iter().any(|r| r.from.segment() == scan.sequence);
        if !self.verdict {
            Role::Unknown
        } else if self.kept.contains_key(&scan.sequence) {
            Role::Live
        } else if scan.heads.iter().any(listed) || unheaded() {
            Role::Void
        } else if scan.sequence < self.first_live {
            Role::Released
        } else {
            Role::Spare
        }
    }
}

/// Finds the remains of torn writes without a header after the end of `verdict`. Only segments whose prior contents
/// were zeros are searched; in others any bytes may follow the end.
pub(crate) fn remains(segments: &[SegmentScan], verdict: &Verdict) -> Vec<Remains> {
    let later = segments.iter().filter(|s| s.sequence >= verdict.end.segment().max(1));
    later
        .filter_map(|scan| {
            let header = scan.header.ok().filter(|h| h.prior == PriorContents::Zeros)?;
            let last = scan.heads.iter().map(|h| h.end).max().unwrap_or(header.block_bytes);
            let found = scan.zeros_from > last;
            let at = |offset| Lsn::new(scan.sequence, offset);
            found.then(|| Remains { from: at(last), to: at(scan.zeros_from) })
        })
        .collect()
}
