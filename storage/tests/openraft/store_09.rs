//! Tests openraft 0.9 on one engine in a real directory: a node writes, is shut down, and continues where it
//! stopped.
//!
//! The unit tests in `src/adapters/openraft` cover what both versions have in common: histories with power
//! cuts, the order of callbacks, and failures.

use crate::openraft_09_machine;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use openraft_09::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft_09::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft_09::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft_09::{AnyError, BasicNode, Config, Raft, SnapshotPolicy};
use openraft_09_machine::{Machine, Shared};
use seawall::openraft_09::{LogOptions, LogStore, LogStores};
use seawall::{Engine, Options};
use tempfile::TempDir;

openraft_09::declare_raft_types!(Types: D = u64, R = u64);

impl openraft_09_machine::Config for Types {}

struct Net;
type Sent<T, E = openraft_09::error::Infallible> = Result<T, RPCError<u64, BasicNode, RaftError<u64, E>>>;

fn nobody() -> Unreachable {
    Unreachable::new(&AnyError::error("there is no other node"))
}

impl RaftNetworkFactory<Types> for Net {
    type Network = Net;

    async fn new_client(&mut self, _: u64, _: &BasicNode) -> Net {
        Net
    }
}

impl RaftNetwork<Types> for Net {
    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Sent<AppendEntriesResponse<u64>> {
        Err(nobody().into())
    }

    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Sent<InstallSnapshotResponse<u64>, InstallSnapshotError> {
        Err(nobody().into())
    }

    async fn vote(&mut self, _: VoteRequest<u64>, _: RPCOption) -> Sent<VoteResponse<u64>> {
        Err(nobody().into())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_goes_on_where_it_was() {
    const GROUPS: u64 = 3;
    let dir = TempDir::new().unwrap();
    let mut options = Options::default();
    options.log.segment_bytes = 1 << 20;
    for life in 0..3u64 {
        let engine = match life {
            0 => Engine::create(dir.path(), &options).unwrap(),
            _ => Engine::open(dir.path(), &options).unwrap().0,
        };
        let logs = LogStores::new(&engine, LogOptions::default()).unwrap();
        let config = Config { snapshot_policy: SnapshotPolicy::Never, ..Config::default() };
        let config = Arc::new(config.validate().unwrap());
        let mut nodes = Vec::new();
        for group in 0..GROUPS {
            let (applied, store) = (Shared::default(), LogStore::<Types>::open(&logs, group).unwrap());
            let machine = Machine::new(Arc::clone(&applied));
            let node = Raft::new(1, Arc::clone(&config), Net, store, machine).await.unwrap();
            if life == 0 {
                node.initialize(BTreeMap::from([(1, BasicNode::default())])).await.unwrap();
            }
            nodes.push((node, applied));
        }
        for (group, (node, applied)) in (0..).zip(nodes) {
            node.wait(Some(Duration::from_secs(20))).current_leader(1, "leads").await.unwrap();
            for n in 0..50 {
                node.client_write(group * 1000 + life * 50 + n).await.unwrap();
            }
            let numbers: Vec<u64> = {
                let applied = applied.lock().unwrap_or_else(PoisonError::into_inner);
                applied.iter().filter_map(|(_, number)| *number).collect()
            };
            let expected: Vec<u64> = (0..life * 50 + 50).map(|n| group * 1000 + n).collect();
            assert_eq!(numbers, expected, "group {group} in life {life}");
            node.shutdown().await.unwrap();
        }
        engine.close().unwrap();
    }
}
