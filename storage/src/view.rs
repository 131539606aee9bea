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

/// Entries that lie near each other in a segment are read with one call up to this many bytes.
const RUN_BYTES_MAX: usize = 1 << 20;

/// Bytes between two payloads that are read along rather than skipped: a lone append leaves a block.
const GAP_BYTES_MAX: u32 = 8 << 10;

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
    let durable = wal.durable();
    let kept = tail.get(places.iter().map(|place| (place.lsn(), place.length())));
    let mut entries = Vec::with_capacity(places.len());
    while let Some(place) = places.get(entries.len()) {
        let from = entries.len();
        let run = match kept.get(from).cloned().flatten() {
            Some(payload) => vec![Entry { index: place.index, term: place.term, payload }],
            None => {
                let count = run_length(&places[from..], &kept[from..], durable);
                read_run(wal, wanted.group, &places[from..from + count])?
            }
        };
        for entry in run {
            // Asked for the first entry too, so that a caller who adds up sizes sees all of them.
            if !more(&entry) && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// As [`entries`], if memory has all of them.
pub(crate) fn entries_in_memory(
    groups: &Groups,
    pins: &Pins,
    tail: &Tail,
    wanted: Wanted,
) -> Result<Option<Vec<Entry>>> {
    let (places, _hold) = match groups.get(wanted.group) {
        Some(cell) => select(&cell.read(), pins, wanted)?,
        None => select(&GroupState::default(), pins, wanted)?,
    };
    let kept = tail.get(places.iter().map(|place| (place.lsn(), place.length())));
    let entry = |(place, payload): (&Place, Option<Bytes>)| {
        Some(Entry { index: place.index, term: place.term, payload: payload? })
    };
    Ok(places.iter().zip(kept).map(entry).collect())
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

impl Place {
    fn lsn(&self) -> Lsn {
        Lsn::new(self.at.segment, self.at.offset)
    }

    fn length(&self) -> usize {
        usize::try_from(self.at.length).unwrap_or(usize::MAX)
    }

    /// Where the payload ends in its segment.
    fn end(&self) -> u32 {
        self.at.offset.saturating_add(self.at.length)
    }
}

/// How many of `places`, at least one, are read with one call: up to the next one that is `kept` in memory.
/// Below `durable` what lies between two payloads can be read along; above it each record is in a buffer of
/// its own.
fn run_length(places: &[Place], kept: &[Option<Bytes>], durable: Lsn) -> usize {
    let Some(first) = places.first() else { return 1 };
    let near = |(pair, kept): &(&[Place], &Option<Bytes>)| {
        let [before, place] = pair else { return false };
        let gap = place.at.offset.checked_sub(before.end());
        let reach = if place.lsn() < durable { GAP_BYTES_MAX } else { 0 };
        kept.is_none()
            && place.at.segment == before.at.segment
            && gap.is_some_and(|gap| gap <= reach)
            && usize::try_from(place.end() - first.at.offset).is_ok_and(|span| span <= RUN_BYTES_MAX)
    };
    places.windows(2).zip(kept.iter().skip(1)).take_while(near).count() + 1
}

/// Reads the payloads of `run`, which lie in one segment in ascending order, and checks each.
fn read_run(wal: &Wal, group: GroupId, run: &[Place]) -> Result<Vec<Entry>> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(Vec::new()) };
    let from = first.at.offset;
    let mut span = vec![0; usize::try_from(last.end() - from).unwrap_or(usize::MAX)];
    let read = match wal.read_at(first.lsn(), &mut span) {
        _ if span.is_empty() => Ok(()),
        // The payload's own checksum, below, tells which entries of a damaged place are sound.
        Err(seawall_wal::Error::Corrupt { .. }) => wal.read_damaged_at(first.lsn(), &mut span),
        read => read,
    };
    if let Err(error) = read {
        if run.len() == 1 {
            return Err(error.into());
        }
        // What lies between them is nobody's business: each for itself.
        let alone = run.iter().map(|place| read_run(wal, group, std::slice::from_ref(place)));
        return Ok(alone.collect::<Result<Vec<_>>>()?.concat());
    }
    let payload = run.iter().map(Place::length).fold(0, usize::saturating_add);
    // One entry that is kept keeps all of the span, so a span that is mostly something else is left.
    let sparse = payload < span.len() / 4;
    let span = Bytes::from(span);
    run.iter()
        .map(|place| {
            let at = usize::try_from(place.at.offset - from).unwrap_or(usize::MAX);
            let payload = span.slice(at..at.saturating_add(place.length()));
            if crc32c::crc32c(&payload) != place.at.crc && !mutant("payload_unchecked_when_read") {
                let at = place.lsn();
                return Err(Error::DamagedEntry { group, index: place.index, term: place.term, at });
            }
            let payload = if sparse { Bytes::copy_from_slice(&payload) } else { payload };
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
    fn payloads_that_are_near_each_other_are_read_together() {
        let half = 1 << 19;
        let gap = GAP_BYTES_MAX;
        let durable = Lsn::new(2, 0);
        for (places, expected) in [
            (vec![place(1, 0, 10)], 1),
            (vec![place(1, 0, 10), place(1, 10, 0), place(1, 10, 5), place(1, 16, 5)], 4),
            (vec![place(1, 0, 10), place(1, 10 + gap, 10), place(1, 21 + 2 * gap, 1)], 2),
            (vec![place(1, 0, 10), place(2, 10, 10)], 1),
            (vec![place(1, 0, half), place(1, half, half), place(1, 2 * half, 1)], 2),
            (vec![place(1, 0, 4 * half), place(1, 4 * half, 1)], 1),
            (vec![place(1, 10, 10), place(1, 0, 10)], 1),
            (vec![place(1, u32::MAX, 1), place(1, 0, 10)], 1),
            (vec![place(2, 0, 10), place(2, 10, 10), place(2, 21, 10)], 2),
        ] {
            let mut kept = vec![None; places.len()];
            assert_eq!(run_length(&places, &kept, durable), expected, "{places:?}");
            if let [_, second, ..] = &mut kept[..] {
                *second = Some(Bytes::new());
            }
            assert_eq!(run_length(&places, &kept, durable), 1, "{places:?}");
        }
    }
}
