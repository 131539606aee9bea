//! Tests on the simulated disk which cached pages the log uses after open, and that the medium decides when their bytes
//! fail (INV-3, INV-6).

use crate::harness;

use harness::{fill, ids, record, small, stepped};
use seawall_wal::disk::Mode;
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimDisk, SimOptions};
use seawall_wal::testing::stepper::Stepper;
use seawall_wal::{Durability, Lsn, Options, Wal};
use std::sync::Arc;

const PAYLOAD_BYTES: usize = 9000;

fn options() -> Options {
    small().with_segment_bytes(48 << 10)
}

/// The position of each record's part.
fn parts(wal: &Wal) -> Vec<(u64, Lsn)> {
    let place = |record: seawall_wal::Record| {
        let id = u64::from_le_bytes(record.meta().try_into().unwrap());
        record.parts().next().map(|(part, _)| (id, Lsn::new(record.lsn().segment(), part.offset)))
    };
    wal.records(Lsn::ZERO).filter_map(|record| place(record.unwrap())).collect()
}

/// A log of several segments whose process was killed: the last groups were in flight together, so no head covers them.
fn killed(seed: u64, mode: Mode) -> Arc<SimDisk> {
    let disk = SimDisk::new(seed, SimOptions { mode, past_cache: true, ..SimOptions::default() });
    let wal = Wal::create_in(stepped(&disk), &options().with_group_bytes(12 << 10)).unwrap();
    let stepper = Stepper::new(&wal);
    let in_flight = usize::try_from(1 + seed % 4).unwrap();
    for first in (0..12 + seed % 4).step_by(in_flight) {
        let mut tickets = Vec::new();
        for id in (first..).take(in_flight) {
            while stepper.prepare().unwrap() {}
            tickets.push(wal.append(&record(id, PAYLOAD_BYTES), Durability::Sync).unwrap());
        }
        let mut flying = Vec::new();
        while !tickets.iter().all(|ticket| ticket.is_durable()) {
            while let Some(io) = stepper.issue() {
                flying.push(io);
            }
            if flying.is_empty() {
                break;
            }
            flying.drain(..).for_each(|io| stepper.complete(io));
        }
    }
    disk.kill();
    drop(wal);
    disk
}

/// All pages of the segments, except their headers, are older than the medium.
fn age(disk: &SimDisk) {
    for name in disk.names().into_iter().filter(|name| name.ends_with(".wal")) {
        let len = disk.read_file(&name).len();
        disk.cache_older(&name, 4096, &vec![0; len - 4096]);
    }
}

#[test]
fn cached_pages_are_used_below_the_watermark_only() {
    let (mut below, mut above, mut active) = (0, 0, 0);
    for seed in 0..40 {
        for mode in [Mode::Direct, Mode::Buffered] {
            let disk = killed(seed, mode);
            age(&disk);
            let (wal, report) = Wal::open_in(stepped(&disk), &options()).unwrap();
            let parts = parts(&wal);
            let mut seen = 0;
            for &(id, at) in &parts {
                // The first read of the segment: one that drops the pages changes what later ones see.
                if at.segment() == seen {
                    continue;
                }
                seen = at.segment();
                let is = |found: &[u8], byte| found.iter().all(|found| *found == byte);
                let mut found = vec![7; PAYLOAD_BYTES];
                wal.read_at(at, &mut found).unwrap();
                let last = parts.iter().rfind(|(_, last)| last.segment() == seen).unwrap().1;
                let sealed = seen < wal.active_segment();
                if sealed && seen < report.watermark.segment() {
                    assert!(is(&found, 0), "seed {seed}: not the cached page at {at}");
                    below += 1;
                    wal.read_medium_at(at, &mut found).unwrap();
                    assert!(is(&found, fill(id)), "seed {seed}: the medium at {at}");
                    found.fill(7);
                    wal.read_at(at, &mut found).unwrap();
                } else if sealed && last < report.watermark {
                    // Its end is the watermark, or close to it.
                    continue;
                }
                above += u32::from(sealed && last >= report.watermark);
                active += u32::from(!sealed);
                assert!(is(&found, fill(id)), "seed {seed}: {at}, {} in use", wal.active_segment());
            }
        }
    }
    assert!(below > 50 && above > 5 && active > 10, "{below} below, {above} above, {active} in use");
}

/// Without reads past the cache nothing that was cached before open is used.
#[test]
fn all_pages_are_dropped_where_reads_do_not_go_past_them() {
    let disk = SimDisk::new(1, SimOptions { mode: Mode::Buffered, ..SimOptions::default() });
    let wal = Wal::create_in(stepped(&disk), &options()).unwrap();
    for id in 0..12 {
        wal.append(&record(id, PAYLOAD_BYTES), Durability::Sync).unwrap().wait().unwrap();
    }
    wal.close().unwrap();
    age(&disk);
    let (wal, _) = Wal::open_in(stepped(&disk), &options()).unwrap();
    for (id, at) in parts(&wal) {
        let mut found = vec![0; PAYLOAD_BYTES];
        wal.read_at(at, &mut found).unwrap();
        assert!(found.iter().all(|found| *found == fill(id)), "{at}");
    }
}

/// After a failed sync the cache holds groups that the medium lacks, in pages that look clean. The next open drops them
/// before it writes: a page is written out whole, and would bring them back.
#[test]
fn what_only_the_cache_has_does_not_come_back() {
    let mut in_place = 0;
    for seed in 0..60 {
        let sim = SimOptions {
            mode: Mode::Buffered,
            past_cache: true,
            page_bytes: 64 << 10,
            ..SimOptions::default()
        };
        let disk = SimDisk::new(seed, sim);
        let wal = Wal::create_in(stepped(&disk), &small()).unwrap();
        wal.append(&record(1, 100), Durability::Sync).unwrap().wait().unwrap();
        wal.close().unwrap();

        let (wal, report) = Wal::open_in(stepped(&disk), &small()).unwrap();
        assert_eq!(ids(&wal), [1]);
        let stepper = Stepper::new(&wal);
        let (mut syncs, mut writes) = (Vec::new(), 0);
        for id in 2..6 {
            drop(wal.append(&record(id, 100), Durability::Sync).unwrap());
            while let Some(io) = stepper.issue() {
                if io.is_sync() {
                    syncs.push(io);
                } else {
                    stepper.complete(io);
                    writes += 1;
                }
            }
        }
        assert!(writes > 1, "{writes} groups were written before the sync");
        disk.fail(FaultRule::once(FaultOp::Sync, 1, FaultError::Io));
        syncs.drain(..).for_each(|io| stepper.complete(io));
        disk.kill();
        drop(wal);
        disk.clear_faults();

        let (wal, again) = Wal::open_in(stepped(&disk), &small()).unwrap();
        let mut kept = ids(&wal);
        in_place += u32::from(kept == [1] && again.end.segment() == wal.active_segment());
        assert!(again.end >= report.end);
        // Written next to what the cache alone may have.
        wal.append(&record(10, 100), Durability::Sync).unwrap().wait().unwrap();
        kept.push(10);
        disk.crash();
        drop(wal);
        let (wal, _) = Wal::open_in(stepped(&disk), &small()).unwrap();
        assert_eq!(ids(&wal), kept, "seed {seed}");
    }
    assert!(in_place > 3, "the log went on in place {in_place} times");
}
