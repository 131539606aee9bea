//! Replays segments from their index instead of their records.
//!
//! Used for sealed segments that the log accepted because of their footer, without reading them, and for the segment
//! in use. Everything that the replay of an index needs is read and checked before the first change to a group, so if
//! that fails the records can be replayed instead. Both use the same `apply`.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::{Builder, Scope};

use bytes::Bytes;
use seawall_wal::{Lsn, Prepared, Threads};

use super::replay::{Findings, Replay};
use crate::error::{Error, Result};
use crate::format::{Footer, FooterOp, decode_conf_state};
use crate::group::{Parts, SegmentRun, SegmentUsage, UsageDelta};
use crate::types::{Location, StateValue};

/// Number of footers that are read ahead: a few MiB each if entries are small.
const AHEAD: usize = 2;

/// Number of groups that are looked up before the first of them is changed, so that their cache misses overlap.
const TOGETHER: usize = 16;

/// Largest number of values of small state that are read one by one. Reading a whole segment of the usual size takes
/// about as long.
const STATE_VALUES_MAX: usize = 1000;

/// A footer of the log; `None` if the segment has none.
type Read = std::result::Result<Option<seawall_wal::segments::Footer>, seawall_wal::Error>;

/// The footers of segments in order. If threads are allowed, one reads footers ahead while others are replayed.
pub(super) enum Footers<'a> {
    Ahead { read: Receiver<Read>, used: Sender<seawall_wal::segments::Footer> },
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

    /// The footer of `segment`, which must be the next in order.
    pub(super) fn next(&self, segment: u32) -> Read {
        match self {
            Footers::Ahead { read, .. } => read.recv().unwrap_or(Ok(None)),
            Footers::AsWanted { log } => log.footer(segment),
        }
    }

    /// Returns the memory of a footer for reuse.
    pub(super) fn done(&self, footer: seawall_wal::segments::Footer) {
        if let Footers::Ahead { used, .. } = self {
            // Fails after the last footer, when the reader has ended.
            let _ = used.send(footer);
        }
    }
}

/// Replays a segment from its index. `end` is where the index is stored, or would be. Returns `false` and changes
/// nothing if the records must be replayed instead: the index is of another version, a conf state or metadata value
/// that it refers to fails its checksum, or there are so many such values that reading the records is faster.
pub(super) fn replay(
    log: &Prepared,
    index: &[u8],
    end: Lsn,
    replay: &mut Replay,
    usage: &SegmentUsage,
    found: &mut Findings,
) -> Result<bool> {
    let Some(footer) = Footer::decode(index, end.segment(), end.offset()) else { return Ok(false) };
    let Some(values) = state_values(log, &footer, end) else { return Ok(false) };
    let mut uses = UsageDelta::default();
    apply(&footer, &values, replay, end, &mut uses)?;
    usage.settle(&uses);
    found.records += footer.records;
    Ok(true)
}

/// The values of the operations that set small state, in order; `None` if one cannot be read intact or if there are
/// too many.
fn state_values(log: &Prepared, footer: &Footer<'_>, end: Lsn) -> Option<Vec<StateValue>> {
    let mut values = Vec::new();
    if footer.ops().filter(|(op, _)| op.conf.is_some() || op.op.op.has_state_value()).count()
        > STATE_VALUES_MAX
    {
        return None;
    }
    // Each value was written once, so together they are no longer than the segment.
    let mut left = end.offset();
    for (FooterOp { op, conf }, run) in footer.ops() {
        if let Some(at) = conf {
            left = left.checked_sub(at.length)?;
            let conf = decode_conf_state(&part(log, at)?).ok()?;
            values.push(StateValue::Conf(Arc::new(conf)));
        } else if op.op.has_state_value() {
            let at = run.single()?.location(end.segment(), false);
            left = left.checked_sub(at.length)?;
            values.push(StateValue::Meta(Bytes::from(part(log, at)?)));
        }
    }
    Some(values)
}

/// The part at `at`, if it can be read and passes its checksum. It is in the segment, before its footer.
fn part(log: &Prepared, at: Location) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(at.length).ok()?];
    if !bytes.is_empty() {
        log.read_at(Lsn::new(at.segment, at.offset), &mut bytes).ok()?;
    }
    at.matches(&bytes).then_some(bytes)
}

fn apply(
    footer: &Footer<'_>,
    values: &[StateValue],
    replay: &mut Replay,
    at: Lsn,
    uses: &mut UsageDelta,
) -> Result<()> {
    let mut values = values.iter();
    let mut ops = footer.ops().peekable();
    let mut ahead = footer.groups();
    let mut near = 0;
    // The operations of a group are adjacent, so one look-up serves all of them.
    while let Some((FooterOp { op: first, .. }, _)) = ops.peek() {
        let group = first.group;
        if near == 0 {
            near = replay.approach(ahead.by_ref().take(TOGETHER));
        }
        near = near.saturating_sub(1);
        let state = replay.of(group);
        while let Some((FooterOp { op, .. }, run)) = ops.next_if(|(next, _)| next.op.group == group) {
            let parts = Parts::Run(SegmentRun { run, segment: at.segment(), packed: false });
            let value = if op.op.has_state_value() { values.next() } else { None };
            let applied = state.apply(&op.op, at.segment(), parts, value, uses);
            applied.map_err(|fault| Error::Damage { group, at, fault })?;
        }
    }
    Ok(())
}
