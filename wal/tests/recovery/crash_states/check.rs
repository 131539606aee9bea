//! Goes through crash states and checks each of them, also with a rotten block.

use super::modes;
use super::trace::{BLOCK, Ghost, Group, IN_FLIGHT, Image, Node, Pending, Start, Step, Trace, kept, open};
use seawall_wal::disk::sim::{SimDisk, SimOptions};
use seawall_wal::inspect::{PriorContents, SegmentScan, Verdict, decide, inspect};
use seawall_wal::testing::fuzz::quick::{agree, milder};
use seawall_wal::{Error, Lsn, UnexplainedTail};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

const SECTOR: usize = 512;

/// One in this many states with a rotten block is also opened in the other modes.
const REALLY: u64 = 11;

/// For each group, its length and how many groups were durable when it was issued; and for each write,
/// whether it is done.
type Essence = (Vec<(usize, usize)>, Vec<bool>);

/// The torn writes to try.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Patterns {
    /// The first sector is written or not. Of the others, none, the first half, the second half or all are
    /// written.
    Told,
    /// All subsets of the sectors that a write changes.
    Sectors,
}

/// Counts of a run.
#[derive(Default, Debug)]
pub struct Tally {
    pub traces: u64,
    /// Crash states that were checked.
    pub states: u64,
    /// Crash states that differ in what the scan finds or in what is known of the log.
    pub distinct: u64,
    pub real_opens: u64,
    /// States that an open left when it was cut.
    pub cut_opens: u64,
    /// States with a rotten block.
    pub rotten: u64,
    /// The outcomes for those states.
    pub rot: BTreeMap<&'static str, u64>,
    /// Segments that open accepted by their footer, in all states.
    pub by_footer: u64,
    /// Rotten states that open because the rot lies in such a segment.
    pub opened_over_rot: u64,
    /// The largest number of acknowledged groups that were lost to one rotten block: those issued before that
    /// block was durable.
    pub lost_max: usize,
}

/// Goes through traces and their crash states, and checks each distinct state once.
pub struct Explorer {
    pub patterns: Patterns,
    pub rot: bool,
    /// Whether segments get footers, and an open that trusts them is compared with one that reads everything.
    pub sealed: bool,
    /// Bounds what is in flight, in blocks. An open that reads no more of spares than this bound requires is
    /// compared with one that reads everything.
    pub reach: Option<u32>,
    seen: HashSet<u64>,
    scanner: Arc<SimDisk>,
    tally: Tally,
    /// The number of groups of the whole run.
    groups: usize,
}

impl Explorer {
    pub fn new(patterns: Patterns) -> Explorer {
        let scanner = SimDisk::new(0, SimOptions::default());
        Explorer {
            patterns,
            rot: true,
            sealed: false,
            reach: None,
            seen: HashSet::new(),
            scanner,
            tally: Tally::default(),
            groups: 0,
        }
    }

    pub fn finish(self) -> Tally {
        println!("{:#?}", self.tally);
        self.tally
    }

    /// Goes through all traces of up to `groups` groups that crash `crashes` times.
    pub fn explore(&mut self, groups: usize, crashes: u32) {
        self.groups = groups;
        self.traces(None, crashes);
    }

    /// Goes through all traces from `start`. Traces in which each group knew the same when it was issued
    /// count as one.
    fn traces(&mut self, start: Option<Rc<Start>>, crashes: u32) {
        let mut known: HashSet<Essence> = HashSet::new();
        let mut next = vec![Trace { start, steps: Vec::new(), sealed: self.sealed, reach: self.reach }];
        while let Some(trace) = next.pop() {
            if !known.insert(trace.essence()) {
                continue;
            }
            let node = self.node(&trace, crashes);
            let mut then = |step| {
                let mut trace = trace.clone();
                trace.steps.push(step);
                next.push(trace);
            };
            let room = if node.side_by_side { IN_FLIGHT } else { 1 };
            if node.ghost.issued < self.groups && node.pending.len() < room {
                let fits = |blocks: &usize| match self.reach {
                    Some(reach) if node.ahead > 0 => node.ahead.max(*blocks) <= reach as usize,
                    _ => true,
                };
                [1, 2].into_iter().filter(fits).for_each(|blocks| then(Step::Issue(blocks)));
            }
            (0..node.pending.len()).for_each(|n| then(Step::Complete(n)));
            if node.pending.is_empty() && !node.marked {
                then(Step::Mark);
            }
        }
    }

    /// Cuts `trace` at its end and checks every state that may be left.
    pub fn node(&mut self, trace: &Trace, crashes: u32) -> Node {
        let node = trace.run();
        self.tally.traces += 1;
        self.tally.real_opens += 1;
        let sound: BTreeMap<u32, SegmentScan> =
            node.image.segments.iter().map(|(&n, bytes)| (n, self.scan(&node.image, n, bytes))).collect();
        let choices: Vec<Vec<u32>> = node.pending.iter().map(|p| self.patterns_of(p)).collect();
        let mut scanned: HashMap<(u32, Vec<u32>), SegmentScan> = HashMap::new();
        let mut at = vec![0; choices.len()];
        loop {
            let masks: Vec<u32> = at.iter().zip(&choices).map(|(&i, all)| all[i]).collect();
            let mut scans = sound.clone();
            for &n in node.image.segments.keys() {
                let here: Vec<u32> = masks
                    .iter()
                    .zip(&node.pending)
                    .map(|(&mask, p)| if p.lsn.segment() == n { mask } else { 0 })
                    .collect();
                if here.iter().any(|&mask| mask != 0) {
                    let found = scanned
                        .entry((n, here))
                        .or_insert_with_key(|(n, masks)| self.scan(&node.image, *n, &torn(&node, *n, masks)));
                    scans.insert(n, found.clone());
                }
            }
            let scans: Vec<SegmentScan> = scans.into_values().collect();
            self.state(&node, &masks, &scans, trace, crashes);
            // Continues with the next combination.
            let Some(i) = (0..at.len()).find(|&i| at[i] + 1 < choices[i].len()) else { break };
            at[i] += 1;
            at[..i].fill(0);
        }
        node
    }

    /// Checks one crash state.
    fn state(&mut self, node: &Node, masks: &[u32], scans: &[SegmentScan], trace: &Trace, crashes: u32) {
        self.tally.states += 1;
        let ghost = &node.ghost;
        let verdict = check_verdict(scans, ghost, || format!("{:?}, torn {masks:x?}", trace.steps));
        if !self.seen.insert(key(scans, ghost, crashes)) {
            return;
        }
        self.tally.distinct += 1;
        let segments = node.image.segments.keys().map(|&n| (n, Rc::new(torn(node, n, masks))));
        let image = Image { segments: segments.collect(), identity: Rc::clone(&node.image.identity) };
        if self.sealed || self.reach.is_some() {
            self.tally.by_footer += agree(&*image.disk(0)) as u64;
        }
        if self.rot {
            self.rot(&image, scans, ghost, &verdict);
        }
        if crashes > 1 {
            self.cut_opens(&image, ghost, verdict.end, &kept(scans, &verdict));
            let start = Start { image, ghost: ghost.clone(), mark: verdict.next.mark };
            self.traces(Some(Rc::new(start)), crashes - 1);
        }
    }

    /// Opens `image`, and dies at each operation of the open. Of that operation and of what was not synced,
    /// all is left, or what the disk draws.
    fn cut_opens(&mut self, image: &Image, ghost: &Ghost, end: Lsn, keeps: &[Group]) {
        for cut in 1.. {
            for seed in 0..3 {
                let disk = image.disk(seed);
                disk.crash_after(cut);
                self.tally.real_opens += 1;
                if let Ok((_, report)) = open(&disk, ghost) {
                    assert_eq!(report.end, end);
                    return;
                }
                assert!(disk.crash_reached());
                if seed == 0 {
                    disk.kill()
                } else {
                    disk.crash()
                }
                let left = Image::of(&disk);
                let scans: Vec<_> = left.segments.iter().map(|(&n, b)| self.scan(&left, n, b)).collect();
                self.tally.cut_opens += 1;
                let again = check_verdict(&scans, ghost, || format!("open cut at {cut}"));
                assert_eq!(kept(&scans, &again), keeps, "cut at {cut}");
            }
        }
    }

    /// Spoils each block in use in several ways.
    fn rot(&mut self, image: &Image, scans: &[SegmentScan], ghost: &Ghost, sound: &Verdict) {
        for (i, (&n, bytes)) in image.segments.iter().enumerate() {
            let used: Vec<usize> = (0..bytes.len())
                .step_by(BLOCK)
                .filter(|&at| bytes[at..at + BLOCK].iter().any(|&b| b != 0))
                .collect();
            for &at in &used {
                let last = bytes[at..at + BLOCK].iter().rposition(|&b| b != 0).unwrap_or(0);
                let other = used.iter().find(|&&other| other > 0 && other != at);
                let mut spoil = |how: &'static str, f: &dyn Fn(&mut [u8])| {
                    let mut spoiled = bytes.to_vec();
                    f(&mut spoiled[at..at + BLOCK]);
                    if spoiled == **bytes {
                        return;
                    }
                    let before = scans.to_vec();
                    let mut scans = scans.to_vec();
                    scans[i] = self.scan(image, n, &spoiled);
                    self.tally.rotten += 1;
                    let at = Lsn::new(n, u32::try_from(at).unwrap());
                    let (became, lost) =
                        check_rotten(&scans, ghost, at, how, self.sealed, self.reach.is_some());
                    *self.tally.rot.entry(became).or_default() += 1;
                    if self.sealed || self.reach.is_some() {
                        let disk = image.disk(0);
                        disk.write_file(&format!("{n:08x}.wal"), &spoiled);
                        if milder(&*disk, sound) {
                            self.tally.opened_over_rot += 1;
                            served_but_for(&disk, ghost, &kept(&before, sound), at);
                        }
                    }
                    // Opens only some of these states for real, because that is slow.
                    let really = self.tally.rotten.is_multiple_of(REALLY);
                    let image = || {
                        let mut image = image.clone();
                        image.segments.insert(n, Rc::new(spoiled.clone()));
                        image
                    };
                    let spoiled = if really { image() } else { Image::default() };
                    if let Some(became) = modes::rotten(&spoiled, &scans, ghost, how, really) {
                        *self.tally.rot.entry(became).or_default() += 1;
                    }
                    self.tally.lost_max = self.tally.lost_max.max(lost);
                };
                spoil("a bit of the first sector", &|b| b[20] ^= 4);
                spoil("a bit of the last byte", &|b| b[last] ^= 1);
                spoil("a sector of zeros", &|b| b[SECTOR..2 * SECTOR].fill(0));
                spoil("a block of zeros", &|b| b.fill(0));
                if let Some(&other) = other {
                    spoil("another block", &|b| b.copy_from_slice(&bytes[other..other + BLOCK]));
                }
            }
        }
    }

    /// The sets of sectors of a write that a crash may leave, as bit masks.
    fn patterns_of(&self, pending: &Pending) -> Vec<u32> {
        let sectors = pending.bytes.chunks(SECTOR).map(|s| s.iter().any(|&b| b != 0));
        let changed = sectors.enumerate().fold(0, |mask, (i, changed)| mask | u32::from(changed) << i);
        let mut all: Vec<u32> = match self.patterns {
            Patterns::Sectors => (0..=changed).filter(|mask| mask & !changed == 0).collect(),
            Patterns::Told => {
                let half = (1 << (pending.bytes.len() / SECTOR / 2)) - 1;
                let some = [0, half, !half, u32::MAX].map(|rest| rest & changed & !1);
                some.into_iter().flat_map(|rest| [rest, rest | 1]).collect()
            }
        };
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Scans segment `n` as if it held `bytes`.
    fn scan(&self, image: &Image, n: u32, bytes: &[u8]) -> SegmentScan {
        let name = format!("{n:08x}.wal");
        self.scanner.write_file("IDENTITY", &image.identity);
        self.scanner.write_file(&name, bytes);
        let scan = inspect(&*self.scanner).unwrap().segments.pop().unwrap();
        self.scanner.remove_file(&name);
        scan
    }
}

impl Trace {
    /// A key for traces: those from the same start with the same key leave the same bytes. A mark is a group
    /// of length 0.
    fn essence(&self) -> Essence {
        let (mut groups, mut done): (Vec<(usize, usize)>, Vec<bool>) = (Vec::new(), Vec::new());
        for step in &self.steps {
            let durable = done.iter().take_while(|&&done| done).count();
            match *step {
                Step::Issue(blocks) => {
                    groups.push((blocks, durable));
                    done.push(false);
                }
                Step::Mark => {
                    groups.push((0, durable));
                    done.push(true);
                }
                Step::Complete(n) => {
                    let i = done.iter().enumerate().filter(|(_, done)| !**done).nth(n).unwrap().0;
                    done[i] = true;
                }
            }
        }
        (groups, done)
    }
}

/// The bytes of segment `n` with those sectors of the pending writes that `masks` name.
fn torn(node: &Node, n: u32, masks: &[u32]) -> Vec<u8> {
    let mut bytes = node.image.segments[&n].to_vec();
    for (pending, mask) in node.pending.iter().zip(masks).filter(|(p, _)| p.lsn.segment() == n) {
        for (i, sector) in pending.bytes.chunks(SECTOR).enumerate().filter(|(i, _)| mask >> i & 1 == 1) {
            let at = pending.lsn.offset() as usize + i * SECTOR;
            bytes[at..at + SECTOR].copy_from_slice(sector);
        }
    }
    bytes
}

/// A hash of what the scan finds, without the reasons of faults, and of what is known of the log.
fn key(scans: &[SegmentScan], ghost: &Ghost, crashes: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    for f in scans {
        (f.sequence, f.zeros_from, &f.unexplained_blocks, f.heads.len()).hash(&mut hasher);
        for h in &f.heads {
            let head = (h.offset, h.end, h.watermark, h.previous_end, h.record_count, h.zero_sector);
            (head, h.fault.is_some()).hash(&mut hasher);
        }
    }
    (ghost, crashes).hash(&mut hasher);
    hasher.finish()
}

/// Checks the promises for a state in which nothing rotted.
fn check_verdict(scans: &[SegmentScan], ghost: &Ghost, what: impl Fn() -> String) -> Verdict {
    let block = u32::try_from(BLOCK).unwrap();
    let verdict = decide(scans, block, UnexplainedTail::Refuse)
        .unwrap_or_else(|damage| panic!("{}: refused, and nothing rotted: {damage:?}", what()));
    let kept = kept(scans, &verdict);
    assert!(kept.len() >= ghost.acked, "{}: kept {kept:?} of {ghost:?}", what());
    assert!(ghost.log.get(..kept.len()) == Some(&kept[..]), "{}: kept {kept:?} of {ghost:?}", what());
    let next = verdict.next.at;
    for f in scans.iter().filter(|f| f.sequence >= next.segment()) {
        let from = if f.sequence == next.segment() { next.offset() } else { block };
        assert!(f.heads.iter().all(|h| h.offset < from), "{}: groups lie after {next}", what());
        let zeros = f.header.is_ok_and(|h| h.prior == PriorContents::Zeros);
        assert!(!zeros || f.zeros_from <= from, "{}: remains lie after {next}", what());
    }
    verdict
}

/// Asserts that an open shows what was `kept` up to the group in which the block at `at` rotted, and that the
/// reader names that damage.
fn served_but_for(disk: &Arc<SimDisk>, ghost: &Ghost, kept: &[Group], at: Lsn) {
    let (wal, _) = open(disk, ghost).expect("the ends of the segment are as they were");
    let mut expected = kept.iter().flat_map(|group| vec![group.lsn; group.records as usize]);
    let mut records = wal.records(Lsn::ZERO);
    loop {
        match records.next() {
            Some(Ok(record)) => {
                let group = expected.next().expect("a record that was kept");
                assert_eq!(record.lsn().segment(), group.segment());
                assert!(record.lsn() > group && record.lsn().as_u64() < group.as_u64() + 2 * BLOCK as u64);
            }
            Some(Err(Error::Corrupt { damage, .. })) => {
                assert!(damage.iter().any(|d| d.from <= at && at < d.to), "{damage:?} at {at}");
                break;
            }
            other => panic!("the rot at {at} is not named: {other:?}"),
        }
    }
    assert!(records.next().is_none());
}

/// Checks a state in which the block at `at` rotted: the log is refused, or nothing is lost, or only groups
/// are lost that nothing shows to have been durable.
fn check_rotten(
    scans: &[SegmentScan],
    ghost: &Ghost,
    at: Lsn,
    how: &str,
    sealed: bool,
    zeros: bool,
) -> (&'static str, usize) {
    let block = u32::try_from(BLOCK).unwrap();
    let lost = |policy| {
        let verdict = decide(scans, block, policy).ok()?;
        let kept = kept(scans, &verdict);
        let what = || format!("{how} at {at}, {policy:?}: kept {kept:?} of {ghost:?}");
        assert!(at.offset() > 0, "a header: {}", what());
        assert!(ghost.log.get(..kept.len()) == Some(&kept[..]), "{}", what());
        assert!(kept.len() >= ghost.shown, "shown by an open and gone: {}", what());
        let lost = ghost.acked.saturating_sub(kept.len());
        if lost > 0 {
            // The rotten group is the first one lost, and no head that is left shows that it was durable.
            let (first, heads) = (ghost.log[kept.len()].lsn, scans.iter().flat_map(|f| &f.heads));
            // The rotten group may also be the footer before that one, or the announcement before a long one.
            let footer = (sealed || zeros) && at < first && kept.last().is_some_and(|last| last.lsn < at);
            // Every sector of the other groups holds something, so no crash explains a flipped bit.
            let torn = policy == UnexplainedTail::Drop || footer || zeros || !how.starts_with("a bit");
            assert!(torn, "not suspect: {}", what());
            let known = heads.map(|h| h.watermark).all(|known| known <= if footer { at } else { first });
            assert!((first <= at || footer) && known, "{}", what());
        }
        Some(lost)
    };
    let (refuse, drop) = (lost(UnexplainedTail::Refuse), lost(UnexplainedTail::Drop));
    let became = match (refuse, drop) {
        (None, None) => "refused under either policy",
        (None, Some(0)) => "suspect; nothing acknowledged is lost if dropped",
        (None, Some(_)) => "suspect; lost in the window if dropped",
        (Some(0), _) => "opened, nothing acknowledged is lost",
        (Some(_), _) => "opened, lost in the window",
    };
    (became, refuse.max(drop).unwrap_or(0))
}
