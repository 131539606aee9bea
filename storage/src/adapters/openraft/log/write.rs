//! Writes to one log: appends, votes, the committed index, truncation and purging.
//!
//! The writes of a group reach the log in the order of the calls (INV-2). This includes calls that had to wait,
//! and abandoned ones: a call that was begun is carried out. A call inspects the log when its turn comes.
//! Entries whose callback got `Ok`, and votes whose call returned `Ok`, are durable (INV-1). A call that the
//! engine refuses leaves nothing in the log, except that an append of several records may have written the
//! first ones.

use std::collections::VecDeque;
use std::sync::Arc;

use seawall_wal::Ticket;

use crate::adapters::openraft::blocking::errand;
use crate::adapters::openraft::codec::encode;
use crate::adapters::openraft::error::{Error, Result};
use crate::adapters::openraft::log::callback_order::{Callback, CallbackQueue};
use crate::adapters::openraft::log::leaders::Run;
use crate::adapters::openraft::log::open::{Core, Memory, Stored, Types};
use crate::adapters::openraft::log::read::LogReads;
use crate::adapters::openraft::log_id::Id;
use crate::adapters::openraft::stores::{GroupLease, LogStores};
use crate::error::Error as EngineError;
use crate::types::{Entry, EntryRef, GroupId, HardState};
use crate::write::WriteBatch;

/// Upper bound of the bytes that an entry takes in a record in addition to its payload: its checksum and its
/// share of the footer.
const ENTRY_OVERHEAD_BYTES: usize = 128;

/// The engine's term of the entries that hold votes.
const STATE_TERM: u64 = 1;

/// Writes a batch; `None` if that would block and must not.
type Write<'a> = &'a dyn Fn(&mut WriteBatch) -> std::result::Result<Option<Ticket>, EngineError>;

/// The writer of one log.
pub(crate) struct LogWrites<T: Types> {
    core: Arc<Core<T>>,
    turns: Arc<CallbackQueue>,
    lease: Arc<GroupLease>,
}

/// An entry ready to be written, with the engine's index.
struct Encoded<L> {
    leader: L,
    index: u64,
    payload: Vec<u8>,
}

impl<T: Types> LogWrites<T> {
    /// Opens the log of `group`, whether it exists or not. Reads from the disk.
    pub(crate) fn open(logs: &LogStores, group: GroupId) -> Result<LogWrites<T>> {
        let lease = Arc::new(logs.lease(group)?);
        let core = Core::open(logs, group, lease.state_group())?;
        Ok(LogWrites { core, turns: Arc::default(), lease })
    }

    pub(crate) fn reads(&self) -> LogReads<T> {
        LogReads(Arc::clone(&self.core))
    }

    /// Makes `vote` durable, and with it everything written before.
    pub(crate) async fn save_vote(&mut self, vote: T::Vote) -> Result<()> {
        let ticket = self.perform(move |core, write| core.save_vote(&vote, write)).await?;
        ticket.await?;
        Ok(())
    }

    /// Records that the entries up to `index` are committed. Becomes durable with the next durable write. An
    /// index after the end of the log is reduced to the last entry; a lower index than before is ignored.
    pub(crate) async fn save_committed(&mut self, index: Option<u64>) -> Result<()> {
        let Some(index) = index else { return Ok(()) };
        self.perform(move |core, write| {
            let commit = index.saturating_add(1).min(core.log.last_index());
            if commit <= core.log.hard_state().commit {
                return Ok(Some(()));
            }
            let mut batch = WriteBatch::new();
            batch.hard_state(core.log.id(), HardState { commit, ..HardState::default() });
            Ok(write(&mut batch)?.map(|_| ()))
        })
        .await
    }

    /// Appends `entries`, which can be read when this returns. Calls `callback` once, on any thread, when they
    /// are durable or can no longer become durable, and after the callbacks of earlier appends; also if this
    /// call fails. Leaves out entries at or below the purged one.
    pub(crate) async fn append(&mut self, entries: Vec<T::Entry>, callback: Callback) -> Result<()> {
        let turn = self.turns.next(callback);
        let mut records = match self.core.encode(&entries) {
            Ok(records) => records,
            Err(error) => {
                turn.answer(Err(error.clone()));
                return Err(error);
            }
        };
        drop(entries);
        // The work holds the turn: if the work is lost, dropping the turn answers.
        let mut turn = Some(turn);
        self.perform(move |core, write| {
            let written = core.append(&mut records, write);
            match written {
                Ok(None) => return Ok(None),
                Ok(Some(ticket)) => {
                    if let Some(turn) = turn.take() {
                        ticket.on_durable(move |result| turn.answer(result.map(|_| ()).map_err(Error::from)));
                    }
                }
                Err(error) => {
                    if let Some(turn) = turn.take() {
                        turn.answer(Err(error.clone()));
                    }
                    return Err(error);
                }
            }
            Ok(Some(()))
        })
        .await
    }

    /// Removes the entries from `index` on.
    pub(crate) async fn truncate(&mut self, index: u64) -> Result<()> {
        let index = index.saturating_add(1);
        // Reads the last remaining entry and writes it again, which may block.
        self.perform_on_a_thread(move |core, write| {
            if index > core.log.last_index() {
                return Ok(Some(()));
            }
            let kept = match index.checked_sub(1) {
                Some(last) if last >= core.log.first_index() => core.log.entries(last, index, None)?.pop(),
                _ => None,
            };
            Ok(core.truncate(kept.as_ref(), write)?.map(|_| ()))
        })
        .await
    }

    /// Removes the entries up to `id`, which may be after the end of the log. Does not wait until that is
    /// durable: losing a purge in a crash does no harm, and later writes become durable only after it.
    pub(crate) async fn purge(&mut self, id: Id<T::Leader>) -> Result<()> {
        self.core.engine_index(id.index)?;
        self.perform(move |core, write| {
            let purged = core.memory.read().stored.purged.as_ref().map(|purged| purged.index);
            if purged.is_some_and(|purged| id.index <= purged) {
                return Ok(Some(()));
            }
            Ok(core.purge(&id, write)?.map(|_| ()))
        })
        .await
    }

    /// Runs `work` on the calling thread if it need not block, otherwise on a thread of the pool. `work` is
    /// called again after it returned `None`.
    async fn perform<R: Send + 'static>(
        &self,
        mut work: impl FnMut(&Core<T>, Write<'_>) -> Result<Option<R>> + Send + 'static,
    ) -> Result<R> {
        let engine = self.core.logs.engine();
        // An earlier call that was abandoned may still be waiting; this one must then wait for it.
        if let Some(_order) = self.core.order.try_lock()
            && self.core.waiting.lock().is_empty()
            && let Some(result) = work(&self.core, &|batch| engine.try_write(batch))?
        {
            return Ok(result);
        }
        self.perform_on_a_thread(work).await
    }

    /// Runs `work` on a thread, after all earlier calls.
    async fn perform_on_a_thread<R: Send + 'static>(
        &self,
        mut work: impl FnMut(&Core<T>, Write<'_>) -> Result<Option<R>> + Send + 'static,
    ) -> Result<R> {
        let (core, lease) = (Arc::clone(&self.core), Arc::clone(&self.lease));
        let (errand, answer) = errand(move || {
            let _lease = lease;
            let engine = core.logs.engine();
            work(&core, &|batch| engine.write(batch).map(Some))?.ok_or(Error::Dropped)
        });
        self.core.waiting.lock().push_back(errand);
        let core = Arc::clone(&self.core);
        self.core.logs.hands().give(Box::new(move || core.perform_next()));
        answer.await
    }
}

impl<T: Types> Core<T> {
    /// Runs the first of the waiting writes.
    fn perform_next(&self) {
        let _order = self.order.lock();
        let next = self.waiting.lock().pop_front();
        if let Some(errand) = next {
            errand();
        }
    }

    /// Converts the core's `index` to the engine's.
    fn engine_index(&self, index: u64) -> Result<u64> {
        // The next index must be valid in the engine too.
        let out_of_range = Error::IndexRange { group: self.log.id(), index };
        if index < u64::MAX - 2 { Ok(index + 1) } else { Err(out_of_range) }
    }

    fn encode_one(&self, entry: &T::Entry) -> Result<Encoded<T::Leader>> {
        let Id { leader, index } = T::id(entry);
        let payload =
            encode(entry).map_err(|source| Error::Encode { group: self.log.id(), index, source })?;
        Ok(Encoded { leader, index: self.engine_index(index)?, payload })
    }

    /// Encodes `entries` into records; more than one if they are too large for a single record.
    fn encode(&self, entries: &[T::Entry]) -> Result<VecDeque<Vec<Encoded<T::Leader>>>> {
        let bytes_max = self.logs.engine().entry_bytes_max()? / 2;
        let (mut records, mut bytes) = (VecDeque::from([Vec::new()]), 0usize);
        for entry in entries {
            let entry = self.encode_one(entry)?;
            let size = entry.payload.len().saturating_add(ENTRY_OVERHEAD_BYTES);
            if bytes > 0 && bytes.saturating_add(size) > bytes_max {
                records.push_back(Vec::new());
                bytes = 0;
            }
            bytes = bytes.saturating_add(size);
            if let Some(record) = records.back_mut() {
                record.push(entry);
            }
        }
        Ok(records)
    }

    /// Writes `records`, removing each once it is written. The ticket is that of the last record.
    fn append(
        &self,
        records: &mut VecDeque<Vec<Encoded<T::Leader>>>,
        write: Write<'_>,
    ) -> Result<Option<Ticket>> {
        let mut ticket = None;
        while let Some(record) = records.front() {
            ticket = self.append_record(record, write)?;
            if ticket.is_none() {
                return Ok(None);
            }
            records.pop_front();
        }
        Ok(ticket)
    }

    fn append_record(&self, record: &[Encoded<T::Leader>], write: Write<'_>) -> Result<Option<Ticket>> {
        let (group, mut batch) = (self.log.id(), WriteBatch::new());
        let point = self.log.compaction_point().0;
        let record = &record[record.partition_point(|entry| entry.index <= point)..];
        let Some(first) = record.first().map(|entry| entry.index) else {
            // Nothing to append, but the callback keeps its place in the order.
            batch.hard_state(group, self.log.hard_state()).sync();
            return Ok(write(&mut batch)?);
        };
        let memory = self.memory.read();
        let (mut epoch, mut leader) = self.before(&memory, first);
        let begins = first > self.log.last_index() + 1 && self.is_new(&memory);
        let mut runs: Vec<Run<T::Leader>> = Vec::new();
        let mut entries = Vec::with_capacity(record.len());
        for entry in record {
            if leader != Some(&entry.leader) {
                epoch = epoch.saturating_add(1);
                leader = Some(&entry.leader);
            }
            if runs.last().is_none_or(|run| run.epoch != epoch) {
                runs.push(Run { first: entry.index, epoch, leader: entry.leader.clone() });
            }
            entries.push(EntryRef { index: entry.index, term: epoch, payload: &entry.payload });
        }
        if begins {
            // An empty log starts at its first entry, whatever its index.
            batch.set_start(group, first - 1, 0);
        }
        batch.append(group, &entries);
        drop(memory);
        let ticket = write(&mut batch)?;
        if ticket.is_some() {
            let mut memory = self.memory.write();
            runs.into_iter().for_each(|run| memory.leaders.push(run));
        }
        Ok(ticket)
    }

    /// Epoch and leader of the entry before `index`, if they are known.
    fn before<'a>(&self, memory: &'a Memory<T>, index: u64) -> (u64, Option<&'a T::Leader>) {
        let (point, epoch) = self.log.compaction_point();
        if index.saturating_sub(1) > point {
            return memory.leaders.run(index - 1).map_or((epoch, None), |run| (run.epoch, Some(&run.leader)));
        }
        let purged = memory.stored.purged.as_ref().filter(|purged| purged.index.saturating_add(1) == point);
        (epoch, purged.map(|purged| &purged.leader))
    }

    /// Whether the log never had an entry, or all of it was truncated.
    fn is_new(&self, memory: &Memory<T>) -> bool {
        memory.stored.purged.is_none() && self.log.last_index() == 0
    }

    /// Truncates the log after `kept`, which becomes its last entry, or to the purged log id if there is none.
    fn truncate(&self, kept: Option<&Entry>, write: Write<'_>) -> Result<Option<Ticket>> {
        let (group, mut batch) = (self.log.id(), WriteBatch::new());
        let hard = self.log.hard_state();
        let end = match kept {
            Some(entry) => {
                let Entry { index, term, payload } = entry;
                batch.append(group, &[EntryRef { index: *index, term: *term, payload }]);
                index + 1
            }
            None => {
                // No entry is left to write again: remove the group and restore what must stay.
                batch.remove_group(group);
                if let Some(purged) = &self.memory.read().stored.purged {
                    let epoch = self.log.compaction_point().1;
                    batch.set_start(group, self.engine_index(purged.index)?, epoch);
                }
                if hard.commit > 0 {
                    // The engine refuses this if a committed entry would be lost.
                    batch.hard_state(group, hard);
                }
                0
            }
        };
        let ticket = write(&mut batch)?;
        if ticket.is_some() {
            self.memory.write().leaders.truncate(end);
        }
        Ok(ticket)
    }

    fn purge(&self, id: &Id<T::Leader>, write: Write<'_>) -> Result<Option<Ticket>> {
        let (group, index) = (self.log.id(), self.engine_index(id.index)?);
        let mut batch = WriteBatch::new();
        let mut stored = self.memory.read().stored.clone();
        stored.purged = Some(id.clone());
        self.store(&mut batch, &stored)?;
        let last = self.log.last_index();
        if index >= self.log.first_index() {
            let memory = self.memory.read();
            let has = memory.leaders.run(index).is_some_and(|run| index <= last && run.leader == id.leader);
            drop(memory);
            if has {
                batch.compact(group, index);
            } else {
                // The log does not have this entry, or has another one there; the entries after it are then not
                // the core's either.
                let epoch = self.log.term(last).unwrap_or_default().saturating_add(1);
                batch.set_start(group, index, epoch);
            }
        }
        let ticket = write(&mut batch)?;
        if ticket.is_some() {
            let mut memory = self.memory.write();
            memory.stored = stored;
            memory.leaders.advance(index.saturating_add(1), self.log.last_index());
        }
        Ok(ticket)
    }

    fn save_vote(&self, vote: &T::Vote, write: Write<'_>) -> Result<Option<Ticket>> {
        let mut batch = WriteBatch::new();
        let mut stored = self.memory.read().stored.clone();
        stored.vote = Some(vote.clone());
        self.store(&mut batch, &stored)?;
        let ticket = write(&mut batch)?;
        if ticket.is_some() {
            self.memory.write().stored = stored;
        }
        Ok(ticket)
    }

    /// Adds `stored` to `batch`, and removes the previous record.
    fn store(&self, batch: &mut WriteBatch, stored: &Stored<T::Leader, T::Vote>) -> Result<()> {
        let payload = encode(stored).map_err(|source| Error::State { group: self.log.id(), source })?;
        let (group, last) = (self.state.id(), self.state.last_index());
        batch.append(group, &[EntryRef { index: last + 1, term: STATE_TERM, payload: &payload }]);
        if last > 0 {
            batch.compact(group, last);
        }
        Ok(())
    }
}
