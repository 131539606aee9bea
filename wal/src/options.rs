//! What a user may choose, with the reason of every limit.

/// Blocks that a segment has at least.
const SEGMENT_BLOCKS_MIN: u32 = 6;

/// How groups are made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Strategy {
    /// Direct where the file system supports it well, else sync.
    #[default]
    Auto,
    /// O_DIRECT writes with RWF_DSYNC: each write is durable when it completes.
    Direct,
    /// Writes through the page cache, then one fdatasync for all that completed before it.
    Sync,
}

/// Who carries out the writes of more than one waiter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Backend {
    /// io_uring where the kernel allows it, else POSIX calls.
    #[default]
    Auto,
    /// POSIX calls: one operation of the log's own thread at a time.
    Posix,
    /// io_uring: as many operations in flight as [`Options::in_flight`] says.
    IoUring,
}

/// What open does with bytes at the log's end that a crash of a sound medium cannot have left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UnexplainedTail {
    /// Refuse with an error that names them.
    #[default]
    Refuse,
    /// Drop them, with a report.
    Drop,
}

/// What open does with a log of which acknowledged bytes are damaged or missing. A log that is whole is the
/// same in every mode. `docs/durability.md` has the table of modes and kinds of damage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OpenMode {
    /// Refuse, naming every damaged place, and change nothing.
    #[default]
    Strict,
    /// Fence the damage off if everything else about the log is certain, and open it for reading and
    /// writing; else refuse as strict mode does. Nothing on disk is changed by fencing: a strict open goes on
    /// refusing.
    Degraded,
    /// Open for reading only: serve every valid group that can be found, in order, and list what is lost.
    /// Nothing on disk is changed, and no write is taken.
    Salvage,
}

/// Options of one log; `Options::default()` is right for most.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Length of new segment files in bytes, rounded down to the block size. 6 blocks (a header, a group, a
    /// mark, a footer and room) to 4 GiB - 64 KiB (offsets are 32 bits). Bounds the largest record. Default 64 MiB.
    pub segment_bytes: u32,
    /// How groups are made durable. Default [`Strategy::Auto`].
    pub strategy: Strategy,
    /// Who carries out writes. A lone waiter writes on its own thread either way. Default [`Backend::Auto`].
    pub backend: Backend,
    /// Segments prepared ahead, 3 to 64: appending in one needs the next one's name durable, and one is
    /// kept for control records and for reopening on a full disk. Default 3.
    pub spare_segments: u32,
    /// Bytes of a group at which the next record starts another, 4 KiB to 64 MiB; `in_flight_bytes` bounds it too.
    /// Default 1 MiB.
    pub group_bytes: u32,
    /// Bytes enqueued and not yet durable at which `append` blocks, 64 KiB to 4 GiB. A record larger than
    /// that waits until it is alone. Default 64 MiB.
    pub queue_bytes: u32,
    /// Callbacks and futures that may be outstanding: from [`Ticket::on_durable`](crate::Ticket::on_durable), or the
    /// poll of a ticket, until the callback or `wake` has returned. At that number `append` blocks until an eighth
    /// of them are done; inside of a callback it never blocks, and fails at twice the number.
    /// 1 to 16,777,216. Default 65,536.
    pub callbacks_max: u32,
    /// File descriptors that sealed segments share, 8 to 1,000,000: a segment beyond it is opened again when it is read. A
    /// segment takes 1, or 2 on ext4 and xfs and wherever direct reads work. The log holds others besides:
    /// `docs/durability.md` has the sum. Default 64.
    pub descriptors_max: u32,
    /// Groups being written at a time, 1 to 64; their order of acknowledgement does not change. Default 32.
    pub writes_in_flight_max: u32,
    /// Bytes of groups written and not yet durable at which no further group is written, a block to 64 MiB, in whole
    /// blocks. Open reads twice as much behind the log's end, and of every spare. No group of several records is
    /// longer; a longer record is written alone, behind a mark. To be raised where a sync takes many milliseconds:
    /// twice as much is written in that time at most. Default 2 MiB.
    pub in_flight_bytes_max: u32,
    /// Longest time that a thread that waits lets others run before it sleeps, in microseconds, 0 to 10,000. Of no
    /// weight on devices of which a write takes more than a third of it, or while others want the
    /// processors. 0 where threads that wait must use none, such as below a quota. Default 1000.
    pub yield_max_us: u32,
    /// Milliseconds after which a lazy record is written if no other write took it along, and without appends after
    /// which a mark ends the burst. 1 to 60,000. Default 50.
    pub idle_ms: u32,
    /// What to do with suspect bytes at the end of the log. Default [`Suspect::Refuse`].
    pub unexplained_tail: UnexplainedTail,
    /// Whether open reads and checks every block of every segment. Otherwise a segment that its footer seals,
    /// and that a watermark says is durable, is taken on the footer's word, and what rotted in it since is
    /// found when it is read. Default `false`.
    pub verify_on_open: bool,
    /// What to do with damage. Default [`OpenMode::Strict`]; of no weight when a log is created.
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

/// An option outside its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange {
    /// Name of the field of [`Options`].
    pub option: &'static str,
    /// The value given.
    pub value: u32,
    /// Smallest value allowed.
    pub min: u32,
    /// Largest value allowed.
    pub max: u32,
}

impl Options {
    /// Checks what depends on the block size of the log.
    pub(crate) fn check_blocks(&self, block_bytes: u32) -> Result<(), OutOfRange> {
        let min = SEGMENT_BLOCKS_MIN.saturating_mul(block_bytes);
        if self.segment_bytes < min {
            let (option, value) = ("segment_bytes", self.segment_bytes);
            return Err(OutOfRange { option, value, min, max: u32::MAX - 65535 });
        }
        Ok(())
    }

    /// Checks every range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let ranges = [
            ("segment_bytes", self.segment_bytes, SEGMENT_BLOCKS_MIN * 4096, u32::MAX - 65535),
            ("spares", self.spare_segments, 3, 64),
            ("group_bytes", self.group_bytes, 4096, 64 << 20),
            ("queue_bytes", self.queue_bytes, 64 << 10, u32::MAX),
            ("answers_max", self.callbacks_max, 1, 1 << 24),
            ("descriptors", self.descriptors_max, 8, 1_000_000),
            ("in_flight", self.writes_in_flight_max, 1, 64),
            ("in_flight_bytes", self.in_flight_bytes_max, 4096, 64 << 20),
            ("patience_us", self.yield_max_us, 0, 10_000),
            ("idle_ms", self.idle_ms, 1, 60_000),
        ];
        for (option, value, min, max) in ranges {
            if !(min..=max).contains(&value) {
                return Err(OutOfRange { option, value, min, max });
            }
        }
        Ok(())
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
        assert_eq!(none.check().unwrap_err(), OutOfRange { option: "in_flight", value: 0, min: 1, max: 64 });
    }
}
