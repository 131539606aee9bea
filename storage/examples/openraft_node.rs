//! Runs one openraft (0.10) node with its log in a directory.
//!
//! The node proposes numbers, and prints `ACK n` when n numbers are applied, which means that they are
//! durable. Kill it and start it again. A cluster needs a real `Net`.
//!
//! ```text
//! cargo run --release --features openraft --example openraft_node -- /tmp/node 10000
//! ```

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::{Stream, StreamExt};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::{AnyError, BasicNode, Config, EntryPayload, OptionalSend, Raft, SnapshotPolicy};
use parking_lot::Mutex;
use seawall::openraft::{LogOptions, LogStore, LogStores};
use seawall::{Engine, Options};

openraft::declare_raft_types!(Types: D = u64, R = u64, AsyncRuntime = openraft_rt_tokio::TokioRuntime);

/// The state machine: every number, in order. It is in memory and has no snapshots, so the core applies the
/// whole log at each start and never purges it.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<(Vec<u64>, At)>>);
/// The last applied log id, and the membership at that point.
type At = (Option<LogIdOf<Types>>, StoredMembershipOf<Types>);

impl RaftStateMachine<Types> for Numbers {
    type SnapshotData = ();
    type SnapshotBuilder = Numbers;

    async fn applied_state(&mut self) -> io::Result<At> {
        Ok(self.0.lock().1.clone())
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let (numbers, at) = &mut *self.0.lock();
            at.0 = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Normal(number) => numbers.push(number),
                EntryPayload::Membership(members) => at.1 = StoredMembershipOf::<Types>::new(at.0, members),
                EntryPayload::Blank => {}
            }
            responder.into_iter().for_each(|responder| responder.send(numbers.len() as u64));
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Numbers {
        self.clone()
    }

    async fn install_snapshot(&mut self, _: &SnapshotMetaOf<Types>, (): ()) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, ()>>> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Types> for Numbers {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, ()>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The network to other nodes, of which there are none.
struct Net;
type Sent<T> = Result<T, RPCError<Types>>;
type Append = AppendEntriesRequest<Types>;

fn nobody() -> Unreachable<Types> {
    Unreachable::new(&AnyError::error("there is no other node"))
}

impl RaftNetworkFactory<Types> for Net {
    type Network = Net;

    async fn new_client(&mut self, _: u64, _: &BasicNode) -> Net {
        Net
    }
}

impl RaftNetworkV2<Types> for Net {
    type SnapshotData = ();

    async fn append_entries(&mut self, _: Append, _: RPCOption) -> Sent<AppendEntriesResponse<Types>> {
        Err(nobody().into())
    }

    async fn vote(&mut self, _: VoteRequest<Types>, _: RPCOption) -> Sent<VoteResponse<Types>> {
        Err(nobody().into())
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Types>,
        _: SnapshotOf<Types, ()>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(nobody().into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [dir, proposals] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("usage: openraft_node DIR PROPOSALS".into());
    };
    let (engine, _) = Engine::open_or_create(dir, &Options::default())?;
    let logs = LogStores::new(&engine, LogOptions::default())?; // one per engine
    let store: LogStore<Types> = LogStore::open(&logs, 1)?; // one per group

    let config = Config { snapshot_policy: SnapshotPolicy::Never, ..Config::default() }.validate()?;
    let machine = Numbers::default();
    let raft = Raft::new(1, Arc::new(config), Net, store, machine.clone()).await?;
    if !raft.is_initialized().await? {
        raft.initialize(std::collections::BTreeMap::from([(1, BasicNode::default())])).await?;
    }
    raft.wait(Some(Duration::from_secs(10))).current_leader(1, "leads").await?;
    raft.wait_for_recovery(Some(Duration::from_secs(10))).await?;

    let here = machine.0.lock().0.len() as u64;
    println!("{here} numbers are here");
    let mut answers = raft.client_write_many(here..here + proposals.parse::<u64>()?).await?;
    while let Some(answer) = answers.try_next().await? {
        println!("ACK {}", answer?.response);
    }
    raft.shutdown().await?; // first the core, then the log
    Ok(engine.close()?)
}
