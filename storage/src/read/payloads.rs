//! Reads the payloads at selected locations: from the entry cache, from mapped segments, or from the log.
//!
//! Neighbouring payloads are read with one call. Each payload from a map or the log is checked against its checksum. One
//! from the cache is not: the cache has its own copy of the bytes that the caller passed.

use bytes::Bytes;
use seawall_wal::{Lsn, Wal};

use super::locate::PayloadLocation;
use super::maps::Maps;
use super::store::Store;
use crate::compression::Compressor;
use crate::error::Result;
use crate::types::{Entry, GroupId};

/// Adjacent entries of a segment are read with one call, up to this many bytes.
const RUN_BYTES_MAX: usize = 1 << 20;

/// Largest number of entries that are taken from a mapped segment at a time.
const MAPPED_RUN_MAX: usize = 64;

/// Largest number of bytes of a mapped segment that are fetched before they are checked; and size of a cache line.
const FETCHED_MAX: usize = 128 << 10;
const LINE_BYTES: usize = 64;

/// Largest gap between two payloads, in bytes, that is read too instead of starting another call: an append with a
/// write group of its own fills up its block.
const GAP_BYTES_MAX: u32 = 8 << 10;

/// Reads all entries at `places`.
pub(super) fn from_log(store: Store<'_>, group: GroupId, places: &[PayloadLocation]) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(places.len());
    read(store, None, group, places, &mut |entry| {
        entries.push(entry);
        true
    })?;
    Ok(entries)
}

/// Reads `places` in order, each from memory or, together with its neighbours, from the log, while `each` returns
/// `true`.
pub(super) fn read(
    store: Store<'_>,
    mut maps: Option<Maps<'_>>,
    group: GroupId,
    places: &[PayloadLocation],
    each: &mut impl FnMut(Entry) -> bool,
) -> Result<()> {
    let Store { wal, cache, compressor, .. } = store;
    let durable = wal.durable();
    let newest = places.iter().map(PayloadLocation::lsn).max().unwrap_or(Lsn::ZERO);
    let kept = if cache.reaches(newest) {
        cache.get(places.iter().map(|place| (place.lsn(), place.length(), place.at.packed)))
    } else {
        cache.missed(places.len());
        Vec::new()
    };
    let mut at = 0;
    while let Some(place) = places.get(at) {
        let (rest, kept) = (&places[at..], kept.get(at..).unwrap_or_default());
        let read = if let Some(payload) = kept.first().cloned().flatten() {
            let wants_more = each(Entry { index: place.index, term: place.term, payload });
            Read { entries: 1, wants_more }
        } else if let Some(map) = maps.as_mut().and_then(|maps| maps.segment(place)) {
            let run = mapped_run(rest, kept);
            fetch(&map, run);
            sound(compressor, group, run, (&map, 0), false, each)?
        } else {
            read_run(wal, compressor, group, &rest[..run_length(rest, kept, durable)], each)?
        };
        if !read.wants_more {
            break;
        }
        at += read.entries;
    }
    Ok(())
}

/// How many of `places`, at least one, are read with one call: up to the next one whose payload is in memory
/// (`kept`). Below `durable`, the bytes between two payloads can be read too. Above it, bytes are read from one
/// write group in memory, so only adjacent payloads are read together.
fn run_length(places: &[PayloadLocation], kept: &[Option<Bytes>], durable: Lsn) -> usize {
    let Some(first) = places.first() else { return 1 };
    let near = |(i, pair): &(usize, &[PayloadLocation])| {
        let [before, place] = pair else { return false };
        let gap = place.at.offset.checked_sub(before.end());
        let reach = if place.lsn() < durable { GAP_BYTES_MAX } else { 0 };
        kept.get(i + 1).is_none_or(Option::is_none)
            && place.at.segment == before.at.segment
            && gap.is_some_and(|gap| gap <= reach)
            && usize::try_from(place.end() - first.at.offset).is_ok_and(|span| span <= RUN_BYTES_MAX)
    };
    places.windows(2).enumerate().take_while(near).count() + 1
}

/// The first of `places`, at least one, that are taken from the mapped segment together.
fn mapped_run<'a>(places: &'a [PayloadLocation], kept: &[Option<Bytes>]) -> &'a [PayloadLocation] {
    let segment = places.first().map(|place| place.at.segment);
    let together = |(i, place): &(usize, &PayloadLocation)| {
        Some(place.at.segment) == segment && kept.get(*i).is_none_or(Option::is_none)
    };
    let count = places.iter().enumerate().take(MAPPED_RUN_MAX).take_while(together).count();
    &places[..count.max(1).min(places.len())]
}

/// How many entries were read, at least one, and whether more are wanted.
#[derive(Clone, Copy, Debug)]
struct Read {
    entries: usize,
    wants_more: bool,
}

/// Loads the bytes of `run` into the processor's cache before they are checked: the pages of a mapped segment are not
/// in the cache, and checksums computed one after the other would wait for each cache line on its own.
fn fetch(map: &[u8], run: &[PayloadLocation]) {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
    let span = map.get(first.within(0).start..last.within(0).end).unwrap_or_default();
    if span.len() <= FETCHED_MAX {
        std::hint::black_box(span.iter().step_by(LINE_BYTES).fold(0, |sum, byte| sum ^ byte));
    }
}

/// Passes the entries of `run` to `each`, up to the first that fails its checksum. It is an error if that is the
/// first of all. Their bytes are in `bytes`, which starts at offset `from` of their segment.
///
/// All checksums are computed before the first entry is made. Computing them one directly after the other keeps the
/// processor busy; making entries in between costs throughput (1.5 instead of 2.4 GB/s with entries of 256 B).
fn sound(
    compressor: &Compressor,
    group: GroupId,
    run: &[PayloadLocation],
    (bytes, from): (&Bytes, u32),
    copied: bool,
    each: &mut impl FnMut(Entry) -> bool,
) -> Result<Read> {
    let checks = |place: &&PayloadLocation| {
        bytes.get(place.within(from)).is_some_and(|stored| place.at.matches(stored))
    };
    let sound = run.iter().take_while(checks).count();
    if let Some(first) = run.first().filter(|_| sound == 0) {
        return Err(first.damaged(group));
    }
    // Slices of a clone cost less than those of the original, which may still be the only reference.
    let bytes = bytes.clone();
    for (entries, place) in (1..).zip(&run[..sound]) {
        let mut payload = bytes.slice(place.within(from));
        if place.at.packed {
            payload = place.unpack(compressor, group, &payload)?;
        } else if copied {
            payload = Bytes::copy_from_slice(&payload);
        }
        if !each(Entry { index: place.index, term: place.term, payload }) {
            return Ok(Read { entries, wants_more: false });
        }
    }
    Ok(Read { entries: sound, wants_more: true })
}

/// Reads the payloads of `run`, which are in one segment in ascending order, and passes on those with correct
/// checksums.
fn read_run(
    wal: &Wal,
    compressor: &Compressor,
    group: GroupId,
    run: &[PayloadLocation],
    each: &mut impl FnMut(Entry) -> bool,
) -> Result<Read> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else {
        return Ok(Read { entries: 0, wants_more: false });
    };
    let from = first.at.offset;
    let mut span = vec![0; usize::try_from(last.end() - from).unwrap_or(usize::MAX)];
    // The checksum of each payload, checked below, decides which entries of a damaged range are intact.
    let read = if span.is_empty() { Ok(()) } else { wal.read_damaged_at(first.lsn(), &mut span) };
    if let Err(error) = read {
        if run.len() == 1 {
            return Err(error.into());
        }
        // The error may concern only bytes between the payloads, so each payload is read on its own.
        for (entries, place) in (1..).zip(run) {
            if !read_run(wal, compressor, group, std::slice::from_ref(place), each)?.wants_more {
                return Ok(Read { entries, wants_more: false });
            }
        }
        return Ok(Read { entries: run.len(), wants_more: true });
    }
    let payload = run.iter().map(PayloadLocation::length).fold(0, usize::saturating_add);
    // One payload that the caller keeps keeps the whole span in memory, so payloads are copied out of a span that is
    // mostly other data.
    let sparse = payload < span.len() / 4;
    sound(compressor, group, run, (&Bytes::from(span), from), sparse, each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Location;

    fn place(segment: u32, offset: u32, length: u32) -> PayloadLocation {
        PayloadLocation { index: 1, term: 1, at: Location::plain(segment, offset, length, 0) }
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
