//! Issues queued groups and handles their completions.
//!
//! Groups are issued in log order. `watermark` only grows, over a contiguous prefix (INV-2). After the first failed
//! operation nothing is issued or acknowledged (INV-7).

use crate::commit::directory_lock::LockRelease;
use crate::commit::disk_op::{DiskOp, DiskOpKind};
use crate::commit::state::commit_state::{CommitState, Driver, DriverState};
use crate::commit::state::write_group::WriteGroup;
use crate::commit::state::write_policy::Written;
use crate::commit::waiters::futures::DueAnswers;
use crate::error::Error;
use crate::segment::names::file_name;
use crate::types::Lsn;
use std::io;
use std::sync::Arc;

/// Largest group, in bytes, whose time measures the latency of the device rather than its bandwidth.
const LATENCY_SAMPLE_BYTES_MAX: usize = 64 << 10;

/// Size, in bytes, from which a group is written although another write is in flight. Below it the device is not the
/// bottleneck, and larger groups cost fewer writes and wake-ups.
const OVERLAP_BYTES: usize = 512 << 10;

/// Number of records in the next group from which a waiter writes it instead of the driver. Waking so many threads
/// takes the driver about as long as a write.
const CROWD: u32 = 48;

/// The waiters to notify after the state lock is released.
#[derive(Debug, Default)]
pub(crate) struct Completed {
    /// Groups that became durable, as a range of ordinals.
    pub(crate) durable: std::ops::Range<u64>,
    /// The new watermark, if it moved.
    pub(crate) watermark: Option<Lsn>,
    /// Futures, callbacks and notices to answer, in log order.
    pub(crate) due: DueAnswers,
    /// Whether the log has just stopped because of a failure.
    pub(crate) latched: bool,
}

impl CommitState {
    /// The next operation that may be issued now, if there is one.
    pub(crate) fn next_disk_op(&mut self) -> Option<DiskOp> {
        if self.failure.is_some() {
            return None;
        }
        if !self.limits.durable_writes
            && let Some(group) = self.flight.start_sync()
        {
            let (file, sequence) = (Arc::clone(&group.segment.pinned), group.segment.sequence);
            return Some(DiskOp {
                file,
                sequence,
                op: DiskOpKind::Sync,
                driven: false,
                lock: self.lock.clone(),
            });
        }
        if !self.may_write() || self.is_gathering() {
            return None;
        }
        self.gather = None;
        if self.queued.is_empty() {
            self.close_filling();
        }
        let mut group = self.queued.pop_front()?;
        group.seal(self.watermark, self.clock.wall_ms());
        group.issued_ns = self.clock.now_ns();
        group.alone = self.flight.writing() == 0;
        let io = DiskOp {
            file: Arc::clone(&group.segment.pinned),
            sequence: group.segment.sequence,
            op: DiskOpKind::Write {
                ordinal: group.ordinal,
                buf: Arc::clone(group.buffer()),
                offset: group.start,
                durable: self.limits.durable_writes,
            },
            driven: false,
            lock: self.lock.clone(),
        };
        self.spare_pool.note_write();
        self.flight.issue(group);
        Some(io)
    }

    /// Processes the outcome of an operation that [`CommitState::next_disk_op`] returned.
    pub(crate) fn complete(&mut self, io: DiskOp, result: io::Result<()>) -> Completed {
        // The driver looks again after it has notified everyone, so threads that wake up meanwhile can join the next
        // group.
        if io.driven {
            self.driven = DriverState::Yes;
        }
        if let Err(e) = result {
            let action = match io.op {
                DiskOpKind::Write { .. } => "write",
                DiskOpKind::Sync => "sync",
            };
            let name = file_name(io.sequence);
            return self.poison(Error::io(action, &self.limits.location, name, e));
        }
        match io.op {
            DiskOpKind::Write { ordinal, durable, buf, .. } => {
                // The pool can reuse the buffer once nothing else holds it.
                drop(buf);
                self.flight.written(ordinal, durable);
            }
            DiskOpKind::Sync => self.flight.synced(),
        }
        let mut wake = Completed::default();
        if self.failure.is_none() {
            self.advance(&mut wake);
        }
        wake
    }

    /// Extends the durable prefix over every group that is durable, in order.
    fn advance(&mut self, wake: &mut Completed) {
        let now_ns = self.clock.now_ns();
        let mut answered = 0_u32;
        while let Some((group, end)) = self.flight.pop_durable() {
            self.count(&group, now_ns);
            self.pending_records = self.pending_records.saturating_sub(group.user_records());
            answered = answered.saturating_add(group.user_records());
            if wake.watermark.is_none() {
                wake.durable.start = group.ordinal;
            }
            wake.durable.end = group.ordinal + 1;
            if end.segment() > self.watermark.segment() {
                self.spare_pool.seal_below(end.segment());
            }
            self.watermark = end;
            wake.watermark = Some(end);
            // Before callbacks run: a callback that appends must not wait for the space of its own record.
            self.queued_bytes = self.queued_bytes.saturating_sub(group.record_bytes);
            if group.first_live > self.first_live_durable {
                self.first_live_durable = group.first_live;
                self.spare_pool.release_below(group.first_live);
            }
            self.pool.put(group.into_buffer());
        }
        if let Some(end) = wake.watermark {
            self.begin_gathering(answered, now_ns);
            wake.due = self.waiters.take_below(end);
        }
    }

    fn count(&mut self, group: &WriteGroup, now_ns: u64) {
        let (took, bytes) = (now_ns.saturating_sub(group.issued_ns), group.len() as u64);
        let latency_sample = group.alone && group.len() <= LATENCY_SAMPLE_BYTES_MAX;
        let written = Written {
            records: group.user_records(),
            issued_ns: group.issued_ns,
            waited_ns: group.waited_ns(now_ns),
            latency_sample,
            pending: self.pending_records,
        };
        self.policy.observe(written, now_ns);
        self.stats.groups += 1;
        self.stats.group_bytes += bytes;
        self.stats.flush_us.record(took / 1000);
        self.stats.group_records.record(u64::from(group.record_count));
        self.stats.group_size.record(bytes);
    }

    /// Stops the log for good: nothing is issued or acknowledged afterwards (INV-7). Only the first cause is kept.
    /// After a failure the log is *latched*: waiters of records that are not durable, and every later append, flush and
    /// release, get [`Error::Latched`]. Reads still work.
    pub(crate) fn poison(&mut self, cause: Error) -> Completed {
        let mut wake = Completed::default();
        if self.failure.is_none() {
            let cause = match cause {
                Error::Closed | Error::ReadOnly => cause,
                cause => Error::Latched { cause: Arc::new(cause) },
            };
            wake.due = self.waiters.take_all(&cause);
            wake.latched = true;
            self.failure = Some(cause);
        }
        wake
    }

    /// Releases the directory's lock; operations under way hold it until they end. Returns what to wait on for that;
    /// `None` if the lock was released before.
    pub(crate) fn unlock(&mut self) -> Option<Arc<LockRelease>> {
        self.lock.take().map(|lock| lock.freed())
    }

    /// Whether a group may be written now: one that is closed, or the one being filled if it is wanted. While another
    /// write is in flight a small group waits for more records.
    fn may_write(&self) -> bool {
        // While records are gathered, a group does not go ahead of the sync of the one before it: the two would take
        // turns for ever, each with half of the records.
        let gathers = self.policy.gathers() && !self.is_large();
        let writing = if gathers { self.flight.len() } else { self.flight.writing() };
        if writing >= self.limits.in_flight || self.beyond_tail_bound() {
            return false;
        }
        let overlap = writing < self.policy.concurrent();
        let splits = |g: &WriteGroup| writing == 1 && self.policy.split(g.record_count);
        let filled = |g: &WriteGroup| g.wanted && (overlap || g.len() >= OVERLAP_BYTES || splits(g));
        !self.queued.is_empty() || self.filling.as_ref().is_some_and(filled)
    }

    /// Whether the next group has to wait until more is durable. Open looks for groups only as far past the durable end
    /// as the segment's reach, and for a longer group only if the mark before it is durable.
    fn beyond_tail_bound(&self) -> bool {
        let Some(next) = self.queued.front().or(self.filling.as_ref()) else { return false };
        let reach = u64::from(next.segment.reach_bytes(self.limits.block_bytes));
        let long = next.len() as u64 > reach;
        self.flight.len() > 0 && (long || self.flight.bytes() > reach)
    }

    /// Whether the group being filled is so large that it is written at once.
    pub(super) fn is_large(&self) -> bool {
        self.filling.as_ref().is_some_and(|g| g.len() >= OVERLAP_BYTES)
    }

    /// Records in the group being filled.
    pub(crate) fn filled(&self) -> u32 {
        self.filling.as_ref().map_or(0, |g| g.record_count)
    }

    /// How long waiting threads yield before they sleep, in nanoseconds.
    pub(crate) fn yield_max_ns(&self) -> u64 {
        self.policy.yield_max_ns(self.limits.yield_max_ns)
    }

    /// As [`CommitState::next_disk_op`], for a waiting thread: `None` while the driver issues.
    pub(crate) fn issue_as_waiter(&mut self) -> Option<DiskOp> {
        if self.left_to_driver() { None } else { self.next_disk_op() }
    }

    /// Whether waiters issue nothing, because the driver issues or is about to.
    pub(crate) fn left_to_driver(&self) -> bool {
        self.driven == DriverState::Yes
    }

    /// As [`CommitState::next_disk_op`], for the driver, which has `busy` operations in its ring. Also returns whether
    /// the operation should go into the ring. If there is none and the ring is empty, waiting threads take over.
    pub(crate) fn drive(&mut self, busy: usize) -> Option<(DiskOp, bool)> {
        let mut io = if self.driven == DriverState::No { None } else { self.next_disk_op() };
        io.iter_mut().for_each(|io| io.driven = true);
        // A single operation costs less without the ring, and suffices while the device is not the bottleneck.
        let many = || busy > 0 || self.policy.concurrent() > 1 || !self.queued.is_empty();
        let into_ring = self.driver == Driver::Ring && io.is_some() && many();
        self.driven = match &io {
            Some(_) if into_ring => DriverState::Yes,
            Some(_) => DriverState::Busy,
            None if busy > 0 => DriverState::Yes,
            None => DriverState::No,
        };
        io.map(|io| (io, into_ring))
    }

    /// Whether a waiting thread that looks finds something: an operation to issue, or the error that stopped the log.
    pub(crate) fn waiters_may_issue(&self) -> bool {
        let gathered = self.gatherer && self.is_gathering();
        self.failure.is_some() || (!self.left_to_driver() && !gathered && self.next_requested().is_some())
    }

    /// Whether the caller must wake the driver, which then issues the operation that is due; no other thread does.
    /// `due`: the disk is idle until a thread wakes up, as at the end of an operation.
    pub(crate) fn claim_driver(&mut self, due: bool) -> bool {
        if self.driver == Driver::None || self.next_requested().is_none() {
            return false;
        }
        let crowd = self.filling.as_ref().is_some_and(|g| g.record_count >= CROWD);
        let concurrent = self.policy.concurrent() > 1;
        if due && crowd && self.queued.is_empty() && !concurrent {
            self.driven = DriverState::No;
            return false;
        }
        let call = self.driven != DriverState::No
            || !self.queued.is_empty()
            // Without a ring the driver does one thing at a time, so it takes over only where that is enough.
            || due && (self.driver == Driver::Ring || self.limits.durable_writes && !concurrent);
        if call && self.driven == DriverState::No {
            self.driven = DriverState::Yes;
        }
        call
    }

    /// Ordinal of the group for which [`CommitState::next_disk_op`] would return an operation now.
    pub(crate) fn next_requested(&self) -> Option<u64> {
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

    /// Ordinal of the group being filled, if nothing has asked for it to be written: it holds lazy records only.
    pub(crate) fn lazy_group(&self) -> Option<u64> {
        self.filling.as_ref().filter(|g| !g.wanted).map(|g| g.ordinal)
    }

    /// Whether the caller must wake the flusher. Clears the flag, so only one caller does.
    pub(crate) fn claim_flusher_wake(&mut self) -> bool {
        std::mem::take(&mut self.flusher_asleep)
    }
}
