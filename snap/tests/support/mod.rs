//! Provides the tests of this crate with small snapshots on a simulated disk, and with checks of their
//! content.

#![allow(dead_code, reason = "every test uses a part of it")]

use seawall_disk::Mode;
use seawall_disk::sim::{SimDisk, SimOptions};
use seawall_snap::{Catalog, Error, Options, Piece, Published, SnapshotId, SnapshotReader};
use std::io::Read;
use std::ops::ControlFlow::{self, Continue};
use std::sync::Arc;

pub const GROUP: u64 = 7;

pub fn id(index: u64) -> SnapshotId {
    SnapshotId { group: GROUP, index, term: 3 }
}

/// Options with small chunks and no helper threads: the same calls give the same run.
pub fn options() -> Options {
    Options::default().with_helpers(0).with_chunk_bytes(4096).with_sync_bytes(64 << 10)
}

pub fn sim(seed: u64) -> Arc<SimDisk> {
    let options =
        SimOptions { mode: Mode::Buffered, short_writes: seed.is_multiple_of(2), ..SimOptions::default() };
    SimDisk::new(seed, options)
}

/// The content of snapshot `index`: chunks that compress, and chunks that do not.
pub fn content(index: u64, len: usize) -> Vec<u8> {
    let mut state = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let byte = |at: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if (at / 4096).is_multiple_of(2) {
            b"the state at "[at % 13] ^ (index.to_le_bytes()[0] % 16)
        } else {
            state.to_le_bytes()[3]
        }
    };
    (0..len).map(byte).collect()
}

/// Length of the content of the snapshots that [`write`] makes: three full chunks and a half.
pub const LEN: usize = 3 * 4096 + 2000;

pub fn write(catalog: &Catalog, index: u64) -> Result<Published, Error> {
    let mut writer = catalog.write(id(index), b"conf", &index.to_le_bytes())?;
    for part in content(index, LEN).chunks(1500) {
        writer.append(part)?;
    }
    writer.finish()
}

pub fn on(_: seawall_snap::Progress) -> ControlFlow<()> {
    Continue(())
}

pub fn verify(catalog: &Catalog, index: u64) -> Result<(), Error> {
    catalog.verify(id(index), &mut on)
}

/// Writes and verifies a snapshot, and removes those that it replaces.
pub fn settle(catalog: &Catalog, index: u64) -> Result<(), Error> {
    write(catalog, index)?;
    verify(catalog, index)?;
    catalog.retain(GROUP).map(drop)
}

/// Reads the whole snapshot and compares it with what was written.
#[track_caller]
pub fn check(reader: &mut SnapshotReader) {
    let index = reader.id().index;
    assert_eq!((reader.conf_state(), reader.metadata()), (&b"conf"[..], &index.to_le_bytes()[..]));
    let mut found = Vec::new();
    reader.read_to_end(&mut found).expect("a complete snapshot");
    assert!(found == content(index, LEN), "snapshot {index} has other content");
}

/// The index of the newest snapshot that serves, which is checked to be complete; `None` if there is none.
#[track_caller]
pub fn served(catalog: &Catalog) -> Option<u64> {
    let newest = catalog.newest(GROUP, |_| true, &mut on).expect("a snapshot or none")?;
    let mut reader = newest.reader;
    check(&mut reader);
    Some(reader.id().index)
}

pub fn open(disk: &Arc<SimDisk>) -> Catalog {
    Catalog::open(disk.process(), &options()).expect("a directory").0
}

/// The file name of the published snapshot `index`.
pub fn file(index: u64) -> String {
    format!("{GROUP:016x}-{index:016x}-{:016x}.snap", 3)
}

/// The indexes of the published files, and the names of all other files except `LOCK`.
pub fn files(disk: &SimDisk) -> (Vec<u64>, Vec<String>) {
    let names: Vec<String> = disk.names().into_iter().filter(|name| name != "LOCK").collect();
    let index = |name: &String| (1..200).find(|&index| file(index) == *name);
    let published = names.iter().filter_map(index).collect();
    (published, names.into_iter().filter(|name| index(name).is_none()).collect())
}

/// All pieces of a snapshot, from piece `from` on.
pub fn pieces(catalog: &Catalog, index: u64, from: u32) -> Vec<Piece> {
    let export = catalog.export(id(index)).expect("published");
    export.pieces(from).expect("sound").map(|piece| piece.expect("sound")).collect()
}
