//! Reads a published snapshot as a stream of checked content, in constant memory.
//!
//! No byte of a chunk that fails its checksum is handed out, and the end is reached only if the whole content
//! is intact (INV-9). Reading writes nothing (INV-10). After an error every read fails until the reader is
//! positioned at a chunk again.

pub(crate) mod chunk_decoder;
pub(crate) mod chunk_reader;
pub(crate) mod snapshot;

use crate::directory::store::Pin;
use crate::error::{Error, FilePart};
use crate::format::Fault;
use crate::read::chunk_decoder::{Block, BlockReader};
use crate::read::snapshot::Snapshot;
use crate::types::{Progress, Published, SnapshotId};
use seawall_disk::AlignedBuf;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Maximum number of chunk offsets that a reader remembers for [`SnapshotReader::seek_chunk`].
const MARKS_MAX: u32 = 4096;

/// Reads the content of one published snapshot; see [`Catalog::newest`](crate::Catalog::newest) and
/// [`Catalog::reader`](crate::Catalog::reader).
///
/// Used by one thread at a time. It blocks while the disk or the decompression is slower than the caller. It
/// holds a [`Pin`].
pub struct SnapshotReader {
    snapshot: Arc<Snapshot>,
    blocks: Option<BlockReader>,
    /// The current chunk, how much of it was read in bytes, and the number of the next chunk.
    block: Block,
    at: usize,
    next: u32,
    /// Digest of the content so far, if it was read from the start.
    digest: Option<blake3::Hasher>,
    raw_bytes: u64,
    stored_bytes: u64,
    ended: bool,
    failed: Option<Error>,
    /// Offsets of every n-th chunk.
    marks: Vec<u64>,
    pin: Pin,
}

impl SnapshotReader {
    /// Opens the snapshot of `pin`.
    pub(crate) fn open(pin: Pin) -> Result<SnapshotReader, Error> {
        let snapshot = Arc::new(Snapshot::open(&*pin.store().disk, pin.id())?);
        Ok(SnapshotReader {
            marks: vec![snapshot.first().1],
            snapshot,
            blocks: None,
            block: Block::None,
            at: 0,
            next: 0,
            digest: Some(blake3::Hasher::new()),
            raw_bytes: 0,
            stored_bytes: 0,
            ended: false,
            failed: None,
            pin,
        })
    }

    /// The snapshot.
    pub fn id(&self) -> SnapshotId {
        self.snapshot.header.id
    }

    /// Sizes and digest as the file states them; [`SnapshotReader::verify`] checks whether they are true.
    pub fn stated(&self) -> Published {
        self.snapshot.published()
    }

    /// The group's conf state, as it was given to the writer. Its checksum is correct.
    pub fn conf_state(&self) -> &[u8] {
        self.snapshot.conf_state()
    }

    /// The user's metadata, as given to the writer. Its checksum is correct.
    pub fn metadata(&self) -> &[u8] {
        self.snapshot.metadata()
    }

    /// Number of chunks.
    pub fn chunk_count(&self) -> u32 {
        self.snapshot.trailer.chunk_count
    }

    /// Another pin of the snapshot, for instance for an export.
    pub fn pin(&self) -> Pin {
        self.pin.clone()
    }

    /// Returns the unread rest of the current chunk, or the next chunk if nothing is left, without a copy.
    /// Returns an empty slice at the end, which is reached only if the whole content is intact.
    ///
    /// # Errors
    /// [`Error::Damaged`] with chunk and reason; or the disk fails. Every later call returns the same error.
    pub fn chunk(&mut self) -> Result<&[u8], Error> {
        if self.at == self.block.content().len() {
            self.advance()?;
        }
        let from = std::mem::replace(&mut self.at, self.block.content().len());
        Ok(&self.block.content()[from..])
    }

    /// Continues at the start of chunk `chunk`, counted from 0. From there on each chunk is checked by itself;
    /// the digest of the whole is checked only if `chunk` is 0. Reads the chunk headers up to `chunk` that it
    /// has not read before.
    ///
    /// # Errors
    /// [`Error::NoChunk`]; or like [`SnapshotReader::chunk`].
    pub fn seek_chunk(&mut self, chunk: u32) -> Result<(), Error> {
        let count = self.chunk_count();
        if chunk >= count.max(1) {
            return Err(Error::NoChunk { file: self.snapshot.context.file(), chunk, count });
        }
        // The old position is gone even if the seek fails.
        (self.block, self.at, self.blocks) = (Block::None, 0, None);
        let blocks = self.place(chunk).and_then(|from| {
            let helpers = self.pin.store().options.helpers;
            BlockReader::start(&self.snapshot, from, helpers)
        });
        let blocks = blocks.inspect_err(|error| self.failed = Some(error.clone()))?;
        (self.raw_bytes, self.stored_bytes, self.next) = (0, 0, chunk);
        (self.ended, self.failed) = (false, None);
        self.digest = (chunk == 0).then(blake3::Hasher::new);
        self.blocks = Some(blocks);
        Ok(())
    }

    /// Number and offset of a chunk, which must exist unless it is 0.
    fn place(&mut self, chunk: u32) -> Result<(u32, u64), Error> {
        let every = self.chunk_count().div_ceil(MARKS_MAX).max(1);
        let known = (chunk / every).min(u32::try_from(self.marks.len() - 1).unwrap_or(u32::MAX));
        let mut frames = self.snapshot.frames((known * every, self.marks[known as usize]));
        let mut buf = AlignedBuf::new();
        while frames.position().0 < chunk {
            frames.skip(&mut buf)?;
            let (number, offset) = frames.position();
            if number.is_multiple_of(every) && (number / every) as usize == self.marks.len() {
                self.marks.push(offset);
            }
        }
        Ok(frames.position())
    }

    /// Reads the whole content from the start and compares it with the trailer; the snapshot then counts as
    /// verified. Afterwards the reader is at the end; call [`SnapshotReader::seek_chunk`] with 0 to start
    /// again.
    ///
    /// Calls `watch` after each chunk; `Break` cancels.
    ///
    /// # Errors
    /// Like [`SnapshotReader::chunk`], and [`Error::Cancelled`].
    pub fn verify(&mut self, watch: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<(), Error> {
        self.seek_chunk(0)?;
        let total = Some(self.snapshot.trailer.raw_bytes);
        loop {
            self.advance()?;
            self.at = self.block.content().len();
            if self.ended {
                self.pin.store().set_verified(self.id());
                return Ok(());
            }
            if watch(Progress { bytes: self.raw_bytes, total }).is_break() {
                self.blocks = None;
                let error = self.snapshot.context.cancelled();
                self.failed = Some(error.clone());
                return Err(error);
            }
        }
    }

    /// Makes the next chunk the current one, or none at the end.
    fn advance(&mut self) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.ended {
            return Ok(());
        }
        self.step().inspect_err(|error| {
            (self.block, self.at, self.blocks) = (Block::None, 0, None);
            self.failed = Some(error.clone());
        })
    }

    fn step(&mut self) -> Result<(), Error> {
        let blocks = match &mut self.blocks {
            Some(blocks) => blocks,
            None => self.blocks.insert(BlockReader::start(
                &self.snapshot,
                self.snapshot.first(),
                self.pin.store().options.helpers,
            )?),
        };
        blocks.give(std::mem::replace(&mut self.block, Block::None));
        self.at = 0;
        let Some(block) = blocks.next()? else {
            self.check_whole()?;
            (self.ended, self.blocks) = (true, None);
            return Ok(());
        };
        if let Some(digest) = &mut self.digest {
            digest.update(block.content());
        }
        self.raw_bytes += block.content().len() as u64;
        self.stored_bytes += block.stored_bytes();
        self.next += 1;
        self.block = block;
        Ok(())
    }

    fn check_whole(&self) -> Result<(), Error> {
        let trailer = &self.snapshot.trailer;
        if self.next != trailer.chunk_count {
            // A helper that ended early looks like the end of the file.
            return Err(self.snapshot.context.helper());
        }
        let whole = |fault| Err(self.snapshot.context.damaged(FilePart::Whole, fault));
        match &self.digest {
            Some(_) if (self.raw_bytes, self.stored_bytes) != (trailer.raw_bytes, trailer.stored_bytes) => {
                whole(Fault::Counts)
            }
            Some(digest) if *digest.finalize().as_bytes() != trailer.digest => whole(Fault::Digest),
            // Only a part was read, and each chunk was checked.
            _ => Ok(()),
        }
    }
}

impl io::Read for SnapshotReader {
    /// Reads content up to the end of a chunk. Returns 0 at the end, like [`SnapshotReader::chunk`] an empty
    /// slice.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.at == self.block.content().len() {
            self.advance().map_err(Error::into_io)?;
        }
        let rest = &self.block.content()[self.at..];
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

impl fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("id", &self.id())
            .field("next", &self.next)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
