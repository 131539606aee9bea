//! Tests changes of the members: random ones, and one by one in groups without faults.

use raft::StateRole;
use raft::eraftpb::{self, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};
use seawall::raft_rs::Error;

use crate::cluster::setup::Setup;
use crate::cluster::simulation::{Alive, GROUP, Run};

use ConfChangeType::{AddLearnerNode, AddNode, RemoveNode};

fn change(steps: &[(ConfChangeType, u64)]) -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    for &(kind, node_id) in steps {
        let mut single = ConfChangeSingle { node_id, ..ConfChangeSingle::default() };
        single.set_change_type(kind);
        change.mut_changes().push(single);
    }
    change
}

fn is_member(members: &eraftpb::ConfState, id: u64) -> bool {
    [&members.voters, &members.learners, &members.voters_outgoing].iter().any(|list| list.contains(&id))
}

impl Run {
    /// Proposes a random change that adds, promotes, demotes or removes members, in one step or several.
    pub fn change_members(&mut self, at: usize) {
        let mut steps = Vec::new();
        for _ in 0..[1, 1, 1, 2, 3][self.rng.pick(5)] {
            let kind = [AddNode, AddNode, AddLearnerNode, RemoveNode][self.rng.pick(4)];
            steps.push((kind, 1 + self.rng.below(self.setup.nodes as u64)));
        }
        let mut change = change(&steps);
        if self.rng.chance(20) {
            let transitions = [ConfChangeTransition::Implicit, ConfChangeTransition::Explicit];
            change.set_transition(transitions[self.rng.pick(2)]);
        }
        if self.newest().1.voters_outgoing.len() > self.rng.pick(6) {
            // This change leaves the joint configuration.
            change = ConfChangeV2::default();
        }
        let at = self.leader().unwrap_or(at);
        self.with(at, |_, pump| pump.propose_conf_change(vec![], change));
    }

    /// Returns a node that leads, perhaps of a term that is over.
    pub fn leader(&self) -> Option<usize> {
        let leads = |alive: &Alive| alive.pump.raft().state == StateRole::Leader;
        self.nodes.iter().position(|node| node.alive.as_ref().is_some_and(leads))
    }

    /// Returns the index of the last change that any node knows to be committed, and the members after it. A
    /// log may have them before the state machine has the entry.
    fn newest(&self) -> (u64, eraftpb::ConfState) {
        let founders = eraftpb::ConfState { voters: self.setup.members().voters, ..Default::default() };
        let applied = self.members.last_key_value().map(|(index, conf)| (*index, conf.clone()));
        let logs = self.nodes.iter().flat_map(|node| &node.alive).map(|alive| {
            let conf = alive.pump.raft().prs().conf().to_conf_state();
            (alive.engine.group(GROUP).conf_state().map_or(0, |conf| conf.index), conf)
        });
        logs.chain(applied)
            .max_by_key(|(index, _)| *index)
            .filter(|(index, _)| *index > 0)
            .unwrap_or((0, founders))
    }

    /// Acts as an operator: starts nodes, and stops those that are not members once all members know it.
    /// Returns the members.
    pub fn only_members_run(&mut self) -> eraftpb::ConfState {
        let (changed, members) = self.newest();
        let known = self.nodes.iter().flat_map(|node| &node.alive).filter(|alive| {
            let id = alive.pump.raft().id;
            is_member(&members, id) && alive.pump.applied() >= changed
        });
        let all =
            known.count() == (1..=self.nodes.len() as u64).filter(|id| is_member(&members, *id)).count();
        for at in 0..self.setup.nodes {
            if all && !is_member(&members, at as u64 + 1) {
                self.nodes[at].alive = None;
            } else if self.nodes[at].alive.is_none() {
                self.start(at).unwrap();
            }
        }
        members
    }

    /// Makes a leader propose data or leave the joint configuration.
    pub fn ask_a_leader(&mut self, leave: bool) {
        let Some(at) = self.leader() else { return };
        let data = self.data();
        self.with(at, |_, pump| match leave {
            true => pump.propose_conf_change(vec![], ConfChangeV2::default()),
            false => pump.propose(vec![], data),
        });
    }

    /// Returns the last applied index of each member that runs.
    pub fn applied(&self, members: &eraftpb::ConfState) -> Vec<u64> {
        let running = self.nodes.iter().flat_map(|node| &node.alive);
        let member = |id: &u64| {
            [&members.voters, &members.learners, &members.voters_outgoing]
                .iter()
                .any(|list| list.contains(id))
        };
        let running = running.filter(|alive| member(&alive.pump.raft().id));
        running.map(|alive| alive.pump.applied()).collect()
    }

    /// Waits until all members that run have applied `more` new entries. Fails before an offer is repeated.
    fn go_on(&mut self, more: u64) {
        self.go_on_within(90, more);
    }

    fn go_on_within(&mut self, rounds: u32, more: u64) {
        let until = self.history.len() as u64 + more;
        for round in 0.. {
            if (self.history.len() as u64) < until {
                (0..5).for_each(|_| self.ask_a_leader(false));
            }
            // Two voters whose timeouts are equal may split every vote.
            if self.leader().is_none() && self.rng.chance(5) {
                let at = self.rng.pick(self.setup.nodes);
                self.with(at, |_, pump| pump.campaign());
            }
            self.round();
            let members = self.only_members_run();
            if self.applied(&members).iter().all(|applied| *applied >= until) {
                return;
            }
            assert!(round < rounds, "not all members have applied {until}:{}", self.standing());
        }
    }

    /// Describes the role and the log of each node, and what leaders know of their peers.
    pub fn standing(&self) -> String {
        let mut text = format!("\nmembers by index: {:?}", self.members);
        for Alive { pump, .. } in self.nodes.iter().flat_map(|node| &node.alive) {
            let raft = pump.raft();
            let conf = raft.prs().conf();
            let peers: Vec<_> = raft.prs().iter().map(|(id, peer)| (*id, peer.state, peer.matched)).collect();
            let peers = if raft.state == StateRole::Leader { peers } else { Vec::new() };
            let (state, applied, last) = (raft.state, pump.applied(), raft.raft_log.last_index());
            let (id, term, leader) = (raft.id, raft.term, raft.leader_id);
            text += &format!("\n{id}: {state:?} {term} of {leader}, {applied} of {last}, {conf:?} {peers:?}");
        }
        text
    }

    fn propose_change(&mut self, steps: &[(ConfChangeType, u64)]) {
        let change = change(steps);
        let before = self.members.len();
        for round in 0.. {
            if round % 10 == 0 {
                for at in 0..self.setup.nodes {
                    let change = change.clone();
                    self.with(at, |_, pump| match pump.raft().state {
                        StateRole::Leader => pump.propose_conf_change(vec![], change),
                        _ => Ok::<_, Error>(()),
                    });
                }
            }
            self.round();
            if self.members.len() > before {
                return;
            }
            assert!(round < 1000, "the members have not changed");
        }
    }

    fn alive(&self, id: usize) -> &Alive {
        self.nodes[id - 1].alive.as_ref().unwrap()
    }

    fn compacted(&self) -> bool {
        self.nodes[0].alive.as_ref().unwrap().engine.group(GROUP).compaction_point().0 > 0
    }
}

/// Creates a group of three nodes, with room for a fourth, that have applied 40 entries and take a snapshot
/// every `every` entries.
fn three(seed: u64, every: u64) -> Run {
    group(seed, every, 3, 4)
}

/// Creates a group of `founders` that have applied 40 entries, with room for `nodes`.
fn group(seed: u64, every: u64, founders: usize, nodes: usize) -> Run {
    let setup = Setup {
        founders,
        nodes,
        snapshots: true,
        every: Some(every),
        async_fetch: true,
        check_quorum: seed.is_multiple_of(2),
        calm: true,
        faults: false,
        lenient: true,
    };
    let mut run = Run::new(seed, |_| setup);
    (0..founders).for_each(|at| run.start(at).unwrap());
    run.go_on(40);
    run
}

/// Tests nodes that join while the newest snapshot is from before they were members, or while there is none.
#[test]
fn a_node_that_joins_catches_up() {
    for seed in 0..8 {
        for (every, kind, compacted) in
            [(5, AddLearnerNode, true), (5, AddNode, true), (1 << 40, AddNode, false)]
        {
            let mut run = three(seed, every);
            assert_eq!(run.compacted(), compacted);
            // The node may run before it is added, or be added before it runs.
            if seed % 4 > 1 {
                run.start(3).unwrap();
                run.round();
            }
            run.propose_change(&[(kind, 4)]);
            run.only_members_run();
            run.go_on(20);
            let state = run.alive(1).pump.host().state;
            assert!(run.alive(4).pump.applied() >= 60 && state.index >= 60);
            run.propose_change(&[(AddNode, 4)]);
            // Another member can then be removed.
            run.propose_change(&[(RemoveNode, 1 + seed % 3)]);
            run.only_members_run();
            run.go_on(10);
        }
    }
}

/// Tests that a node that does not have the members cannot be elected, however long it waits, and that the
/// leader repeats an offer that was lost unnoticed.
#[test]
fn a_node_that_joins_elects_nobody() {
    for seed in 0..4 {
        let mut run = three(seed, 1 << 40);
        run.start(3).unwrap();
        run.propose_change(&[(AddNode, 4)]);
        run.no_snapshots = true;
        for _ in 0..100 {
            run.round();
            run.with(3, |_, pump| pump.campaign());
            let raft = run.alive(4).pump.raft();
            assert_eq!((raft.state, raft.prs().conf().voters().ids().len()), (StateRole::Follower, 0));
        }
        run.no_snapshots = false;
        run.go_on_within(300, 10);
        assert_eq!(run.alive(4).pump.raft().prs().conf().voters().ids().len(), 4);
    }
}

/// Tests a change that takes the leader's vote. The other voter has the change and does not know that it is
/// committed, so it needs the leader's vote, and the leader's log must not grow after the change.
#[test]
fn a_leader_that_loses_its_vote_leaves_one_who_can_be_elected() {
    for (seed, kind) in (0..8).zip([RemoveNode, AddLearnerNode].into_iter().cycle()) {
        let mut run = group(seed, 1 << 40, 2, 2);
        let leader = run.leader().expect("a leader");
        let (id, other) = (leader as u64 + 1, 1 - leader);
        // After these rounds nothing is in flight.
        (0..100).for_each(|_| run.round());
        run.network.clear();
        run.with(leader, |_, pump| pump.propose_conf_change(vec![], change(&[(kind, id)])));
        run.with(leader, |engine, _| engine.flush().map_err(Error::from));
        let mut network = std::mem::take(&mut run.network);
        // These proposals are lost on their way, if they are sent at all.
        for _ in 0..3 {
            let data = run.data();
            run.with(leader, |_, pump| pump.propose(vec![], data));
            run.with(leader, |engine, _| engine.flush().map_err(Error::from));
        }
        run.network.clear();
        while run.alive(leader + 1).pump.raft().promotable() {
            assert!(!network.is_empty(), "{}", run.standing());
            for message in std::mem::take(&mut network) {
                run.pass_on(message);
            }
            for at in 0..2 {
                run.with(at, |engine, _| engine.flush().map_err(Error::from));
            }
            network = std::mem::take(&mut run.network);
        }
        let last = |id| run.alive(id).pump.raft().raft_log.last_index();
        assert_eq!(last(leader + 1), last(other + 1), "{}", run.standing());
        // The other voter is not told that the change is committed.
        run.network.clear();
        for round in 0.. {
            run.round();
            if run.alive(other + 1).pump.raft().state == StateRole::Leader {
                break;
            }
            assert!(round < 300, "no node is elected:{}", run.standing());
        }
    }
}

/// Tests a node that has its old log, with members that are out of date.
#[test]
fn a_member_that_was_removed_is_added_again() {
    for seed in 0..4 {
        let mut run = three(seed, 5);
        run.propose_change(&[(RemoveNode, 3)]);
        run.only_members_run();
        run.go_on(40);
        run.propose_change(&[(AddLearnerNode, 3)]);
        run.only_members_run();
        run.go_on(10);
        run.propose_change(&[(AddNode, 3), (AddLearnerNode, 2)]);
        run.go_on(20);
    }
}
