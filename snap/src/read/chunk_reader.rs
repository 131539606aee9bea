//! Reads the frames of a file in order, chunk headers with their stored bytes, from the medium.
//!
//! Nothing is read through a page cache, which may hold data that the device lacks. A length is checked before
//! its bytes are allocated (INV-9).

use crate::error::{Error, FileContext, FilePart};
use crate::format::{CHUNK_HEADER_BYTES, ChunkHeader, Fault, Header};
use seawall_disk::{AlignedBuf, DiskFile, read_exact_at};
use std::io;
use std::sync::Arc;

/// Reads any part of a file from the medium.
#[derive(Clone, Debug)]
pub(crate) struct Medium {
    file: Arc<dyn DiskFile>,
    block: u64,
}

impl Medium {
    pub(crate) fn new(file: Arc<dyn DiskFile>, block: u32) -> Medium {
        Medium { file, block: u64::from(block.max(1)) }
    }

    /// Reads the `len` bytes at `offset` into `buf`; returns their offset in `buf`.
    pub(crate) fn read(&self, offset: u64, len: usize, buf: &mut AlignedBuf) -> io::Result<usize> {
        let start = offset - offset % self.block;
        let from = usize::try_from(offset - start).map_err(|_| io::ErrorKind::InvalidInput)?;
        let needed = from + len;
        let block = usize::try_from(self.block).map_err(|_| io::ErrorKind::InvalidInput)?;
        let whole = needed.next_multiple_of(block);
        buf.set_len_for_read(whole);
        let got = loop {
            match self.file.read_medium(buf, start, whole) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if got < needed {
            // A short read: because of the end of the file, a block that cannot be read, or for no reason.
            read_exact_at(&*self.file, &mut buf[got..needed], start + got as u64)?;
        }
        Ok(from)
    }

    /// Like [`Medium::read`], into a vector.
    pub(crate) fn read_vec(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buf = AlignedBuf::new();
        let from = self.read(offset, len, &mut buf)?;
        Ok(buf[from..from + len].to_vec())
    }
}

/// A chunk as it is on the medium. Its header is decoded; its stored bytes are not checked.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    buf: AlignedBuf,
    from: usize,
    pub(crate) chunk: Option<ChunkHeader>,
}

impl Frame {
    /// The header and the stored bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        let len = self.chunk.map_or(0, |chunk| CHUNK_HEADER_BYTES + chunk.stored_bytes as usize);
        &self.buf[self.from..self.from + len]
    }

    /// The stored bytes.
    pub(crate) fn stored(&self) -> &[u8] {
        self.bytes().get(CHUNK_HEADER_BYTES..).unwrap_or_default()
    }
}

/// Iterates over the chunks of a file.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    medium: Medium,
    context: FileContext,
    header: Header,
    /// Number of the next chunk, and its offset in bytes.
    next: u32,
    offset: u64,
    /// Number of chunks, and the offset of their end in bytes.
    count: u32,
    end: u64,
    /// Stored bytes of the next chunk, if its header was read with the previous chunk, which saves a read.
    ahead: Option<u32>,
}

impl ChunkReader {
    /// Starts at chunk `next` at `offset`; the `count` chunks end at `end`.
    pub(crate) fn new(
        medium: Medium,
        context: FileContext,
        header: Header,
        (next, offset): (u32, u64),
        (count, end): (u32, u64),
    ) -> ChunkReader {
        ChunkReader { medium, context, header, next, offset, count, end, ahead: None }
    }

    /// Number and offset of the next chunk.
    pub(crate) fn position(&self) -> (u32, u64) {
        (self.next, self.offset)
    }

    fn fault(&self, fault: Fault) -> Error {
        self.context.damaged(FilePart::Chunk(self.next), fault)
    }

    /// Reads `len` bytes at the next chunk and decodes its header.
    fn read(&self, len: usize, buf: &mut AlignedBuf) -> Result<(usize, ChunkHeader), Error> {
        let failed = |e| self.context.read(FilePart::Chunk(self.next), e);
        let from = self.medium.read(self.offset, len, buf).map_err(failed)?;
        let header = &buf[from..from + CHUNK_HEADER_BYTES];
        let chunk = ChunkHeader::decode(header, &self.header, self.next).map_err(|f| self.fault(f))?;
        if self.offset + frame_bytes(chunk.stored_bytes) > self.end {
            return Err(self.fault(Fault::Counts));
        }
        Ok((from, chunk))
    }

    /// Skips the next chunk; reads only its header.
    pub(crate) fn skip(&mut self, buf: &mut AlignedBuf) -> Result<(), Error> {
        let (_, chunk) = self.read(CHUNK_HEADER_BYTES, buf)?;
        self.advance(chunk.stored_bytes);
        self.ahead = None;
        Ok(())
    }

    fn advance(&mut self, stored_bytes: u32) {
        self.next += 1;
        self.offset += frame_bytes(stored_bytes);
    }

    /// Reads the next chunk into `frame`; `None` after the last one, which must end at the end of the chunks.
    pub(crate) fn next(&mut self, mut frame: Frame) -> Result<Option<Frame>, Error> {
        if self.next == self.count {
            let whole = self.offset == self.end;
            return if whole { Ok(None) } else { Err(self.context.damaged(FilePart::Whole, Fault::Counts)) };
        }
        if self.offset + CHUNK_HEADER_BYTES as u64 > self.end {
            return Err(self.fault(Fault::Counts));
        }
        let stored_bytes = match self.ahead.take() {
            Some(stored_bytes) => stored_bytes,
            None => self.read(CHUNK_HEADER_BYTES, &mut frame.buf)?.1.stored_bytes,
        };
        let len = frame_bytes(stored_bytes);
        let rest = self.end - self.offset;
        if len > rest {
            return Err(self.fault(Fault::Counts));
        }
        let with_next = rest.min(len + CHUNK_HEADER_BYTES as u64);
        // At most a chunk and two headers.
        let (from, chunk) = self.read(usize::try_from(with_next).unwrap_or(usize::MAX), &mut frame.buf)?;
        if chunk.stored_bytes != stored_bytes {
            // Two reads of the same bytes gave different results.
            return Err(self.fault(Fault::Checksum));
        }
        self.advance(stored_bytes);
        (frame.from, frame.chunk) = (from, Some(chunk));
        let behind = from + CHUNK_HEADER_BYTES + stored_bytes as usize;
        let following = frame.buf.get(behind..behind + CHUNK_HEADER_BYTES).filter(|_| with_next > len);
        let decoded = following.map(|header| ChunkHeader::decode(header, &self.header, self.next));
        // A header that does not decode is reported in its turn.
        self.ahead = decoded.and_then(Result::ok).map(|chunk| chunk.stored_bytes);
        Ok(Some(frame))
    }
}

/// Size of a chunk with its header, in bytes.
pub(crate) fn frame_bytes(stored_bytes: u32) -> u64 {
    CHUNK_HEADER_BYTES as u64 + u64::from(stored_bytes)
}
