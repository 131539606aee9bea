//! Cases that neither openraft's suite nor the model covers: reopening, order and number of callbacks,
//! failures, closing.

use futures_lite::future::block_on;
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimClock, SimRandom};
use seawall_wal::{Env, Threads};

use crate::adapters::openraft::codec;
use crate::adapters::openraft::error::Error;
use crate::adapters::openraft::log::callback_order::Callback;
use crate::adapters::openraft::log::write::LogWrites;
use crate::adapters::openraft::log_id::Ends;
use crate::adapters::openraft::stores::{LogOptions, LogStores};
use crate::adapters::openraft::tests::version::*;
use crate::engine::Engine;
use crate::error::Error as EngineError;
use crate::types::{EntryRef, HardState};
use crate::write::WriteBatch;

fn entries(log: &LogWrites<Line>) -> Vec<Entry> {
    once(log.reads().entries(..)).expect("read where it is asked").expect("readable")
}

fn append(log: &mut LogWrites<Line>, list: &[Entry], callback: Callback) {
    once(log.append(list.to_vec(), callback)).expect("waits for nothing").expect("appended");
}

/// Entries 0/1-1 1/1-1 2/2-1 3/2-2: two leaders in one term; a vote; committed 1.
fn prepared(seed: u64) -> (std::sync::Arc<seawall_wal::disk::sim::SimDisk>, Engine, LogWrites<Line>) {
    let disk = disk(seed);
    let (engine, _, mut log) = open(&disk, seed).unwrap();
    let all = [entry(1, 1, 0), entry(1, 1, 1), entry(2, 1, 2), entry(2, 2, 3)];
    append(&mut log, &all, Box::new(|_| {}));
    drive(&engine, log.save_vote((2, 2, true))).unwrap();
    drive(&engine, log.save_committed(Some(1))).unwrap();
    (disk, engine, log)
}

/// Closes the engine and opens it again.
fn reopened(
    disk: &std::sync::Arc<seawall_wal::disk::sim::SimDisk>,
    engine: Engine,
    log: LogWrites<Line>,
) -> (Engine, LogWrites<Line>) {
    drop(log);
    engine.close().unwrap();
    let (engine, _, log) = open(disk, 9).unwrap();
    (engine, log)
}

#[test]
fn everything_is_there_after_a_reopen() {
    for seed in [1, 2] {
        let (disk, engine, log) = prepared(seed);
        let (engine, log) = reopened(&disk, engine, log);
        let reads = log.reads();
        assert_eq!(entries(&log), [entry(1, 1, 0), entry(1, 1, 1), entry(2, 1, 2), entry(2, 2, 3)]);
        assert_eq!(reads.vote(), Some((2, 2, true)));
        assert_eq!(reads.committed(), Some(id(1, 1, 1)));
        assert_eq!(reads.ends(), Ends { purged: None, last: Some(id(2, 2, 3)) });
        assert_eq!(reads.last_of_each_leader(0, 3), [id(1, 1, 1), id(2, 1, 2), id(2, 2, 3)]);
        assert_eq!(reads.last_of_each_leader(1, 2), [id(1, 1, 1), id(2, 1, 2)]);
        engine.close().unwrap();
    }
}

#[test]
fn what_was_truncated_stays_so() {
    for (from, left) in [(4, 4), (3, 3), (2, 2)] {
        let (disk, engine, mut log) = prepared(from);
        drive(&engine, log.truncate(from)).unwrap();
        assert_eq!(entries(&log).len(), left);
        let (engine, mut log) = reopened(&disk, engine, log);
        assert_eq!(entries(&log).len(), left);
        // The same leader continues, then another one.
        append(&mut log, &[entry(2, 9, from)], Box::new(|_| {}));
        assert_eq!(log.reads().ends().last, Some(id(2, 9, from)));
        engine.close().unwrap();
    }
    let (_disk, engine, mut log) = prepared(3);
    let error = drive(&engine, log.truncate(1)).expect_err("entry 1 is committed");
    assert!(matches!(error, Error::Engine(EngineError::CommitTooHigh { .. })), "{error}");
    assert_eq!(entries(&log).len(), 4);
}

#[test]
fn a_log_that_was_truncated_to_nothing_begins_anywhere() {
    let disk = disk(5);
    let (engine, _, mut log) = open(&disk, 5).unwrap();
    append(&mut log, &[entry(1, 1, 4), entry(1, 1, 5)], Box::new(|_| {}));
    assert_eq!(log.reads().ends(), Ends { purged: None, last: Some(id(1, 1, 5)) });
    drive(&engine, log.truncate(0)).unwrap();
    let (engine, mut log) = reopened(&disk, engine, log);
    assert_eq!(log.reads().ends(), Ends { purged: None, last: None });
    append(&mut log, &[entry(3, 1, 2)], Box::new(|_| {}));
    assert_eq!(entries(&log), [entry(3, 1, 2)]);
    engine.close().unwrap();
}

#[test]
fn purging_keeps_the_log_id_wherever_it_lies() {
    // In the log; its last entry; after its end; and another entry than the log has at that index.
    for (purged, left) in [(id(2, 1, 2), 1), (id(2, 2, 3), 0), (id(4, 7, 20), 0), (id(3, 3, 2), 0)] {
        let (disk, engine, mut log) = prepared(purged.index);
        drive(&engine, log.purge(purged.clone())).unwrap();
        let (engine, mut log) = reopened(&disk, engine, log);
        assert_eq!(log.reads().ends().purged, Some(purged.clone()));
        assert_eq!(entries(&log).len(), left);
        assert_eq!(log.reads().vote(), Some((2, 2, true)), "the vote is where it was");
        assert_eq!(log.reads().committed(), Some(purged.clone()), "what was purged was committed");
        // Truncates to the end of the purged entries, and no further; then appends from there.
        drive(&engine, log.truncate(0)).unwrap();
        drive(&engine, log.purge(id(1, 1, 0))).unwrap();
        let (engine, mut log) = reopened(&disk, engine, log);
        assert_eq!(log.reads().ends(), Ends { purged: Some(purged.clone()), last: Some(purged.clone()) });
        let error = once(log.append(vec![entry(9, 9, purged.index + 2)], Box::new(|_| {})));
        assert!(matches!(error, Some(Err(Error::Engine(EngineError::Gap { .. })))), "{error:?}");
        let mut more = vec![entry(1, 1, purged.index), entry(9, 9, purged.index + 1)];
        append(&mut log, &more, Box::new(|_| {}));
        assert_eq!(entries(&log), more.split_off(1), "what is purged is left out");
        engine.close().unwrap();
    }
}

#[test]
fn what_is_appended_can_be_read_at_once_and_is_answered_when_it_is_durable() {
    let (_disk, engine, mut log) = prepared(1);
    let answers = Answers::default();
    for n in 4..10 {
        append(&mut log, &[entry(3, 1, n)], answers.callback(n));
    }
    append(&mut log, &[], answers.callback(10));
    assert_eq!(entries(&log).len(), 10);
    assert_eq!(answers.seen(), [], "nothing was written to the disk yet");
    engine.flush().unwrap();
    assert_eq!(answers.seen(), (4..=10).map(|n| (n, true)).collect::<Vec<_>>());
}

#[test]
fn after_a_failed_write_every_callback_gets_the_error_in_order() {
    for op in [FaultOp::Write, FaultOp::Sync] {
        let (disk, engine, mut log) = prepared(if op == FaultOp::Write { 2 } else { 1 });
        let answers = Answers::default();
        append(&mut log, &[entry(3, 1, 4)], answers.callback(1));
        engine.flush().unwrap();
        disk.fail(FaultRule::once(op, 1, FaultError::Io));
        append(&mut log, &[entry(3, 1, 5)], answers.callback(2));
        append(&mut log, &[entry(3, 1, 6)], answers.callback(3));
        engine.flush().expect_err("the disk fails");
        // From here on every call fails with the latched error.
        once(log.append(vec![entry(3, 1, 7)], answers.callback(4))).unwrap().expect_err("latched");
        assert_eq!(answers.seen(), [(1, true), (2, false), (3, false), (4, false)]);
        drive(&engine, log.save_vote((9, 9, false))).expect_err("latched");
        drive(&engine, log.truncate(5)).expect_err("latched");
        drive(&engine, log.purge(id(1, 1, 0))).expect_err("latched");
        for (_, result) in answers.take() {
            let Err(error) = result else { continue };
            let latched =
                matches!(error, Error::Engine(EngineError::Log(seawall_wal::Error::Latched { .. })));
            assert!(latched, "{error}");
        }
    }
}

#[test]
fn shutting_down_answers_everyone() {
    // Closing makes everything durable.
    let (_disk, engine, mut log) = prepared(1);
    let answers = Answers::default();
    append(&mut log, &[entry(3, 1, 4)], answers.callback(1));
    engine.close().unwrap();
    assert_eq!(answers.seen(), [(1, true)]);
    once(log.append(vec![entry(3, 1, 5)], answers.callback(2))).unwrap().expect_err("closed");
    assert_eq!(answers.seen(), [(1, true), (2, false)]);
    assert!(matches!(drive(&engine, log.save_vote((3, 1, true))), Err(Error::Engine(EngineError::Closed))));

    // Dropped without closing, as after a panic.
    let (_disk, engine, mut log) = prepared(2);
    let answers = Answers::default();
    append(&mut log, &[entry(3, 1, 4)], answers.callback(1));
    assert_eq!(answers.seen(), []);
    drop((engine, log));
    assert_eq!(answers.seen(), [(1, false)]);
}

#[test]
fn a_full_queue_holds_nobody_up_but_the_threads() {
    let disk = disk(1);
    let (engine, logs, log) = open(&disk, 1).unwrap();
    drop((logs, log));
    let logs = LogStores::new(&engine, LogOptions::default().with_threads(1)).unwrap();
    let mut log: LogWrites<Line> = LogWrites::open(&logs, GROUP).unwrap();
    // The first entry of a group goes to a thread because the group does not exist yet.
    let answers = Answers::default();
    assert!(once(log.append(vec![entry(1, 1, 0)], answers.callback(0))).is_none());
    // The call was abandoned; its work is still done, before the next call.
    block_on(log.append(vec![entry(1, 1, 1)], answers.callback(1))).unwrap();
    assert_eq!(entries(&log).len(), 2);
    engine.flush().unwrap();
    assert_eq!(answers.seen(), [(0, true), (1, true)]);
}

/// Opens a log whose only thread is busy until the sender is dropped, on an engine with a small queue.
fn with_a_busy_thread() -> (Engine, LogStores, LogWrites<Line>, std::sync::mpsc::Sender<()>) {
    let disk = disk(2);
    let mut options = options();
    options.log.queue_bytes = 64 << 10;
    let env = Env {
        disk: disk.process(),
        clock: std::sync::Arc::new(SimClock::new()),
        random: std::sync::Arc::new(SimRandom::new(2)),
        threads: Threads::Stepped,
    };
    let engine = Engine::create_in(env, &options).unwrap();
    let logs = LogStores::new(&engine, LogOptions::default().with_threads(1)).unwrap();
    let mut log: LogWrites<Line> = LogWrites::open(&logs, GROUP).unwrap();
    block_on(log.append(vec![entry(1, 1, 0)], Box::new(|_| {}))).unwrap();
    let mut vote = Box::pin(log.save_vote((1, 1, true)));
    assert!(poll(&mut vote).is_none(), "nothing is durable yet");
    block_on(logs.hands().run(|| Ok(()))).unwrap();
    drive(&engine, vote).unwrap();
    let (gate, opened) = std::sync::mpsc::channel::<()>();
    drop(logs.hands().run(move || Ok(_ = opened.recv())));
    (engine, logs, log, gate)
}

/// Fills the log's queue, so that a call has to wait; a flush empties it.
fn fill_the_queue(engine: &Engine) {
    let mut index = engine.group(1).last_index();
    if index == 0 {
        let mut batch = WriteBatch::new();
        batch.append(1, &[EntryRef { index: 1, term: 1, payload: b"" }]);
        drop(engine.write(&mut batch).unwrap());
        index = 1;
    }
    loop {
        let (mut batch, payload) = (WriteBatch::new(), vec![0; 10_000]);
        index += 1;
        batch.append(1, &[EntryRef { index, term: 1, payload: &payload }]);
        if engine.try_write(&mut batch).unwrap().is_none() {
            return;
        }
    }
}

#[test]
fn a_call_that_was_abandoned_in_the_queue_is_not_overtaken() {
    // Votes: the later one must remain.
    let (engine, logs, mut log, gate) = with_a_busy_thread();
    fill_the_queue(&engine);
    assert!(once(log.save_vote((2, 1, true))).is_none(), "it waits for the thread");
    engine.flush().unwrap();
    let mut second = Box::pin(log.save_vote((3, 1, true)));
    assert!(poll(&mut second).is_none(), "nothing is durable yet");
    drop(gate);
    block_on(logs.hands().run(|| Ok(()))).unwrap();
    drive(&engine, second).unwrap();
    assert_eq!(log.reads().vote(), Some((3, 1, true)));

    // Entries: appended in the order of the calls, and visible to later calls.
    let (engine, logs, mut log, gate) = with_a_busy_thread();
    let answers = Answers::default();
    fill_the_queue(&engine);
    assert!(once(log.append(vec![entry(1, 1, 1)], answers.callback(1))).is_none());
    engine.flush().unwrap();
    assert!(once(log.append(vec![entry(1, 1, 2)], answers.callback(2))).is_none());
    assert!(once(log.append(vec![entry(1, 1, 3)], answers.callback(3))).is_none());
    assert!(once(log.truncate(2)).is_none(), "there will be something to truncate");
    assert!(once(log.save_committed(Some(1))).is_none());
    assert!(once(log.purge(id(1, 1, 0))).is_none());
    drop(gate);
    block_on(logs.hands().run(|| Ok(()))).unwrap();
    engine.flush().unwrap();
    assert_eq!(answers.seen(), [(1, true), (2, true), (3, true)]);
    assert_eq!(entries(&log), [entry(1, 1, 1)]);
    assert_eq!(log.reads().committed(), Some(id(1, 1, 1)));
    assert_eq!(log.reads().ends().purged, Some(id(1, 1, 0)));
}

#[test]
fn an_engine_has_its_logs_once() {
    let disk = disk(1);
    let (engine, logs, log) = open(&disk, 1).unwrap();
    let again = || LogStores::new(&engine, LogOptions::default()).map(drop);
    assert!(matches!(again(), Err(Error::LogsExist)));
    let clone = logs.clone();
    drop(logs);
    assert!(matches!(again(), Err(Error::LogsExist)), "a clone is there");
    drop(clone);
    assert!(matches!(again(), Err(Error::LogsExist)), "a store is there");
    drop(log);
    again().unwrap();
    again().unwrap();
    // Another engine can have its own.
    let (_other, ..) = open(&crate::adapters::openraft::tests::version::disk(2), 2).unwrap();
}

#[test]
fn an_append_larger_than_a_record_becomes_several() {
    let disk = disk(1);
    let (engine, _, mut log) = open(&disk, 1).unwrap();
    let answers = Answers::default();
    let large = |index| (id(1, 1, index), "x".repeat(20_000));
    append(&mut log, &(0..20).map(large).collect::<Vec<_>>(), answers.callback(1));
    let too_large = (id(1, 1, 20), "x".repeat(200_000));
    let refused = once(log.append(vec![too_large], answers.callback(2))).unwrap();
    assert!(matches!(refused, Err(Error::Engine(EngineError::EntryTooLarge { .. }))), "{refused:?}");
    engine.flush().unwrap();
    assert_eq!(answers.seen(), [(1, true), (2, false)]);
    assert_eq!(entries(&log), (0..20).map(large).collect::<Vec<_>>());
    let some = once(log.reads().some_entries(3, 19)).unwrap().unwrap();
    assert_eq!(some, (3..19).map(large).collect::<Vec<_>>(), "the default is a mebibyte");
    drop(log);
    let few = LogStores::new(&engine, LogOptions { threads: 0, read_bytes_max: 50_000 }).unwrap();
    let log: LogWrites<Line> = LogWrites::open(&few, GROUP).unwrap();
    let some = |low, high| once(log.reads().some_entries(low, high)).unwrap().unwrap().len();
    assert_eq!((some(3, 19), some(19, 99), some(5, 5), some(30, 40)), (2, 1, 0, 0));
}

#[test]
fn one_writer_per_group_and_numbers_that_are_for_logs() {
    let disk = disk(1);
    let (_engine, logs, log) = open(&disk, 1).unwrap();
    let again = |group| LogWrites::<Line>::open(&logs, group).map(|_| ());
    assert!(matches!(again(GROUP), Err(Error::AlreadyOpen { group: GROUP })));
    assert!(matches!(again(GROUP | 1 << 63), Err(Error::GroupNumber { .. })));
    assert!(matches!(again((1 << 63) - 1), Err(Error::GroupNumber { .. })));
    again((1 << 63) - 2).unwrap();
    again(GROUP + 1).unwrap();
    drop(log);
    again(GROUP).unwrap();
    assert_eq!(again(GROUP).map_err(|e| e.to_string()), Ok(()), "given back each time");
}

#[test]
fn indexes_at_the_end_of_all_numbers() {
    let disk = disk(1);
    let (engine, _, mut log) = open(&disk, 1).unwrap();
    let last = u64::MAX - 3;
    append(&mut log, &[entry(1, 1, last)], Box::new(|_| {}));
    assert_eq!(log.reads().ends().last, Some(id(1, 1, last)));
    assert_eq!(once(log.reads().entries(last..=u64::MAX)).unwrap().unwrap().len(), 1);
    assert_eq!(once(log.reads().some_entries(last, u64::MAX)).unwrap().unwrap().len(), 1);
    let beyond = once(log.append(vec![entry(1, 1, last + 1)], Box::new(|_| {}))).unwrap();
    assert!(matches!(beyond, Err(Error::IndexRange { .. })));
    assert!(matches!(drive(&engine, log.purge(id(1, 1, u64::MAX))), Err(Error::IndexRange { .. })));
    drive(&engine, log.truncate(u64::MAX)).unwrap();
    assert_eq!(entries(&log).len(), 1);
}

#[test]
fn what_somebody_else_wrote_is_an_error_and_no_panic() {
    let other = |write: &dyn Fn(&mut WriteBatch)| {
        let disk = disk(1);
        let (engine, logs, log) = open(&disk, 1).unwrap();
        drop(log);
        let mut batch = WriteBatch::new();
        write(&mut batch);
        drop(engine.write(&mut batch).unwrap());
        (engine, LogWrites::<Line>::open(&logs, GROUP))
    };
    let payload = codec::encode(&entry(1, 1, 5)).unwrap();
    for bytes in [&b""[..], b"\x00", b"\x01", b"\x01text", &payload[..payload.len() - 1]] {
        let (_engine, opened) =
            other(&|batch| _ = batch.append(GROUP, &[EntryRef { index: 1, term: 1, payload: bytes }]));
        assert!(matches!(opened.map(|_| ()), Err(Error::Entry { group: GROUP, index: 0, .. })), "{bytes:?}");
        let state = GROUP | 1 << 63;
        let (_engine, opened) =
            other(&|batch| _ = batch.append(state, &[EntryRef { index: 1, term: 1, payload: bytes }]));
        assert!(matches!(opened.map(|_| ()), Err(Error::State { group: GROUP, .. })), "{bytes:?}");
    }
    let (_engine, opened) =
        other(&|batch| _ = batch.append(GROUP, &[EntryRef { index: 1, term: 1, payload: &payload }]));
    assert!(matches!(opened.map(|_| ()), Err(Error::Misplaced { index: 0, found: 5, .. })));
    // Entries after the first of their leader are checked when they are read.
    let first = codec::encode(&entry(1, 1, 0)).unwrap();
    let both =
        [EntryRef { index: 1, term: 1, payload: &first }, EntryRef { index: 2, term: 1, payload: &payload }];
    let (_engine, opened) = other(&|batch| _ = batch.append(GROUP, &both));
    let read = once(opened.unwrap().reads().entries(..)).unwrap();
    assert!(matches!(read, Err(Error::Misplaced { index: 1, found: 5, .. })));
    // A purged log id without the purge.
    let stored = codec::encode(&crate::adapters::openraft::log::open::Stored {
        vote: None::<(u64, u64, bool)>,
        purged: Some(id(1, 1, 8)),
    })
    .unwrap();
    let record = [EntryRef { index: 1, term: 1, payload: &stored }];
    let (_engine, opened) = other(&|batch| _ = batch.append(GROUP | 1 << 63, &record));
    assert!(matches!(opened.map(|_| ()), Err(Error::Purged { purged: 8, first: 0, .. })));
}

#[test]
fn committed_goes_forward_and_never_behind_the_end() {
    let (disk, engine, mut log) = prepared(1);
    let committed = |log: &LogWrites<Line>| log.reads().committed();
    for (save, expected) in
        [(Some(0), id(1, 1, 1)), (None, id(1, 1, 1)), (Some(2), id(2, 1, 2)), (Some(99), id(2, 2, 3))]
    {
        drive(&engine, log.save_committed(save)).unwrap();
        assert_eq!(committed(&log), Some(expected), "{save:?}");
    }
    assert_eq!(engine.group(GROUP).hard_state(), HardState { commit: 4, ..HardState::default() });
    let (engine, log) = reopened(&disk, engine, log);
    assert_eq!(committed(&log), Some(id(2, 2, 3)), "a clean close writes it");
    engine.close().unwrap();
}
