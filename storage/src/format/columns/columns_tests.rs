//! Columns against lists of places, and against bytes that no encoder writes.

use super::column::{self, Column, Shape};
use super::*;
use zerocopy::IntoBytes;

/// xorshift64*: random enough to choose numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, n: u32) -> u32 {
        u32::try_from(self.next() % u64::from(n)).expect("below a u32")
    }
}

/// Up to 64 numbers of a random kind: all equal, small, a few large ones, one of two values, or anything.
fn numbers(random: &mut Random, len: usize) -> Vec<u32> {
    let (kind, base) = (random.below(5), random.below(1000));
    let one = |random: &mut Random| match kind {
        0 => base,
        1 => base + random.below(16),
        2 if random.below(20) == 0 => random.below(u32::MAX),
        2 => base,
        3 => base + 4096 * random.below(2),
        _ => random.below(u32::MAX) >> random.below(32),
    };
    (0..len).map(|_| one(random)).collect()
}

/// `len` places that follow each other, with lengths and gaps of a random kind.
fn places(random: &mut Random, len: usize) -> Vec<Place> {
    let shorter = |n: &u32| n % (1 << 20);
    let lengths = numbers(random, len);
    let gaps = numbers(random, len);
    let mut offset = random.below(100_000);
    let of = |(length, gap): (u32, u32)| {
        let place = Place { offset: offset.into(), length: length.into(), crc: (offset ^ 0x5555).into() };
        offset += length + gap;
        place
    };
    lengths.iter().map(shorter).zip(gaps.iter().map(shorter)).map(of).collect()
}

#[test]
fn numbers_are_what_was_encoded() {
    let mut random = Random(1);
    for round in 0..20_000 {
        let len = usize::try_from(random.below(65)).expect("small");
        let numbers = numbers(&mut random, len);
        let mut bytes = Vec::new();
        let shape = column::encode(&numbers, &mut bytes);
        assert!(bytes.len() <= 4 * len, "round {round}: {numbers:?} take {} bytes", bytes.len());
        bytes.push(7);
        let (column, rest) = Column::split(shape, len, &bytes).expect("just encoded");
        assert_eq!(rest, [7], "round {round}");
        assert!(column.is_valid(), "round {round}: {numbers:?}");
        let mut sum = 0;
        for (at, number) in numbers.iter().enumerate() {
            assert_eq!(
                (column.get(at), column.sum(at)),
                (u64::from(*number), sum),
                "round {round}, {at}: {numbers:?}"
            );
            sum += u64::from(*number);
        }
        assert_eq!(column.sum(len), sum);
    }
}

/// Numbers that are nearly all equal take nothing but their exceptions, equal ones take nothing.
#[test]
fn a_column_takes_the_fewest_bytes() {
    let mut cases =
        vec![(vec![9; 64], 0), (vec![], 0), (vec![1, 2, 3, 4], 1), ([0, u32::MAX].repeat(32), 32 * 5)];
    cases.push(([vec![48; 60], vec![4096 + 48; 4]].concat(), 20));
    cases.push(((0..64).collect(), 48));
    for (numbers, bytes) in cases {
        let mut out = Vec::new();
        column::encode(&numbers, &mut out);
        assert_eq!(out.len(), bytes, "{numbers:?}");
    }
}

/// Any column that is accepted is the one that its numbers are encoded to.
#[test]
fn other_bytes_are_refused_or_are_the_one_encoding_of_their_numbers() {
    let mut random = Random(2);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..200_000 {
        let len = usize::try_from(random.below(9)).expect("small");
        let mut bytes = Vec::new();
        let mut shape = column::encode(&numbers(&mut random, len), &mut bytes);
        match random.below(4) {
            0 => shape.width = u8::try_from(random.below(40)).expect("small"),
            1 => shape.exceptions = u8::try_from(random.below(10)).expect("small"),
            2 => bytes.resize(bytes.len() + 8, 0),
            _ => {}
        }
        if !bytes.is_empty() {
            let at = usize::try_from(random.next() % bytes.len() as u64).expect("small");
            bytes[at] ^= 1 << random.below(8);
        }
        let Some((column, rest)) = Column::split(shape, len, &bytes) else { continue };
        if !column.is_valid() {
            refused += 1;
            continue;
        }
        let numbers: Option<Vec<u32>> = (0..len).map(|at| u32::try_from(column.get(at)).ok()).collect();
        // A number beyond 32 bits makes an offset beyond the segment, which the frame refuses.
        let Some(numbers) = numbers else { continue };
        let mut again = Vec::new();
        assert_eq!(column::encode(&numbers, &mut again), shape, "{numbers:?}");
        assert_eq!(again, bytes[..bytes.len() - rest.len()], "{numbers:?}");
        accepted += 1;
    }
    assert!(accepted > 1000 && refused > 1000, "{accepted} accepted, {refused} refused");
}

#[test]
fn an_impossible_shape_is_refused() {
    let bytes = [0; 600];
    let shape = |width, exceptions| Shape { base: 1, width, exceptions };
    assert!(Column::split(shape(32, 64), 64, &bytes).is_some());
    assert!(Column::split(shape(33, 0), 64, &bytes).is_none());
    assert!(Column::split(shape(1, 65), 64, &bytes).is_none());
    assert!(Column::split(shape(1, 0), 65, &bytes).is_none());
    assert!(Column::split(shape(32, 64), 64, &bytes[..575]).is_none());
}

#[test]
fn a_run_is_the_places_that_were_encoded() {
    let mut random = Random(3);
    for round in 0..3000 {
        let first = u64::from(random.below(200));
        let len = usize::try_from(random.below(300)).expect("small");
        let places = places(&mut random, len);
        let (mut bytes, mut rest) = (Vec::new(), &places[..]);
        let count = u32::try_from(len).expect("small");
        for frame in frame_lengths(first, count) {
            let own;
            (own, rest) = rest.split_at(frame);
            let before = bytes.len();
            encode_frame(own, &mut bytes).expect("they follow each other");
            assert!(bytes.len() - before <= 12 * own.len() + 5 * own.len());
        }
        assert!(rest.is_empty());
        let end = places.last().map_or(0, |last| last.offset.get() + last.length.get());
        let (run, after) = Run::split(first, count, &bytes).expect("just encoded");
        assert!(after.is_empty() && run.is_valid(end), "round {round}");
        assert!(len == 0 || !run.is_valid(end - 1), "round {round}: the last payload ends behind that");
        assert_eq!(run.frames().flat_map(|frame| frame.places(0)).collect::<Vec<_>>(), places);
        let mut at = 0;
        for frame in run.frames() {
            let own = &places[at..at + frame.len()];
            for slot in 0..own.len() {
                assert_eq!(frame.get(slot), Some(own[slot]), "round {round}, {slot}");
                assert_eq!(frame.places(slot).collect::<Vec<_>>(), own[slot..], "round {round}, from {slot}");
            }
            assert_eq!(frame.get(own.len()), None);
            let sum: u64 = own.iter().map(|place| u64::from(place.length.get())).sum();
            assert_eq!(frame.payload_bytes(), sum, "round {round}");
            at += frame.len();
        }
        for short in 0..bytes.len() {
            assert!(Run::split(first, count, &bytes[..short]).is_none(), "round {round}: {short} bytes");
        }
    }
}

/// Places that overlap or lie in another order are not encoded, and nothing is appended.
#[test]
fn places_out_of_order_are_not_encoded() {
    let at = |offset: u32, length: u32| Place { offset: offset.into(), length: length.into(), crc: 0.into() };
    for wrong in [[at(8, 9), at(16, 1)], [at(16, 1), at(8, 1)], [at(u32::MAX, 1), at(0, 0)]] {
        let mut out = vec![1];
        assert_eq!(encode_frame(&wrong, &mut out), None, "{wrong:?}");
        assert_eq!(out, [1]);
    }
}

/// Lengths and gaps whose sum is 2^32 and more do not wrap around into the segment.
#[test]
fn offsets_do_not_wrap_around() {
    let header = |offset: u32, length_base: u32, gap_base: u32| FrameHeader {
        offset: offset.into(),
        length_base: length_base.into(),
        gap_base: gap_base.into(),
        length_width: 0,
        length_exceptions: 0,
        gap_width: 0,
        gap_exceptions: 0,
    };
    let crcs = [0u8; 4 * 4];
    let valid = |header: FrameHeader, end| {
        let bytes = [header.as_bytes(), &crcs].concat();
        Run::split(0, 4, &bytes).is_some_and(|(run, _)| run.is_valid(end))
    };
    assert!(valid(header(0, 10, 1), 43) && !valid(header(0, 10, 1), 42));
    assert!(valid(header(u32::MAX - 40, 10, 0), u32::MAX));
    for wrapping in
        [header(0, 1 << 30, 0), header(0, 0, 1 << 31), header(u32::MAX, 1, 0), header(0, u32::MAX, u32::MAX)]
    {
        assert!(!valid(wrapping, u32::MAX));
    }
}
