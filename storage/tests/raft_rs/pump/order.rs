//! Tests when messages leave the pump, and when the core learns what is durable.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, EntryType, Message, MessageType,
};
use raft::{Config, StateRole};
use seawall::raft_rs::{Error, GroupStorage, Pump, PumpOptions, Wake};
use seawall::{ConfState, Engine};
use seawall_wal::disk::sim::{SimDisk, SimOptions};

use crate::pump::node::{ACK, GROUP, Node, appends, barrier, env, message, options, settle, start};

#[test]
fn a_duplicate_append_is_not_acknowledged_before_the_entries_are_durable() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    let append = appends(1, 0, 1, 1, 10);
    pump.step(append.clone()).unwrap();
    _ = pump.poll().unwrap();
    pump.step(append).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.in_flight(), 2, "the second has no entries and need not be synced");
    assert_eq!(pump.host_mut().take(), []);
    engine.flush().unwrap();
    assert_eq!(pump.host_mut().take(), []);
    assert!(pump.poll().unwrap().is_worked());
    assert_eq!(pump.host_mut().take(), [(ACK, 1), (ACK, 1)]);
    assert_eq!(pump.in_flight(), 0);
    assert!(pump.poll().unwrap().is_idle());
}

#[test]
fn a_vote_that_arrives_while_entries_are_in_flight_does_no_harm() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 2, 10)).unwrap();
    _ = pump.poll().unwrap();
    pump.campaign().unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.host_mut().take(), [], "neither acknowledgement nor vote request");
    // This answers a request that has not left, which would make the core panic.
    let vote = message(MessageType::MsgRequestVoteResponse, 2, 2);
    pump.step(vote.clone()).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.raft().state, StateRole::Candidate);
    engine.flush().unwrap();
    // The last Ready is not handled yet, but this vote counts: `step` first tells the core what is durable.
    pump.step(vote.clone()).unwrap();
    assert_eq!(pump.raft().state, StateRole::Leader);
    _ = pump.poll().unwrap();
    let request = MessageType::MsgRequestVote;
    assert_eq!(pump.host_mut().take()[..3], [(ACK, 2), (request, 2), (request, 2)]);
}

#[test]
fn the_only_voter_of_a_group_is_not_elected_while_entries_are_in_flight() {
    let (_disk, engine, mut pump) = start(&[1]);
    pump.step(appends(1, 0, 1, 2, 10)).unwrap();
    _ = pump.poll().unwrap();
    for _ in 0..100 {
        _ = pump.tick().unwrap();
    }
    assert!(matches!(pump.campaign(), Err(Error::Core(_))));
    pump.step(message(MessageType::MsgTimeoutNow, 2, 1)).unwrap();
    assert_eq!(pump.raft().state, StateRole::Follower);
    engine.flush().unwrap();
    pump.campaign().unwrap();
    assert_eq!(pump.raft().state, StateRole::Leader);
    settle(&engine, &mut pump);
    assert_eq!(pump.applied(), 3);
}

#[test]
fn kept_messages_leave_in_order_as_the_readys_become_durable() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    let mut barriers = Vec::new();
    for index in 1..=4 {
        pump.step(appends(1, 1.min(index - 1), index, index, 5000)).unwrap();
        _ = pump.poll().unwrap();
        // The answer to a heartbeat depends on no write of its own, but must not overtake earlier messages.
        pump.step(message(MessageType::MsgHeartbeat, 2, 1)).unwrap();
        _ = pump.poll().unwrap();
        barriers.push(barrier(&engine));
    }
    assert_eq!(pump.in_flight(), 8);
    for (index, barrier) in (1..).zip(barriers) {
        assert_eq!(pump.host_mut().take(), []);
        barrier.wait().unwrap();
        _ = pump.poll().unwrap();
        assert_eq!(pump.host_mut().take(), [(ACK, index), (MessageType::MsgHeartbeatResponse, 0)]);
        assert_eq!(pump.raft().raft_log.persisted, index);
    }
}

#[test]
fn a_commit_index_alone_waits_for_no_flush() {
    let (disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 1, 10)).unwrap();
    _ = pump.poll().unwrap();
    engine.flush().unwrap();
    _ = pump.poll().unwrap();
    pump.host_mut().take();
    let operations = disk.operations();
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 1);
    heartbeat.commit = 1;
    pump.step(heartbeat).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.host_mut().take(), [(MessageType::MsgHeartbeatResponse, 0)]);
    assert_eq!(pump.applied(), 1);
    assert_eq!(pump.in_flight(), 0);
    // Applying reads an entry; nothing is written.
    assert!(disk.operations() - operations <= 2);
    assert_eq!(engine.group(GROUP).hard_state().commit, 1);
    engine.close().unwrap();
    let (engine, _) = Engine::open_in(env(&disk), &options()).unwrap();
    assert_eq!(engine.group(GROUP).hard_state().commit, 1, "a clean close keeps it");
}

#[test]
fn a_single_node_applies_what_is_durable() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(env(&disk), &options()).unwrap();
    let conf = ConfState { voters: vec![1], ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let wake = Wake::Call(Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
    }));
    let options = PumpOptions::default().with_wake(Some(wake));
    let mut pump = Pump::new(&engine, GROUP, &Config::new(1), Node::default(), options).unwrap();
    pump.campaign().unwrap();
    pump.propose(b"context".to_vec(), b"data".to_vec()).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!((pump.applied(), woken.load(Ordering::SeqCst)), (0, 0));
    engine.flush().unwrap();
    assert!(woken.load(Ordering::SeqCst) > 0);
    while pump.poll().unwrap().is_worked() {}
    assert_eq!(pump.applied(), 2);
    let node = pump.into_host();
    assert_eq!(&node.applied[1].context[..], b"context");
    assert_eq!(&node.applied[1].data[..], b"data");
}

#[test]
fn readys_in_flight_are_bounded() {
    let (_disk, engine, pump) = start(&[1, 2, 3]);
    drop(pump);
    let options = PumpOptions::default().with_readys_max(2);
    let mut pump = Pump::new(&engine, GROUP, &Config::new(1), Node::default(), options).unwrap();
    for index in 1..=5 {
        pump.step(appends(1, 1.min(index - 1), index, index, 10)).unwrap();
        _ = pump.poll().unwrap();
        assert_eq!(pump.in_flight(), 2.min(usize::try_from(index).unwrap()));
    }
    settle(&engine, &mut pump);
    assert_eq!(pump.host_mut().take().last(), Some(&(ACK, 5)));
}

/// Tests the order of applying a change and giving its Ready back. The core appends an entry that leaves the
/// joint configuration as soon as it learns that the change is applied. That entry must not get among those
/// of a Ready that it has not been given back.
#[test]
fn a_ready_is_given_back_before_its_changes_of_members_are_applied() {
    let (_disk, engine, mut pump) = start(&[1]);
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    let mut change = ConfChangeV2::default();
    let mut learner = ConfChangeSingle { node_id: 2, ..ConfChangeSingle::default() };
    learner.set_change_type(ConfChangeType::AddLearnerNode);
    change.set_changes(vec![learner].into());
    change.set_transition(ConfChangeTransition::Implicit);
    pump.propose_conf_change(vec![], change).unwrap();
    _ = pump.poll().unwrap();
    engine.flush().unwrap();
    // The next Ready has this entry, and the change to be applied.
    pump.propose(vec![], b"with it".to_vec()).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(engine.group(GROUP).conf_state().unwrap().index, 2, "the core has the change");
    settle(&engine, &mut pump);
    assert_eq!((pump.applied(), &pump.host().members[..]), (4, &[2, 4][..]));
}

/// Tests that the thread that completes a write wakes the pump, so that a callback that blocks does not delay
/// it.
#[test]
fn a_pump_is_woken_although_a_callback_blocks() {
    let dir = tempfile::TempDir::new().unwrap();
    // A pipe accepts the eight bytes as an eventfd does.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let fd = Arc::new(writer.into());
    let wakes = [None, Some(Wake::Thread(std::thread::current())), Some(Wake::EventFd(fd))];
    for (n, wake) in wakes.into_iter().enumerate() {
        let engine = Engine::create(dir.path().join(n.to_string()), &options()).unwrap();
        let conf = ConfState { voters: vec![1], ..ConfState::default() };
        GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
        let (go, blocked) = mpsc::channel::<()>();
        barrier(&engine).on_durable(move |_| _ = blocked.recv());
        let options = PumpOptions::default().with_wake(wake.clone());
        let mut pump = Pump::new(&engine, GROUP, &Config::new(1), Node::default(), options).unwrap();
        pump.campaign().unwrap();
        for proposal in 1..=20 {
            while pump.applied() < proposal {
                if pump.poll().unwrap().is_worked() {
                    continue;
                }
                match &wake {
                    None => _ = pump.wait(Duration::MAX).unwrap(),
                    Some(Wake::EventFd(_)) => reader.read_exact(&mut [0; 8]).unwrap(),
                    Some(_) => std::thread::park(),
                }
            }
            pump.propose(vec![], b"data".to_vec()).unwrap();
        }
        drop(go);
    }
}

/// Returns an append of entries 1 to 5 from leader 2, of which those in `changes` add a learner each.
fn with_changes(changes: &[u64]) -> Message {
    let mut append = appends(1, 0, 1, 5, 10);
    for &at in changes {
        let single = ConfChangeSingle { node_id: 10 + at, ..ConfChangeSingle::default() };
        let mut change = ConfChangeV2::default();
        change.mut_changes().push(single);
        change.mut_changes()[0].set_change_type(ConfChangeType::AddLearnerNode);
        let entry = &mut append.mut_entries()[usize::try_from(at - 1).unwrap()];
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry.data = change.write_to_bytes().unwrap().into();
    }
    append
}

#[test]
fn a_poll_does_not_wait_until_a_change_of_the_members_is_durable() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(with_changes(&[2, 4])).unwrap();
    _ = pump.poll().unwrap();
    engine.flush().unwrap();
    _ = pump.poll().unwrap();
    pump.host_mut().take();
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 1);
    heartbeat.commit = 5;
    pump.step(heartbeat).unwrap();
    // Each change must be durable before it and the entries after it are applied, but the pump does not wait
    // for it.
    for (applied, members, in_flight) in [(1, &[][..], 1), (3, &[2][..], 1), (5, &[2, 4][..], 0)] {
        assert!(pump.poll().unwrap().is_worked());
        assert_eq!(
            (pump.applied(), &pump.host().members[..], pump.in_flight()),
            (applied, members, in_flight)
        );
        // Meanwhile there is nothing to do, and the pump steps incoming messages.
        assert!(in_flight == 0 || pump.poll().unwrap().is_idle());
        assert!(pump.wait(std::time::Duration::ZERO).unwrap().is_idle());
        pump.step(message(MessageType::MsgHeartbeat, 2, 1)).unwrap();
        assert_eq!(engine.group(GROUP).conf_state().unwrap().index, if applied == 1 { 2 } else { 4 });
        engine.flush().unwrap();
    }
    settle(&engine, &mut pump);
    let mut learners: Vec<u64> = pump.raft().prs().conf().learners().iter().copied().collect();
    learners.sort_unstable();
    assert_eq!(learners, [12, 14]);
    assert_eq!(pump.host_mut().take().len(), 4, "each heartbeat was answered");
}
