//! Tests openraft 0.10 in the simulation of `openraft_simulation`.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test openraft cluster::` repeats one run; `SEAWALL_RUNS=n` makes n
//! runs from random seeds.

use crate::openraft_machine;
use crate::openraft_simulation;

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::rt::deterministic_rng::DeterministicRng;
use openraft::type_config::alias::{LogIdOf, SnapshotOf, VoteOf};
use openraft::{AnyError, AsyncRuntime, BasicNode, Config, OptionalSend, Raft, SnapshotPolicy};
use openraft_machine::{Applied, Machine};
use openraft_rt_tokio::TokioRuntime;
use openraft_simulation::{ELECTION_MS, HEARTBEAT_MS, Line, Lost, NODES, Net, Shared};
use seawall::Engine;
use seawall::openraft::{Error, LogOptions, LogStore, LogStores};
use tokio::task::JoinHandle;

openraft::declare_raft_types!(Types: D = u64, R = u64, AsyncRuntime = Rt);

impl openraft_machine::Config for Types {}

/// A runtime in which every task gets its random numbers from the seed.
type Rt = DeterministicRng<TokioRuntime>;

type Core = Raft<Types, Machine<Types>>;
type Sent<T> = Result<T, RPCError<Types>>;

fn lost(_: Lost) -> Unreachable<Types> {
    Unreachable::new(&AnyError::error("lost"))
}

impl RaftNetworkFactory<Types> for Net<Core> {
    type Network = Net<Core>;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Net<Core> {
        self.to(target)
    }
}

impl RaftNetworkV2<Types> for Net<Core> {
    type SnapshotData = Applied;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Sent<AppendEntriesResponse<Types>> {
        Ok(self.ask(|core| async move { core.append_entries(request).await }).await.map_err(lost)?)
    }

    async fn vote(&mut self, request: VoteRequest<Types>, _: RPCOption) -> Sent<VoteResponse<Types>> {
        Ok(self.ask(|core| async move { core.vote(request).await }).await.map_err(lost)?)
    }

    async fn full_snapshot(
        &mut self,
        _: VoteOf<Types>,
        _: SnapshotOf<Types, Applied>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(lost(Lost).into())
    }
}

struct Line10;

impl Line for Line10 {
    type Core = Core;
    type LogId = LogIdOf<Types>;

    fn index(id: &Self::LogId) -> u64 {
        id.index
    }

    async fn start(id: u64, engine: &Engine, net: Net<Core>, applied: Shared<Self>) -> Result<Core, String> {
        let options = LogOptions::default().with_threads(0).with_read_bytes_max(300);
        let logs = LogStores::new(engine, options).map_err(|e| e.to_string())?;
        let store: LogStore<Types> = LogStore::open(&logs, 7).map_err(|e: Error| e.to_string())?;
        let config = Config {
            heartbeat_interval: HEARTBEAT_MS,
            election_timeout_min: ELECTION_MS.start,
            election_timeout_max: ELECTION_MS.end,
            max_payload_entries: 3,
            snapshot_policy: SnapshotPolicy::Never,
            ..Config::default()
        };
        let config = Arc::new(config.validate().unwrap());
        Core::new(id, config, net, store, Machine::new(applied)).await.map_err(|e| e.to_string())
    }

    async fn initialize(core: &Core) {
        let members: BTreeMap<u64, BasicNode> =
            (1..=NODES as u64).map(|id| (id, BasicNode::default())).collect();
        core.initialize(members).await.unwrap();
    }

    async fn write(core: Core, number: u64) -> bool {
        core.client_write(number).await.is_ok()
    }

    async fn shutdown(core: Core) {
        let _ = core.shutdown().await;
    }

    async fn scope<T>(seed: u64, history: impl Future<Output = T>) -> T {
        Rt::scope(seed, history).await
    }

    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        Rt::spawn(task)
    }
}

#[test]
fn nodes_agree_whatever_crashes() {
    openraft_simulation::nodes_agree_whatever_crashes::<Line10>();
}

#[test]
fn a_seed_is_one_history() {
    openraft_simulation::a_seed_is_one_history::<Line10>();
}
