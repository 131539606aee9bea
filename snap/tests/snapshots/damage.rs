//! Tests that a catalog finds every change to a snapshot file, and that a device that cannot read, a full
//! disk and a cancelled write do no harm to other snapshots (INV-5, INV-8, INV-9, INV-10).

#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use crate::support;

use seawall_disk::sim::{FaultError, FaultOp, FaultRule, SimDisk};
use seawall_snap::format::{CHUNK_HEADER_BYTES, ChunkHeader, Fault, Header};
use seawall_snap::{Catalog, Error, FilePart};
use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;
use std::time::Duration;
use support::*;

/// A disk with the sound snapshots 10 and 20, of which 20 is smaller.
fn disk_with_small() -> Arc<SimDisk> {
    let disk = sim(1);
    let catalog = open(&disk);
    write(&catalog, 10).unwrap();
    let mut writer = catalog.write(id(20), b"c", b"m").unwrap();
    writer.append(&b"text ".repeat(40)).unwrap();
    writer.finish().unwrap();
    drop(catalog);
    disk
}

#[test]
fn every_flipped_bit_is_found() {
    let disk = disk_with_small();
    let good = disk.read_file(&file(20));
    assert!(good.len() < 300);
    for helpers in [0, 2, 3] {
        let options = options().with_helpers(helpers);
        for bit in 0..good.len() * 8 {
            // Threads are slow to start, so with helpers only one bit of each byte is flipped.
            if helpers > 0 && bit % 8 != bit / 8 % 8 {
                continue;
            }
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            disk.write_file(&file(20), &bad);
            let (catalog, _) = Catalog::open(disk.process(), &options).unwrap();
            let found = catalog.verify(id(20), &mut on).unwrap_err();
            assert!(found.is_damage() && found.to_string().contains(&file(20)), "bit {bit}: {found}");
            let read = catalog.reader(id(20)).and_then(|mut reader| {
                loop {
                    if reader.chunk()?.is_empty() {
                        return Ok(());
                    }
                }
            });
            assert!(read.unwrap_err().is_damage(), "bit {bit}");
            let before = disk.read_file(&file(20));
            assert!(before == bad && files(&disk).1.is_empty(), "a reader wrote");
            let newest = catalog.newest(GROUP, |older| older == id(10), &mut on).unwrap().unwrap();
            assert_eq!((newest.reader.id(), newest.set_aside.len()), (id(10), 1));
            assert_eq!(disk.read_file(&newest.set_aside[0].file), bad);
            disk.remove_file(&newest.set_aside[0].file);
        }
    }
}

#[test]
fn a_file_cut_or_continued_anywhere_is_found() {
    let disk = disk_with_small();
    let good = disk.read_file(&file(20));
    for len in (0..good.len()).chain(good.len() + 1..good.len() + 70) {
        let mut bad = good.clone();
        bad.resize(len, 0);
        disk.write_file(&file(20), &bad);
        let catalog = open(&disk);
        assert!(verify(&catalog, 20).unwrap_err().is_damage(), "{len}");
    }
}

#[test]
fn a_file_under_another_name_is_found() {
    let disk = disk_with_small();
    disk.write_file(&file(30), &disk.read_file(&file(10)));
    let error = verify(&open(&disk), 30).unwrap_err();
    assert!(matches!(error, Error::Damaged { place: FilePart::Opening, fault: Fault::Name, .. }), "{error}");
}

/// The offset and length of each chunk frame of a file.
fn frames(bytes: &[u8]) -> Vec<(usize, usize)> {
    let header = Header::decode(bytes).unwrap();
    let (mut at, mut found) = (header.opening_bytes(), Vec::new());
    while let Ok(chunk) = ChunkHeader::decode(&bytes[at..], &header, found.len() as u32) {
        let len = CHUNK_HEADER_BYTES + chunk.stored_bytes as usize;
        found.push((at, len));
        at += len;
    }
    found
}

#[test]
fn swapped_and_foreign_chunks_are_found() {
    let disk = sim(1);
    let catalog = open(&disk);
    write(&catalog, 10).unwrap();
    write(&catalog, 20).unwrap();
    // The same content except for one byte in an uncompressed chunk, so its frames have the same lengths.
    let mut twin = content(10, LEN);
    twin[5000] ^= 1;
    let mut writer = catalog.write(id(30), b"conf", &10u64.to_le_bytes()).unwrap();
    writer.append(&twin).unwrap();
    writer.finish().unwrap();
    drop(catalog);
    let (good, twin) = (disk.read_file(&file(10)), disk.read_file(&file(30)));
    let places = frames(&good);
    assert_eq!((places.len(), frames(&twin)), (4, places.clone()));

    // Chunks 1 and 3 are swapped, and the one between them moves.
    let cut = |n: usize| &good[places[n].0..places[n].0 + places[n].1];
    let swapped = [&good[..places[1].0], cut(3), cut(2), cut(1), &good[places[3].0 + places[3].1..]].concat();
    // Chunk 1 comes from a snapshot that differs in this chunk only: everything but the digest is right.
    let mut foreign = good.clone();
    let chunk = places[1].0..places[1].0 + places[1].1;
    foreign[chunk.clone()].copy_from_slice(&twin[chunk]);
    let missing = [&good[..places[2].0], &good[places[3].0..]].concat();
    let wrong = Fault::Chunk { expected: 1, found: 3 };
    for (bad, place, fault) in [
        (swapped, FilePart::Chunk(1), wrong),
        (foreign, FilePart::Whole, Fault::Digest),
        (missing, FilePart::Trailer, Fault::Counts),
    ] {
        for helpers in [0, 1, 2, 3] {
            disk.write_file(&file(10), &bad);
            let (catalog, _) = Catalog::open(disk.process(), &options().with_helpers(helpers)).unwrap();
            match verify(&catalog, 10).unwrap_err() {
                Error::Damaged { place: p, fault: f, .. } => assert_eq!((p, f), (place, fault)),
                error => panic!("{error}"),
            }
        }
    }
}

/// A slow reader lets its helpers run ahead until their queue is full. Then the reader checks chunks itself.
#[test]
fn damage_is_found_by_whoever_checks() {
    const CHUNKS: usize = 40;
    let disk = sim(1);
    let catalog = open(&disk);
    let whole = content(10, CHUNKS * 4096);
    let mut writer = catalog.write(id(10), b"", b"").unwrap();
    writer.append(&whole).unwrap();
    writer.finish().unwrap();
    drop(catalog);
    let good = disk.read_file(&file(10));
    for (helpers, chunk) in [(1, 30), (2, 31), (3, 30), (4, 31)] {
        let mut bad = good.clone();
        bad[frames(&good)[chunk].0 + CHUNK_HEADER_BYTES + 20] ^= 1;
        let options = options().with_helpers(helpers);
        for bytes in [&good, &bad] {
            disk.write_file(&file(10), bytes);
            let (catalog, _) = Catalog::open(disk.process(), &options).unwrap();
            let mut reader = catalog.reader(id(10)).unwrap();
            for n in 0..if bytes == &good { CHUNKS } else { chunk } {
                assert_eq!(
                    reader.chunk().unwrap(),
                    &whole[n * 4096..][..4096],
                    "{helpers} helpers, chunk {n}"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            if bytes == &good {
                assert!(reader.chunk().unwrap().is_empty());
                continue;
            }
            for _ in 0..2 {
                match reader.chunk().unwrap_err() {
                    Error::Damaged { place, fault, .. } => {
                        assert_eq!((place, fault), (FilePart::Chunk(chunk as u32), Fault::Checksum));
                    }
                    error => panic!("{error}"),
                }
            }
        }
    }
}

#[test]
fn what_the_device_cannot_read_is_damage_and_other_failures_are_not() {
    let disk = sim(1);
    let catalog = open(&disk);
    write(&catalog, 10).unwrap();
    write(&catalog, 20).unwrap();
    disk.fail(FaultRule::forever(FaultOp::Read, 1, FaultError::Io).on(&file(20)));
    assert_eq!(served(&catalog), Some(10));
    disk.clear_faults();
    assert_eq!(files(&disk), (vec![10], vec![file(20) + ".damaged"]));
    // The same snapshot is written and damaged again. Both damaged files stay.
    write(&catalog, 20).unwrap();
    disk.corrupt(&file(20), 60, |bytes| bytes[0] ^= 1);
    assert_eq!(served(&catalog), Some(10));
    assert_eq!(files(&disk).1, [file(20) + ".damaged", file(20) + ".damaged.1"]);
    // With a newer snapshot the catalog does not ask about the log any more.
    write(&catalog, 30).unwrap();
    let newest = catalog.newest(GROUP, |_| false, &mut on).unwrap().unwrap();
    assert_eq!((newest.reader.id(), newest.set_aside.len()), (id(30), 0));
}

#[test]
fn nothing_serves_where_all_are_damaged() {
    let disk = sim(1);
    let catalog = open(&disk);
    assert!(catalog.newest(GROUP, |_| true, &mut on).unwrap().is_none());
    for index in [10, 20] {
        write(&catalog, index).unwrap();
        disk.corrupt(&file(index), 0, |bytes| bytes[0] ^= 1);
    }
    for _ in 0..2 {
        let error = catalog.newest(GROUP, |_| true, &mut on).unwrap_err();
        assert!(matches!(error, Error::NoneLeft { damaged, .. } if damaged == id(20)), "{error}");
    }
    drop(catalog);
    let error = open(&disk).newest(GROUP, |_| true, &mut on).unwrap_err();
    assert!(matches!(error, Error::NoneLeft { damaged, .. } if damaged == id(20)), "{error}");
    assert_eq!(files(&disk).1.len(), 2);
}

/// A disk on which every snapshot gets damaged does not fill up with files that were set aside. The last of
/// these are removed when they have been replaced.
#[test]
fn damaged_files_do_not_pile_up() {
    let disk = sim(1);
    let catalog = open(&disk);
    for index in 1..=10 {
        write(&catalog, index).unwrap();
        disk.corrupt(&file(index), 60, |bytes| bytes[0] ^= 1);
        assert!(verify(&catalog, index).is_err());
        catalog.set_aside(id(index)).unwrap();
    }
    // Two snapshots are kept, and with them the newest damaged ones: as many, and two more.
    assert_eq!(files(&disk).1, [7, 8, 9, 10].map(|index| file(index) + ".damaged"));
    drop(catalog);
    let catalog = open(&disk);
    let error = catalog.newest(GROUP, |_| true, &mut on).unwrap_err();
    assert!(matches!(error, Error::NoneLeft { damaged, .. } if damaged == id(10)), "{error}");
    settle(&catalog, 11).unwrap();
    assert_eq!(files(&disk).1.len(), 4, "the one newer snapshot may turn out damaged");
    settle(&catalog, 12).unwrap();
    assert_eq!(files(&disk), (vec![11, 12], vec![]));
}

#[test]
fn a_snapshot_of_another_version_is_refused_and_stays() {
    let disk = disk_with_small();
    let mut bytes = disk.read_file(&file(20));
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
    let sum = crc_fast::crc32_iscsi(&bytes[..52]).to_le_bytes();
    bytes[52..56].copy_from_slice(&sum);
    disk.write_file(&file(20), &bytes);
    let error = open(&disk).newest(GROUP, |_| true, &mut on).unwrap_err();
    assert!(matches!(error, Error::Version { found: 2, .. }), "{error}");
    assert_eq!(files(&disk), (vec![10, 20], vec![]));
}

#[test]
fn a_full_disk_or_a_failing_one_leaves_the_old_snapshot_and_no_file() {
    for helpers in [0, 1, 2] {
        let disk = sim(3);
        let (catalog, _) = Catalog::open(disk.process(), &options().with_helpers(helpers)).unwrap();
        settle(&catalog, 10).unwrap();
        let free = 6000;
        disk.set_capacity(Some(0));
        let used = {
            use seawall_disk::Disk;
            disk.set_capacity(Some(1 << 30));
            (1 << 30) - disk.free_bytes().unwrap()
        };
        disk.set_capacity(Some(used + free));
        let error = write(&catalog, 20).unwrap_err();
        assert!(error.is_no_space(), "{helpers}: {error}");
        assert_eq!(files(&disk), (vec![10], vec![]));
        disk.set_capacity(Some(used + free + 100_000));
        assert_eq!(served(&catalog), Some(10));
        write(&catalog, 20).unwrap();
        assert_eq!(served(&catalog), Some(20));

        for op in [FaultOp::Create, FaultOp::Write, FaultOp::Sync, FaultOp::Rename, FaultOp::DirSync] {
            disk.fail(FaultRule::once(op, 1, FaultError::Io));
            let error = write(&catalog, 30).unwrap_err();
            assert!(matches!(error, Error::Io { .. } | Error::Stopped { .. }), "{error}");
            assert!(!error.is_no_space());
            disk.clear_faults();
            assert_eq!((files(&disk), served(&catalog)), ((vec![10, 20], vec![]), Some(20)), "{op:?}");
        }
        write(&catalog, 30).unwrap();
        assert_eq!(served(&catalog), Some(30));
    }
}

#[test]
fn a_writer_that_is_cancelled_or_dropped_leaves_nothing() {
    for helpers in [0, 2] {
        let disk = sim(3);
        let (catalog, _) = Catalog::open(disk.process(), &options().with_helpers(helpers)).unwrap();
        let mut writer = catalog.write(id(10), b"", b"").unwrap();
        assert!(matches!(catalog.write(id(10), b"", b""), Err(Error::Busy { .. })));
        writer.watch(|progress| if progress.bytes > 8192 { Break(()) } else { Continue(()) });
        writer.append(&[1; 8192]).unwrap();
        assert_eq!(files(&disk).1.len(), 1);
        assert!(matches!(writer.append(&[1; 8192]), Err(Error::Cancelled { .. })));
        assert!(files(&disk).1.is_empty());
        assert!(matches!(writer.append(&[1; 8192]), Err(Error::Stopped { .. })));
        assert!(matches!(writer.finish(), Err(Error::Stopped { .. })));
        drop(catalog.write(id(10), b"", b"").unwrap());
        assert!(files(&disk).1.is_empty());

        write(&catalog, 10).unwrap();
        assert!(matches!(catalog.write(id(10), b"", b""), Err(Error::Exists { .. })));
        let mut chunks = 0;
        let cancelled = catalog.verify(id(10), &mut |progress| {
            assert_eq!(progress.total, Some(LEN as u64));
            chunks += 1;
            if chunks == 2 { Break(()) } else { Continue(()) }
        });
        assert!(matches!(cancelled, Err(Error::Cancelled { .. })));
        assert_eq!(catalog.release_floor(GROUP), None);
        assert_eq!(served(&catalog), Some(10));
    }
}
