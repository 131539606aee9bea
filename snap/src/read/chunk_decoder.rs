//! Reads the chunks of a file in order, checks and decompresses them, on the caller's thread or on helpers.
//!
//! Every block that is returned was checked (INV-9). Blocks come in the order of the file. Dropping the reader
//! waits for its threads.
//!
//! ```text
//! medium ──► read a frame (helper 1) ──► CRC, decompress (caller; helpers from 3 on) ──► caller
//! ```
//!
//! The helper that reads also decompresses when the others have no room.

use crate::error::{Error, FileContext, FilePart};
use crate::format::Header;
use crate::format::codec::Decoder;
use crate::options::depth;
use crate::ordered_pool::{Disconnected, JobReceiver, JobSender, Pool, Workers, lane};
use crate::read::chunk_reader::{ChunkReader, Frame};
use crate::read::snapshot::Snapshot;
use std::io;
use std::sync::Arc;

/// The blocks of a file from some chunk on.
pub(crate) struct BlockReader(Mode);

/// How content is read from the file.
enum Mode {
    /// On the calling thread.
    Inline { frames: ChunkReader, tools: Tools },
    /// On helper threads. With fewer than 3 helpers only one reads, and `own` decompresses.
    Threaded {
        exit: JobReceiver<Item>,
        own: Option<Tools>,
        context: FileContext,
        pools: Pools,
        _helpers: Workers,
    },
}

/// State for decompressing.
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
pub(crate) enum Block {
    None,
    Plain(Frame),
    Packed(Vec<u8>, u32),
}

enum Item {
    Frame(Frame),
    Block(Block),
    Failed(Error),
}

impl BlockReader {
    /// Starts reading at chunk and offset `from`, with `helpers` helper threads.
    pub(crate) fn start(
        snapshot: &Arc<Snapshot>,
        from: (u32, u64),
        helpers: u32,
    ) -> Result<BlockReader, Error> {
        let failed = |e| snapshot.context.io("start a helper", e);
        let mut frames = snapshot.frames(from);
        let pools = Pools { frames: Pool::new(), raw: Pool::new() };
        let tools = || -> io::Result<Tools> {
            let (decoder, header) = (Decoder::new()?, snapshot.header);
            Ok(Tools { decoder, header, snapshot: Arc::clone(snapshot), pools: pools.clone() })
        };
        if helpers == 0 {
            return Ok(BlockReader(Mode::Inline { frames, tools: tools().map_err(failed)? }));
        }
        // The caller's thread is one of those that decompress. With as many busy threads as cores, a frame
        // would wait for its helper to be scheduled, and the device for the next read.
        let workers = (helpers as usize).saturating_sub(2);
        let own = if workers == 0 { Some(tools().map_err(failed)?) } else { None };
        let mut threads = Workers::default();
        let work = || {
            let mut tools = tools()?;
            Ok(move |item| tools.work(item))
        };
        let (entrance, exit) =
            lane(workers, depth(snapshot.header.chunk_bytes_max), &mut threads, work).map_err(failed)?;
        let mut spare = tools().map_err(failed)?;
        threads.start(move || read_all(&mut frames, &entrance, &mut spare)).map_err(failed)?;
        Ok(BlockReader(Mode::Threaded {
            exit,
            own,
            context: snapshot.context.clone(),
            pools,
            _helpers: threads,
        }))
    }

    /// Takes back a block that is no longer needed, to reuse its buffer.
    pub(crate) fn give(&self, block: Block) {
        match &self.0 {
            Mode::Inline { tools, .. } => tools.pools.give(block),
            Mode::Threaded { pools, .. } => pools.give(block),
        }
    }

    /// The next chunk; `None` after the last one.
    pub(crate) fn next(&mut self) -> Result<Option<Block>, Error> {
        match &mut self.0 {
            Mode::Inline { frames, tools } => match frames.next(tools.pools.frames.take())? {
                Some(frame) => tools.decode(frame).map(Some),
                None => Ok(None),
            },
            Mode::Threaded { exit, own, context, .. } => match (exit.recv(), own) {
                (Ok(None), _) => Ok(None),
                (Ok(Some(Item::Block(block))), _) => Ok(Some(block)),
                (Ok(Some(Item::Failed(error))), _) => Err(error),
                (Ok(Some(Item::Frame(frame))), Some(tools)) => tools.decode(frame).map(Some),
                (Ok(Some(Item::Frame(_))), None) | (Err(Disconnected), _) => Err(context.helper()),
            },
        }
    }
}

/// Reads to the end. If there is no room for another frame, this thread decompresses it instead of waiting: a
/// fast medium leaves time for that, and a slow one is not kept waiting.
fn read_all(frames: &mut ChunkReader, entrance: &JobSender<Item>, tools: &mut Tools) {
    loop {
        let sent = match frames.next(tools.pools.frames.take()) {
            Ok(Some(frame)) => match entrance.offer(Item::Frame(frame)) {
                Ok(Some(item)) => entrance.pass(tools.work(item)),
                Ok(None) => Ok(()),
                Err(Disconnected) => Err(Disconnected),
            },
            Ok(None) => return,
            Err(error) => {
                let _ = entrance.pass(Item::Failed(error));
                return;
            }
        };
        if sent == Err(Disconnected) {
            return;
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
        let Some(chunk) = frame.chunk else { return Err(self.snapshot.context.helper()) };
        let mut raw = self.pools.raw.take();
        let decoded = self.decoder.decode(&self.header, &chunk, frame.stored(), &mut raw);
        let packed =
            decoded.map_err(|fault| self.snapshot.context.damaged(FilePart::Chunk(chunk.index), fault))?;
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

impl Block {
    pub(crate) fn content(&self) -> &[u8] {
        match self {
            Block::None => &[],
            Block::Plain(frame) => frame.stored(),
            Block::Packed(raw, _) => raw,
        }
    }

    pub(crate) fn stored_bytes(&self) -> u64 {
        match self {
            Block::None => 0,
            Block::Plain(frame) => frame.stored().len() as u64,
            Block::Packed(_, stored_bytes) => u64::from(*stored_bytes),
        }
    }
}
