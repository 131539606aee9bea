//! A write group while it is in memory: filled under the state lock, then written as one piece.
//!
//! The position of a group is fixed when it is started, so records know their LSN when they are enqueued. The bytes
//! stay readable until the group is durable. Buffers come from a pool and return to it.

use crate::format::layout::{GROUP_HEADER_BYTES, RECORD_ALIGN};
use crate::format::{GroupHeader, RecordBuilder};
use crate::segment::open_segment::OpenSegment;
use crate::types::{Durability, GroupKind, Lsn, len32};
use seawall_disk::AlignedBuf;
use std::sync::Arc;

/// How many buffers the pool keeps, and the capacity of the largest that it keeps, in bytes: what many threads fill
/// while one flush runs.
const POOL_BUFFERS: usize = 16;
const POOL_BUFFER_BYTES_MAX: usize = 4 << 20;

/// One write group, from its first record until it is durable.
#[derive(Debug)]
pub(crate) struct WriteGroup {
    /// Number of the group, counted since the log was opened; a ticket names its group by it.
    pub(crate) ordinal: u64,
    /// The segment it is written to.
    pub(crate) segment: OpenSegment,
    /// Offset of its first byte in the segment file.
    pub(crate) start: u32,
    /// Kind of the group.
    pub(crate) kind: GroupKind,
    /// End of the log before this segment; the same in all groups of a segment.
    pub(crate) previous_end: Lsn,
    /// Whether it should be written without waiting for more records.
    pub(crate) wanted: bool,
    /// Number of records so far.
    pub(crate) record_count: u32,
    /// Lowest live segment, as its header records it; set when the group is closed.
    pub(crate) first_live: u32,
    /// Bytes of records, without padding; set when the group is padded.
    body_bytes: u32,
    /// Sum of the records' lengths in bytes, for back-pressure.
    pub(crate) record_bytes: u64,
    /// When it was issued, in nanoseconds of the log's monotonic clock; 0 before.
    pub(crate) issued_ns: u64,
    arrivals: Arrivals,
    /// Whether no other write was in flight when it was issued.
    pub(crate) alone: bool,
    buf: Arc<AlignedBuf>,
}

impl WriteGroup {
    /// An empty group at `start` of `segment`.
    pub(crate) fn start(
        ordinal: u64,
        segment: OpenSegment,
        start: u32,
        kind: GroupKind,
        previous_end: Lsn,
        buf: Arc<AlignedBuf>,
    ) -> WriteGroup {
        let mut group = WriteGroup {
            ordinal,
            segment,
            start,
            kind,
            previous_end,
            wanted: false,
            record_count: 0,
            first_live: 0,
            body_bytes: 0,
            record_bytes: 0,
            issued_ns: 0,
            arrivals: Arrivals::default(),
            alone: false,
            buf,
        };
        group.bytes_mut().resize(GROUP_HEADER_BYTES);
        group
    }

    /// Number of records that users appended: a footer is a record of the log itself.
    pub(crate) fn user_records(&self) -> u32 {
        if self.kind == GroupKind::Data { self.record_count } else { 0 }
    }

    /// Position of the group's first byte.
    pub(crate) fn lsn(&self) -> Lsn {
        Lsn::new(self.segment.sequence, self.start)
    }

    /// Offset of the next record, inside the group.
    fn next_at(&self) -> usize {
        self.buf.len().next_multiple_of(RECORD_ALIGN as usize)
    }

    /// Length of the group so far, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    /// Length of the group in bytes, without padding, with one more record of `bytes`.
    pub(crate) fn len_with(&self, bytes: usize) -> usize {
        self.next_at().saturating_add(bytes)
    }

    /// Adds a record and returns its position. The caller has made sure that it fits.
    pub(crate) fn push(&mut self, batch: &RecordBuilder, class: Durability, head_crc: u32) -> Lsn {
        let at = self.next_at();
        let lsn = Lsn::new(self.segment.sequence, self.start + len32(at));
        let salt = self.segment.salt;
        let buf = self.bytes_mut();
        buf.resize(at);
        batch.emit(class, head_crc, salt, lsn, &mut |bytes| buf.extend(bytes));
        self.record_count += 1;
        self.record_bytes += batch.encoded_len() as u64;
        lsn
    }

    /// Notes that its newest record arrived at `now_ns`. It need not be called for every record.
    pub(crate) fn note_arrival(&mut self, now_ns: u64) {
        self.arrivals.note(self.record_count, now_ns);
    }

    /// How long its records have waited until `now_ns`, all together, in nanoseconds.
    pub(crate) fn waited_ns(&self, now_ns: u64) -> u64 {
        let mut arrivals = self.arrivals;
        arrivals.note(self.record_count, self.issued_ns);
        let until_ns = now_ns.saturating_sub(arrivals.first_ns);
        until_ns.saturating_mul(u64::from(self.record_count)).saturating_sub(arrivals.sum_ns)
    }

    /// Pads the group to the block boundary (INV-4); no record may be added afterwards. Returns the offset of its end.
    pub(crate) fn pad(&mut self, block_bytes: u32) -> u32 {
        self.body_bytes = len32(self.buf.len() - GROUP_HEADER_BYTES);
        let padded = self.buf.len().next_multiple_of(block_bytes as usize);
        self.bytes_mut().resize(padded);
        self.end()
    }

    /// Offset of the end of the group, once it is padded.
    pub(crate) fn end(&self) -> u32 {
        self.start + len32(self.buf.len())
    }

    /// Writes the group's header. Call it last, when the group is issued.
    pub(crate) fn seal(&mut self, watermark: Lsn, wall_clock_ms: u64) {
        let header = GroupHeader {
            kind: self.kind,
            lsn: self.lsn(),
            watermark,
            previous_end: self.previous_end,
            first_live: self.first_live,
            record_count: self.record_count,
            wall_clock_ms,
            body_bytes: self.body_bytes,
        };
        let salt = self.segment.salt;
        header.encode(salt, self.bytes_mut());
    }

    /// The bytes of the group, shared with the operation that writes them.
    pub(crate) fn buffer(&self) -> &Arc<AlignedBuf> {
        &self.buf
    }

    /// Returns the buffer, for the pool.
    pub(crate) fn into_buffer(self) -> Arc<AlignedBuf> {
        self.buf
    }

    /// Copies the bytes at `at`. Returns `false` if the group does not have all of them.
    pub(crate) fn read(&self, at: Lsn, out: &mut [u8]) -> bool {
        if at.segment() != self.segment.sequence || at.offset() < self.start {
            return false;
        }
        let from = (at.offset() - self.start) as usize;
        match self.buf.get(from..from.saturating_add(out.len())) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    fn bytes_mut(&mut self) -> &mut AlignedBuf {
        // The buffer is shared only after the group is issued, so `make_mut` does not copy; if it did, that would be
        // correct too.
        Arc::make_mut(&mut self.buf)
    }
}

/// When the records of a group arrived, from the times of a few of them.
#[derive(Clone, Copy, Debug, Default)]
struct Arrivals {
    /// When the first record arrived, in nanoseconds.
    first_ns: u64,
    /// Records counted so far, and when the newest of them arrived, in nanoseconds after the first.
    counted: u32,
    newest_ns: u64,
    /// Sum of the times of all counted records, in nanoseconds after the first.
    sum_ns: u64,
}

impl Arrivals {
    /// Counts the records up to number `count`, of which the newest arrived at `now_ns`. Those since the last call are
    /// taken to have arrived evenly.
    fn note(&mut self, count: u32, now_ns: u64) {
        if self.counted == 0 {
            self.first_ns = now_ns;
        }
        let after_ns = now_ns.saturating_sub(self.first_ns);
        let records = u64::from(count.saturating_sub(self.counted));
        self.sum_ns =
            self.sum_ns.saturating_add(records.saturating_mul(u64::midpoint(self.newest_ns, after_ns)));
        (self.counted, self.newest_ns) = (count, after_ns);
    }
}

/// Buffers of durable groups, for reuse.
#[derive(Debug, Default)]
pub(crate) struct BufferPool(Vec<Arc<AlignedBuf>>);

impl BufferPool {
    /// An empty buffer: one from the pool that nothing else holds, or a new one.
    pub(crate) fn take(&mut self) -> Arc<AlignedBuf> {
        while let Some(mut buf) = self.0.pop() {
            if let Some(bytes) = Arc::get_mut(&mut buf) {
                bytes.clear();
                return buf;
            }
        }
        Arc::default()
    }

    /// Returns a buffer to the pool, unless the pool is full or the buffer is very large.
    pub(crate) fn put(&mut self, buf: Arc<AlignedBuf>) {
        if self.0.len() < POOL_BUFFERS && buf.capacity() <= POOL_BUFFER_BYTES_MAX {
            self.0.push(buf);
        }
    }
}
