//! Tests that a payload that rots after open is an error that names its entry, and that removed groups keep
//! no segment of the log (INV-5, INV-8).

use seawall::{Engine, EntryRef, Error, Options, WriteBatch};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use std::sync::Arc;

use crate::simulated::stepped;

fn options() -> Options {
    // The rot is on the disk, so no read may be served from memory.
    let mut options = Options::default().with_cache_bytes(0);
    options.log.segment_bytes = 48 << 10;
    options
}

/// Creates an engine with 40 durable entries of group 7, each with a different payload.
fn filled(disk: &Arc<SimDisk>) -> Engine {
    let engine = Engine::create_in(stepped(disk), &options()).unwrap();
    let mut batch = WriteBatch::new();
    for index in 1..=40 {
        batch.append(7, &[EntryRef { index, term: 1 + index / 10, payload: &payload(index) }]);
        engine.write(&mut batch).unwrap().wait().unwrap();
    }
    engine
}

fn payload(index: u64) -> Vec<u8> {
    index.to_le_bytes().repeat(200)
}

/// Flips a bit in the middle of the payload of entry `index`.
fn rot(disk: &SimDisk, index: u64) {
    let wanted = payload(index);
    let mut places = disk.names().into_iter().filter(|name| name.ends_with(".wal")).filter_map(|name| {
        let at = disk.read_file(&name).windows(wanted.len()).position(|bytes| bytes == wanted)?;
        Some((name, at))
    });
    let (name, at) = places.next_back().expect("the payload is on the disk");
    disk.corrupt(&name, at + wanted.len() / 2, |bytes| bytes[0] ^= 1);
}

#[test]
fn a_payload_that_rots_after_open_is_named_and_its_neighbours_are_read() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = filled(&disk);
    for bad in [1, 15, 40] {
        rot(&disk, bad);
        let group = engine.group(7);
        match group.entries(1, 41, None) {
            Err(Error::DamagedEntry { group: 7, index, term, .. }) => assert_eq!((index, term), (1, 1)),
            other => panic!("{other:?}"),
        }
        match group.entries(bad, bad + 1, None) {
            Err(Error::DamagedEntry { group: 7, index, term, .. }) => {
                assert_eq!((index, term), (bad, 1 + bad / 10));
            }
            other => panic!("{other:?}"),
        }
        for index in [2, 14, 16, 39] {
            assert_eq!(group.entries(index, index + 1, None).unwrap()[0].payload, payload(index));
        }
    }
}

/// A cached page may be older than the medium, which then decides: nothing is damaged.
#[test]
fn an_older_page_in_the_cache_is_no_damage() {
    let disk = SimDisk::new(1, SimOptions { past_cache: true, ..SimOptions::default() });
    filled(&disk).close().unwrap();
    for round in 0..2 {
        for name in disk.names().into_iter().filter(|name| name.ends_with(".wal")) {
            let len = disk.read_file(&name).len();
            // Once with the header of the segment, which is read through the cache, too.
            let from = if round == 0 { 4096 } else { 0 };
            disk.cache_older(&name, from, &vec![0; len - from]);
        }
        let (engine, _) = Engine::open_in(stepped(&disk), &options()).unwrap();
        let read = engine.group(7).entries(1, 41, None).unwrap();
        assert!((1..).zip(&read).all(|(index, entry)| entry.payload == payload(index)) && read.len() == 40);
        engine.close().unwrap();
    }
}

#[test]
fn removed_groups_keep_nothing_of_the_log() {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = filled(&disk);
    let mut batch = WriteBatch::new();
    for group in [8, 9] {
        let hard = seawall::HardState { term: 3, vote: 1, commit: 0 };
        batch
            .hard_state(group, hard)
            .conf_state(group, &seawall::ConfState::default())
            .set_start(group, 5, 2);
        drop(engine.write(&mut batch).unwrap());
    }
    assert_eq!(engine.stats().unwrap().segments.0, 1);
    batch.remove_group(7).remove_group(8).remove_group(9).sync();
    engine.write(&mut batch).unwrap().wait().unwrap();
    engine.flush().unwrap();
    let stats = engine.stats().unwrap();
    assert_eq!((stats.groups, stats.entries, stats.blocker), (0, 0, None));
    assert_eq!(stats.segments.0, stats.segments.1, "something keeps old segments");
}
