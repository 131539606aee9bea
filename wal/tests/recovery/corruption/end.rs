//! Rows 6, 10, 11, 13 and 16 of the matrix: the end of the log is torn or rotten, or other bytes follow it.

use super::log::{BLOCK, Due, Log, Logs, flip, name};
use super::media::Place;
use super::table::{Found, Table};
use crate::harness::{ids, record, stepped};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::inspect::{DamageKind, DropReason, GroupHeader, GroupKind};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Backend, Durability, Error, Lsn, Options, UnexplainedTail, Wal};

pub fn row_6_the_last_group_is_half_written(logs: &Logs, table: &mut Table) {
    let (open, closed) = (logs.killed(), logs.closed());
    for tail in 1..8 {
        // Nothing was issued after the group, so it was never known to be durable. Its place held zeros
        // before, or old bytes.
        let damage = move |log: &Log| {
            let old = if log.kind.stale { 0xEE } else { 0 };
            log.damage(199, |b| b[BLOCK - tail * 512..].fill(old));
        };
        let what = format!("the last {tail} sectors are missing");
        let row = (6, "the last group half written");
        open.case(table, row, &what, &damage, Due::Kept(199, &[DropReason::Torn]));
        let row = (6, "the last group half there, below a mark");
        closed.case(table, row, &what, &damage, Due::Refusal(closed.lsn(199)));
    }
    // The sector with the group's header was not written.
    let damage = |log: &Log| log.damage(199, |b| b[..512].fill(0));
    open.case(table, (6, "the last group without its head"), "", &damage, Due::Kept(199, &[]));
}

pub fn row_10_bytes_of_another_incarnation(logs: &Logs, table: &mut Table) {
    let log = logs.closed();
    // A group of the same log, for this position, encoded with another file's salt.
    let found = log.look().unwrap();
    let end = found.verdict.as_ref().unwrap().end;
    let scan = found.segments.iter().find(|s| s.sequence == end.segment()).unwrap();
    let salt = scan.header.unwrap().salt;
    let mut group = log.group(100);
    let header = GroupHeader {
        kind: GroupKind::Data,
        lsn: end,
        watermark: end,
        previous_end: scan.heads.last().unwrap().previous_end,
        first_live: 1,
        record_count: 1,
        wall_clock_ms: 0,
        body_bytes: 4004 - 64,
    };
    header.encode(salt ^ 1, &mut group);
    let plant = |log: &Log| {
        let at = end.offset() as usize;
        log.disk.corrupt(&name(end.segment()), at, |b| b[..BLOCK].copy_from_slice(&group));
    };
    let row = (10, "a group of an earlier file, at the end");
    if logs.kind.stale {
        log.case(table, row, "", &plant, Due::Kept(200, &[]));
        return;
    }
    // No crash leaves this in a file prepared with zeros.
    plant(&log);
    suspect(&log, end, table, row, "as before");
    let (wal, _) = log.open_with(UnexplainedTail::Drop).unwrap();
    assert_eq!(ids(&wal), (0..200).collect::<Vec<_>>());
    drop(wal);
    log.keeps("dropped before", 200, &[]);
}

/// Asserts that open refuses the group at `at` as suspect, and that inspection names the same damage. Notes
/// this in the table, with what a reader of the log that was open before found.
#[track_caller]
fn suspect(log: &Log, at: Lsn, table: &mut Table, row: (u8, &str), read: &'static str) {
    let Err(Error::Corrupt { damage, .. }) = log.open_with(UnexplainedTail::Refuse) else { panic!("opened") };
    assert_eq!((damage[0].from, damage[0].what), (at, DamageKind::Suspect));
    assert_eq!(log.look().unwrap().verdict.unwrap_err()[..], damage[..]);
    let found = Found { open: "error (suspect)", read, verify: "error", ..Found::NOT_ASKED };
    table.note(row.0, row.1, log.kind, found);
    log.disk.crash();
}

/// A log with two groups in flight at a crash, of which the first is torn.
fn torn_before_whole(logs: &Logs) -> Log {
    let options = logs.kind.options();
    logs.killed_after(|_, disk| {
        let options = options.clone().with_backend(Backend::Posix);
        let (wal, _) = Wal::open_in(stepped(disk), &options).unwrap();
        let stepper = Stepper::new(&wal);
        let tickets = [200, 201, 202].map(|id| wal.append(&record(id, 3900), Durability::Sync).unwrap());
        let ios: Vec<_> = std::iter::from_fn(|| stepper.issue()).collect();
        assert!(ios.len() >= 2, "{}", ios.len());
        ios.iter().take(2).for_each(|io| stepper.abandon(io));
        let first = tickets[0].lsn();
        drop((ios, tickets, wal));
        disk.kill();
        let offset = (first.offset() & !4095) as usize;
        let mut bytes = disk.read_file(&name(first.segment()));
        bytes[offset + 3 * 512..offset + 4 * 512].fill(0);
        disk.write_file(&name(first.segment()), &bytes);
    })
}

pub fn row_11_a_torn_group_before_a_whole_one(logs: &Logs, table: &mut Table) {
    let log = torn_before_whole(logs);
    let (row, what) = (11, "a torn group before a whole one");
    assert!(log.look().unwrap().verdict.is_ok());
    log.keeps(what, 200, &[DropReason::Torn, DropReason::BehindTorn]);
    table.note(
        row,
        what,
        logs.kind,
        Found { open: "dropped, reported", read: "-", verify: "sound", ..Found::NOT_ASKED },
    );
    // The whole group is at a place that the log would have reached. No later open has read it.
    table.note(
        10,
        "a dropped group, whole, at its place",
        logs.kind,
        Found { open: "as before", read: "as before", verify: "sound", ..Found::NOT_ASKED },
    );
}

pub fn row_13_a_crash_during_recovery(logs: &Logs, table: &mut Table) {
    let log = torn_before_whole(logs);
    // Each round cuts at three changes, one after the other. On a directory, rounds begin only at every third
    // change.
    let step = if logs.kind.place == Place::Simulated { 1 } else { 3 };
    for cut in (1..60).step_by(step) {
        let copy = log.copy();
        let mut reached = false;
        for again in 0..3 {
            let (opened, died) = copy.disk.open_and_die(cut + again, &logs.kind.options());
            reached |= died;
            assert!(opened.is_ok() || died, "cut at {cut}: {opened:?}");
        }
        if !reached {
            assert!(cut > 2, "an open changes more than that");
            break;
        }
        let (wal, _) =
            copy.open_with(UnexplainedTail::Refuse).unwrap_or_else(|e| panic!("cut at {cut}: {e}"));
        assert_eq!(ids(&wal), (0..200).collect::<Vec<_>>(), "cut at {cut}");
        let found =
            Found { open: "dropped, reported", read: "as before", verify: "sound", ..Found::NOT_ASKED };
        table.note(13, "a crash during recovery, and again", logs.kind, found);
    }
}

pub fn row_16_rot_of_what_was_acknowledged_last(logs: &Logs, table: &mut Table) {
    let (open, closed) = (logs.killed(), logs.closed());
    let rot = |log: &Log| log.damage(199, |b| flip(b, 2000 * 8));
    closed.case(table, (16, "the last group rots, below a mark"), "", &rot, Due::Refusal(closed.lsn(199)));
    let row = (16, "the last group rots, nothing after it");
    if logs.kind.stale {
        // A torn write may leave any bytes in a recycled file, so one node cannot decide whether the group
        // was durable.
        open.case(table, row, "", &rot, Due::Kept(199, &[DropReason::Torn]));
        return;
    }
    // The padding is shorter than a sector, so no sector of the group is zero, and the damage cannot be a
    // torn write.
    rot(&open);
    suspect(&open, open.lsn(199), table, row, "error");
    let (wal, report) = open.open_with(UnexplainedTail::Drop).unwrap();
    assert_eq!(ids(&wal), (0..199).collect::<Vec<_>>());
    assert!(report.dropped.iter().any(|d| d.from == open.lsn(199) && d.why == DropReason::Suspect));
    drop(wal);
    open.disk.crash();
    open.keeps("dropped before", 199, &[DropReason::Void]);
    // With a sector of zeros it could be a torn write.
    let zeros = |log: &Log| log.damage(199, |b| b[1024..1536].fill(0));
    let row = (16, "the same with a sector of zeros");
    logs.killed().case(table, row, "", &zeros, Due::Kept(199, &[DropReason::Torn]));
}

/// Nothing else in the segment shows that there was a group.
#[test]
fn the_only_group_of_a_segment_rots() {
    let disk = SimDisk::new(5, SimOptions::default());
    let options = Options::default().with_segment_bytes(24 << 10);
    let wal = Wal::create_in(stepped(&disk), &options).unwrap();
    let append = |id| {
        let ticket = wal.append(&record(id, 3900), Durability::Sync).unwrap();
        ticket.wait().unwrap();
        ticket.lsn().segment()
    };
    let last = (0..).find(|&id| append(id) == 2).unwrap();
    drop(wal);
    disk.kill();
    disk.corrupt(&name(2), BLOCK, |b| flip(b, 20 * 8));
    let at = Lsn::new(2, u32::try_from(BLOCK).unwrap());
    let open = |suspect| Wal::open_in(stepped(&disk), &options.clone().with_unexplained_tail(suspect));
    let Err(Error::Corrupt { damage, .. }) = open(UnexplainedTail::Refuse) else { panic!("opened") };
    assert_eq!((damage[0].from, damage[0].what), (at, DamageKind::Suspect));
    disk.crash();
    let (wal, report) = open(UnexplainedTail::Drop).unwrap();
    assert_eq!(
        report.dropped.iter().map(|d| (d.from, d.why)).collect::<Vec<_>>(),
        [(at, DropReason::Suspect)]
    );
    assert_eq!(ids(&wal), (0..last).collect::<Vec<_>>());
}
