//! Options of an engine, and the check of their ranges.
//!
//! Every range is checked before anything is opened. An error names the option, its value and its range.

use seawall_wal::disk::OutOfRange;

use crate::types::{Compression, Owner};

/// Options for creating or opening an engine. `Default` suits a server disk.
///
/// ```
/// let mut options = seawall::Options::default();
/// options.log.segment_bytes = 16 << 20;
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Options {
    /// Options of the underlying log, such as the segment size.
    pub log: seawall_wal::Options,
    /// Largest number of groups whose small state one record may copy out of the oldest segment, 1 to 1024; default
    /// 64.
    ///
    /// A higher value frees segments sooner. A lower value keeps the records shorter: a group cannot be written while
    /// its state is being copied. Apart from its last piece of state, a record copies at most 64 KiB.
    pub reemit_groups_max: usize,
    /// How far the log may exceed twice its live data before the live entries of its oldest segments are copied to
    /// its end, so that these segments can be released; in bytes, 0 to 2^40, default 256 MiB.
    ///
    /// Copying is throttled to a share of what callers write. It speeds up as the excess grows and is unthrottled at
    /// twice this value. While the disk is full, the value counts as 0.
    pub slack_bytes: usize,
    /// Which payloads are compressed, and how; `None` compresses nothing. Default: payloads from 8 KiB on, at level
    /// 1. A build without the feature `zstd` compresses nothing.
    pub compression: Option<Compression>,
    /// Largest metadata of a group in bytes, 0 to 2^20; default 64 KiB. Each value counts with its length and 64
    /// bytes for its key.
    ///
    /// Metadata is kept in memory, and is copied whenever the segment that holds it is to be released.
    pub meta_bytes_max: usize,
    /// Whether sealed segments that are read often are memory-mapped, so that their payloads are returned without a
    /// copy. Default off.
    ///
    /// This is faster (`benches/README.md` has figures), but if the medium fails to deliver a page that has left the
    /// page cache, the process ends with SIGBUS instead of an error. A segment is read in full before it is mapped;
    /// after such a crash that read fails, so the segment is not mapped again and its entries are read as without
    /// this option. A payload that the caller keeps also keeps the file of its segment.
    pub map_sealed: bool,
    /// Number of threads that take snapshots in the background, shared by all groups, 1 to 64; default 2. The threads
    /// are started when the first snapshot is taken. Each uses up to 24 MiB while it takes a snapshot. If all are
    /// busy, further snapshots wait.
    pub snapshot_threads: usize,
    /// The owner of the log. A log without an owner gets this one; opening a log with another owner fails with
    /// [`Error::OtherOwner`](crate::Error::OtherOwner). With `None`, the default, nothing is compared or written.
    pub owner: Option<Owner>,
    /// Size of the cache of the newest payloads of all groups, in bytes, 0 to 2^40; default 64 MiB, 0 turns it off.
    /// Reading a cached payload takes no system call.
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

seawall_wal::disk::setters!(Options {
    log: seawall_wal::Options => with_log,
    reemit_groups_max: usize => with_reemit_groups_max,
    slack_bytes: usize => with_slack_bytes,
    compression: Option<Compression> => with_compression,
    meta_bytes_max: usize => with_meta_bytes_max,
    map_sealed: bool => with_map_sealed,
    snapshot_threads: usize => with_snapshot_threads,
    owner: Option<Owner> => with_owner,
    cache_bytes: usize => with_cache_bytes,
});

impl Options {
    /// Checks the range of every option of the engine. The log checks its own options.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        let Compression { from_bytes, level } =
            self.compression.unwrap_or(Compression { from_bytes: 512, level: 1 });
        let ranges = [
            ("compression.from_bytes", from_bytes, 512, 1 << 26),
            ("compression.level", level, 1, 19),
            ("reemit_groups_max", self.reemit_groups_max, 1, 1024),
            ("slack_bytes", self.slack_bytes, 0, 1 << 40),
            ("meta_bytes_max", self.meta_bytes_max, 0, 1 << 20),
            ("snapshot_threads", self.snapshot_threads, 1, 64),
            ("cache_bytes", self.cache_bytes, 0, 1 << 40),
        ];
        ranges
            .into_iter()
            .try_for_each(|(option, value, min, max)| OutOfRange::check(option, value, min, max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named() {
        assert_eq!(Options::default().check(), Ok(()));
        for bad in [0, 1025, 1 << 40] {
            let options = Options { reemit_groups_max: bad, ..Options::default() };
            let text = options.check().map_err(|e| e.to_string());
            assert_eq!(text, Err(format!("option reemit_groups_max is {bad}; it must be 1 to 1024")));
        }
    }
}
