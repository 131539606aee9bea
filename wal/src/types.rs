//! Plain types that every module shares: positions in the log, durability classes, kinds of groups.

use std::fmt;

/// A position in the log: segment sequence number in the high 32 bits, byte offset in the low 32.
///
/// The LSN of a record is the position of its first byte, so comparing LSNs compares log order across segments.
/// Positions grow as long as a log is open. After a crash, positions of records that left nothing on disk are given out
/// again; none of those records was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// A position below every real one; stands for "none yet".
    pub const ZERO: Lsn = Lsn(0);

    /// The position of byte `offset` of segment `segment`.
    pub const fn new(segment: u32, offset: u32) -> Lsn {
        Lsn(((segment as u64) << 32) | offset as u64)
    }

    /// The position whose on-disk form is `raw`; the inverse of [`Lsn::as_u64`].
    pub const fn from_u64(raw: u64) -> Lsn {
        Lsn(raw)
    }

    /// The on-disk form: segment sequence number in the high 32 bits, byte offset in the low 32.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The segment sequence number. The first segment is 1; only [`Lsn::ZERO`] has 0.
    pub const fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The byte offset inside the segment file.
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the offset")]
    pub const fn offset(self) -> u32 {
        self.0 as u32
    }

    /// Whether this is [`Lsn::ZERO`].
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{:08x}", self.segment(), self.offset())
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How soon the log writes a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Durability {
    /// The record asks for a write at once: its group is written as soon as the disk is free for it.
    #[default]
    Sync,
    /// The record never causes a write at once. It is written with the next group, or by the log when `idle_ms` have
    /// passed, or when a thread waits for it or the log is flushed or closed.
    Lazy,
}

/// Contents of the blocks of a segment before its first group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PriorContents {
    /// Zeros: a sector that is neither zero nor valid cannot come from a torn write.
    Zeros,
    /// The blocks of an earlier segment: the file was recycled.
    Stale,
}

/// The purpose of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupKind {
    /// Records of callers.
    Data,
    /// No records: carries the watermark when the log goes idle, is closed or is opened.
    Mark,
    /// The index of its segment; the last group of the segment.
    Footer,
    /// A mark before a group that is longer than the segment's reach; durable before that group is written.
    Announcement,
}

impl GroupKind {
    /// Whether groups of this kind hold no records.
    pub fn is_mark(self) -> bool {
        matches!(self, GroupKind::Mark | GroupKind::Announcement)
    }
}

/// Rounds `n` up to a multiple of `to`, a power of two; `None` on overflow.
pub const fn round_up(n: u32, to: u32) -> Option<u32> {
    match n.checked_add(to - 1) {
        Some(sum) => Some(sum & !(to - 1)),
        None => None,
    }
}

/// Whether all of `bytes` are zeros; compares 64 bytes at a time.
pub fn is_zeros(bytes: &[u8]) -> bool {
    let chunks = bytes.chunks_exact(64);
    let rest = chunks.remainder().iter().fold(0, |or, &b| or | b);
    rest == 0 && chunks.map(|chunk| chunk.iter().fold(0, |or, &b| or | b)).all(|or| or == 0)
}

/// Narrows a length to the format's 32 bits. A longer one becomes `u32::MAX`, which fails the size check that every
/// caller makes against the segment size.
pub const fn len32(n: usize) -> u32 {
    if n > u32::MAX as usize {
        u32::MAX
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "checked in the line above")]
        let n = n as u32;
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lsn_orders_by_segment_then_offset() {
        assert!(Lsn::new(1, u32::MAX) < Lsn::new(2, 0));
        assert_eq!(Lsn::new(7, 9).segment(), 7);
        assert_eq!(Lsn::new(7, 9).offset(), 9);
        assert_eq!(Lsn::new(7, 9).to_string(), "00000007:00000009");
        assert!(Lsn::ZERO < Lsn::new(0, 1));
    }

    #[test]
    fn zeros_are_told_from_one_bit_anywhere() {
        for len in [0, 1, 63, 64, 65, 512, 4096] {
            let mut bytes = vec![0; len];
            assert!(is_zeros(&bytes));
            for at in 0..len {
                bytes[at] = 128;
                assert!(!is_zeros(&bytes), "{at} of {len}");
                bytes[at] = 0;
            }
        }
    }

    #[test]
    fn rounding_reports_overflow() {
        assert_eq!(round_up(0, 4096), Some(0));
        assert_eq!(round_up(1, 4096), Some(4096));
        assert_eq!(round_up(u32::MAX, 4096), None);
        assert_eq!(len32(usize::MAX), u32::MAX);
    }
}
