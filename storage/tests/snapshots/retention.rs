//! Tests which snapshots and entries of a group are kept, with one, two and four snapshots, after a reopen
//! and with damage; also what is refused, when a snapshot is due, and full disks.

use crate::support;

use seawall::snapshots::snap::{self, Catalog};
use seawall::snapshots::{Error, SnapshotOptions, Snapshots};
use seawall::{ConfState, Engine, EntryRef, Options, WriteBatch};
use seawall_wal::disk::clock::SystemClock;
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimDisk, SimOptions, SimRandom};
use seawall_wal::{Env, Threads};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::*;

/// Writes a log of 85 entries with snapshots at 10, 20, .. 80.
fn eight(setup: Setup) -> Arc<SimDisk> {
    let disk = sim(1);
    let node = setup.open(&disk).unwrap();
    for index in (10..=80).step_by(10) {
        node.append(index, 1, index).unwrap();
        node.take(index).unwrap();
    }
    node.append(85, 1, 85).unwrap();
    disk
}

fn point(node: &Node) -> u64 {
    node.engine.group(GROUP).compaction_point().0
}

#[test]
fn as_many_as_wanted_are_kept_and_the_log_goes_back_to_the_second_newest() {
    for (keep, fall_back, kept, compacted) in [
        (1, true, &[80][..], 79),
        (2, true, &[70, 80], 70),
        (2, false, &[70, 80], 79),
        (4, true, &[50, 60, 70, 80], 70),
    ] {
        let setup = Setup { keep, fall_back, ..SETUP };
        let disk = eight(setup);
        assert_eq!(files(&disk), kept, "{keep} kept");
        let mut node = setup.open(&disk).unwrap();
        assert_eq!(point(&node), compacted, "{keep} kept, {fall_back}");
        assert_eq!(node.check(), 80);
        assert_eq!(files(&disk), kept, "{keep} kept, after a reopen");
        // This is the first snapshot since the reopen. Of the older ones, only the one that was loaded has
        // been verified since then.
        node.append(95, 1, 95).unwrap();
        let taken = node.take(95).unwrap();
        let left = files(&disk);
        assert!(left.ends_with(&[95]) && (keep == 1 || left.contains(&80)), "{left:?} {taken:?}");
        assert_eq!(point(&node), if keep > 1 && fall_back { 80 } else { 94 });
    }
}

#[test]
fn entries_for_slow_followers_stay_by_count_and_by_bytes() {
    // Each payload has 300 bytes.
    for (entries, bytes, compacted) in
        [(4, u64::MAX, 76), (100, 1000, 77), (100, 299, 80), (0, u64::MAX, 80), (100, u64::MAX, 0)]
    {
        let setup = Setup { keep: 1, ..SETUP };
        let disk = sim(1);
        let Node { engine, catalog, .. } = setup.open(&disk).unwrap();
        let limits = setup.snapshots().with_catch_up_entries(entries).with_catch_up_bytes(bytes);
        let (snapshots, start) = Snapshots::open(&engine, GROUP, &catalog, limits, 0).unwrap();
        let node = Node { engine, catalog, snapshots, start };
        node.append(85, 1, 85).unwrap();
        node.take(80).unwrap();
        assert_eq!(point(&node), compacted, "{entries} entries, {bytes} bytes");
    }
}

#[test]
fn a_damaged_one_is_passed_over_as_long_as_the_log_goes_back_far_enough() {
    let setup = Setup { keep: 4, ..SETUP };
    for (damaged, served) in
        [(&[80][..], Some(70)), (&[70], Some(80)), (&[80, 70], None), (&[60, 50], Some(80))]
    {
        let disk = eight(setup);
        for &index in damaged {
            disk.corrupt(&file(index, 1), 3000, |bytes| bytes[0] ^= 1);
        }
        match (setup.open(&disk), served) {
            (Ok(mut node), Some(served)) => {
                assert_eq!(node.check(), served, "{damaged:?}");
                let aside: Vec<u64> = node.start.set_aside.iter().map(|aside| aside.id.index).collect();
                assert_eq!(aside, if served == 70 { &[80][..] } else { &[] });
                assert!(node.start.set_aside.iter().all(|aside| aside.place().is_some()));
            }
            (Err(Error::NoneLeft { group: GROUP, point: 70, newest: 80, damaged: 2 }), None) => {
                // The next open fails, too: no snapshot that was set aside comes back.
                let again = setup.open(&disk).map(|node| node.start.applied);
                assert!(matches!(again, Err(Error::NoneLeft { damaged: 0, .. })), "{again:?}");
            }
            (result, _) => panic!("{damaged:?}: {:?}", result.map(|node| node.start)),
        }
    }
}

#[test]
fn a_log_that_is_whole_needs_no_snapshot() {
    let setup = Setup { catch_up: 1000, ..SETUP };
    let disk = eight(setup);
    for index in [70, 80] {
        disk.corrupt(&file(index, 1), 3000, |bytes| bytes[0] ^= 1);
    }
    let mut node = setup.open(&disk).unwrap();
    assert_eq!((node.check(), node.start.set_aside.len(), point(&node)), (0, 2, 0));
}

#[test]
fn a_state_machine_that_has_more_than_the_snapshot_keeps_it() {
    let disk = eight(SETUP);
    let Node { engine, catalog, .. } = SETUP.open(&disk).unwrap();
    for (applied, loads) in [(0, true), (75, true), (80, false), (83, false)] {
        let (_, start) = Snapshots::open(&engine, GROUP, &catalog, SETUP.snapshots(), applied).unwrap();
        assert_eq!((start.reader.is_some(), start.applied), (loads, applied.max(80)), "{applied}");
    }
}

/// Tests that a file that no marker names is not served, whatever its name says.
#[test]
fn what_the_log_does_not_name_is_not_served() {
    let disk = eight(SETUP);
    {
        let node = SETUP.open(&disk).unwrap();
        for (index, term) in [(85, 1), (82, 9), (999, 9)] {
            let mut writer = node.catalog.write(id(index, term), b"", b"").unwrap();
            writer.append(b"of another life").unwrap();
            writer.finish().unwrap();
        }
    }
    assert_eq!(SETUP.open(&disk).unwrap().check(), 80);
    // A file in place of a named one, with other content, fails the check of its digest.
    disk.remove_file(&file(80, 1));
    {
        let (catalog, _) =
            Catalog::open(Arc::new(Folder::new(disk.process(), "snap-")), &SETUP.catalog()).unwrap();
        let mut writer = catalog.write(id(80, 1), b"", b"").unwrap();
        writer.append(b"of another life").unwrap();
        writer.finish().unwrap();
    }
    assert_eq!(SETUP.open(&disk).unwrap().check(), 70);
}

/// Tests a group with the number of a removed one. The removed group leaves its files, which the new one must
/// not take for its own.
#[test]
fn files_of_an_earlier_group_of_the_same_number_are_replaced() {
    let foreign = |node: &Node, index| {
        let mut writer = node.catalog.write(id(index, 1), b"", b"").unwrap();
        writer.append(b"of another life").unwrap();
        writer.finish().unwrap();
    };
    let disk = sim(1);
    let node = SETUP.open(&disk).unwrap();
    node.append(9, 1, 9).unwrap();
    foreign(&node, 9);
    node.take(9).unwrap();
    drop(node);
    assert_eq!(SETUP.open(&disk).unwrap().check(), 9);

    let peer = SETUP.open(&sim(2)).unwrap();
    peer.append(40, 1, 40).unwrap();
    peer.take(40).unwrap();
    let export = peer.catalog.export(id(40, 1)).unwrap();
    let pieces: Vec<_> = export.pieces(0).unwrap().map(Result::unwrap).collect();
    let node = SETUP.open(&disk).unwrap();
    foreign(&node, 40);
    assert!(!node.snapshots.has(export.offer()).unwrap());
    node.receive(export.offer(), &pieces).unwrap();
    assert!(node.snapshots.has(export.offer()).unwrap());
    assert!(node.snapshots.receive(export.offer()).unwrap().is_none(), "it is here");
    node.snapshots.install(id(40, 1)).unwrap();
    drop(node);
    assert_eq!(SETUP.open(&disk).unwrap().check(), 40);
}

/// Tests a state machine that applies entries again that the damaged snapshot covered. No snapshot is due
/// there.
#[test]
fn none_is_due_below_the_newest_marker() {
    let disk = eight(SETUP);
    disk.corrupt(&file(80, 1), 3000, |bytes| bytes[0] ^= 1);
    let Node { engine, catalog, .. } = SETUP.open(&disk).unwrap();
    let options = SETUP.snapshots().with_entries(1);
    let (snapshots, start) = Snapshots::open(&engine, GROUP, &catalog, options, 0).unwrap();
    assert_eq!(start.applied, 70);
    assert!((70..80).all(|applied| !snapshots.due(applied)) && snapshots.due(80));
    snapshots.take(80, b"", dump(80)).unwrap();
    assert_eq!(files(&disk), [70, 80]);
}

#[test]
fn what_cannot_be_is_refused() {
    let disk = eight(SETUP);
    let node = SETUP.open(&disk).unwrap();
    let refused = |index| node.take(index).expect_err("refused");
    assert!(matches!(refused(80), Error::OutOfDate { newest: 80, .. }));
    assert!(matches!(refused(75), Error::OutOfDate { newest: 80, .. }));
    assert!(matches!(refused(60), Error::Engine(seawall::Error::Compacted { index: 60, .. })));
    assert!(matches!(refused(86), Error::Engine(seawall::Error::Unavailable { index: 86, .. })));
    let content = node.snapshots.take(84, b"", Box::new(|_| Err(std::io::Error::other("no state"))));
    assert!(matches!(content, Err(Error::Content { .. })), "{content:?}");
    let mut batch = WriteBatch::new();
    assert!(matches!(node.snapshots.add_install(id(99, 1), &mut batch), Err(Error::NotHere { .. })));
    assert!(matches!(node.snapshots.add_install(id(80, 1), &mut batch), Err(Error::OutOfDate { .. })));
    let other = snap::SnapshotId { group: 8, index: 99, term: 1 };
    assert!(matches!(node.snapshots.add_install(other, &mut batch), Err(Error::OtherGroup { .. })));
    assert!(batch.is_empty());
    let members = ConfState { voters: vec![1, 2, 3], index: 85, ..ConfState::default() };
    batch.conf_state(GROUP, &members);
    node.engine.write(&mut batch).unwrap().wait().unwrap();
    assert!(matches!(refused(84), Error::MembersAhead { members: 85, .. }));
    // None of the refused calls prevents the next snapshot.
    assert_eq!(node.take(85).unwrap().removed, [id(70, 1)]);
    let Node { engine, catalog, .. } = &node;
    let none = SnapshotOptions::default().with_entries(0);
    assert!(matches!(Snapshots::open(engine, GROUP, catalog, none, 0), Err(Error::OptionOutOfRange(_))));
}

#[test]
fn a_dump_that_panics_is_not_in_the_way_of_the_next() {
    let disk = eight(SETUP);
    let node = SETUP.open(&disk).unwrap();
    let panics = || -> seawall::snapshots::SnapshotSource { Box::new(|_| panic!("a panic on purpose")) };
    let take = || node.snapshots.take(84, b"", panics());
    let panic =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(take)).expect_err("the caller gets the panic");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a panic on purpose"));
    assert!(!node.snapshots.taking());
    node.snapshots.start(84, b"", panics()).unwrap();
    assert!(matches!(node.snapshots.outcome(), Some(Err(Error::Thread { .. }))));
    let taken = node.take(84).expect("nothing is being taken");
    assert_eq!((taken.id, files(&disk).last()), (id(84, 1), Some(&84)));
}

#[test]
fn one_is_due_by_entries_by_bytes_or_because_a_follower_waits() {
    let disk = sim(1);
    let Node { engine, catalog, .. } = SETUP.open(&disk).unwrap();
    let options = SETUP.snapshots().with_entries(10).with_bytes(1000);
    let (snapshots, start) = Snapshots::open(&engine, GROUP, &catalog, options, 0).unwrap();
    let node = Node { engine, catalog, snapshots, start };
    node.append(50, 1, 50).unwrap();
    let due = |index| node.snapshots.due(index);
    assert!(!due(0) && !due(9) && due(10));
    node.snapshots.applied(999);
    assert!(!due(9));
    node.snapshots.applied(1);
    assert!(due(9) && due(1));
    node.take(9).unwrap();
    assert!(!due(9) && !due(18) && due(19));
    // A follower requests a snapshot that is there, and then one that is not.
    assert_eq!(node.snapshots.serve(9).map(|served| served.index()), Some(9));
    assert!(!due(12));
    assert!(node.snapshots.serve(11).is_none());
    assert!(!due(10) && due(11) && due(12));
    node.take(12).unwrap();
    assert!(!due(13));
    assert_eq!(node.snapshots.serve(11).map(|served| served.index()), Some(12));
    // A failed snapshot is not tried again by itself. A follower that waits requests it again.
    assert!(node.snapshots.serve(13).is_none() && due(13));
    disk.fail(FaultRule::once(FaultOp::Create, 1, FaultError::Full));
    assert!(node.take(13).unwrap_err().is_no_space());
    assert!(!due(14) && node.snapshots.serve(13).is_none() && due(14));
}

#[test]
fn a_full_disk_leaves_the_old_one_and_the_next_try_works() {
    for nth in 1.. {
        let disk = eight(SETUP);
        let mut node = SETUP.open(&disk).unwrap();
        let writes =
            FaultRule::once(FaultOp::Write, nth, FaultError::Full).on(&file(85, 1).replace(".snap", ".new"));
        disk.fail(writes);
        let taken = node.take(85);
        if taken.is_ok() {
            assert!(nth > 2, "no write failed");
            break;
        }
        assert!(taken.unwrap_err().is_no_space());
        assert_eq!(node.check(), 80);
        assert_eq!(files(&disk), [70, 80]);
        assert!(disk.names().iter().all(|name| !name.ends_with(".new")));
        node.take(85).unwrap();
        assert_eq!(files(&disk), [80, 85]);
    }
}

/// Tests a full log whose snapshots are on another disk with space: taking a snapshot frees the log.
#[test]
fn a_full_log_is_freed_by_a_snapshot() {
    let (logs, files) = (SimDisk::new(1, SimOptions::default()), sim(2));
    let mut options = Options::default().with_slack_bytes(0);
    options.log.segment_bytes = 64 << 10;
    // The engine has threads: one of them makes segments of the files that become free.
    let env = Env {
        disk: logs.process(),
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SimRandom::new(1)),
        threads: Threads::Spawned,
    };
    let engine = Engine::create_in(env, &options).unwrap();
    let (catalog, _) = Catalog::open(files.process(), &Setup { keep: 1, ..SETUP }.catalog()).unwrap();
    let (snapshots, _) = Snapshots::open(&engine, GROUP, &catalog, SETUP.snapshots(), 0).unwrap();
    let mut batch = WriteBatch::new();
    let mut append = |bytes: usize| {
        let index = engine.group(GROUP).last_index() + 1;
        batch.append(GROUP, &[EntryRef { index, term: 1, payload: &vec![1; bytes] }]);
        engine.write(&mut batch).map(drop).inspect_err(|_| batch.clear())
    };
    for _ in 0..30 {
        append(5000).unwrap();
        engine.flush().unwrap();
    }
    logs.set_capacity(Some(0));
    while append(5000).is_ok() {}
    while append(1).is_ok() {}
    let last = engine.group(GROUP).last_index();
    assert!(last > 5, "{last}");
    snapshots.take(last, b"", dump(last)).unwrap();
    assert_eq!(engine.group(GROUP).compaction_point().0, last - 1);
    let end = Instant::now() + Duration::from_secs(60);
    while append(5000).is_err() {
        assert!(Instant::now() < end, "the log got no space back");
        std::thread::yield_now();
    }
}

#[test]
fn one_is_taken_in_the_background_and_cancelled_when_nobody_wants_it() {
    let dir = tempfile::TempDir::new().unwrap();
    let engine = Engine::create(dir.path().join("log"), &Options::default()).unwrap();
    let (catalog, _) = Catalog::open_dir(&dir.path().join("snapshots"), &SETUP.catalog()).unwrap();
    let options = SETUP.snapshots().with_background(true);
    let (snapshots, start) = Snapshots::open(&engine, GROUP, &catalog, options, 0).unwrap();
    let node = Node { engine, catalog, snapshots, start };
    node.append(9, 1, 9).unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let slow: seawall::snapshots::SnapshotSource = Box::new(move |to| {
        let _ = wait.recv();
        to.write_all(&state(5))
    });
    node.snapshots.start(5, b"", slow).unwrap();
    assert!(node.snapshots.taking() && node.snapshots.outcome().is_none());
    assert!(matches!(node.take(6), Err(Error::Busy { group: GROUP })));
    assert!(!node.snapshots.due(u64::MAX));
    go.send(()).unwrap();
    node.snapshots.wait();
    assert_eq!(node.snapshots.outcome().expect("ended").expect("taken").id, id(5, 1));
    assert!(node.snapshots.outcome().is_none());

    let panics: seawall::snapshots::SnapshotSource = Box::new(|_| std::panic::panic_any(7u8));
    node.snapshots.start(6, b"", panics).unwrap();
    node.snapshots.wait();
    assert!(matches!(node.snapshots.outcome(), Some(Err(Error::Thread { .. }))));

    let endless: seawall::snapshots::SnapshotSource = Box::new(|to| {
        loop {
            to.write_all(&[7; 4096])?;
        }
    });
    node.snapshots.start(7, b"", endless).unwrap();
    let Node { snapshots, catalog, engine, .. } = node;
    drop(snapshots);
    assert_eq!(catalog.snapshots(GROUP), [id(5, 1)]);
    engine.close().unwrap();
    let left = std::fs::read_dir(dir.path().join("snapshots")).unwrap().count();
    assert_eq!(left, 2, "LOCK and one snapshot");
}

/// Tests a thousand groups in one process, whose snapshots wait for each other instead of taking a thread
/// each.
#[test]
fn snapshots_of_a_thousand_groups_share_two_threads() {
    const GROUPS: u64 = 1000;
    let disk = sim(2);
    let log = SimDisk::new(1, SimOptions::default());
    let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SimRandom::new(1)));
    let env = Env { disk: log.process(), clock, random, threads: Threads::Stepped };
    let engine = Engine::create_in(env, &Options::default()).unwrap();
    let (catalog, _) = Catalog::open(disk.process(), &SETUP.catalog()).unwrap();
    let mut batch = WriteBatch::new();
    for group in 1..=GROUPS {
        batch.append(group, &[EntryRef { index: 1, term: 1, payload: b"x" }]);
        batch.hard_state(group, seawall::HardState { term: 1, vote: 1, commit: 1 });
    }
    engine.write(&mut batch).unwrap().wait().unwrap();
    let options = SETUP.snapshots().with_background(true).with_entries(1);
    let open = |group| Snapshots::open(&engine, group, &catalog, options, 0).unwrap().0;
    let groups: Vec<Snapshots> = (1..=GROUPS).map(open).collect();
    assert!(groups[0].due(1));
    // Each dump records its thread and waits until the gate is opened.
    let gate = Arc::new((std::sync::Mutex::new(false), std::sync::Condvar::new()));
    let threads = Arc::new(std::sync::Mutex::new(std::collections::HashSet::new()));
    let (began, begun) = std::sync::mpsc::channel();
    for group in &groups {
        let (gate, threads, began) = (Arc::clone(&gate), Arc::clone(&threads), began.clone());
        let dump: seawall::snapshots::SnapshotSource = Box::new(move |to| {
            threads.lock().unwrap().insert(std::thread::current().id());
            let _ = began.send(());
            drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
            to.write_all(b"state")
        });
        group.start(1, b"", dump).unwrap();
    }
    // Both threads write a dump, and no other group starts one.
    (0..2).for_each(|_| begun.recv().unwrap());
    let snapshot_threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let name =
            |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        tasks.map(|task| name(task.unwrap())).filter(|name| name.trim() == "seawall-snap").count()
    };
    // Other tests of this program may take snapshots meanwhile, two at a time.
    assert!((2..10).contains(&snapshot_threads()), "{} threads", snapshot_threads());
    let late = open(GROUPS);
    assert!(!late.due(1));
    // Dropping the last groups cancels their snapshots, and waits for none of the others.
    let mut groups = groups;
    groups.truncate(900);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    for group in &groups {
        group.wait();
        assert_eq!(group.outcome().expect("it has ended").expect("taken").id.group, group.group());
    }
    assert_eq!(threads.lock().unwrap().len(), 2);
    assert_eq!(catalog.snapshots(900).len() + catalog.snapshots(901).len(), 1);
    // Waits until the threads have skipped the cancelled snapshots.
    while !late.due(1) {
        std::thread::yield_now();
    }
}
