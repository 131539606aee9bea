//! Tests every flipped bit of small logs: open refuses a flip in acknowledged bytes, by name and range, and a
//! flip in bytes that mean nothing changes nothing that is kept (INV-5, INV-9).
//!
//! By default one bit of a quarter of the bytes is flipped, both chosen by a seed that is printed. `SEAWALL_FULL=1`
//! flips one bit of every byte, and
//! `SEAWALL_RUNS=8 cargo test --release -p seawall-wal --test recovery flips:: -- --nocapture` all eight.
//! `SEAWALL_SEED=n` chooses other bits.

mod logs;

use crate::harness;

use harness::ids;
use logs::{BLOCK, Log, Place};
use seawall_wal::disk::clock::Random;
use seawall_wal::disk::sim::SimRandom;
use seawall_wal::inspect::{Damage, DamageKind, SegmentScan, decide, decide_closed, inspect};
use seawall_wal::{Error, Lsn, OpenMode, UnexplainedTail};
use std::collections::BTreeMap;

/// One flip in this many is also tried with the real `open`.
const OPENED: u64 = 1999;

/// The outcomes of the flips in one log.
#[derive(Default)]
struct Tally {
    bits: BTreeMap<&'static str, u64>,
    opened: u64,
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(otherwise)
}

/// Flips the bits of every byte of every segment of `log`, one at a time.
fn flip_all(log: &Log) -> Tally {
    let (seed, bits) = (number("SEAWALL_SEED", 1), number("SEAWALL_RUNS", 1).min(8));
    let step = if harness::full() || std::env::var_os("SEAWALL_RUNS").is_some() { 1 } else { 4 };
    println!("{}: SEAWALL_SEED={seed}, {bits} bits of every byte, or of every {step}th", log.name);
    let random = SimRandom::new(seed);
    let mut tally = Tally::default();
    for (n, sound) in log.scans.iter().enumerate() {
        // A flip changes only what the scan finds in its own file, so only that file is scanned again.
        let alone = log.alone(sound.sequence);
        let name = logs::name(sound.sequence);
        let mut scans = log.scans.clone();
        for piece in (0..log.options.segment_bytes).step_by(step) {
            let at = piece + u32::try_from(random.next_u64() % step as u64).unwrap();
            let place = log.place(sound, at);
            let first = random.next_u64();
            for bit in (0..bits).map(|n| (first + n) % 8) {
                let flip = |bytes: &mut [u8]| bytes[0] ^= 1 << bit;
                alone.corrupt(&name, at as usize, flip);
                scans[n] = inspect(&*alone).unwrap().segments.pop().unwrap();
                alone.corrupt(&name, at as usize, flip);
                let lsn = Lsn::new(sound.sequence, at);
                let what = log.judge(&scans, place, lsn);
                *tally.bits.entry(what).or_default() += 1;
                // More of the flips that open must accept are tried, because there the content is compared.
                let rare = (if place.refused() { OPENED } else { OPENED / 4 }) / step as u64;
                if random.next_u64().is_multiple_of(rare) {
                    log.open(place, lsn, bit);
                    tally.opened += 1;
                }
            }
        }
    }
    for (what, bits) in &tally.bits {
        println!("  {bits:8} {what}");
    }
    println!("  {:8} of them opened", tally.opened);
    tally
}

impl Log {
    /// Checks the verdicts on `scans`, in which a bit at `lsn` was flipped, with and without the end that
    /// `CLOSED` names.
    #[track_caller]
    fn judge(&self, scans: &[SegmentScan], place: Place, lsn: Lsn) -> &'static str {
        let decided = |policy| decide(scans, BLOCK, policy);
        let covers = |damage: &[Damage]| damage.iter().any(|d| d.from <= lsn && lsn < d.to);
        for policy in [UnexplainedTail::Refuse, UnexplainedTail::Drop] {
            match (place, decide_closed(OpenMode::Strict, scans, BLOCK, policy, self.closed)) {
                (Place::Header | Place::Known | Place::Last | Place::LastStale, Err(damage)) => {
                    assert!(covers(&damage), "{lsn}: {damage:?}");
                }
                (Place::After, found) => {
                    assert_eq!(found.is_err(), policy == UnexplainedTail::Refuse, "{lsn}")
                }
                (Place::Unused(_), Ok(verdict)) => assert_eq!(verdict.end, self.closed, "{lsn}"),
                (place, found) => panic!("{lsn} of a closed log is {place:?}: {found:?}"),
            }
        }
        match (place, decided(UnexplainedTail::Refuse)) {
            (Place::Header | Place::Known, Err(damage)) => {
                assert!(covers(&damage), "{lsn}: {damage:?}");
                assert!(damage.iter().all(|d| d.what != DamageKind::Suspect), "{lsn}: {damage:?}");
                let lenient = decided(UnexplainedTail::Drop).expect_err("acknowledged bytes");
                assert!(covers(&lenient), "{lsn}: {lenient:?}");
                if place == Place::Header { "header: refused" } else { "below the watermark: refused" }
            }
            (Place::Last | Place::After, Err(damage)) => {
                assert!(covers(&damage), "{lsn}: {damage:?}");
                assert!(matches!(damage[..], [Damage { what: DamageKind::Suspect, .. }]), "{damage:?}");
                // With `UnexplainedTail::Drop` it drops no record, and reports what it drops.
                let lenient = decided(UnexplainedTail::Drop).expect("nothing that was acknowledged");
                assert!(self.same_records(scans, &lenient) && !lenient.dropped.is_empty(), "{lsn}");
                if place == Place::Last {
                    "the last mark: refused, without CLOSED suspect"
                } else {
                    "right after: suspect"
                }
            }
            (Place::Unused(what), Ok(verdict)) => {
                assert!(verdict.kept == self.verdict.kept && verdict.end == self.verdict.end, "{lsn}");
                assert!(self.same_records(scans, &verdict), "{lsn}");
                assert!(verdict.watermark <= self.verdict.watermark && verdict.next.at >= verdict.end);
                what
            }
            (Place::LastStale, Ok(verdict)) => {
                assert!(self.same_records(scans, &verdict), "{lsn}");
                assert!(verdict.end == self.verdict.watermark && verdict.next.at >= verdict.end, "{lsn}");
                "the last mark in a file used again: refused, without CLOSED dropped"
            }
            (place, found) => panic!("{lsn} is {place:?}: {found:?}"),
        }
    }

    /// Checks the same with the real open, on a copy. A refusal changes nothing, and a second open agrees. A
    /// reader names what an open left unread.
    #[track_caller]
    fn open(&self, place: Place, lsn: Lsn, bit: u64) {
        let disk = self.disk.fork(1);
        disk.corrupt(&logs::name(lsn.segment()), lsn.offset() as usize, |bytes| bytes[0] ^= 1 << bit);
        match self.open_on(&disk.fork(2), false) {
            Ok(wal) if place.refused() => {
                let mut records = wal.records(Lsn::ZERO);
                let before = records.by_ref().map_while(Result::ok).count();
                assert!(before < self.ids.len(), "{lsn}: every record is read");
                match wal.records(Lsn::ZERO).find_map(Result::err) {
                    Some(Error::Corrupt { damage, .. }) => {
                        assert!(damage[0].from <= lsn && lsn < damage[0].to, "{lsn}: {damage:?}");
                    }
                    other => panic!("{lsn} is {place:?}: {other:?}"),
                }
            }
            Ok(wal) => assert_eq!(ids(&wal), self.ids, "{lsn}"),
            Err(error) => assert!(place.refused(), "{lsn} is {place:?}: {error}"),
        }
        let before = logs::contents(&disk);
        for _ in 0..2 {
            match self.open_on(&disk, true) {
                Ok(wal) => {
                    assert!(!place.refused(), "{lsn} is {place:?}");
                    assert_eq!(ids(&wal), self.ids, "{lsn}");
                }
                Err(error) => {
                    assert!(place.refused(), "{lsn} is {place:?}: {error}");
                    assert!(error.to_string().contains(&logs::name(lsn.segment())), "{error}");
                    assert!(matches!(error, Error::Corrupt { .. } | Error::UnsupportedVersion { .. }));
                    assert!(logs::contents(&disk) == before, "{lsn}: a refusal changed something");
                }
            }
            disk.crash();
        }
    }
}

#[test]
fn a_log_of_three_segments() {
    let log = Log::plain();
    assert_eq!(log.verdict.kept.len(), 3);
    let tally = flip_all(&log);
    assert!(tally.opened > 20 && tally.bits.values().sum::<u64>() >= 3 << 14);
}

#[test]
fn segments_with_footers() {
    flip_all(&Log::with_footers());
}

#[test]
fn groups_that_a_crash_left_behind_and_files_used_again() {
    let tally = flip_all(&Log::after_a_crash());
    assert!(tally.bits.keys().any(|what| what.contains("dropped")));
    let tally = flip_all(&Log::released());
    assert!(tally.bits.keys().any(|what| what.contains("stale")));
}

#[test]
fn every_bit_of_the_identity() {
    let log = Log::plain();
    let disk = log.disk.fork(1);
    for at in 0..BLOCK as usize {
        for bit in 0..8 {
            disk.corrupt("IDENTITY", at, |bytes| bytes[0] ^= 1 << bit);
            let error = inspect(&*disk).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("IDENTITY"), "{error}");
            disk.corrupt("IDENTITY", at, |bytes| bytes[0] ^= 1 << bit);
        }
    }
    assert_eq!(ids(&log.open_on(&disk, true).unwrap()), log.ids);
}
