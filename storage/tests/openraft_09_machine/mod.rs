//! Provides a state machine in memory for the tests of openraft 0.9.
//!
//! Its state is every number that was applied, in order; a snapshot is a copy of it.

use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft_09::storage::RaftStateMachine;
use openraft_09::{
    AnyError, BasicNode, EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, RaftTypeConfig, Snapshot,
    SnapshotMeta, StorageError, StorageIOError, StoredMembership,
};

/// Applied entries: log id and number of each; `None` for an entry of the core.
pub type Applied = Vec<(LogId<u64>, Option<u64>)>;
type Meta = SnapshotMeta<u64, BasicNode>;
type Stored<T> = Result<T, StorageError<u64>>;

/// A type configuration with which the machine works. A test implements it for its own.
pub trait Config:
    RaftTypeConfig<
        D = u64,
        R = u64,
        NodeId = u64,
        Node = BasicNode,
        Entry = openraft_09::Entry<Self>,
        SnapshotData = Cursor<Vec<u8>>,
    >
{
}

/// The entries that a machine has applied, shared with its test.
pub type Shared = Arc<Mutex<Applied>>;

#[derive(Clone)]
pub struct Machine {
    state: Arc<Mutex<State>>,
    applied: Shared,
}

#[derive(Default)]
struct State {
    last: Option<LogId<u64>>,
    members: StoredMembership<u64, BasicNode>,
    snapshot: Option<(Meta, Vec<u8>)>,
}

impl Machine {
    /// Creates an empty machine that adds what it applies to `applied`.
    pub fn new(applied: Shared) -> Machine {
        Machine { state: Arc::default(), applied }
    }

    fn lock(&self) -> (MutexGuard<'_, State>, MutexGuard<'_, Applied>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state, self.applied.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<C: Config> RaftSnapshotBuilder<C> for Machine {
    async fn build_snapshot(&mut self) -> Stored<Snapshot<C>> {
        let (mut state, applied) = self.lock();
        let snapshot_id = format!("{:?}", state.last);
        let meta = Meta { last_log_id: state.last, last_membership: state.members.clone(), snapshot_id };
        let bytes = rmp_serde::to_vec(&*applied).unwrap();
        state.snapshot = Some((meta.clone(), bytes.clone()));
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }
}

impl<C: Config> RaftStateMachine<C> for Machine {
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> Stored<(Option<LogId<u64>>, StoredMembership<u64, BasicNode>)> {
        let state = self.lock().0;
        Ok((state.last, state.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Stored<Vec<u64>>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let ((mut state, mut applied), mut answers) = (self.lock(), Vec::new());
        for entry in entries {
            state.last = Some(entry.log_id);
            if let EntryPayload::Membership(members) = &entry.payload {
                state.members = StoredMembership::new(Some(entry.log_id), members.clone());
            }
            let number = match &entry.payload {
                EntryPayload::Normal(number) => Some(*number),
                EntryPayload::Blank | EntryPayload::Membership(_) => None,
            };
            applied.push((entry.log_id, number));
            answers.push(number.unwrap_or(0));
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Stored<Box<Cursor<Vec<u8>>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: Box<Cursor<Vec<u8>>>) -> Stored<()> {
        let (mut state, mut applied) = self.lock();
        let bytes = snapshot.into_inner();
        *applied = rmp_serde::from_slice(&bytes)
            .map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        state.last = meta.last_log_id;
        state.members = meta.last_membership.clone();
        state.snapshot = Some((meta.clone(), bytes));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Stored<Option<Snapshot<C>>> {
        let snapshot = self.lock().0.snapshot.clone();
        Ok(snapshot.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}
