//! Runs the real log, step by step, from an empty disk or from the state that a crash left.

use seawall_wal::disk::sim::{SimDisk, SimOptions, SimRandom, Ticking};
use seawall_wal::inspect::{GroupKind, SegmentScan, Verdict};
use seawall_wal::testing::fuzz::quick::Places;
use seawall_wal::testing::stepper::{StepIo, Stepper};
use seawall_wal::testing::write_plans::{WritePlan, restrict};
use seawall_wal::{
    Durability, Env, Error, Lsn, Options, PartInfo, RecordBuilder, RecoveryReport, Threads, Wal,
    segments::SegmentIndexBuilder,
};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub const BLOCK: usize = 4096;

/// The largest number of writes in flight.
pub const IN_FLIGHT: usize = 3;

/// One step of the log's user or of its disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Appends and issues a group of this many blocks.
    Issue(usize),
    /// The `n`-th of the writes in flight becomes durable.
    Complete(usize),
    /// The log is idle: it writes a mark.
    Mark,
}

/// A group with records: its position, and its number of records, which no other group at this position has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Group {
    pub lsn: Lsn,
    pub records: u32,
}

/// Knowledge about the log that is not on its disk.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ghost {
    /// All groups that may be in the log, in order.
    pub log: Vec<Group>,
    /// How many of them, from the first on, were acknowledged.
    pub acked: usize,
    /// How many of them, from the first on, were shown by an open that returned.
    pub shown: usize,
    /// The number of data groups that were ever issued.
    pub issued: usize,
}

/// The files of a log that no process has open.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub identity: Rc<Vec<u8>>,
    pub segments: BTreeMap<u32, Rc<Vec<u8>>>,
}

impl Image {
    pub fn of(disk: &SimDisk) -> Image {
        let names = disk.names().into_iter();
        let number = |name: &str| u32::from_str_radix(name.strip_suffix(".wal")?, 16).ok();
        let segments = names.filter_map(|name| Some((number(&name)?, Rc::new(disk.read_file(&name)))));
        Image { segments: segments.collect(), identity: Rc::new(disk.read_file("IDENTITY")) }
    }

    pub fn disk(&self, seed: u64) -> Arc<SimDisk> {
        let disk = SimDisk::new(seed, SimOptions::default());
        disk.write_file("IDENTITY", &self.identity);
        self.segments.iter().for_each(|(n, bytes)| disk.write_file(&format!("{n:08x}.wal"), bytes));
        disk
    }
}

/// The start of a run, and its steps.
#[derive(Clone, Debug)]
pub struct Trace {
    /// A log that crashed; `None` for a new log.
    pub start: Option<Rc<Start>>,
    pub steps: Vec<Step>,
    /// Whether segments get footers. A footer is on the disk as soon as it is written, whatever is in flight
    /// before it: this order of completion is the most likely to mislead recovery.
    pub sealed: bool,
    /// The number of blocks that may be in flight when another group is written, in a log's first life.
    /// Records are then zeros, so that only their headers distinguish a segment that was entered from one
    /// that was not.
    pub reach: Option<u32>,
}

/// A log that crashed.
#[derive(Debug)]
pub struct Start {
    pub image: Image,
    pub ghost: Ghost,
    /// Whether open writes a mark.
    pub mark: bool,
}

/// A write in flight.
pub struct Pending {
    pub lsn: Lsn,
    pub bytes: Vec<u8>,
}

/// The state at the moment at which a trace is cut.
pub struct Node {
    /// The files, with everything that is durable.
    pub image: Image,
    pub ghost: Ghost,
    pub pending: Vec<Pending>,
    /// The number of blocks of the groups that are not part of the durable prefix.
    pub ahead: usize,
    /// Whether the log ends in a mark.
    pub marked: bool,
    /// Whether the log has seen how slow the disk is. Before that, it writes one group at a time.
    pub side_by_side: bool,
}

pub fn env(disk: &SimDisk, seed: u64) -> Env {
    Env {
        disk: disk.process(),
        clock: Arc::new(Ticking::default()),
        random: Arc::new(SimRandom::new(seed)),
        threads: Threads::Stepped,
    }
}

pub fn options() -> Options {
    Options::default()
        .with_segment_bytes(6 * 4096)
        .with_group_bytes(2 * 4096)
        .with_writes_in_flight_max(u32::try_from(IN_FLIGHT).unwrap())
}

pub fn open(disk: &SimDisk, ghost: &Ghost) -> Result<(Wal, RecoveryReport), Error> {
    // Each life has its own seed, so the salts of two lives differ.
    Wal::open_in(env(disk, 1000 + ghost.issued as u64), &options())
}

/// An index builder that counts the footers that it made.
struct Counting(Places, Arc<AtomicU64>);

impl SegmentIndexBuilder for Counting {
    fn record(&mut self, lsn: Lsn, meta: &[u8], parts: &mut dyn Iterator<Item = PartInfo>) {
        self.0.record(lsn, meta, parts);
    }

    fn seal(&mut self, segment: u32, out: &mut Vec<u8>) {
        self.0.seal(segment, out);
        self.1.fetch_add(u64::from(!out.is_empty()), Ordering::Relaxed);
    }
}

/// Appends and issues a group of `records` records. It fills its blocks with `byte`, except for some bytes of
/// the last sector.
fn issue(
    wal: &Wal,
    stepper: &Stepper<'_>,
    (records, blocks, byte): (u32, usize, u8),
    footers: Option<&AtomicU64>,
) -> (Group, StepIo) {
    let before = footers.map_or(0, |footers| footers.load(Ordering::Relaxed));
    let marks = wal.stats().marks;
    let mut batch = RecordBuilder::new();
    batch.set_footer_bytes(if footers.is_some() { 8 * records } else { 0 });
    batch.push_part(&vec![byte; blocks * BLOCK - 200 - 24 * records as usize]);
    let lsn = wal.append(&batch, Durability::Sync).unwrap().lsn();
    for _ in 1..records {
        assert_eq!(
            wal.append(&RecordBuilder::new(), Durability::Sync).unwrap().lsn().segment(),
            lsn.segment()
        );
    }
    let lsn = Lsn::new(lsn.segment(), lsn.offset() & !4095);
    if footers.is_some_and(|footers| footers.load(Ordering::Relaxed) > before) {
        stepper.complete(stepper.issue().expect("the footer of the segment before"));
    }
    if wal.stats().marks > marks {
        stepper.complete(stepper.issue().expect("the mark before a long group"));
    }
    (Group { lsn, records }, stepper.issue().expect("a disk that is not busy"))
}

impl Trace {
    /// Runs the trace. Returns the state at its end.
    pub fn run(&self) -> Node {
        let (disk, wal, mut ghost, mut side_by_side) = match self.start.as_deref() {
            None => {
                let disk = SimDisk::new(0, SimOptions::default());
                let near = |blocks: u32| {
                    // The segments have room for groups that are further ahead of a long one than this bound.
                    options().with_in_flight_bytes_max(blocks * 4096).with_segment_bytes(8 * 4096)
                };
                let options = self.reach.map_or_else(options, near);
                let wal = Wal::create_in(env(&disk, 7), &options).unwrap();
                (disk, wal, Ghost::default(), true)
            }
            Some(Start { image, ghost, mark }) => {
                let disk = image.disk(0);
                let (wal, report) = open(&disk, ghost).unwrap();
                let mut ghost = ghost.clone();
                // The log keeps the groups before the reported end, as the check of this state has confirmed.
                let live = |g: &Group| g.lsn < report.end;
                ghost.log.truncate(ghost.log.iter().take_while(|g| live(g)).count());
                (ghost.acked, ghost.shown) = (ghost.log.len(), ghost.log.len());
                (disk, wal, ghost, *mark)
            }
        };
        // The trace says what is in flight.
        restrict(&wal, vec![WritePlan::Concurrent(32)]);
        let footers = Arc::new(AtomicU64::new(0));
        if self.sealed {
            wal.set_index_builder(Box::new(Counting(Places::default(), Arc::clone(&footers)))).unwrap();
        }
        let footers = self.sealed.then_some(&*footers);
        let mut marked = true;
        let mut stepper = Stepper::new(&wal);
        let mut flying: Vec<(Group, usize, Option<StepIo>)> = Vec::new();
        for &step in &self.steps {
            match step {
                Step::Issue(blocks) => {
                    ghost.issued += 1;
                    let issued = u32::try_from(ghost.issued).unwrap();
                    // With a bound, each group has one record, because a long group has only one.
                    let (records, byte) = self.reach.map_or((issued, 0xA5), |_| (1, 0));
                    let (group, io) = issue(&wal, &stepper, (records, blocks, byte), footers);
                    ghost.log.push(group);
                    flying.push((group, blocks, Some(io)));
                    marked = false;
                }
                Step::Complete(n) => {
                    let mut running = flying.iter_mut().filter(|f| f.2.is_some());
                    let io = running.nth(n).and_then(|f| f.2.take()).expect("a write in flight");
                    stepper.complete(io);
                    side_by_side = true;
                    let done = flying.iter().take_while(|f| f.2.is_none()).count();
                    flying.drain(..done);
                    ghost.acked += done;
                }
                Step::Mark => {
                    stepper.idle();
                    marked = true;
                }
            }
        }
        let image = Image::of(&disk);
        flying.iter().filter_map(|f| f.2.as_ref()).for_each(|io| stepper.abandon(io));
        let pending = flying.iter().filter(|f| f.2.is_some()).map(|(group, blocks, _)| {
            let file = disk.read_file(&format!("{:08x}.wal", group.lsn.segment()));
            let bytes = file[group.lsn.offset() as usize..][..blocks * BLOCK].to_vec();
            Pending { lsn: group.lsn, bytes }
        });
        let ahead = flying.iter().map(|f| f.1).sum();
        Node { image, ahead, pending: pending.collect(), ghost, marked, side_by_side }
    }
}

/// The groups with records that `verdict` keeps, in order.
pub fn kept(scans: &[SegmentScan], verdict: &Verdict) -> Vec<Group> {
    let mut kept = Vec::new();
    for part in &verdict.kept {
        let heads = scans.iter().filter(|f| f.sequence == part.segment).flat_map(|f| &f.heads);
        let heads = heads.filter(|h| h.offset < part.end && h.kind == GroupKind::Data);
        kept.extend(heads.map(|h| Group { lsn: Lsn::new(part.segment, h.offset), records: h.record_count }));
    }
    kept
}
