//! Tests random batches over many groups on the simulated disk against a small reference model.
//!
//! After every crash and reopen, the engine must be in the state after some batch in the order of the log:
//! the last acknowledged one or a later one. So nothing acknowledged is lost, nothing removed, overwritten or
//! compacted comes back, and no batch is there in part (INV-1, INV-2, INV-3, INV-6). Nothing rots here, so no
//! open may be refused, whatever was released before the crash.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test engine model::` repeats one run; `SEAWALL_RUNS=n` makes n
//! runs from random seeds, which are printed on failure.

mod reference;

use std::collections::VecDeque;
use std::sync::Arc;

use reference::{Act, Groups, Rng, Sizes, act, build};
use seawall::testing::fuzz::replays_agree;
use seawall::{Compression, Engine, EntryRef, Error, Options, Ticket, WriteBatch};
use seawall_wal::disk::sim::{FaultError, FaultOp, FaultRule, SimClock, SimDisk, SimOptions, SimRandom};
use seawall_wal::disk::{
    Mode,
    clock::{Random, SystemRandom},
};
use seawall_wal::{Env, Threads};

use crate::seeds;

#[derive(Default, Debug)]
struct Tally {
    /// Number of writes, reads, flushes and waits.
    steps: u64,
    /// Number of operations on groups. A batch has several.
    acts: u64,
    refused: u64,
    crashes: u64,
    opens: u64,
    /// Number of batches that a crash lost. None of them was acknowledged.
    lost: u64,
    released: u64,
    /// Number of segments replayed from their index.
    by_index: u64,
    /// Number of entries that were copied out of old segments.
    moved: u64,
    /// Number of entries that were compressed.
    compressed: u64,
    latched: u64,
    full: u64,
}

/// A batch that is in the log and not known to be durable.
struct Pending {
    acts: Vec<(u64, Act)>,
    ticket: Ticket,
    /// Whether the run may wait for the ticket. No thread runs here, so nothing would write a lazy batch.
    urgent: bool,
}

struct Run {
    rng: Rng,
    seed: u64,
    disk: Arc<SimDisk>,
    options: Options,
    sizes: Sizes,
    /// State of the groups after the last acknowledged batch.
    durable: Groups,
    pending: VecDeque<Pending>,
    /// State of the groups after the last batch.
    now: Groups,
    next_id: u64,
    created: bool,
    /// Whether an open has returned. From then on the log exists for good.
    opened: bool,
    tally: Tally,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng(seed);
        let mode = if rng.chance(50) { Mode::Direct } else { Mode::Buffered };
        let (short_writes, past_cache) = (rng.chance(30), rng.chance(50));
        let sim = SimOptions { mode, short_writes, past_cache, ..SimOptions::default() };
        let reemit_groups_max = usize::try_from(1 + rng.below(12)).unwrap();
        let cache_bytes = [0, 1000, 20_000, 64 << 20][usize::try_from(seed % 4).unwrap_or(0)];
        let slack_bytes = [0, 64 << 10, 1 << 30][usize::try_from(seed % 3).unwrap_or(0)];
        let compression = (seed % 4 == 1).then_some(Compression { from_bytes: 600, level: 1 });
        let mut options = Options::default()
            .with_reemit_groups_max(reemit_groups_max)
            .with_slack_bytes(slack_bytes)
            .with_cache_bytes(cache_bytes)
            .with_compression(compression);
        options.log.segment_bytes = 4096 * rng.small(8, 16);
        options.log.group_bytes = 4096 * rng.small(1, 4);
        options.log.spare_segments = rng.small(3, 4);
        Run {
            disk: SimDisk::new(rng.next(), sim),
            sizes: Sizes {
                groups: 2 + rng.below(30),
                payload_max: rng.small(20, 6000),
                batch: 1 + rng.below(5),
            },
            rng,
            seed,
            options,
            durable: Groups::default(),
            pending: VecDeque::new(),
            now: Groups::default(),
            next_id: 1,
            created: false,
            opened: false,
            tally: Tally::default(),
        }
    }

    /// Opens or creates the engine, and checks what it shows. Crashes may interrupt this any number of times.
    fn open(&mut self) -> Engine {
        if self.opened {
            self.tally.by_index += replays_agree(&self.disk, &self.options) as u64;
        }
        if self.rng.chance(20) {
            self.age();
        }
        loop {
            if self.rng.chance(25) {
                self.disk.crash_after(1 + self.rng.below(40));
            }
            let env = Env {
                disk: self.disk.process(),
                clock: Arc::new(SimClock::new()),
                random: Arc::new(SimRandom::new(self.rng.next())),
                threads: Threads::Stepped,
            };
            self.tally.opens += 1;
            let result = if self.created {
                Engine::open_in(env, &self.options).map(|(engine, _)| engine)
            } else {
                Engine::create_in(env, &self.options)
            };
            let error = match result {
                Ok(engine) => {
                    (self.created, self.opened) = (true, true);
                    self.adopt(&engine);
                    return engine;
                }
                Err(error) => error,
            };
            match error {
                _ if self.disk.crash_reached() => self.crash(),
                // The log was created before the crash, although `create` did not return.
                Error::Log(seawall_wal::Error::AlreadyALog { .. }) if !self.created => self.created = true,
                // The name of the created log was not durable after all.
                Error::Log(seawall_wal::Error::NotALog { .. }) if !self.opened => self.created = false,
                error => panic!("seed {}: open refused: {error}", self.seed),
            }
        }
    }

    /// Caches some pages of the segments as they were before anything was written to them.
    fn age(&mut self) {
        for name in self.disk.names().into_iter().filter(|name| name.ends_with(".wal")) {
            let sectors = self.disk.read_file(&name).len() as u64 / 512;
            let from = usize::try_from(self.rng.below(sectors.max(1))).unwrap();
            let count = usize::try_from(self.rng.below(64)).unwrap();
            self.disk.cache_older(&name, 512 * from, &vec![0; 512 * count]);
        }
    }

    /// Cuts the power, or kills the process, or does both.
    fn crash(&mut self) {
        self.tally.crashes += 1;
        if self.rng.chance(15) {
            self.disk.kill();
            if self.rng.chance(50) {
                return;
            }
        }
        self.disk.crash();
    }

    /// Checks that an engine that was just opened is in the state after the last acknowledged batch or after
    /// a later one. From then on this state counts as acknowledged.
    fn adopt(&mut self, engine: &Engine) {
        let mut state = std::mem::take(&mut self.durable);
        while let Some(why) = self.other(engine, &state) {
            let Some(batch) = self.pending.pop_front() else {
                panic!("seed {}: the state after no batch since the last acknowledged one: {why}", self.seed)
            };
            batch.acts.iter().for_each(|(group, act)| state.apply(*group, act));
        }
        self.tally.lost += self.pending.len() as u64;
        self.pending.clear();
        self.now.clone_from(&state);
        self.durable = state;
    }

    /// Returns the first difference between the engine, payloads included, and `groups`.
    fn other(&self, engine: &Engine, groups: &Groups) -> Option<String> {
        groups.differs(engine).err().or_else(|| match groups.payloads_differ(engine) {
            Ok(why) => why,
            Err(_) if self.disk.crash_reached() => None,
            Err(error) => panic!("seed {}: read: {error}", self.seed),
        })
    }

    /// Runs one life of the engine, up to a crash or a close.
    fn live(&mut self) {
        let engine = self.open();
        let first = engine.stats().unwrap().segments.0;
        if self.rng.chance(50) {
            self.disk.crash_after(1 + self.rng.below(60));
        }
        match self.rng.below(40) {
            0 => self.disk.fail(FaultRule::once(FaultOp::Write, 1 + self.rng.below(20), FaultError::Io)),
            1 => self.disk.fail(FaultRule::once(FaultOp::Sync, 1 + self.rng.below(20), FaultError::Io)),
            // The disk stays full until the end of this life.
            2..5 => self.disk.fail(FaultRule::forever(FaultOp::Create, 1, FaultError::Full)),
            _ => {}
        }
        let mut cut = false;
        for _ in 0..self.rng.below(90) {
            self.tally.steps += 1;
            let outcome = self.step(&engine);
            self.settle();
            match outcome {
                Ok(()) => {}
                Err(Error::Log(seawall_wal::Error::NoSpace { .. })) => self.tally.full += 1,
                Err(error) => {
                    let power = self.disk.crash_reached();
                    let log = matches!(
                        error,
                        Error::Log(seawall_wal::Error::Latched { .. } | seawall_wal::Error::Io { .. })
                    );
                    assert!(power || log, "seed {}: {error}", self.seed);
                    self.tally.latched += u64::from(!power);
                    cut = true;
                    break;
                }
            }
        }
        let stats = engine.stats().unwrap();
        self.tally.released += u64::from(stats.segments.0 - first);
        self.tally.moved += stats.rewrite.entries;
        self.tally.compressed += stats.compression.entries;
        if !cut && self.rng.chance(20) && engine.close().is_ok() {
            self.settle();
            assert!(self.pending.is_empty(), "seed {}: closed and not durable", self.seed);
        } else {
            self.settle();
            drop(engine);
            self.crash();
        }
        self.disk.clear_faults();
    }

    fn step(&mut self, engine: &Engine) -> Result<(), Error> {
        match self.rng.below(100) {
            0..70 => self.write(engine),
            70..85 => {
                let urgent: Vec<_> = self.pending.iter().filter(|batch| batch.urgent).collect();
                let Some(last) = urgent.len().checked_sub(1) else { return Ok(()) };
                urgent[usize::try_from(self.rng.below(last as u64 + 1)).unwrap()].ticket.wait()?;
                Ok(())
            }
            85..88 => engine.flush(),
            88..91 => {
                let other = self.other(engine, &self.now);
                assert_eq!(other, None, "seed {}", self.seed);
                Ok(())
            }
            _ => {
                let group = 1 + self.rng.below(self.sizes.groups);
                let other = self.now.read_some(engine, group, &mut self.rng)?;
                assert_eq!(other, None, "seed {}", self.seed);
                Ok(())
            }
        }
    }

    /// Writes a batch that must be accepted, or one that must be refused without a trace.
    fn write(&mut self, engine: &Engine) -> Result<(), Error> {
        let mut staged = self.now.clone();
        let mut acts = Vec::new();
        for _ in 0..1 + self.rng.below(self.sizes.batch) {
            let group = 1 + self.rng.below(self.sizes.groups);
            let act = act(&mut self.rng, staged.group(group), &self.sizes, &mut self.next_id);
            staged.apply(group, &act);
            acts.push((group, act));
        }
        let mut batch = WriteBatch::new();
        acts.iter().for_each(|(group, act)| build(&mut batch, *group, act));
        if self.rng.chance(5) {
            let group = 1 + self.rng.below(self.sizes.groups);
            let last = staged.group(group).last();
            batch.append(group, &[EntryRef { index: last + 2, term: u64::MAX, payload: b"a gap" }]);
            let refused = engine.write(&mut batch);
            assert!(matches!(refused, Err(Error::Gap { .. })), "seed {}: {refused:?}", self.seed);
            let differs = self.now.differs(engine);
            differs.unwrap_or_else(|why| panic!("seed {}: a refused batch left a trace: {why}", self.seed));
            self.tally.refused += 1;
            return Ok(());
        }
        let urgent = self.rng.chance(40);
        if urgent {
            batch.sync();
        }
        let ticket = match engine.write(&mut batch) {
            Ok(ticket) => ticket,
            Err(Error::BatchTooLarge { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.tally.acts += acts.len() as u64;
        self.pending.push_back(Pending { acts, ticket, urgent });
        self.now = staged;
        Ok(())
    }

    /// Records which batches are acknowledged by now. They must be a prefix.
    fn settle(&mut self) {
        while self.pending.front().is_some_and(|batch| batch.ticket.is_durable()) {
            let Some(batch) = self.pending.pop_front() else { return };
            batch.acts.iter().for_each(|(group, act)| self.durable.apply(*group, act));
        }
        let gap = self.pending.iter().any(|batch| batch.ticket.is_durable());
        assert!(!gap, "seed {}: a gap in what is acknowledged", self.seed);
    }
}

fn run(seed: u64, lives: u32) -> Tally {
    let mut run = Run::new(seed);
    for _ in 0..lives {
        run.live();
        // Two opens in a row agree, wherever a crash interrupts the first one.
        if run.rng.chance(20) {
            drop(run.open());
            run.crash();
        }
    }
    run.tally
}

#[test]
fn a_hundred_thousand_operations_and_three_thousand_crashes() {
    if let Some(seed) = seeds::number("SEAWALL_SEED") {
        println!("{:?}", run(seed, 40));
        return;
    }
    let random = seeds::number("SEAWALL_RUNS");
    let mut total = Tally::default();
    let mut n = 0;
    let enough = |total: &Tally, n| match random {
        Some(runs) => n >= runs,
        None => total.steps >= 100_000 && total.acts >= 100_000 && total.crashes >= 3_000,
    };
    while !enough(&total, n) {
        let seed = if random.is_some() { SystemRandom.next_u64() } else { n };
        let tally = seeds::with_seed(seed, || run(seed, 40));
        n += 1;
        total.steps += tally.steps;
        total.acts += tally.acts;
        total.refused += tally.refused;
        total.crashes += tally.crashes;
        total.opens += tally.opens;
        total.lost += tally.lost;
        total.released += tally.released;
        total.by_index += tally.by_index;
        total.moved += tally.moved;
        total.compressed += tally.compressed;
        total.latched += tally.latched;
        total.full += tally.full;
    }
    println!("{n} runs: {total:?}");
    let happened = [
        total.lost,
        total.released,
        total.by_index,
        total.moved,
        if cfg!(feature = "zstd") { total.compressed } else { u64::MAX },
        10 * total.latched,
        total.refused,
        total.full,
    ];
    assert!(happened.iter().all(|n| *n > 200), "the faults did not happen: {total:?}");
}
