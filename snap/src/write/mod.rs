//! Writes a snapshot from a stream of content to a published file, in constant memory.
//!
//! The file gets its name only once everything in it is durable, and is listed only once the name is durable
//! (INV-1, INV-7). A writer that fails, is cancelled or is dropped leaves no file. The first error is
//! permanent.
//!
//! ```text
//! caller: fills a chunk, digest ──► compress, CRC (helpers from 2 on) ──► write, sync (helper 1)
//! ```

pub(crate) mod file_writer;

use crate::directory::store::Reservation;
use crate::error::{Error, FileContext};
use crate::format::codec::Encoder;
use crate::format::name;
use crate::format::{CHUNK_HEADER_BYTES, Header, Trailer, encode_opening};
use crate::options::depth;
use crate::ordered_pool::{Disconnected, JobReceiver, JobSender, Pool, Workers, lane};
use crate::types::{Progress, Published, SnapshotId};
use crate::write::file_writer::FileWriter;
use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

/// Called after each chunk; `Break` cancels.
type Watch = Box<dyn FnMut(Progress) -> ControlFlow<()> + Send>;

/// Writes the content of one snapshot; see [`Catalog::write`](crate::Catalog::write).
///
/// Used by one thread at a time. It blocks while the disk or the compression is slower than the caller. After
/// an error every call fails, and the file is gone. Dropped without [`SnapshotWriter::finish`], it leaves no
/// file.
pub struct SnapshotWriter {
    reservation: Reservation,
    temporary: String,
    context: FileContext,
    header: Header,
    opening_bytes: u64,
    digest: blake3::Hasher,
    /// Content of the chunk that is being filled; `next` is its number.
    chunk: Vec<u8>,
    next: u32,
    raw_bytes: u64,
    /// `None` once the file is finished or abandoned.
    mode: Option<Mode>,
    watch: Option<Watch>,
    failed: Option<Error>,
}

/// How chunks reach the file.
enum Mode {
    /// On the calling thread.
    Inline { encoder: Encoder, frame: Vec<u8>, sink: FileWriter },
    /// On helper threads. `done` returns the sink once everything is written, or with the error.
    Threaded {
        entrance: JobSender<Item>,
        encoder: Option<Encoder>,
        pool: Pool<Vec<u8>>,
        done: Receiver<Done>,
        helpers: Workers,
    },
}

type Done = (FileWriter, Result<(), Error>);

/// A chunk between threads.
enum Item {
    Raw(u32, Vec<u8>),
    Frame(Vec<u8>),
    Failed(Error),
}

impl SnapshotWriter {
    /// Creates the file of the snapshot of `reservation` under its temporary name.
    pub(crate) fn create(
        reservation: Reservation,
        conf_state: &[u8],
        metadata: &[u8],
    ) -> Result<SnapshotWriter, Error> {
        let (id, store) = (reservation.id(), Arc::clone(reservation.store()));
        let options = store.options;
        let invalid = |fault| Error::Invalid { id, fault };
        let opening = encode_opening(id, options.chunk_bytes, conf_state, metadata).map_err(invalid)?;
        let header = Header::decode(&opening).map_err(invalid)?;
        let temporary = name::writing(id);
        let context = FileContext::new(&store.path(), &temporary);

        let sink = FileWriter::create(&*store.disk, &temporary, options.sync_bytes)?;
        let started = start(sink, &opening, header, &options);
        let mode = started.inspect_err(|_| _ = store.disk.remove(&temporary))?;
        Ok(SnapshotWriter {
            reservation,
            temporary,
            context,
            header,
            opening_bytes: opening.len() as u64,
            digest: blake3::Hasher::new(),
            chunk: Vec::with_capacity(options.chunk_bytes as usize),
            next: 0,
            raw_bytes: 0,
            mode: Some(mode),
            watch: None,
            failed: None,
        })
    }

    /// Calls `watch` on the writing thread after each chunk, with the bytes of content so far. `Break` cancels:
    /// the current call fails with [`Error::Cancelled`], and no file is left.
    pub fn watch(&mut self, watch: impl FnMut(Progress) -> ControlFlow<()> + Send + 'static) {
        self.watch = Some(Box::new(watch));
    }

    /// The snapshot.
    pub fn id(&self) -> SnapshotId {
        self.header.id
    }

    /// Appends all of `content`.
    ///
    /// # Errors
    /// The disk fails or is full ([`Error::is_no_space`]), or the callback cancels. Nothing of the snapshot is
    /// left.
    pub fn append(&mut self, mut content: &[u8]) -> Result<(), Error> {
        let limit = self.header.chunk_bytes_max as usize;
        if let Some(cause) = &self.failed {
            return Err(Error::Stopped { cause: Arc::new(cause.clone()) });
        }
        while !content.is_empty() {
            let (now, rest) = content.split_at(content.len().min(limit - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            content = rest;
            if self.chunk.len() == limit {
                self.step()?;
            }
        }
        Ok(())
    }

    /// Publishes the snapshot. When this returns, it is durable under its name and listed.
    ///
    /// # Errors
    /// Like [`SnapshotWriter::append`]. If the last step fails, the sync of the directory, the complete
    /// snapshot may still exist after a crash.
    pub fn finish(mut self) -> Result<Published, Error> {
        if let Some(cause) = &self.failed {
            return Err(Error::Stopped { cause: Arc::new(cause.clone()) });
        }
        if !self.chunk.is_empty() {
            self.step()?;
        }
        let published = self.seal();
        published.inspect_err(|_| self.discard())
    }

    /// Abandons the snapshot and removes the file, like dropping the writer.
    pub fn abort(self) {}

    /// Passes the current chunk on. An error is permanent.
    fn step(&mut self) -> Result<(), Error> {
        self.hand_on().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.discard();
        })
    }

    fn hand_on(&mut self) -> Result<(), Error> {
        let invalid = |fault| Error::Invalid { id: self.header.id, fault };
        let index = self.next;
        let full = crate::format::Fault::Chunk { expected: 0, found: index };
        self.next = index.checked_add(1).ok_or_else(|| invalid(full))?;
        self.digest.update(&self.chunk);
        self.raw_bytes += self.chunk.len() as u64;
        let sent = match &mut self.mode {
            None => Err(Disconnected),
            Some(Mode::Inline { encoder, frame, sink }) => {
                encoder.encode(&self.header, index, &self.chunk, frame).map_err(invalid)?;
                self.chunk.clear();
                sink.write(frame)?;
                Ok(())
            }
            Some(Mode::Threaded { entrance, encoder: Some(encoder), pool, .. }) => {
                let mut frame = pool.take();
                encoder.encode(&self.header, index, &self.chunk, &mut frame).map_err(invalid)?;
                self.chunk.clear();
                entrance.pass(Item::Frame(frame))
            }
            Some(Mode::Threaded { entrance, encoder: None, pool, .. }) => {
                let mut empty = pool.take();
                empty.clear();
                entrance.send(Item::Raw(index, std::mem::replace(&mut self.chunk, empty)))
            }
        };
        if sent == Err(Disconnected) {
            // The writer thread has ended; `collect` returns its error.
            self.collect()?;
            return Err(self.context.helper());
        }
        let progress = Progress { bytes: self.raw_bytes, total: None };
        match self.watch.as_mut().map(|watch| watch(progress)) {
            Some(ControlFlow::Break(())) => Err(self.context.cancelled()),
            _ => Ok(()),
        }
    }

    /// Returns the sink once everything passed on is written.
    fn collect(&mut self) -> Result<FileWriter, Error> {
        match self.mode.take() {
            Some(Mode::Inline { sink, .. }) => Ok(sink),
            Some(Mode::Threaded { entrance, done, helpers, .. }) => {
                drop(entrance);
                let (sink, result) = done.recv().map_err(|_| self.context.helper())?;
                drop(helpers);
                result.map(|()| sink)
            }
            None => Err(self.context.helper()),
        }
    }

    fn seal(&mut self) -> Result<Published, Error> {
        let mut sink = self.collect()?;
        let headers = u64::from(self.next) * CHUNK_HEADER_BYTES as u64;
        let trailer = Trailer {
            chunk_count: self.next,
            raw_bytes: self.raw_bytes,
            stored_bytes: sink.offset() - self.opening_bytes - headers,
            digest: *self.digest.finalize().as_bytes(),
        };
        sink.write(&trailer.encode())?;
        sink.sync()?;
        let id = self.header.id;
        self.reservation.store().publish(&self.temporary, id)?;
        let (file_bytes, digest) = (sink.offset(), trailer.digest);
        Ok(Published { id, raw_bytes: self.raw_bytes, file_bytes, digest })
    }

    /// Stops the helpers, closes the file and removes it. If it cannot be removed now, the next open removes
    /// it.
    fn discard(&mut self) {
        self.mode = None;
        let _ = self.reservation.store().disk.remove(&self.temporary);
    }
}

/// Writes the opening, and starts the helper threads that the options ask for.
fn start(
    mut sink: FileWriter,
    opening: &[u8],
    header: Header,
    options: &crate::options::Options,
) -> Result<Mode, Error> {
    sink.write(opening)?;
    let context = sink.context().clone();
    let failed = |e| context.io("start a helper", e);
    let new_encoder = || Encoder::new(options.level);
    if options.helpers == 0 {
        return Ok(Mode::Inline { encoder: new_encoder().map_err(failed)?, frame: Vec::new(), sink });
    }
    let workers = options.helpers as usize - 1;
    let encoder = if workers == 0 { Some(new_encoder().map_err(failed)?) } else { None };
    let (pool, mut helpers) = (Pool::new(), Workers::default());
    let work = || {
        let (mut encoder, pool) = (new_encoder()?, pool.clone());
        Ok(move |item| encode(&mut encoder, &header, &pool, item))
    };
    let (entrance, exit) =
        lane(workers, depth(header.chunk_bytes_max), &mut helpers, work).map_err(failed)?;
    let (report, done) = sync_channel(1);
    let (spares, own) = (pool.clone(), context.clone());
    let write = move || {
        let result = write_all(&exit, &mut sink, &spares, &own);
        drop(exit);
        let _ = report.send((sink, result));
    };
    helpers.start(write).map_err(failed)?;
    Ok(Mode::Threaded { entrance, encoder, pool, done, helpers })
}

fn encode(encoder: &mut Encoder, header: &Header, pool: &Pool<Vec<u8>>, item: Item) -> Item {
    let Item::Raw(index, raw) = item else { return item };
    let mut frame = pool.take();
    let result = encoder.encode(header, index, &raw, &mut frame);
    pool.give(raw);
    match result {
        Ok(()) => Item::Frame(frame),
        Err(fault) => Item::Failed(Error::Invalid { id: header.id, fault }),
    }
}

fn write_all(
    exit: &JobReceiver<Item>,
    sink: &mut FileWriter,
    pool: &Pool<Vec<u8>>,
    context: &FileContext,
) -> Result<(), Error> {
    while let Some(item) = exit.recv().map_err(|Disconnected| context.helper())? {
        match item {
            Item::Frame(frame) => {
                sink.write(&frame)?;
                pool.give(frame);
            }
            Item::Failed(error) => return Err(error),
            Item::Raw(..) => return Err(context.helper()),
        }
    }
    Ok(())
}

impl io::Write for SnapshotWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.append(buf).map_err(Error::into_io)?;
        Ok(buf.len())
    }

    /// Does nothing: [`SnapshotWriter::finish`] makes the content durable.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if self.mode.is_some() {
            self.discard();
        }
    }
}

impl fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("id", &self.header.id)
            .field("bytes", &self.raw_bytes)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
