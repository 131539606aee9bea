//! Tests metadata, snapshot markers and owners: they are read back after every kind of reopen, refused
//! without a trace, copied out of old segments, and removed with their group (INV-1, INV-6, INV-9).

use std::sync::Arc;

use seawall::{Engine, EntryRef, Error, HardState, Options, Owner, SnapshotMarker, WriteBatch};
use seawall_wal::disk::sim::{SimDisk, SimOptions};

use crate::simulated::stepped;

const GROUP: u64 = 7;

fn options() -> Options {
    let mut options = Options::default().with_meta_bytes_max(4096).with_slack_bytes(0);
    options.log.segment_bytes = 64 << 10;
    options
}

fn new() -> (Arc<SimDisk>, Engine) {
    let disk = SimDisk::new(1, SimOptions::default());
    let engine = Engine::create_in(stepped(&disk), &options()).unwrap();
    (disk, engine)
}

fn marker(index: u64, term: u64) -> SnapshotMarker {
    SnapshotMarker { index, term, digest: index * 1000 }
}

/// Adds the entries `from..to` to the batch, of term 1 up to index 10 and of term 2 from index 11 on.
fn append(batch: &mut WriteBatch, from: u64, to: u64) {
    for index in from..to {
        batch.append(GROUP, &[EntryRef { index, term: 1 + index / 11, payload: b"payload" }]);
    }
}

/// Creates an engine with entries 1 to 20 of group 7, compacted up to 5, with snapshots at 5 and 12, and with
/// metadata.
fn prepared() -> (Arc<SimDisk>, Engine) {
    let (disk, engine) = new();
    let mut batch = WriteBatch::new();
    append(&mut batch, 1, 21);
    batch
        .compact(GROUP, 5)
        .snapshot_marker(GROUP, marker(5, 1))
        .snapshot_marker(GROUP, marker(12, 2))
        .put_meta(GROUP, b"applied", b"12")
        .put_meta(GROUP, &[0xff; 24], b"");
    engine.write(&mut batch).unwrap().wait().unwrap();
    (disk, engine)
}

fn seen(engine: &Engine) -> String {
    let group = engine.group(GROUP);
    let ends = (group.first_index(), group.last_index(), group.term_runs());
    format!("{:?} {:?} {:?}", group.snapshots(), group.metas(), ends)
}

fn refused(build: impl FnOnce(&mut WriteBatch)) -> Error {
    let (_disk, engine) = prepared();
    let before = seen(&engine);
    let mut batch = WriteBatch::new();
    build(&mut batch);
    let error = engine.write(&mut batch).expect_err("refused");
    assert_eq!(seen(&engine), before);
    error
}

/// Writes to another group until the segments that have been written so far are released.
fn go_on(engine: &Engine, other: u64) {
    let until = engine.stats().unwrap().segments.1;
    let payload = vec![7; 3000];
    for round in 0.. {
        let mut batch = WriteBatch::new();
        let index = engine.group(other).last_index() + 1;
        batch.append(other, &[EntryRef { index, term: 1, payload: &payload }]);
        engine.write(&mut batch).unwrap().wait().unwrap();
        batch.compact(other, index);
        drop(engine.write(&mut batch).unwrap());
        if engine.stats().unwrap().segments.0 > until {
            return;
        }
        assert!(round < 1000, "old segments are not released: {:?}", engine.stats().unwrap().blocker);
    }
}

#[test]
fn what_was_written_is_read_back_however_the_engine_is_opened() {
    let (disk, engine) = prepared();
    let before = seen(&engine);
    assert!(before.starts_with(
        "[SnapshotMarker { index: 12, term: 2, digest: 12000 }, SnapshotMarker { index: 5, term: 1, digest: 5000 }]"
    ));
    let group = engine.group(GROUP);
    assert_eq!(group.meta(b"applied").as_deref(), Some(&b"12"[..]));
    assert_eq!(group.meta(&[0xff; 24]).as_deref(), Some(&b""[..]));
    assert_eq!((group.meta(b"appliee"), group.meta(b""), group.meta(&[1; 99])), (None, None, None));
    drop(engine);
    // The state is restored from records, from the index of a sealed segment, and after the prefix was
    // released.
    for life in 0..5 {
        disk.crash();
        let (engine, report) = Engine::open_in(stepped(&disk), &options()).unwrap();
        assert_eq!(seen(&engine), before, "life {life}");
        assert_eq!(life > 0, !report.log.by_footer.is_empty(), "life {life}");
        if life > 0 {
            go_on(&engine, 100 + life);
            assert_eq!(seen(&engine), before, "life {life}");
        }
        // Seals a segment after the state that was written again.
        let mut batch = WriteBatch::new();
        for index in engine.group(9).last_index() + 1.. {
            batch.append(9, &[EntryRef { index, term: 1, payload: &[9; 8000] }]);
            let segment = engine.stats().unwrap().segments.1;
            engine.write(&mut batch).unwrap().wait().unwrap();
            if engine.stats().unwrap().segments.1 > segment {
                break;
            }
        }
        batch.remove_group(9);
        engine.write(&mut batch).unwrap().wait().unwrap();
    }
}

#[test]
fn the_two_newest_snapshots_are_kept() {
    let (disk, engine) = prepared();
    let mut batch = WriteBatch::new();
    batch.snapshot_marker(GROUP, marker(12, 2)).snapshot_marker(GROUP, marker(20, 2));
    drop(engine.write(&mut batch).unwrap());
    // A second snapshot of the same entry replaces the first.
    let again = SnapshotMarker { digest: 1, ..marker(20, 2) };
    batch.snapshot_marker(GROUP, again);
    engine.write(&mut batch).unwrap().wait().unwrap();
    assert_eq!(engine.group(GROUP).snapshots(), [again, marker(12, 2)]);
    drop(engine);
    disk.crash();
    let (engine, _) = Engine::open_in(stepped(&disk), &options()).unwrap();
    assert_eq!(engine.group(GROUP).snapshots(), [again, marker(12, 2)]);
}

#[test]
fn a_marker_is_of_an_entry_of_the_log_and_never_goes_back() {
    let error = refused(|b| _ = b.snapshot_marker(GROUP, marker(0, 0)));
    assert!(matches!(error, Error::IndexRange { group: GROUP, index: 0 }), "{error}");
    let error = refused(|b| _ = b.snapshot_marker(GROUP, marker(4, 1)));
    assert!(matches!(error, Error::Compacted { group: GROUP, index: 4, point: 5 }), "{error}");
    let error = refused(|b| _ = b.snapshot_marker(GROUP, marker(11, 2)));
    assert!(matches!(error, Error::SnapshotBack { group: GROUP, index: 11, newest: 12 }), "{error}");
    let error = refused(|b| _ = b.snapshot_marker(GROUP, marker(13, 1)));
    assert!(matches!(error, Error::SnapshotTerm { group: GROUP, index: 13, term: 1, known: 2 }), "{error}");
    let error = refused(|b| _ = b.snapshot_marker(GROUP, marker(21, 2)));
    assert!(matches!(error, Error::Unavailable { group: GROUP, index: 21, last_index: 20 }), "{error}");
    // A later operation in the batch does not make the marker valid.
    let error = refused(|b| _ = b.snapshot_marker(GROUP, marker(30, 3)).set_start(GROUP, 30, 3));
    assert!(matches!(error, Error::Unavailable { index: 30, .. }), "{error}");
    let error = refused(|b| append(b.snapshot_marker(GROUP, marker(20, 2)), 20, 21));
    assert!(matches!(error, Error::SnapshotBack { index: 20, newest: 20, .. }), "in one batch: {error}");
}

#[test]
fn the_log_is_not_cut_off_below_a_snapshot() {
    for index in 6..=12 {
        let error = refused(|b| _ = b.append(GROUP, &[EntryRef { index, term: 2, payload: b"other" }]));
        assert!(matches!(error, Error::SnapshotBack { index: i, newest: 12, .. } if i == index), "{error}");
        let error = refused(|b| _ = b.set_start(GROUP, index, 9));
        assert!(matches!(error, Error::SnapshotBack { index: i, newest: 12, .. } if i == index), "{error}");
    }
    let (_disk, engine) = prepared();
    let mut batch = WriteBatch::new();
    batch.append(GROUP, &[EntryRef { index: 13, term: 2, payload: b"other" }]);
    drop(engine.write(&mut batch).unwrap());
    batch.compact(GROUP, 13);
    drop(engine.write(&mut batch).unwrap());
    assert_eq!(engine.group(GROUP).snapshots(), [marker(12, 2), marker(5, 1)], "they are still there");
}

#[test]
fn an_installed_snapshot_is_a_start_and_its_marker() {
    let (disk, engine) = prepared();
    let mut batch = WriteBatch::new();
    batch
        .set_start(GROUP, 30, 3)
        .snapshot_marker(GROUP, marker(30, 3))
        .hard_state(GROUP, HardState { term: 3, vote: 0, commit: 30 });
    engine.write(&mut batch).unwrap().wait().unwrap();
    for engine in [engine, {
        disk.crash();
        Engine::open_in(stepped(&disk), &options()).unwrap().0
    }] {
        let group = engine.group(GROUP);
        assert_eq!(group.snapshots(), [marker(30, 3), marker(12, 2)]);
        assert_eq!((group.compaction_point(), group.last_index()), ((30, 3), 30));
    }
}

#[test]
fn metadata_has_bounds() {
    for key in [&[][..], &[1; 25], &[1; 4096]] {
        let error = refused(|b| _ = b.put_meta(GROUP, key, b"value"));
        assert!(matches!(error, Error::MetaKey { group: GROUP, bytes } if bytes == key.len()), "{error}");
        let error = refused(|b| _ = b.remove_meta(GROUP, key));
        assert!(matches!(error, Error::MetaKey { .. }), "{error}");
    }
    // The group already has two keys and two bytes of values.
    let error = refused(|b| _ = b.put_meta(GROUP, b"more", &[1; 4096 - 3 * 64 - 2 + 1]));
    assert!(matches!(error, Error::MetaTooLarge { group: GROUP, bytes: 4097, max: 4096 }), "{error}");
    let error = refused(|b| (0..70).for_each(|n| _ = b.put_meta(GROUP, &[b'x', n], b"")));
    assert!(matches!(error, Error::MetaTooLarge { bytes: 4610, max: 4096, .. }), "{error}");
    let (_disk, engine) = prepared();
    let mut batch = WriteBatch::new();
    batch.put_meta(GROUP, b"more", &[1; 4096 - 3 * 64 - 2]);
    drop(engine.write(&mut batch).expect("exactly so many"));
    batch.put_meta(GROUP, b"more", &[2; 4096 - 3 * 64 - 2]).put_meta(8, b"more", &[2; 4000]);
    drop(
        engine.write(&mut batch).expect("another value takes the place of the first; each group has its own"),
    );
    batch.put_meta(GROUP, b"x", b"").remove_meta(GROUP, b"applied");
    drop(engine.write(&mut batch).expect("the end of the batch counts"));
}

#[test]
fn one_value_has_at_most_a_quarter_of_a_record() {
    let disk = SimDisk::new(1, SimOptions::default());
    let options = options().with_meta_bytes_max(1 << 20);
    let engine = Engine::create_in(stepped(&disk), &options).unwrap();
    let mut batch = WriteBatch::new();
    batch.put_meta(GROUP, b"key", &[1; 20 << 10]);
    let error = engine.write(&mut batch).expect_err("too large");
    assert!(
        matches!(error, Error::MetaTooLarge { group: GROUP, bytes: 20480, max } if max < 16 << 10),
        "{error}"
    );
    // Together, the values take more than one record, so they are copied in pieces.
    let mut written = 0;
    for n in 0..40 {
        batch.clear();
        batch.put_meta(GROUP, &[n], &[n; 12_000]);
        engine.write(&mut batch).unwrap().wait().unwrap();
        written += 1;
    }
    let before = seen(&engine);
    go_on(&engine, 100);
    assert_eq!((seen(&engine) == before, engine.group(GROUP).metas().len()), (true, written));
}

#[test]
fn metadata_goes_with_its_key_or_its_group() {
    let (disk, engine) = prepared();
    let mut batch = WriteBatch::new();
    batch.remove_meta(GROUP, b"applied").remove_meta(GROUP, b"never there").put_meta(8, b"only", b"this");
    batch.put_meta(9, b"a", b"1").remove_meta(9, b"a").remove_meta(10, b"a");
    drop(engine.write(&mut batch).unwrap());
    assert_eq!(engine.groups(), [GROUP, 8], "a group of metadata alone exists, one without is none");
    batch.remove_group(GROUP).put_meta(GROUP, b"new", b"life");
    engine.write(&mut batch).unwrap().wait().unwrap();
    let new = vec![(b"new".to_vec(), (&b"life"[..]).into())];
    assert_eq!(engine.group(GROUP).metas(), new);
    assert_eq!(engine.group(GROUP).snapshots(), []);
    let segment = engine.stats().unwrap().segments.1;
    go_on(&engine, 100);
    batch.remove_group(8);
    engine.write(&mut batch).unwrap().wait().unwrap();
    drop(engine);
    disk.crash();
    let (engine, report) = Engine::open_in(stepped(&disk), &options()).unwrap();
    assert!(engine.stats().unwrap().segments.0 > segment, "{:?}", report.log.by_footer);
    assert_eq!((engine.groups(), engine.group(GROUP).metas()), (vec![GROUP, 100], new));
}

fn owner(cluster: u64, node: u64, user: &[u8]) -> Owner {
    Owner { cluster, node, user: user.to_vec() }
}

fn owned(owner: Option<Owner>) -> Options {
    options().with_owner(owner).with_meta_bytes_max(0)
}

#[test]
fn a_log_is_its_owners_and_nobody_elses() {
    let disk = SimDisk::new(1, SimOptions::default());
    let mine = owner(7, 1, b"rack 4");
    let engine = Engine::create_in(stepped(&disk), &owned(Some(mine.clone()))).unwrap();
    assert_eq!(engine.owner().unwrap(), Some(mine.clone()));
    drop(engine);
    // The owner is durable when the call returns.
    disk.crash();
    for other in [owner(7, 2, b"rack 4"), owner(8, 1, b"rack 4"), owner(7, 1, b""), owner(7, 1, b"rack 44")] {
        let error = Engine::open_in(stepped(&disk), &owned(Some(other.clone()))).map(drop).unwrap_err();
        let Error::OtherOwner { stored, given } = &error else { panic!("{error}") };
        assert_eq!((&**stored, &**given), (&mine, &other));
        assert!(
            error.to_string().contains(&mine.to_string()) && error.to_string().contains(&other.to_string())
        );
    }
    let (engine, report) = Engine::open_in(stepped(&disk), &owned(Some(mine.clone()))).unwrap();
    assert_eq!((report.groups, report.entries), (0, 0));
    engine.set_owner(&mine).unwrap();
    assert!(matches!(engine.set_owner(&owner(7, 2, b"rack 4")), Err(Error::OtherOwner { .. })));
    let large = engine.set_owner(&owner(7, 1, &[0; 1025]));
    assert!(matches!(large, Err(Error::OwnerTooLarge { bytes: 1025, max: 1024 })), "{large:?}");
    drop(engine);
    // An open without an owner succeeds and reports the owner of the log.
    let (engine, _) = Engine::open_in(stepped(&disk), &owned(None)).unwrap();
    assert_eq!(engine.owner().unwrap(), Some(mine));
}

#[test]
fn an_owner_is_no_group_and_outlives_the_segments_that_had_it() {
    let (disk, engine) = new();
    assert_eq!(engine.owner().unwrap(), None);
    drop(engine);
    // A log without an owner gets one.
    let mine = owner(7, 1, &[9; 1024]);
    let (engine, _) = Engine::open_in(stepped(&disk), &owned(Some(mine.clone()))).unwrap();
    for _ in 0..3 {
        go_on(&engine, GROUP);
    }
    assert_eq!((engine.groups(), engine.stats().unwrap().groups), (vec![GROUP], 1));
    assert_eq!(engine.owner().unwrap(), Some(mine.clone()));
    engine.close().unwrap();
    let (engine, report) = Engine::open_in(stepped(&disk), &owned(None)).unwrap();
    assert_eq!((engine.owner().unwrap(), report.groups), (Some(mine.clone()), 1));
    // No caller can write to the owner's group, and no batch removes the owner.
    let builds: [fn(&mut WriteBatch); 3] = [
        |batch| _ = batch.remove_group(u64::MAX),
        |batch| _ = batch.remove_meta(u64::MAX, b"owner"),
        |batch| _ = batch.append(u64::MAX, &[EntryRef { index: 1, term: 1, payload: b"" }]),
    ];
    for build in builds {
        let mut batch = WriteBatch::new();
        build(&mut batch);
        let error = engine.write(&mut batch).expect_err("refused");
        assert!(matches!(error, Error::GroupReserved { group: u64::MAX }), "{error}");
        assert!(matches!(engine.try_write(&mut batch), Err(Error::GroupReserved { .. })));
    }
    assert_eq!(engine.owner().unwrap(), Some(mine));
}
