//! What can be chosen when an engine is created or opened.
//! Place on the data's way: read once, before the log is touched.
//! Invariants: every limit states its reason and is checked before anything is opened.
//! Fails: with the name, the value and the range of the option that is out of range.

use crate::types::{Compression, Owner};

/// Options of an engine. `Default` suits a server disk.
///
/// ```
/// let mut options = seawall::Options::default();
/// options.log.segment_bytes = 16 << 20;
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// Options of the log below: segment size in bytes, strategy.
    pub log: seawall_wal::Options,
    /// How many groups' small state one record may move out of the oldest segment, 1 to 1024; default 64.
    ///
    /// More frees segments sooner, fewer keeps records shorter: a group is not written while its state is copied.
    /// No record takes more than about 64 KiB of it, but for the last piece.
    pub reemit_groups_max: usize,
    /// Bytes that the log may be longer than twice the live entries in it, 0 to 2^40; beyond that the oldest
    /// segments' live entries are copied to its end, so that they can go: paced by what callers write, the faster
    /// the longer the log is, and at full speed from twice as many bytes on. While the disk is full it counts as 0. Default
    /// 256 MiB.
    pub slack_bytes: usize,
    /// When and how payloads are compressed; `None` leaves them as they are. Default: from 8 KiB on, at level 1.
    /// Without the feature `zstd` nothing is compressed.
    pub compression: Option<Compression>,
    /// Bytes of metadata that a group may have, 0 to 2^20; each value counts with 64 for its key. Default 64 KiB.
    ///
    /// It is in memory, and is copied whenever the segment that has it is to go.
    pub meta_bytes_max: usize,
    /// Whether sealed segments that are read often are mapped, so that payloads are handed out without a copy.
    ///
    /// Faster (`benches/README.md` has figures), at a price: a page that leaves the cache and that the medium then
    /// fails to deliver ends the process with SIGBUS instead of an error. All of a segment is read once before it is
    /// mapped, so after such an end its entries are read as without this option. A payload that is kept
    /// keeps its segment's file. Default off.
    pub map_sealed: bool,
    /// Threads that take snapshots in the background, for all groups together, 1 to 64; default 2. They are started when
    /// the first snapshot is taken. Each needs up to 24 MiB while it takes one. Groups wait for their turn.
    pub snapshot_threads: usize,
    /// Whose log it is. A new log, or one that does not say whose it is, says so from then on; opening the log of another
    /// is [`Error::OtherOwner`](crate::Error::OtherOwner). `None`, the default: nothing is compared or written.
    pub owner: Option<Owner>,
    /// Bytes of the newest payloads, over all groups, that are kept in memory so that reading them takes no
    /// call; 0 to 2^40, 0 keeps none. Default 64 MiB.
    pub cache_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            log: seawall_wal::Options::default(),
            reemit_groups_max: 64,
            slack_bytes: 256 << 20,
            compression: Some(Compression { from_bytes: 8 << 10, level: 1 }),
            meta_bytes_max: 64 << 10,
            map_sealed: false,
            snapshot_threads: 2,
            owner: None,
            cache_bytes: 64 << 20,
        }
    }
}

/// An option outside its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("option {name} is {value}; it must be {min} to {max}")]
pub struct OutOfRange {
    /// The field's name.
    pub name: &'static str,
    /// What it was.
    pub value: usize,
    /// Smallest value allowed.
    pub min: usize,
    /// Largest value allowed.
    pub max: usize,
}

impl Options {
    /// Checks every option of this floor; the log checks its own.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        let Compression { from_bytes, level } =
            self.compression.unwrap_or(Compression { from_bytes: 512, level: 1 });
        let ranges = [
            ("compression.from_bytes", from_bytes, 512, 1 << 26),
            ("compression.level", level, 1, 19),
            ("restate_groups_max", self.reemit_groups_max, 1, 1024),
            ("slack_bytes", self.slack_bytes, 0, 1 << 40),
            ("meta_bytes_max", self.meta_bytes_max, 0, 1 << 20),
            ("snapshot_threads", self.snapshot_threads, 1, 64),
            ("cache_bytes", self.cache_bytes, 0, 1 << 40),
        ];
        for (name, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                return Err(OutOfRange { name, value, min, max });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named() {
        assert_eq!(Options::default().check(), Ok(()));
        for bad in [0, 1025, usize::MAX] {
            let options = Options { reemit_groups_max: bad, ..Options::default() };
            let text = options.check().map_err(|e| e.to_string());
            assert_eq!(text, Err(format!("option restate_groups_max is {bad}; it must be 1 to 1024")));
        }
    }
}
