//! Replaying a sealed segment from its index instead of its records.
//! Place on the data's way: segments that the log took on their footer's word, and that nobody has read.
//! Invariants: nothing is applied before all that it takes was read and checked, so that the records can be
//! replayed instead; the same `apply` changes the groups. Fails: as the replay of the records does.

use std::sync::Arc;

use seawall_wal::{Lsn, Wal};

use super::{Found, Replay};
use crate::error::{Error, Result};
use crate::group::{Pins, Uses};
use crate::record::{Footer, FooterOp, Op, decode_conf_state};
use crate::types::{ConfState, Location};

/// Replays `segment` from its index. `false`, and nothing was changed, if the records must be read: there is
/// no index of this version, or a conf state that it names does not check.
pub(super) fn replay(
    wal: &Wal,
    segment: u32,
    replay: &mut Replay,
    pins: &Pins,
    found: &mut Found,
) -> Result<bool> {
    let Some(group) = wal.footer(segment)? else { return Ok(false) };
    let Some(footer) = Footer::decode(group.index(), segment) else { return Ok(false) };
    let confs = footer.ops().filter_map(|op| op.conf);
    let Some(confs) = confs.map(|at| conf_state(wal, at, group.lsn())).collect::<Option<Vec<_>>>() else {
        return Ok(false);
    };
    let mut uses = Uses::default();
    apply(&footer, &confs, replay, group.lsn(), &mut uses)?;
    pins.settle(&uses);
    found.records += footer.records;
    Ok(true)
}

/// The conf state at `at`, below `end`, if it can be read, checks and decodes.
fn conf_state(wal: &Wal, at: Location, end: Lsn) -> Option<Arc<ConfState>> {
    // Before anything is allocated: it lies in the segment, before its footer.
    at.offset.checked_add(at.length).filter(|&behind| behind <= end.offset())?;
    let mut bytes = vec![0; usize::try_from(at.length).ok()?];
    wal.read_at(Lsn::new(at.segment, at.offset), &mut bytes).ok()?;
    let checks = crc32c::crc32c(&bytes) == at.crc;
    decode_conf_state(&bytes).ok().filter(|_| checks).map(Arc::new)
}

fn apply(
    footer: &Footer<'_>,
    confs: &[Arc<ConfState>],
    replay: &mut Replay,
    at: Lsn,
    uses: &mut Uses,
) -> Result<()> {
    let (mut places, mut confs) = (footer.locations(), confs.iter());
    let mut locations = Vec::new();
    let mut ops = footer.ops().peekable();
    // The operations of a group stand together: one look-up for all of them.
    while let Some(FooterOp { op: first, .. }) = ops.peek() {
        let group = first.group;
        let state = replay.of(group);
        while let Some(FooterOp { op, .. }) = ops.next_if(|next| next.op.group == group) {
            locations.clear();
            // The index covers its places exactly, so the count is no more than there are.
            locations.extend(places.by_ref().take(usize::try_from(op.op.entries()).unwrap_or(usize::MAX)));
            let conf = if op.op == Op::ConfState { confs.next() } else { None };
            let applied = state.apply(&op.op, at.segment(), &locations, conf, uses);
            applied.map_err(|fault| Error::Damage { group, at, fault })?;
        }
    }
    Ok(())
}
