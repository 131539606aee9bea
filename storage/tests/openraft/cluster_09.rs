//! Tests openraft 0.9 in the simulation of `openraft_simulation`.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test openraft cluster_09::` repeats one run; `SEAWALL_RUNS=n`
//! makes n runs from random seeds.

use crate::openraft_09_machine;
use crate::openraft_simulation;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use openraft_09::error::{InstallSnapshotError, NetworkError, RPCError, RaftError};
use openraft_09::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft_09::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft_09::{AnyError, BasicNode, Config, LogId, Raft, SnapshotPolicy};
use openraft_09_machine::Machine;
use openraft_simulation::{ELECTION_MS, HEARTBEAT_MS, Line, Lost, NODES, Net, Shared};
use seawall::Engine;
use seawall::openraft_09::{Error, LogOptions, LogStore, LogStores};
use tokio::task::JoinHandle;

openraft_09::declare_raft_types!(pub Types: D = u64, R = u64);

impl openraft_09_machine::Config for Types {}

pub type Core = Raft<Types>;
type Sent<T, E = openraft_09::error::Infallible> = Result<T, RPCError<u64, BasicNode, RaftError<u64, E>>>;

/// Returns a network error. After "unreachable" the core would pause for a time that the seed does not
/// determine.
fn lost(_: Lost) -> NetworkError {
    NetworkError::new(&AnyError::error("lost"))
}

impl RaftNetworkFactory<Types> for Net<Core> {
    type Network = Net<Core>;

    async fn new_client(&mut self, target: u64, _: &BasicNode) -> Net<Core> {
        self.to(target)
    }
}

impl RaftNetwork<Types> for Net<Core> {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Sent<AppendEntriesResponse<u64>> {
        Ok(self.ask(|core| async move { core.append_entries(request).await }).await.map_err(lost)?)
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Sent<InstallSnapshotResponse<u64>, InstallSnapshotError> {
        Err(lost(Lost).into())
    }

    async fn vote(&mut self, request: VoteRequest<u64>, _: RPCOption) -> Sent<VoteResponse<u64>> {
        Ok(self.ask(|core| async move { core.vote(request).await }).await.map_err(lost)?)
    }
}

struct Line09;

impl Line for Line09 {
    type Core = Core;
    type LogId = LogId<u64>;

    fn index(id: &LogId<u64>) -> u64 {
        id.index
    }

    async fn start(id: u64, engine: &Engine, net: Net<Core>, applied: Shared<Self>) -> Result<Core, String> {
        let options = LogOptions::default().with_threads(0).with_read_bytes_max(300);
        let logs = LogStores::new(engine, options).map_err(|e| e.to_string())?;
        let store: LogStore<Types> = LogStore::open(&logs, 7).map_err(|e: Error| e.to_string())?;
        // This version draws its election timeout once, when it starts, so the test draws it from the seed.
        let election_ms = ELECTION_MS.start + net.rng.below(ELECTION_MS.end - ELECTION_MS.start);
        let config = Config {
            heartbeat_interval: HEARTBEAT_MS,
            election_timeout_min: election_ms,
            election_timeout_max: election_ms + 1,
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

    async fn scope<T>(_seed: u64, history: impl Future<Output = T>) -> T {
        history.await
    }

    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        tokio::spawn(task)
    }
}

#[test]
fn nodes_agree_whatever_crashes() {
    openraft_simulation::nodes_agree_whatever_crashes::<Line09>();
}

#[test]
fn a_seed_is_one_history() {
    openraft_simulation::a_seed_is_one_history::<Line09>();
}
