//! The log's state machine: what is enqueued, what is issued, what is durable. It does no I/O, takes no
//! lock and starts no thread: it hands out operations and is told how they ended, so the same code runs
//! under threads and under a seeded scheduler.
//!
//! Invariants: groups are issued in log order; `watermark` only grows, over a contiguous prefix (INV-2);
//! after the first failed operation nothing is issued or acknowledged (INV-7). Fails with the error
//! that latched it.

use super::waiters::{Waiter, Waiters};
use crate::disk::{AlignedBuf, Clock, DiskFile, DiskLock, write_all_at};
use crate::error::Error;
use crate::frame::{Batch, PartInfo, close_footer, tail_bytes};
use crate::queue::{Flight, Group, Pool};
use crate::segment::{Segment, file_name};
use crate::shelf::Shelf;
use crate::types::{Class, GroupKind, Lsn, len32, round_up};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Size from which a group is written although another write is under way, in bytes: below it the device
/// is not the bottleneck, and larger groups cost fewer writes and wake-ups.
const OVERLAP_BYTES: usize = 256 << 10;

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
    pub(crate) group_bytes: u32,
    pub(crate) queue_bytes: u64,
    pub(crate) in_flight: usize,
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

/// One operation on the disk that somebody must carry out and report.
#[derive(Debug)]
pub(crate) struct Io {
    file: Arc<dyn DiskFile>,
    sequence: u32,
    op: Op,
    /// Keeps the directory locked until the operation has ended, whatever becomes of the log.
    _lock: Option<Arc<dyn DiskLock>>,
}

#[derive(Debug)]
enum Op {
    Write { ordinal: u64, buf: Arc<AlignedBuf>, offset: u32, durable: bool },
    Sync,
}

impl Io {
    /// Carries the operation out, short writes continued.
    pub(crate) fn execute(&self) -> io::Result<()> {
        match &self.op {
            Op::Write { buf, offset, durable, .. } => {
                write_all_at(&*self.file, buf, u64::from(*offset), *durable)
            }
            Op::Sync => self.file.sync(),
        }
    }

    /// What a write in flight may leave behind if the power goes: its bytes, not known durable.
    #[cfg(feature = "sim")]
    pub(crate) fn abandon(&self) {
        if let Op::Write { buf, offset, .. } = &self.op {
            let _ = write_all_at(&*self.file, buf, u64::from(*offset), false);
        }
    }
}

/// What to wake once the lock is gone.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    /// Groups that became durable: ordinals `[from, to)`.
    pub(crate) durable: std::ops::Range<u64>,
    /// The new end of the durable prefix, if it moved.
    pub(crate) watermark: Option<Lsn>,
    /// Waiters to answer, in log order.
    pub(crate) answers: Vec<(Waiter, Result<Lsn, Error>)>,
    /// The log latched just now.
    pub(crate) latched: bool,
}

/// Counters since open.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records: u64,
    pub(crate) record_bytes: u64,
    pub(crate) groups: u64,
    pub(crate) group_bytes: u64,
    pub(crate) marks: u64,
    pub(crate) rotations: u64,
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
    /// The directory's lock.
    pub(crate) lock: Arc<dyn DiskLock>,
}

pub(crate) struct Core {
    limits: Limits,
    clock: Arc<dyn Clock>,
    shelf: Arc<Shelf>,
    /// Segment and offset of the next group to be started.
    segment: Arc<Segment>,
    offset: u32,
    previous_end: Lsn,
    /// What the footer of the segment will hold.
    footer_bytes: u32,
    filling: Option<Group>,
    queued: VecDeque<Group>,
    queued_bytes: u64,
    flight: Flight,
    next_ordinal: u64,
    watermark: Lsn,
    /// Whether the last group, issued or not, is a mark.
    marked: bool,
    first_live: u32,
    first_live_durable: u32,
    failure: Option<Error>,
    lock: Option<Arc<dyn DiskLock>>,
    sealer: Option<Box<dyn Sealer>>,
    pub(crate) waiters: Waiters,
    pool: Pool,
    /// Segments that rotation entered, with the end of the one before, for readers.
    pub(crate) entered: Vec<(Lsn, Arc<Segment>)>,
    /// The flusher sleeps until it is called.
    pub(crate) flusher_asleep: bool,
    pub(crate) counters: Counters,
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
            first_live_durable: start.first_live,
            failure: None,
            lock: Some(start.lock),
            sealer: None,
            waiters: Waiters::default(),
            pool: Pool::default(),
            entered: Vec::new(),
            flusher_asleep: false,
            counters: Counters::default(),
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
            return Err(Blocked::Queue);
        }
        self.make_room(bytes, batch.footer_bytes())?;
        let Some(group) = &mut self.filling else { return Err(Blocked::Queue) };
        let lsn = group.push(batch, class, head_crc);
        group.wanted |= class == Class::Sync;
        let ordinal = group.ordinal;
        self.footer_bytes = self.footer_bytes.saturating_add(batch.footer_bytes());
        self.queued_bytes += bytes as u64;
        self.marked = false;
        self.counters.records += 1;
        self.counters.record_bytes += bytes as u64;
        if let Some(sealer) = &mut self.sealer {
            sealer.record(lsn, batch.meta_bytes(), &mut batch.part_infos(lsn.offset()));
        }
        Ok(Placed { lsn, group: ordinal })
    }

    /// Afterwards a group is being filled in which `bytes` more fit.
    fn make_room(&mut self, bytes: usize, footer_bytes: u32) -> Result<(), Blocked> {
        if let Some(group) = &self.filling {
            let len = group.len_with(bytes);
            let full = group.record_count > 0 && len > self.limits.group_bytes as usize;
            if !full && self.fits(group.start, len, footer_bytes)? {
                return Ok(());
            }
        }
        let empty = len32(crate::frame::layout::GROUP_HEADER_BYTES);
        let after = self.filling.as_ref().map_or(self.offset, |g| {
            g.start
                .saturating_add(round_up(len32(g.len_with(0)), self.limits.block_bytes).unwrap_or(u32::MAX))
        });
        if self.fits(after, empty as usize + bytes, footer_bytes)? {
            self.close_filling();
        } else {
            self.rotate()?;
            if !self.fits(self.offset, empty as usize + bytes, footer_bytes)? {
                let max = self.segment.file_bytes as usize;
                return Err(Blocked::Failed(Error::RecordTooLarge { bytes, max }));
            }
        }
        self.filling = Some(self.start_group(GroupKind::Data));
        Ok(())
    }

    /// Whether a group of `len` bytes at `start`, and the segment's footer with `footer_bytes` more,
    /// fit into the segment. An error if they do, but the blocks are not written yet.
    fn fits(&self, start: u32, len: usize, footer_bytes: u32) -> Result<bool, Blocked> {
        let block = self.limits.block_bytes;
        let Some(end) = round_up(len32(len), block).and_then(|n| n.checked_add(start)) else {
            return Ok(false);
        };
        let index = self.footer_bytes.saturating_add(footer_bytes);
        let footer = if index == 0 { 0 } else { tail_bytes(index, block).unwrap_or(u32::MAX) };
        match end.checked_add(footer) {
            Some(total) if total <= self.segment.file_bytes => {
                let written = end <= self.segment.written_to.load(Ordering::Acquire);
                if written { Ok(true) } else { Err(Blocked::Pipeline) }
            }
            _ => Ok(false),
        }
    }

    fn start_group(&mut self, kind: GroupKind) -> Group {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let buf = self.pool.take();
        Group::start(ordinal, Arc::clone(&self.segment), self.offset, kind, self.previous_end, buf)
    }

    /// The group being filled takes no more records.
    fn close_filling(&mut self) {
        if let Some(mut group) = self.filling.take() {
            self.offset = group.pad(self.limits.block_bytes);
            // Fixed now: a later release may rest on a record that a later group holds.
            group.first_live = self.first_live;
            self.queued.push_back(group);
        }
    }

    /// Ends the segment with its footer and enters the next one. Changes no name and writes nothing but
    /// the footer; waits if the next segment, or the one behind it, is not durable yet.
    fn rotate(&mut self) -> Result<(), Blocked> {
        let Some(next) = self.shelf.take() else {
            return Err(self.shelf.failure().map_or(Blocked::Pipeline, Blocked::Failed));
        };
        self.close_filling();
        self.put_footer();
        self.previous_end = Lsn::new(self.segment.sequence, self.offset);
        self.segment = Arc::clone(&next);
        self.offset = self.limits.block_bytes;
        self.footer_bytes = 0;
        self.entered.push((self.previous_end, next));
        self.counters.rotations += 1;
        Ok(())
    }

    fn put_footer(&mut self) {
        let Some(sealer) = &mut self.sealer else { return };
        let mut index = Vec::new();
        sealer.seal(self.segment.sequence, &mut index);
        let bytes = tail_bytes(len32(index.len()), self.limits.block_bytes).unwrap_or(u32::MAX);
        let room = self.segment.file_bytes.saturating_sub(self.offset);
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
            self.rotate()?;
            // The footer of the segment left must be durable before a mark may follow it.
            if self.has_work() {
                self.want_all();
                return Ok(false);
            }
        }
        let mut mark = self.start_group(GroupKind::Mark);
        mark.wanted = true;
        self.filling = Some(mark);
        self.close_filling();
        self.marked = true;
        self.counters.marks += 1;
        Ok(true)
    }

    // ---- issue and complete ----------------------------------------------------------------------

    /// The next operation that may be issued now, if any.
    pub(crate) fn next_io(&mut self) -> Option<Io> {
        if self.failure.is_some() {
            return None;
        }
        if !self.limits.durable_writes
            && let Some(group) = self.flight.start_sync()
        {
            let (file, sequence) = (Arc::clone(&group.segment.file), group.segment.sequence);
            return Some(Io { file, sequence, op: Op::Sync, _lock: self.lock.clone() });
        }
        if !self.may_write() {
            return None;
        }
        if self.queued.is_empty() {
            self.close_filling();
        }
        let mut group = self.queued.pop_front()?;
        group.seal(self.watermark, self.clock.wall_ms());
        self.counters.groups += 1;
        self.counters.group_bytes += group.buffer().len() as u64;
        let io = Io {
            file: Arc::clone(&group.segment.file),
            sequence: group.segment.sequence,
            op: Op::Write {
                ordinal: group.ordinal,
                buf: Arc::clone(group.buffer()),
                offset: group.start,
                durable: self.limits.durable_writes,
            },
            _lock: self.lock.clone(),
        };
        self.flight.issue(group);
        self.shelf.note_write();
        Some(io)
    }

    /// Takes the outcome of an operation that [`Core::next_io`] handed out.
    pub(crate) fn complete(&mut self, io: Io, result: io::Result<()>) -> Wake {
        if let Err(e) = result {
            let action = match io.op {
                Op::Write { .. } => "write",
                Op::Sync => "sync",
            };
            let name = file_name(io.sequence);
            return self.latch(Error::io(action, &self.limits.location, name, e));
        }
        match io.op {
            Op::Write { ordinal, durable, buf, .. } => {
                drop(buf);
                self.flight.written(ordinal, durable);
            }
            Op::Sync => self.flight.synced(),
        }
        let mut wake = Wake::default();
        if self.failure.is_none() {
            self.advance(&mut wake);
        }
        wake
    }

    /// Moves the durable prefix over every group that is durable, in order.
    fn advance(&mut self, wake: &mut Wake) {
        while let Some((group, end)) = self.flight.pop_durable() {
            if wake.watermark.is_none() {
                wake.durable.start = group.ordinal;
            }
            wake.durable.end = group.ordinal + 1;
            self.watermark = end;
            wake.watermark = Some(end);
            self.queued_bytes = self.queued_bytes.saturating_sub(group.record_bytes);
            if group.first_live > self.first_live_durable {
                self.first_live_durable = group.first_live;
                self.shelf.release_below(group.first_live);
            }
            self.pool.put(group.into_buffer());
        }
        if let Some(end) = wake.watermark {
            wake.answers = self.waiters.take_below(end);
        }
    }

    /// Stops the log for good: nothing is issued or acknowledged from here on.
    pub(crate) fn latch(&mut self, cause: Error) -> Wake {
        let mut wake = Wake::default();
        if self.failure.is_none() {
            let cause = match cause {
                Error::Closed => Error::Closed,
                cause => Error::Latched { cause: Arc::new(cause) },
            };
            wake.answers = self.waiters.take_all(&cause);
            wake.latched = true;
            if matches!(cause, Error::Closed) {
                self.lock = None;
            }
            self.failure = Some(cause);
        }
        wake
    }

    // ---- questions -------------------------------------------------------------------------------

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

    /// Whether a group may be written now: one that is closed, or being filled and wanted. While another
    /// write is under way a group that is still small waits for company.
    fn may_write(&self) -> bool {
        let writing = self.flight.writing();
        if writing >= self.limits.in_flight {
            return false;
        }
        let filled = |g: &Group| g.wanted && (writing == 0 || g.len() >= OVERLAP_BYTES);
        !self.queued.is_empty() || self.filling.as_ref().is_some_and(filled)
    }

    /// Ordinal of the group that [`Core::next_io`] would work for now.
    pub(crate) fn next_wanted(&self) -> Option<u64> {
        if self.failure.is_some() {
            return None;
        }
        if !self.limits.durable_writes
            && let Some(group) = self.flight.next_sync()
        {
            return Some(group.ordinal);
        }
        if !self.may_write() {
            return None;
        }
        self.queued.front().or(self.filling.as_ref()).map(|g| g.ordinal)
    }

    /// Whether all that is not durable is a group of lazy records being filled.
    pub(crate) fn only_lazy(&self) -> bool {
        self.flight.len() == 0 && self.queued.is_empty() && self.filling.as_ref().is_some_and(|g| !g.wanted)
    }

    /// Whether the flusher has to be called; it is, afterwards.
    pub(crate) fn rouse_flusher(&mut self) -> bool {
        std::mem::take(&mut self.flusher_asleep)
    }

    /// Ordinal of the oldest group that is not durable.
    pub(crate) fn oldest(&self) -> Option<u64> {
        let mut groups = self.flight.groups().chain(self.queued.iter()).chain(self.filling.iter());
        groups.next().map(|g| g.ordinal)
    }

    /// Wants everything enqueued so far; returns a position that is durable when all of it is.
    pub(crate) fn want_all(&mut self) -> (Lsn, u64) {
        if let Some(last) = self.filling.as_mut().or(self.queued.back_mut()) {
            last.wanted = true;
        }
        let last = self.filling.as_ref().or(self.queued.back()).or(self.flight.groups().last());
        last.map_or((Lsn::ZERO, 0), |g| (g.lsn(), g.ordinal))
    }

    /// End of the durable prefix.
    pub(crate) fn watermark(&self) -> Lsn {
        self.watermark
    }

    /// The segment being appended to.
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Bytes of records that are not durable.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// Says that segments below `segment` are not live; the group being filled, or the next, carries it.
    pub(crate) fn release(&mut self, segment: u32) {
        self.first_live = self.first_live.max(segment.min(self.segment.sequence));
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
