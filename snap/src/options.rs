//! Options of a catalog, with their limits.

use crate::format::{CHUNK_LIMIT_MAX, CHUNK_LIMIT_MIN};
use seawall_disk::OutOfRange;

/// How snapshots are written, read, kept and received.
///
/// A writer holds 2 to 16 chunks in its queue, 8 MiB if that is within these limits, three more for each
/// helper, and the memory that zstd needs at its level: less than 24 MiB with the defaults. A reader holds each
/// chunk twice, as stored and as content: less than 32 MiB. A reader takes the chunk size from the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Options {
    /// Snapshots kept per group, 1 to 1024 (default 2). A snapshot is removed once this many newer ones are
    /// *verified*.
    pub keep: u32,
    /// Whether the log is released only up to the second newest verified snapshot (default true), so that there
    /// is one to fall back to. Ignored if `keep` is 1.
    pub fall_back: bool,
    /// Helper threads for each writer and reader, 0 to 16. The first does I/O; in a writer the others compress.
    /// A reader decompresses on the caller's thread, or from 3 helpers on, on all but two of them instead. The
    /// I/O helper of a reader also decompresses when it would otherwise wait. With 0 the caller's thread does
    /// everything, as required with a simulated disk. Default 2, or 1 on a machine with one processor.
    pub helpers: u32,
    /// Level of zstd, -7 to 22 (default 1). `None` stores everything uncompressed.
    pub level: Option<i32>,
    /// Size of a chunk, in bytes of content, 4 KiB to 64 MiB (default 1 MiB).
    pub chunk_bytes: u32,
    /// Bytes after which a file that is being written is synced, at least 64 KiB (default 8 MiB). Bounds the
    /// dirty pages, and lets the device work while the rest is compressed. It should not exceed the size of the
    /// chunks in the queue.
    pub sync_bytes: u64,
    /// Largest file that is accepted from a sender, in bytes (default no limit except
    /// [`Options::receive_spare_bytes`]).
    pub receive_bytes_max: u64,
    /// Bytes of the file system that transfers leave free for a log on it (default 256 MiB, four of its
    /// segments of default size). A larger snapshot is refused before anything is written. Bytes that transfers
    /// in progress still have to write count as used.
    pub receive_spare_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            keep: 2,
            fall_back: true,
            helpers: if cores > 1 { 2 } else { 1 },
            level: Some(1),
            chunk_bytes: 1 << 20,
            sync_bytes: 8 << 20,
            receive_bytes_max: u64::MAX,
            receive_spare_bytes: 256 << 20,
        }
    }
}

seawall_disk::setters!(Options {
    keep: u32 => with_keep,
    fall_back: bool => with_fall_back,
    helpers: u32 => with_helpers,
    level: Option<i32> => with_level,
    chunk_bytes: u32 => with_chunk_bytes,
    sync_bytes: u64 => with_sync_bytes,
    receive_bytes_max: u64 => with_receive_bytes_max,
    receive_spare_bytes: u64 => with_receive_spare_bytes,
});

/// Number of chunks in the queue between threads: enough to continue while a file is synced.
pub(crate) fn depth(chunk_bytes: u32) -> usize {
    const BYTES: u32 = 8 << 20;
    (BYTES / chunk_bytes.max(1)).clamp(2, 16) as usize
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::check("keep", self.keep, 1, 1024)?;
        OutOfRange::check("helpers", self.helpers, 0, 16)?;
        OutOfRange::check("level", self.level.unwrap_or(0), -7, 22)?;
        OutOfRange::check("chunk_bytes", self.chunk_bytes, CHUNK_LIMIT_MIN, CHUNK_LIMIT_MAX)?;
        OutOfRange::check("sync_bytes", self.sync_bytes, 64 << 10, u64::MAX)
    }

    /// Number of newer verified snapshots that the snapshot has up to which the log is released.
    pub(crate) fn release_behind(&self) -> usize {
        usize::from(self.fall_back && self.keep > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_outside_of_their_limits_are_named() {
        let good = Options::default();
        assert_eq!(good.check(), Ok(()));
        for (option, bad) in [
            ("keep", Options { keep: 0, ..good }),
            ("keep", Options { keep: 1025, ..good }),
            ("helpers", Options { helpers: 17, ..good }),
            ("level", Options { level: Some(23), ..good }),
            ("level", Options { level: Some(-8), ..good }),
            ("chunk_bytes", Options { chunk_bytes: 4095, ..good }),
            ("chunk_bytes", Options { chunk_bytes: (64 << 20) + 1, ..good }),
            ("sync_bytes", Options { sync_bytes: 0, ..good }),
        ] {
            assert_eq!(bad.check().map_err(|e| e.option), Err(option));
        }
    }
}
