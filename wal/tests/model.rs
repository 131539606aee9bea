//! Random operations on the simulated disk against a small reference model.
//!
//! After every crash and reopen: what was acknowledged is there, in order, unchanged; nothing dropped or
//! never appended appears; a further open agrees; and, since nothing rots here, no open is refused
//! (INV-1, INV-2, INV-3, INV-6, INV-7).
//!
//! `SEAWALL_SEED=n cargo test -p seawall-wal --test model` repeats one run;
//! `SEAWALL_RUNS=n` makes n runs from random seeds, which are printed on failure.

use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{Mode, Random, SystemRandom};
use seawall_wal::step::{StepIo, Stepper};
use seawall_wal::{Batch, Class, Env, Error, Lsn, Options, Threads, Ticket, Wal};
use std::sync::Arc;

/// A small generator, so that a seed means the same in every version of every dependency.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn small(&mut self, from: u32, to: u32) -> u32 {
        from + u32::try_from(self.below(u64::from(to - from) + 1)).unwrap()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// One record as the model knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    id: u64,
    lsn: Lsn,
}

fn payload(id: u64) -> Vec<u8> {
    let mut rng = Rng(id);
    let len = match rng.below(20) {
        0 => 0,
        1 => rng.small(10_000, 25_000),
        2..5 => rng.small(0, 9000),
        _ => rng.small(1, 700),
    };
    // Zeros too, so that sectors of zeros occur inside of records.
    let fill = if rng.chance(20) { 0 } else { rng.next().to_le_bytes()[0] };
    vec![fill; len as usize]
}

#[derive(Default)]
struct Tally {
    operations: u64,
    crashes: u64,
    opens: u64,
    appends: u64,
    dropped: u64,
    latched: u64,
}

struct Run {
    rng: Rng,
    seed: u64,
    disk: Arc<SimDisk>,
    options: Options,
    /// Every record that may be in the log, in order.
    expected: Vec<Known>,
    /// The first so many of them were acknowledged.
    acknowledged: usize,
    /// Segments below this may be gone.
    released: u32,
    next_id: u64,
    created: bool,
    /// Some open returned: from here on the log exists for good.
    opened: bool,
    tally: Tally,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng(seed);
        let mode = if rng.chance(50) { Mode::Direct } else { Mode::Buffered };
        let sim = SimOptions { mode, short_writes: rng.chance(30), ..SimOptions::default() };
        let options = Options {
            segment_bytes: 4096 * rng.small(10, 22),
            group_bytes: 4096 * rng.small(1, 4),
            in_flight: rng.small(1, 4),
            spares: rng.small(3, 4),
            ..Options::default()
        };
        Run {
            disk: SimDisk::new(rng.next(), sim),
            rng,
            seed,
            options,
            expected: Vec::new(),
            acknowledged: 0,
            released: 0,
            next_id: 1,
            created: false,
            opened: false,
            tally: Tally::default(),
        }
    }

    fn env(&mut self) -> Env {
        Env {
            disk: self.disk.process(),
            clock: Arc::new(SimClock::new()),
            random: Arc::new(SimRandom::new(self.rng.next())),
            threads: Threads::Stepped,
        }
    }

    /// Opens or creates the log, through any number of crashes on the way.
    fn open(&mut self) -> Wal {
        loop {
            if self.rng.chance(25) {
                self.disk.crash_after(1 + self.rng.below(40));
            }
            let env = self.env();
            self.tally.opens += 1;
            let result = if self.created {
                Wal::open_in(env, &self.options).map(|(wal, report)| {
                    self.tally.dropped += report.dropped.len() as u64;
                    wal
                })
            } else {
                Wal::create_in(env, &self.options)
            };
            match result {
                Ok(wal) => {
                    (self.created, self.opened) = (true, true);
                    self.check(&wal);
                    return wal;
                }
                Err(_) if self.disk.crash_reached() => self.crash(),
                // Created before the crash, although `create` did not get to say so.
                Err(Error::AlreadyALog { .. }) if !self.created => self.created = true,
                // Its name was not durable after all.
                Err(Error::NotALog { .. }) if !self.opened => self.created = false,
                Err(error) => panic!("seed {}: open refused: {error}", self.seed),
            }
        }
    }

    fn crash(&mut self) {
        self.tally.crashes += 1;
        if self.rng.chance(15) {
            self.disk.kill();
            // The page cache survives the process; half of the time not for long.
            if self.rng.chance(50) {
                return;
            }
        }
        self.disk.crash();
    }

    /// What the log holds must be the expected records without a lost one at either end.
    fn check(&mut self, wal: &Wal) {
        let mut found = Vec::new();
        for record in wal.records(Lsn::ZERO) {
            let record = match record {
                Ok(record) => record,
                Err(_) if self.disk.crash_reached() => return,
                Err(error) => panic!("seed {}: read: {error}", self.seed),
            };
            let id = u64::from_le_bytes(record.meta().try_into().unwrap());
            let parts: Vec<&[u8]> = record.parts().map(|(_, bytes)| bytes).collect();
            assert_eq!(parts, [&payload(id)[..]], "seed {}: content of record {id}", self.seed);
            found.push(Known { id, lsn: record.lsn() });
        }
        let seed = self.seed;
        let start = match found.first() {
            Some(first) => self
                .expected
                .iter()
                .position(|k| k == first)
                .unwrap_or_else(|| panic!("seed {seed}: {first:?} was never there")),
            None => self.acknowledged.min(self.live_from()),
        };
        assert!(start <= self.live_from(), "seed {seed}: live records gone from the front");
        let end = start + found.len();
        assert!(end <= self.expected.len(), "seed {seed}: more records than were appended");
        assert_eq!(found[..], self.expected[start..end], "seed {seed}: another log");
        assert!(
            end >= self.acknowledged,
            "seed {seed}: {} acknowledged, found up to {end}",
            self.acknowledged
        );
        // What open shows is promised from now on.
        self.expected = found;
        self.acknowledged = self.expected.len();
    }

    /// Index of the first record that must still be there.
    fn live_from(&self) -> usize {
        self.expected.iter().position(|k| k.lsn.segment() >= self.released).unwrap_or(self.expected.len())
    }

    /// One life of the log, up to a crash or a close.
    fn live(&mut self) {
        let wal = self.open();
        if self.disk.crash_reached() {
            drop(wal);
            return self.crash();
        }
        let mut stepper = Stepper::new(&wal);
        let mut tickets: Vec<Ticket> = Vec::new();
        let mut flying: Vec<StepIo> = Vec::new();
        if self.rng.chance(40) {
            self.disk.crash_after(1 + self.rng.below(60));
        }
        if self.rng.chance(5) {
            let op = if self.rng.chance(50) { FaultOp::Write } else { FaultOp::Sync };
            self.disk.fail(FaultRule::once(op, 1 + self.rng.below(20), FaultError::Io));
        }
        let mut cut = false;
        for _ in 0..self.rng.below(90) {
            self.tally.operations += 1;
            let outcome = self.step(&wal, &mut stepper, &mut tickets, &mut flying);
            self.settle(&tickets);
            if let Err(error) = outcome {
                cut = true;
                let power = self.disk.crash_reached();
                let expected = power || matches!(error, Error::Latched { .. } | Error::Io { .. });
                assert!(expected, "seed {}: {error}", self.seed);
                self.tally.latched += u64::from(!power);
                break;
            }
        }
        if !cut && self.rng.chance(20) && !self.disk.crash_reached() {
            self.close(wal, &tickets, flying);
        } else {
            // Operations under way reach the disk in part.
            for io in &flying {
                if self.rng.chance(70) {
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
    }

    fn step(
        &mut self,
        wal: &Wal,
        stepper: &mut Stepper<'_>,
        tickets: &mut Vec<Ticket>,
        flying: &mut Vec<StepIo>,
    ) -> Result<(), Error> {
        match self.rng.below(100) {
            0..40 => {
                let id = self.next_id;
                let mut batch = Batch::new();
                batch.meta().extend(id.to_le_bytes());
                batch.push_part(&payload(id));
                let class = if self.rng.chance(80) { Class::Sync } else { Class::Lazy };
                self.next_id += 1;
                let ticket = wal.append(&batch, class)?;
                self.tally.appends += 1;
                self.expected.push(Known { id, lsn: ticket.lsn() });
                let (lsn, head) = (ticket.lsn(), batch.first_part_offset());
                tickets.push(ticket);
                let mut out = vec![0; payload(id).len()];
                wal.read_at(Lsn::new(lsn.segment(), lsn.offset() + head), &mut out)?;
                assert_eq!(out, payload(id), "seed {}: readable when append returns", self.seed);
            }
            40..65 => flying.extend(stepper.issue()),
            65..85 if !flying.is_empty() => {
                let i = usize::try_from(self.rng.below(flying.len() as u64)).unwrap();
                stepper.complete(flying.swap_remove(i));
            }
            85..93 => {
                stepper.prepare()?;
            }
            93..96 if flying.is_empty() => stepper.idle(),
            96..98 => {
                let durable = wal.durable().segment();
                let segment = self.rng.small(0, durable);
                wal.release(segment)?;
                self.released = self.released.max(segment);
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes what is acknowledged by now; it must be a prefix.
    fn settle(&mut self, tickets: &[Ticket]) {
        let durable = tickets.iter().take_while(|t| t.is_durable()).count();
        assert!(tickets[durable..].iter().all(|t| !t.is_durable()), "seed {}: a gap", self.seed);
        let before = self.expected.len() - tickets.len();
        self.acknowledged = self.acknowledged.max(if durable == 0 { 0 } else { before + durable });
    }

    fn close(&mut self, wal: Wal, tickets: &[Ticket], flying: Vec<StepIo>) {
        let stepper = Stepper::new(&wal);
        flying.into_iter().for_each(|io| stepper.complete(io));
        match wal.close() {
            Ok(()) => {
                assert!(tickets.iter().all(Ticket::is_durable), "seed {}: closed, not durable", self.seed);
                self.acknowledged = self.expected.len();
            }
            Err(_) => {
                self.settle(tickets);
                self.crash();
            }
        }
    }
}

fn run(seed: u64, lives: u32) -> Tally {
    let mut run = Run::new(seed);
    for _ in 0..lives {
        run.live();
        // Two opens without anything between them agree, wherever the first one was cut.
        if run.rng.chance(30) {
            let wal = run.open();
            drop(wal);
            run.crash();
        }
    }
    run.tally
}

#[test]
fn two_hundred_thousand_operations() {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    if let Some(seed) = number("SEAWALL_SEED") {
        run(seed, 40);
        return;
    }
    let random = number("SEAWALL_RUNS");
    let mut total = Tally::default();
    let mut n = 0;
    let enough = |total: &Tally, n| match random {
        Some(runs) => n >= runs,
        None => total.operations >= 200_000 && total.crashes >= 5_000,
    };
    while !enough(&total, n) {
        let seed = if random.is_some() { SystemRandom.next_u64() } else { n };
        let tally = std::panic::catch_unwind(|| run(seed, 40)).unwrap_or_else(|panic| {
            eprintln!("repeat with SEAWALL_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        n += 1;
        total.operations += tally.operations;
        total.crashes += tally.crashes;
        total.opens += tally.opens;
        total.appends += tally.appends;
        total.dropped += tally.dropped;
        total.latched += tally.latched;
    }
    println!(
        "{n} runs: {} operations, {} appends, {} crashes, {} opens, {} dropped ranges, {} latched",
        total.operations, total.appends, total.crashes, total.opens, total.dropped, total.latched
    );
    assert!(total.dropped > 100 && total.latched > 10, "the faults did not happen");
}
