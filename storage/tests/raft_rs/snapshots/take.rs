//! Tests when the pump takes a snapshot, and what it compacts then.

use raft::Config;
use raft::eraftpb;
use seawall::ConfState;
use seawall::raft_rs::{Error, GroupStorage, Pump, PumpOptions};
use seawall::snapshots::Error as SnapshotsError;
use seawall_wal::Threads;

use crate::snapshots::node::{Machine, Node, appends, lazy};
use crate::support::{self, GROUP, SETUP, Setup, id, sim};

#[test]
fn the_pump_takes_one_when_it_is_due_and_compacts_behind_it() {
    let mut node = Node::new(lazy().with_entries(10));
    node.pump.host_mut().no_dump = true;
    node.pump.step(appends(1, 0, 1, 12, 12)).unwrap();
    node.flush();
    assert!(node.flush().outcomes.is_empty());
    node.pump.host_mut().no_dump = false;
    let taken = |node: &mut Node| {
        node.flush();
        let outcomes = std::mem::take(&mut node.flush().outcomes);
        outcomes.into_iter().map(|outcome| outcome.unwrap().id.index).collect::<Vec<_>>()
    };
    assert_eq!(taken(&mut node), [12]);
    assert!(matches!(node.pump.compact(12), Err(Error::NotCovered { index: 12, floor: 0 })));
    node.pump.step(appends(1, 1, 13, 24, 24)).unwrap();
    assert_eq!(taken(&mut node), [24]);
    assert_eq!(node.engine.group(GROUP).compaction_point().0, 12, "the second newest");
    assert!(matches!(node.pump.compact(13), Err(Error::NotCovered { index: 13, floor: 12 })));
    let served = raft::Storage::snapshot(
        &GroupStorage::new(&node.engine, GROUP).with_snapshots(node.snapshots.clone()),
        24,
        3,
    );
    assert_eq!(served.unwrap().get_metadata().index, 24);
    let node = node.crash();
    assert_eq!(node.pump.applied(), 24);
}

#[test]
fn bytes_that_were_applied_count() {
    let mut node = Node::new(lazy().with_bytes(500));
    // Each entry has 50 bytes.
    node.pump.step(appends(1, 0, 1, 9, 9)).unwrap();
    node.flush();
    assert!(node.flush().outcomes.is_empty());
    node.pump.step(appends(1, 1, 10, 10, 10)).unwrap();
    node.flush();
    assert_eq!(node.flush().outcomes.len(), 1);
}

/// Tests a log with members of an entry that the state machine has not applied again yet.
#[test]
fn none_is_taken_before_the_members_are_those_of_the_state() {
    let mut node = Node::new(lazy().with_entries(2));
    node.pump.host_mut().no_dump = true;
    let mut append = appends(1, 0, 1, 6, 6);
    let mut change = eraftpb::ConfChange { node_id: 4, ..Default::default() };
    change.set_change_type(eraftpb::ConfChangeType::AddLearnerNode);
    let entry = &mut append.mut_entries()[4];
    entry.set_entry_type(eraftpb::EntryType::EntryConfChange);
    entry.data = protobuf::Message::write_to_bytes(&change).unwrap().into();
    node.pump.step(append).unwrap();
    node.flush();
    node.flush();
    assert_eq!(node.pump.applied(), 6);
    node.engine.flush().unwrap();
    // The state machine starts again from the beginning.
    let Node { disks, engine, snapshots, pump } = node;
    drop((pump, snapshots, engine));
    let node = Node::open(disks, lazy().with_entries(2), Threads::Stepped);
    assert!(matches!(
        node.snapshots.take(3, b"", support::dump(3)),
        Err(SnapshotsError::MembersAhead { index: 3, members: 5, .. })
    ));
    let mut node = node;
    node.flush();
    let outcomes = std::mem::take(&mut node.flush().outcomes);
    let taken: Vec<u64> = outcomes.into_iter().map(|outcome| outcome.unwrap().id.index).collect();
    assert_eq!(taken, [6]);
    let reader = node.snapshots.catalog().reader(id(6, 1)).unwrap();
    assert_eq!(node.snapshots.members(&reader).unwrap().unwrap().learners, [4]);
}

#[test]
fn a_pump_takes_only_the_snapshots_of_its_group() {
    let disk = sim(1);
    let node = Setup { keep: 1, ..SETUP }.open(&disk).unwrap();
    node.append(3, 1, 3).unwrap();
    let options = PumpOptions::default().with_snapshots(Some(node.snapshots.clone()));
    GroupStorage::new(&node.engine, 9)
        .bootstrap(&ConfState { voters: vec![1], ..ConfState::default() })
        .unwrap();
    let other = Pump::new(&node.engine, 9, &Config::new(1), Machine::default(), options);
    assert!(matches!(other, Err(Error::Snapshots(SnapshotsError::OtherGroup { group: 9, .. }))));
}
