//! Tests openraft 0.9 on one engine in a real directory: a node writes, is shut down, and continues where it
//! stopped.
//!
//! The unit tests in `src/adapters/openraft` cover what both versions have in common: histories with power
//! cuts, the order of callbacks, and failures.

use crate::cluster_09::{Core, Types};
use crate::openraft_09_machine::{Machine, Shared};
use crate::openraft_simulation::Net;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use openraft_09::{BasicNode, Config, Raft, SnapshotPolicy};
use seawall::openraft_09::{LogOptions, LogStore, LogStores};
use seawall::{Engine, Options};
use tempfile::TempDir;

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
            // The same types as the clusters have, so that the compiler makes the core once.
            let net = Net::<Core>::without_peers();
            let node = Raft::new(1, Arc::clone(&config), net, store, machine).await.unwrap();
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
