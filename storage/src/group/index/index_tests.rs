//! An index against a list of the same locations.

use super::chunk::Chunk;
use super::plain::STEP;
use super::*;
use crate::format::{Place, Run, encode_frame};

/// The location of entry `i` of one kind of log.
type At = fn(u64) -> Location;

/// The kinds: segments of seven entries some of which are compressed, long segments whose payloads have equal lengths,
/// long segments with payloads and gaps of all lengths, and long segments in which every other twenty are compressed.
const KINDS: [At; 4] = [
    |i| Location { packed: i.is_multiple_of(5), ..place(i, 7, 8, i % 7) },
    |i| place(i, 1000, 64, 32),
    |i| place(i, 150, 1000, i * i % 1000),
    |i| Location { packed: (i / 20).is_multiple_of(2), ..place(i, 1000, 64, 32) },
];

/// A payload of `length` bytes in segments of `per_segment` payloads, one every `stride` bytes.
fn place(i: u64, per_segment: u64, stride: u64, length: u64) -> Location {
    let [segment, offset, length] =
        [1 + i / per_segment, stride * i, length].map(|n| u32::try_from(n).expect("small"));
    Location::plain(segment, offset, length, !offset)
}

/// The locations of `range`, for the entries from `first` on, as the index of a segment stores them, frame by frame.
fn encoded(first: u64, locations: &[Location]) -> Vec<u8> {
    let (mut bytes, mut at) = (Vec::new(), first);
    let places: Vec<Place> = locations.iter().map(Place::from).collect();
    let mut rest = &places[..];
    while !rest.is_empty() {
        let own;
        (own, rest) = rest.split_at((FRAME - slot(at)).min(rest.len()));
        encode_frame(own, &mut bytes).expect("they follow each other");
        at += own.len() as u64;
    }
    bytes
}

fn add(index: &mut LogIndex, locations: &[Location]) {
    index.extend(&Parts::from(locations));
}

fn usize_of(n: u64) -> usize {
    usize::try_from(n).expect("small")
}

/// Memory of the index in bytes, of which each allocation costs 16 more than it asks for.
fn memory(index: &LogIndex) -> usize {
    let heap = |bytes: usize| if bytes == 0 { 0 } else { bytes + 16 };
    let chunks = heap(index.chunks.capacity() * size_of::<Chunk>()) + size_of::<LogIndex>();
    index.chunks.iter().map(Chunk::memory).sum::<usize>() + chunks
}

#[test]
fn an_entry_of_a_short_log_costs_less_than_sixteen_bytes_and_of_a_long_log_about_half() {
    let kinds: [(At, usize); 4] =
        [(KINDS[1], 6), (KINDS[2], 9), (|i| place(i, 300, 4096, 300), 6), (|i| place(i, 20, 64, 32), 9)];
    for (at, long) in kinds {
        let mut index = LogIndex::default();
        for i in 0..20_000 {
            add(&mut index, &[at(i)]);
            let most = if i < 10_000 { 16 } else { long };
            let bytes = memory(&index);
            assert!(i < 200 || bytes <= most * index.len(), "{bytes} bytes for {}", index.len());
        }
    }
}

#[test]
fn runs_of_any_length_are_added_whole() {
    for at in KINDS {
        for skip in [0, 1, 63, 64, 127, 128, 200] {
            for len in [0, 1, 63, 64, 65, 127, 128, 129, 500] {
                let mut index = LogIndex::default();
                index.restart(10);
                add(&mut index, &(0..300).map(at).collect::<Vec<_>>());
                index.advance(10 + skip, |_| {});
                add(&mut index, &(300..300 + len).map(at).collect::<Vec<_>>());
                assert_eq!(index.end(), 310 + len);
                assert!((10 + skip..310 + len).all(|i| index.get(i) == Some(at(i - 10))), "{skip}, {len}");
                let all: Vec<_> = (skip..300 + len).map(at).collect();
                assert_eq!(index.since(10 + skip).collect::<Vec<_>>(), all, "{skip}, {len}");
            }
        }
    }
}

/// Replaying the index of a segment adds the same locations as replaying its records.
#[test]
fn encoded_runs_are_added_like_lists() {
    for first in [1, 10, 63, 64, 65] {
        for before in [0, 1, 30, 54, 64, 100] {
            for len in [1, 3, 4, 54, 64, 65, 200, 1000] {
                let mut index = LogIndex::loading();
                index.restart(first);
                add(&mut index, &(0..before).map(KINDS[1]).collect::<Vec<_>>());
                let locations: Vec<_> =
                    (before..before + len).map(|i| Location { segment: 9, ..KINDS[1](i) }).collect();
                let bytes = encoded(first + before, &locations);
                let count = u32::try_from(len).expect("small");
                let (run, rest) = Run::split(first + before, count, &bytes).expect("a run");
                assert!(rest.is_empty() && run.is_valid(u32::MAX));
                index.extend(&Parts::Run(SegmentRun { run, segment: 9, packed: false }));
                index.loaded();
                let all: Vec<_> = (0..before).map(KINDS[1]).chain(locations).collect();
                assert_eq!(index.since(first).collect::<Vec<_>>(), all, "{first}, {before}, {len}");
                assert!((0..).zip(&all).all(|(i, at)| index.get(first + i) == Some(*at)));
                // Entries can be appended after the run.
                add(&mut index, &[KINDS[1](5000)]);
                assert_eq!(index.get(first + before + len), Some(KINDS[1](5000)));
            }
        }
    }
}

#[test]
fn memory_follows_the_length_in_chunks() {
    let at = KINDS[0];
    let mut index = LogIndex::default();
    index.restart(1000);
    for i in 0..1000 {
        add(&mut index, &[at(i)]);
        assert!(index.chunks.len() <= index.len() / FRAME + 2);
        assert!(
            memory(&index) < 20 * index.len() + 12 * STEP + 400,
            "{} for {}",
            memory(&index),
            index.len()
        );
    }
    index.advance(1000 + 500, |_| {});
    assert!(index.chunks.len() <= 500 / FRAME + 2);
    index.truncate(1000 + 510, |_| {});
    assert_eq!((index.first(), index.end(), index.len()), (1500, 1510, 10));
    assert!(index.chunks.len() <= 2);
    for i in 1490..1520 {
        assert_eq!(index.get(i), (1500..1510).contains(&i).then(|| at(i - 1000)));
    }
    index.advance(u64::MAX, |_| {});
    assert!(index.is_empty() && index.chunks.is_empty());
    assert_eq!(index.end(), 1510);
}

#[test]
fn entries_that_moved_are_found_where_they_are_now() {
    for at in KINDS {
        let mut index = LogIndex::default();
        index.restart(1);
        add(&mut index, &(0..400).map(at).collect::<Vec<_>>());
        index.advance(31, |_| {});
        let mut expected: Vec<Location> = (0..400).map(at).collect();
        for i in (30..400u64).step_by(3).chain(120..135) {
            let place = &mut expected[usize_of(i)];
            let now = Location { segment: 900 + u32::try_from(i % 2).expect("small"), ..at(i + 1000) };
            assert_eq!(index.replace(i + 1, now), Some(std::mem::replace(place, now)));
            if i == 120 {
                index.replaced(31..120);
            }
        }
        index.replaced(31..401);
        assert_eq!(index.replace(30, at(0)), None);
        assert!((30..400).all(|i| index.get(i + 1) == Some(expected[usize_of(i)])));
        for segment in [0, 4, 5, 20, 57, 900] {
            let old = (31..).zip(&expected[30..]).filter(|(_, at)| at.segment <= segment);
            let old: Vec<(u64, Location)> = old.map(|(i, at)| (i, *at)).collect();
            assert_eq!(index.up_to(segment).collect::<Vec<_>>(), old, "{segment}");
        }
        for from in [31, 32, 63, 64, 65, 127, 128, 129, 130, 255, 256, 300, 400, 401] {
            let rest = &expected[usize_of(from - 1)..];
            assert_eq!(index.since(from).collect::<Vec<_>>(), rest, "from {from}");
        }
    }
}

/// All entries of a log are rewritten one range after the other: in the end they take as little memory as before.
#[test]
fn entries_that_moved_in_order_are_encoded_again() {
    for step in [10, 64, 100] {
        let mut index = LogIndex::default();
        index.restart(1);
        add(&mut index, &(0..6400).map(KINDS[1]).collect::<Vec<_>>());
        let before = memory(&index);
        for first in (1..=6400u64).step_by(step) {
            let end = (first + step as u64).min(6401);
            for i in first..end {
                index.replace(i, Location { segment: 77, ..KINDS[1](i + 9000) });
            }
            index.replaced(first..end);
        }
        assert!(memory(&index) <= before + FRAME * 16, "{} after {before}, {step} at a time", memory(&index));
        assert!((1..=6400).all(|i| index.get(i) == Some(Location { segment: 77, ..KINDS[1](i + 9000) })));
    }
}

#[test]
fn every_cut_leaves_the_rest_as_it_was() {
    for at in KINDS {
        for low in (0..300).step_by(13) {
            for high in (low..300).step_by(29) {
                let mut index = LogIndex::default();
                add(&mut index, &(0..300).map(at).collect::<Vec<_>>());
                let (mut front, mut back) = (Vec::new(), Vec::new());
                index.truncate(high, |location| back.push(location));
                index.advance(low, |location| front.push(location));
                assert_eq!(front, (0..low).map(at).collect::<Vec<_>>());
                assert_eq!(back, (high..300).map(at).collect::<Vec<_>>());
                add(&mut index, &(high..high + 200).map(|i| at(i + 500)).collect::<Vec<_>>());
                for i in 0..high + 200 {
                    let expected = if i < high { at(i) } else { at(i + 500) };
                    assert_eq!(index.get(i), (i >= low).then_some(expected), "{low} {high} {i}");
                }
            }
        }
    }
}
