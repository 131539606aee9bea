//! Tests that after a crash at any operation of writing, publishing, retention, setting aside and receiving,
//! the old or the new snapshot serves, complete, and the next open leaves no other files (INV-1, INV-3).

use crate::support;

use seawall_disk::sim::SimDisk;
use seawall_snap::{Catalog, Error};
use std::sync::Arc;
use support::*;

/// Runs `act` on a prepared disk and crashes at each of its operations, with eight outcomes of each. `check`
/// gets the disk afterwards and whether `act` had ended. Returns the number of operations.
fn at_every_operation(
    prepare: impl Fn(&Arc<SimDisk>),
    act: impl Fn(&Catalog) -> Result<(), Error>,
    check: impl Fn(&Arc<SimDisk>, bool),
) -> u64 {
    const OUTCOMES: u64 = 8;
    let whole = sim(1);
    prepare(&whole);
    let catalog = open(&whole);
    let before = whole.operations();
    act(&catalog).expect("nothing fails");
    let operations = whole.operations() - before;
    for n in 1..=operations + 1 {
        for seed in 0..OUTCOMES {
            let disk = sim(n * OUTCOMES + seed);
            prepare(&disk);
            let catalog = open(&disk);
            disk.crash_after(n);
            let ended = act(&catalog);
            let ended = match ended {
                Ok(()) => true,
                Err(Error::Io { source, .. }) if SimDisk::is_crash(&source) => false,
                Err(Error::Stopped { .. }) => false,
                Err(error) => panic!("operation {n}, seed {seed}: {error}"),
            };
            drop(catalog);
            // A kill leaves everything visible, whether it is durable or not.
            if seed % 2 == 0 {
                disk.crash()
            } else {
                disk.kill()
            }
            // Every listed snapshot must be durable, so the list is the same after a power cut.
            let first = Catalog::open(disk.process(), &options()).expect("opens").0;
            let listed = first.snapshots(GROUP);
            drop(first);
            disk.crash();
            assert_eq!(open(&disk).snapshots(GROUP), listed, "operation {n}, seed {seed}");
            check(&disk, ended);
        }
    }
    operations
}

#[test]
fn of_writing_and_publishing() {
    let prepare = |disk: &Arc<SimDisk>| settle(&open(disk), 10).unwrap();
    let operations = at_every_operation(
        prepare,
        |catalog| write(catalog, 20).map(drop),
        |disk, ended| {
            let catalog = open(disk);
            let served = served(&catalog);
            assert!(served == Some(20) || (served == Some(10) && !ended), "{served:?} {ended}");
            let (published, others) = files(disk);
            assert!(published.starts_with(&[10]) && others.is_empty(), "{published:?} {others:?}");
            // The catalog still works.
            if served == Some(10) {
                write(&catalog, 20).unwrap();
            }
            settle(&catalog, 30).unwrap();
            assert_eq!(support::served(&catalog), Some(30));
        },
    );
    assert!(operations > 8, "{operations}");
}

#[test]
fn of_a_first_snapshot() {
    at_every_operation(
        |_| (),
        |catalog| write(catalog, 20).map(drop),
        |disk, ended| {
            let served = served(&open(disk));
            assert!(served == Some(20) || (served.is_none() && !ended));
            assert_eq!(files(disk).1, [""; 0]);
        },
    );
}

#[test]
fn of_giving_up() {
    let prepare = |disk: &Arc<SimDisk>| settle(&open(disk), 10).unwrap();
    let act = |catalog: &Catalog| {
        let mut writer = catalog.write(id(20), b"", b"")?;
        writer.append(&content(20, 9000))?;
        writer.abort();
        Ok(())
    };
    at_every_operation(prepare, act, |disk, _| {
        assert_eq!(served(&open(disk)), Some(10));
        assert_eq!(files(disk), (vec![10], vec![]));
    });
}

#[test]
fn of_retention() {
    let prepare = |disk: &Arc<SimDisk>| {
        let catalog = open(disk);
        for index in [10, 20, 30, 40] {
            write(&catalog, index).unwrap();
        }
    };
    let act = |catalog: &Catalog| {
        verify(catalog, 30)?;
        verify(catalog, 40)?;
        catalog.retain(GROUP).map(drop)
    };
    at_every_operation(prepare, act, |disk, ended| {
        let (published, others) = files(disk);
        assert!(published.ends_with(&[30, 40]) && others.is_empty());
        assert!(!ended || published == [30, 40]);
        assert_eq!(served(&open(disk)), Some(40));
    });
}

#[test]
fn of_setting_aside() {
    let prepare = |disk: &Arc<SimDisk>| {
        let catalog = open(disk);
        write(&catalog, 10).unwrap();
        write(&catalog, 20).unwrap();
        drop(catalog);
        disk.corrupt(&file(20), 5000, |bytes| bytes[0] ^= 1);
    };
    let act = |catalog: &Catalog| catalog.newest(GROUP, |_| true, &mut on).map(drop);
    at_every_operation(prepare, act, |disk, ended| {
        assert!(!ended || files(disk).0 == [10]);
        let catalog = open(disk);
        // Whether `act` or this open has set the snapshot aside, the catalog asks about the log before the
        // older one serves.
        let refused = catalog.newest(GROUP, |_| false, &mut on);
        assert!(
            matches!(refused, Err(Error::Gap { damaged, older, .. }) if damaged == id(20) && older == id(10))
        );
        assert_eq!(served(&catalog), Some(10));
        assert_eq!(files(disk), (vec![10], vec![file(20) + ".damaged"]));
    });
}

#[test]
fn of_receiving() {
    let sender = sim(0);
    let source = open(&sender);
    write(&source, 20).unwrap();
    let offer = *source.export(id(20)).unwrap().offer();
    let sent = pieces(&source, 20, 0);
    let prepare = |disk: &Arc<SimDisk>| settle(&open(disk), 10).unwrap();
    let act = |catalog: &Catalog| {
        let mut receiver = catalog.receive(&offer)?;
        while let Some(piece) = sent.get(receiver.next() as usize) {
            receiver.accept(piece)?;
        }
        receiver.finish().map(drop)
    };
    let operations = at_every_operation(prepare, act, |disk, ended| {
        let catalog = open(disk);
        let found = served(&catalog);
        assert!(found == Some(20) || (found == Some(10) && !ended), "{found:?} {ended}");
        if found == Some(10) {
            // The transfer resumes, and ends.
            act(&catalog).unwrap();
        }
        assert_eq!(served(&catalog), Some(20));
        let (published, others) = files(disk);
        assert_eq!(published, [10, 20]);
        // The crash may have brought a name of the transfer back. Retention removes it.
        verify(&catalog, 20).unwrap();
        catalog.retain(GROUP).unwrap();
        assert!(others.len() <= 1 && files(disk).1.is_empty(), "{others:?}");
        drop(catalog);
        assert_eq!(disk.read_file(&file(20)), sender.read_file(&file(20)));
    });
    assert!(operations > 8, "{operations}");
}

/// A transfer is resumed after each of many crashes.
#[test]
fn of_receiving_again_and_again() {
    let sender = sim(0);
    let source = open(&sender);
    write(&source, 20).unwrap();
    let offer = *source.export(id(20)).unwrap().offer();
    let sent = pieces(&source, 20, 0);
    for seed in 0..60 {
        let disk = sim(seed);
        let mut lives = 0;
        loop {
            lives += 1;
            assert!(lives < 200, "no progress");
            let catalog = open(&disk);
            if catalog.snapshots(GROUP) == [id(20)] {
                break;
            }
            disk.crash_after(1 + (seed + lives) % 11);
            let _ = catalog.receive(&offer).and_then(|mut receiver| {
                while let Some(piece) = sent.get(receiver.next() as usize) {
                    receiver.accept(piece)?;
                }
                receiver.finish()
            });
            drop(catalog);
            disk.crash();
        }
        assert_eq!(served(&open(&disk)), Some(20));
        assert_eq!(disk.read_file(&file(20)), sender.read_file(&file(20)));
    }
}
