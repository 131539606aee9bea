//! Tests random operations on the simulated disk against a small reference model (INV-1, INV-2, INV-3, INV-6,
//! INV-7).
//!
//! `seawall_wal::testing::fuzz::model` says what is checked.
//!
//! `SEAWALL_SEED=n cargo test -p seawall-wal --test recovery model::` repeats one run; `SEAWALL_RUNS=n` makes
//! n runs from random seeds, which are printed on failure.

use seawall_wal::disk::clock::{Random, SystemRandom};
use seawall_wal::testing::fuzz::Choices;
use seawall_wal::testing::fuzz::model::{Tally, run};

#[test]
fn two_hundred_thousand_operations() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    if let Some(seed) = number("SEAWALL_SEED") {
        run(Choices::seeded(seed), 40);
        return;
    }
    let random = number("SEAWALL_RUNS");
    let mut total = Tally::default();
    let mut n = 0;
    let enough = |total: &Tally, n| match random {
        Some(runs) => n >= runs,
        None => total.operations >= 200_000 && total.crashes >= 5_000,
    };
    while !enough(&total, n) {
        let seed = if random.is_some() { SystemRandom.next_u64() } else { n };
        let tally = std::panic::catch_unwind(|| run(Choices::seeded(seed), 40)).unwrap_or_else(|panic| {
            eprintln!("repeat with SEAWALL_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        n += 1;
        total.add(&tally);
    }
    println!("{n} runs, 0 violations: {total:?}");
    assert!(
        total.dropped > 100 && total.latched > 10 && total.full > 100 && total.by_footer > 1000,
        "the faults did not happen: {total:?}"
    );
    assert!(total.rot_refused > 100 && total.rot_unchanged > 30, "rot did not happen: {total:?}");
    assert!(total.stale > 100, "no older page was read: {total:?}");
    assert!(total.rot_read > 30, "nothing rotted under a footer: {total:?}");
}
