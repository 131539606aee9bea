//! Replaying a sealed segment from its index instead of its records.
//! Place on the data's way: segments that the log took on their footer's word, and that nobody has read.
//! Invariants: nothing is applied before all that it takes was read and checked, so that the records can be
//! replayed instead; the same `apply` changes the groups. Fails: as the replay of the records does.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::{Builder, Scope};

use bytes::Bytes;
use seawall_wal::{Lsn, Prepared, Threads};

use super::{Findings, Replay};
use crate::error::{Error, Result};
use crate::format::{Footer, FooterOp, decode_conf_state};
use crate::group::{SegmentUsage, UsageDelta};
use crate::types::{Location, StateValue};

/// Footers that are read before they are wanted: a few MiB each, if entries are small.
const AHEAD: usize = 2;

/// Groups that are looked up before the first of them is changed: the processor waits for the memory of all of them at
/// the same time.
const TOGETHER: usize = 16;

/// Values that are read one by one: a segment of the usual length is read in the time of about so many.
const SMALLS_MAX: usize = 1000;

/// A footer as the log has it; `None` if it has none.
type Read = std::result::Result<Option<seawall_wal::Footer>, seawall_wal::Error>;

/// The footers of segments in order; if there may be threads, one reads them while others are replayed.
pub(super) enum Footers<'a> {
    Ahead { read: Receiver<Read>, used: Sender<seawall_wal::Footer> },
    AsWanted { log: &'a Prepared },
}

impl<'a> Footers<'a> {
    pub(super) fn of<'scope>(
        scope: &'scope Scope<'scope, '_>,
        log: &'a Prepared,
        segments: &'scope [u32],
        threads: Threads,
    ) -> Footers<'a>
    where
        'a: 'scope,
    {
        let (sender, read) = sync_channel(AHEAD);
        let (used, done) = channel();
        let reader = move || {
            for segment in segments {
                let footer = log.footer_into(*segment, done.try_recv().ok());
                if sender.send(footer).is_err() {
                    return; // the replay has failed
                }
            }
        };
        let spawn = || Builder::new().name("seawall-footers".into()).spawn_scoped(scope, reader);
        if threads == Threads::Spawned && spawn().is_ok() {
            return Footers::Ahead { read, used };
        }
        Footers::AsWanted { log }
    }

    /// The footer of `segment`, the next in order.
    pub(super) fn next(&self, segment: u32) -> Read {
        match self {
            Footers::Ahead { read, .. } => read.recv().unwrap_or(Ok(None)),
            Footers::AsWanted { log } => log.footer(segment),
        }
    }

    /// Gives the memory of one back.
    pub(super) fn done(&self, footer: seawall_wal::Footer) {
        if let Footers::Ahead { used, .. } = self {
            let _ = used.send(footer); // nobody wants it behind the last one
        }
    }
}

/// Replays a segment up to `end`, where its index stands or would, from that. `false`, and nothing was changed, if the
/// records must be read: the index is not of this version, or a conf state or metadata value that it names
/// does not check; or there are so many of them that the records are read sooner.
pub(super) fn replay(
    log: &Prepared,
    index: &[u8],
    end: Lsn,
    replay: &mut Replay,
    pins: &SegmentUsage,
    found: &mut Findings,
) -> Result<bool> {
    let Some(footer) = Footer::decode(index, end.segment()) else { return Ok(false) };
    let Some(smalls) = smalls(log, &footer, end) else { return Ok(false) };
    let mut uses = UsageDelta::default();
    apply(&footer, &smalls, replay, end, &mut uses)?;
    pins.settle(&uses);
    found.records += footer.records;
    Ok(true)
}

/// What the operations on small state say, in their order; none if one does not check, or if there are too many.
fn smalls(log: &Prepared, footer: &Footer<'_>, end: Lsn) -> Option<Vec<StateValue>> {
    let (mut places, mut smalls) = (footer.locations(), Vec::new());
    if footer.ops().filter(|op| op.conf.is_some() || op.op.op.is_small()).count() > SMALLS_MAX {
        return None;
    }
    // Each was written once: together they are no longer than the segment.
    let mut left = end.offset();
    for FooterOp { op, conf } in footer.ops() {
        if let Some(at) = conf {
            left = left.checked_sub(at.length)?;
            let conf = decode_conf_state(&part(log, at, end)?).ok()?;
            smalls.push(StateValue::Conf(Arc::new(conf)));
        } else if op.op.is_small() {
            let at = places.next()?;
            left = left.checked_sub(at.length)?;
            smalls.push(StateValue::Meta(Bytes::from(part(log, at, end)?)));
        } else if let Some(skipped) = usize::try_from(op.op.places()).ok()?.checked_sub(1) {
            places.nth(skipped)?;
        }
    }
    Some(smalls)
}

/// The part at `at`, below `end`, if it can be read and checks.
fn part(log: &Prepared, at: Location, end: Lsn) -> Option<Vec<u8>> {
    // Before anything is allocated: it lies in the segment, before its footer.
    at.offset.checked_add(at.length).filter(|&behind| behind <= end.offset())?;
    let mut bytes = vec![0; usize::try_from(at.length).ok()?];
    if !bytes.is_empty() {
        log.read_at(Lsn::new(at.segment, at.offset), &mut bytes).ok()?;
    }
    (crc_fast::crc32_iscsi(&bytes) == at.crc).then_some(bytes)
}

fn apply(
    footer: &Footer<'_>,
    smalls: &[StateValue],
    replay: &mut Replay,
    at: Lsn,
    uses: &mut UsageDelta,
) -> Result<()> {
    let (mut places, mut smalls) = (footer.locations(), smalls.iter());
    let mut locations = Vec::new();
    let mut ops = footer.ops().peekable();
    let mut ahead = footer.groups();
    let mut near = 0;
    // The operations of a group stand together: one look-up for all of them.
    while let Some(FooterOp { op: first, .. }) = ops.peek() {
        let group = first.group;
        if near == 0 {
            near = replay.approach(ahead.by_ref().take(TOGETHER));
        }
        near = near.saturating_sub(1);
        let state = replay.of(group);
        while let Some(FooterOp { op, .. }) = ops.next_if(|next| next.op.group == group) {
            locations.clear();
            // The index covers its places exactly, so the count is no more than there are.
            locations.extend(places.by_ref().take(usize::try_from(op.op.places()).unwrap_or(usize::MAX)));
            let small = if op.op.is_small() { smalls.next() } else { None };
            let applied = state.apply(&op.op, at.segment(), &locations, small, uses);
            applied.map_err(|fault| Error::Damage { group, at, fault })?;
        }
    }
    Ok(())
}
