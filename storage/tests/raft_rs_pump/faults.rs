//! A disk that fails or is full, entries that cannot be read, a state machine that fails, mistakes of callers.

use raft::eraftpb::MessageType;
use seawall::raft_rs::{Error, GroupStorage, Pump};
use seawall::{ConfState, Engine, EntryRef, HardState, WriteBatch};
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimDisk, SimOptions};
use seawall_wal::{Env, Threads};

use crate::node::{ACK, GROUP, Node, appends, env, message, options, pump, settle, start};

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
            pump.poll().unwrap();
        }
        disk.fail(FaultRule::once(op, 1, FaultError::Io));
        assert!(engine.flush().is_err());
        let stopped = |result: Result<bool, Error>| {
            matches!(result, Err(Error::Engine(seawall::Error::Log(seawall_wal::Error::Latched { .. }))))
        };
        assert!(stopped(pump.poll()));
        assert!(stopped(pump.poll()));
        assert!(stopped(pump.wait(std::time::Duration::from_secs(60))));
        assert!(stopped(pump.propose(vec![], vec![]).map(|()| true)));
        assert!(stopped(pump.step(message(MessageType::MsgHeartbeat, 2, 1)).map(|()| true)));
        assert!(stopped(pump.tick().map(|()| true)));
        assert_eq!(pump.host_mut().take(), []);
        assert!(pump.host().applied.is_empty());
    }
}

#[test]
fn a_full_disk_holds_the_pump_up_and_no_more() {
    // With threads: one of them tries again when there is space.
    let disk = SimDisk::new(1, SimOptions::default());
    let env = Env { threads: Threads::Spawned, ..env(&disk) };
    let engine = Engine::create_in(env, &options()).unwrap();
    let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let mut pump = pump(&engine, 0).unwrap();
    disk.set_capacity(Some(0));
    let mut next = 1;
    let full = loop {
        let appended = pump.step(appends(1, 1.min(next - 1), next, next, 100_000));
        if let Err(error) = appended.and_then(|()| pump.poll()) {
            break error;
        }
        next += 1;
        assert!(next < 100, "the disk is full");
    };
    assert!(full.is_no_space(), "{full}");
    assert!(pump.poll().unwrap_err().is_no_space());
    assert!(pump.tick().unwrap_err().is_no_space());
    engine.flush().unwrap();
    let (written, sent) = (engine.group(GROUP).last_index(), pump.host_mut().take());
    assert!(sent.iter().all(|m| m.1 <= written), "{sent:?} of {written}");
    disk.set_capacity(None);
    while pump.poll().is_err_and(|error| error.is_no_space()) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    settle(&engine, &mut pump);
    assert_eq!(engine.group(GROUP).last_index(), next);
    assert_eq!(pump.host_mut().take().last(), Some(&(ACK, next)));
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

fn pump_of(engine: &Engine) -> Pump<Node> {
    pump(engine, 0).unwrap()
}

#[test]
fn a_state_machine_that_fails_stops_the_pump() {
    let (_disk, engine, mut pump) = start(&[1]);
    pump.host_mut().fail = true;
    pump.campaign().unwrap();
    pump.poll().unwrap();
    engine.flush().unwrap();
    assert!(matches!(pump.poll(), Err(Error::Host(_))));
    pump.host_mut().fail = false;
    assert!(matches!(pump.poll(), Err(Error::Host(_))));
    assert_eq!(pump.applied(), 0);
}
