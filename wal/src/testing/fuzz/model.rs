//! Runs random operations on the simulated disk against a small reference model.
//!
//! `tests/recovery/model.rs` runs it from seeds, the fuzzer from bytes. After every crash and reopen, all acknowledged
//! records are there, in order and unchanged, and no record appears that was dropped or never appended. A further open
//! agrees. Since nothing rots in the history itself, no open is refused (INV-1, INV-2, INV-3, INV-6, INV-7). Operations
//! fail, and the disk is full for a while. Copies of the disk after a crash rot; `rot` states what must hold then
//! (INV-5). Panics with the finding if a promise is broken.

use super::choices::Choices;
use super::damage::contents;
use super::entry::{id_of, payload};
use super::quick::{Places, agree};
use super::rot::{Fate, Files, rots};
pub use super::tally::Tally;
use crate::commit::Ticket;
use crate::env::{Env, Threads};
use crate::error::Error;
use crate::format::RecordBuilder;
use crate::options::Options;
use crate::recovery::inspect::inspect;
use crate::testing::stepper::{StepIo, Stepper};
use crate::types::{Durability, Lsn};
use crate::wal::Wal;
use seawall_disk::Mode;
use seawall_disk::sim::{FaultError, FaultOp, FaultRule, SimClock, SimDisk, SimOptions, SimRandom, Ticking};
use std::sync::Arc;

/// Runs a log for up to `lives` lives, each of which ends in a crash or a close; `choices` determine what happens.
///
/// # Panics
/// If the log broke a promise.
pub fn run(choices: Choices<'_>, lives: u32) -> Tally {
    let mut run = Run::new(choices);
    for _ in 0..lives {
        if run.choices.spent() {
            break;
        }
        run.live();
        // Two opens with nothing in between agree, wherever the first one was cut.
        if run.choices.chance(30) {
            let wal = run.open();
            drop(wal);
            run.crash();
        }
    }
    // Whatever the last crash left must open, too.
    drop(run.open());
    run.tally
}

/// One record of the model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    id: u64,
    lsn: Lsn,
}

struct Run<'a> {
    choices: Choices<'a>,
    disk: Arc<SimDisk>,
    options: Options,
    /// Every record that may be in the log, in order.
    expected: Vec<Known>,
    /// Number of records at the start of `expected` that were acknowledged.
    acknowledged: usize,
    /// Segments below this number may be gone.
    released: u32,
    next_id: u64,
    /// Bytes of footer for each record; `None` if segments get no footers.
    sealed: Option<u32>,
    /// Whether the clock advances by a millisecond at each reading, so that the disk seems slow and several groups
    /// are written at a time.
    slow: bool,
    created: bool,
    /// Whether some open returned: from then on the log must exist.
    opened: bool,
    /// Contents of the files when one of them last rotted.
    older: Files,
    /// Whether pages were cached that are older than the medium.
    aged: bool,
    tally: Tally,
}

impl<'a> Run<'a> {
    fn new(mut choices: Choices<'a>) -> Run<'a> {
        let mode = if choices.chance(50) { Mode::Direct } else { Mode::Buffered };
        let sim = SimOptions {
            mode,
            short_writes: choices.chance(30),
            past_cache: choices.chance(50),
            page_bytes: if choices.chance(50) { 16 << 10 } else { 0 },
            ..SimOptions::default()
        };
        let options = Options {
            writes_in_flight_max: choices.small(1, 4),
            spare_segments: choices.small(3, 4),
            ..Run::sizes(&mut choices)
        };
        let wide = if choices.chance(50) { 8 } else { 2000 };
        let sealed = choices.chance(50).then_some(wide);
        let slow = choices.chance(50);
        Run {
            disk: SimDisk::new(choices.number(), sim),
            choices,
            options,
            expected: Vec::new(),
            acknowledged: 0,
            released: 0,
            next_id: 1,
            sealed,
            slow,
            created: false,
            opened: false,
            older: Files::new(),
            aged: false,
            tally: Tally::default(),
        }
    }

    /// Checks that a watermark on the medium covers the records that open showed, whatever happens next (INV-3).
    fn covered(&self) {
        if self.disk.crash_reached() {
            return;
        }
        let disk = self.disk.fork(3);
        disk.crash();
        let known = inspect(&*disk).expect("readable").verdict.expect("sound").watermark;
        let last = self.expected.last().map_or(Lsn::ZERO, |record| record.lsn);
        assert!(last <= known, "{last} was shown, {known} is known");
    }

    /// Options that may change from one open to the next.
    fn sizes(choices: &mut Choices<'_>) -> Options {
        Options {
            segment_bytes: 4096 * choices.small(12, 23),
            group_bytes: 4096 * choices.small(1, 4),
            in_flight_bytes_max: 4096 * choices.small(1, 6),
            ..Options::default()
        }
    }

    fn env(&mut self) -> Env {
        Env {
            disk: self.disk.process(),
            clock: if self.slow { Arc::new(Ticking::default()) } else { Arc::new(SimClock::new()) },
            random: Arc::new(SimRandom::new(self.choices.number())),
            threads: Threads::Stepped,
        }
    }

    /// Opens or creates the log, through any number of crashes in between.
    fn open(&mut self) -> Wal {
        if self.opened {
            agree(&*self.disk.fork(1));
        }
        if self.opened && self.choices.chance(30) {
            let Options { segment_bytes, group_bytes, in_flight_bytes_max: in_flight_bytes, .. } =
                Run::sizes(&mut self.choices);
            self.options = Options {
                segment_bytes,
                group_bytes,
                in_flight_bytes_max: in_flight_bytes,
                ..self.options.clone()
            };
        }
        if self.choices.chance(20) {
            self.age();
        }
        loop {
            if self.choices.chance(25) {
                self.disk.crash_after(1 + self.choices.below(40));
            }
            let env = self.env();
            self.tally.opens += 1;
            let result = if self.created {
                Wal::open_in(env, &self.options).map(|(wal, report)| {
                    self.tally.dropped += report.dropped.len() as u64;
                    self.tally.by_footer += report.by_footer.len() as u64;
                    wal
                })
            } else {
                Wal::create_in(env, &self.options)
            };
            match result {
                Ok(wal) => {
                    (self.created, self.opened) = (true, true);
                    if let Some(wide) = self.sealed
                        && wal.set_index_builder(Box::new(Places::wide(wide))).is_err()
                    {
                        assert!(self.disk.crash_reached(), "the segment in use cannot be read");
                    }
                    self.check(&wal);
                    self.covered();
                    return wal;
                }
                Err(_) if self.disk.crash_reached() => self.crash(),
                // It was created before the crash, although `create` did not return.
                Err(Error::AlreadyALog { .. }) if !self.created => self.created = true,
                // Its name was not durable after all.
                Err(Error::NotALog { .. }) if !self.opened => self.created = false,
                Err(error) => panic!("open refused: {error}"),
            }
        }
    }

    /// Caches pages of some segments as they were before: as they were at an earlier time, or never written.
    fn age(&mut self) {
        for name in self.disk.names().into_iter().filter(|name| name.ends_with(".wal")) {
            let len = self.disk.read_file(&name).len();
            let from = 512 * self.choices.index(len / 512 + 1);
            let to = len.min(from + 512 * self.choices.index(64));
            let before = self.older.get(&name).and_then(|bytes| bytes.get(from..to));
            self.disk.cache_older(&name, from, before.unwrap_or(&vec![0; to - from]));
            self.aged = true;
        }
    }

    /// Checks that a reader finds the bytes of a part, through the cache or else on the medium.
    fn check_part(&mut self, wal: &Wal, at: Lsn, bytes: &[u8]) -> Result<(), Error> {
        let mut found = vec![0; bytes.len()];
        wal.read_at(at, &mut found)?;
        if found != bytes {
            assert!(self.aged, "other bytes at {at}");
            self.tally.stale += 1;
            wal.read_medium_at(at, &mut found)?;
            assert_eq!(found, bytes, "on the medium at {at}");
        }
        Ok(())
    }

    fn crash(&mut self) {
        self.tally.crashes += 1;
        if self.choices.chance(15) {
            self.disk.kill();
            // The page cache survives the process; in half of the cases the machine then crashes, too.
            if self.choices.chance(50) {
                return;
            }
        }
        self.disk.crash();
    }

    /// Checks that the log holds the expected records, without losses at either end except those that are allowed.
    fn check(&mut self, wal: &Wal) {
        let mut found = Vec::new();
        for record in wal.records(Lsn::ZERO) {
            let record = match record {
                Ok(record) => record,
                Err(_) if self.disk.crash_reached() => return,
                Err(error) => panic!("read: {error}"),
            };
            let id = id_of(record.meta());
            let parts: Vec<&[u8]> = record.parts().map(|(_, bytes)| bytes).collect();
            assert_eq!(parts, [&payload(id)[..]], "content of record {id}");
            for (part, bytes) in record.parts() {
                match self.check_part(wal, Lsn::new(record.lsn().segment(), part.offset), bytes) {
                    Ok(()) => {}
                    Err(_) if self.disk.crash_reached() => return,
                    Err(error) => panic!("read of record {id}: {error}"),
                }
            }
            found.push(Known { id, lsn: record.lsn() });
        }
        let start = match found.first() {
            Some(first) => self
                .expected
                .iter()
                .position(|k| k == first)
                .unwrap_or_else(|| panic!("{first:?} was never there")),
            None => self.acknowledged.min(self.live_from()),
        };
        assert!(start <= self.live_from(), "live records gone from the front");
        let end = start + found.len();
        assert!(end <= self.expected.len(), "more records than were appended");
        assert_eq!(found[..], self.expected[start..end], "another log");
        assert!(end >= self.acknowledged, "{} acknowledged, found up to {end}", self.acknowledged);
        // Records that open has shown are promised from now on.
        self.expected = found;
        self.acknowledged = self.expected.len();
    }

    /// Index of the first record that must still be there.
    fn live_from(&self) -> usize {
        self.expected.iter().position(|k| k.lsn.segment() >= self.released).unwrap_or(self.expected.len())
    }

    /// Runs one life of the log, up to a crash or a close.
    fn live(&mut self) {
        let wal = self.open();
        if self.disk.crash_reached() {
            drop(wal);
            return self.crash();
        }
        let mut stepper = Stepper::new(&wal);
        let mut tickets: Vec<Ticket> = Vec::new();
        let mut flying: Vec<StepIo> = Vec::new();
        if self.choices.chance(40) {
            self.disk.crash_after(1 + self.choices.below(60));
        }
        if self.choices.chance(3) {
            // The disk is full for the rest of this life, for new files or for all.
            let op = if self.choices.chance(50) { FaultOp::Create } else { FaultOp::Allocate };
            self.disk.fail(FaultRule::forever(op, 1, FaultError::Full));
        }
        if self.choices.chance(5) {
            let op = if self.choices.chance(50) { FaultOp::Write } else { FaultOp::Sync };
            self.disk.fail(FaultRule::once(op, 1 + self.choices.below(20), FaultError::Io));
        }
        let mut cut = false;
        for _ in 0..self.choices.below(90) {
            self.tally.operations += 1;
            let outcome = self.step(&wal, &mut stepper, &mut tickets, &mut flying);
            self.settle(&tickets);
            if let Err(error) = outcome {
                cut = true;
                let power = self.disk.crash_reached();
                let expected = power || matches!(error, Error::Latched { .. } | Error::Io { .. });
                assert!(expected, "{error}");
                self.tally.latched += u64::from(!power);
                break;
            }
        }
        if !cut && self.choices.chance(20) && !self.disk.crash_reached() {
            self.close(wal, &tickets, flying);
        } else {
            // Operations in flight reach the disk in part.
            for io in &flying {
                if self.choices.chance(70) {
                    stepper.abandon(io);
                }
            }
            self.settle(&tickets);
            drop(tickets);
            drop(flying);
            drop(wal);
            self.crash();
        }
        self.disk.clear_faults();
        if self.choices.chance(20) {
            match rots(&mut self.choices, &self.disk, &self.options, &self.older) {
                Fate::Refused => self.tally.rot_refused += 1,
                Fate::Read => self.tally.rot_read += 1,
                Fate::Unchanged => self.tally.rot_unchanged += 1,
                Fate::Dropped => self.tally.rot_dropped += 1,
            }
            self.older = contents(&self.disk);
        }
    }

    fn step(
        &mut self,
        wal: &Wal,
        stepper: &mut Stepper<'_>,
        tickets: &mut Vec<Ticket>,
        flying: &mut Vec<StepIo>,
    ) -> Result<(), Error> {
        match self.choices.below(100) {
            0..40 => {
                let id = self.next_id;
                let mut batch = RecordBuilder::new();
                batch.meta().extend(id.to_le_bytes());
                batch.push_part(&payload(id));
                batch.set_footer_bytes(self.sealed.unwrap_or(0));
                let class = if self.choices.chance(80) { Durability::Sync } else { Durability::Lazy };
                self.next_id += 1;
                let ticket = match wal.append(&batch, class) {
                    // The append left no trace: the next one may fit.
                    Err(Error::NoSpace { .. }) => {
                        self.tally.full += 1;
                        return Ok(());
                    }
                    other => other?,
                };
                self.tally.appends += 1;
                self.expected.push(Known { id, lsn: ticket.lsn() });
                let (lsn, head) = (ticket.lsn(), batch.first_part_offset());
                tickets.push(ticket);
                let mut out = vec![0; payload(id).len()];
                wal.read_at(Lsn::new(lsn.segment(), lsn.offset() + head), &mut out)?;
                assert_eq!(out, payload(id), "readable when append returns");
            }
            40..65 => flying.extend(stepper.issue()),
            65..85 if !flying.is_empty() => {
                let i = self.choices.index(flying.len());
                stepper.complete(flying.swap_remove(i));
            }
            85..93 => {
                stepper.prepare()?;
            }
            93..96 if flying.is_empty() => stepper.idle(),
            96..98 => {
                let durable = wal.durable().segment();
                let segment = self.choices.small(0, durable);
                wal.release(segment)?;
                self.released = self.released.max(segment);
            }
            _ => self.read(wal)?,
        }
        Ok(())
    }

    /// Checks that a reader sees all records that are durable and not released, and nothing else.
    fn read(&self, wal: &Wal) -> Result<(), Error> {
        let (from, durable) = (wal.first_segment(), wal.durable());
        let live = |k: &&Known| k.lsn.segment() >= from && k.lsn < durable;
        let expected: Vec<Known> = self.expected.iter().filter(live).copied().collect();
        let mut found = Vec::new();
        for record in wal.records(Lsn::ZERO) {
            let record = record?;
            found.push(Known { id: id_of(record.meta()), lsn: record.lsn() });
        }
        assert_eq!(found, expected, "read while it was written");
        Ok(())
    }

    /// Notes which records are acknowledged by now; they must be a prefix.
    fn settle(&mut self, tickets: &[Ticket]) {
        let durable = tickets.iter().take_while(|t| t.is_durable()).count();
        assert!(tickets[durable..].iter().all(|t| !t.is_durable()), "a gap");
        let before = self.expected.len() - tickets.len();
        self.acknowledged = self.acknowledged.max(if durable == 0 { 0 } else { before + durable });
    }

    fn close(&mut self, wal: Wal, tickets: &[Ticket], flying: Vec<StepIo>) {
        let stepper = Stepper::new(&wal);
        flying.into_iter().for_each(|io| stepper.complete(io));
        match wal.close() {
            Ok(()) => {
                assert!(tickets.iter().all(Ticket::is_durable), "closed, not durable");
                self.acknowledged = self.expected.len();
            }
            Err(_) => {
                self.settle(tickets);
                self.crash();
            }
        }
    }
}
