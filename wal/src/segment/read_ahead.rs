//! Reads a file in large pieces, from the medium, and serves small ranges from them.
//!
//! Only a failed read is an error.

use seawall_disk::{AlignedBuf, DiskFile, read_exact_medium};
use std::io;

/// Most bytes read at a time, unless a caller requests more.
const CHUNK_BYTES: u32 = 1 << 20;
/// Size of the first piece of a view made by [`ReadAhead::growing`], in bytes; each further piece is twice as long.
const FIRST_BYTES: u32 = 64 << 10;

/// A view of one file: the piece that was read last.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    end: u32,
    buf: AlignedBuf,
    start: u32,
    chunk: u32,
    /// Nothing from this offset on is read before it is requested.
    ahead_to: u32,
}

impl ReadAhead {
    /// A view of a file that will be read up to `end`, block-aligned and inside the file.
    pub(crate) fn whole(end: u32) -> ReadAhead {
        ReadAhead { end, buf: AlignedBuf::new(), start: 0, chunk: CHUNK_BYTES, ahead_to: end }
    }

    /// A view of a file of which an unknown part will be read, at most up to `end`.
    pub(crate) fn growing(end: u32) -> ReadAhead {
        ReadAhead { chunk: FIRST_BYTES, ..ReadAhead::whole(end) }
    }

    /// From `offset` on, a block boundary, reads nothing that is not requested.
    pub(crate) fn read_ahead_to(&mut self, offset: u32) {
        self.ahead_to = offset.min(self.end);
    }

    /// Returns the bytes `[offset, offset + length)` of `file`; the range is block-aligned and ends at or below the
    /// view's end.
    pub(crate) fn range(&mut self, file: &dyn DiskFile, offset: u32, length: u32) -> io::Result<&[u8]> {
        let inside = offset >= self.start
            && u64::from(offset) + u64::from(length) <= u64::from(self.start) + self.buf.len() as u64;
        if !inside {
            let ahead = self.chunk.min(self.ahead_to.saturating_sub(offset));
            self.chunk = self.chunk.saturating_mul(2).min(CHUNK_BYTES);
            let read = self.fill(file, offset, length.max(ahead));
            // The unreadable part may be one that was not requested.
            read.or_else(|e| if length < ahead { self.fill(file, offset, length) } else { Err(e) })?;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.buf[from..from + length as usize])
    }

    fn fill(&mut self, file: &dyn DiskFile, offset: u32, length: u32) -> io::Result<()> {
        self.buf.clear();
        self.buf.set_len_for_read(length as usize);
        self.start = offset;
        let read = read_exact_medium(file, &mut self.buf, u64::from(offset), length as usize);
        if read.is_err() {
            self.buf.clear();
        }
        read
    }
}
