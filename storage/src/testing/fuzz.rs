//! Bodies of the engine's fuzz targets: the encoding of records, and replay (feature `fuzz`).
//!
//! Any bytes decode to operations that encode to the same bytes, or to an error (INV-9). Replaying any records that
//! decode gives an engine that works, or an error that names the record or the group. Every panic is a finding.

use std::sync::Arc;

use seawall_wal::disk::sim::{SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::testing::fuzz::Choices;
use seawall_wal::{Durability, Env, RecordBuilder, Threads, Wal};
use zerocopy::IntoBytes;

use crate::compression::Compressor;
use crate::engine::{Engine, Report};
use crate::error::{Error, Result};
use crate::format::{
    FRAME, Footer, FooterHeader, GroupOp, Op, Place, decode, decode_conf_state, encode, encode_conf_state,
    encode_frame,
};
use crate::group::FooterIndexBuilder;
use crate::inspect::decode_record;
use crate::options::Options;
use crate::recovery::{Restored, restore};
use crate::types::{CompactionPoint, Compression, ConfState, EntryRef, HardState, MetaKey, SnapshotMarker};
use crate::write::WriteBatch;

/// Largest number of records in one input, and of operations in one record.
const RECORDS: u32 = 24;
const OPS: u64 = 6;

/// A compressed payload: the number 3, then a zstd frame with three bytes that are stored uncompressed.
const PACKED: [u8; 16] = [3, 0, 0, 0, 0x28, 0xb5, 0x2f, 0xfd, 0x20, 3, 1 | 3 << 3, 0, 0, b'a', b'b', b'c'];

/// Fuzzes decompression: `data` is the stored form of a compressed payload.
pub fn engine_payload(data: &[u8]) {
    let compressor = Compressor::new(Some(Compression { from_bytes: 512, level: 1 }));
    match compressor.unpack(data) {
        Ok(raw) => {
            let claimed = data.first_chunk().map(|length| u32::from_le_bytes(*length) & !(1 << 31));
            assert_eq!(claimed.map(u64::from), Some(raw.len() as u64));
            if let Some(again) = compressor.pack(&raw) {
                assert_eq!(compressor.unpack(&again).as_ref(), Ok(&raw));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Fuzzes decoding: the first byte of `data` is a number of parts, the rest the `meta` of a record, and also a conf
/// state.
pub fn engine_record(data: &[u8]) {
    let Some((&parts, bytes)) = data.split_first() else { return };
    let parts = usize::from(parts);
    let mut ops = Vec::new();
    let decoded = decode(bytes, parts, &mut ops);
    match decode_record(bytes, parts) {
        Ok(lines) => {
            assert_eq!((decoded, lines.len()), (Ok(()), ops.len()));
            let mut again = vec![0xff];
            encode(&ops, &mut again);
            assert_eq!(again, bytes, "one encoding per record");
            let mut next = 0;
            for line in &lines {
                assert_eq!(line.parts.start, next, "{line:?}");
                next = line.parts.end;
            }
            assert_eq!(next, parts, "the operations cover the parts");
        }
        Err(error) => {
            assert_eq!(decoded, Err(error));
            assert!(!error.to_string().is_empty());
        }
    }
    if let Ok(conf) = decode_conf_state(bytes) {
        assert_eq!(encode_conf_state(&conf), bytes, "one encoding per conf state");
    }
}

/// Fuzzes the index of a segment: the first 4 bytes of `data` are the offset where its records end, the rest is the
/// index. One that is accepted has each place inside of the records, and is what its places are encoded to.
pub fn engine_index(data: &[u8]) {
    let Some((end, bytes)) = data.split_first_chunk() else { return };
    let end = u32::from_le_bytes(*end);
    let Some(footer) = Footer::decode(bytes, 7, end) else { return };
    let (mut ops, mut frames, mut count) = (Vec::new(), Vec::new(), 0);
    for (op, run) in footer.ops() {
        ops.extend_from_slice(op.encode().as_bytes());
        let mut after = 0;
        let mut index = op.op.op.first_entry();
        for frame in run.frames() {
            let places: Vec<Place> = frame.places(0).collect();
            for (slot, place) in places.iter().enumerate() {
                assert!(place.offset.get() >= after && frame.get(slot) == Some(*place), "{op:?}: {place:?}");
                after = place.offset.get() + place.length.get();
            }
            index = index.wrapping_add(places.len() as u64);
            count += places.len();
            encode_frame(&places, &mut frames).expect("they follow each other");
            assert!(places.len() <= FRAME && after <= end, "{op:?}");
        }
        assert_eq!(index.wrapping_sub(op.op.op.first_entry()), u64::from(run.count()), "{op:?}");
    }
    let records = usize::try_from(footer.records).expect("a u32");
    let header = FooterHeader::new(u32::try_from(records).expect("a u32"), footer.ops().count(), count);
    assert!(bytes == [header.as_bytes(), &ops, &frames].concat(), "one encoding per index");
}

/// Fuzzes replay: writes records that decode, chosen by `data`, to a log and replays it.
pub fn engine_replay(data: &[u8]) {
    let mut choices = Choices::from_bytes(data);
    let disk = SimDisk::new(0, SimOptions::default());
    write(&mut choices, &disk).expect("a sound disk");
    let (engine, report) = match open(&disk) {
        Ok(opened) => opened,
        Err(error @ (Error::Record { .. } | Error::Damage { .. } | Error::CommitBeyondLog { .. })) => {
            let again = open(&disk).map(|_| ()).expect_err("refused before");
            assert_eq!(again.to_string(), error.to_string(), "two refusals");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let before = seen(&engine);
    assert_eq!(engine.groups().len() as u64, report.groups);
    go_on(&engine);
    let after = seen(&engine);
    engine.close().expect("a sound disk");
    drop(engine);
    let (engine, _) = open(&disk).expect("what the engine itself wrote");
    assert_eq!(seen(&engine), after, "another engine than the one that was closed, at first {before}");
}

/// Replays the engine on `disk` once from its indexes and once from its records, and compares everything that the
/// groups and the release of segments depend on. Returns the number of segments that were replayed from their index.
///
/// # Panics
/// If the two replays differ.
pub fn replays_agree(disk: &SimDisk, options: &Options) -> usize {
    let fork = disk.fork(1);
    let index_builder = FooterIndexBuilder::default();
    let log =
        Wal::prepare(env(&fork), &options.log, Some(&mut index_builder.clone())).expect("nothing rotted");
    let by_footer = &log.report().by_footer;
    let by_index = restore(&log, by_footer, Threads::Stepped, Some(&index_builder)).map(rendered);
    let by_record = restore(&log, &[], Threads::Stepped, None).map(rendered);
    match (by_index, by_record) {
        (Ok(by_index), Ok(by_record)) => assert_eq!(by_index, by_record, "index and records"),
        (Err(by_index), Err(by_record)) => assert_eq!(by_index.to_string(), by_record.to_string()),
        (by_index, by_record) => panic!("by index {by_index:?}, by record {by_record:?}"),
    }
    by_footer.len()
}

/// The result of a replay as text: the counts, one line for each group, then the segments.
fn rendered(Restored { groups, usage, found, .. }: Restored) -> Vec<String> {
    let mut lines = vec![format!("{found:?}")];
    for id in groups.ids() {
        let Some(slot) = groups.get(id) else { continue };
        let state = slot.read();
        let locations = (state.first_index()..=state.last_index()).map(|i| state.location(i));
        let state_ops: Vec<Vec<Op>> =
            usage.counts().iter().map(|(segment, _)| state.state_up_to(*segment).collect()).collect();
        lines.push(format!(
            "{id}: {:?} {:?} {:?} {:?} {:?} {:?} {:?} {state_ops:?}",
            state.point(),
            state.hard(),
            state.conf(),
            state.snapshots().collect::<Vec<_>>(),
            state.metas().collect::<Vec<_>>(),
            state.term_runs().collect::<Vec<_>>(),
            locations.collect::<Vec<_>>(),
        ));
    }
    lines.extend(usage.counts().iter().map(|count| format!("{count:?}")));
    lines
}

fn options() -> Options {
    let log = seawall_wal::Options::default().with_segment_bytes(40 << 10);
    Options::default().with_log(log)
}

fn env(disk: &Arc<SimDisk>) -> Env {
    let (clock, random) = (Arc::new(SimClock::new()), Arc::new(SimRandom::new(1)));
    Env { disk: disk.process(), clock, random, threads: Threads::Stepped }
}

fn open(disk: &Arc<SimDisk>) -> Result<(Engine, Report)> {
    Engine::open_in(env(disk), &options())
}

/// Writes records directly to the log, without the engine's validation.
fn write(choices: &mut Choices<'_>, disk: &Arc<SimDisk>) -> std::result::Result<(), seawall_wal::Error> {
    let wal = Wal::create_in(env(disk), &options().log)?;
    if choices.chance(40) {
        // A log that has released its prefix, in which group 9, now removed, had entries.
        let mut batch = RecordBuilder::new();
        let entries = |first| GroupOp {
            group: 9,
            op: Op::Entries { first, term: 1, count: 1, truncates: false, packed: false },
        };
        for first in 1.. {
            batch.clear();
            encode(&[entries(first)], batch.meta());
            batch.push_part(&[1; 8000]);
            if wal.append(&batch, Durability::Lazy)?.lsn().segment() > 1 {
                break;
            }
        }
        batch.clear();
        encode(&[GroupOp { group: 9, op: Op::Remove }], batch.meta());
        drop(wal.append(&batch, Durability::Lazy)?);
        wal.release(2)?;
        wal.flush()?;
    }
    for _ in 0..RECORDS {
        if choices.spent() {
            break;
        }
        drop(wal.append(&record(choices), Durability::Lazy)?);
    }
    wal.close()
}

fn record(choices: &mut Choices<'_>) -> RecordBuilder {
    let (mut batch, mut ops) = (RecordBuilder::new(), Vec::new());
    for _ in 0..=choices.below(OPS) {
        let op = op(choices);
        for part in 0..op.parts() {
            let conf = ConfState { voters: vec![1, 2, u64::from(part)], ..ConfState::default() };
            match op {
                Op::ConfState if choices.chance(90) => batch.push_part(&encode_conf_state(&conf)),
                Op::ConfState => batch.push_part(&choices.bytes(40)),
                Op::Meta { .. } => batch.push_part(&choices.bytes(40)),
                Op::Entries { packed: true, .. } => batch.push_part(&PACKED),
                _ => batch.push_part(&[7; 5]),
            }
        }
        ops.push(GroupOp { group: choices.below(3), op });
    }
    encode(&ops, batch.meta());
    batch
}

fn op(choices: &mut Choices<'_>) -> Op {
    match choices.below(12) {
        0..3 => {
            let (first, term) = (number(choices), number(choices));
            let (count, truncates) = (choices.small(1, 4), choices.chance(40));
            Op::Entries {
                first,
                term,
                count,
                truncates,
                packed: choices.chance(20) && cfg!(feature = "zstd"),
            }
        }
        3 => {
            let (term, vote, commit) = (number(choices), number(choices), number(choices));
            Op::HardState(HardState { term, vote, commit })
        }
        4 => Op::ConfState,
        5 => Op::Compact(CompactionPoint { index: number(choices), term: number(choices) }),
        6 => Op::Start(CompactionPoint { index: number(choices), term: number(choices) }),
        7 => Op::Remove,
        kind @ 10.. => {
            let (first, term, count) = (number(choices), number(choices), choices.small(1, 4));
            if kind == 10 {
                Op::Moved { first, term, count, packed: false }
            } else {
                Op::Repaired { first, term, count, packed: false }
            }
        }
        8 => {
            let (index, term) = (number(choices), number(choices));
            Op::Snapshot(SnapshotMarker { index, term, digest: choices.below(4) })
        }
        _ => {
            let key = [b'a', u8::from(choices.chance(50))];
            let key = MetaKey::new(&key).expect("two bytes");
            Op::Meta { key, removes: choices.chance(30) }
        }
    }
}

/// A number as it occurs in logs, or one near either end of the range.
fn number(choices: &mut Choices<'_>) -> u64 {
    match choices.below(64) {
        n @ 0..40 => n / 4,
        n @ 40..48 => u64::MAX - (n - 40),
        n @ 48..50 => 1 << n,
        n => n,
    }
}

/// Uses every group like a node would.
fn go_on(engine: &Engine) {
    let mut batch = WriteBatch::new();
    for id in engine.groups() {
        let group = engine.group(id);
        let (last, hard) = (group.last_index(), group.hard_state());
        let term = group.term(last).expect("the last index is known");
        batch.clear();
        batch.append(id, &[EntryRef { index: last.saturating_add(1), term, payload: b"more" }]);
        match engine.write(&mut batch) {
            Ok(_) => assert_eq!(group.last_index(), last + 1),
            Err(Error::IndexRange { .. }) => assert!(last >= u64::MAX - 1),
            Err(error) => panic!("{error}"),
        }
        batch.clear();
        batch.hard_state(id, HardState { commit: group.last_index(), ..hard });
        drop(engine.write(&mut batch).expect("a commit that goes on"));
        batch.clear();
        let (point, _) = group.compaction_point();
        if point < last {
            batch.compact(id, last);
            drop(engine.write(&mut batch).expect("committed"));
            assert_eq!(group.first_index(), last + 1);
        }
    }
}

/// Everything observable of the engine, as text; reads every entry.
fn seen(engine: &Engine) -> String {
    let of = |id| {
        let group = engine.group(id);
        let (first, last) = (group.first_index(), group.last_index());
        let entries = group.entries(first, last + 1, None).expect("live entries");
        assert_eq!(entries.len() as u64, last + 1 - first);
        let terms: Vec<u64> = entries.iter().map(|e| e.term).collect();
        assert!(terms.is_sorted(), "group {id}: terms go back: {terms:?}");
        for entry in &entries {
            assert_eq!(group.term(entry.index).ok(), Some(entry.term));
        }
        assert!(group.hard_state().commit <= last);
        let point = group.compaction_point();
        assert!(group.term(point.0).is_ok_and(|term| term == point.1));
        let (hard, conf, runs) = (group.hard_state(), group.conf_state(), group.term_runs());
        let (snapshots, metas) = (group.snapshots(), group.metas());
        assert!(snapshots.len() <= 2 && snapshots.iter().all(|marker| marker.index <= last));
        format!("{id}: {point:?} {hard:?} {conf:?} {snapshots:?} {metas:?} {runs:?} {entries:?}\n")
    };
    let groups = engine.groups();
    let stats = engine.stats().expect("open");
    assert_eq!(stats.groups, groups.len());
    groups.into_iter().map(of).collect()
}
