//! Makes the decisions of a test, from a seed or from the bytes that a fuzzer chose.
//!
//! Both kinds are one type, so the same model serves the seeded campaigns and the fuzzer. When the bytes run out,
//! every answer is the largest number, which callers treat as "nothing happens", so every input terminates.

/// A stream of decisions.
#[derive(Clone, Debug)]
pub struct Choices<'a>(Source<'a>);

#[derive(Clone, Debug)]
enum Source<'a> {
    Seed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Choices<'a> {
    /// An endless stream, which is the same for the same seed, whatever the versions of dependencies.
    pub fn seeded(seed: u64) -> Choices<'a> {
        Choices(Source::Seed(seed))
    }

    /// The decisions that `bytes` encode: one byte each, or two for decisions among more than 256 values.
    pub fn from_bytes(bytes: &'a [u8]) -> Choices<'a> {
        Choices(Source::Bytes(bytes))
    }

    /// Whether the decisions come from bytes and the bytes ran out.
    pub fn spent(&self) -> bool {
        matches!(self.0, Source::Bytes([]))
    }

    /// Any 64-bit number.
    pub fn number(&mut self) -> u64 {
        let state = match &mut self.0 {
            Source::Seed(state) => {
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                *state
            }
            Source::Bytes(_) => self.take(2).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        };
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number less than `n`, which is not 0; `n - 1` once the bytes ran out.
    pub fn below(&mut self, n: u64) -> u64 {
        match self.0 {
            Source::Seed(_) => self.number() % n,
            Source::Bytes([]) => n - 1,
            Source::Bytes(_) => {
                let width = if n <= 1 << 8 { 1 } else { 2 };
                self.take(width) % n
            }
        }
    }

    /// A number in `from..=to`.
    pub fn small(&mut self, from: u32, to: u32) -> u32 {
        from + u32::try_from(self.below(u64::from(to - from) + 1)).expect("not above `to`")
    }

    /// An index into something of length `n`, which is not 0.
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("less than a usize")
    }

    /// `true` in this many of 100 cases; `false` once the bytes ran out.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.below(256).to_le_bytes()[0]
    }

    /// Up to `n` bytes; fewer only if they run out.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let left = match self.0 {
            Source::Seed(_) => n,
            Source::Bytes(bytes) => n.min(bytes.len()),
        };
        (0..left).map(|_| self.byte()).collect()
    }

    fn take(&mut self, width: usize) -> u64 {
        let Source::Bytes(bytes) = &mut self.0 else { return 0 };
        let (head, rest) = bytes.split_at(width.min(bytes.len()));
        *bytes = rest;
        head.iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_used_up_in_order_and_then_nothing_happens() {
        let mut choices = Choices::from_bytes(&[7, 1, 2, 9]);
        assert_eq!(choices.below(5), 2);
        assert_eq!(choices.below(1000), 0x0201);
        assert!(!choices.spent() && choices.chance(10));
        assert!(choices.spent() && !choices.chance(99));
        assert_eq!((choices.below(100), choices.small(3, 8), choices.bytes(4)), (99, 8, vec![]));
        assert_eq!(choices.number(), Choices::from_bytes(&[]).number());
    }

    #[test]
    fn a_seed_never_ends_and_repeats_itself() {
        let draw = |seed| {
            let mut choices = Choices::seeded(seed);
            (0..50).map(|_| choices.index(1 << 40)).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        assert!(!Choices::seeded(0).spent());
    }
}
