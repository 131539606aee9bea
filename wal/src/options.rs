//! The options of a log and their limits.

use seawall_disk::OutOfRange;

/// Minimum number of blocks of a segment.
const SEGMENT_BLOCKS_MIN: u32 = 6;

/// Largest `segment_bytes`.
const SEGMENT_BYTES_MAX: u32 = u32::MAX - 65535;

/// How write groups are made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Strategy {
    /// `Direct` where the file system supports it well, otherwise `Sync`.
    #[default]
    Auto,
    /// Writes with O_DIRECT and RWF_DSYNC: each write is durable when it completes.
    Direct,
    /// Writes through the page cache, then one fdatasync for all writes to the file that have completed.
    Sync,
}

/// How the log's own thread carries out writes. A lone waiting thread writes on its own, with either backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Backend {
    /// io_uring where the kernel allows it, otherwise POSIX calls.
    #[default]
    Auto,
    /// POSIX calls: the log's own thread carries out one operation at a time.
    Posix,
    /// io_uring: up to [`Options::writes_in_flight_max`] writes in flight. Open fails where the kernel has no io_uring.
    IoUring,
}

/// How open treats bytes at the end of the log that a crash cannot have left on a sound medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum UnexplainedTail {
    /// Refuse to open, with an error that lists them.
    #[default]
    Refuse,
    /// Drop them, and list them in the report.
    Drop,
}

/// How open proceeds if acknowledged bytes of the log are damaged or missing. A log without damage opens the same way
/// in every mode. `docs/durability.md` has the table of modes and kinds of damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum OpenMode {
    /// Refuse to open, list every damaged range, and change nothing.
    #[default]
    Strict,
    /// Quarantine the damaged ranges and open the log for reading and writing, if everything else about the log is
    /// certain; otherwise refuse as `Strict` does. Quarantine changes nothing on disk: a later strict open still
    /// refuses.
    Degraded,
    /// Open for reading only: serve every valid group that can be found, in order, and list the damaged ranges. Nothing
    /// on disk changes, and writes fail with [`Error::ReadOnly`](crate::Error::ReadOnly).
    Salvage,
}

/// Options of one log. `Options::default()` suits most uses.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct Options {
    /// Length of new segment files in bytes, rounded down to the block size: from 6 blocks (a header, a group, a mark,
    /// a footer and room) to 4 GiB - 64 KiB (offsets have 32 bits). Bounds the largest record. Default 64 MiB.
    pub segment_bytes: u32,
    /// How write groups are made durable. Default [`Strategy::Auto`].
    pub strategy: Strategy,
    /// How the log's own thread carries out writes. Default [`Backend::Auto`].
    pub backend: Backend,
    /// Number of spare segments prepared ahead, 3 to 64. A segment is used only when the name of the next one is
    /// durable, and one spare is kept for control records and for reopening on a full disk. Default 3.
    pub spare_segments: u32,
    /// Size of a write group, in bytes, from which the next record starts a new group: 4 KiB to 64 MiB.
    /// [`Options::in_flight_bytes_max`] bounds it too. Default 1 MiB.
    pub group_bytes: u32,
    /// Bytes enqueued and not yet durable from which on `append` blocks: 64 KiB to 4 GiB. A record larger than this
    /// waits until everything before it is durable. Default 64 MiB.
    pub queue_bytes: u32,
    /// How many callbacks and futures may be outstanding, 1 to 16,777,216. One is outstanding from
    /// [`Ticket::on_durable`](crate::Ticket::on_durable), or from the poll of a ticket, until the callback or `wake`
    /// has returned. At this number `append` blocks until an eighth of them are done. Inside a callback it never
    /// blocks; there it fails at twice this number. Default 65,536.
    pub callbacks_max: u32,
    /// How many file descriptors the sealed segments share, 8 to 1,000,000. Beyond it the log closes segments that were
    /// not read lately and opens them again when they are read. A segment takes 1 descriptor, or 2 on ext4 and xfs and
    /// wherever direct reads work. The log holds other descriptors as well: see "File descriptors" in
    /// `docs/durability.md`. Default 64.
    pub descriptors_max: u32,
    /// How many write groups may be in flight at a time, 1 to 64. They are acknowledged in log order in any case.
    /// Default 32.
    pub writes_in_flight_max: u32,
    /// Bytes in flight (written or being written, and not yet durable) beyond which no further group is written: one
    /// block to 64 MiB, in whole blocks. At most twice as much is in flight at a time, so open reads twice as much
    /// after the end of the log and of every spare. No group of several records is longer than this; a longer record is
    /// written alone, after a mark. Raise it where a sync takes many milliseconds. Default 2 MiB.
    pub in_flight_bytes_max: u32,
    /// How long a waiting thread yields the CPU before it sleeps, in microseconds, 0 to 10,000. Threads do not yield
    /// while a write takes longer than a third of this, or while other processes compete for the CPU. Set it to 0 under
    /// a CPU quota. Default 1000.
    pub yield_max_us: u32,
    /// Milliseconds after which a lazy record is written if no other write has included it; also how long appends must
    /// pause until the log writes a mark. 1 to 60,000. Default 50.
    pub idle_ms: u32,
    /// How to treat bytes at the end of the log that no crash can have left. Default [`UnexplainedTail::Refuse`].
    pub unexplained_tail: UnexplainedTail,
    /// Whether a strict open reads and checks every block of every segment; the other modes always do. If not, open
    /// reads only the ends of a segment that has a valid footer and that a watermark proves durable; damage inside such
    /// a segment is found when it is read. Default `false`.
    pub verify_on_open: bool,
    /// How to treat damage. Default [`OpenMode::Strict`]; ignored when a log is created.
    pub mode: OpenMode,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            strategy: Strategy::Auto,
            backend: Backend::Auto,
            spare_segments: 3,
            group_bytes: 1 << 20,
            queue_bytes: 64 << 20,
            callbacks_max: 65_536,
            descriptors_max: 64,
            writes_in_flight_max: 32,
            in_flight_bytes_max: 2 << 20,
            yield_max_us: 1000,
            idle_ms: 50,
            unexplained_tail: UnexplainedTail::Refuse,
            verify_on_open: false,
            mode: OpenMode::Strict,
        }
    }
}

seawall_disk::setters!(Options {
    segment_bytes: u32 => with_segment_bytes,
    strategy: Strategy => with_strategy,
    backend: Backend => with_backend,
    spare_segments: u32 => with_spare_segments,
    group_bytes: u32 => with_group_bytes,
    queue_bytes: u32 => with_queue_bytes,
    callbacks_max: u32 => with_callbacks_max,
    descriptors_max: u32 => with_descriptors_max,
    writes_in_flight_max: u32 => with_writes_in_flight_max,
    in_flight_bytes_max: u32 => with_in_flight_bytes_max,
    yield_max_us: u32 => with_yield_max_us,
    idle_ms: u32 => with_idle_ms,
    unexplained_tail: UnexplainedTail => with_unexplained_tail,
    verify_on_open: bool => with_verify_on_open,
    mode: OpenMode => with_mode,
});

impl Options {
    /// Checks the limits that depend on the block size of the log.
    pub(crate) fn check_blocks(&self, block_bytes: u32) -> Result<(), OutOfRange> {
        let min = SEGMENT_BLOCKS_MIN.saturating_mul(block_bytes);
        OutOfRange::check("segment_bytes", self.segment_bytes, min, SEGMENT_BYTES_MAX)
    }

    /// Checks every option against its range.
    ///
    /// # Errors
    /// The first option whose value is outside its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let ranges = [
            ("segment_bytes", self.segment_bytes, SEGMENT_BLOCKS_MIN * 4096, SEGMENT_BYTES_MAX),
            ("spare_segments", self.spare_segments, 3, 64),
            ("group_bytes", self.group_bytes, 4096, 64 << 20),
            ("queue_bytes", self.queue_bytes, 64 << 10, u32::MAX),
            ("callbacks_max", self.callbacks_max, 1, 1 << 24),
            ("descriptors_max", self.descriptors_max, 8, 1_000_000),
            ("writes_in_flight_max", self.writes_in_flight_max, 1, 64),
            ("in_flight_bytes_max", self.in_flight_bytes_max, 4096, 64 << 20),
            ("yield_max_us", self.yield_max_us, 0, 10_000),
            ("idle_ms", self.idle_ms, 1, 60_000),
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
    fn ranges_are_checked() {
        assert_eq!(Options::default().check(), Ok(()));
        let low = Options { segment_bytes: 4096, ..Options::default() };
        assert_eq!(low.check().unwrap_err().option, "segment_bytes");
        let none = Options { writes_in_flight_max: 0, ..Options::default() };
        assert_eq!(
            none.check().unwrap_err(),
            OutOfRange { option: "writes_in_flight_max", value: 0, min: 1, max: 64 }
        );
    }
}
