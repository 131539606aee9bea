//! Encodes and decodes one column of a frame: up to 64 numbers as a base, packed differences of equal width, and
//! exceptions.
//!
//! The base is the smallest number. The width is the one that takes the fewest bytes, the smallest of those. A
//! difference that does not fit is an exception: its packed bits are zero, and its position and value follow. So
//! numbers that are all equal take no bytes, and each column has exactly one encoding.

use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U32;

use super::place::FRAME;

/// Bytes of an exception: its position as `u8`, and the difference as `u32`.
const EXCEPTION_BYTES: usize = 5;

/// The parts of a column's encoding that are in the header of its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    pub(super) base: u32,
    /// Bits of a packed difference, 0 to 32.
    pub(super) width: u8,
    pub(super) exceptions: u8,
}

/// A column in encoded form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    shape: Shape,
    len: usize,
    packed: &'a [u8],
    positions: &'a [u8],
    values: &'a [U32],
}

/// Appends the encoding of `numbers`, at most [`FRAME`], to `out`; returns what the header stores.
pub(super) fn encode(numbers: &[u32], out: &mut Vec<u8>) -> Shape {
    let base = numbers.iter().copied().min().unwrap_or(0);
    if numbers.iter().all(|number| *number == base) {
        return Shape { base, width: 0, exceptions: 0 };
    }
    let mut lengths = BitLengths::default();
    numbers.iter().for_each(|number| lengths.add(u64::from(number - base)));
    let (width, exceptions) = lengths.width();
    let limit = 1u64 << width;
    let fits = |number: &u32| u64::from(number - base) < limit;
    let (mut word, mut bits) = (0u64, 0);
    for number in numbers {
        if fits(number) {
            word |= u64::from(number - base) << bits;
        }
        bits += u32::from(width);
        while bits >= 8 {
            out.push(word.to_le_bytes()[0]);
            word >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        out.push(word.to_le_bytes()[0]);
    }
    if exceptions > 0 {
        // A frame has at most 64 numbers, so positions and their count fit.
        let others = || (0u8..).zip(numbers).filter(|(_, number)| !fits(number));
        out.extend(others().map(|(position, _)| position));
        others().for_each(|(_, number)| out.extend_from_slice(&(number - base).to_le_bytes()));
    }
    Shape { base, width, exceptions }
}

impl<'a> Column<'a> {
    /// Splits the column of `len` numbers off `bytes`; `None` if they are too short or the shape is impossible.
    pub(super) fn split(shape: Shape, len: usize, bytes: &'a [u8]) -> Option<(Column<'a>, &'a [u8])> {
        let (width, exceptions) = (usize::from(shape.width), usize::from(shape.exceptions));
        if width > 32 || len > FRAME || exceptions > len {
            return None;
        }
        let (packed, rest) = bytes.split_at_checked((len * width).div_ceil(8))?;
        let (positions, rest) = rest.split_at_checked(exceptions)?;
        let (values, rest) = <[U32]>::ref_from_prefix_with_elems(rest, exceptions).ok()?;
        Some((Column { shape, len, packed, positions, values }, rest))
    }

    /// Whether this is the one encoding of its numbers.
    pub(super) fn is_valid(&self) -> bool {
        let width = usize::from(self.shape.width);
        if width == 0 && self.positions.is_empty() {
            return true;
        }
        let mut lengths = BitLengths::default();
        let mut exceptions = self.positions.iter().peekable();
        if width == 0 {
            lengths.add_zeros(self.len.saturating_sub(self.positions.len()));
        }
        for at in (0..self.len).filter(|_| width > 0) {
            let difference = self.difference(at);
            if exceptions.next_if(|position| usize::from(**position) == at).is_none() {
                lengths.add(difference);
            } else if difference != 0 {
                return false;
            }
        }
        self.values.iter().for_each(|value| lengths.add(value.get().into()));
        let ascending = self.positions.is_sorted_by(|a, b| a < b);
        let inside = self.positions.last().is_none_or(|last| usize::from(*last) < self.len);
        let beyond = self.values.iter().all(|value| u64::from(value.get()) >> width > 0);
        let spare = self.len * width % 8;
        let padded = spare == 0 || self.packed.last().is_none_or(|last| *last >> spare == 0);
        let shortest = lengths.width() == (self.shape.width, self.shape.exceptions);
        ascending && inside && beyond && padded && shortest && lengths.has_zero()
    }

    /// Number `at`, which must be below the length.
    pub(super) fn get(&self, at: usize) -> u64 {
        let mut difference = self.difference(at);
        if !self.positions.is_empty()
            && let Some(exception) = self.positions.iter().position(|position| usize::from(*position) == at)
        {
            difference = self.values.get(exception).map_or(0, |value| u64::from(value.get()));
        }
        u64::from(self.shape.base) + difference
    }

    /// The sum of the first `count` numbers.
    pub(super) fn sum(&self, count: usize) -> u64 {
        let mut sum = u64::from(self.shape.base) * count as u64;
        if self.shape.width > 0 {
            sum += (0..count).map(|at| self.difference(at)).sum::<u64>();
        }
        let exceptions = self.positions.iter().zip(self.values);
        let before = exceptions.take_while(|(position, _)| usize::from(**position) < count);
        sum + before.map(|(_, value)| u64::from(value.get())).sum::<u64>()
    }

    /// The packed difference `at`; 0 for an exception.
    fn difference(&self, at: usize) -> u64 {
        let width = usize::from(self.shape.width);
        if width == 0 {
            return 0;
        }
        let rest = self.packed.get(at * width / 8..).unwrap_or_default();
        let word = match rest.first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        word >> (at * width % 8) & ((1 << width) - 1)
    }
}

/// How many differences have each bit length.
struct BitLengths([u8; 33]);

impl Default for BitLengths {
    fn default() -> BitLengths {
        BitLengths([0; 33])
    }
}

impl BitLengths {
    /// Adds a difference, which is below 2^32.
    fn add(&mut self, difference: u64) {
        let bits = (u64::BITS - difference.leading_zeros()) as usize;
        if let Some(count) = self.0.get_mut(bits) {
            // A frame has at most 64 numbers.
            *count = count.saturating_add(1);
        }
    }

    fn add_zeros(&mut self, count: usize) {
        self.0[0] = self.0[0].saturating_add(u8::try_from(count).unwrap_or(u8::MAX));
    }

    /// Whether one of the numbers is the base.
    fn has_zero(&self) -> bool {
        self.0[0] > 0
    }

    /// The width that takes the fewest bytes, and the number of exceptions that it leaves.
    fn width(&self) -> (u8, u8) {
        let all: usize = self.0.iter().map(|count| usize::from(*count)).sum();
        let (mut beyond, mut best) = (all, (usize::MAX, 0, 0));
        for (width, count) in (0..).zip(&self.0) {
            beyond -= usize::from(*count);
            let bytes = (all * usize::from(width)).div_ceil(8) + EXCEPTION_BYTES * beyond;
            if bytes < best.0 {
                best = (bytes, width, u8::try_from(beyond).unwrap_or(u8::MAX));
            }
            if beyond == 0 {
                break;
            }
        }
        (best.1, best.2)
    }
}
