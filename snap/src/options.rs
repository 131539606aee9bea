//! Options of a catalog, with their limits.

use crate::format::{CHUNK_LIMIT_MAX, CHUNK_LIMIT_MIN};

/// How snapshots are written, read, kept and received.
///
/// A writer holds 2 to 16 chunks on their way, 8 MiB if those are enough, and three for each helper; and what zstd
/// needs at the level: with the defaults less than 24 MiB. A reader has each of them twice, as stored and as content:
/// less than 32 MiB. It takes the chunk size from the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Snapshots kept per group, 1 to 1024 (2). A snapshot goes when this many newer ones are *verified*.
    pub keep: u32,
    /// Whether the log is released only up to the second newest verified snapshot (yes), so that there is
    /// something to fall back to. Of no effect if only one is kept.
    pub fall_back: bool,
    /// Threads beside the caller's for each writer and reader, 0 to 16: the first does I/O, all others compress. A
    /// reader decompresses on the caller's thread, and from 3 on, on all but two of these instead; on the first
    /// as well, when it would otherwise wait. 0 does everything on the caller's thread, as a simulated disk wants
    /// it. By default 2, or 1 on a machine with one processor.
    pub helpers: u32,
    /// Level of zstd, -7 to 22 (1); `None` stores everything plain.
    pub level: Option<i32>,
    /// Bytes of content per chunk, 4 KiB to 64 MiB (1 MiB).
    pub chunk_bytes: u32,
    /// Bytes after which a file being written is synced, 64 KiB or more (8 MiB): bounds the dirty pages, and
    /// lets the device work while the rest is compressed. Better no more than what is on its way.
    pub sync_bytes: u64,
    /// Largest file that is accepted from a sender, in bytes (no limit but [`Options::receive_spare_bytes`]).
    pub receive_bytes_max: u64,
    /// Bytes that transfers leave free on the file system, for a log on the same one (256 MiB: four of its segments by
    /// default). A larger snapshot is refused before anything of it is written. What all transfers under way still have
    /// to write counts as used.
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

/// Chunks on their way between threads: enough to go on with while a file is synced.
pub(crate) fn depth(chunk_bytes: u32) -> usize {
    const BYTES: u32 = 8 << 20;
    (BYTES / chunk_bytes.max(1)).clamp(2, 16) as usize
}

/// An option that is not within its limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OutOfRange {
    pub(crate) option: &'static str,
    pub(crate) value: i64,
    pub(crate) min: i64,
    pub(crate) max: i64,
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        let within = |option, value, min, max| {
            if (min..=max).contains(&value) { Ok(()) } else { Err(OutOfRange { option, value, min, max }) }
        };
        within("keep", self.keep.into(), 1, 1024)?;
        within("helpers", self.helpers.into(), 0, 16)?;
        within("level", self.level.unwrap_or(0).into(), -7, 22)?;
        within("chunk_bytes", self.chunk_bytes.into(), CHUNK_LIMIT_MIN.into(), CHUNK_LIMIT_MAX.into())?;
        let sync_bytes = i64::try_from(self.sync_bytes).unwrap_or(i64::MAX);
        within("sync_bytes", sync_bytes, 64 << 10, i64::MAX)
    }

    /// Which of the verified snapshots, counted from the newest, the log is released up to.
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
