//! Tests a power cut or a kill at every operation of taking, releasing, retaining, receiving and installing
//! snapshots, on a disk that has the log and the files (INV-1, INV-3, INV-6).
//!
//! Afterwards the old or the new snapshot is there, complete, and the log continues after it without a gap.
//! Then the tests damage the newest snapshot, and the one before it must serve.

use crate::support;

use std::sync::Arc;

use seawall::snapshots::Error;
use seawall::snapshots::snap::{Offer, Piece};
use seawall_wal::disk::sim::SimDisk;
use support::*;

/// Runs `act` on a prepared disk and interrupts it at each of its operations, with several outcomes of each.
/// `check` gets the disk, the node that was opened again, the index where it starts, and whether `act` had
/// ended. Returns the number of operations.
fn at_every_operation(
    setup: Setup,
    prepare: impl Fn(&Node),
    act: impl Fn(&Node) -> Result<(), Error>,
    check: impl Fn(&Arc<SimDisk>, Node, u64, bool),
) -> u64 {
    const OUTCOMES: u64 = 4;
    let whole = sim(1);
    prepare(&setup.open(&whole).expect("opens"));
    let mut node = setup.open(&whole).expect("opens");
    node.start.reader = None;
    let before = whole.operations();
    act(&node).expect("nothing fails");
    let operations = whole.operations() - before;
    for n in 1..=operations + 1 {
        for seed in 0..OUTCOMES {
            let disk = sim(n * OUTCOMES + seed);
            prepare(&setup.open(&disk).expect("opens"));
            let mut node = setup.open(&disk).expect("opens");
            // The state machine has loaded the snapshot, so its reader no longer keeps the file.
            node.start.reader = None;
            disk.crash_after(n);
            let ended = match act(&node) {
                Ok(()) => true,
                Err(error) if is_crash(&error) => false,
                Err(error) => panic!("operation {n}, seed {seed}: {error}"),
            };
            drop(node);
            // After a kill everything that was written is visible, durable or not.
            if seed % 2 == 0 {
                disk.crash();
            } else {
                disk.kill();
            }
            let mut node = setup.open(&disk).unwrap_or_else(|e| panic!("operation {n}, seed {seed}: {e}"));
            let applied = node.check();
            if let Some(newest) = node.engine.group(GROUP).snapshots().first() {
                assert!(
                    files(&disk).contains(&newest.index),
                    "operation {n}, seed {seed}: the log names a snapshot without a file"
                );
            }
            drop(node);
            // Everything that open showed is durable, so a power cut changes nothing.
            disk.crash();
            let mut node = setup.open(&disk).unwrap_or_else(|e| panic!("operation {n}, seed {seed}: {e}"));
            assert_eq!(node.check(), applied, "operation {n}, seed {seed}");
            check(&disk, node, applied, ended);
        }
    }
    operations
}

/// Writes a log of 20 entries with snapshots at 5 and 10.
fn prepare(node: &Node) {
    for index in [5, 10] {
        node.append(index, 1, index).unwrap();
        node.take(index).unwrap();
    }
    node.append(20, 1, 18).unwrap();
}

/// Damages the snapshot at `index`, and checks that the node starts from `before`.
fn fall_back(setup: Setup, disk: &Arc<SimDisk>, (index, term): (u64, u64), before: u64) {
    disk.corrupt(&file(index, term), 3000, |bytes| bytes[0] ^= 1);
    let mut node = setup.open(disk).expect("the one before serves");
    assert_eq!(node.start.set_aside.iter().map(|aside| aside.id.index).collect::<Vec<_>>(), [index]);
    assert_eq!(node.check(), before);
    // The next snapshot can be taken, although the log names one that is gone.
    node.append(30, 3, 30).unwrap();
    node.take(30).unwrap();
    drop(node);
    assert_eq!(setup.open(disk).unwrap().check(), 30);
}

#[test]
fn of_taking_one() {
    let operations = at_every_operation(
        SETUP,
        prepare,
        |node| node.take(15).map(drop),
        |disk, node, applied, ended| {
            assert!(applied == 15 || (applied == 10 && !ended), "{applied} {ended}");
            assert!(node.engine.group(GROUP).compaction_point().0 <= if applied == 15 { 10 } else { 5 });
            if applied == 10 {
                // The snapshot was not completed, so it is taken again.
                node.take(15).unwrap();
            }
            drop(node);
            fall_back(SETUP, disk, (15, 1), 10);
        },
    );
    assert!(operations > 10, "{operations}");
}

#[test]
fn of_taking_several_and_keeping_one() {
    let setup = Setup { keep: 1, ..SETUP };
    let act = |node: &Node| {
        node.take(13)?;
        node.append(22, 1, 22)?;
        node.take(21).map(drop)
    };
    at_every_operation(setup, prepare, act, |disk, node, applied, ended| {
        assert!([10, 13, 21].contains(&applied) && (!ended || applied == 21), "{applied}");
        if ended {
            assert_eq!(files(disk), [21]);
            // One entry is kept for slow followers. The last compaction becomes durable with a later write.
            let point = node.engine.group(GROUP).compaction_point().0;
            assert!(point == 12 || point == 20, "{point}");
        }
    });
}

#[test]
fn of_a_first_one() {
    let prepare = |node: &Node| node.append(9, 1, 9).unwrap();
    at_every_operation(
        SETUP,
        prepare,
        |node| node.take(9).map(drop),
        |disk, node, applied, ended| {
            assert!(applied == 9 || (applied == 0 && !ended));
            assert_eq!(node.engine.group(GROUP).compaction_point().0, 0, "nothing to fall back to");
            drop(node);
            if applied == 9 {
                fall_back(SETUP, disk, (9, 1), 0);
            }
        },
    );
}

/// Returns the offer and the pieces of a snapshot of another node.
fn sent(index: u64, term: u64) -> (Offer, Vec<Piece>) {
    let node = SETUP.open(&sim(0)).unwrap();
    node.append(index, term, index).unwrap();
    node.take(index).unwrap();
    let export = node.catalog.export(id(index, term)).unwrap();
    let pieces = export.pieces(0).unwrap().map(Result::unwrap).collect();
    (*export.offer(), pieces)
}

#[test]
fn of_receiving_and_installing() {
    // The snapshot is ahead of the log, in the middle of a suffix with other entries, or at an entry that the
    // log has.
    for (index, term, keep) in [(40, 3, 2), (19, 3, 2), (19, 1, 2), (40, 3, 1)] {
        let setup = Setup { keep, ..SETUP };
        let (offer, pieces) = sent(index, term);
        let act = |node: &Node| {
            node.receive(&offer, &pieces)?;
            node.snapshots.install(offer.id()).map(drop)
        };
        let operations = at_every_operation(setup, prepare, act, |disk, node, applied, ended| {
            assert!(applied == index || (applied == 10 && !ended), "{applied} {ended}");
            let group = node.engine.group(GROUP);
            if applied == 10 {
                // The snapshot is not installed: the log is unchanged, and the second try succeeds.
                assert_eq!((group.last_index(), group.hard_state().commit), (20, 18));
                act(&node).unwrap();
            }
            assert_eq!(group.last_index(), if (index, term) == (19, 1) { 20 } else { index });
            assert_eq!((group.compaction_point(), group.hard_state().commit), ((index, term), index));
            assert!(files(disk).contains(&index));
            let back = node.snapshots.install(offer.id());
            assert!(matches!(back, Err(Error::OutOfDate { newest, .. }) if newest == index), "{back:?}");
            // The next entries can be appended, and the next snapshots can be taken.
            node.append(index + 10, term, index + 10).unwrap();
            node.take(index + 5).unwrap();
            node.take(index + 10).unwrap();
            assert_eq!(files(disk).len(), keep as usize);
        });
        assert!(operations > 10, "{operations}");
    }
}

/// Cuts the power again and again, until the last snapshot is taken.
#[test]
fn of_everything_again_and_again() {
    let (offer, pieces) = sent(40, 3);
    for seed in 0..40 {
        let disk = sim(seed);
        prepare(&SETUP.open(&disk).unwrap());
        let mut at = 10;
        for life in 0.. {
            assert!(life < 300, "no progress");
            disk.crash_after(1 + (seed * 7 + life * 3) % 29);
            let run = || -> Result<u64, Error> {
                let mut node = SETUP.open(&disk)?;
                let applied = node.check();
                match applied {
                    10 => node.take(15).map(drop)?,
                    15 => {
                        node.receive(&offer, &pieces)?;
                        node.snapshots.install(offer.id())?;
                    }
                    40 => {
                        node.append(50, 3, 50)?;
                        node.take(50)?;
                    }
                    _ => {}
                }
                Ok(applied)
            };
            match run() {
                Ok(applied) => {
                    assert!(applied >= at, "{applied} after {at}");
                    at = applied;
                }
                Err(error) => assert!(is_crash(&error), "seed {seed}, life {life}: {error}"),
            }
            disk.crash();
            if at == 50 {
                break;
            }
        }
        assert_eq!(SETUP.open(&disk).unwrap().check(), 50);
    }
}
