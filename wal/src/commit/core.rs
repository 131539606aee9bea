//! The log's state machine: what is enqueued, what is issued, what is durable. It does no I/O, takes no
//! lock and starts no thread: it hands out operations and is told how they ended (`issue`), so the same
//! code runs under threads and under a seeded scheduler.
//!
//! Invariants: groups are issued in log order; `watermark` only grows, over a contiguous prefix (INV-2);
//! after the first failed operation nothing is issued or acknowledged (INV-7). Fails with the error
//! that latched it.

use super::pace::Pace;
use super::waiters::Waiters;
use crate::disk::{Clock, DiskLock};
use crate::error::Error;
use crate::frame::{Batch, PartInfo, close_footer, tail_bytes};
use crate::mutant::mutant;
use crate::queue::{Flight, Group, Pool};
use crate::segment::Segment;
use crate::shelf::Shelf;
use crate::stats::Stats;
use crate::sync::AtomicU32;
use crate::types::{Class, GroupKind, Lsn, len32, round_up};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Spares that records with payload leave behind: the successor that every segment needs, and one for
/// control records and for reopening on a full disk.
pub(crate) const KEPT_SPARES: usize = 2;

/// Sees every record in log order as it is enqueued, and makes the footers.
///
/// Called under the log's lock: no I/O and no calls into the log.
pub trait Sealer: Send {
    /// A record was placed at `lsn`.
    fn record(&mut self, lsn: Lsn, meta: &[u8], parts: &mut dyn Iterator<Item = PartInfo>);

    /// `segment` is being sealed: writes its index into `out`, at most as many bytes as its records'
    /// footer bytes sum to, and forgets the segment.
    fn seal(&mut self, segment: u32, out: &mut Vec<u8>);
}

/// Fixed numbers of one log.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) location: String,
    pub(crate) block_bytes: u32,
    /// Length of new segments; those made under other options may be shorter.
    pub(crate) segment_bytes: u32,
    pub(crate) group_bytes: u32,
    pub(crate) queue_bytes: u64,
    pub(crate) in_flight: usize,
    /// Longest time that a thread yields before it sleeps.
    pub(crate) patience_ns: u64,
    /// Whether a completed write is durable (direct), or needs a sync.
    pub(crate) durable_writes: bool,
}

/// Why a record could not be enqueued now.
#[derive(Debug)]
pub(crate) enum Blocked {
    /// Too many bytes wait for the disk.
    Queue,
    /// The next segment, or the next written block, is not ready.
    Pipeline,
    /// It never will.
    Failed(Error),
}

/// Where a record was put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) lsn: Lsn,
    pub(crate) group: u64,
}

/// Where a log goes on after recovery.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u32,
    pub(crate) previous_end: Lsn,
    pub(crate) watermark: Lsn,
    pub(crate) first_live: u32,
    pub(crate) footer_bytes: u32,
    /// Whether the last group is a mark.
    pub(crate) marked: bool,
    /// The directory's lock; a log that is only read may do without.
    pub(crate) lock: Option<Arc<dyn DiskLock>>,
}

pub(crate) struct Core {
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shelf: Arc<Shelf>,
    /// Segment and offset of the next group to be started.
    pub(super) segment: Arc<Segment>,
    /// Mirror of the segment's number, for who asks without the lock.
    pub(super) active: Arc<AtomicU32>,
    pub(super) offset: u32,
    pub(super) previous_end: Lsn,
    /// What the footer of the segment will hold.
    pub(super) footer_bytes: u32,
    pub(super) filling: Option<Group>,
    pub(super) queued: VecDeque<Group>,
    pub(super) queued_bytes: u64,
    pub(super) flight: Flight,
    pub(super) next_ordinal: u64,
    pub(super) watermark: Lsn,
    /// Whether the last group, issued or not, is a mark.
    pub(super) marked: bool,
    pub(super) first_live: u32,
    pub(super) first_live_durable: u32,
    pub(super) failure: Option<Error>,
    pub(super) lock: Option<Arc<dyn DiskLock>>,
    pub(super) sealer: Option<Box<dyn Sealer>>,
    pub(crate) waiters: Waiters,
    pub(super) pool: Pool,
    /// Segments that rotation entered, with the end of the one before, for readers.
    pub(crate) entered: Vec<(Lsn, Arc<Segment>)>,
    /// The next rotation waits for the pipeline; counted once.
    rotation_waits: bool,
    /// The flusher sleeps until it is called.
    pub(crate) flusher_asleep: bool,
    /// Who issues besides the threads that wait.
    pub(super) driver: Driver,
    pub(super) driven: Driven,
    pub(crate) stats: Stats,
    pub(super) pace: Pace,
}

/// What the log's own thread can do for the threads that wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Driver {
    /// There is none.
    #[default]
    None,
    /// One operation at a time.
    Blocking,
    /// As many as may be in flight.
    Ring,
}

/// What the driver is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Driven {
    /// Nothing: waiters issue.
    No,
    /// It is about to look, or has operations in its ring: waiters leave everything to it.
    Yes,
    /// It is inside of one operation: waiters may issue what may go beside that.
    Busy,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("segment", &self.segment).field("offset", &self.offset).finish()
    }
}

impl Core {
    pub(crate) fn new(limits: Limits, clock: Arc<dyn Clock>, shelf: Arc<Shelf>, start: Start) -> Core {
        Core {
            limits,
            clock,
            shelf,
            active: Arc::new(AtomicU32::new(start.segment.sequence)),
            segment: start.segment,
            offset: start.offset,
            previous_end: start.previous_end,
            footer_bytes: start.footer_bytes,
            filling: None,
            queued: VecDeque::new(),
            queued_bytes: 0,
            flight: Flight::default(),
            next_ordinal: 1,
            watermark: start.watermark,
            marked: start.marked,
            first_live: start.first_live,
            first_live_durable: if start.watermark.is_zero() { 0 } else { start.first_live },
            failure: None,
            lock: start.lock,
            sealer: None,
            waiters: Waiters::default(),
            pool: Pool::default(),
            entered: Vec::new(),
            flusher_asleep: false,
            rotation_waits: false,
            driver: Driver::None,
            driven: Driven::No,
            stats: Stats::default(),
            pace: Pace::default(),
        }
    }

    // ---- append ----------------------------------------------------------------------------------

    /// Puts a record at the end of the log, or says what it has to wait for.
    pub(crate) fn append(&mut self, batch: &Batch, class: Class, head_crc: u32) -> Result<Placed, Blocked> {
        if let Some(failure) = &self.failure {
            return Err(Blocked::Failed(failure.clone()));
        }
        let bytes = batch.encoded_len();
        if self.queued_bytes > 0 && self.queued_bytes + bytes as u64 > self.limits.queue_bytes {
            self.stats.appends_waited += 1;
            return Err(Blocked::Queue);
        }
        // Records without payload, and those that may wait, are what frees space: they may use the last
        // spare that a full disk leaves.
        let control = class == Class::Lazy || batch.part_count() == 0;
        self.make_room(bytes, batch.footer_bytes(), if control { 1 } else { KEPT_SPARES })?;
        let Some(group) = &mut self.filling else { return Err(Blocked::Queue) };
        let lsn = group.push(batch, class, head_crc);
        group.wanted |= class == Class::Sync;
        let ordinal = group.ordinal;
        self.footer_bytes = self.footer_bytes.saturating_add(batch.footer_bytes());
        self.queued_bytes += bytes as u64;
        self.marked = false;
        self.stats.records += 1;
        self.stats.record_bytes += bytes as u64;
        if let Some(sealer) = &mut self.sealer {
            sealer.record(lsn, batch.meta_bytes(), &mut batch.part_infos(lsn.offset()));
        }
        Ok(Placed { lsn, group: ordinal })
    }

    /// Afterwards a group is being filled in which `bytes` more fit.
    fn make_room(&mut self, bytes: usize, footer_bytes: u32, keep: usize) -> Result<(), Blocked> {
        if let Some(group) = &self.filling {
            let len = group.len_with(bytes);
            let most = self.limits.group_bytes.min(group.segment.reach_bytes(self.limits.block_bytes));
            let full = group.record_count > 0 && len > most as usize;
            if !full && self.fits(group.start, len, footer_bytes)? {
                return Ok(());
            }
        }
        let len = crate::frame::layout::GROUP_HEADER_BYTES + bytes;
        if self.fits(self.next_start(len), len, footer_bytes)? {
            self.close_filling();
        } else {
            self.rotate(keep)?;
            if !self.fits(self.next_start(len), len, footer_bytes)? {
                let max = self.segment.file_bytes;
                if max < self.limits.segment_bytes || self.next_start(len) > self.offset {
                    // A spare of the old size or reach: it stays empty, the ones behind it are larger.
                    return Err(Blocked::Pipeline);
                }
                return Err(Blocked::Failed(Error::RecordTooLarge { bytes, max: max as usize }));
            }
        }
        if self.next_start(len) > self.offset {
            self.put_mark(GroupKind::Announcement);
        }
        self.filling = Some(self.start_group(GroupKind::Data));
        Ok(())
    }

    /// Where a group of `len` bytes starts: one that is longer than the segment's reach behind a mark that says so,
    /// since open looks no further for it.
    fn next_start(&self, len: usize) -> u32 {
        let (block, next) = (self.limits.block_bytes, self.next_offset());
        let long = len > self.segment.reach_bytes(block) as usize && !mutant("long_group_not_announced");
        if long { next.saturating_add(block) } else { next }
    }

    /// Where the group after the one being filled starts.
    fn next_offset(&self) -> u32 {
        self.filling.as_ref().map_or(self.offset, |g| {
            let len = round_up(len32(g.len_with(0)), self.limits.block_bytes);
            g.start.saturating_add(len.unwrap_or(u32::MAX))
        })
    }

    /// Whether a group of `len` bytes at `start`, a mark, and the segment's footer with `footer_bytes`
    /// more fit into the segment. An error if they do, but the blocks are not written yet.
    fn fits(&self, start: u32, len: usize, footer_bytes: u32) -> Result<bool, Blocked> {
        let block = self.limits.block_bytes;
        let Some(end) = round_up(len32(len), block).and_then(|n| n.checked_add(start)) else {
            return Ok(false);
        };
        let index = self.footer_bytes.saturating_add(footer_bytes);
        let footer = if index == 0 { 0 } else { tail_bytes(index, block).unwrap_or(u32::MAX) };
        match end.checked_add(footer).and_then(|n| n.checked_add(block)) {
            Some(total) if total <= self.segment.file_bytes => self.check_written(end).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Whether the blocks of the segment below `end` are written: those behind may be overwritten with
    /// zeros at any moment.
    fn check_written(&self, end: u32) -> Result<(), Blocked> {
        if end <= self.segment.written_to.load(Ordering::Acquire) || mutant("blocks_not_written_before") {
            return Ok(());
        }
        Err(self.shelf.unwritable().map_or(Blocked::Pipeline, Blocked::Failed))
    }

    fn start_group(&mut self, kind: GroupKind) -> Group {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let buf = self.pool.take();
        Group::start(ordinal, Arc::clone(&self.segment), self.offset, kind, self.previous_end, buf)
    }

    /// The group being filled takes no more records.
    pub(super) fn close_filling(&mut self) {
        if let Some(mut group) = self.filling.take() {
            self.offset = group.pad(self.limits.block_bytes);
            // Fixed now: a later release may rest on a record that a later group holds.
            group.first_live = self.first_live;
            self.queued.push_back(group);
        }
    }

    /// Ends the segment with its footer and enters the next one. Changes no name and writes nothing but
    /// the footer; waits if the next segment, or the one behind it, is not durable yet.
    fn rotate(&mut self, keep: usize) -> Result<(), Blocked> {
        if self.sealer.is_some() && self.footer_bytes > 0 {
            let footer = tail_bytes(self.footer_bytes, self.limits.block_bytes).unwrap_or(u32::MAX);
            let end = self.next_offset().saturating_add(footer);
            if end <= self.segment.file_bytes {
                self.check_written(end)?;
            }
        }
        let Some(next) = self.shelf.take(keep) else {
            if !std::mem::replace(&mut self.rotation_waits, true) {
                self.stats.rotations_waited += 1;
            }
            return Err(self.shelf.failure().map_or(Blocked::Pipeline, Blocked::Failed));
        };
        self.close_filling();
        self.put_footer();
        // The end of the log, which is not in a segment that stayed empty.
        if self.offset > self.limits.block_bytes || mutant("previous_end_in_an_empty_segment") {
            self.previous_end = Lsn::new(self.segment.sequence, self.offset);
        }
        self.segment = Arc::clone(&next);
        self.active.store(next.sequence, Ordering::Release);
        self.offset = self.limits.block_bytes;
        self.footer_bytes = 0;
        self.entered.push((self.previous_end, next));
        self.stats.rotations += 1;
        self.rotation_waits = false;
        Ok(())
    }

    fn put_footer(&mut self) {
        let Some(sealer) = &mut self.sealer else { return };
        let mut index = Vec::new();
        sealer.seal(self.segment.sequence, &mut index);
        let bytes = tail_bytes(len32(index.len()), self.limits.block_bytes).unwrap_or(u32::MAX);
        let written_to = self.segment.written_to.load(Ordering::Acquire);
        let room = written_to.min(self.segment.file_bytes).saturating_sub(self.offset);
        // A sealer that says less than it writes costs its footer, not the log.
        if index.is_empty() || bytes > room {
            return;
        }
        let lsn = Lsn::new(self.segment.sequence, self.offset);
        let footer = close_footer(index, lsn, self.segment.salt, self.limits.block_bytes);
        let mut group = self.start_group(GroupKind::Footer);
        group.push(&footer, Class::Lazy, footer.head_crc(Class::Lazy));
        self.queued_bytes += group.record_bytes;
        self.filling = Some(group);
        self.close_filling();
    }

    /// Adds a mark if the log is idle and does not end in one. `Ok(false)` if none is needed.
    pub(crate) fn mark(&mut self) -> Result<bool, Blocked> {
        if let Some(failure) = &self.failure {
            return Err(Blocked::Failed(failure.clone()));
        }
        if self.marked || self.has_work() {
            return Ok(false);
        }
        let block = self.limits.block_bytes;
        if self.segment.file_bytes.saturating_sub(self.offset) < block {
            self.rotate(1)?;
            // The footer of the segment left must be durable before a mark may follow it.
            if self.has_work() {
                self.want_all();
                return Ok(false);
            }
        }
        self.check_written(self.offset.saturating_add(block))?;
        self.put_mark(GroupKind::Mark);
        self.marked = true;
        Ok(true)
    }

    /// Adds a mark, which fits.
    fn put_mark(&mut self, kind: GroupKind) {
        let mut mark = self.start_group(kind);
        mark.wanted = true;
        self.filling = Some(mark);
        self.close_filling();
        self.stats.marks += 1;
    }

    // ---- questions -------------------------------------------------------------------------------

    /// Where the log is, for messages.
    pub(crate) fn location(&self) -> String {
        self.limits.location.clone()
    }

    /// Why the log stopped.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Whether anything is enqueued and not durable.
    pub(crate) fn has_work(&self) -> bool {
        self.filling.is_some() || !self.queued.is_empty() || self.flight.len() > 0
    }

    /// Whether the log needs a mark to end its burst.
    pub(crate) fn needs_mark(&self) -> bool {
        !self.marked && self.failure.is_none()
    }

    /// Ordinal of the oldest group that is not durable.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let mut groups = self.flight.groups().chain(self.queued.iter()).chain(self.filling.iter());
        groups.next().map(|g| g.ordinal)
    }

    /// Ordinal of the next group to be started.
    pub(crate) fn next_group(&self) -> u64 {
        self.next_ordinal
    }

    /// Wants everything enqueued so far; returns a position that is durable when all of it is.
    pub(crate) fn want_all(&mut self) -> (Lsn, u64) {
        if let Some(last) = self.filling.as_mut().or(self.queued.back_mut()) {
            last.wanted = true;
        }
        let last = self.filling.as_ref().or(self.queued.back()).or(self.flight.groups().last());
        last.map_or((Lsn::ZERO, 0), |g| (g.lsn(), g.ordinal))
    }

    /// Wants group `ordinal`, if it is still being filled.
    pub(crate) fn want(&mut self, ordinal: u64) {
        if let Some(group) = self.filling.as_mut().filter(|g| g.ordinal == ordinal) {
            group.wanted = true;
        }
    }

    /// End of the durable prefix.
    pub(crate) fn watermark(&self) -> Lsn {
        self.watermark
    }

    /// Whether the driver issues.
    pub(crate) fn driven(&self) -> bool {
        self.driven != Driven::No
    }

    /// Says what the log's own thread can do.
    pub(crate) fn set_driver(&mut self, driver: Driver) {
        self.driver = driver;
    }

    /// Where spares come from.
    pub(super) fn shelf(&self) -> Arc<Shelf> {
        Arc::clone(&self.shelf)
    }

    /// The segment being appended to.
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Numbers since open, as of now.
    pub(crate) fn stats(&self) -> Stats {
        let oldest = self.flight.groups().next().map_or(0, |g| g.issued_ns);
        let lag_ns = if oldest == 0 { 0 } else { self.clock.now_ns().saturating_sub(oldest) };
        let waiting = self.queued.len() + usize::from(self.filling.is_some());
        Stats {
            queued_bytes: self.queued_bytes,
            lag_groups: (self.flight.len() + waiting) as u64,
            lag_ns,
            ..self.stats.clone()
        }
    }

    /// Says that segments below `segment` are not live; the group being filled, or the next, carries it.
    pub(crate) fn release(&mut self, segment: u32) {
        let segment = segment.min(self.segment.sequence);
        if segment > self.first_live {
            self.first_live = segment;
            if mutant("recycled_before_the_release_is_durable") {
                self.shelf.release_below(segment);
            }
            // Somebody has to carry it: on a full disk no record may come until the files are gone.
            self.marked = false;
        }
    }

    /// Installs the footer maker.
    pub(crate) fn set_sealer(&mut self, sealer: Box<dyn Sealer>) {
        self.sealer = Some(sealer);
    }

    /// Copies out bytes that are not durable yet, if all of them are in one group.
    pub(crate) fn read_pending(&self, at: Lsn, out: &mut [u8]) -> bool {
        let groups = self.flight.groups().chain(self.queued.iter()).chain(self.filling.iter());
        at >= self.watermark && groups.into_iter().any(|g| g.read(at, out))
    }
}
