//! [`Wal`], the handle of an open log: writing, waiting, releasing and closing.

use crate::commit::{Appended, Blocked, Committer, Ticket};
use crate::counters::Stats;
use crate::env::Env;
use crate::error::Error;
use crate::format::layout::{FOOTER_TAIL_BYTES, GROUP_HEADER_BYTES, PART_BYTES, RECORD_HEADER_BYTES};
use crate::format::{Closed, RecordBuilder};
use crate::listener::Listener;
use crate::options::{OpenMode, Options};
use crate::read::log_view::LogView;
use crate::segment::descriptors::Descriptors;
use crate::segment::directory::write_closed;
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::segment::preallocator::{Preallocator, StepOutcome};
use crate::segment::spare_pool::SparePool;
use crate::sync::{AtomicU32, Mutex};
use crate::types::{Durability, Lsn, len32};
use crate::wal::threads::LogThreads;
use seawall_disk::Mode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// An open log. All methods may be called from any thread.
///
/// [`Wal::append`] enqueues a record and returns a [`Ticket`]. The record can be read at once, and is durable when
/// the ticket says so. Dropping the log without [`Wal::close`] has the effect of killing the process: records that
/// were not acknowledged may be lost, acknowledged ones are kept.
#[derive(Debug)]
pub struct Wal {
    pub(super) log: Arc<Committer>,
    pub(super) view: LogView,
    /// Highest segment that is in the table of `view`.
    pub(super) entered: AtomicU32,
    pub(super) preallocator: Arc<Mutex<Preallocator>>,
    pub(super) spare_pool: Arc<SparePool>,
    pub(super) descriptors: Arc<Descriptors>,
    pub(super) env: Env,
    pub(super) options: Options,
    pub(super) workers: LogThreads,
    /// Identity of the log, and the end that the `CLOSED` file records.
    pub(super) closed: Closed,
}

impl Wal {
    // ---- close -----------------------------------------------------------------------------------

    /// Makes everything durable, ends the log with a mark, records the end in the file `CLOSED` if the disk has room
    /// for it, and unlocks the directory.
    ///
    /// # Errors
    /// The failure that stopped the log, if there was one. The directory is unlocked in any case.
    pub fn close(mut self) -> Result<(), Error> {
        let writable = self.options.mode != OpenMode::Salvage;
        let result = if writable { self.flush().and_then(|_| self.mark()) } else { Ok(()) };
        if writable && result.is_ok() {
            self.write_closed_file(self.log.durable());
        }
        self.stop();
        result
    }

    /// Writes the end of the log, which is durable, to the file `CLOSED`. If that fails, for example on a full disk,
    /// the file of an earlier close stays. Its contents are still true, and the close still succeeds.
    fn write_closed_file(&self, end: Lsn) {
        let closed = Closed { end, ..self.closed };
        if closed.end > self.closed.end {
            let _ = write_closed(&*self.env.disk, &closed, self.view.block_bytes);
        }
    }

    fn stop(&mut self) {
        self.log.poison(Error::Closed);
        self.spare_pool.stop();
        let joined = self.workers.join();
        self.preallocator.lock().end();
        // The delivery thread is not joined: a callback may run for ever, and this may be one.
        self.log.end_delivery();
        // Unlock last: the preallocator must not write, name or remove files in a directory that another process
        // uses.
        let freed = self.log.lock_state().unlock();
        // Threads that wait for tickets may still write. In a stepped log, the caller has the operations in flight.
        if joined && let Some(freed) = freed {
            freed.wait();
        }
    }

    // ---- write -----------------------------------------------------------------------------------

    /// Enqueues one record. The record is readable when this returns and durable when the ticket says so.
    ///
    /// Blocks only for back-pressure: while too many bytes are not durable, while too many callbacks are outstanding
    /// ([`Options::callbacks_max`]; never inside a callback), or until the next segment is ready.
    ///
    /// # Errors
    /// Nothing was enqueued, and the log can still be used: [`Error::RecordTooLarge`], [`Error::NoSpace`],
    /// [`Error::NoDescriptors`], and inside a callback [`Error::CallbacksFull`]. The log accepts no more records:
    /// [`Error::Latched`], [`Error::Closed`], [`Error::ReadOnly`].
    pub fn append(&self, batch: &RecordBuilder, class: Durability) -> Result<Ticket, Error> {
        if self.log.callbacks_limited() {
            while let Some(full) = self.callbacks_full()? {
                full.wait();
            }
        }
        self.append_admitted(batch, class)
    }

    /// Whether [`Wal::append`] would wait for callbacks now. If so, returns a value that waits for them and that does
    /// not borrow the log.
    ///
    /// For callers that hold locks while they append, which a callback may need: they wait without their locks until
    /// this returns `None`, then take the locks and call [`Wal::append_admitted`].
    ///
    /// # Errors
    /// [`Error::CallbacksFull`], inside a callback.
    pub fn callbacks_full(&self) -> Result<Option<CallbacksFull>, Error> {
        let full = self.log.callbacks_limited() && self.log.callbacks_full()?;
        Ok(full.then(|| CallbacksFull(Arc::clone(&self.log))))
    }

    /// As [`Wal::append`], without waiting for callbacks.
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub fn append_admitted(&self, batch: &RecordBuilder, class: Durability) -> Result<Ticket, Error> {
        let bytes = batch.encoded_len().saturating_add(batch.footer_bytes() as usize);
        let max = self.record_bytes_max();
        if bytes > max {
            return Err(Error::RecordTooLarge { bytes, max });
        }
        let head_crc = batch.head_crc(class);
        loop {
            let version = self.spare_pool.version();
            match self.log.append(batch, class, head_crc) {
                Ok(placed) => return Ok(self.ticket(placed, class)),
                Err(Blocked::Failed(error)) => return Err(error),
                Err(Blocked::Queue) => self.log.wait_for_space(),
                Err(Blocked::Preallocator) => self.wait_for_preallocator(version)?,
            }
        }
    }

    /// As [`Wal::append`], for callers that must not wait: does no I/O and does not sleep.
    ///
    /// # Errors
    /// [`Error::WouldWait`] where `append` would wait; nothing was enqueued then. A full disk is [`Error::NoSpace`]
    /// once the preallocator has reported it, and `WouldWait` before. Otherwise as [`Wal::append`].
    pub fn try_append(&self, batch: &RecordBuilder, class: Durability) -> Result<Ticket, Error> {
        let bytes = batch.encoded_len().saturating_add(batch.footer_bytes() as usize);
        let max = self.record_bytes_max();
        if bytes > max {
            return Err(Error::RecordTooLarge { bytes, max });
        }
        if self.log.callbacks_limited() && self.log.callbacks_full()? {
            return Err(Error::WouldWait);
        }
        let placed =
            self.log.append(batch, class, batch.head_crc(class)).map_err(|blocked| match blocked {
                Blocked::Failed(error) => error,
                Blocked::Queue | Blocked::Preallocator => Error::WouldWait,
            })?;
        Ok(self.ticket(placed, class))
    }

    /// Makes the ticket of a record that was placed, and makes its segment visible to readers.
    fn ticket(&self, placed: Appended, class: Durability) -> Ticket {
        self.enter_segments(placed.lsn);
        Ticket::new(Arc::clone(&self.log), placed, class)
    }

    /// Largest sum of [`RecordBuilder::encoded_len`] and [`RecordBuilder::footer_bytes`] that a segment of this log
    /// can hold, in bytes.
    pub fn record_bytes_max(&self) -> usize {
        // The segment's header, a mark, and the rounding of the group and of the footer.
        let blocks = 3 * self.view.block_bytes;
        let headers = 2 * GROUP_HEADER_BYTES + RECORD_HEADER_BYTES + PART_BYTES + FOOTER_TAIL_BYTES;
        let segment_bytes = self.options.segment_bytes / self.view.block_bytes * self.view.block_bytes;
        // The marks before a record and before a footer that are longer than the segment's reach.
        let long = segment_bytes.saturating_sub(blocks) > self.options.in_flight_bytes_max;
        let blocks = if long { blocks + 2 * self.view.block_bytes } else { blocks };
        segment_bytes.saturating_sub(blocks + len32(headers)) as usize
    }

    /// Length of a new segment file, in bytes.
    pub fn segment_bytes(&self) -> u64 {
        u64::from(self.options.segment_bytes / self.view.block_bytes * self.view.block_bytes)
    }

    /// Makes everything enqueued so far durable, including lazy records, and returns the durable end. Callbacks of
    /// tickets may still be running when it returns.
    ///
    /// # Errors
    /// The failure that stopped the log: [`Error::Latched`], [`Error::Closed`] or [`Error::ReadOnly`].
    pub fn flush(&self) -> Result<Lsn, Error> {
        self.log.flush()
    }

    /// Blocks until the record at `lsn` is durable or `timeout` has passed. Returns the end of the durable prefix:
    /// every record that begins below it is durable (INV-2).
    ///
    /// One call lets a thread collect all its completions: it keeps the positions of its records in order, waits for
    /// the first, and takes those below the returned end. If the disk is free, the calling thread writes the records
    /// itself, as [`Ticket::wait`] does, also if the record is lazy; the timeout does not cut such a write short.
    /// With a timeout of zero it neither waits nor writes.
    ///
    /// ```
    /// use seawall_wal::{Durability, Error, Lsn, RecordBuilder, Wal};
    /// use std::{collections::VecDeque, time::Duration};
    ///
    /// /// Appends `count` records with up to 32 in flight; `done` hears of each when it is durable, in order.
    /// fn load(wal: &Wal, count: usize, mut done: impl FnMut(Lsn)) -> Result<(), Error> {
    ///     let (mut batch, mut in_flight) = (RecordBuilder::new(), VecDeque::new());
    ///     batch.push_part(b"payload");
    ///     let mut left = count;
    ///     while left > 0 || !in_flight.is_empty() {
    ///         while left > 0 && in_flight.len() < 32 {
    ///             in_flight.push_back(wal.append(&batch, Durability::Sync)?.lsn());
    ///             left -= 1;
    ///         }
    ///         let durable = wal.wait_past(in_flight[0], Duration::MAX)?;
    ///         while in_flight.front().is_some_and(|lsn| *lsn < durable) {
    ///             in_flight.pop_front().into_iter().for_each(&mut done);
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let wal = Wal::create(dir.path().join("log"), &seawall_wal::Options::default()).unwrap();
    /// # let mut seen = Vec::new();
    /// # load(&wal, 100, |lsn| seen.push(lsn)).unwrap();
    /// # assert!(seen.len() == 100 && seen.is_sorted());
    /// ```
    ///
    /// # Errors
    /// [`Error::Latched`] or [`Error::Closed`] if the log stopped before the record was durable;
    /// [`Error::NotInLog`] if nothing was appended at `lsn`.
    pub fn wait_past(&self, lsn: Lsn, timeout: Duration) -> Result<Lsn, Error> {
        self.log.wait_past(lsn, timeout)
    }

    /// Releases the segments below `segment`: they hold nothing live. The release takes effect, and frees their
    /// files, once a later group is durable; this does not wait for it. A lower number than before has no effect, and
    /// a higher number than that of the segment in use counts as the latter.
    ///
    /// # Errors
    /// The failure that stopped the log: [`Error::Latched`], [`Error::Closed`] or [`Error::ReadOnly`].
    pub fn release(&self, segment: u32) -> Result<(), Error> {
        let segment = {
            let state = self.log.lock_state();
            if let Some(failure) = state.failure() {
                return Err(failure.clone());
            }
            segment.min(state.segment().sequence)
        };
        self.enter_segments(Lsn::new(segment, 0));
        // First remove the segments from the readers' table: once the release is durable their files are reused.
        // Under one lock with handing them to the spare pool, so that no other release becomes durable before the
        // pool knows which files readers may still use.
        let mut table = self.view.table.write();
        let released = table.release(segment);
        self.spare_pool.put_released(released);
        drop(table);
        self.log.release(segment);
        Ok(())
    }

    /// Installs the builder of footers, and shows it the records of the segment in use. Call it before the first
    /// append. Has no effect on a log that is opened in [`OpenMode::Salvage`].
    ///
    /// # Errors
    /// If the records of the segment in use cannot be read.
    pub fn set_index_builder(&self, mut index_builder: Box<dyn SegmentIndexBuilder>) -> Result<(), Error> {
        if self.options.mode == OpenMode::Salvage {
            return Ok(()); // nothing is ever sealed
        }
        let segment = self.active_segment();
        for record in self.records(Lsn::new(segment, 0)) {
            let record = record?;
            index_builder.record(record.lsn(), record.meta(), &mut record.parts().map(|(info, _)| info));
        }
        self.log.lock_state().set_index_builder(index_builder);
        Ok(())
    }

    /// Appends a mark unless the log already ends with one, and waits until it is durable.
    pub(super) fn mark(&self) -> Result<(), Error> {
        loop {
            let version = self.spare_pool.version();
            let mut state = self.log.lock_state();
            if !state.needs_mark() {
                let failure = state.failure().cloned();
                drop(state);
                return failure.map_or(Ok(()), Err);
            }
            let outcome = state.mark();
            drop(state);
            match outcome {
                Ok(_) => {
                    self.flush()?;
                    self.enter_segments(self.log.durable());
                }
                Err(Blocked::Failed(error)) => return Err(error),
                Err(Blocked::Queue) => self.log.wait_for_space(),
                Err(Blocked::Preallocator) => self.wait_for_preallocator(version)?,
            }
        }
    }

    /// Waits up to 100 ms for progress of the preallocator since `version`. If the log has no threads, makes one step
    /// of the preallocator instead.
    fn wait_for_preallocator(&self, version: u64) -> Result<(), Error> {
        if self.workers.none() {
            return match self.preallocator.lock().step() {
                Ok(StepOutcome::Full(_)) => {
                    let failure = self.spare_pool.failure().or_else(|| self.spare_pool.unwritable());
                    Err(failure.unwrap_or_else(|| Error::NoSpace { path: self.view.location.clone() }))
                }
                Ok(StepOutcome::Behind(_)) => {
                    self.log.wait_for_space();
                    Ok(())
                }
                Ok(
                    StepOutcome::Stepped
                    | StepOutcome::Idle(_)
                    | StepOutcome::Lull(_)
                    | StepOutcome::Ahead(_),
                ) => Ok(()),
                Err(error) => {
                    self.log.poison(error.clone());
                    Err(error)
                }
            };
        }
        self.spare_pool.sleep(version, Some(Duration::from_millis(100)));
        Ok(())
    }

    /// Adds the segments that rotation entered, up to the one of `lsn`, to the readers' table.
    pub(super) fn enter_segments(&self, lsn: Lsn) {
        if self.entered.load(Ordering::Acquire) >= lsn.segment() {
            return;
        }
        let mut table = self.view.table.write();
        let entered: Vec<_> = self.log.lock_state().entered.drain(..).collect();
        for (previous_end, segment) in &entered {
            table.enter(*previous_end, Arc::clone(segment));
            self.entered.store(segment.sequence, Ordering::Release);
        }
        drop(table);
        for (previous_end, segment) in entered {
            self.spare_pool
                .notify_listener(|l| l.segment_sealed(previous_end.segment(), previous_end.offset()));
            self.spare_pool.notify_listener(|l| l.segment_opened(segment.sequence));
        }
    }

    /// End of the durable prefix: every record that begins below it is durable (INV-2).
    pub fn durable(&self) -> Lsn {
        self.log.durable()
    }

    /// Number of the lowest segment that readers can still reach.
    pub fn first_segment(&self) -> u32 {
        self.view.table.read().first().unwrap_or_else(|| self.active_segment())
    }

    /// Number of the segment in use: the next record goes to it or to a later one.
    pub fn active_segment(&self) -> u32 {
        self.log.active_segment()
    }

    /// Counters since open, and current levels.
    pub fn stats(&self) -> Stats {
        let (spares_zeroed, spares_stale) = self.spare_pool.ready_by_prior();
        let strategy = match self.env.disk.mode() {
            Mode::Direct => "direct",
            Mode::Buffered => "sync",
        };
        let preallocated_bytes = self.spare_pool.prepared_bytes();
        let (no_room, released_given_up) = self.spare_pool.trouble();
        let stats = self.log.lock_state().stats();
        let (backend, callbacks) = (self.workers.backend(), self.log.callback_count());
        Stats {
            callbacks,
            spares_zeroed,
            spares_stale,
            preallocated_bytes,
            no_room,
            released_given_up,
            reopened: self.descriptors.reopened(),
            strategy,
            backend,
            ..stats
        }
    }

    /// Sets the listener that is told of events from now on; calls after the first have no effect.
    pub fn set_listener(&self, listener: Arc<dyn Listener>) {
        self.spare_pool.set_listener(listener);
    }
}

/// Handle that waits until the log admits more callbacks; see [`Wal::callbacks_full`].
#[derive(Debug)]
pub struct CallbacksFull(Arc<Committer>);

impl CallbacksFull {
    /// Blocks until there is room for more callbacks or the log has stopped.
    pub fn wait(self) {
        self.0.wait_for_callbacks();
    }
}

#[cfg(feature = "sim")]
impl Wal {
    pub(crate) fn log(&self) -> &Committer {
        &self.log
    }

    pub(crate) fn preallocator(&self) -> &Mutex<Preallocator> {
        &self.preallocator
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.stop();
    }
}
