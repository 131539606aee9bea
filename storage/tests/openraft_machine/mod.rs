//! Provides a state machine in memory for the tests of openraft 0.10.
//!
//! Its state is every number that was applied, in order; a snapshot is a copy of it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_lite::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot, SnapshotMeta};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig};

/// Applied entries: log id and number of each; `None` for an entry of the core.
pub type Applied = Vec<(LogId, Option<u64>)>;
type LogId = openraft::LogId<openraft::impls::leader_id_adv::LeaderId<u64, u64>>;

/// A type configuration with which the machine works. A test implements it for its own.
pub trait Config:
    RaftTypeConfig<
        D = u64,
        R = u64,
        NodeId = u64,
        Term = u64,
        LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>,
        Entry = openraft::Entry<
            openraft::impls::leader_id_adv::LeaderId<u64, u64>,
            EntryPayload<u64, u64, <Self as RaftTypeConfig>::Node>,
        >,
    >
{
}

/// The entries that a machine has applied, shared with its test.
pub type Shared = Arc<Mutex<Applied>>;

#[derive(Clone)]
pub struct Machine<C: Config> {
    state: Arc<Mutex<State<C>>>,
    applied: Shared,
}

struct State<C: Config> {
    last: Option<LogIdOf<C>>,
    members: StoredMembershipOf<C>,
    snapshot: Option<(SnapshotMetaOf<C>, Applied)>,
}

impl<C: Config> Machine<C> {
    /// Creates an empty machine that adds what it applies to `applied`.
    pub fn new(applied: Shared) -> Machine<C> {
        let state = State { last: None, members: StoredMembershipOf::<C>::default(), snapshot: None };
        Machine { state: Arc::new(Mutex::new(state)), applied }
    }

    fn lock(&self) -> (MutexGuard<'_, State<C>>, MutexGuard<'_, Applied>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state, self.applied.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<C: Config> RaftSnapshotBuilder<C> for Machine<C> {
    type SnapshotData = Applied;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<C, Applied>> {
        let (mut state, applied) = self.lock();
        let meta = SnapshotMeta { last_log_id: state.last, last_membership: state.members.clone() };
        state.snapshot = Some((meta.clone(), applied.clone()));
        Ok(Snapshot { meta, snapshot: applied.clone() })
    }
}

impl<C: Config> RaftStateMachine<C> for Machine<C> {
    type SnapshotData = Applied;
    type SnapshotBuilder = Machine<C>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogIdOf<C>>, StoredMembershipOf<C>)> {
        let state = self.lock().0;
        Ok((state.last, state.members.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<C>>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let (mut state, mut applied) = self.lock();
            state.last = Some(entry.log_id);
            if let Some(members) = entry.get_membership() {
                state.members = StoredMembershipOf::<C>::new(Some(entry.log_id), members);
            }
            let number = match &entry.payload {
                EntryPayload::Normal(number) => Some(*number),
                EntryPayload::Blank | EntryPayload::Membership(_) => None,
            };
            applied.push((entry.log_id, number));
            drop((state, applied));
            if let Some(responder) = responder {
                responder.send(number.unwrap_or(0));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine<C> {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<C>, snapshot: Applied) -> io::Result<()> {
        let (mut state, mut applied) = self.lock();
        state.last = meta.last_log_id;
        state.members = meta.last_membership.clone();
        applied.clone_from(&snapshot);
        state.snapshot = Some((meta.clone(), snapshot));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<C, Applied>>> {
        let snapshot = self.lock().0.snapshot.clone();
        Ok(snapshot.map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}
