//! Creates logs on the simulated disk, and damages their files as a fuzzer chooses.

use super::choices::Choices;
use crate::damage::Damage;
use crate::env::{Env, Threads};
use crate::error::Error;
use crate::format::RecordBuilder;
use crate::read::record_iter::Record;
use crate::types::{Durability, Lsn};
use crate::wal::Wal;
use seawall_disk::Disk;
use seawall_disk::sim::{SimClock, SimDisk, SimRandom};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Size of a block of the simulated disk, in bytes.
pub(super) const BLOCK: u32 = 4096;

/// The log's environment, which is the same in every run.
pub(super) fn env(disk: &SimDisk) -> Env {
    let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(7)));
    Env { disk: disk.process(), clock, random, threads: Threads::Stepped }
}

/// The parts of record `id`: the number determines their lengths, and distinguishes them from those of all other
/// records.
fn parts(id: u64) -> [Vec<u8>; 2] {
    let len = [700, 0, 3900, 5000, 1, 9000][Choices::seeded(id).index(6)];
    // Zeros too: only a record that holds a sector of zeros can be taken for a torn write.
    let fill = if id % 5 == 2 { 0 } else { id.to_le_bytes()[0] };
    [vec![fill; len], id.to_be_bytes().to_vec()]
}

/// The record with number `id`.
pub(super) fn record(id: u64) -> RecordBuilder {
    let mut batch = RecordBuilder::new();
    batch.meta().extend_from_slice(&id.to_le_bytes());
    parts(id).iter().for_each(|part| batch.push_part(part));
    batch
}

/// Appends record `id`, makes it durable, and returns its position.
pub(super) fn append(wal: &Wal, id: u64) -> Result<Lsn, Error> {
    let ticket = wal.append(&record(id), Durability::Sync)?;
    ticket.wait()?;
    Ok(ticket.lsn())
}

/// Positions and numbers of all records, each of which must be whole.
pub(super) fn read(wal: &Wal) -> Result<Vec<(Lsn, u64)>, Error> {
    wal.records(Lsn::ZERO).map(|record| Ok(whole(&record?))).collect()
}

/// As [`read`], but also reads after damaged ranges; returns these as well.
pub(super) fn read_past_damage(wal: &Wal) -> (Vec<(Lsn, u64)>, Vec<Damage>) {
    let (mut found, mut places) = (Vec::new(), Vec::new());
    for record in wal.records(Lsn::ZERO) {
        match record {
            Ok(record) => found.push(whole(&record)),
            Err(Error::Corrupt { damage, .. }) => places.extend_from_slice(&damage),
            Err(error) => panic!("{error}"),
        }
    }
    (found, places)
}

/// Position and number of a record, after checking its content.
pub(super) fn whole(record: &Record) -> (Lsn, u64) {
    let id = u64::from_le_bytes(record.meta().try_into().expect("a record of this module"));
    assert!(record.parts().map(|(_, bytes)| bytes).eq(parts(id)), "content of record {id}");
    (record.lsn(), id)
}

/// All files except the lock, which every open writes.
pub(super) fn contents(disk: &SimDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.names().into_iter().filter(|name| name != "LOCK");
    names.map(|name| (name.clone(), disk.read_file(&name))).collect()
}

/// Whether damage may cause the error. Any other error would blame the machine or the caller for what the disk did.
pub(super) fn is_typed(error: &Error) -> bool {
    matches!(
        error,
        Error::Corrupt { .. }
            | Error::NotALog { .. }
            | Error::Identity { .. }
            | Error::UnsupportedVersion { .. }
            | Error::UnsupportedFeatures { .. }
            | Error::ReadOnlyFeatures { .. }
    )
}

/// Makes one change of a file, which `choices` select; files grow to at most twice `bytes_max`.
pub(super) fn damage(choices: &mut Choices<'_>, disk: &SimDisk, name: &str, bytes_max: usize) {
    if !disk.exists(name) {
        return;
    }
    let len = disk.read_file(name).len();
    let change = choices.below(16);
    match change {
        0 => return disk.remove_file(name),
        1 => return disk.truncate(name, choices.index(bytes_max * 2)),
        2 => return disk.truncate(name, len & !(BLOCK as usize - 1)),
        _ if len == 0 => return,
        _ => {}
    }
    let at = choices.index(len);
    let block = at & !(BLOCK as usize - 1);
    match change {
        // One or more bits of up to 64 bytes.
        3..7 => {
            let (count, mask) = (choices.index(64) + 1, choices.byte());
            disk.corrupt(name, at, |bytes| bytes.iter_mut().take(count).for_each(|b| *b ^= mask));
        }
        // Up to eight sectors read as zeros: never written, or lost.
        7..11 => {
            let (sector, count) = (at & !511, choices.index(8) + 1);
            disk.corrupt(name, sector, |bytes| bytes.iter_mut().take(count * 512).for_each(|b| *b = 0));
        }
        // Everything from some block on reads as zeros.
        11 => disk.corrupt(name, block, |bytes| bytes.fill(0)),
        // A write went to the wrong place.
        12..14 => {
            let from = choices.index(len) & !(BLOCK as usize - 1);
            disk.corrupt(name, 0, |bytes| {
                let to = block..(block + BLOCK as usize).min(len);
                let from = from.min(len - to.len());
                bytes.copy_within(from..from + to.len(), to.start);
            });
        }
        // Bytes that the fuzzer chose.
        _ => {
            let count = choices.index(64) + 1;
            let new = choices.bytes(count);
            disk.corrupt(name, at, |bytes| bytes.iter_mut().zip(new).for_each(|(b, new)| *b = new));
        }
    }
}

/// A disk as a process sees it that only inspects the log.
pub(super) fn looked_at(disk: &SimDisk) -> Arc<dyn Disk> {
    disk.process()
}
