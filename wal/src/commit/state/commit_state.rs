//! [`CommitState`]: the fields of the state machine, and what can be asked of it.

use crate::commit::directory_lock::LockHolder;
use crate::commit::state::in_flight::InFlight;
use crate::commit::state::write_group::{BufferPool, WriteGroup};
#[cfg(feature = "sim")]
use crate::commit::state::write_policy::WritePlan;
use crate::commit::state::write_policy::{Gather, WritePolicy, plans};
use crate::commit::waiters::futures::AsyncWaiters;
use crate::counters::Stats;
use crate::error::Error;
use crate::segment::index_builder::SegmentIndexBuilder;
use crate::segment::open_segment::{OpenSegment, Segment};
use crate::segment::spare_pool::SparePool;
use crate::sync::AtomicU32;
use crate::types::Lsn;
use seawall_disk::{DiskLock, clock::Clock};
use std::collections::VecDeque;
use std::sync::Arc;

/// Constants of one open log.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) location: String,
    pub(crate) block_bytes: u32,
    /// Length of new segments, in bytes; those made under other options may be shorter or longer.
    pub(crate) segment_bytes: u32,
    pub(crate) group_bytes: u32,
    pub(crate) queue_bytes: u64,
    pub(crate) in_flight: usize,
    /// Upper bound of the time that a thread yields before it sleeps, in nanoseconds.
    pub(crate) yield_max_ns: u64,
    /// Whether a completed write is durable (direct); otherwise it needs a sync.
    pub(crate) durable_writes: bool,
    /// Number of outstanding callbacks and wakers from which on appends wait.
    pub(crate) callbacks_max: u32,
    /// Whether the log has threads of its own.
    pub(crate) spawned: bool,
}

/// Why a record could not be enqueued now.
#[derive(Debug)]
pub(crate) enum Blocked {
    /// Too many bytes are not durable.
    Queue,
    /// The preallocator has not yet prepared the next segment, or not yet written the blocks.
    Preallocator,
    /// The log has stopped, there is no space or no file descriptor, or the record is too large.
    Failed(Error),
}

/// The position of a record, and the ordinal of its group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) lsn: Lsn,
    pub(crate) group: u64,
}

/// The state in which a log continues after recovery.
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
    /// The directory's lock; `None` for a log that is opened for reading only, without a lock.
    pub(crate) lock: Option<Arc<dyn DiskLock>>,
}

pub(crate) struct CommitState {
    pub(in crate::commit) limits: Limits,
    pub(in crate::commit) clock: Arc<dyn Clock>,
    pub(super) spare_pool: Arc<SparePool>,
    /// Segment and offset of the next group to be started.
    pub(super) segment: OpenSegment,
    /// Copy of the segment's number, readable without the state lock.
    pub(in crate::commit) active: Arc<AtomicU32>,
    pub(super) offset: u32,
    pub(super) previous_end: Lsn,
    /// Bytes that the index of the segment's footer may take, so far.
    pub(super) footer_bytes: u32,
    pub(super) filling: Option<WriteGroup>,
    pub(super) queued: VecDeque<WriteGroup>,
    pub(in crate::commit) queued_bytes: u64,
    /// Records that were appended and are not durable.
    pub(super) pending_records: u32,
    pub(super) flight: InFlight,
    pub(super) next_ordinal: u64,
    pub(super) watermark: Lsn,
    /// Whether the last group, issued or not, is a mark.
    pub(super) marked: bool,
    pub(super) first_live: u32,
    pub(super) first_live_durable: u32,
    pub(super) failure: Option<Error>,
    pub(super) lock: Option<Arc<LockHolder>>,
    pub(super) index_builder: Option<Box<dyn SegmentIndexBuilder>>,
    pub(crate) waiters: AsyncWaiters,
    pub(super) pool: BufferPool,
    /// Segments that rotation entered, with the end of the log before each; for the readers' table.
    pub(crate) entered: Vec<(Lsn, Arc<Segment>)>,
    /// Whether the segment was entered with fewer than [`KEPT_SPARES`](crate::segment::spare_pool::KEPT_SPARES) spares
    /// left. On a full disk such a segment is reserved for control records.
    pub(super) reserved: bool,
    /// Whether the next rotation waits for the preallocator. Used to count each rotation once.
    pub(super) rotation_waits: bool,
    /// Whether the flusher sleeps until it is woken.
    pub(crate) flusher_asleep: bool,
    /// Abilities of the log's own thread.
    pub(super) driver: Driver,
    pub(super) driven: DriverState,
    pub(crate) stats: Stats,
    pub(super) policy: WritePolicy,
    /// The records that the group being filled waits for, if it is held back.
    pub(super) gather: Option<Gather>,
    /// Whether a thread waits until the group being filled is no longer held back. It issues the group, or gets another
    /// thread to do so.
    pub(crate) gatherer: bool,
}

/// Abilities of the log's own thread that spare the waiting threads work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Driver {
    /// There is no such thread.
    #[default]
    None,
    /// Carries out one operation at a time.
    Blocking,
    /// Keeps several operations in flight, through a ring.
    Ring,
}

/// Whether the driver or the waiting threads issue operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DriverState {
    /// The driver is idle: waiting threads issue.
    No,
    /// The driver is about to look for an operation, or has some in its ring: waiting threads issue nothing.
    Yes,
    /// The driver carries out one operation and blocks: waiting threads issue what may run next to it.
    Busy,
}

impl std::fmt::Debug for CommitState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitState").field("segment", &self.segment).field("offset", &self.offset).finish()
    }
}

impl CommitState {
    pub(crate) fn new(
        limits: Limits,
        clock: Arc<dyn Clock>,
        spare_pool: Arc<SparePool>,
        start: Start,
    ) -> CommitState {
        spare_pool.set_position(start.offset);
        CommitState {
            // True if open has just entered the segment because the log had a torn tail.
            reserved: start.offset <= limits.block_bytes,
            policy: WritePolicy::new(plans(limits.in_flight)),
            gather: None,
            gatherer: false,
            limits,
            clock,
            spare_pool,
            active: Arc::new(AtomicU32::new(start.segment.sequence)),
            segment: start.segment,
            offset: start.offset,
            previous_end: start.previous_end,
            footer_bytes: start.footer_bytes,
            filling: None,
            queued: VecDeque::new(),
            queued_bytes: 0,
            pending_records: 0,
            flight: InFlight::default(),
            next_ordinal: 1,
            watermark: start.watermark,
            marked: start.marked,
            first_live: start.first_live,
            first_live_durable: if start.watermark.is_zero() { 0 } else { start.first_live },
            failure: None,
            lock: Some(Arc::new(LockHolder::new(start.lock))),
            index_builder: None,
            waiters: AsyncWaiters::default(),
            pool: BufferPool::default(),
            entered: Vec::new(),
            flusher_asleep: false,
            rotation_waits: false,
            driver: Driver::None,
            driven: DriverState::No,
            stats: Stats::default(),
        }
    }

    /// Chooses from `plans` only from now on, and forgets what was measured.
    #[cfg(feature = "sim")]
    pub(crate) fn restrict_plans(&mut self, plans: Vec<WritePlan>) {
        self.policy = WritePolicy::new(plans);
    }

    /// The way in which groups are written now.
    #[cfg(feature = "sim")]
    pub(crate) fn plan(&self) -> WritePlan {
        self.policy.plan()
    }

    /// Where the log is, for messages.
    pub(crate) fn location(&self) -> String {
        self.limits.location.clone()
    }

    /// The error that stopped the log, if one did.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Whether any group is not durable.
    pub(crate) fn has_work(&self) -> bool {
        self.filling.is_some() || !self.queued.is_empty() || self.flight.len() > 0
    }

    /// Whether the log is to get a mark when it is idle.
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

    /// Asks for everything enqueued so far to be written. Returns position and ordinal of the last group: all of it is
    /// durable when that position is. ([`Lsn::ZERO`], 0) if nothing is pending.
    pub(crate) fn request_sync_all(&mut self) -> (Lsn, u64) {
        if let Some(last) = self.filling.as_mut().or(self.queued.back_mut()) {
            last.wanted = true;
        }
        let last = self.filling.as_ref().or(self.queued.back()).or(self.flight.groups().last());
        last.map_or((Lsn::ZERO, 0), |g| (g.lsn(), g.ordinal))
    }

    /// Asks for the group that contains `lsn`, which is not durable, to be written; returns its ordinal. `None` if
    /// nothing was appended at `lsn`.
    pub(crate) fn request_sync_at(&mut self, lsn: Lsn) -> Option<u64> {
        let end = |g: &WriteGroup| Lsn::new(g.segment.sequence, g.end());
        let groups = self.flight.groups().chain(self.queued.iter()).chain(self.filling.iter());
        let ordinal = groups.into_iter().find(|g| end(g) > lsn).map(|g| g.ordinal)?;
        self.request_sync(ordinal);
        Some(ordinal)
    }

    /// Asks for group `ordinal` to be written, if it is still being filled.
    pub(crate) fn request_sync(&mut self, ordinal: u64) {
        if let Some(group) = self.filling.as_mut().filter(|g| g.ordinal == ordinal) {
            group.wanted = true;
        }
    }

    /// End of the durable prefix.
    pub(crate) fn watermark(&self) -> Lsn {
        self.watermark
    }

    /// Whether the driver issues operations, alone or next to the waiting threads.
    pub(crate) fn driven(&self) -> bool {
        self.driven != DriverState::No
    }

    /// Sets what the log's own thread can do.
    pub(crate) fn set_driver(&mut self, driver: Driver) {
        self.driver = driver;
    }

    /// The pool that the next segments come from.
    pub(in crate::commit) fn spare_pool(&self) -> Arc<SparePool> {
        Arc::clone(&self.spare_pool)
    }

    /// The segment that is appended to.
    pub(crate) fn segment(&self) -> &OpenSegment {
        &self.segment
    }

    /// The statistics since the log was opened.
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

    /// Declares the segments below `segment` dead. The group being filled, or the next one, records that.
    pub(crate) fn release(&mut self, segment: u32) {
        let segment = segment.min(self.segment.sequence);
        if segment > self.first_live {
            self.first_live = segment;
            // A mark must record it: on a full disk no record may be appended until the files are removed.
            self.marked = false;
        }
    }

    /// Installs the index builder.
    pub(crate) fn set_index_builder(&mut self, index_builder: Box<dyn SegmentIndexBuilder>) {
        self.index_builder = Some(index_builder);
    }

    /// Copies the bytes at `at` from the groups that are not durable. Returns `false` if no such group has all of them.
    pub(crate) fn read_pending(&self, at: Lsn, out: &mut [u8]) -> bool {
        let groups = self.flight.groups().chain(self.queued.iter()).chain(self.filling.iter());
        at >= self.watermark && groups.into_iter().any(|g| g.read(at, out))
    }
}
