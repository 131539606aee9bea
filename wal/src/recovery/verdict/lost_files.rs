//! The damage of whole files: those that are missing and those without a valid header.

use crate::damage::{Damage, DamageKind};
use crate::format::HeaderFault;
use crate::recovery::evidence::SegmentScan;
use crate::types::Lsn;
use std::collections::BTreeMap;

/// The files with numbers in `from..to` that are missing (each run of them as one range) or have a bad header.
pub(super) fn lost(
    segments: &BTreeMap<u32, &SegmentScan>,
    from: u32,
    to: u32,
    block_bytes: u32,
) -> Vec<Damage> {
    let (mut lost, mut next) = (Vec::new(), from);
    for (&n, scan) in segments.range(from..to.max(from)) {
        if n > next {
            lost.push(missing(next, n - 1));
        }
        if let Err(fault) = scan.header {
            lost.push(bad_header(n, fault, block_bytes));
        }
        next = n.saturating_add(1);
    }
    if next < to {
        lost.push(missing(next, to - 1));
    }
    lost
}

/// The damage of the missing segments `first` to `last`.
pub(super) fn missing(first: u32, last: u32) -> Damage {
    Damage { from: Lsn::new(first, 0), to: Lsn::new(last, u32::MAX), what: DamageKind::Missing }
}

/// The damage of `segment`, whose header is not valid.
pub(super) fn bad_header(segment: u32, fault: HeaderFault, block_bytes: u32) -> Damage {
    let (from, to) = (Lsn::new(segment, 0), Lsn::new(segment, block_bytes));
    Damage { from, to, what: DamageKind::Header(fault) }
}
