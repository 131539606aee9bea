//! From record to memory: the one way in which records change groups.
//! Place on the data's way: enqueued in the log -> index published (here) -> written -> durable -> ticket.
//! Invariants: the write path and replay go through `apply`, so what a reopened engine knows is what the
//! running one knew. Fails: in the write path only if the log does; in replay with the damage it met.

use seawall_wal::{Durability, Lsn, RecordBuilder, Ticket, Wal};

use crate::error::{Error, Fault, Result};
use crate::format::GroupOp;
use crate::group::groups_mut::GroupsMut;
use crate::group::segment_usage::{SegmentUsage, UsageDelta};
use crate::group::table::Locked;
use crate::types::{Location, StateValue};

/// Applies one record: its operations, the places of its parts and what those of small state hold, in order.
///
/// Stops at the first fault, naming group and record; `uses` has what was done before it.
pub(crate) fn apply(
    states: &mut impl GroupsMut,
    at: Lsn,
    ops: &[GroupOp],
    locations: &[Location],
    smalls: &[StateValue],
    uses: &mut UsageDelta,
) -> Result<()> {
    let mut parts = locations;
    let mut smalls = smalls.iter();
    for GroupOp { group, op } in ops {
        let damage = |fault| Error::Damage { group: *group, at, fault };
        let count = usize::try_from(op.parts()).unwrap_or(usize::MAX);
        let (own, rest) = parts.split_at_checked(count).ok_or_else(|| damage(Fault::Part))?;
        parts = rest;
        let small = if op.is_small() { smalls.next() } else { None };
        let state = states.state(*group).ok_or_else(|| damage(Fault::Part))?;
        state.apply(op, at.segment(), own, small, uses).map_err(damage)?;
    }
    Ok(())
}

/// How a record comes into the log: [`Wal::append_admitted`], or [`Wal::append_now`] for callers that must not wait.
/// Never [`Wal::append`]: it may wait for callbacks, and those may want the groups that the caller has locked.
pub(crate) type Append =
    fn(&Wal, &RecordBuilder, Durability) -> std::result::Result<Ticket, seawall_wal::Error>;

/// Enqueues a validated record and makes it visible to readers; its groups stay locked meanwhile.
///
/// Nothing is visible if the log refuses the record.
pub(crate) fn publish(
    wal: &Wal,
    pins: &SegmentUsage,
    locked: &Locked<'_>,
    ops: &[GroupOp],
    smalls: &[StateValue],
    record: &RecordBuilder,
    (class, append): (Durability, Append),
) -> Result<Ticket> {
    // Until its entries are counted, the record's segment must not look free.
    let hold = pins.hold(|| wal.active_segment());
    let ticket = append(wal, record, class)?;
    let lsn = ticket.lsn();
    let locations = locations(lsn, record);
    let mut uses = UsageDelta::default();
    let applied = apply(&mut locked.write(), lsn, ops, &locations, smalls, &mut uses);
    hold.settle(&uses);
    applied.map(|()| ticket)
}

/// Where the parts of `record` lie, given that it begins at `lsn`.
fn locations(lsn: Lsn, record: &RecordBuilder) -> Vec<Location> {
    // A record fits into its segment, whose offsets fit into 32 bits, so nothing here saturates.
    let mut offset = lsn.offset().saturating_add(record.first_part_offset());
    (0..record.part_count())
        .map(|part| {
            let (length, crc) = (record.part_len(part), record.part_crc(part));
            let location = Location::plain(lsn.segment(), offset, length, crc);
            offset = offset.saturating_add(length);
            location
        })
        .collect()
}
