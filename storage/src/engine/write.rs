//! Writes batches, and waits until they are durable.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use seawall_wal::{Lsn, Ticket, Wal};

use crate::engine::handle::Engine;
use crate::engine::inner::EngineInner;
use crate::error::{Error, Result};
use crate::group::Released;
use crate::write::{self, Wait, WriteBatch};

/// How long a wait keeps [`Engine::close`] waiting at most.
const WAIT_SLICE: Duration = Duration::from_millis(20);

impl Engine {
    /// Writes `batch` as one record. Its entries are readable when this returns and durable when the ticket completes
    /// (INV-1, INV-2). Waits only for other batches of the same groups, for room in the log's queue, while too many
    /// callbacks are outstanding ([`seawall_wal::Options::callbacks_max`]), and until the next segment is prepared.
    ///
    /// May be called from a callback ([`Ticket::on_durable`]); there it does not wait for other callbacks.
    ///
    /// On success the batch is empty and keeps its buffers. On an error it is unchanged.
    ///
    /// # Errors
    /// The errors that the methods of [`WriteBatch`] name; [`Error::EmptyBatch`], [`Error::EntryTooLarge`],
    /// [`Error::BatchTooLarge`], [`Error::ConfStateTooLarge`], [`Error::Closed`]. With these, nothing was written and
    /// nothing changed. Or the error of the log.
    pub fn write(&self, batch: &mut WriteBatch) -> Result<Ticket> {
        let core = &*self.0;
        let wal = core.wal_with_room()?;
        let (ticket, released) = core.write(&wal, batch, Wait::Yes)?;
        // The batch is in the log, whatever the result of this background work. If the log has failed, the ticket and
        // the next write report it.
        let _ = core.advance(&wal, released);
        Ok(ticket)
    }

    /// As [`Engine::write`], for callers that must not wait, such as the workers of an async runtime. Returns `None`
    /// and leaves the batch unchanged if `write` would wait, or if a group of the batch does not exist yet.
    ///
    /// # Errors
    /// As [`Engine::write`]. A full disk is the log's `NoSpace` once the preallocator has reported it, and `None` before.
    pub fn try_write(&self, batch: &mut WriteBatch) -> Result<Option<Ticket>> {
        let core = &*self.0;
        let wal = core.wal()?;
        match core.write(&wal, batch, Wait::No) {
            Ok((ticket, released)) => {
                core.advance_now(&wal, released);
                Ok(Some(ticket))
            }
            Err(Error::Log(seawall_wal::Error::WouldWait)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Blocks until the record at `lsn` ([`Ticket::lsn`]) is durable or `timeout` has passed. Returns the end of the
    /// durable prefix: every record that begins below it is durable (INV-2).
    ///
    /// With this call one thread can collect all of its completions, without callbacks and without another thread. If
    /// the disk is free, the calling thread writes the records itself, even if they are lazy; the timeout does not
    /// interrupt such a write. With a timeout of zero it neither waits nor writes.
    ///
    /// ```
    /// use seawall::{Engine, EntryRef, Error, WriteBatch};
    /// use std::{collections::VecDeque, time::Duration};
    ///
    /// /// Appends `count` entries to `group`, up to 32 in flight; calls `done` with each index, in order, once it is durable.
    /// fn load(engine: &Engine, group: u64, count: u64, mut done: impl FnMut(u64)) -> Result<(), Error> {
    ///     let (mut batch, mut in_flight, mut next) = (WriteBatch::new(), VecDeque::new(), 1);
    ///     while next <= count || !in_flight.is_empty() {
    ///         while next <= count && in_flight.len() < 32 {
    ///             batch.append(group, &[EntryRef { index: next, term: 1, payload: b"x" }]);
    ///             in_flight.push_back((engine.write(&mut batch)?.lsn(), next));
    ///             next += 1;
    ///         }
    ///         let durable = engine.wait_past(in_flight[0].0, Duration::MAX)?;
    ///         while in_flight.front().is_some_and(|(lsn, _)| *lsn < durable) {
    ///             in_flight.pop_front().into_iter().for_each(|(_, index)| done(index));
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = Engine::create(dir.path().join("log"), &seawall::Options::default()).unwrap();
    /// # let mut seen = Vec::new();
    /// # load(&engine, 7, 100, |index| seen.push(index)).unwrap();
    /// # assert!(seen.into_iter().eq(1..=100));
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`]; or the error of the log, if the log stopped before the record was durable or if no record was
    /// written at `lsn`.
    pub fn wait_past(&self, lsn: Lsn, timeout: Duration) -> Result<Lsn> {
        let mut durable = self.0.wal()?.wait_past(lsn, timeout.min(WAIT_SLICE))?;
        if durable > lsn || timeout <= WAIT_SLICE {
            return Ok(durable);
        }
        let end = Instant::now().checked_add(timeout - WAIT_SLICE);
        while durable <= lsn {
            let left = end.map_or(WAIT_SLICE, |end| end.saturating_duration_since(Instant::now()));
            durable = self.0.wal()?.wait_past(lsn, left.min(WAIT_SLICE))?;
            if left.is_zero() {
                break;
            }
        }
        Ok(durable)
    }
}

impl EngineInner {
    pub(super) fn write(&self, wal: &Wal, batch: &mut WriteBatch, wait: Wait) -> Result<(Ticket, Released)> {
        let payload = batch.has_payload();
        let written = write::write(self.store(wal), self.options.meta_bytes_max, batch, wait);
        match &written {
            Ok(_) => {
                self.index_builder.gather();
                // A cursor that is made at this moment may miss the bell; it looks again after `WAIT_SLICE`.
                if self.followers.load(Ordering::SeqCst) > 0 {
                    self.written.ring();
                }
                if payload && self.full.load(Ordering::Relaxed) {
                    self.full.store(false, Ordering::Relaxed);
                }
            }
            Err(error) if error.is_no_space() => self.found_full(wal),
            Err(_) => {}
        }
        written
    }
}
