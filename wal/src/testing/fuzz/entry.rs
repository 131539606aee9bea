//! The records that the model appends: a number, and bytes derived from it.

use super::choices::Choices;

/// The number in a record's `meta`.
pub(super) fn id_of(meta: &[u8]) -> u64 {
    u64::from_le_bytes(meta.try_into().expect("a record of the model"))
}

/// The payload of the record `id`, of any length up to several blocks.
pub(super) fn payload(id: u64) -> Vec<u8> {
    let mut choices = Choices::seeded(id);
    let len = match choices.below(20) {
        0 => 0,
        1 => choices.small(10_000, 25_000),
        2..5 => choices.small(0, 9000),
        _ => choices.small(1, 700),
    };
    // Zeros too, so that sectors of zeros occur inside records.
    let fill = if choices.chance(20) { 0 } else { choices.number().to_le_bytes()[0] };
    vec![fill; len as usize]
}
