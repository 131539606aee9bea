//! Finds the parts of a record that belong to its operations, and the first of them that is too large.

use seawall_wal::RecordBuilder;

use crate::error::Error;
use crate::format::{GroupOp, Op};

/// Each operation with the number of parts before its own, to find the payload of an entry.
pub(super) fn parts_before(ops: &[GroupOp]) -> impl Iterator<Item = (usize, &GroupOp)> {
    let mut part = 0;
    ops.iter().map(move |op| {
        let before = part;
        part += usize::try_from(op.op.parts()).unwrap_or(0);
        (before, op)
    })
}

/// The error for the first piece of small state that is larger than `max` bytes.
pub(super) fn state_value_larger(ops: &[GroupOp], record: &RecordBuilder, max: usize) -> Option<Error> {
    parts_before(ops).filter(|(_, op)| op.op.has_state_value()).find_map(|(part, GroupOp { group, op })| {
        let (group, bytes) = (*group, usize::try_from(record.part_len(part)).unwrap_or(usize::MAX));
        let error = match op {
            Op::Meta { .. } => Error::MetaTooLarge { group, bytes, max },
            _ => Error::ConfStateTooLarge { group, bytes, max },
        };
        (bytes > max).then_some(error)
    })
}

/// The first entry whose payload is larger than `max` bytes: group, index and bytes.
pub(super) fn first_larger(ops: &[GroupOp], record: &RecordBuilder, max: usize) -> Option<(u64, u64, usize)> {
    parts_before(ops).find_map(|(part, op)| match op.op {
        Op::Entries { first, count, .. } => (part..record.part_count())
            .zip(first..first.saturating_add(u64::from(count)))
            .map(|(part, index)| (index, usize::try_from(record.part_len(part)).unwrap_or(usize::MAX)))
            .find(|(_, bytes)| *bytes > max)
            .map(|(index, bytes)| (op.group, index, bytes)),
        _ => None,
    })
}
