//! Tests how the pump receives and installs snapshots, on simulated disks that write only when they are told
//! to, also when a crash or a full disk interrupts it.

mod members;
mod node;
mod take;

use raft::eraftpb::{self, MessageType};
use seawall::raft_rs::{Error, Outcome, SnapshotFault};
use seawall::snapshots::snap::Offer;
use seawall_wal::Threads;
use seawall_wal::disk::sim::{SimDisk, SimOptions};

use crate::snapshots::node::{ACK, Node, appends, lazy, message, snapshot};
use crate::support::{GROUP, sim};

#[test]
fn a_snapshot_is_fetched_first_then_installed_then_restored_then_acknowledged() {
    let (leaders, pieces) = snapshot(40, 3);
    let mut node = Node::new(lazy());
    node.pump.step(appends(2, 0, 1, 5, 2)).unwrap();
    node.flush();
    assert_eq!(node.pump.host_mut().take(), [(ACK, 5)]);
    node.pump.step(leaders).unwrap();
    assert_eq!(node.poll().take(), [], "the core has not seen it");
    let again = node.fetch(&pieces);
    node.pump.step(again).unwrap();
    node.poll();
    // The log has the snapshot and reads show it, but it is neither acknowledged nor restored.
    assert_eq!(node.engine.group(GROUP).compaction_point(), (40, 3));
    assert_eq!((node.pump.in_flight(), &node.pump.host().restored[..]), (1, &[][..]));
    assert_eq!(node.pump.host_mut().take(), []);
    assert_eq!(node.pump.applied(), 2);
    node.flush();
    assert_eq!((node.pump.applied(), &node.pump.host().restored[..]), (40, &[40][..]));
    assert_eq!(node.pump.host_mut().take(), [(ACK, 40)]);
    // The log continues after the snapshot.
    node.pump.step(appends(3, 3, 41, 45, 45)).unwrap();
    node.flush();
    assert_eq!(node.flush().applied, [1, 2, 41, 42, 43, 44, 45]);
    let mut node = node.crash();
    assert_eq!((node.pump.applied(), &node.pump.host().restored[..]), (40, &[40][..]));
    assert_eq!(node.engine.group(GROUP).conf_state().unwrap().voters, [1, 2, 3]);
    node.pump.step(appends(3, 3, 46, 46, 46)).unwrap();
    node.flush();
    assert_eq!(node.flush().applied.last(), Some(&46));
}

#[test]
fn entries_behind_a_snapshot_are_in_its_record() {
    let mut node = Node::new(lazy());
    node.receive(snapshot(40, 3));
    node.pump.step(appends(3, 3, 41, 44, 43)).unwrap();
    node.poll();
    assert_eq!(node.pump.in_flight(), 1);
    node.flush();
    node.flush();
    assert_eq!(node.pump.host_mut().take(), [(ACK, 40), (ACK, 44)]);
    let host = node.pump.host();
    assert_eq!((&host.restored[..], &host.applied[..]), (&[40][..], &[41, 42, 43][..]));
}

#[test]
fn a_record_that_is_too_small_for_all_of_it_has_the_snapshot_in_the_first() {
    let mut node = Node::new(lazy());
    node.receive(snapshot(40, 3));
    let mut large = appends(3, 3, 41, 60, 60);
    large.mut_entries().iter_mut().for_each(|entry| entry.data = vec![7; 30_000].into());
    node.pump.step(large).unwrap();
    node.flush();
    node.flush();
    assert_eq!((node.pump.applied(), node.engine.group(GROUP).last_index()), (60, 60));
    let node = node.crash();
    assert_eq!(node.engine.group(GROUP).last_index(), 60);
}

/// Tests a log that has space for the snapshot but not for the entries after it. The second try must not
/// begin with the snapshot, which is out of date by then.
#[test]
fn a_split_record_with_a_snapshot_that_meets_a_full_log_goes_on_behind_it() {
    /// Last index: the entries do not fit into the segments that are ready.
    const LAST: u64 = 440;
    let disks = [SimDisk::new(1, SimOptions::default()), sim(2)];
    // The engine has threads: one of them tries again when there is space.
    let mut node = Node::open(disks, lazy(), Threads::Spawned);
    node.receive(snapshot(40, 3));
    let mut large = appends(3, 3, 41, LAST, LAST);
    large.mut_entries().iter_mut().for_each(|entry| entry.data = vec![7; 8000].into());
    node.pump.step(large).unwrap();
    // Waits for spares, so that the first record finds a segment that is ready.
    let ready = |node: &Node| node.engine.stats().unwrap().log.spares_zeroed;
    while ready(&node) < 2 {
        std::thread::yield_now();
    }
    node.disks[0].set_capacity(Some(0));
    assert!(node.pump.poll().unwrap().is_stalled());
    let group = node.engine.group(GROUP);
    assert_eq!(group.compaction_point(), (40, 3), "the snapshot is in the log");
    assert!((40..LAST).contains(&group.last_index()), "{} is the last entry", group.last_index());
    assert!(node.pump.poll().unwrap().is_stalled());
    node.disks[0].set_capacity(None);
    while node.pump.wait(std::time::Duration::from_millis(5)).unwrap().is_stalled() {}
    for _ in 0..400 {
        node.engine.flush().unwrap();
        _ = node.pump.wait(std::time::Duration::from_millis(5)).unwrap();
        if node.pump.applied() == LAST {
            break;
        }
    }
    assert_eq!((node.pump.applied(), &node.pump.host().restored[..]), (LAST, &[40][..]));
    assert_eq!(node.pump.host().applied, (41..=LAST).collect::<Vec<_>>());
    let node = node.crash();
    assert_eq!(node.engine.group(GROUP).last_index(), LAST);
}

/// Tests that the core is not told again of changes of the members that a snapshot already contains.
#[test]
fn a_snapshot_takes_the_place_of_changes_of_the_members_that_wait() {
    let mut node = Node::new(lazy());
    let mut append = appends(2, 0, 1, 5, 0);
    for at in [1, 2] {
        let mut change = eraftpb::ConfChange { node_id: 10 + at as u64, ..Default::default() };
        change.set_change_type(eraftpb::ConfChangeType::AddLearnerNode);
        let entry = &mut append.mut_entries()[at];
        entry.set_entry_type(eraftpb::EntryType::EntryConfChange);
        entry.data = protobuf::Message::write_to_bytes(&change).unwrap().into();
    }
    node.pump.step(append).unwrap();
    node.flush();
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2);
    heartbeat.commit = 5;
    node.pump.step(heartbeat).unwrap();
    // The first change is in flight, and the second waits for it.
    assert_eq!((node.poll().applied.clone(), node.pump.in_flight()), (vec![1], 1));
    node.receive(snapshot(40, 3));
    node.flush();
    node.flush();
    assert_eq!((&node.pump.host().restored[..], &node.pump.host().applied[..]), (&[40][..], &[1][..]));
    let conf = node.engine.group(GROUP).conf_state().unwrap();
    assert_eq!((node.pump.applied(), conf.learners.len()), (40, 0));
    assert_eq!(node.pump.raft().prs().conf().learners().iter().count(), 0);
}

#[test]
fn of_several_in_flight_the_newest_is_restored() {
    let mut node = Node::new(lazy());
    for (index, term) in [(10, 1), (20, 1), (30, 2)] {
        node.receive(snapshot(index, term));
        node.poll();
    }
    assert_eq!((node.pump.in_flight(), &node.pump.host().restored[..]), (3, &[][..]));
    node.flush();
    assert_eq!(node.pump.host_mut().take(), [(ACK, 10), (ACK, 20), (ACK, 30)]);
    assert_eq!((node.pump.applied(), &node.pump.host().restored[..]), (30, &[30][..]));
    let node = node.crash();
    assert_eq!(node.pump.applied(), 30);
}

#[test]
fn a_crash_before_it_is_durable_leaves_what_was() {
    let (leaders, pieces) = snapshot(40, 3);
    let mut node = Node::new(lazy());
    node.pump.step(appends(2, 0, 1, 5, 2)).unwrap();
    node.flush();
    node.pump.step(leaders).unwrap();
    let again = node.fetch(&pieces);
    node.pump.step(again.clone()).unwrap();
    node.poll();
    let mut node = node.crash();
    assert_eq!((node.pump.applied(), node.engine.group(GROUP).last_index()), (0, 5));
    // The snapshot was received before the crash, so nothing has to be fetched.
    let offer = Offer::decode(&again.get_snapshot().data).unwrap();
    assert!(node.snapshots.receive(&offer).unwrap().is_none());
    node.pump.step(again).unwrap();
    assert_eq!(node.flush().restored, [40]);
}

#[test]
fn what_is_not_needed_is_not_fetched() {
    let mut node = Node::new(lazy());
    node.pump.step(appends(2, 0, 1, 9, 5)).unwrap();
    node.flush();
    node.flush();
    node.pump.host_mut().take();
    // The first is committed already. The second is in the log, so that only the commit index moves.
    for (index, term, acknowledged) in [(4, 2, Some(5)), (8, 2, Some(8))] {
        let (mut leaders, _) = snapshot(index, term);
        leaders.term = 2;
        node.pump.step(leaders).unwrap();
        node.flush();
        assert_eq!(node.flush().take(), Vec::from_iter(acknowledged.map(|index| (ACK, index))));
        assert!(node.pump.host().offered.is_empty());
    }
    assert_eq!(node.pump.applied(), 8);
    let (mut old, _) = snapshot(40, 1);
    old.term = 1;
    node.pump.step(old).unwrap();
    assert!(node.pump.host().offered.is_empty() && node.pump.host().restored.is_empty());
}

#[test]
fn a_message_that_is_not_sound_is_refused_before_the_core_sees_it() {
    let (good, pieces) = snapshot(40, 3);
    let mut node = Node::new(lazy());
    let mut refuses = |change: &dyn Fn(&mut eraftpb::Snapshot)| {
        let mut bad = good.clone();
        change(bad.mut_snapshot());
        match node.pump.step(bad) {
            Err(Error::SnapshotMessage { from: 2, fault }) => fault,
            other => panic!("{other:?}"),
        }
    };
    for (index, term) in [(0, 3), (u64::MAX, 3), (40, 0), (40, 4)] {
        let fault = refuses(&|bad| (bad.mut_metadata().index, bad.mut_metadata().term) = (index, term));
        assert_eq!(fault, SnapshotFault::Entry { index, term });
    }
    for (index, term) in [(41, 3), (40, 2)] {
        let fault = refuses(&|bad| (bad.mut_metadata().index, bad.mut_metadata().term) = (index, term));
        assert_eq!(fault, SnapshotFault::Another);
    }
    let of = |lists: [&[u64]; 4], auto_leave| {
        let [voters, learners, voters_outgoing, learners_next] = lists.map(<[u64]>::to_vec);
        let rest = eraftpb::ConfState::default();
        eraftpb::ConfState { voters, learners, voters_outgoing, learners_next, auto_leave, ..rest }
    };
    for bad in [
        of([&[], &[1], &[], &[]], false),
        of([&[1, 1], &[], &[], &[]], false),
        of([&[0, 1], &[], &[], &[]], false),
        of([&[1], &[1], &[], &[]], false),
        of([&[1], &[2], &[2], &[]], false),
        of([&[1], &[], &[2], &[3]], false),
        of([&[1, 2], &[], &[2], &[2]], false),
        of([&[1], &[], &[], &[]], true),
    ] {
        let fault = refuses(&|message| message.mut_metadata().set_conf_state(bad.clone()));
        assert_eq!(fault, SnapshotFault::Members, "{bad:?}");
    }
    for len in 0..112 {
        let fault = refuses(&|bad| bad.data.truncate(len));
        assert!(matches!(fault, SnapshotFault::Offer(_)), "{len}: {fault}");
    }
    for bit in 0..112 * 8 {
        refuses(&|bad| {
            let mut bytes = bad.data.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bad.data = bytes.into();
        });
    }
    // These members are valid, but not those in the snapshot. The pump finds out when the snapshot is here.
    node.pump.step(good.clone()).unwrap();
    let again = node.fetch(&pieces);
    let mut other = good;
    other.mut_snapshot().mut_metadata().set_conf_state(of([&[1, 2], &[], &[], &[]], false));
    let fault = node.pump.step(other);
    assert!(matches!(fault, Err(Error::SnapshotMessage { fault: SnapshotFault::Members, .. })), "{fault:?}");
    node.pump.step(again).unwrap();
    assert_eq!(node.flush().restored, [40]);
}

#[test]
fn a_full_log_holds_an_installation_up_and_no_more() {
    let (leaders, pieces) = snapshot(400, 3);
    let disks = [SimDisk::new(1, SimOptions::default()), sim(2)];
    // The engine has threads: one of them tries again when there is space.
    let mut node = Node::open(disks, lazy(), Threads::Spawned);
    node.disks[0].set_capacity(Some(0));
    let mut next = 1;
    let full = loop {
        let mut append = appends(1, 1.min(next - 1), next, next, 0);
        append.mut_entries()[0].data = vec![7; 100_000].into();
        node.pump.step(append).unwrap();
        if let Outcome::Stalled(full) = node.pump.poll().unwrap() {
            break full;
        }
        next += 1;
    };
    assert!(full.is_no_space(), "{full}");
    // The pump writes the Ready that waits, then the Ready of the snapshot.
    node.disks[0].set_capacity(None);
    while node.pump.poll().unwrap().is_stalled() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    node.disks[0].set_capacity(Some(0));
    loop {
        next += 1;
        let mut append = appends(1, 1, next, next, 0);
        append.mut_entries()[0].data = vec![7; 20_000].into();
        node.pump.step(append).unwrap();
        if node.pump.poll().unwrap().is_stalled() {
            break;
        }
    }
    node.disks[0].set_capacity(None);
    while node.pump.step(leaders.clone()).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let again = node.fetch(&pieces);
    node.pump.step(again).unwrap();
    for _ in 0..400 {
        let _ = node.pump.wait(std::time::Duration::from_millis(5));
        if node.pump.applied() == 400 {
            break;
        }
    }
    assert_eq!((node.pump.applied(), &node.pump.host().restored[..]), (400, &[400][..]));
}
