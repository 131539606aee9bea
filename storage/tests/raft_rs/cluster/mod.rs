//! Nodes on simulated disks under a seeded scheduler: messages are lost, doubled and reordered, flushes come late, nodes
//! crash at any operation of their disks and come back. In most runs they take snapshots, compact their logs, and catch up
//! by those of others; snapshots are cut off and damaged on their way, set aside, and offered to nodes that they do not
//! have. In most, members are added, promoted, demoted and removed, some added again, some with their first start; state
//! machines refuse one change of four. In most, too, what memory does not have is read beside the core, and given to it
//! whenever the scheduler likes.
//!
//! Whatever happens: no index is applied with two different entries, on any node or by any incarnation of it; no term has
//! two leaders; all nodes say the same of a change of the members, and have the same members behind it; a state that comes
//! out of a snapshot is the one that all entries up to there make; what was applied is never gone; the core never panics;
//! and once the faults stop, all that are members agree.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test raft_rs cluster::nodes_agree` repeats one run;
//! `SEAWALL_RUNS=n` makes n runs from random seeds.

mod machine;
mod members;
mod simulation;

use std::collections::BTreeMap;

use seawall_wal::disk::{Random, SystemRandom};
use simulation::{Run, Setup};

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
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    if let Some(seed) = number("SEAWALL_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    assert_eq!(run(0), run(0), "a seed is one history");
    let random = number("SEAWALL_RUNS");
    let mut sums = BTreeMap::<_, u64>::new();
    for n in 0..random.unwrap_or(150) {
        let seed = if random.is_some() { SystemRandom.next_u64() } else { n };
        let counts = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("repeat with SEAWALL_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
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
