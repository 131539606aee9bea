//! Tests a pump that is told to stop: another member takes over, nothing stays in flight, and the time is
//! bounded.

use raft::eraftpb::Message;
use raft::{Config, StateRole};
use seawall::raft_rs::{End, Error, GroupStorage, Outcome, Pump, PumpOptions};
use seawall::{ConfState, Engine};
use seawall_wal::Threads;
use seawall_wal::disk::sim::{SimDisk, SimOptions};

use crate::pump::node::{GROUP, Node, appends, env, message, options, pump, settle, start};

/// Three nodes, the first of which leads.
struct Cluster(Vec<(Engine, Pump<Node>)>);

impl Cluster {
    fn new() -> Cluster {
        let node = |id| {
            let engine =
                Engine::create_in(env(&SimDisk::new(id, SimOptions::default())), &options()).unwrap();
            let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
            GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
            let config = Config { max_size_per_msg: 1 << 20, ..Config::new(id) };
            let pump = Pump::new(&engine, GROUP, &config, Node::default(), PumpOptions::default()).unwrap();
            (engine, pump)
        };
        let mut cluster = Cluster((1..=3).map(node).collect());
        cluster.0[0].1.campaign().unwrap();
        cluster.carry(&[]);
        assert_eq!(cluster.leader(), Some(1));
        cluster
    }

    fn leader(&self) -> Option<u64> {
        let leads = |(_, pump): &&(Engine, Pump<Node>)| pump.raft().state == StateRole::Leader;
        self.0.iter().filter(leads).max_by_key(|(_, pump)| pump.raft().term).map(|(_, pump)| pump.raft().id)
    }

    /// Flushes all nodes and delivers their messages until there are none. The nodes in `silent` send and get
    /// no messages.
    fn carry(&mut self, silent: &[u64]) {
        loop {
            let mut sent: Vec<Message> = Vec::new();
            for (engine, pump) in &mut self.0 {
                engine.flush().unwrap();
                while pump.poll().unwrap().is_worked() {
                    engine.flush().unwrap();
                }
                sent.append(&mut pump.host_mut().sent);
            }
            sent.retain(|message| !silent.contains(&message.to) && !silent.contains(&message.from));
            if sent.is_empty() {
                return;
            }
            for message in sent {
                let _ = self.0[usize::try_from(message.to - 1).unwrap()].1.step(message);
            }
        }
    }
}

fn end(outcome: Outcome) -> Option<End> {
    if let Outcome::Ended(end) = outcome { Some(end) } else { None }
}

#[test]
fn a_leader_that_stops_hands_the_leadership_over_first() {
    let mut cluster = Cluster::new();
    for n in 0..3 {
        cluster.0[0].1.propose(vec![], vec![n]).unwrap();
    }
    assert!(end(cluster.0[0].1.stop(40).unwrap()).is_none(), "it leads, and entries are in flight");
    assert!(matches!(cluster.0[0].1.propose(vec![], vec![9]), Err(Error::Stopping)));
    cluster.carry(&[]);
    let leader = cluster.leader().unwrap();
    assert_ne!(leader, 1);
    let ended = end(cluster.0[0].1.poll().unwrap()).expect("nothing is left to be done");
    assert!(!ended.leads && ended.drained, "{ended:?}");
    // No tick passed, so no node waited for an election, and nothing is lost.
    assert_eq!(cluster.0[0].1.stats().ticks, 0);
    cluster.carry(&[1]);
    for at in [1, 2] {
        let data: Vec<_> = cluster.0[at].1.host().applied.iter().filter(|e| !e.data.is_empty()).collect();
        assert_eq!(data.len(), 3);
    }
    // The stopped node cannot become the leader again.
    assert!(cluster.0[0].1.campaign().is_err());
    assert!(end(cluster.0[0].1.poll().unwrap()).is_some());
}

#[test]
fn one_that_does_not_take_over_is_not_waited_for() {
    let mut cluster = Cluster::new();
    let first = {
        _ = cluster.0[0].1.stop(1000).unwrap();
        cluster.0[0].1.raft().lead_transferee.unwrap()
    };
    // The first node that is asked to take over does not get the message.
    for _ in 0..100 {
        cluster.carry(&[first]);
        if let Some(end) = end(cluster.0[0].1.poll().unwrap()) {
            assert!(!end.leads && end.drained, "{end:?}");
            assert_eq!(cluster.leader(), Some(2 + 3 - first));
            return;
        }
        _ = cluster.0[0].1.tick().unwrap();
    }
    panic!("no other node was asked");
}

#[test]
fn without_peers_or_disk_the_time_is_over_all_the_same() {
    let mut cluster = Cluster::new();
    cluster.0[0].1.propose(vec![], vec![1]).unwrap();
    _ = cluster.0[0].1.stop(5).unwrap();
    for tick in 0..5 {
        cluster.carry(&[2, 3]);
        assert!(end(cluster.0[0].1.poll().unwrap()).is_none(), "after {tick} ticks");
        _ = cluster.0[0].1.tick().unwrap();
    }
    cluster.carry(&[2, 3]);
    let ended = end(cluster.0[0].1.poll().unwrap()).unwrap();
    assert!(ended.leads && ended.drained, "{ended:?}");
    // The disk of this node is full.
    let disk = SimDisk::new(1, SimOptions::default());
    let engine =
        Engine::create_in(seawall_wal::Env { threads: Threads::Spawned, ..env(&disk) }, &options()).unwrap();
    let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
    GroupStorage::new(&engine, GROUP).bootstrap(&conf).unwrap();
    let mut pump = pump(&engine, 0).unwrap();
    disk.set_capacity(Some(0));
    for next in 1.. {
        pump.step(appends(1, 1.min(next - 1), next, next, 100_000)).unwrap();
        if pump.poll().unwrap().is_stalled() {
            break;
        }
    }
    assert!(pump.stop(2).unwrap().is_stalled());
    assert!(pump.tick().unwrap().is_stalled());
    assert!(pump.poll().unwrap().is_stalled());
    assert!(pump.tick().unwrap().is_stalled());
    let ended = end(pump.poll().unwrap()).unwrap();
    assert!(!ended.leads && !ended.drained, "{ended:?}");
}

#[test]
fn a_follower_and_an_only_voter_stop_when_nothing_is_in_flight() {
    let (_disk, engine, mut pump) = start(&[1, 2, 3]);
    pump.step(appends(1, 0, 1, 3, 5000)).unwrap();
    assert!(end(pump.stop(10).unwrap()).is_none(), "the entries are not durable");
    // A node that is asked to lead while it stops does not campaign.
    pump.step(message(raft::eraftpb::MessageType::MsgTimeoutNow, 2, 1)).unwrap();
    engine.flush().unwrap();
    let ended = end(pump.poll().unwrap()).unwrap();
    assert!(!ended.leads && ended.drained, "{ended:?}");
    assert_eq!((pump.raft().term, pump.host_mut().take().len()), (1, 1), "it has acknowledged them");

    let (_disk, engine, mut pump) = start(&[1]);
    pump.campaign().unwrap();
    settle(&engine, &mut pump);
    pump.propose(vec![], b"x".to_vec()).unwrap();
    assert!(end(pump.stop(10).unwrap()).is_none());
    engine.flush().unwrap();
    assert!(end(pump.poll().unwrap()).is_some_and(|end| end.drained && !end.leads));
    assert_eq!(pump.applied(), 2);
}
