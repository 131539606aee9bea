//! The log as its users see it: composition of the floors below, and no mechanism of its own.

mod opening;
mod reading;
mod salvage;

use crate::commit::{Blocked, Log, Placed, Ticket};
use crate::disk::{Disk, Mode};
use crate::env::Env;
use crate::error::Error;
use crate::fence::Fences;
use crate::frame::Batch;
use crate::frame::layout::{FOOTER_TAIL_BYTES, GROUP_HEADER_BYTES, PART_BYTES, RECORD_HEADER_BYTES};
use crate::listener::Listener;
use crate::mutant::mutant;
use crate::options::{OpenMode, Options};
use crate::pipeline::{Pipeline, Progress};
use crate::read::Table;
use crate::sealer::Sealer;
use crate::segment::Segment;
use crate::shelf::Shelf;
use crate::stats::Stats;
use crate::sync::{AtomicU32, Mutex, RwLock};
use crate::types::{Class, Lsn, len32};
use crate::verdict::Verdict;
use crate::workers::Workers;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// An open log. All methods may be called from any thread.
///
/// [`Wal::append`] enqueues a record and returns a [`Ticket`]; the record can be read at once and is
/// durable when the ticket says so. Dropping the log without [`Wal::close`] abandons it as a kill would:
/// records that were not acknowledged may be lost, none that were.
#[derive(Debug)]
pub struct Wal {
    log: Arc<Log>,
    table: RwLock<Table>,
    /// Highest segment in the table.
    entered: AtomicU32,
    pipeline: Arc<Mutex<Pipeline>>,
    shelf: Arc<Shelf>,
    env: Env,
    options: Options,
    block_bytes: u32,
    location: String,
    workers: Workers,
}

impl Wal {
    // ---- close -----------------------------------------------------------------------------------

    /// Makes everything durable, ends the log with a mark, and unlocks the directory.
    ///
    /// # Errors
    /// The failure that stopped the log, if one did; the directory is unlocked all the same.
    pub fn close(mut self) -> Result<(), Error> {
        let nothing = mutant("close_writes_nothing") || self.options.mode == OpenMode::Salvage;
        let result = if nothing { Ok(()) } else { self.flush().and_then(|_| self.mark()) };
        self.stop();
        result
    }

    fn stop(&mut self) {
        self.log.latch(Error::Closed);
        self.shelf.stop();
        if mutant("unlocked_before_its_threads_end") {
            self.log.core().unlock();
        }
        self.workers.join();
        // Not before: what the pipeline writes, names and removes must not land in another's log.
        self.log.core().unlock();
    }

    // ---- write -----------------------------------------------------------------------------------

    /// Enqueues one record. It is readable when this returns and durable when the ticket says.
    ///
    /// Blocks only for back-pressure: too many bytes not durable yet, or the next segment not ready.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`] and [`Error::NoSpace`] leave no trace; [`Error::Latched`] and
    /// [`Error::Closed`] end the log's use.
    pub fn append(&self, batch: &Batch, class: Class) -> Result<Ticket, Error> {
        let bytes = batch.encoded_len().saturating_add(batch.footer_bytes() as usize);
        let max = self.record_bytes_max();
        if bytes > max {
            return Err(Error::RecordTooLarge { bytes, max });
        }
        let head_crc = batch.head_crc(class);
        loop {
            let version = self.shelf.version();
            match self.log.append(batch, class, head_crc) {
                Ok(placed) => return Ok(self.ticket(placed, class)),
                Err(Blocked::Failed(error)) => return Err(error),
                Err(Blocked::Queue) => self.log.wait_for_space(),
                Err(Blocked::Pipeline) => self.wait_for_pipeline(version)?,
            }
        }
    }

    /// As [`Wal::append`], for callers that must not wait: no I/O and no sleep.
    ///
    /// # Errors
    /// [`Error::WouldWait`] where `append` would wait, or find the disk full; nothing was enqueued then.
    /// Otherwise as [`Wal::append`].
    pub fn append_now(&self, batch: &Batch, class: Class) -> Result<Ticket, Error> {
        let bytes = batch.encoded_len().saturating_add(batch.footer_bytes() as usize);
        let max = self.record_bytes_max();
        if bytes > max {
            return Err(Error::RecordTooLarge { bytes, max });
        }
        let placed =
            self.log.append(batch, class, batch.head_crc(class)).map_err(|blocked| match blocked {
                Blocked::Failed(error) => error,
                Blocked::Queue | Blocked::Pipeline => Error::WouldWait,
            })?;
        Ok(self.ticket(placed, class))
    }

    /// The promise for a record that was placed, whose segment readers can find from here on.
    fn ticket(&self, placed: Placed, class: Class) -> Ticket {
        self.enter_segments(placed.lsn);
        Ticket::new(Arc::clone(&self.log), placed, class)
    }

    /// Largest [`Batch::encoded_len`] plus footer share that a segment of this log can hold, in bytes.
    pub fn record_bytes_max(&self) -> usize {
        // The segment's header, a mark, and what rounding up the group and the footer may cost.
        let blocks = 3 * self.block_bytes;
        let headers = 2 * GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + PART_BYTES + FOOTER_TAIL_BYTES;
        let segment_bytes = self.options.segment_bytes / self.block_bytes * self.block_bytes;
        // And the marks before a record and a footer that are longer than the segment's reach.
        let long = segment_bytes.saturating_sub(blocks) > self.options.in_flight_bytes;
        let blocks = if long { blocks + 2 * self.block_bytes } else { blocks };
        segment_bytes.saturating_sub(blocks + len32(headers)) as usize
    }

    /// Length of a new segment file, in bytes.
    pub fn segment_bytes(&self) -> u64 {
        u64::from(self.options.segment_bytes / self.block_bytes * self.block_bytes)
    }

    /// Makes everything enqueued so far durable, lazy records included; returns the durable end. Callbacks of
    /// tickets may still be running then.
    pub fn flush(&self) -> Result<Lsn, Error> {
        self.log.flush()
    }

    /// Says that segments below `segment` hold nothing live. Takes effect, and frees their files, once
    /// a later group is durable; does not wait. Never goes back, nor beyond the segment in use.
    pub fn release(&self, segment: u32) -> Result<(), Error> {
        let segment = {
            let core = self.log.core();
            if let Some(failure) = core.failure() {
                return Err(failure.clone());
            }
            segment.min(core.segment().sequence)
        };
        self.enter_segments(Lsn::new(segment, 0));
        // Out of the readers' reach first: once the release is durable the files are used again.
        // In one step, so that no other release can be durable before the shelf knows who may still read.
        let mut table = self.table.write();
        let released = table.release(segment);
        self.shelf.retire(released);
        drop(table);
        self.log.release(segment);
        Ok(())
    }

    /// Installs what makes the footers, and shows it the records of the segment in use. Call it before
    /// the first append.
    pub fn set_sealer(&self, mut sealer: Box<dyn Sealer>) -> Result<(), Error> {
        if self.options.mode == OpenMode::Salvage {
            return Ok(()); // nothing is ever sealed
        }
        let segment = self.active_segment();
        for record in self.records(Lsn::new(segment, 0)) {
            let record = record?;
            sealer.record(record.lsn(), record.meta(), &mut record.parts().map(|(info, _)| info));
        }
        self.log.core().set_sealer(sealer);
        Ok(())
    }

    /// Adds a mark unless the log ends in one, and waits for it.
    fn mark(&self) -> Result<(), Error> {
        loop {
            let version = self.shelf.version();
            let mut core = self.log.core();
            if !core.needs_mark() {
                let failure = core.failure().cloned();
                drop(core);
                return failure.map_or(Ok(()), Err);
            }
            let outcome = core.mark();
            drop(core);
            match outcome {
                Ok(_) => {
                    self.flush()?;
                    self.enter_segments(self.log.durable());
                }
                Err(Blocked::Failed(error)) => return Err(error),
                Err(Blocked::Queue) => self.log.wait_for_space(),
                Err(Blocked::Pipeline) => self.wait_for_pipeline(version)?,
            }
        }
    }

    /// Lets the pipeline catch up.
    fn wait_for_pipeline(&self, version: u64) -> Result<(), Error> {
        if self.workers.none() {
            return match self.pipeline.lock().step() {
                Ok(Progress::Full(_)) => Err(Error::NoSpace { path: self.location.clone() }),
                Ok(_) => Ok(()),
                Err(error) => {
                    self.log.latch(error.clone());
                    Err(error)
                }
            };
        }
        self.shelf.sleep(version, Some(Duration::from_millis(100)));
        Ok(())
    }

    /// Tells the readers' table about segments that rotation entered, up to the one of `lsn`.
    fn enter_segments(&self, lsn: Lsn) {
        if self.entered.load(Ordering::Acquire) >= lsn.segment() {
            return;
        }
        let mut table = self.table.write();
        let entered: Vec<_> = self.log.core().entered.drain(..).collect();
        for (previous_end, segment) in &entered {
            table.enter(*previous_end, Arc::clone(segment));
            self.entered.store(segment.sequence, Ordering::Release);
        }
        drop(table);
        for (previous_end, segment) in entered {
            self.shelf.tell(|l| l.segment_sealed(previous_end.segment(), previous_end.offset()));
            self.shelf.tell(|l| l.segment_opened(segment.sequence));
        }
    }

    /// End of the durable prefix.
    pub fn durable(&self) -> Lsn {
        self.log.durable()
    }

    /// Lowest segment that readers can still reach.
    pub fn first_segment(&self) -> u32 {
        self.table.read().first().unwrap_or_else(|| self.active_segment())
    }

    /// The segment that the next record goes to, at the earliest.
    pub fn active_segment(&self) -> u32 {
        self.log.active_segment()
    }

    /// Numbers since open.
    pub fn stats(&self) -> Stats {
        let (spares_zeroed, spares_stale) = self.shelf.ready_by_prior();
        let strategy = match self.env.disk.mode() {
            Mode::Direct => "direct",
            Mode::Buffered => "sync",
        };
        let pipeline_bytes = self.shelf.prepared_bytes();
        let (no_room, released_given_up) = self.shelf.trouble();
        let stats = self.log.core().stats();
        let backend = self.workers.backend();
        Stats {
            spares_zeroed,
            spares_stale,
            pipeline_bytes,
            no_room,
            released_given_up,
            strategy,
            backend,
            ..stats
        }
    }

    /// Tells `listener` of events from now on; only the first one counts.
    pub fn set_listener(&self, listener: Arc<dyn Listener>) {
        self.shelf.listen(listener);
    }
}

#[cfg(feature = "sim")]
impl Wal {
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub(crate) fn pipeline(&self) -> &Mutex<Pipeline> {
        &self.pipeline
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The directory is another's, who wrote `holder`.
fn locked(disk: &dyn Disk, holder: String) -> Error {
    let holder = if holder.is_empty() { "another process".into() } else { holder };
    Error::Locked { path: disk.location(), holder }
}

/// The kept log, for readers.
fn table(verdict: &Verdict, segments: &BTreeMap<u32, Arc<Segment>>) -> Table {
    let mut table = Table::new(Fences::new(verdict.damaged.clone()));
    for kept in &verdict.kept {
        if let Some(segment) = segments.get(&kept.segment) {
            table.insert(Arc::clone(segment), Some(kept.end));
        }
    }
    table
}
