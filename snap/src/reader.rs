//! Reading a snapshot: a published file in, checked content out, in constant memory.
//!
//! Place: between the shelf and the state machine. Invariants: no byte is handed out whose chunk does not check,
//! and the end is reached only if the whole is what was written (INV-9); nothing is written (INV-10). Fails with
//! file, chunk and reason, and stays failed until it is set to a chunk again.
//!
//! ```text
//! medium ──► read a frame (helper 1) ──► CRC, decompress (helpers from 3 on) ──► digest, caller
//! ```

use crate::codec::Decoder;
use crate::error::{Error, Place, Site};
use crate::format::{Fault, Header};
use crate::frames::{Frame, Frames};
use crate::lane::{Entrance, Exit, Gone, Helpers, Pool, lane};
use crate::options::depth;
use crate::shelf::Pin;
use crate::snapshot::Snapshot;
use crate::types::{Progress, Published, SnapshotId};
use seawall_wal::disk::AlignedBuf;
use seawall_wal::mutant::mutant;
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
    way: Option<Way>,
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

/// How content gets out of the file.
enum Way {
    /// On this thread.
    Here { frames: Frames, tools: Tools },
    /// On others; `own` decompresses if no helper does.
    Beside { exit: Exit<Item>, own: Option<Tools>, site: Site, pools: Pools, _helpers: Helpers },
}

/// What decompression takes.
struct Tools {
    decoder: Decoder,
    header: Header,
    snapshot: Arc<Snapshot>,
    pools: Pools,
}

#[derive(Clone)]
struct Pools {
    frames: Pool<Frame>,
    raw: Pool<Vec<u8>>,
}

/// Checked content of one chunk.
enum Block {
    None,
    Plain(Frame),
    Packed(Vec<u8>, u32),
}

enum Item {
    Frame(Frame),
    Block(Block),
    Failed(Error),
}

impl Block {
    fn content(&self) -> &[u8] {
        match self {
            Block::None => &[],
            Block::Plain(frame) => frame.stored(),
            Block::Packed(raw, _) => raw,
        }
    }

    fn stored_bytes(&self) -> u64 {
        match self {
            Block::None => 0,
            Block::Plain(frame) => frame.stored().len() as u64,
            Block::Packed(_, stored_bytes) => u64::from(*stored_bytes),
        }
    }
}

impl SnapshotReader {
    /// Opens the snapshot that `pin` keeps.
    pub(crate) fn open(pin: Pin) -> Result<SnapshotReader, Error> {
        let snapshot = Arc::new(Snapshot::open(&*pin.shelf().disk, pin.id())?);
        Ok(SnapshotReader {
            marks: vec![snapshot.first().1],
            snapshot,
            way: None,
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
        (self.block, self.at, self.way) = (Block::None, 0, None);
        let way = self.place(chunk).and_then(|from| {
            let helpers = self.pin.shelf().options.helpers;
            start(&self.snapshot, from, helpers)
        });
        let way = way.inspect_err(|error| self.failed = Some(error.clone()))?;
        (self.raw_bytes, self.stored_bytes, self.next) = (0, 0, chunk);
        (self.ended, self.failed) = (false, None);
        self.digest = (chunk == 0).then(blake3::Hasher::new);
        self.way = Some(way);
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
                self.way = None;
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
            (self.block, self.at, self.way) = (Block::None, 0, None);
            self.failed = Some(error.clone());
        })
    }

    fn step(&mut self) -> Result<(), Error> {
        let way = match &mut self.way {
            Some(way) => way,
            None => self.way.insert(start(
                &self.snapshot,
                self.snapshot.first(),
                self.pin.shelf().options.helpers,
            )?),
        };
        way.pools().give(std::mem::replace(&mut self.block, Block::None));
        self.at = 0;
        let Some(block) = way.next()? else {
            self.check_whole()?;
            (self.ended, self.way) = (true, None);
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
        let whole = |fault| Err(self.snapshot.site.damaged(Place::Whole, fault));
        match &self.digest {
            Some(_) if (self.raw_bytes, self.stored_bytes) != (trailer.raw_bytes, trailer.stored_bytes) => {
                whole(Fault::Counts)
            }
            Some(digest)
                if *digest.finalize().as_bytes() != trailer.digest && !mutant("digest_not_compared") =>
            {
                whole(Fault::Digest)
            }
            // Only a part was read, chunk by chunk.
            _ => Ok(()),
        }
    }
}

/// Starts reading at a place, with the helpers that are wanted.
fn start(snapshot: &Arc<Snapshot>, from: (u32, u64), helpers: u32) -> Result<Way, Error> {
    let failed = |e| snapshot.site.io("start a helper", e);
    let mut frames = snapshot.frames(from);
    let pools = Pools { frames: Pool::new(), raw: Pool::new() };
    let tools = || -> io::Result<Tools> {
        let (decoder, header) = (Decoder::new()?, snapshot.header);
        Ok(Tools { decoder, header, snapshot: Arc::clone(snapshot), pools: pools.clone() })
    };
    if helpers == 0 {
        return Ok(Way::Here { frames, tools: tools().map_err(failed)? });
    }
    // The caller's thread is one that decompresses: with as many busy threads as cores, what was read waits for
    // its helper to be scheduled, and the device for the next read.
    let workers = (helpers as usize).saturating_sub(2);
    let own = if workers == 0 { Some(tools().map_err(failed)?) } else { None };
    let mut threads = Helpers::default();
    let work = || {
        let mut tools = tools()?;
        Ok(move |item| tools.work(item))
    };
    let (entrance, exit) =
        lane(workers, depth(snapshot.header.chunk_bytes_max), &mut threads, work).map_err(failed)?;
    let spares = pools.frames.clone();
    threads.start(move || read_all(&mut frames, &entrance, &spares)).map_err(failed)?;
    Ok(Way::Beside { exit, own, site: snapshot.site.clone(), pools, _helpers: threads })
}

fn read_all(frames: &mut Frames, entrance: &Entrance<Item>, spares: &Pool<Frame>) {
    loop {
        let sent = match frames.next(spares.take()) {
            Ok(Some(frame)) => entrance.send(Item::Frame(frame)),
            Ok(None) => return,
            Err(error) => {
                let _ = entrance.pass(Item::Failed(error));
                return;
            }
        };
        if sent == Err(Gone) {
            return;
        }
    }
}

impl Way {
    fn pools(&self) -> &Pools {
        match self {
            Way::Here { tools, .. } => &tools.pools,
            Way::Beside { pools, .. } => pools,
        }
    }

    /// The next chunk; none behind the last one.
    fn next(&mut self) -> Result<Option<Block>, Error> {
        match self {
            Way::Here { frames, tools } => match frames.next(tools.pools.frames.take())? {
                Some(frame) => tools.decode(frame).map(Some),
                None => Ok(None),
            },
            Way::Beside { exit, own, site, .. } => match (exit.recv(), own) {
                (Ok(None), _) => Ok(None),
                (Ok(Some(Item::Block(block))), _) => Ok(Some(block)),
                (Ok(Some(Item::Failed(error))), _) => Err(error),
                (Ok(Some(Item::Frame(frame))), Some(tools)) => tools.decode(frame).map(Some),
                (Ok(Some(Item::Frame(_))), None) | (Err(Gone), _) => Err(site.helper()),
            },
        }
    }
}

impl Tools {
    fn work(&mut self, item: Item) -> Item {
        match item {
            Item::Frame(frame) => match self.decode(frame) {
                Ok(block) => Item::Block(block),
                Err(error) => Item::Failed(error),
            },
            item => item,
        }
    }

    fn decode(&mut self, frame: Frame) -> Result<Block, Error> {
        let Some(chunk) = frame.chunk else { return Err(self.snapshot.site.helper()) };
        let mut raw = self.pools.raw.take();
        let decoded = self.decoder.decode(&self.header, &chunk, frame.stored(), &mut raw);
        let packed = decoded.map_err(|fault| self.snapshot.site.damaged(Place::Chunk(chunk.index), fault))?;
        if packed {
            self.pools.frames.give(frame);
            Ok(Block::Packed(raw, chunk.stored_bytes))
        } else {
            self.pools.raw.give(raw);
            Ok(Block::Plain(frame))
        }
    }
}

impl Pools {
    fn give(&self, block: Block) {
        match block {
            Block::None => {}
            Block::Plain(frame) => self.frames.give(frame),
            Block::Packed(raw, _) => self.raw.give(raw),
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
