//! Tests what a node finds when it restarts, after a clean close and after a power cut.

use raft::Config;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Message, MessageType};
use seawall::Owner;
use seawall::raft_rs::{Error, Pump, PumpOptions};
use seawall::{Engine, EntryRef, HardState, WriteBatch};

use crate::pump::node::{ACK, GROUP, Node, appends, message, reopen, settle, start};

#[test]
fn a_suffix_overwritten_in_flight_is_acknowledged_as_it_is() {
    let (disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 3, 10)).unwrap();
    _ = pump.poll().unwrap();
    pump.step(appends(2, 1, 2, 2, 20)).unwrap();
    _ = pump.poll().unwrap();
    engine.flush().unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.host_mut().take(), [(ACK, 3), (ACK, 2)]);
    assert_eq!(pump.raft().raft_log.persisted, 2);
    drop(pump);
    drop(engine);
    disk.crash();
    let (engine, pump) = reopen(&disk, 0);
    assert_eq!(engine.group(GROUP).term_runs(), [(1, 1), (2, 2)]);
    assert_eq!(pump.unwrap().raft().raft_log.last_index(), 2);
}

fn joint(kind: ConfChangeType, id: u64) -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = id;
    change.set_changes(vec![single].into());
    change.set_transition(raft::eraftpb::ConfChangeTransition::Explicit);
    change
}

/// Tests that a refused change leaves the members as they are, and that the core does not consider it
/// pending, so that it accepts the next change.
#[test]
fn a_change_that_the_state_machine_refuses_is_not_made() {
    let (disk, engine, mut pump) = start(&[1]);
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    pump.host_mut().refuse_changes = true;
    pump.propose_conf_change(vec![], joint(ConfChangeType::AddLearnerNode, 2)).unwrap();
    settle(&engine, &mut pump);
    let host = pump.host();
    assert_eq!((&host.judged[..], &host.members[..], host.applied.len()), (&[2][..], &[][..], 2));
    assert_eq!(engine.group(GROUP).conf_state().unwrap().index, 0);
    assert!(pump.raft().prs().conf().learners().is_empty());
    drop((pump, engine));
    disk.crash();
    // The pump asks the state machine again when the entry is applied again.
    let (engine, pump) = reopen(&disk, 0);
    let mut pump = pump.unwrap();
    pump.host_mut().refuse_changes = true;
    settle(&engine, &mut pump);
    assert_eq!((&pump.host().judged[..], &pump.host().members[..]), (&[2][..], &[][..]));
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    pump.host_mut().refuse_changes = false;
    pump.propose_conf_change(vec![], joint(ConfChangeType::AddLearnerNode, 3)).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(pump.host().members, [4]);
    // Leaving a joint configuration needs no permission, because the state machine has allowed the change
    // before.
    pump.host_mut().refuse_changes = true;
    pump.propose_conf_change(vec![], ConfChangeV2::default()).unwrap();
    settle(&engine, &mut pump);
    assert_eq!((&pump.host().judged[..], &pump.host().members[..]), (&[2, 4][..], &[4, 5][..]));
    assert_eq!(engine.group(GROUP).conf_state().unwrap().learners, [3]);
}

#[test]
fn members_survive_a_restart_whatever_the_state_machine_remembers() {
    let (disk, engine, mut pump) = start(&[1]);
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    pump.propose_conf_change(vec![], joint(ConfChangeType::AddLearnerNode, 2)).unwrap();
    settle(&engine, &mut pump);
    pump.propose_conf_change(vec![], ConfChangeV2::default()).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(pump.host().members, [2, 3]);
    // The core does not allow this change, because the group would have no voter.
    pump.propose_conf_change(vec![], joint(ConfChangeType::RemoveNode, 1)).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(pump.host().members, [2, 3]);
    assert_eq!(pump.applied(), 4);
    drop((pump, engine));
    disk.crash();
    for applied in 0..=4 {
        let (engine, pump) = reopen(&disk, applied);
        let mut pump = pump.unwrap();
        settle(&engine, &mut pump);
        pump.campaign().unwrap();
        settle(&engine, &mut pump);
        let conf = engine.group(GROUP).conf_state().unwrap();
        assert_eq!((&conf.voters[..], &conf.learners[..], conf.index), (&[1][..], &[2][..], 3));
        let applied_now: Vec<u64> = pump.host().applied.iter().map(|e| e.index).collect();
        assert_eq!(applied_now, (applied + 1..=pump.applied()).collect::<Vec<_>>());
        assert!(pump.host().members.is_empty());
        assert_eq!(pump.raft().prs().conf().learners().iter().collect::<Vec<_>>(), [&2]);
        drop((pump, engine));
        disk.crash();
    }
}

#[test]
fn log_and_state_machine_must_fit_together() {
    let (disk, engine, mut pump) = start(&[1]);
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    pump.propose(vec![], b"x".to_vec()).unwrap();
    settle(&engine, &mut pump);
    assert!(matches!(pump.compact(3), Err(Error::NotApplied { index: 3, applied: 2 })));
    pump.compact(1).unwrap();
    engine.close().unwrap();
    drop((pump, engine));
    for applied in [0, 3] {
        let (_engine, pump) = reopen(&disk, applied);
        let error = pump.unwrap_err();
        assert!(matches!(error, Error::Applied { point: 1, last_index: 2, .. }), "{error}");
    }
    let (engine, pump) = reopen(&disk, 1);
    settle(&engine, &mut pump.unwrap());
    let unknown = Pump::new(&engine, 5, &Config::new(1), Node::default(), PumpOptions::default());
    assert!(matches!(unknown, Err(Error::NoMembers { group: 5 })));
    let nobody = Pump::new(&engine, 1, &Config::default(), Node::default(), PumpOptions::default());
    assert!(matches!(nobody, Err(Error::Core(_))));
    let options = PumpOptions::default().with_readys_max(0);
    let none = Pump::new(&engine, 1, &Config::new(1), Node::default(), options);
    assert!(matches!(none, Err(Error::NoReadys)));
}

#[test]
fn a_commit_index_lost_in_a_crash_follows_the_state_machine() {
    let (disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 2, 10)).unwrap();
    _ = pump.poll().unwrap();
    engine.flush().unwrap();
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 1);
    heartbeat.commit = 2;
    pump.step(heartbeat).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.applied(), 2);
    drop((pump, engine));
    disk.crash();
    let (engine, pump) = reopen(&disk, 2);
    assert_eq!(pump.unwrap().raft().raft_log.committed, 2);
    assert_eq!(engine.group(GROUP).hard_state().commit, 2);
}

#[test]
fn a_ready_larger_than_a_record_becomes_several() {
    let (disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(3, 0, 1, 20, 30_000)).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.in_flight(), 1);
    assert_eq!(pump.host_mut().take(), []);
    engine.flush().unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.host_mut().take(), [(ACK, 20)]);
    engine.close().unwrap();
    let (engine, pump) = reopen(&disk, 0);
    assert_eq!(engine.group(GROUP).last_index(), 20);
    assert_eq!(pump.unwrap().raft().term, 3);
}

/// Cuts the power at every operation of writing the effects of `message`. The acknowledged entries, or the
/// vote, must then be in the log.
fn cut_at_every_operation(message: &Message, kept: impl Fn(&Engine, (MessageType, u64)) -> bool) {
    let mut answered = 0;
    for operations in 1.. {
        let (disk, engine, mut pump) = start(&[1, 2, 3]);
        pump.step(message.clone()).unwrap();
        _ = pump.poll().unwrap();
        disk.crash_after(operations);
        let whole = engine.flush().is_ok();
        let _ = pump.poll();
        let sent = pump.host_mut().take();
        drop((pump, engine));
        disk.crash();
        let (engine, _pump) = reopen(&disk, 0);
        for answer in sent {
            assert!(kept(&engine, answer), "{answer:?} after {operations} operations");
            answered += 1;
        }
        if whole {
            break;
        }
    }
    assert!(answered > 0);
}

#[test]
fn what_was_acknowledged_is_there_wherever_the_power_is_cut() {
    // Both appends are larger than a record, so one Ready is written as several records.
    for bytes in [30_000, 100_000] {
        cut_at_every_operation(&appends(3, 0, 1, 12, bytes), |engine, (kind, index)| {
            kind == ACK && engine.group(GROUP).last_index() >= index
        });
    }
}

#[test]
fn a_vote_that_left_is_there_wherever_the_power_is_cut() {
    let mut request = message(MessageType::MsgRequestVote, 2, 5);
    (request.index, request.log_term) = (9, 4);
    cut_at_every_operation(&request, |engine, (kind, _)| {
        let hard = engine.group(GROUP).hard_state();
        kind == MessageType::MsgRequestVoteResponse && (hard.term, hard.vote) == (5, 2)
    });
}

#[test]
fn members_are_durable_when_the_state_machine_hears_of_them() {
    let (disk, engine, mut pump) = start(&[1]);
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    pump.propose_conf_change(vec![], joint(ConfChangeType::AddLearnerNode, 2)).unwrap();
    _ = pump.poll().unwrap();
    engine.flush().unwrap();
    _ = pump.poll().unwrap();
    assert_eq!((&pump.host().members[..], pump.in_flight()), (&[][..], 1));
    engine.flush().unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.host().members, [2]);
    drop((pump, engine));
    disk.crash();
    let (engine, pump) = reopen(&disk, 2);
    pump.unwrap();
    assert_eq!(engine.group(GROUP).conf_state().unwrap().index, 2);
}

/// Tests that a node that starts does not read its whole log into memory, although the core's default has no
/// limit.
#[test]
fn a_start_does_not_read_the_whole_log_at_once() {
    const ENTRIES: u64 = 400;
    let (_disk, engine, pump) = start(&[1]);
    drop(pump);
    let payload = [&[0, 0][..], &vec![7; 60_000]].concat();
    let mut batch = WriteBatch::new();
    for index in 1..=ENTRIES {
        batch.append(GROUP, &[EntryRef { index, term: 1, payload: &payload }]);
        drop(engine.write(&mut batch).unwrap());
    }
    batch.hard_state(GROUP, HardState { term: 1, vote: 1, commit: ENTRIES });
    engine.write(&mut batch).unwrap().wait().unwrap();
    let all = ENTRIES * 60_000;
    for campaigns in [false, true] {
        let config = Config { max_size_per_msg: 1 << 20, ..Config::new(1) };
        assert_eq!(config.max_committed_size_per_ready, raft::NO_LIMIT);
        let mut pump = Pump::new(&engine, GROUP, &config, Node::default(), PumpOptions::default()).unwrap();
        if campaigns {
            // An election reads all unapplied entries without a limit, so the pump applies them first.
            pump.campaign().unwrap();
        } else {
            _ = pump.poll().unwrap();
        }
        assert_eq!(pump.applied(), ENTRIES);
        let largest = pump.host().bytes.iter().max().copied().unwrap();
        assert!(largest <= 8 << 20 && largest > 4 << 20, "{largest} of {all} bytes in one Ready");
    }
    // A limit that the caller sets applies.
    let config = Config { max_committed_size_per_ready: 100_000, ..Config::new(1) };
    let mut pump = Pump::new(&engine, GROUP, &config, Node::default(), PumpOptions::default()).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!((pump.applied(), pump.host().bytes.iter().max()), (ENTRIES, Some(&60_000)));
}

#[test]
fn a_node_does_not_start_on_the_log_of_another() {
    let (_disk, engine, pump) = start(&[1, 2, 3]);
    drop(pump);
    let config = |id| Config { max_size_per_msg: 1 << 20, ..Config::new(id) };
    let open = |id, owner| {
        let options = PumpOptions::default().with_owner(owner);
        Pump::new(&engine, GROUP, &config(id), Node::default(), options).map(drop)
    };
    let owner = |cluster, node| Some(Owner { cluster, node, user: b"blue".to_vec() });
    let other = |result: Result<(), Error>| {
        let Err(Error::Engine(seawall::Error::OtherOwner { stored, given })) = result else { return None };
        Some(((stored.cluster, stored.node), (given.cluster, given.node)))
    };
    // The log has no owner, so the pump notices nothing.
    open(2, None).unwrap();
    open(1, owner(7, 1)).unwrap();
    assert_eq!(engine.owner().unwrap(), owner(7, 1));
    open(1, None).unwrap();
    assert_eq!(other(open(2, None)), Some(((7, 1), (7, 2))));
    assert_eq!(other(open(2, owner(7, 2))), Some(((7, 1), (7, 2))));
    assert_eq!(other(open(1, owner(8, 1))), Some(((7, 1), (8, 1))));
    // If the options name an owner, it counts, and not the id of the core.
    open(2, owner(7, 1)).unwrap();
}
