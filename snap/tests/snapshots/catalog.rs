//! Tests which files a catalog keeps, pins, releases, sets aside, removes at open and leaves alone, and how
//! readers read and seek.

use crate::support;

use seawall_disk::Mode;
use seawall_disk::sim::{SimDisk, SimOptions};
use seawall_snap::{Catalog, Error, Found, SnapshotId};
use std::io::{Read, Write};
use support::*;

/// Checks which files are on disk with 1, 2 and 4 snapshots kept: after each new snapshot, after a reopen,
/// and with the newest one damaged.
#[test]
fn what_is_kept() {
    for (keep, table) in [
        (1, [&[10][..], &[20], &[30], &[40], &[50]]),
        (2, [&[10][..], &[10, 20], &[20, 30], &[30, 40], &[40, 50]]),
        (4, [&[10][..], &[10, 20], &[10, 20, 30], &[10, 20, 30, 40], &[20, 30, 40, 50]]),
    ] {
        for reopen in [false, true] {
            let disk = sim(1);
            let options = options().with_keep(keep);
            let open = || Catalog::open(disk.process(), &options).unwrap().0;
            let mut catalog = open();
            for (n, expected) in table.iter().enumerate() {
                if reopen {
                    drop(catalog);
                    catalog = open();
                    // After an open no snapshot counts as verified. The newest one is verified when it is
                    // requested.
                    assert_eq!(catalog.release_floor(GROUP), None);
                    assert_eq!(served(&catalog), (n > 0).then_some(n as u64 * 10));
                }
                settle(&catalog, n as u64 * 10 + 10).unwrap();
                if reopen && keep > 1 {
                    // Retention removes only snapshots that have enough newer verified ones, so the older
                    // ones are verified again here.
                    for snapshot in catalog.snapshots(GROUP) {
                        verify(&catalog, snapshot.index).unwrap();
                    }
                    catalog.retain(GROUP).unwrap();
                }
                assert_eq!(files(&disk), (expected.to_vec(), vec![]), "{keep} {n}");
                let listed: Vec<u64> = catalog.snapshots(GROUP).iter().map(|id| id.index).collect();
                assert_eq!(listed, *expected);
                let second = expected.len().checked_sub(2).map(|at| expected[at]);
                let floor = if keep == 1 { Some(expected[0]) } else { second };
                assert_eq!(catalog.release_floor(GROUP).map(|id| id.index), floor);
            }
            // The newest is damaged. An older one serves, if one is kept, and the damaged file stays.
            drop(catalog);
            disk.corrupt(&file(50), 100, |bytes| bytes[0] ^= 1);
            let catalog = open();
            let newest = catalog.newest(GROUP, |older| older == id(40), &mut on);
            if keep == 1 {
                assert!(matches!(newest, Err(Error::NoneLeft { .. })));
            } else {
                assert_eq!(newest.unwrap().unwrap().reader.id(), id(40));
            }
            let damaged = vec![file(50) + ".damaged"];
            let sound = table[4][..table[4].len() - 1].to_vec();
            assert_eq!(files(&disk), (sound, damaged.clone()));
            // The damaged file is removed when a sound one would be.
            for (newer, index) in (1..).zip([60, 70, 80, 90, 100]) {
                settle(&catalog, index).unwrap();
                assert_eq!(files(&disk).1.len(), usize::from(newer < keep));
            }
            let all = [70, 80, 90, 100];
            assert_eq!(files(&disk).0, all[4 - keep as usize..]);
        }
    }
}

#[test]
fn an_unverified_snapshot_replaces_nothing() {
    let disk = sim(1);
    let (catalog, _) = Catalog::open(disk.process(), &options().with_keep(1)).unwrap();
    settle(&catalog, 10).unwrap();
    write(&catalog, 20).unwrap();
    assert_eq!(catalog.retain(GROUP).unwrap(), []);
    assert_eq!(catalog.release_floor(GROUP), Some(id(10)));
    disk.corrupt(&file(20), 100, |bytes| bytes[0] ^= 1);
    assert!(verify(&catalog, 20).unwrap_err().is_damage());
    assert_eq!((catalog.retain(GROUP).unwrap(), served(&catalog)), (vec![], Some(10)));
}

#[test]
fn what_is_pinned_stays() {
    let disk = sim(1);
    let catalog = open(&disk);
    settle(&catalog, 10).unwrap();
    settle(&catalog, 20).unwrap();
    let mut reader = catalog.reader(id(10)).unwrap();
    let export = catalog.export(id(20)).unwrap();
    let mut pieces = export.pieces(0).unwrap();
    let pin = reader.pin();
    for index in [30, 40, 50] {
        settle(&catalog, index).unwrap();
    }
    assert_eq!(files(&disk).0, [10, 20, 40, 50]);
    check(&mut reader);
    drop(reader);
    assert_eq!(catalog.retain(GROUP).unwrap(), []);
    drop((pin, export));
    assert_eq!(catalog.retain(GROUP).unwrap(), [id(10)]);
    assert!(pieces.by_ref().all(|piece| piece.is_ok()));
    drop(pieces);
    assert_eq!(catalog.retain(GROUP).unwrap(), [id(20)]);
    assert_eq!(files(&disk).0, [40, 50]);
    assert!(matches!(catalog.pin(id(10)), Err(Error::Unknown { .. })));
    // A snapshot that is set aside while it is pinned, and then written again, has its own pins.
    let pin = catalog.pin(id(50)).unwrap();
    catalog.set_aside(id(50)).unwrap();
    settle(&catalog, 50).unwrap();
    drop(pin);
    assert_eq!(served(&catalog), Some(50));
}

#[test]
fn groups_do_not_mix() {
    let disk = sim(1);
    let catalog = open(&disk);
    let other = SnapshotId { group: GROUP + 1, ..id(1) };
    let mut writer = catalog.write(other, b"", b"").unwrap();
    for index in [10, 20, 30] {
        settle(&catalog, index).unwrap();
    }
    writer.append(b"x").unwrap();
    writer.finish().unwrap();
    assert_eq!(catalog.groups(), [GROUP, GROUP + 1]);
    assert_eq!((catalog.snapshots(GROUP + 1), catalog.snapshots(GROUP).len()), (vec![other], 2));
    assert_eq!(catalog.release_floor(GROUP + 1), None);
}

#[test]
fn what_open_finds() {
    let disk = sim(1);
    settle(&open(&disk), 10).unwrap();
    let stem = file(20).replace(".snap", "");
    let foreign = ["00000001.wal", "IDENTITY", "notes.snap", &file(30).to_uppercase()].map(str::to_owned);
    let removed = vec![format!("{stem}.new")];
    let unfinished = vec![format!("{stem}.00000000000000aa.part")];
    let damaged = vec![file(20) + ".damaged", file(20) + ".damaged.3"];
    for name in [&foreign[..], &removed, &unfinished, &damaged].concat() {
        disk.write_file(&name, b"something");
    }
    let (catalog, found) = Catalog::open(disk.process(), &options()).unwrap();
    let mut foreign = foreign.to_vec();
    foreign.sort();
    let expected = Found { removed: removed.clone(), unfinished, damaged, foreign: foreign.clone() };
    assert_eq!(found, expected);
    assert!(!disk.exists(&removed[0]));
    // The newest sound snapshot is older than a damaged one, so the catalog asks whether the log covers the
    // gap.
    assert!(matches!(catalog.newest(GROUP, |_| false, &mut on), Err(Error::Gap { .. })));
    let locked = Catalog::open(disk.process(), &options()).unwrap_err();
    assert!(matches!(&locked, Error::Locked { holder, .. } if holder.starts_with("process ")), "{locked}");
    settle(&catalog, 30).unwrap();
    settle(&catalog, 40).unwrap();
    drop(catalog);
    let (_, found) = Catalog::open(disk.process(), &options()).unwrap();
    let replaced = Found { removed: vec![], unfinished: vec![], damaged: vec![], ..expected };
    assert_eq!(found, replaced);
    assert!(foreign.iter().all(|name| disk.read_file(name) == b"something"));
}

#[test]
fn what_open_refuses() {
    let direct = SimDisk::new(1, SimOptions { mode: Mode::Direct, ..SimOptions::default() });
    assert!(matches!(Catalog::open(direct, &options()), Err(Error::DirectDisk { .. })));
    let bad = options().with_keep(0);
    assert!(matches!(Catalog::open(sim(1), &bad), Err(Error::OptionOutOfRange(out)) if out.option == "keep"));
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join(file(20))).unwrap();
    let error = Catalog::open_dir(dir.path(), &options()).unwrap_err();
    assert!(matches!(&error, Error::NotAFile { file: found, .. } if *found == file(20)), "{error}");
    let catalog = open(&sim(1));
    let zero = catalog.write(id(0), b"", b"").unwrap_err();
    assert!(matches!(zero, Error::Invalid { .. }), "{zero}");
    let large = catalog.write(id(1), &vec![0; (16 << 20) + 1], b"").unwrap_err();
    assert!(matches!(large, Error::Invalid { .. }), "{large}");
    catalog.write(id(1), &vec![0; 16 << 20], b"").unwrap().abort();
}

/// Sizes around chunk limits, with various numbers of helpers, with and without compression, in a real
/// directory and a simulated one.
#[test]
fn content_returns() {
    for helpers in [0, 1, 2, 4] {
        for level in [None, Some(1)] {
            let dir = tempfile::tempdir().unwrap();
            let options = options().with_helpers(helpers).with_level(level);
            let real = Catalog::open_dir(&dir.path().join("snapshots"), &options).unwrap().0;
            let simulated = Catalog::open(sim(2).process(), &options).unwrap().0;
            for (catalog, lens) in
                [(&simulated, &[0, 1, 4095, 4096, 4097, 200_000][..]), (&real, &[0, 1, 4096, 3_000_000])]
            {
                for (n, &len) in lens.iter().enumerate() {
                    let id = id(n as u64 + 1);
                    let content = content(len as u64, len);
                    let mut writer = catalog.write(id, b"", b"meta").unwrap();
                    writer.write_all(&content).unwrap();
                    let published = writer.finish().unwrap();
                    assert_eq!(published.raw_bytes, len as u64);
                    assert_eq!(published.digest, *blake3::hash(&content).as_bytes());
                    let mut reader = catalog.reader(id).unwrap();
                    assert_eq!(reader.stated(), published);
                    let mut found = Vec::new();
                    reader.read_to_end(&mut found).unwrap();
                    assert!(found == content);
                    assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0);
                    reader.verify(&mut on).unwrap();
                    let packed = published.file_bytes < published.raw_bytes;
                    assert!(len < 100_000 || packed == level.is_some(), "{published:?}");
                }
            }
        }
    }
}

#[test]
fn seeking_goes_to_a_chunk() {
    let disk = sim(1);
    for helpers in [0, 2] {
        let (catalog, _) = Catalog::open(disk.process(), &options().with_helpers(helpers)).unwrap();
        if helpers == 0 {
            write(&catalog, 10).unwrap();
        }
        let content = content(10, LEN);
        let mut reader = catalog.reader(id(10)).unwrap();
        assert_eq!(reader.chunk_count(), 4);
        for chunk in [3, 0, 2, 1, 1, 3] {
            reader.seek_chunk(chunk).unwrap();
            let from = chunk as usize * 4096;
            let mut some = [0; 100];
            reader.read_exact(&mut some).unwrap();
            assert_eq!(some, content[from..from + 100]);
            let rest = reader.chunk().unwrap();
            assert_eq!(rest, &content[from + 100..(from + 4096).min(LEN)]);
            let mut found = Vec::new();
            reader.read_to_end(&mut found).unwrap();
            assert!(found == content[(from + 4096).min(LEN)..]);
        }
        assert!(matches!(reader.seek_chunk(4), Err(Error::NoChunk { chunk: 4, count: 4, .. })));
        // Damage in a later chunk does not matter until that chunk is read. The error names the chunk.
        let good = disk.read_file(&file(10));
        disk.corrupt(&file(10), good.len() - 100, |bytes| bytes[0] ^= 1);
        reader.seek_chunk(0).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("chunk 3: a checksum does not match"), "{error}");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        assert!(reader.chunk().is_err());
        reader.seek_chunk(2).unwrap();
        assert_eq!(reader.chunk().unwrap(), &content[8192..12288]);
        // After a seek that meets damage on its way, the reader reports that damage.
        let mut reader = catalog.reader(id(10)).unwrap();
        reader.read_exact(&mut [0; 10]).unwrap();
        let from = good.windows(4).position(|four| four == b"SWCH").unwrap();
        disk.corrupt(&file(10), from, |bytes| bytes[4] ^= 1);
        assert!(reader.seek_chunk(2).unwrap_err().is_damage());
        assert!(reader.chunk().unwrap_err().is_damage());
        disk.write_file(&file(10), &good);
    }
}
