//! Applies records to the groups in memory, for the write path and for replay.
//!
//! Both use [`apply`], so a reopened engine has the same state as the one that wrote the records. In the write path,
//! applying cannot fail because the record was validated; only the log can refuse the record. In replay, a fault
//! means damage.

use seawall_wal::{Durability, Lsn, RecordBuilder, Ticket, Wal};
use smallvec::SmallVec;

use crate::error::{Error, Fault, Result};
use crate::format::GroupOp;
use crate::group::groups_mut::GroupsMut;
use crate::group::index::Parts;
use crate::group::segment_usage::{Released, SegmentUsage, UsageDelta};
use crate::group::table::Locked;
use crate::types::{Location, StateValue};

/// Applies the operations of one record in order. `locations` are the locations of the record's parts, `values` the
/// values of its parts that hold small state.
///
/// Stops at the first fault, which names the group and the record. `uses` then contains the changes made before it.
pub(crate) fn apply(
    states: &mut impl GroupsMut,
    at: Lsn,
    ops: &[GroupOp],
    locations: &[Location],
    values: &[StateValue],
    uses: &mut UsageDelta,
) -> Result<()> {
    let mut parts = locations;
    let mut values = values.iter();
    for GroupOp { group, op } in ops {
        let damage = |fault| Error::Damage { group: *group, at, fault };
        let count = usize::try_from(op.parts()).unwrap_or(usize::MAX);
        let (own, rest) = parts.split_at_checked(count).ok_or_else(|| damage(Fault::Part))?;
        parts = rest;
        let value = if op.has_state_value() { values.next() } else { None };
        let state = states.state(*group).ok_or_else(|| damage(Fault::Part))?;
        state.apply(op, at.segment(), Parts::from(own), value, uses).map_err(damage)?;
    }
    Ok(())
}

/// How a record is appended to the log: [`Wal::append_admitted`], or [`Wal::try_append`] for callers that must not
/// wait. Never [`Wal::append`]: it may wait for callbacks, and a callback may need the groups that the caller has
/// locked.
pub(crate) type Append =
    fn(&Wal, &RecordBuilder, Durability) -> std::result::Result<Ticket, seawall_wal::Error>;

/// A record whose operations were validated against the groups, which are locked.
#[derive(Clone, Copy)]
pub(crate) struct ValidRecord<'a> {
    pub(crate) ops: &'a [GroupOp],
    /// The values of the parts that hold small state, in order.
    pub(crate) values: &'a [StateValue],
    pub(crate) record: &'a RecordBuilder,
    pub(crate) class: Durability,
}

/// Enqueues a validated record and makes it visible to readers. Its groups stay locked meanwhile. Returns what can be
/// released after it.
///
/// If the log refuses the record, nothing becomes visible.
pub(crate) fn publish(
    wal: &Wal,
    usage: &SegmentUsage,
    locked: Locked<'_>,
    ValidRecord { ops, values, record, class }: ValidRecord<'_>,
    append: Append,
) -> Result<(Ticket, Released)> {
    // Until the entries of the record are counted, its segment must not count as free.
    let hold = usage.hold(|| wal.active_segment());
    let ticket = append(wal, record, class)?;
    let lsn = ticket.lsn();
    let locations = locations(lsn, record);
    let mut uses = UsageDelta::default();
    let applied = apply(&mut locked.write(), lsn, ops, &locations, values, &mut uses);
    let released = hold.settle(&uses, || wal.active_segment());
    applied.map(|()| (ticket, released))
}

/// Locations of the parts of `record`, which begins at `lsn`.
fn locations(lsn: Lsn, record: &RecordBuilder) -> SmallVec<[Location; 8]> {
    // A record fits into one segment, and offsets in a segment fit into 32 bits, so nothing here saturates.
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
