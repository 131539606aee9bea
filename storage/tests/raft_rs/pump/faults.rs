//! Tests the pump with a disk that fails or is full, entries that cannot be read, a state machine that fails,
//! and mistakes of callers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use raft::eraftpb::MessageType;
use raft::{GetEntriesContext, SnapshotStatus, StateRole, Storage, StorageError};
use seawall::raft_rs::{AppendFault, Error, GroupStorage, Outcome, Pump, PumpOptions};
use seawall::{ConfState, Engine, EntryRef, HardState, WriteBatch};
use seawall_wal::disk::clock::SystemClock;
use seawall_wal::disk::sim::{CallOp, FaultError, FaultOp, FaultRule, HookDisk, SimDisk, SimOptions};
use seawall_wal::{Env, Threads};

use crate::pump::node::{ACK, GROUP, Node, appends, env, message, options, pump, settle, start};

#[test]
fn nothing_leaves_after_the_log_failed() {
    for op in [FaultOp::Write, FaultOp::Sync] {
        let mode = match op {
            FaultOp::Sync => seawall_wal::disk::Mode::Buffered,
            _ => seawall_wal::disk::Mode::Direct,
        };
        let disk = SimDisk::new(1, SimOptions { mode, ..SimOptions::default() });
        let engine = Engine::create_in(env(&disk), &options()).unwrap();
        let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
        GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
        let mut pump = pump(&engine, 0).unwrap();
        for index in 1..=3 {
            pump.step(appends(1, 1.min(index - 1), index, index, 5000)).unwrap();
            _ = pump.poll().unwrap();
        }
        disk.fail(FaultRule::once(op, 1, FaultError::Io));
        assert!(engine.flush().is_err());
        let stopped = |error: Option<Error>| {
            matches!(error, Some(Error::Engine(seawall::Error::Log(seawall_wal::Error::Latched { .. }))))
        };
        assert!(stopped(pump.poll().err()));
        assert!(stopped(pump.poll().err()));
        assert!(stopped(pump.wait(std::time::Duration::from_secs(60)).err()));
        assert!(stopped(pump.propose(vec![], vec![]).err()));
        assert!(stopped(pump.step(message(MessageType::MsgHeartbeat, 2, 1)).err()));
        assert!(stopped(pump.tick().err()));
        assert!(stopped(pump.stopped().cloned()));
        assert_eq!(pump.host_mut().take(), []);
        assert!(pump.host().applied.is_empty());
    }
}

#[test]
fn a_full_disk_holds_the_pump_up_and_no_more() {
    // The engine has threads: one of them tries again when there is space.
    let disk = SimDisk::new(1, SimOptions::default());
    let env = Env { threads: Threads::Spawned, ..env(&disk) };
    let engine = Engine::create_in(env, &options()).unwrap();
    let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let mut pump = pump(&engine, 0).unwrap();
    disk.set_capacity(Some(0));
    let mut next = 1;
    let full = loop {
        pump.step(appends(1, 1.min(next - 1), next, next, 100_000)).unwrap();
        if let Outcome::Stalled(full) = pump.poll().unwrap() {
            break full;
        }
        next += 1;
        assert!(next < 100, "the disk is full");
    };
    assert!(full.is_no_space(), "{full}");
    // These calls return no error, so they do not end a loop that ends with an error.
    for wait in [0, 1000] {
        assert!(pump.wait(std::time::Duration::from_millis(wait)).unwrap().is_stalled());
        assert!(pump.poll().unwrap().is_stalled());
        assert!(pump.tick().unwrap().is_stalled());
        pump.report_unreachable(2).unwrap();
        pump.report_snapshot(2, SnapshotStatus::Failure).unwrap();
    }
    // A request that concerns only the caller is refused, and stops nothing.
    assert!(pump.propose(vec![], vec![]).is_err_and(|error| error.is_no_space()));
    assert!(pump.step(appends(1, 1, 1, 1, 1)).is_err_and(|error| error.is_no_space()));
    assert!(pump.stopped().is_none());
    let stats = pump.stats();
    assert_eq!((stats.ticks, stats.ticks_missed), (0, 2));
    assert!(stats.stalls >= 13, "{stats:?}");
    engine.flush().unwrap();
    let (written, sent) = (engine.group(GROUP).last_index(), pump.host_mut().take());
    assert!(sent.iter().all(|m| m.1 <= written), "{sent:?} of {written}");
    disk.set_capacity(None);
    while pump.tick().unwrap().is_stalled() {
        _ = pump.wait(std::time::Duration::from_millis(10)).unwrap();
    }
    assert_eq!(pump.stats().ticks, 1);
    settle(&engine, &mut pump);
    assert_eq!(engine.group(GROUP).last_index(), next);
    assert_eq!(pump.host_mut().take().last(), Some(&(ACK, next)));
}

/// Tests a node that fills the disk that it shares with a group that hardly writes. Its pump refuses ticks
/// meanwhile, so it writes nothing that could free space. Once its log is compacted, it continues by itself.
#[test]
fn a_full_disk_with_a_slow_group_lets_the_pump_go_on_once_its_log_is_compacted() {
    for bytes in [3000, 11_000, 18_000, 21_000] {
        let disk = SimDisk::new(1, SimOptions { capacity_bytes: Some(1 << 20), ..SimOptions::default() });
        let env = Env { threads: Threads::Spawned, clock: Arc::new(SystemClock::new()), ..env(&disk) };
        let mut options = options().with_slack_bytes(256 << 10);
        options.log.segment_bytes = 64 << 10;
        let engine = Engine::create_in(env, &options).unwrap();
        let mut batch = WriteBatch::new();
        batch.append(9, &[EntryRef { index: 1, term: 1, payload: &vec![7; bytes] }]);
        engine.write(&mut batch).unwrap().wait().unwrap();
        let conf = ConfState { voters: vec![1], ..ConfState::default() };
        GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
        let mut pump = pump(&engine, 0).unwrap();
        pump.campaign().unwrap();
        for round in 0..3 {
            // The engine may still free what an earlier round compacted, so a first stall can end by itself.
            while !pump.wait(Duration::from_secs(1)).unwrap().is_stalled()
                || !pump.tick().unwrap().is_stalled()
            {
                let proposed = pump.propose(vec![], vec![7; bytes]);
                assert!(proposed.is_ok() || proposed.is_err_and(|error| error.is_no_space()));
            }
            pump.compact(pump.applied()).expect("a full disk does not keep it from being freed");
            let end = Instant::now() + Duration::from_secs(60);
            // The test polls again and again, as an owner's loop does. The engine must free the space.
            while pump.poll().unwrap().is_stalled() {
                assert!(Instant::now() < end, "{bytes} B, round {round}: {:?}", engine.stats().unwrap());
                std::thread::yield_now();
            }
        }
        assert_eq!(engine.group(9).entries(1, 2, None).unwrap()[0].payload, vec![7; bytes]);
    }
}

/// Tests that the leader steps down. Otherwise it would still answer reads by its lease when the disk has
/// space again and the others have elected another leader.
#[test]
fn a_leader_steps_down_after_its_disk_was_full_for_long() {
    let disk = SimDisk::new(1, SimOptions::default());
    let env = Env { threads: Threads::Spawned, ..env(&disk) };
    let engine = Engine::create_in(env, &options()).unwrap();
    let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let lease = raft::ReadOnlyOption::LeaseBased;
    let config = raft::Config {
        check_quorum: true,
        read_only_option: lease,
        max_size_per_msg: 1 << 20,
        ..raft::Config::new(1)
    };
    let mut pump = Pump::new(&engine, GROUP, &config, Node::default(), PumpOptions::default()).unwrap();
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    pump.step(message(MessageType::MsgRequestVoteResponse, 2, 1)).unwrap();
    settle(&engine, &mut pump);
    let mut acknowledged = message(MessageType::MsgAppendResponse, 2, 1);
    acknowledged.index = 1;
    pump.step(acknowledged).unwrap();
    settle(&engine, &mut pump);
    assert_eq!((pump.raft().state, pump.applied()), (StateRole::Leader, 1));
    disk.set_capacity(Some(0));
    while !pump.propose(vec![], vec![7; 100_000]).and_then(|()| pump.poll()).unwrap().is_stalled() {}
    for _ in 0..50 {
        assert!(pump.tick().unwrap().is_stalled());
    }
    disk.set_capacity(None);
    while pump.poll().unwrap().is_stalled() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    pump.read_index(b"read".to_vec()).unwrap();
    assert_eq!(pump.raft().state, StateRole::Follower);
    settle(&engine, &mut pump);
    assert!(pump.host().reads.is_empty());
}

#[test]
fn what_one_caller_does_wrong_stops_nothing() {
    let (_disk, engine, mut pump) = start(&[1]);
    assert!(matches!(pump.propose(vec![], vec![]), Err(Error::Core(_))), "no leader yet");
    pump.campaign().unwrap();
    let max = engine.entry_bytes_max().unwrap();
    let large = pump.propose(vec![], vec![0; max]);
    assert!(matches!(large, Err(Error::Engine(seawall::Error::EntryTooLarge { .. }))), "{large:?}");
    pump.propose(vec![], vec![0; max - 8]).unwrap();
    assert!(matches!(pump.step(message(MessageType::MsgHup, 1, 1)), Err(Error::Core(_))));
    let snapshot = pump.step(message(MessageType::MsgSnapshot, 2, 1));
    assert!(matches!(snapshot, Err(Error::Snapshot { from: 2 })));
    settle(&engine, &mut pump);
    assert_eq!(pump.applied(), 2);
}

#[test]
fn an_entry_that_cannot_be_read_stops_the_pump_without_a_panic() {
    let (_disk, engine, pump) = start(&[1]);
    drop(pump);
    let mut batch = WriteBatch::new();
    batch.append(GROUP, &[EntryRef { index: 1, term: 1, payload: b"\x09foreign" }]);
    batch.hard_state(GROUP, HardState { term: 1, vote: 1, commit: 1 });
    engine.write(&mut batch).unwrap().wait().unwrap();
    let mut by_ready = pump_of(&engine);
    assert!(matches!(by_ready.poll(), Err(Error::Entry { index: 1, .. })));
    assert!(matches!(by_ready.tick(), Err(Error::Entry { index: 1, .. })));
    let mut by_campaign = pump_of(&engine);
    assert!(matches!(by_campaign.campaign(), Err(Error::Entry { index: 1, .. })));
    assert_eq!(by_campaign.host_mut().take(), []);
}

/// Tests a pump whose log has no descriptor left to open sealed segments: the core gets the entries later.
#[test]
fn a_pump_without_descriptors_goes_on_when_there_are_some() {
    const EMFILE: i32 = 24;
    let disk = SimDisk::new(1, SimOptions::default());
    let none = Arc::new(AtomicBool::new(false));
    let short = Arc::clone(&none);
    let hooked = HookDisk::new(disk.process(), move |call| match call.op {
        CallOp::Open if short.load(Ordering::Relaxed) => Err(io::Error::from_raw_os_error(EMFILE)),
        _ => Ok(()),
    });
    let mut options = options();
    (options.log.segment_bytes, options.log.descriptors_max, options.cache_bytes) = (64 << 10, 8, 0);
    let engine = Engine::create_in(Env { disk: hooked, ..env(&disk) }, &options).unwrap();
    let conf = ConfState { voters: vec![1], ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let mut first = pump_of(&engine);
    first.campaign().unwrap();
    settle(&engine, &mut first);
    while engine.stats().unwrap().segments.1 < 20 {
        first.propose(vec![], vec![7; 5000]).unwrap();
        settle(&engine, &mut first);
    }
    let last = first.applied();
    drop(first);

    // A state machine that starts from the beginning needs all of them.
    let mut pump = pump_of(&engine);
    let store = GroupStorage::new(&engine, GROUP);
    let ask = |waits| store.entries(1, last + 1, None, GetEntriesContext::empty(waits));
    none.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert!(pump.poll().unwrap().is_idle(), "nothing can be done");
        assert_eq!(ask(true).unwrap_err(), StorageError::LogTemporarilyUnavailable.into());
    }
    assert_eq!((pump.applied(), store.fault().is_none()), (0, true));
    none.store(false, Ordering::Relaxed);
    settle(&engine, &mut pump);
    assert_eq!(pump.applied(), last);
    assert_eq!(ask(true).unwrap().len() as u64, last);
}

fn pump_of(engine: &Engine) -> Pump<Node> {
    pump(engine, 0).unwrap()
}

#[test]
fn a_state_machine_that_fails_stops_the_pump() {
    let (_disk, engine, mut pump) = start(&[1]);
    pump.host_mut().fail = true;
    pump.campaign().unwrap();
    _ = pump.poll().unwrap();
    engine.flush().unwrap();
    assert!(matches!(pump.poll(), Err(Error::Host(_))));
    pump.host_mut().fail = false;
    assert!(matches!(pump.poll(), Err(Error::Host(_))));
    assert_eq!(pump.applied(), 0);
}

/// Tests a leader's commit index beyond the end of the log. A leader knows what this node has acknowledged,
/// so the log lost entries.
#[test]
fn a_leader_that_knows_more_than_the_log_has_stops_its_group_and_no_other() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 3, 10)).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(pump.host_mut().take(), [(ACK, 3)]);
    let heartbeat = |term, commit| {
        let mut heartbeat = message(MessageType::MsgHeartbeat, 2, term);
        heartbeat.commit = commit;
        heartbeat
    };
    // The core ignores a heartbeat of an earlier leader, and accepts a commit index up to the end of the log.
    pump.step(appends(2, 1, 4, 4, 10)).unwrap();
    settle(&engine, &mut pump);
    pump.step(heartbeat(1, 9)).unwrap();
    pump.step(heartbeat(2, 4)).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(pump.applied(), 4);
    pump.host_mut().take();
    // Without a term, the core would take the heartbeat for a message of this node.
    assert!(matches!(pump.step(heartbeat(0, 9)), Err(Error::Core(_))));
    let lost = |error: Option<Error>| {
        let Some(Error::LostEntries { group, from, commit, last_index }) = error else { return false };
        (group, from, commit, last_index) == (GROUP, 2, 5, 4)
    };
    assert!(lost(pump.step(heartbeat(2, 5)).err()));
    assert!(lost(pump.poll().err()) && lost(pump.tick().err()) && lost(pump.stopped().cloned()));
    // A node that lacks entries that it acknowledged does not vote.
    let mut vote = message(MessageType::MsgRequestVote, 3, 3);
    (vote.index, vote.log_term) = (4, 2);
    assert!(lost(pump.step(vote).err()));
    assert_eq!(pump.host_mut().take(), []);
    assert_eq!(engine.group(GROUP).hard_state().term, 2);
    // The engine and its other groups continue.
    GroupStorage::new(&engine, 2).bootstrap(&ConfState { voters: vec![1], ..ConfState::default() }).unwrap();
    let config = raft::Config { max_size_per_msg: 1 << 20, ..raft::Config::new(1) };
    let mut other = Pump::new(&engine, 2, &config, Node::default(), PumpOptions::default()).unwrap();
    other.campaign().unwrap();
    settle(&engine, &mut other);
    assert_eq!(other.applied(), 1);
}

#[test]
fn appends_that_no_core_sends_are_dropped() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(2, 0, 1, 2, 10)).unwrap();
    settle(&engine, &mut pump);
    type Change = fn(&mut raft::eraftpb::Message);
    let cases: [(Change, AppendFault); 5] = [
        (|m| m.mut_entries()[0].index = 9, AppendFault::Index { before: 2, found: 9 }),
        (|m| m.mut_entries()[1].index = 3, AppendFault::Index { before: 3, found: 3 }),
        (|m| m.index = u64::MAX, AppendFault::Index { before: u64::MAX, found: 3 }),
        (|m| m.mut_entries()[1].term = 1, AppendFault::Term { index: 4, found: 1, min: 2, max: 2 }),
        (|m| m.mut_entries()[0].term = 3, AppendFault::Term { index: 3, found: 3, min: 2, max: 2 }),
    ];
    for (change, expected) in cases {
        let mut append = appends(2, 2, 3, 4, 10);
        change(&mut append);
        match pump.step(append) {
            Err(Error::Append { from: 2, fault }) => assert_eq!(fault, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    assert_eq!((pump.stats().appends_refused, pump.host().refused.len()), (5, 5));
    // The pump also refuses other messages that would make the core panic.
    for kind in [MessageType::MsgPropose, MessageType::MsgReadIndex] {
        assert!(matches!(pump.step(message(kind, 2, 0)), Err(Error::Core(_))));
    }
    let mut answer = message(MessageType::MsgReadIndexResp, 2, 0);
    (answer.index, answer.entries) = (9, vec![raft::eraftpb::Entry::default()].into());
    assert!(matches!(pump.step(answer), Err(Error::Core(_))));
    pump.step(appends(2, 2, 3, 4, 10)).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(engine.group(GROUP).last_index(), 4);
}

/// Tests entries of a peer whose segments are larger. Such a log can hold larger entries.
#[test]
fn an_entry_of_a_peer_that_no_record_can_hold_is_refused_and_stops_nothing() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    let max = pump.entry_bytes_max().unwrap();
    let append = |first, bytes| appends(1, 1.min(first - 1), first, first, bytes);
    pump.step(append(1, max)).unwrap();
    settle(&engine, &mut pump);
    for n in 1..=3 {
        let refused = pump.step(append(2, max + 1)).unwrap_err();
        let expected = max + 1 + 8;
        assert!(
            matches!(refused, Error::Engine(seawall::Error::EntryTooLarge { group: GROUP, index: 2, bytes, .. })
                if bytes == expected),
            "{refused}"
        );
        assert_eq!(pump.stats().appends_refused, n);
        assert_eq!(pump.host().refused.last(), Some(&(2, refused.to_string())));
        // The pump continues: it ticks and answers.
        _ = pump.tick().unwrap();
        pump.step(message(MessageType::MsgHeartbeat, 2, 1)).unwrap();
        settle(&engine, &mut pump);
    }
    assert_eq!(pump.host_mut().take().len(), 1 + 3, "the first append and the heartbeats were answered");
    pump.step(append(2, max)).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(engine.group(GROUP).last_index(), 2);
}

#[test]
fn a_group_agrees_on_the_size_of_entries() {
    let (_disk, engine, pump) = start(&[1]);
    let max = pump.entry_bytes_max().unwrap();
    drop(pump);
    let config = raft::Config { max_size_per_msg: 1 << 20, ..raft::Config::new(1) };
    let open = |bytes| {
        let options = PumpOptions::default().with_entry_bytes_max(Some(bytes));
        Pump::new(&engine, GROUP, &config, Node::default(), options)
    };
    // A node that could not store the proposals of the others fails when it starts.
    let refused = open(max + 1).map(drop);
    assert!(
        matches!(refused, Err(Error::EntryLimit { value, max: holds }) if (value, holds) == (max + 1, max)),
        "{refused:?}"
    );
    let mut pump = open(1000).unwrap();
    assert_eq!(pump.entry_bytes_max().unwrap(), 1000);
    pump.campaign().unwrap();
    let large = pump.propose(vec![0; 1], vec![0; 1000]);
    assert!(matches!(large, Err(Error::Engine(seawall::Error::EntryTooLarge { .. }))), "{large:?}");
    pump.propose(vec![0; 1], vec![0; 999]).unwrap();
    settle(&engine, &mut pump);
    assert_eq!(pump.applied(), 2);
    assert_eq!(open(max).unwrap().entry_bytes_max().unwrap(), max);
}
