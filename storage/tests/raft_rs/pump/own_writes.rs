//! Tests which thread makes the writes of a pump durable: the pump's own, if the node follows or is the only voter,
//! waits, and no other thread writes; a thread of the log otherwise.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, MessageType};
use raft::{Config, StateRole};
use seawall::raft_rs::{Error, GroupStorage, Outcome, Pump, PumpOptions, Wake, inbox};
use seawall::{ConfState, Engine};
use seawall_wal::disk::clock::SystemClock;
use seawall_wal::disk::sim::{CallOp, FaultError, FaultOp, FaultRule, HookDisk, SimDisk, SimOptions};
use seawall_wal::notify::Bell;
use seawall_wal::{Env, Threads};

use crate::pump::node::{ACK, GROUP, Node, appends, barrier, env, message, options, pump, settle, start};

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// A disk whose writes stall while it is closed, except those of one thread, which are counted.
struct Gate {
    /// The thread whose writes do not stall.
    thread: ThreadId,
    own: AtomicUsize,
    closed: Mutex<bool>,
    stalled: AtomicUsize,
    opened: Condvar,
}

impl Gate {
    fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        if thread::current().id() == self.thread {
            self.own.fetch_add(1, Ordering::SeqCst);
            return;
        }
        let mut closed = self.closed.lock().unwrap();
        while *closed {
            self.stalled.fetch_add(1, Ordering::SeqCst);
            closed = self.opened.wait(closed).unwrap();
            self.stalled.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn own(&self) -> usize {
        self.own.load(Ordering::SeqCst)
    }

    /// Waits until a write stalls.
    fn await_stall(&self) {
        while self.stalled.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
    }
}

/// A gate that is opened when a test ends, also by a panic: declared after the engine, which waits for its writes.
struct OpenOnDrop(Arc<Gate>);

impl Deref for OpenOnDrop {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.0
    }
}

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Creates node 1 of `voters` on a log with threads, whose writes pass a gate.
fn gated(voters: &[u64], options: PumpOptions) -> (Engine, Pump<Node>, OpenOnDrop) {
    let gate = Arc::new(Gate {
        thread: thread::current().id(),
        own: AtomicUsize::new(0),
        closed: Mutex::new(false),
        stalled: AtomicUsize::new(0),
        opened: Condvar::new(),
    });
    let (disk, at) = (SimDisk::new(1, SimOptions::default()), Arc::clone(&gate));
    let disk = HookDisk::new(disk, move |call| {
        if call.op == CallOp::Write && call.durable {
            at.pass();
        }
        Ok(())
    });
    let (random, clock) = (env(&SimDisk::new(1, SimOptions::default())).random, Arc::new(SystemClock::new()));
    let env = Env { disk, clock, random, threads: Threads::Spawned };
    let engine = Engine::create_in(env, &crate::pump::node::options()).unwrap();
    let conf = ConfState { voters: voters.to_vec(), ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let config = Config { max_size_per_msg: 1 << 20, ..Config::new(1) };
    let pump = Pump::new(&engine, GROUP, &config, Node::default(), options).unwrap();
    (engine, pump, OpenOnDrop(gate))
}

/// Runs the pump until nothing is in flight.
fn rest(pump: &mut Pump<Node>) {
    while pump.poll().unwrap().is_worked() {}
    while pump.in_flight() > 0 {
        _ = pump.wait(LONG).unwrap();
        while pump.poll().unwrap().is_worked() {}
    }
}

/// Makes the node the leader of a group with two other voters; `rest` runs it until nothing is in flight.
fn elect(pump: &mut Pump<Node>, rest: impl Fn(&mut Pump<Node>)) {
    pump.campaign().unwrap();
    rest(pump);
    pump.step(message(MessageType::MsgRequestVoteResponse, 2, pump.raft().term)).unwrap();
    assert_eq!(pump.raft().state, StateRole::Leader);
    rest(pump);
}

#[test]
fn a_lone_proposal_of_the_only_voter_wakes_no_thread() {
    let (_disk, _engine, mut pump) = start(&[1]);
    pump.campaign().unwrap();
    rest(&mut pump);
    let before = pump.stats();
    for n in 1..=50 {
        pump.propose(vec![], vec![7; 256]).unwrap();
        // Some owners poll once before they wait, others until there is nothing to do.
        while pump.poll().unwrap().is_worked() && n % 2 == 0 {}
        assert_eq!(pump.applied(), n);
        assert!(pump.wait(LONG).unwrap().is_worked());
        assert_eq!((pump.applied(), pump.in_flight()), (n + 1, 0));
    }
    let stats = pump.stats();
    assert_eq!((stats.own_writes - before.own_writes, stats.wake_ups), (50, 0));
}

#[test]
fn an_append_of_a_leader_wakes_no_thread_of_a_follower() {
    let (_disk, _engine, mut pump) = start(&[1, 2, 3]);
    for index in 1..=50 {
        pump.step(appends(1, 1.min(index - 1), index, index, 256)).unwrap();
        _ = pump.poll().unwrap();
        assert_eq!(pump.host_mut().take(), []);
        assert!(pump.wait(LONG).unwrap().is_worked());
        assert_eq!(pump.host_mut().take(), [(ACK, index)]);
    }
    assert_eq!((pump.stats().own_writes, pump.stats().wake_ups), (50, 0));
}

#[test]
fn a_wait_without_time_does_not_write() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 1, 256)).unwrap();
    _ = pump.poll().unwrap();
    assert!(pump.wait(Duration::ZERO).unwrap().is_idle());
    assert_eq!((pump.in_flight(), pump.stats().own_writes), (1, 0));
    settle(&engine, &mut pump);
}

#[test]
fn a_change_of_the_members_is_written_by_a_pump_that_waits() {
    let (_disk, engine, mut pump) = start(&[1]);
    pump.campaign().unwrap();
    rest(&mut pump);
    let mut learner = ConfChangeSingle { node_id: 2, ..ConfChangeSingle::default() };
    learner.set_change_type(ConfChangeType::AddLearnerNode);
    let change = ConfChangeV2 { changes: vec![learner].into(), ..ConfChangeV2::default() };
    pump.propose_conf_change(vec![], change).unwrap();
    rest(&mut pump);
    assert_eq!(pump.host().members, [2]);
    assert_eq!(engine.group(GROUP).conf_state().unwrap().index, 2);
    assert_eq!(pump.stats().wake_ups, 0);
}

/// Tests that the ticks of a leader do not depend on its disk. Here nothing stalls a write of the pump's own thread, which
/// would end the test; it is counted.
#[test]
fn a_leader_with_peers_ticks_while_its_disk_stalls() {
    let (engine, mut pump, gate) = gated(&[1, 2, 3], PumpOptions::default());
    elect(&mut pump, rest);
    let (own, ticks, requested) = (gate.own(), pump.stats().ticks, pump.stats().wake_ups);
    gate.close();
    pump.propose(vec![], vec![7; 256]).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.stats().wake_ups, requested + 1, "the write does not depend on this thread");
    gate.await_stall();
    for _ in 0..5 {
        pump.propose(vec![], vec![7; 256]).unwrap();
        _ = pump.poll().unwrap();
        _ = pump.wait(Duration::from_millis(1)).unwrap();
        _ = pump.tick().unwrap();
    }
    assert_eq!((gate.own() - own, pump.stats().ticks - ticks), (0, 5));
    assert!(pump.in_flight() > 0);
    gate.open();
    rest(&mut pump);
    assert_eq!(gate.own(), own);
    engine.close().unwrap();
}

/// Tests that a leader that waits before any other thread has started the write leaves it to that thread.
#[test]
fn a_leader_with_peers_does_not_write() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    elect(&mut pump, |pump| settle(&engine, pump));
    let own = pump.stats().own_writes;
    pump.propose(vec![], vec![7; 256]).unwrap();
    _ = pump.poll().unwrap();
    assert!(pump.wait(Duration::from_millis(1)).unwrap().is_idle());
    assert_eq!((pump.stats().own_writes, pump.in_flight()), (own, 1));
    settle(&engine, &mut pump);
}

#[test]
fn a_pump_that_is_being_stopped_does_not_write() {
    let (engine, mut pump, gate) = gated(&[1], PumpOptions::default());
    pump.campaign().unwrap();
    rest(&mut pump);
    let own = gate.own();
    gate.close();
    pump.propose(vec![], vec![7; 256]).unwrap();
    assert!(pump.stop(3).unwrap().is_worked());
    for _ in 0..3 {
        assert!(!matches!(pump.wait(Duration::from_millis(1)).unwrap(), Outcome::Ended(_)));
        _ = pump.tick().unwrap();
    }
    let Outcome::Ended(end) = pump.poll().unwrap() else { panic!("its time is over") };
    assert!(!end.drained && gate.own() == own);
    gate.open();
    engine.close().unwrap();
}

#[test]
fn a_pump_waits_for_the_write_of_another_thread() {
    let (engine, mut pump, gate) = gated(&[1], PumpOptions::default());
    pump.campaign().unwrap();
    rest(&mut pump);
    gate.close();
    let ticket = barrier(&engine);
    let other = thread::spawn(move || ticket.wait().map(drop));
    gate.await_stall();
    let before = pump.stats();
    pump.propose(vec![], vec![7; 256]).unwrap();
    _ = pump.poll().unwrap();
    assert_eq!(pump.stats(), before, "it is not known yet who writes");
    assert!(pump.wait(Duration::from_millis(1)).unwrap().is_idle());
    assert!(pump.wait(Duration::from_millis(1)).unwrap().is_idle());
    let stats = pump.stats();
    assert_eq!((stats.own_writes, stats.wake_ups), (before.own_writes, before.wake_ups + 1));
    gate.open();
    // The end of the write wakes it: it waits for as long as it takes.
    while pump.in_flight() > 0 {
        _ = pump.wait(Duration::MAX).unwrap();
    }
    other.join().unwrap().unwrap();
    engine.close().unwrap();
}

#[test]
fn proposals_are_written_while_the_owner_goes_on() {
    let (engine, mut pump, gate) = gated(&[1], PumpOptions::default());
    pump.campaign().unwrap();
    rest(&mut pump);
    let requested = pump.stats().wake_ups;
    gate.close();
    for _ in 0..3 {
        pump.propose(vec![], vec![7; 256]).unwrap();
        _ = pump.poll().unwrap();
    }
    assert_eq!(pump.stats().wake_ups, requested + 1, "one, for the oldest");
    gate.await_stall();
    gate.open();
    rest(&mut pump);
    engine.close().unwrap();
}

#[test]
fn owners_that_do_not_wait_are_served() {
    // One polls only.
    let (engine, mut pump, _gate) = gated(&[1], PumpOptions::default());
    pump.campaign().unwrap();
    while pump.applied() == 0 {
        _ = pump.poll().unwrap();
    }
    assert!(pump.stats().own_writes == 0 && pump.stats().wake_ups > 0);
    engine.close().unwrap();
    // Another sleeps until it is woken.
    let bell = Arc::new(Bell::new());
    let wake = Some(Wake::Bell(Arc::clone(&bell)));
    let (engine, mut pump, _gate) = gated(&[1], PumpOptions::default().with_wake(wake));
    pump.campaign().unwrap();
    while pump.applied() == 0 {
        let rung = bell.rung();
        if pump.poll().unwrap().is_idle() {
            bell.wait(rung, None);
        }
    }
    assert!(pump.stats().own_writes == 0 && pump.stats().wake_ups > 0);
    engine.close().unwrap();
}

#[test]
fn a_failure_of_its_own_write_stops_the_pump() {
    for voters in [&[1][..], &[1, 2, 3]] {
        let disk =
            SimDisk::new(1, SimOptions { mode: seawall_wal::disk::Mode::Direct, ..SimOptions::default() });
        let engine = Engine::create_in(env(&disk), &options()).unwrap();
        let conf = ConfState { voters: voters.to_vec(), ..ConfState::default() };
        GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
        let mut pump = pump(&engine, 0).unwrap();
        if voters.len() > 1 {
            pump.step(appends(1, 0, 1, 1, 256)).unwrap();
        } else {
            pump.campaign().unwrap();
        }
        _ = pump.poll().unwrap();
        disk.fail(FaultRule::once(FaultOp::Write, 1, FaultError::Io));
        let stopped = |error: Option<Error>| {
            matches!(error, Some(Error::Engine(seawall::Error::Log(seawall_wal::Error::Latched { .. }))))
        };
        assert!(stopped(pump.wait(LONG).err()));
        assert!(stopped(pump.stopped().cloned()));
        assert_eq!((pump.host_mut().take(), pump.applied(), pump.stats().own_writes), (vec![], 0, 1));
    }
}

/// Tests the loop of a node. The log's thread may write in its place if the machine is busy.
#[test]
fn the_loop_of_a_node_writes_before_it_sleeps() {
    let (handle, inputs) = inbox(None);
    let (engine, mut pump, gate) = gated(&[1], PumpOptions::default().with_wake(Some(handle.wake())));
    pump.campaign().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let (proposing, ended) = (handle.clone(), Arc::clone(&done));
    let proposer = thread::spawn(move || {
        for n in 1..=200 {
            proposing.call(|pump| pump.propose(vec![], vec![7; 256])).wait(LONG).unwrap().unwrap();
            while proposing.call(|pump| pump.applied()).wait(LONG).unwrap() <= n {}
        }
        ended.store(true, Ordering::SeqCst);
        proposing.stop(1).wait(LONG).unwrap().unwrap();
    });
    let end = pump.run(&inputs, Duration::from_millis(50)).unwrap();
    proposer.join().unwrap();
    assert!(end.drained && done.load(Ordering::SeqCst));
    assert!(gate.own() > 20, "{} of 200", gate.own());
    engine.close().unwrap();
}
