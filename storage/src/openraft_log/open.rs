//! One log in memory besides what the engine knows: the vote, the purged log id, the leaders of its entries.
//! Place on the data's way: made by opening, from what is stored; changed by writes, looked at by reads.
//! Invariants: memory never says what the engine has not accepted. Fails: if what is stored does not fit
//! together, or is not this application's.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::Group;
use crate::errands::Errand;
use crate::error::Error as EngineError;
use crate::openraft_log::codec::decode;
use crate::openraft_log::error::{Error, Result};
use crate::openraft_log::id::{Ends, Id};
use crate::openraft_log::leaders::{Leaders, Run};
use crate::openraft_log::logs::Logs;
use crate::types::{Entry, GroupId};

/// What the two lines call by different names.
pub(crate) trait Types: 'static {
    /// Who proposed an entry, as its log id says.
    type Leader: Clone + PartialEq + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    type Vote: Clone + Serialize + DeserializeOwned + Send + Sync + 'static;
    type Entry: Serialize + DeserializeOwned + Send + 'static;

    fn id(entry: &Self::Entry) -> Id<Self::Leader>;
}

/// One open log, shared by its writer, its readers and work under way.
pub(super) struct Core<T: Types> {
    pub(super) logs: Logs,
    pub(super) log: Group,
    pub(super) state: Group,
    /// One write at a time. A thread may wait while it holds this; a caller never waits for it.
    pub(super) order: Mutex<()>,
    /// Writes that wait for a thread, in the order of their calls. The first is taken by a thread that holds `order`,
    /// whichever thread that is.
    pub(super) waiting: Mutex<VecDeque<Errand>>,
    pub(super) memory: RwLock<Memory<T>>,
}

pub(super) struct Memory<T: Types> {
    pub(super) stored: Stored<T::Leader, T::Vote>,
    pub(super) leaders: Leaders<T::Leader>,
}

/// The record of what is neither an entry nor a number.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stored<L, V> {
    pub(super) vote: Option<V>,
    pub(super) purged: Option<Id<L>>,
}

impl<T: Types> Core<T> {
    /// Reads the record of the vote and one entry per leader.
    pub(super) fn open(logs: &Logs, group: GroupId, state: GroupId) -> Result<Arc<Core<T>>> {
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

    pub(super) fn ends(&self) -> Ends<T::Leader> {
        let memory = self.memory.read();
        let (last, purged) = (self.log.last_index(), memory.stored.purged.clone());
        let live = if last < self.log.first_index() { None } else { memory.leaders.run(last) };
        let last = live.map(|run| Id { leader: run.leader.clone(), index: last - 1 });
        Ends { last: last.or_else(|| purged.clone()), purged }
    }

    /// The committed log id, as far as this log has it: an index behind the end is not there to be applied.
    pub(super) fn committed(&self) -> Option<Id<T::Leader>> {
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

/// The leader of the entries of one epoch; a damaged payload does not matter while another is sound.
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

/// The core's entry that `entry` holds.
pub(super) fn decode_entry<T: Types>(group: GroupId, entry: &Entry) -> Result<T::Entry> {
    let index = entry.index.saturating_sub(1);
    let decoded: T::Entry = decode(&entry.payload).map_err(|source| Error::Entry { group, index, source })?;
    let found = T::id(&decoded).index;
    if found != index {
        return Err(Error::Misplaced { group, index, found });
    }
    Ok(decoded)
}
