//! Reading entries of one group.
//! Place on the data's way: index -> tail cache, or log (memory or disk) -> checksum -> caller. Invariants: locations are
//! copied under the group's lock and read outside it; a hold keeps their segments meanwhile, so an entry
//! overwritten or compacted during the read is still read whole. Fails: see `Group::entries`.

use bytes::Bytes;
use seawall_wal::mutant::mutant;
use seawall_wal::{Lsn, Wal};

use crate::cache::Tail;
use crate::error::{Error, Result};
use crate::group::{GroupState, Groups, Hold, Pins};
use crate::types::{Entry, GroupId, Location};

/// Entries whose payloads follow each other in a segment are read with one call up to this many bytes.
const RUN_BYTES_MAX: usize = 1 << 20;

/// Which entries are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) group: GroupId,
    /// First index.
    pub(crate) low: u64,
    /// Index behind the last.
    pub(crate) high: u64,
    /// Bytes of payload after which no further entry is taken; the first always is.
    pub(crate) max_bytes: u64,
}

/// One entry that will be read.
#[derive(Clone, Copy, Debug)]
struct Place {
    index: u64,
    term: u64,
    at: Location,
}

/// Reads entries in order until `more` says no; the entry that it says no to is left out, unless it is
/// the first.
pub(crate) fn entries(
    wal: &Wal,
    groups: &Groups,
    pins: &Pins,
    tail: &Tail,
    wanted: Wanted,
    mut more: impl FnMut(&Entry) -> bool,
) -> Result<Vec<Entry>> {
    let (places, _hold) = match groups.get(wanted.group) {
        Some(cell) => select(&cell.read(), pins, wanted)?,
        None => select(&GroupState::default(), pins, wanted)?,
    };
    let mut entries = Vec::with_capacity(places.len());
    let mut rest = places.as_slice();
    while !rest.is_empty() {
        let (run, behind) = rest.split_at(run_length(rest));
        rest = behind;
        for entry in read_run(wal, tail, wanted.group, run)? {
            // Asked for the first entry too, so that a caller who adds up sizes sees all of them.
            if !more(&entry) && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// The places of the wanted entries, and a hold on the segments that have them.
fn select<'a>(state: &GroupState, pins: &'a Pins, wanted: Wanted) -> Result<(Vec<Place>, Option<Hold<'a>>)> {
    let Wanted { group, low, high, max_bytes } = wanted;
    let (point, last_index) = (state.point().index, state.last_index());
    if low > high {
        return Err(Error::Range { group, low, high });
    }
    if low <= point {
        return Err(Error::Compacted { group, index: low, point });
    }
    if high > last_index + 1 {
        return Err(Error::Unavailable { group, index: high - 1, last_index });
    }
    let mut places: Vec<Place> = Vec::new();
    let mut bytes: u64 = 0;
    for index in low..high {
        let unavailable = Error::Unavailable { group, index, last_index };
        let (Some(at), Some(term)) = (state.location(index), state.term(index)) else {
            return Err(unavailable);
        };
        bytes = bytes.saturating_add(u64::from(at.length));
        if bytes > max_bytes && !places.is_empty() {
            break;
        }
        places.push(Place { index, term, at });
    }
    let hold = places.iter().map(|place| place.at.segment).min().map(|segment| pins.hold(|| segment));
    Ok((places, hold))
}

/// How many of `places`, at least one, are read with one call.
fn run_length(places: &[Place]) -> usize {
    let mut bytes = 0;
    let mut before: Option<Location> = None;
    let fits = |place: &&Place| {
        let follows = before.is_none_or(|before| {
            before.segment == place.at.segment
                && before.offset.checked_add(before.length) == Some(place.at.offset)
        });
        bytes += usize::try_from(place.at.length).unwrap_or(usize::MAX);
        let first = before.replace(place.at).is_none();
        first || (follows && bytes <= RUN_BYTES_MAX)
    };
    places.iter().take_while(fits).count().max(1)
}

/// The payloads of `run`, which follow each other in one segment: from memory, or read and each checked.
fn read_run(wal: &Wal, tail: &Tail, group: GroupId, run: &[Place]) -> Result<Vec<Entry>> {
    let length = |place: &Place| usize::try_from(place.at.length).unwrap_or(usize::MAX);
    let total = run.iter().map(length).fold(0, usize::saturating_add);
    let first = run.first().map_or(Lsn::ZERO, |place| Lsn::new(place.at.segment, place.at.offset));
    let kept = if total > 0 { tail.get(first, total, run.len()) } else { None };
    let checked = kept.is_some();
    let mut buffer = match kept {
        Some(payload) => payload,
        None => {
            let mut buffer = vec![0; total];
            if total > 0 {
                wal.read_at(first, &mut buffer)?;
            }
            Bytes::from(buffer)
        }
    };
    run.iter()
        .map(|place| {
            let payload = buffer.split_to(length(place).min(buffer.len()));
            let sound = checked || crc32c::crc32c(&payload) == place.at.crc;
            if !sound && !mutant("payload_unchecked_when_read") {
                let at = Lsn::new(place.at.segment, place.at.offset);
                return Err(Error::DamagedEntry { group, index: place.index, term: place.term, at });
            }
            Ok(Entry { index: place.index, term: place.term, payload })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: u32, offset: u32, length: u32) -> Place {
        Place { index: 1, term: 1, at: Location { segment, offset, length, crc: 0 } }
    }

    #[test]
    fn only_payloads_that_follow_each_other_are_read_together() {
        let half = 1 << 19;
        for (places, expected) in [
            (vec![place(1, 0, 10)], 1),
            (vec![place(1, 0, 10), place(1, 10, 0), place(1, 10, 5), place(1, 16, 5)], 3),
            (vec![place(1, 0, 10), place(2, 10, 10)], 1),
            (vec![place(1, 0, half), place(1, half, half), place(1, 2 * half, 1)], 2),
            (vec![place(1, 0, 4 * half), place(1, 4 * half, 1)], 1),
            (vec![place(1, 10, 10), place(1, 0, 10)], 1),
            (vec![place(1, u32::MAX, 1), place(1, 0, 10)], 1),
        ] {
            assert_eq!(run_length(&places), expected, "{places:?}");
        }
    }
}
