//! Tests that this build reads an engine's log that an earlier build wrote.
//!
//! The log in the tree holds each kind of operation, in records and in the indexes of sealed segments. A second one, in
//! `fixtures/v1-index-2`, has the same content. Its segments have indexes of version 2, which this build ignores, and
//! its compressed payloads have no checksum of the plain bytes.
//!
//! `SEAWALL_GOLDEN=write cargo test -p seawall --test engine golden::` writes `fixtures/v1` again. This is
//! right only together with a new format version, or with a kind of operation that the log does not have yet.

#![cfg_attr(not(feature = "zstd"), expect(dead_code, reason = "without it the tests read only a part"))]

use std::fs;
use std::path::Path;

use seawall::{Compression, ConfState, Engine, EntryRef, HardState, Options, SnapshotMarker, WriteBatch};

use crate::golden_files::{self, env, fixture};

/// Contents of the engine in the tree.
const SEEN: &str = include_str!("../fixtures/v1.txt");

fn options(verify_on_open: bool) -> Options {
    let compression = Some(Compression { from_bytes: 2000, level: 1 });
    let mut options = Options::default().with_slack_bytes(32 << 10).with_compression(compression);
    options.log.segment_bytes = 32 << 10;
    options.log.verify_on_open = verify_on_open;
    options
}

/// Writes every kind of operation. Part of the data is copied out of segments that are released.
fn write(dir: &Path) {
    let engine = Engine::create_in(env(dir), &options(false)).unwrap();
    let mut batch = WriteBatch::new();
    let write = |batch: &mut WriteBatch| engine.write(batch).unwrap().wait().unwrap();
    let payloads: Vec<Vec<u8>> = (1..=8).map(|n| vec![n; usize::from(n) * 500]).collect();
    for (index, payload) in (1..).zip(&payloads) {
        batch.append(1, &[EntryRef { index, term: 1 + index / 5, payload }]);
    }
    batch
        .hard_state(1, HardState { term: 2, vote: 3, commit: 6 })
        .conf_state(
            1,
            &ConfState { voters: vec![1, 2, 3], auto_leave: true, index: 2, ..ConfState::default() },
        )
        .compact(1, 2)
        .snapshot_marker(1, SnapshotMarker { index: 2, term: 1, digest: 5 })
        .snapshot_marker(1, SnapshotMarker { index: 4, term: 1, digest: u64::MAX })
        .put_meta(1, b"applied", b"\x06")
        .put_meta(1, b"gone", b"soon")
        .set_start(2, 100, 7)
        .append(3, &[EntryRef { index: 1, term: 1, payload: b"removed below" }]);
    write(&mut batch);
    batch.append(1, &[EntryRef { index: 7, term: 3, payload: b"in place of another" }]);
    batch.remove_meta(1, b"gone").remove_group(3);
    write(&mut batch);
    for index in 1..=40 {
        batch.append(4, &[EntryRef { index, term: 1, payload: &[index.to_le_bytes()[0]; 1999] }]);
        write(&mut batch);
        // These operations are in segments that are kept, one sealed and one in use.
        if index == 33 || index == 39 {
            let point = index + 100;
            batch
                .set_start(5, point, 2)
                .append(5, &[EntryRef { index: point + 1, term: 2, payload: &payloads[7] }]);
            batch
                .put_meta(5, b"k", b"v")
                .remove_meta(5, b"k")
                .append(6, &[EntryRef { index: 1, term: 1, payload: b"" }]);
            write(&mut batch);
            batch.snapshot_marker(5, SnapshotMarker { index: point, term: 2, digest: 1 });
            batch.conf_state(5, &ConfState::default()).remove_group(6);
            write(&mut batch);
        }
        if index > 10 {
            batch.compact(4, index - 9);
            drop(engine.write(&mut batch).unwrap());
        }
    }
    assert!(engine.stats().unwrap().rewrite.entries > 0 && engine.stats().unwrap().segments.0 > 1);
    engine.close().unwrap();
}

fn seen(engine: &Engine) -> String {
    let of = |id| {
        let group = engine.group(id);
        let (first, last) = (group.first_index(), group.last_index());
        let mut text = format!("group {id}: {first}..={last}, point {:?}", group.compaction_point());
        text +=
            &format!("\n  {:?}\n  {:?}\n  {:?}\n", group.hard_state(), group.conf_state(), group.snapshots());
        text += &format!("  {:?}\n", group.metas());
        for entry in group.entries(first, last + 1, None).unwrap() {
            let payload = &entry.payload[..entry.payload.len().min(20)];
            text += &format!("  {entry:?} {}\n", payload.escape_ascii());
        }
        text
    };
    engine.groups().into_iter().map(of).collect()
}

#[cfg(feature = "zstd")]
#[test]
fn an_engine_written_by_an_earlier_build_is_read() {
    let rewritten = golden_files::rewritten(write);
    let mut shown = Vec::new();
    let logs = [fixture(), fixture().with_file_name("v1-index-2")];
    for (log, verify_on_open) in logs.iter().flat_map(|log| [(log, false), (log, true)]) {
        let dir = golden_files::copy_of(log);
        let (engine, report) = Engine::open_in(env(dir.path()), &options(verify_on_open)).unwrap();
        assert_eq!(report.log.by_footer.is_empty(), verify_on_open, "one of them reads indexes");
        shown.push(seen(&engine));
    }
    if rewritten {
        fs::write(fixture().with_extension("txt"), &shown[0]).unwrap();
        return;
    }
    assert_eq!(shown, [SEEN; 4]);
}

/// A compressed entry is a typed error; everything else is readable.
#[cfg(not(feature = "zstd"))]
#[test]
fn a_build_without_zstd_names_what_it_cannot_read() {
    use seawall::{Error, error::DecompressError};

    let dir = golden_files::copy_of(&fixture());
    let (engine, _) = Engine::open_in(env(dir.path()), &options(true)).unwrap();
    let group = engine.group(1);
    assert_eq!(group.entries(3, 4, None).unwrap()[0].payload, vec![3; 1500]);
    for index in 4..7 {
        let error = group.entries(index, index + 1, None).unwrap_err();
        let Error::Compressed { group: 1, index: i, source, .. } = error else { panic!("{error}") };
        assert_eq!((i, source), (index, DecompressError::NoZstd));
    }
    assert_eq!((group.last_index(), group.hard_state().commit), (7, 6));
}

#[cfg(feature = "zstd")]
#[test]
fn the_same_calls_write_the_same_engine() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    dirs.iter().for_each(|dir| write(dir.path()));
    let files = |dir: &Path| {
        let of = |entry: fs::DirEntry| (entry.file_name(), fs::read(entry.path()).unwrap());
        let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| of(entry.unwrap())).collect();
        files.retain(|(name, _)| name != "LOCK");
        files.sort();
        files
    };
    assert!(files(dirs[0].path()) == files(dirs[1].path()));
}
