//! Tests that transfers resume after every interruption, and that damaged pieces and hostile senders are
//! refused (INV-9).

#![expect(clippy::cast_possible_truncation, reason = "small numbers")]

use crate::support;

use seawall_disk::sim::SimDisk;
use seawall_snap::{Catalog, Error, Offer, OfferFault, Piece, PieceFault, SnapshotId};
use std::sync::Arc;
use support::*;

/// A sender with snapshots 10 and 20.
fn sender() -> (Arc<SimDisk>, Catalog) {
    let disk = sim(1);
    let catalog = open(&disk);
    write(&catalog, 10).unwrap();
    write(&catalog, 20).unwrap();
    (disk, catalog)
}

fn offer(source: &Catalog, index: u64) -> Offer {
    let export = source.export(id(index)).unwrap();
    let offer = Offer::decode(&export.offer().encode()).unwrap();
    assert_eq!((offer, offer.piece_count()), (*export.offer(), 5));
    offer
}

/// The piece after it was encoded and decoded, as it arrives.
fn arrived(piece: &Piece) -> Piece {
    Piece::decode(&piece.encode()).unwrap()
}

#[test]
fn interrupted_at_every_piece_and_resumed() {
    let (from, source) = sender();
    let offer = offer(&source, 20);
    for stop in 0..=5 {
        // The transfer resumes in the same process, after a reopen, after a kill, or after a power cut.
        for how in 0..4 {
            let disk = sim(how);
            let mut catalog = open(&disk);
            settle(&catalog, 10).unwrap();
            let mut receiver = catalog.receive(&offer).unwrap();
            for piece in pieces(&source, 20, 0).iter().take(stop) {
                receiver.accept(&arrived(piece)).unwrap();
            }
            assert_eq!(receiver.next(), stop as u32);
            assert_eq!(catalog.snapshots(GROUP), [id(10)]);
            drop(receiver);
            if how > 0 {
                drop(catalog);
                match how {
                    1 => {}
                    2 => disk.kill(),
                    _ => disk.crash(),
                }
                let (reopened, found) = Catalog::open(disk.process(), &options()).unwrap();
                assert_eq!((found.unfinished.len(), found.removed.len()), (1, 0));
                catalog = reopened;
            }
            let mut receiver = catalog.receive(&offer).unwrap();
            let next = receiver.next();
            assert!(if how == 3 { next <= stop as u32 } else { next == stop as u32 }, "{how} {stop} {next}");
            let rest = pieces(&source, 20, next);
            assert_eq!(rest.len(), 5 - next as usize);
            for piece in &rest {
                receiver.accept(&arrived(piece)).unwrap();
            }
            assert_eq!(receiver.progress().bytes, LEN as u64);
            receiver.finish().unwrap();
            assert_eq!(served(&catalog), Some(20));
            assert_eq!(files(&disk), (vec![10, 20], vec![]));
            assert_eq!(disk.read_file(&file(20)), from.read_file(&file(20)));
        }
    }
}

#[test]
fn wrong_pieces_are_refused_and_change_nothing() {
    let (_, source) = sender();
    let offer = offer(&source, 20);
    let (good, other) = (pieces(&source, 20, 0), pieces(&source, 10, 0));
    let disk = sim(2);
    let catalog = open(&disk);
    let mut receiver = catalog.receive(&offer).unwrap();
    let refused = |receiver: &mut seawall_snap::Receiver, piece: &Piece| match receiver.accept(piece) {
        Err(Error::Piece { fault, .. }) => fault,
        result => panic!("{result:?}"),
    };
    for next in 0..5 {
        for (n, piece) in other.iter().enumerate() {
            assert_eq!(refused(&mut receiver, piece), PieceFault::Foreign, "{n}");
        }
        for (n, piece) in good.iter().enumerate().filter(|(n, _)| *n != next) {
            assert_eq!(refused(&mut receiver, piece), PieceFault::Order { expected: next as u32 }, "{n}");
        }
        receiver.accept(&good[next]).unwrap();
        assert_eq!(receiver.next() as usize, next + 1);
    }
    assert_eq!(refused(&mut receiver, &good[4]), PieceFault::Order { expected: 5 });
    receiver.finish().unwrap();
    check(&mut catalog.reader(id(20)).unwrap());
    assert!(matches!(catalog.receive(&offer), Err(Error::Exists { .. })));
}

/// A piece with changed fields and right checksums. The offsets are those in `docs/format.md`.
fn forged(piece: &Piece, change: impl FnOnce(&mut Vec<u8>)) -> Piece {
    let mut bytes = piece.encode();
    change(&mut bytes);
    let body = crc_fast::crc32_iscsi(&bytes[36..]).to_le_bytes();
    let len = (bytes.len() as u32 - 36).to_le_bytes();
    bytes[24..28].copy_from_slice(&len);
    bytes[28..32].copy_from_slice(&body);
    let head = crc_fast::crc32_iscsi(&bytes[..32]).to_le_bytes();
    bytes[32..36].copy_from_slice(&head);
    Piece::decode(&bytes).unwrap()
}

#[test]
fn a_sender_that_lies_is_found_out() {
    let (_, source) = sender();
    let offer = offer(&source, 20);
    let good = pieces(&source, 20, 0);
    let other = pieces(&source, 10, 0);
    let disk = sim(2);
    let catalog = open(&disk);
    let mut receiver = catalog.receive(&offer).unwrap();
    for next in 0..5 {
        let mut refuse = |piece: Piece| {
            let error = receiver.accept(&piece).unwrap_err();
            assert!(matches!(error, Error::Piece { number, .. } if number == next as u32), "{error}");
        };
        let piece = &good[next];
        refuse(forged(piece, |bytes| bytes[16] ^= 1)); // another offset
        refuse(forged(piece, |bytes| bytes.truncate(bytes.len() - 1)));
        refuse(forged(piece, |bytes| bytes.push(0)));
        refuse(forged(piece, |bytes| bytes.truncate(37)));
        for at in [36, 40, 44, 48, 60, 63, 80, 90] {
            refuse(forged(piece, |bytes| bytes[at] ^= 1));
        }
        // Another snapshot's bytes under this transfer's tag.
        let foreign = forged(piece, |bytes| {
            bytes.truncate(36);
            bytes.extend_from_slice(other[next].bytes());
        });
        if next == 0 {
            refuse(foreign);
        }
        receiver.accept(&good[next]).unwrap();
    }
    drop(receiver);

    // A chunk of another snapshot at the same place with the same length: only the digest of the whole
    // differs.
    let mut twin = content(20, LEN);
    twin[5000] ^= 1;
    let mut writer = source.write(id(30), b"conf", &20u64.to_le_bytes()).unwrap();
    writer.append(&twin).unwrap();
    writer.finish().unwrap();
    let twin = pieces(&source, 30, 0);
    catalog.discard_unfinished(GROUP).unwrap();
    assert_eq!(files(&disk), (vec![], vec![]));
    let mut receiver = catalog.receive(&offer).unwrap();
    for n in 0..5 {
        let piece = if n == 2 {
            forged(&good[2], |bytes| bytes[36..].copy_from_slice(twin[2].bytes()))
        } else {
            good[n].clone()
        };
        receiver.accept(&piece).unwrap();
    }
    let error = receiver.finish().unwrap_err();
    assert!(error.to_string().contains("digest"), "{error}");
    assert_eq!(files(&disk), (vec![], vec![]));
    assert_eq!(served(&catalog), None);
}

#[test]
fn too_much_too_soon_and_twice() {
    let (_, source) = sender();
    let offer = offer(&source, 20);
    let good = pieces(&source, 20, 0);
    let disk = sim(2);
    let small = options().with_receive_bytes_max(offer.file_bytes() - 1);
    let (catalog, _) = Catalog::open(disk.process(), &small).unwrap();
    let error = catalog.receive(&offer).unwrap_err();
    assert!(matches!(error, Error::Offer { fault: OfferFault::TooLarge { .. }, .. }), "{error}");
    drop(catalog);
    // The spare bytes are for a log on the same disk.
    let spare = options().with_receive_spare_bytes(100_000);
    let (catalog, _) = Catalog::open(disk.process(), &spare).unwrap();
    for (capacity, enough) in [(99_999, false), (100_000 + offer.file_bytes() - 1, false), (1 << 20, true)] {
        disk.set_capacity(Some(capacity));
        assert_eq!(catalog.receive(&offer).is_ok(), enough, "{capacity}");
    }
    // A second group's transfer gets only the space that the first one has not claimed, however much the
    // first one has written.
    disk.set_capacity(Some(100_000 + 2 * offer.file_bytes() - 1));
    let other = snapshot_of(GROUP + 1);
    let mut receiver = catalog.receive(&offer).unwrap();
    for piece in &good {
        let error = catalog.receive(&other).unwrap_err();
        assert!(matches!(error, Error::Offer { fault: OfferFault::NoSpace { .. }, .. }), "{error}");
        receiver.accept(piece).unwrap();
    }
    receiver.discard().unwrap();
    catalog.receive(&other).unwrap().discard().unwrap();
    drop(catalog);
    let none = options().with_receive_spare_bytes(0);
    let (catalog, _) = Catalog::open(disk.process(), &none).unwrap();
    disk.set_capacity(Some(4096));
    let error = catalog.receive(&offer).unwrap_err();
    assert!(matches!(error, Error::Offer { fault: OfferFault::NoSpace { .. }, .. }), "{error}");
    assert!(error.is_no_space() && files(&disk) == (vec![], vec![]));
    // The transfer begins with enough space, and then the disk gets full.
    disk.set_capacity(Some(1 << 20));
    let mut receiver = catalog.receive(&offer).unwrap();
    receiver.accept(&good[0]).unwrap();
    disk.set_capacity(Some(4096));
    let error = good[1..].iter().try_for_each(|piece| receiver.accept(piece)).unwrap_err();
    assert!(error.is_no_space(), "{error}");
    assert!(matches!(receiver.accept(&good[1]), Err(Error::Stopped { .. })));
    assert_eq!(files(&disk), (vec![], vec![]));
    drop(receiver);
    disk.set_capacity(None);

    let mut receiver = catalog.receive(&offer).unwrap();
    assert!(matches!(catalog.receive(&offer), Err(Error::Busy { .. })));
    assert!(matches!(catalog.receive(source.export(id(10)).unwrap().offer()), Err(Error::Busy { .. })));
    assert!(matches!(catalog.write(id(20), b"", b""), Err(Error::Busy { .. })));
    assert!(matches!(catalog.discard_unfinished(GROUP), Err(Error::Busy { .. })));
    receiver.accept(&good[0]).unwrap();
    let error = receiver.finish().unwrap_err();
    assert!(matches!(error, Error::Piece { fault: PieceFault::Incomplete, .. }), "{error}");
    // The catalog keeps the first part while another transfer to the group runs.
    assert_eq!(files(&disk).1.len(), 1);
    let receiver = catalog.receive(source.export(id(10)).unwrap().offer()).unwrap();
    assert_eq!(files(&disk).1.len(), 2);
    receiver.discard().unwrap();
    assert_eq!(files(&disk).1.len(), 1);
    catalog.discard_unfinished(GROUP).unwrap();
    assert_eq!(files(&disk).1.len(), 0);
}

/// An offer of a snapshot of another group, as large as those of `sender`.
fn snapshot_of(group: u64) -> Offer {
    let catalog = open(&sim(1));
    let other = SnapshotId { group, ..id(20) };
    let mut writer = catalog.write(other, b"conf", &20u64.to_le_bytes()).unwrap();
    writer.append(&content(20, LEN)).unwrap();
    writer.finish().unwrap();
    *catalog.export(other).unwrap().offer()
}

/// Senders take turns, as after each change of the leader: each sends its own snapshot and is cut off.
#[test]
fn senders_that_take_turns_come_to_an_end() {
    let (_, source) = sender();
    let disk = sim(2);
    let catalog = open(&disk);
    let mut received = Vec::new();
    for turn in 0..10 {
        for index in [10, 20].into_iter().filter(|index| !catalog.snapshots(GROUP).contains(&id(*index))) {
            let mut receiver = catalog.receive(&offer(&source, index)).unwrap();
            let next = pieces(&source, index, receiver.next());
            receiver.accept(&next[0]).unwrap();
            if next.len() == 1 {
                receiver.finish().unwrap();
                received.push((turn, index));
            }
        }
        assert!(files(&disk).1.len() <= 2);
    }
    assert_eq!(received, [(4, 10), (4, 20)]);
    // Of three transfers the one that was received longest ago is removed.
    for index in [30, 40, 50] {
        write(&source, index).unwrap();
        let mut receiver = catalog.receive(&offer(&source, index)).unwrap();
        receiver.accept(&pieces(&source, index, 0)[0]).unwrap();
    }
    let parts = files(&disk).1;
    assert!(
        parts.len() == 2 && !parts.iter().any(|name| name.starts_with(file(30).trim_end_matches(".snap")))
    );
}

#[test]
fn what_was_received_is_checked_again_after_a_restart() {
    let (_, source) = sender();
    let offer = offer(&source, 20);
    let good = pieces(&source, 20, 0);
    let disk = sim(2);
    let catalog = open(&disk);
    let mut receiver = catalog.receive(&offer).unwrap();
    good[..4].iter().for_each(|piece| receiver.accept(piece).unwrap());
    drop((receiver, catalog));
    let name = files(&disk).1[0].clone();
    let part = disk.read_file(&name);
    for at in (0..part.len()).step_by(7) {
        let mut bad = part.clone();
        bad[at] ^= 0x10;
        disk.write_file(&name, &bad);
        let catalog = open(&disk);
        let receiver = catalog.receive(&offer).unwrap();
        let sound =
            good.iter().take_while(|piece| piece.offset() as usize + piece.bytes().len() <= at).count();
        assert_eq!(receiver.next() as usize, sound, "{at}");
    }
    // The file is longer than it can be. The catalog must not publish bytes that no sender has sent.
    disk.write_file(&name, &[&part[..], &vec![7; 100_000]].concat());
    let catalog = open(&disk);
    let mut receiver = catalog.receive(&offer).unwrap();
    assert_eq!(receiver.next(), 4);
    receiver.accept(&good[4]).unwrap();
    assert!(receiver.finish().is_err());
    assert_eq!(files(&disk), (vec![], vec![]));
    // After that, the transfer succeeds.
    let mut receiver = catalog.receive(&offer).unwrap();
    good.iter().for_each(|piece| receiver.accept(piece).unwrap());
    receiver.finish().unwrap();
    assert_eq!(served(&catalog), Some(20));
}

#[test]
fn a_damaged_snapshot_is_not_sent() {
    let (disk, source) = sender();
    let at = disk.read_file(&file(20)).len() - 100;
    disk.corrupt(&file(20), at, |bytes| bytes[0] ^= 1);
    let export = source.export(id(20)).unwrap();
    let sent: Vec<_> = export.pieces(0).unwrap().collect();
    assert_eq!(sent.iter().filter(|piece| piece.is_ok()).count(), 4);
    assert!(sent[4].as_ref().unwrap_err().is_damage());
    assert_eq!(sent.len(), 5);
    assert_eq!(export.pieces(5).unwrap().count(), 0);
    assert_eq!(export.pieces(u32::MAX).unwrap().count(), 0);
}
