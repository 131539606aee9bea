//! A group while it is in memory: filled under the log's lock, then written as one piece.
//!
//! A group's place is fixed when it is started, so records know their LSN when they are enqueued. Its
//! bytes stay readable until it is durable. Buffers come from a pool and go back to it.

use crate::disk::AlignedBuf;
use crate::format::layout::{GROUP_HEADER_BYTES, RECORD_ALIGN};
use crate::format::{GroupHeader, RecordBuilder};
use crate::segment::OpenSegment;
use crate::types::{Durability, GroupKind, Lsn, len32};
use std::sync::Arc;

/// Buffers kept for reuse, and the largest that is kept, in bytes: what many threads fill in one flush.
const POOL_BUFFERS: usize = 16;
const POOL_BUFFER_BYTES_MAX: usize = 4 << 20;

/// One group from its first record until it is durable.
#[derive(Debug)]
pub(crate) struct WriteGroup {
    /// Counts all groups of this process; tickets name their group by it.
    pub(crate) ordinal: u64,
    /// Where it goes.
    pub(crate) segment: OpenSegment,
    /// Offset of its first byte.
    pub(crate) start: u32,
    /// What it is for.
    pub(crate) kind: GroupKind,
    /// See the format; the same in all groups of the segment.
    pub(crate) previous_end: Lsn,
    /// Whether somebody wants it durable now.
    pub(crate) wanted: bool,
    /// Records so far.
    pub(crate) record_count: u32,
    /// What its header says about released segments; set when it is closed.
    pub(crate) first_live: u32,
    /// Bytes of records, padding left out; set when the group is padded.
    body_bytes: u32,
    /// Sum of the records' lengths, for back-pressure.
    pub(crate) record_bytes: u64,
    /// When it was issued, on the log's monotonic clock.
    pub(crate) issued_ns: u64,
    /// Whether no other write was under way then.
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
            alone: false,
            buf,
        };
        group.bytes_mut().resize(GROUP_HEADER_BYTES);
        group
    }

    /// Position of its first byte.
    pub(crate) fn lsn(&self) -> Lsn {
        Lsn::new(self.segment.sequence, self.start)
    }

    /// Offset at which the next record would start, inside the group.
    fn next_at(&self) -> usize {
        self.buf.len().next_multiple_of(RECORD_ALIGN as usize)
    }

    /// Bytes of the group so far.
    pub(crate) fn len(&self) -> usize {
        self.buf.len()
    }

    /// Bytes of the group, without padding, with one more record of `bytes`.
    pub(crate) fn len_with(&self, bytes: usize) -> usize {
        self.next_at().saturating_add(bytes)
    }

    /// Adds a record; the caller has made sure that it fits. Returns its position.
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

    /// Pads it to the block boundary (INV-4); nothing may be pushed afterwards. Returns the offset behind it.
    pub(crate) fn pad(&mut self, block_bytes: u32) -> u32 {
        self.body_bytes = len32(self.buf.len() - GROUP_HEADER_BYTES);
        let padded = self.buf.len().next_multiple_of(block_bytes as usize);
        self.bytes_mut().resize(padded);
        self.end()
    }

    /// Offset behind it, once padded.
    pub(crate) fn end(&self) -> u32 {
        self.start + len32(self.buf.len())
    }

    /// Writes the header, as the last thing before it is issued.
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

    /// The bytes, shared with whoever writes them.
    pub(crate) fn buffer(&self) -> &Arc<AlignedBuf> {
        &self.buf
    }

    /// Gives the buffer back.
    pub(crate) fn into_buffer(self) -> Arc<AlignedBuf> {
        self.buf
    }

    /// Copies out the bytes at `at` if all of them are in this group.
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
        // Shared only once issued; a copy here would be correct, and never happens.
        Arc::make_mut(&mut self.buf)
    }
}

/// Buffers of durable groups, for the next ones.
#[derive(Debug, Default)]
pub(crate) struct BufferPool(Vec<Arc<AlignedBuf>>);

impl BufferPool {
    /// An empty buffer.
    pub(crate) fn take(&mut self) -> Arc<AlignedBuf> {
        while let Some(mut buf) = self.0.pop() {
            if let Some(bytes) = Arc::get_mut(&mut buf) {
                bytes.clear();
                return buf;
            }
        }
        Arc::default()
    }

    /// Takes a buffer back, unless there are enough or it is very large.
    pub(crate) fn put(&mut self, buf: Arc<AlignedBuf>) {
        if self.0.len() < POOL_BUFFERS && buf.capacity() <= POOL_BUFFER_BYTES_MAX {
            self.0.push(buf);
        }
    }
}
