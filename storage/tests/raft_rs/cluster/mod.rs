//! Tests that simulated raft-rs nodes agree under a seeded scheduler, whatever crashes.
//!
//! Messages are lost, duplicated and reordered, flushes are late, and nodes crash at any operation of their
//! disks and restart. In most runs nodes take snapshots, compact their logs, and catch up by snapshots of
//! other nodes; snapshots are cut off and damaged on their way, set aside, and offered to nodes that are not
//! members in them. In most runs members are added, promoted, demoted and removed, some of them again, some
//! with an empty log, and state machines refuse one change of four. In most runs entries that are not in
//! memory are read outside of the pump's calls, and the core gets them at a time that the scheduler chooses.
//!
//! A run fails if an index is applied with two different entries, by any node or incarnation of it; if a term
//! has two leaders; if one node allows a change of the members that another refuses, or if they have
//! different members after it; if the state in a snapshot is not the one that all entries up to there make;
//! if an applied entry is lost; if the core panics; or if the members do not agree once the faults stop.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test raft_rs cluster::nodes_agree` repeats one run;
//! `SEAWALL_RUNS=n` makes n runs from random seeds.

mod machine;
mod members;
mod network;
mod setup;
mod simulation;

use std::collections::BTreeMap;

use seawall_wal::disk::clock::{Random, SystemRandom};
use setup::Setup;
use simulation::Run;

use crate::seeds;

fn run(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut run = Run::new(seed, Setup::random);
    for _ in 0..500 * run.nodes.len() {
        run.step();
    }
    run.settle();
    let (entries, changes) = (run.history.len() as u64, run.members.len() as u64);
    run.counts.extend([("entries", entries), ("changes", changes)]);
    run.counts
}

#[test]
fn nodes_agree_whatever_crashes() {
    if let Some(seed) = seeds::number("SEAWALL_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    assert_eq!(run(0), run(0), "a seed is one history");
    let random = seeds::number("SEAWALL_RUNS");
    let mut sums = BTreeMap::<_, u64>::new();
    for n in 0..random.unwrap_or(150) {
        let seed = if random.is_some() { SystemRandom.next_u64() } else { n };
        let counts = seeds::with_seed(seed, || run(seed));
        counts.into_iter().for_each(|(what, count)| *sums.entry(what).or_default() += count);
    }
    println!("{sums:?}");
    let least = [
        ("entries", 1000),
        ("crashes", 1000),
        ("snapshots", 300),
        ("installed", 30),
        ("reads", 100),
        ("changes", 200),
        ("joined", 50),
        ("refused", 5),
        ("set aside", 10),
    ];
    let rare: Vec<_> =
        least.iter().filter(|(what, least)| sums.get(what).is_none_or(|n| n < least)).collect();
    assert!(random.is_some() || rare.is_empty(), "{rare:?} in {sums:?}");
}
