//! Reading a snapshot: a published file in, checked content out, in constant memory.
//!
//! FilePart: between the chunks as `unpack` gives them and the state machine. Invariants: no byte is handed out whose
//! chunk does not check, and the end is reached only if the whole is what was written (INV-9); nothing is written
//! (INV-10). Fails with file, chunk and reason, and stays failed until it is set to a chunk again.

pub(crate) mod chunk_decoder;
pub(crate) mod chunk_reader;
pub(crate) mod snapshot;

use crate::directory::store::Pin;
use crate::error::{Error, FilePart};
use crate::format::Fault;
use crate::read::chunk_decoder::{Block, BlockReader};
use crate::read::snapshot::Snapshot;
use crate::types::{Progress, Published, SnapshotId};
use seawall_wal::disk::AlignedBuf;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Most places of chunks that a reader remembers for [`SnapshotReader::seek_chunk`].
const MARKS_MAX: u32 = 4096;

/// Reads the content of one published snapshot; see [`Catalog::newest`](crate::Catalog::newest) and
/// [`Catalog::reader`](crate::Catalog::reader).
///
/// For one thread at a time; blocks while the disk or the decompression is behind. Holds a [`Pin`].
pub struct SnapshotReader {
    snapshot: Arc<Snapshot>,
    blocks: Option<BlockReader>,
    /// The chunk at hand, what of it was read, and the number of the next one.
    block: Block,
    at: usize,
    next: u32,
    /// Of the content so far, if it was read from its start.
    digest: Option<blake3::Hasher>,
    raw_bytes: u64,
    stored_bytes: u64,
    ended: bool,
    failed: Option<Error>,
    /// Where every so many chunks start.
    marks: Vec<u64>,
    pin: Pin,
}

impl SnapshotReader {
    /// Opens the snapshot that `pin` keeps.
    pub(crate) fn open(pin: Pin) -> Result<SnapshotReader, Error> {
        let snapshot = Arc::new(Snapshot::open(&*pin.shelf().disk, pin.id())?);
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

    /// What the snapshot stands for.
    pub fn id(&self) -> SnapshotId {
        self.snapshot.header.id
    }

    /// Sizes and digest, as the file states them; [`SnapshotReader::verify`] shows whether they are true.
    pub fn stated(&self) -> Published {
        self.snapshot.published()
    }

    /// The group's conf state, as it was given to the writer. Checked.
    pub fn conf_state(&self) -> &[u8] {
        self.snapshot.conf_state()
    }

    /// The user's metadata, as they were given to the writer. Checked.
    pub fn metadata(&self) -> &[u8] {
        self.snapshot.metadata()
    }

    /// Number of chunks.
    pub fn chunk_count(&self) -> u32 {
        self.snapshot.trailer.chunk_count
    }

    /// A pin of its own on the snapshot, for an export.
    pub fn pin(&self) -> Pin {
        self.pin.clone()
    }

    /// What of the chunk at hand was not read yet; the next chunk if that is nothing, and an empty slice at the
    /// end, which is reached only if the whole content is what was written. Without a copy.
    ///
    /// # Errors
    /// [`Error::Damaged`] with chunk and reason; or the disk fails. Every later call gives the same.
    pub fn chunk(&mut self) -> Result<&[u8], Error> {
        if self.at == self.block.content().len() {
            self.advance()?;
        }
        let from = std::mem::replace(&mut self.at, self.block.content().len());
        Ok(&self.block.content()[from..])
    }

    /// Goes on at the start of chunk `chunk`, counted from 0. Behind it each chunk is checked for itself; the
    /// digest of the whole only if that is chunk 0. Walks over chunk headers that it has not seen.
    ///
    /// # Errors
    /// [`Error::NoChunk`]; or as [`SnapshotReader::chunk`].
    pub fn seek_chunk(&mut self, chunk: u32) -> Result<(), Error> {
        let count = self.chunk_count();
        if chunk >= count.max(1) {
            return Err(Error::NoChunk { file: self.snapshot.site.file(), chunk, count });
        }
        // Wherever it stood, it does not stand there any more.
        (self.block, self.at, self.blocks) = (Block::None, 0, None);
        let blocks = self.place(chunk).and_then(|from| {
            let helpers = self.pin.shelf().options.helpers;
            BlockReader::start(&self.snapshot, from, helpers)
        });
        let blocks = blocks.inspect_err(|error| self.failed = Some(error.clone()))?;
        (self.raw_bytes, self.stored_bytes, self.next) = (0, 0, chunk);
        (self.ended, self.failed) = (false, None);
        self.digest = (chunk == 0).then(blake3::Hasher::new);
        self.blocks = Some(blocks);
        Ok(())
    }

    /// Number and offset of a chunk, which exists unless it is 0.
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

    /// Reads everything from the start and compares it with what the trailer says; then the snapshot counts as
    /// verified. Afterwards the reader is at the end; [`SnapshotReader::seek_chunk`] 0 goes back.
    ///
    /// `watch` is called after each chunk; `Break` cancels.
    ///
    /// # Errors
    /// As [`SnapshotReader::chunk`], and [`Error::Cancelled`].
    pub fn verify(&mut self, watch: &mut dyn FnMut(Progress) -> ControlFlow<()>) -> Result<(), Error> {
        self.seek_chunk(0)?;
        let total = Some(self.snapshot.trailer.raw_bytes);
        loop {
            self.advance()?;
            self.at = self.block.content().len();
            if self.ended {
                self.pin.shelf().set_verified(self.id());
                return Ok(());
            }
            if watch(Progress { bytes: self.raw_bytes, total }).is_break() {
                self.blocks = None;
                let error = self.snapshot.site.cancelled();
                self.failed = Some(error.clone());
                return Err(error);
            }
        }
    }

    /// Puts the next chunk at hand, or nothing at the end.
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
                self.pin.shelf().options.helpers,
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
            // A helper that ended early looks like the end.
            return Err(self.snapshot.site.helper());
        }
        let whole = |fault| Err(self.snapshot.site.damaged(FilePart::Whole, fault));
        match &self.digest {
            Some(_) if (self.raw_bytes, self.stored_bytes) != (trailer.raw_bytes, trailer.stored_bytes) => {
                whole(Fault::Counts)
            }
            Some(digest) if *digest.finalize().as_bytes() != trailer.digest => whole(Fault::Digest),
            // Only a part was read, chunk by chunk.
            _ => Ok(()),
        }
    }
}

impl io::Read for SnapshotReader {
    /// Content up to the end of a chunk; 0 at the end, as [`SnapshotReader::chunk`] has it.
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
