//! Tests snapshots and the members of the group: which nodes are offered one, which nodes accept one, and how
//! the core's clock runs meanwhile.

use raft::eraftpb::{self, Message, MessageType};
use seawall::raft_rs::{Error, GroupStorage};

use crate::snapshots::node::{ACK, Node, appends, lazy, message, snapshot};
use crate::support::{GROUP, SETUP, id, sim};

/// Tests that a follower campaigns only after its disk has written the snapshot, although its lease for the
/// leader ends before.
#[test]
fn the_clock_goes_on_while_a_snapshot_is_installed() {
    let mut node = Node::new(lazy());
    node.receive(snapshot(40, 3));
    node.poll();
    let vote = Message { from: 3, index: 50, log_term: 3, ..message(MessageType::MsgRequestVote, 4) };
    node.pump.step(vote.clone()).unwrap();
    assert_eq!(node.pump.raft().term, 3, "the lease of the leader has not ended");
    for _ in 0..100 {
        _ = node.pump.tick().unwrap();
    }
    assert!(node.pump.campaign().is_err());
    assert_eq!((node.pump.raft().term, node.pump.raft().state), (3, raft::StateRole::Follower));
    node.pump.step(vote).unwrap();
    assert_eq!((node.pump.raft().term, node.pump.raft().vote), (4, 3));
    assert_eq!(node.poll().take(), [], "nothing leaves before it is durable");
    node.flush();
    let sent = node.flush().take();
    assert_eq!(sent, [(ACK, 40), (MessageType::MsgRequestVoteResponse, 0)]);
    for _ in 0..100 {
        _ = node.pump.tick().unwrap();
    }
    assert_ne!(node.pump.raft().state, raft::StateRole::Follower);
}

/// Tests a snapshot without this node among its members. The core would drop it silently, and the leader
/// would wait.
#[test]
fn a_snapshot_without_this_node_is_not_fetched_and_the_host_is_told() {
    let mut node = Node::new(lazy());
    let mut others = snapshot(40, 3).0;
    others.mut_snapshot().mut_metadata().mut_conf_state().voters = vec![2, 3];
    let old = Message { term: 2, ..others.clone() };
    node.pump.step(appends(3, 0, 1, 1, 0)).unwrap();
    node.pump.step(others).unwrap();
    node.flush();
    assert_eq!(std::mem::take(&mut node.pump.host_mut().refused), [(2, id(40, 3))]);
    assert!(node.pump.host().offered.is_empty() && node.pump.host().restored.is_empty());
    // The host is not told of a snapshot of an earlier term, nor of one whose entries are here.
    assert!(matches!(node.pump.step(old), Err(Error::SnapshotMessage { .. })));
    node.pump.step(appends(3, 3, 2, 50, 50)).unwrap();
    node.flush();
    node.pump.step(snapshot(40, 3).0).unwrap();
    assert!(node.pump.host().refused.is_empty());
}

/// Tests which snapshots are served after a change. A peer that joined later would drop a snapshot from
/// before the change, and a peer that has missed the change must not continue with the members from before
/// it.
#[test]
fn no_snapshot_from_before_the_newest_change_of_the_members_is_served() {
    let node = SETUP.open(&sim(0)).unwrap();
    node.append(10, 1, 10).unwrap();
    node.take(10).unwrap();
    let store = GroupStorage::new(&node.engine, GROUP).with_snapshots(node.snapshots.clone());
    let served = |to| raft::Storage::snapshot(&store, 0, to).ok().map(|found| found.get_metadata().index);
    assert_eq!([1, 2, 3, 4].map(served), [Some(10), Some(10), Some(10), None]);
    node.append(12, 1, 12).unwrap();
    let conf = eraftpb::ConfState { voters: vec![1, 2, 3], learners: vec![4], ..Default::default() };
    let mut batch = seawall::WriteBatch::new();
    store.set_conf_state(&mut batch, 11, &conf);
    node.engine.write(&mut batch).unwrap().wait().unwrap();
    assert_eq!([1, 2, 3, 4].map(served), [None; 4]);
    assert!(!node.snapshots.due(10) && node.snapshots.due(11), "one is due");
    node.take(12).unwrap();
    assert_eq!([1, 2, 3, 4, 5].map(served), [Some(12), Some(12), Some(12), Some(12), None]);
}
