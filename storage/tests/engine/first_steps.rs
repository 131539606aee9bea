//! Tests the calls that a new user makes first: opening or creating, telling errors apart, iterating over
//! entries, following a group, waiting for a limited time.

use std::thread;
use std::time::Duration;

use seawall::wal::Durability;
use seawall::{Engine, EntryRef, Error, HardState, Options, WriteBatch};
use tempfile::TempDir;

fn options() -> Options {
    let mut options = Options::default();
    options.log.segment_bytes = 1 << 20;
    options
}

fn append(engine: &Engine, indexes: std::ops::RangeInclusive<u64>, term: u64) {
    let mut batch = WriteBatch::new();
    for index in indexes {
        batch.append(7, &[EntryRef { index, term, payload: &index.to_le_bytes() }]);
    }
    engine.write(&mut batch).unwrap().wait().unwrap();
}

#[test]
fn an_engine_is_opened_or_created() {
    let dir = TempDir::new().unwrap();
    // The directory exists and is empty, as a deployment makes it.
    let (engine, report) = Engine::open_or_create(dir.path(), &options()).unwrap();
    assert!(report.is_none());
    append(&engine, 1..=3, 1);
    assert!(Engine::open_or_create(dir.path(), &options()).is_err_and(|error| error.is_locked()));
    engine.close().unwrap();
    let (engine, report) = Engine::open_or_create(dir.path(), &options()).unwrap();
    let report = report.expect("it was there");
    assert!(
        report.to_string().starts_with("1 groups with 3 entries, from 1 records\nlog up to "),
        "{report}"
    );
    assert!(engine.stats().unwrap().to_string().contains("1 groups with 3 live entries"));
    drop(engine);

    // A log that lost its identity is not replaced.
    std::fs::remove_file(dir.path().join("IDENTITY")).unwrap();
    let error = Engine::open_or_create(dir.path(), &options()).unwrap_err();
    assert!(!error.is_not_found() && !error.is_locked() && !error.is_no_space(), "{error}");
    assert!(dir.path().join("00000001.wal").exists());

    let missing = dir.path().join("no/such/parent");
    assert!(Engine::open(&missing, &options()).unwrap_err().is_not_found());
    let error = Engine::open_or_create(&missing, &options()).unwrap_err();
    assert!(error.to_string().contains("create the directory"), "{error}");
}

#[test]
fn damage_is_told_from_a_directory_without_a_log() {
    let dir = TempDir::new().unwrap();
    let (engine, _) = Engine::open_or_create(dir.path().join("log"), &options()).unwrap();
    append(&engine, 1..=100, 1);
    engine.close().unwrap();
    let segment = dir.path().join("log/00000001.wal");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4096..8192].fill(0xff);
    std::fs::write(&segment, bytes).unwrap();
    let error = Engine::open_or_create(dir.path().join("log"), &options()).unwrap_err();
    assert!(error.is_damage() && !error.is_not_found(), "{error}");
}

#[test]
fn a_group_is_iterated_in_order() {
    let dir = TempDir::new().unwrap();
    let (engine, _) = Engine::open_or_create(dir.path(), &options()).unwrap();
    let mut batch = WriteBatch::new();
    let payload = vec![1; 100_000];
    for index in 1..=50 {
        batch.append(7, &[EntryRef { index, term: 1, payload: &payload }]);
        engine.write(&mut batch).unwrap().wait().unwrap();
    }
    let group = engine.group(7);
    let indexes = |entries: seawall::Entries| entries.map(|entry| entry.unwrap().index).collect::<Vec<_>>();
    assert_eq!(indexes(group.iter(..)), (1..=50).collect::<Vec<_>>());
    assert_eq!(indexes(group.iter(10..=12)), [10, 11, 12]);
    assert!(indexes(group.iter(10..10)).is_empty());
    assert!(indexes(engine.group(8).iter(..)).is_empty());
    // Iterators fail beyond the end, and below the start after a compaction.
    assert!(matches!(group.iter(49..60).last(), Some(Err(Error::Unavailable { .. }))));
    let mut entries = group.iter(..);
    assert_eq!(entries.next().unwrap().unwrap().index, 1);
    batch.hard_state(7, HardState { term: 1, vote: 0, commit: 50 }).compact(7, 40);
    engine.write(&mut batch).unwrap().wait().unwrap();
    let failed = entries.find(Result::is_err).expect("an entry that is compacted by now");
    assert!(matches!(failed, Err(Error::Compacted { .. })), "{failed:?}");
    assert!(entries.next().is_none());
}

#[test]
fn a_cursor_follows_what_is_durable() {
    let dir = TempDir::new().unwrap();
    let (engine, _) = Engine::open_or_create(dir.path(), &options()).unwrap();
    append(&engine, 1..=5, 1);
    let mut cursor = engine.group(7).follow(1);
    let follower = thread::spawn(move || {
        let mut seen = Vec::new();
        while seen.len() < 2000 {
            let entry = cursor.next(Duration::from_secs(20)).unwrap().expect("more entries are appended");
            assert_eq!(entry.payload, entry.index.to_le_bytes()[..]);
            seen.push(entry.index);
        }
        assert!(cursor.next(Duration::ZERO).unwrap().is_none());
        (seen, cursor)
    });
    for index in 6..=2000 {
        append(&engine, index..=index, 1);
    }
    let (seen, mut cursor) = follower.join().unwrap();
    assert!(seen.into_iter().eq(1..=2000));

    // A call that waits does not prevent the engine from being closed.
    let waiting = thread::spawn(move || cursor.next(Duration::from_secs(600)));
    thread::sleep(Duration::from_millis(50));
    engine.close().unwrap();
    assert!(matches!(waiting.join().unwrap(), Err(Error::Closed)));
}

#[test]
fn a_cursor_says_when_compaction_or_another_leader_overtook_it() {
    let dir = TempDir::new().unwrap();
    let (engine, _) = Engine::open_or_create(dir.path(), &options()).unwrap();
    append(&engine, 1..=5, 1);
    let mut cursor = engine.group(7).follow(1);
    let mut next = || cursor.next(Duration::ZERO);
    for index in 1..=5 {
        assert_eq!(next().unwrap().unwrap().index, index);
    }
    assert!(next().unwrap().is_none());
    append(&engine, 4..=6, 2);
    assert!(matches!(next(), Err(Error::Replaced { group: 7, index: 5 })));
    assert_eq!(cursor.position(), 6);

    let mut lagging = engine.group(7).follow(2);
    let mut batch = WriteBatch::new();
    batch.hard_state(7, HardState { term: 2, vote: 0, commit: 6 }).compact(7, 6);
    engine.write(&mut batch).unwrap().wait().unwrap();
    assert!(matches!(lagging.next(Duration::ZERO), Err(Error::Compacted { index: 2, point: 6, .. })));
    // A cursor that has read everything up to the compaction point continues.
    let mut ahead = engine.group(7).follow(7);
    append(&engine, 7..=7, 2);
    assert_eq!(ahead.next(Duration::ZERO).unwrap().unwrap().index, 7);
}

#[test]
fn a_ticket_waits_for_a_limited_time() {
    let dir = TempDir::new().unwrap();
    let (wal, report) = seawall::wal::Wal::open_or_create(dir.path(), &options().log).unwrap();
    assert!(report.is_none());
    let mut record = seawall::wal::RecordBuilder::new();
    record.push_part(b"x");
    let ticket = wal.append(&record, Durability::Lazy).unwrap();
    assert_eq!(ticket.wait_timeout(Duration::ZERO).unwrap(), None);
    assert_eq!(ticket.wait_timeout(Duration::MAX).unwrap(), Some(ticket.lsn()));
    wal.close().unwrap();
}
