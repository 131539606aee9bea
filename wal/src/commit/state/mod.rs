//! The log's state machine: what is enqueued, what is issued, what is durable. It does no I/O, takes no
//! lock and starts no thread: it hands out operations and is told how they ended (`issue`), so the same
//! code runs under threads and under a seeded scheduler.
//!
//! Invariants: groups are issued in log order; `watermark` only grows, over a contiguous prefix (INV-2);
//! after the first failed operation nothing is issued or acknowledged (INV-7). Fails with the error
//! that latched it.

pub(crate) mod enqueue;
pub(crate) mod in_flight;
pub(crate) mod issue;
pub(crate) mod write_group;

use crate::commit::directory_lock::LockHolder;
use crate::commit::state::in_flight::InFlight;
use crate::commit::state::write_group::{BufferPool, WriteGroup};
use crate::commit::waiters::futures::AsyncWaiters;
use crate::commit::write_policy::WritePolicy;
use crate::disk::{Clock, DiskLock};
use crate::error::Error;
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::segment::spare_pool::SparePool;
use crate::segment::{OpenSegment, Segment};
use crate::stats::Stats;
use crate::sync::AtomicU32;
use crate::types::Lsn;
use std::collections::VecDeque;
use std::sync::Arc;

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
    /// Callbacks and wakers from which on appends wait.
    pub(crate) answers_max: u32,
    /// Whether the log has threads.
    pub(crate) spawned: bool,
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
pub(crate) struct Appended {
    pub(crate) lsn: Lsn,
    pub(crate) group: u64,
}

/// Where a log goes on after recovery.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) segment: OpenSegment,
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

pub(crate) struct CommitState {
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shelf: Arc<SparePool>,
    /// Segment and offset of the next group to be started.
    pub(super) segment: OpenSegment,
    /// Mirror of the segment's number, for who asks without the lock.
    pub(super) active: Arc<AtomicU32>,
    pub(super) offset: u32,
    pub(super) previous_end: Lsn,
    /// What the footer of the segment will hold.
    pub(super) footer_bytes: u32,
    pub(super) filling: Option<WriteGroup>,
    pub(super) queued: VecDeque<WriteGroup>,
    pub(super) queued_bytes: u64,
    pub(super) flight: InFlight,
    pub(super) next_ordinal: u64,
    pub(super) watermark: Lsn,
    /// Whether the last group, issued or not, is a mark.
    pub(super) marked: bool,
    pub(super) first_live: u32,
    pub(super) first_live_durable: u32,
    pub(super) failure: Option<Error>,
    pub(super) lock: Option<Arc<LockHolder>>,
    pub(super) sealer: Option<Box<dyn SegmentIndexBuilder>>,
    pub(crate) waiters: AsyncWaiters,
    pub(super) pool: BufferPool,
    /// Segments that rotation entered, with the end of the one before, for readers.
    pub(crate) entered: Vec<(Lsn, Arc<Segment>)>,
    /// The segment was entered with fewer than the kept spares left behind: on a full disk it is for control records.
    pub(super) reserved: bool,
    /// The next rotation waits for the pipeline; counted once.
    pub(super) rotation_waits: bool,
    /// The flusher sleeps until it is called.
    pub(crate) flusher_asleep: bool,
    /// Who issues besides the threads that wait.
    pub(super) driver: Driver,
    pub(super) driven: DriverState,
    pub(crate) stats: Stats,
    pub(super) pace: WritePolicy,
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
pub(super) enum DriverState {
    /// Nothing: waiters issue.
    No,
    /// It is about to look, or has operations in its ring: waiters leave everything to it.
    Yes,
    /// It is inside of one operation: waiters may issue what may go beside that.
    Busy,
}

impl std::fmt::Debug for CommitState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("segment", &self.segment).field("offset", &self.offset).finish()
    }
}

impl CommitState {
    pub(crate) fn new(
        limits: Limits,
        clock: Arc<dyn Clock>,
        shelf: Arc<SparePool>,
        start: Start,
    ) -> CommitState {
        CommitState {
            // A segment that open has entered because the end of the log was torn.
            reserved: start.offset <= limits.block_bytes,
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
            flight: InFlight::default(),
            next_ordinal: 1,
            watermark: start.watermark,
            marked: start.marked,
            first_live: start.first_live,
            first_live_durable: if start.watermark.is_zero() { 0 } else { start.first_live },
            failure: None,
            lock: Some(Arc::new(LockHolder::new(start.lock))),
            sealer: None,
            waiters: AsyncWaiters::default(),
            pool: BufferPool::default(),
            entered: Vec::new(),
            flusher_asleep: false,
            rotation_waits: false,
            driver: Driver::None,
            driven: DriverState::No,
            stats: Stats::default(),
            pace: WritePolicy::default(),
        }
    }

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
    pub(crate) fn request_sync_all(&mut self) -> (Lsn, u64) {
        if let Some(last) = self.filling.as_mut().or(self.queued.back_mut()) {
            last.wanted = true;
        }
        let last = self.filling.as_ref().or(self.queued.back()).or(self.flight.groups().last());
        last.map_or((Lsn::ZERO, 0), |g| (g.lsn(), g.ordinal))
    }

    /// Wants the group that holds `lsn`, which is not durable: its ordinal. `None` if nothing was appended there.
    pub(crate) fn request_sync_at(&mut self, lsn: Lsn) -> Option<u64> {
        let end = |g: &WriteGroup| Lsn::new(g.segment.sequence, g.end());
        let groups = self.flight.groups().chain(self.queued.iter()).chain(self.filling.iter());
        let ordinal = groups.into_iter().find(|g| end(g) > lsn).map(|g| g.ordinal)?;
        self.request_sync(ordinal);
        Some(ordinal)
    }

    /// Wants group `ordinal`, if it is still being filled.
    pub(crate) fn request_sync(&mut self, ordinal: u64) {
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
        self.driven != DriverState::No
    }

    /// Says what the log's own thread can do.
    pub(crate) fn set_driver(&mut self, driver: Driver) {
        self.driver = driver;
    }

    /// Where spares come from.
    pub(super) fn shelf(&self) -> Arc<SparePool> {
        Arc::clone(&self.shelf)
    }

    /// The segment being appended to.
    pub(crate) fn segment(&self) -> &OpenSegment {
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
            // Somebody has to carry it: on a full disk no record may come until the files are gone.
            self.marked = false;
        }
    }

    /// Installs the footer maker.
    pub(crate) fn set_sealer(&mut self, sealer: Box<dyn SegmentIndexBuilder>) {
        self.sealer = Some(sealer);
    }

    /// Copies out bytes that are not durable yet, if all of them are in one group.
    pub(crate) fn read_pending(&self, at: Lsn, out: &mut [u8]) -> bool {
        let groups = self.flight.groups().chain(self.queued.iter()).chain(self.filling.iter());
        at >= self.watermark && groups.into_iter().any(|g| g.read(at, out))
    }
}
