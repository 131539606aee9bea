//! Tests recovery on every crash state of short traces of the log (INV-1, INV-5, INV-6).
//!
//! The traces are all those of a few groups of one or two blocks, with every order of completion, up to three
//! groups in flight, in segments of six blocks, the smallest, and with idle marks wherever the log would
//! write one. Each trace is cut at each of its points. Each write in flight is lost, whole, or torn in all
//! ways that recovery can distinguish. Every distinct state is opened, also with a cut inside of the open,
//! used again, and cut again. In each state, what was acknowledged is kept, nothing that was dropped appears,
//! and no open is refused. Then one block rots: the log is refused, or the loss lies in the window that one
//! node cannot decide (`docs/durability.md`).
//!
//! `SEAWALL_RUNS=4 cargo test --release -p seawall-wal --test recovery crash_states:: -- --nocapture` tries
//! up to four groups instead of two, which takes minutes; five take an hour. `SEAWALL_FULL=1` adds the subsets of
//! sectors that take longest. Nothing is random. The numbers are printed.

mod check;
mod modes;
mod trace;

use crate::harness;
use check::{Explorer, Patterns};
use trace::{Step, Trace};

/// The number of data groups of a run, over both lives of the log.
fn groups(otherwise: usize) -> usize {
    std::env::var("SEAWALL_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn two_lives_with_all_orders_of_completion() {
    let mut explorer = Explorer::new(Patterns::Told);
    explorer.explore(groups(2), 2);
    let tally = explorer.finish();
    assert!(tally.states > 500 && tally.cut_opens > 100 && tally.rotten > 1000);
}

/// Three groups in one life, without rot and without a second life. These have the longest torn tails.
#[test]
fn one_life_with_three_in_flight() {
    let mut explorer = Explorer::new(Patterns::Told);
    explorer.rot = false;
    explorer.explore(groups(2) + 1, 1);
    assert!(explorer.finish().states > 5_000);
}

/// With footers, an open that leaves sealed segments unread concludes the same as a scan of everything, and a
/// reader finds what rotted in one of them.
#[test]
fn sealed_segments_are_taken_on_their_footers_word() {
    let mut explorer = Explorer::new(Patterns::Told);
    explorer.sealed = true;
    explorer.explore(groups(2) + 1, 1);
    let tally = explorer.finish();
    assert!(tally.by_footer > 100 && tally.opened_over_rot > 100);
}

/// With bounded writes in flight, an open that reads only the start of each spare concludes the same as a
/// scan of everything, also when a block rots. Records are zeros, as the spares are.
#[test]
fn open_reads_as_far_as_groups_can_be() {
    for reach in [1, 2] {
        let mut explorer = Explorer::new(Patterns::Told);
        explorer.reach = Some(reach);
        explorer.explore(groups(if harness::full() { 2 } else { 1 }) + 2, 1);
        let tally = explorer.finish();
        assert!(tally.rotten > 1000 && tally.opened_over_rot == 0);
    }
}

/// Tries all subsets of up to 16 sectors, without assuming what recovery can distinguish.
#[test]
fn every_subset_of_sectors() {
    use Step::{Complete, Issue};
    let mut explorer = Explorer::new(Patterns::Sectors);
    let traces =
        [&[Issue(1)][..], &[Issue(1), Complete(0), Issue(1), Issue(1)], &[Issue(2)], &[Issue(1), Issue(1)]];
    let traces = if harness::full() { &traces[..] } else { &traces[..2] };
    for steps in traces {
        explorer.node(&Trace { start: None, steps: steps.to_vec(), sealed: false, reach: None }, 1);
    }
    assert!(explorer.finish().states >= (1 << 8) + (traces.len() as u64 - 1) * (1 << 16));
}
