//! Reads the payloads at selected locations: from the entry cache, from mapped segments, or from the log.
//!
//! Neighbouring payloads are read with one call, and several such runs into one buffer that their entries share. Each
//! payload from a map or the log is checked against its checksum. One from the cache is not: the cache has its own copy
//! of the bytes that the caller passed.

use std::ops::Range;

use bytes::Bytes;
use seawall_wal::{Lsn, Wal};

use super::buffers::BUFFER_BYTES;
use super::locate::PayloadLocation;
use super::maps::Maps;
use super::store::Store;
use crate::error::Result;
use crate::types::{Entry, GroupId};

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
    let Store { wal, cache, .. } = store;
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
            let whole = Run { entries: run.len(), from: 0, at: 0 };
            sound(store, group, run, Found { bytes: &map, runs: &[whole], sparse: false }, each)?
        } else {
            read_piece(store, group, rest, &piece(rest, kept, durable), each)?
        };
        if !read.wants_more {
            break;
        }
        at += read.entries;
    }
    Ok(())
}

/// Entries whose payloads lie near each other in a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    entries: usize,
    /// Offset in the segment of the first byte.
    from: u32,
    /// Position of that byte in the buffer.
    at: usize,
}

impl Run {
    /// Where the payload at `place`, one of the run, is in the buffer.
    fn range(&self, place: &PayloadLocation) -> Range<usize> {
        let Range { start, end } = place.within(self.from);
        self.at.saturating_add(start)..self.at.saturating_add(end)
    }
}

/// The runs that are read into one buffer, at least one, and the size of the buffer.
fn piece(places: &[PayloadLocation], kept: &[Option<Bytes>], durable: Lsn) -> (Vec<Run>, usize) {
    let (mut runs, mut bytes, mut done) = (Vec::new(), 0usize, 0);
    while let (Some(first), rest) = (places.get(done), kept.get(done..).unwrap_or_default()) {
        let left = BUFFER_BYTES - bytes.min(BUFFER_BYTES);
        let segment = places.first().map(|place| place.at.segment);
        let other = rest.first().is_some_and(Option::is_some) || Some(first.at.segment) != segment;
        if !runs.is_empty() && (other || first.length() > left) {
            break;
        }
        let entries = run_length(&places[done..], rest, durable, left);
        runs.push(Run { entries, from: first.at.offset, at: bytes });
        done += entries;
        let span = places[done - 1].end().saturating_sub(first.at.offset);
        bytes = bytes.saturating_add(usize::try_from(span).unwrap_or(usize::MAX));
    }
    (runs, bytes)
}

/// How many of `places`, at least one, are read with one call of up to `max` bytes: up to the next one whose payload
/// is in memory (`kept`). Below `durable`, the bytes between two payloads can be read too. Above it, bytes are read from one
/// write group in memory, so only adjacent payloads are read together.
fn run_length(places: &[PayloadLocation], kept: &[Option<Bytes>], durable: Lsn, max: usize) -> usize {
    let Some(first) = places.first() else { return 1 };
    let near = |(i, pair): &(usize, &[PayloadLocation])| {
        let [before, place] = pair else { return false };
        let gap = place.at.offset.checked_sub(before.end());
        let reach = if place.lsn() < durable { GAP_BYTES_MAX } else { 0 };
        kept.get(i + 1).is_none_or(Option::is_none)
            && place.at.segment == before.at.segment
            && gap.is_some_and(|gap| gap <= reach)
            && usize::try_from(place.end() - first.at.offset).is_ok_and(|span| span <= max)
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

/// Bytes of a segment that were read and are not checked yet.
#[derive(Clone, Copy)]
struct Found<'a> {
    bytes: &'a Bytes,
    /// Where they are in the segment.
    runs: &'a [Run],
    /// Whether they are mostly other data than payloads. One payload that the caller keeps keeps all of them in memory,
    /// so payloads are copied out of such bytes.
    sparse: bool,
}

/// Passes the entries of `places` to `each`, up to the first that fails its checksum. If that is the first of all, the
/// medium decides.
///
/// All checksums are computed before the first entry is made. Computing them one directly after the other keeps the
/// processor busy; making entries in between costs throughput (1.5 instead of 2.4 GB/s with entries of 256 B).
fn sound(
    Store { wal, compressor, .. }: Store<'_>,
    group: GroupId,
    places: &[PayloadLocation],
    Found { bytes, runs, sparse }: Found<'_>,
    each: &mut impl FnMut(Entry) -> bool,
) -> Result<Read> {
    let mut sound = 0;
    for run in runs {
        let of_run = places[sound..].iter().take(run.entries);
        let checks = |place: &&PayloadLocation| {
            bytes.get(run.range(place)).is_some_and(|stored| place.at.matches(stored))
        };
        let count = of_run.take_while(checks).count();
        sound += count;
        if count < run.entries {
            break;
        }
    }
    if let Some(first) = places.first().filter(|_| sound == 0) {
        let entry = first.entry(compressor, group, from_medium(wal, first)?)?;
        return Ok(Read { entries: 1, wants_more: each(entry) });
    }
    // Slices of a clone cost less than those of the original, which may still be the only reference.
    let bytes = if sound > 1 { &bytes.clone() } else { bytes };
    let mut entries = 0;
    for run in runs {
        for place in places[entries..sound].iter().take(run.entries) {
            let mut payload = bytes.slice(run.range(place));
            if place.at.packed {
                payload = place.unpack(compressor, group, &payload)?;
            } else if sparse {
                payload = Bytes::copy_from_slice(&payload);
            }
            entries += 1;
            if !each(Entry { index: place.index, term: place.term, payload }) {
                return Ok(Read { entries, wants_more: false });
            }
        }
    }
    Ok(Read { entries: sound, wants_more: true })
}

/// The bytes at `place`, read past the page cache: bytes from the cache failed their checksum, and a cached page may be
/// older than the medium (INV-3).
fn from_medium(wal: &Wal, place: &PayloadLocation) -> Result<Bytes> {
    let mut stored = vec![0; place.length()];
    if !stored.is_empty() {
        wal.read_medium_at(place.lsn(), &mut stored)?;
    }
    Ok(stored.into())
}

/// Reads the payloads of `runs`, which are the first of `places`, into a buffer of `bytes` bytes, and passes on those
/// with correct checksums.
fn read_piece(
    store: Store<'_>,
    group: GroupId,
    places: &[PayloadLocation],
    (runs, bytes): &(Vec<Run>, usize),
    each: &mut impl FnMut(Entry) -> bool,
) -> Result<Read> {
    let mut buffer = store.buffers.take(*bytes);
    let (mut payload, mut done, mut read) = (0usize, 0, 0);
    for (i, run) in runs.iter().enumerate() {
        let of_run = &places[done..done + run.entries];
        let end = runs.get(i + 1).map_or(*bytes, |next| next.at);
        let span = &mut buffer.as_mut()[run.at..end];
        // The checksum of each payload decides which entries of a damaged range are intact.
        let lsn = of_run.first().map_or(Lsn::ZERO, PayloadLocation::lsn);
        let result = if span.is_empty() { Ok(()) } else { store.wal.read_damaged_at(lsn, span) };
        if let Err(error) = result {
            if i > 0 {
                // The next call meets the error again.
                break;
            }
            return if run.entries == 1 { Err(error.into()) } else { read_each(store, group, of_run, each) };
        }
        payload = of_run.iter().map(PayloadLocation::length).fold(payload, usize::saturating_add);
        (done, read) = (done + run.entries, i + 1);
    }
    let sparse = payload < bytes / 4;
    let found = Found { bytes: &buffer.freeze(), runs: &runs[..read], sparse };
    sound(store, group, &places[..done], found, each)
}

/// Reads the payloads of a run each on its own: an error may concern only bytes between them.
fn read_each(
    store: Store<'_>,
    group: GroupId,
    run: &[PayloadLocation],
    each: &mut impl FnMut(Entry) -> bool,
) -> Result<Read> {
    for (entries, place) in (1..).zip(run) {
        let alone = Run { entries: 1, from: place.at.offset, at: 0 };
        let piece = (vec![alone], place.length());
        if !read_piece(store, group, std::slice::from_ref(place), &piece, each)?.wants_more {
            return Ok(Read { entries, wants_more: false });
        }
    }
    Ok(Read { entries: run.len(), wants_more: true })
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
        let max = 1 << 20;
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
            assert_eq!(run_length(&places, &kept, durable, max), expected, "{places:?}");
            if let [_, second, ..] = &mut kept[..] {
                *second = Some(Bytes::new());
            }
            assert_eq!(run_length(&places, &kept, durable, max), 1, "{places:?}");
        }
    }
}
