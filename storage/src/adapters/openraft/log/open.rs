//! Opens one log and keeps its state in memory: the vote, the purged log id, and the leaders of its entries.
//!
//! The state in memory never gets ahead of what the engine has accepted. Opening fails if the stored data is
//! inconsistent or belongs to another application.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::adapters::openraft::codec::decode;
use crate::adapters::openraft::error::{Error, Result};
use crate::adapters::openraft::log::leaders::{Leaders, Run};
use crate::adapters::openraft::log_id::{Ends, Id};
use crate::adapters::openraft::stores::LogStores;
use crate::engine::Group;
use crate::error::Error as EngineError;
use crate::threads::task_pool::Task;
use crate::types::{Entry, GroupId};

/// The types that differ between the two versions of openraft.
pub(crate) trait Types: 'static {
    /// The leader that proposed an entry, as in its log id.
    type Leader: Clone + PartialEq + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    type Vote: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;
    type Entry: Serialize + DeserializeOwned + Send + 'static;

    fn id(entry: &Self::Entry) -> Id<Self::Leader>;
}

/// One open log, shared by its writer, its readers and calls in progress.
pub(in crate::adapters::openraft) struct Core<T: Types> {
    pub(in crate::adapters::openraft) logs: LogStores,
    pub(in crate::adapters::openraft) log: Group,
    pub(in crate::adapters::openraft) state: Group,
    /// Serializes the writes. A thread of the pool may block while it holds this; a caller never waits for it.
    pub(in crate::adapters::openraft) order: Mutex<()>,
    /// Writes that wait for a thread, in the order of their calls. Any thread that holds `order` takes the
    /// first.
    pub(in crate::adapters::openraft) waiting: Mutex<VecDeque<Task>>,
    pub(in crate::adapters::openraft) memory: RwLock<Memory<T>>,
}

pub(in crate::adapters::openraft) struct Memory<T: Types> {
    pub(in crate::adapters::openraft) stored: Stored<T::Leader, T::Vote>,
    pub(in crate::adapters::openraft) leaders: Leaders<T::Leader>,
}

/// The record with the vote and the purged log id.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::adapters::openraft) struct Stored<L, V> {
    pub(in crate::adapters::openraft) vote: Option<V>,
    pub(in crate::adapters::openraft) purged: Option<Id<L>>,
}

impl<T: Types> Core<T> {
    /// Opens the log. Reads the record of the vote and one entry per leader.
    pub(in crate::adapters::openraft) fn open(
        logs: &LogStores,
        group: GroupId,
        state: GroupId,
    ) -> Result<Arc<Core<T>>> {
        let (log, state) = (logs.engine().group(group), logs.engine().group(state));
        let stored = match state.last_index() {
            0 => Stored { vote: None, purged: None },
            last => {
                let record = state.entries(last, last + 1, None)?;
                let payload = record.first().map(|entry| &entry.payload[..]).unwrap_or_default();
                decode(payload).map_err(|source| Error::State { group, source })?
            }
        };
        if let Some(Id { index: purged, .. }) = &stored.purged {
            let first = log.first_index().saturating_sub(1);
            if *purged >= first {
                return Err(Error::Purged { group, purged: *purged, first });
            }
        }
        let (terms, end) = (log.term_runs(), log.last_index() + 1);
        let ends = terms.iter().skip(1).map(|(first, _)| *first).chain([end]);
        let mut runs = Vec::with_capacity(terms.len());
        for ((first, epoch), end) in terms.iter().zip(ends) {
            runs.push(Run { first: *first, epoch: *epoch, leader: leader::<T>(&log, *first, end)? });
        }
        let memory = RwLock::new(Memory { stored, leaders: Leaders::new(runs) });
        let (logs, order, waiting) = (logs.clone(), Mutex::new(()), Mutex::default());
        Ok(Arc::new(Core { logs, log, state, order, waiting, memory }))
    }

    pub(in crate::adapters::openraft) fn ends(&self) -> Ends<T::Leader> {
        let memory = self.memory.read();
        let (last, purged) = (self.log.last_index(), memory.stored.purged.clone());
        let live = if last < self.log.first_index() { None } else { memory.leaders.run(last) };
        let last = live.map(|run| Id { leader: run.leader.clone(), index: last - 1 });
        Ends { last: last.or_else(|| purged.clone()), purged }
    }

    /// The committed log id, if the log has that entry; an index after the end of the log cannot be applied.
    pub(in crate::adapters::openraft) fn committed(&self) -> Option<Id<T::Leader>> {
        let memory = self.memory.read();
        let index = self.log.hard_state().commit;
        if index == 0 {
            return None;
        }
        if index < self.log.first_index() {
            return memory.stored.purged.clone();
        }
        memory.leaders.run(index).map(|run| Id { leader: run.leader.clone(), index: index - 1 })
    }
}

/// Reads the leader of the entries of one epoch. Skips damaged payloads as long as one is intact.
fn leader<T: Types>(log: &Group, first: u64, end: u64) -> Result<T::Leader> {
    let mut damaged = None;
    for index in first..end {
        match log.entries(index, index + 1, None) {
            Ok(entries) => {
                let entry = entries.first().map(|entry| decode_entry::<T>(log.id(), entry)).transpose()?;
                if let Some(entry) = entry {
                    return Ok(T::id(&entry).leader);
                }
            }
            Err(error @ EngineError::DamagedEntry { .. }) => _ = damaged.get_or_insert(error),
            Err(error) => return Err(error.into()),
        }
    }
    let unavailable = EngineError::Unavailable { group: log.id(), index: first, last_index: end - 1 };
    Err(damaged.unwrap_or(unavailable).into())
}

/// Decodes the core's entry in `entry`.
pub(in crate::adapters::openraft) fn decode_entry<T: Types>(
    group: GroupId,
    entry: &Entry,
) -> Result<T::Entry> {
    let index = entry.index.saturating_sub(1);
    let decoded: T::Entry = decode(&entry.payload).map_err(|source| Error::Entry { group, index, source })?;
    let found = T::id(&decoded).index;
    if found != index {
        return Err(Error::Misplaced { group, index, found });
    }
    Ok(decoded)
}
