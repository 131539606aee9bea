//! Rows 6 to 9, 15, 18 and 19 of the matrix: damage to whole files and to their headers.

use super::log::{BLOCK, Due, Log, Logs, name};
use super::media::Place;
use super::table::Table;
use crate::harness::{ids, stepped};
use seawall_wal::disk::sim::{SimDisk, SimOptions, SimRandom};
use seawall_wal::inspect::{Closed, SegmentHeader};
use seawall_wal::{Durability, Error, Lsn, Options, UnexplainedTail, Wal};
use std::sync::Arc;

const BLOCK_BYTES: u32 = 4096;

/// Cuts a segment to various lengths, which a crash cannot do to a preallocated file.
pub fn rows_6_and_7_a_file_is_cut_short_or_gone(logs: &Logs, table: &mut Table) {
    for close in [true, false] {
        let log = if close { logs.closed() } else { logs.killed() };
        let (tail, file) = (log.tail(), name(log.tail()));
        let whole = log.disk.read_file(&file).len();
        let due = Due::Refusal(Lsn::new(tail, 0));
        for len in [1, 64, 511, 4095, 4096, 8192, log.lsn(199).offset() as usize, whole - 1, whole - BLOCK] {
            let cut = |log: &Log| log.disk.truncate(&file, len);
            log.case(table, (6, "the tail file cut short"), &format!("to {len}"), &cut, due);
        }
        log.case(table, (7, "the tail file emptied"), "", &|log| log.disk.truncate(&file, 0), due);
        log.case(table, (7, "the tail file deleted"), "", &|log| log.disk.remove_file(&file), due);
        let longer = |log: &Log| log.disk.truncate(&file, whole + BLOCK);
        log.case(table, (7, "the tail file made longer"), "", &longer, due);
    }
}

pub fn row_8_a_segment_is_missing(logs: &Logs, table: &mut Table) {
    let log = logs.closed();
    for (n, &segment) in log.live.iter().enumerate() {
        let due = Due::Refusal(Lsn::new(segment, 0));
        let what = match n {
            0 => "the first live segment",
            n if n + 1 == log.live.len() => "the last live segment",
            _ => "a segment in the middle",
        };
        let file = name(segment);
        log.case(table, (8, what), "missing", &|log| log.disk.remove_file(&file), due);
        log.case(table, (8, what), "cut", &|log| log.disk.truncate(&file, 8192), due);
    }
    // Spares hold no records. A missing spare is noticed if it leaves a gap between files. The last one
    // leaves none, and its loss does no harm.
    let top = log.headers.last().unwrap().0;
    for spare in log.tail() + 1..=top {
        let gone = |log: &Log| log.disk.remove_file(&name(spare));
        let (what, due) = match spare == top {
            true => ("the last spare", Due::Kept(200, &[])),
            false => ("a spare with another after it", Due::AnyRefusal),
        };
        log.case(table, (8, what), "", &gone, due);
    }
}

pub fn row_9_copies_of_segments(logs: &Logs, table: &mut Table) {
    let log = logs.closed();
    let source = log.live[log.live.len().min(2) - 1];
    let bytes = log.disk.read_file(&name(source));
    let foreign = |log: &Log| {
        log.disk.write_file(&format!("{}.orig", name(source)), &bytes);
        log.disk.write_file("0000000A.wal", &bytes);
    };
    log.case(table, (9, "copies under foreign names"), "", &foreign, Due::Kept(200, &[]));
    let copy = log.copy();
    foreign(&copy);
    drop(copy.open_with(UnexplainedTail::Refuse).unwrap());
    assert_eq!(copy.disk.read_file("0000000A.wal"), bytes);
    let top = log.headers.last().unwrap().0;
    let others = log.headers.iter().map(|(n, _)| *n).chain([top + 1]).filter(|n| *n != source);
    for at in others {
        let due = Due::Refusal(Lsn::new(at, 0));
        let twice = |log: &Log| log.disk.write_file(&name(at), &bytes);
        log.case(table, (9, "a segment under another's number"), &format!("{source} as {at}"), &twice, due);
    }
    // A segment of another log, which has another identity.
    let another = SimDisk::new(1, SimOptions::default());
    let mut env = stepped(&another);
    env.random = Arc::new(SimRandom::new(77));
    Wal::create_in(env, &logs.kind.options()).unwrap().close().unwrap();
    let first = log.live[0];
    let theirs = |log: &Log| log.disk.write_file(&name(first), &another.read_file(&name(1)));
    log.case(table, (9, "a segment of another log"), "", &theirs, Due::Refusal(Lsn::new(first, 0)));
}

pub fn row_15_the_header_of_a_segment(logs: &Logs, table: &mut Table) {
    let log = logs.closed();
    for (n, &(segment, header)) in log.headers.iter().enumerate() {
        // On a directory, only the first live segment, the last one, and the last spare are damaged.
        let some = n == 0 || segment == log.tail() || n + 1 == log.headers.len();
        if logs.kind.place != Place::Simulated && !some {
            continue;
        }
        let due = Due::Refusal(Lsn::new(segment, 0));
        let of = if log.live.contains(&segment) { "live" } else { "spare" };
        let file = &name(segment);
        for at in [0, 7, 12, 16, 31, 32, 40, 44, 48, 56, 60, 63, 64, 4095] {
            let row = (15, if of == "live" { "a bit of a header" } else { "a bit of a spare's header" });
            let damage = |log: &Log| log.disk.corrupt(file, at, |b| b[0] ^= 0x10);
            log.case(table, row, &format!("byte {at} of {segment}"), &damage, due);
        }
        let row = (15, if of == "live" { "a header of zeros" } else { "a spare's header of zeros" });
        let zeros = |log: &Log| log.disk.corrupt(file, 0, |b| b[..BLOCK].fill(0));
        log.case(table, row, "", &zeros, due);
        // Version 1 reads as 1 << 24 in the other byte order.
        let version = |version: u32| {
            let damage = move |log: &Log| {
                log.disk.corrupt(file, 0, |b| b[8..12].copy_from_slice(&version.to_le_bytes()));
            };
            let copy = log.copy();
            damage(&copy);
            match copy.open_with(UnexplainedTail::Refuse).unwrap_err() {
                Error::UnsupportedVersion { file: named, found, supported: 1, .. } => {
                    assert_eq!((&named, found), (file, version));
                }
                error => panic!("{error}"),
            }
            damage
        };
        log.case(table, (15, "an unknown version"), "", &version(2), due);
        log.case(table, (15, "the other byte order"), "", &version(1 << 24), due);
        // A header with a right checksum and a false field.
        for other in [
            SegmentHeader { sequence: segment + 1, ..header },
            SegmentHeader { uuid: [1; 16], ..header },
            SegmentHeader { block_bytes: 8192, ..header },
            SegmentHeader { file_bytes: header.file_bytes + 4096, ..header },
            SegmentHeader { file_bytes: u64::MAX, ..header },
        ] {
            let damage = |log: &Log| log.disk.corrupt(file, 0, |b| other.encode(&mut b[..BLOCK]));
            let what = format!("{other:?}");
            log.case(table, (15, "a sound header of another file"), &what, &damage, due);
        }
        // For the last live segment this would be the header of a file that was never used.
        if segment < log.tail() {
            let salt = SegmentHeader { salt: header.salt ^ 1, ..header };
            let damage = |log: &Log| log.disk.corrupt(file, 0, |b| salt.encode(&mut b[..BLOCK]));
            log.case(table, (15, "a sound header with another salt"), "", &damage, Due::AnyRefusal);
        }
    }
}

/// Damage to `CLOSED` alone does not make open refuse the log. The file says where the log ended.
pub fn row_19_the_file_of_a_clean_close(logs: &Logs, table: &mut Table) {
    let log = logs.closed();
    let whole = Due::Kept(200, &[]);
    let bytes = log.disk.read_file("CLOSED");
    for at in [0, 8, 12, 16, 31, 32, 39, 40, 44, 47, 48, 4095] {
        let bit = |log: &Log| log.disk.corrupt("CLOSED", at, |b| b[0] ^= 0x10);
        log.case(table, (19, "a bit of CLOSED"), &format!("byte {at}"), &bit, whole);
    }
    for len in [0, 48, 4095, 4097, 8192] {
        let cut = |log: &Log| log.disk.truncate("CLOSED", len);
        log.case(table, (19, "CLOSED of another length"), &format!("{len}"), &cut, whole);
    }
    let gone = |log: &Log| log.disk.remove_file("CLOSED");
    log.case(table, (19, "CLOSED deleted"), "", &gone, whole);
    let closed = Closed::decode(&bytes).unwrap();
    let put = |file: Closed| move |log: &Log| log.disk.write_file("CLOSED", &file.encode());
    let foreign = put(Closed { uuid: [1; 16], end: Lsn::new(u32::MAX, u32::MAX) });
    log.case(table, (19, "CLOSED of another log"), "", &foreign, whole);
    // The file as the previous close left it. The log that was killed has such a file in every row.
    let stale = Closed::decode(&logs.killed().disk.read_file("CLOSED")).unwrap();
    assert!(stale.end < closed.end);
    log.case(table, (19, "CLOSED of the close before"), "", &put(stale), whole);
    let (end, next) = (closed.end, Lsn::new(closed.end.segment() + 1, BLOCK_BYTES));
    for (what, beyond, at) in [
        ("by a block", Lsn::new(end.segment(), end.offset() + BLOCK_BYTES), end),
        ("in the next segment", Lsn::new(next.segment(), 2 * BLOCK_BYTES), next),
        ("as far as can be", Lsn::new(u32::MAX, u32::MAX), next),
    ] {
        let newer = put(Closed { end: beyond, ..closed });
        log.case(table, (19, "CLOSED beyond the log"), what, &newer, Due::Refusal(at));
    }
    // The purpose of the file: without it nothing shows that the log was longer.
    let zeros = |log: &Log| {
        let (last, to) = (log.lsn(199), end.offset() as usize);
        let file = name(last.segment());
        log.disk.corrupt(&file, last.offset() as usize, |b| b[..to - last.offset() as usize].fill(0));
    };
    let row = (19, "zeros over the last group and the mark");
    log.case(table, row, "", &zeros, Due::Refusal(log.lsn(199)));
    let both = |log: &Log| {
        zeros(log);
        gone(log);
    };
    log.case(table, (19, "the same, and CLOSED deleted"), "", &both, Due::Kept(199, &[]));
}

pub fn row_18_no_log_is_taken_for_an_empty_one(logs: &Logs, table: &mut Table) {
    let log = logs.closed();
    let gone = |log: &Log| log.disk.remove_file("IDENTITY");
    log.case(table, (18, "the identity deleted"), "", &gone, Due::AnyRefusal);
    let copy = log.copy();
    gone(&copy);
    assert!(matches!(copy.open_with(UnexplainedTail::Drop), Err(Error::NotALog { .. })));
    assert!(matches!(Wal::create_in(copy.disk.env(), &logs.kind.options()), Err(Error::AlreadyALog { .. })));
    let all: Vec<String> = log.disk.files().into_keys().filter(|name| name.ends_with(".wal")).collect();
    let none = |log: &Log| all.iter().for_each(|name| log.disk.remove_file(name));
    log.case(table, (18, "all segments deleted"), "", &none, Due::AnyRefusal);
    // Every group of every segment is lost: the segments are as they were prepared.
    let zeros = |log: &Log| all.iter().for_each(|name| log.disk.corrupt(name, BLOCK, |bytes| bytes.fill(0)));
    log.case(table, (18, "all groups lost"), "", &zeros, Due::AnyRefusal);
}

/// The damaged range is the whole block for a header, however large a block is, and the whole group for a
/// group.
#[test]
fn ranges_cover_all_of_what_is_damaged() {
    let disk = SimDisk::new(5, SimOptions { block_size: 8192, ..SimOptions::default() });
    let options = Options::default().with_segment_bytes(256 << 10);
    let wal = Wal::create_in(stepped(&disk), &options).unwrap();
    let ticket = wal.append(&crate::harness::record(1, 20_000), Durability::Sync).unwrap();
    ticket.wait().unwrap();
    drop(wal);
    disk.kill();
    let open = |disk: &Arc<SimDisk>, suspect| {
        Wal::open_in(stepped(disk), &options.clone().with_unexplained_tail(suspect))
    };
    for at in [Lsn::new(1, 8191), Lsn::new(2, 5000), Lsn::new(1, (ticket.lsn().offset() & !8191) + 19_000)] {
        let copy = disk.fork(1);
        copy.corrupt(&name(at.segment()), at.offset() as usize, |b| b[0] ^= 1);
        match open(&copy, UnexplainedTail::Refuse) {
            Err(Error::Corrupt { damage, .. }) => {
                assert!(damage.iter().any(|d| d.from <= at && at < d.to), "{at}: {damage:?}");
            }
            other => panic!("{at}: {other:?}"),
        }
        if at.offset() > 8192 {
            let (_, report) = open(&copy, UnexplainedTail::Drop).unwrap();
            assert!(report.dropped.iter().all(|d| d.from <= at && at < d.to), "{:?}", report.dropped);
        }
    }
    assert_eq!(ids(&open(&disk, UnexplainedTail::Refuse).unwrap().0), [1]);
}
