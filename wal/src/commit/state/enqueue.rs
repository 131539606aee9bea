//! Adds records to groups and queues the groups.
//!
//! A record gets its position at once. Its group is closed when it is full or issued. After every record the segment
//! still has room for a mark and its footer, and nothing is placed where the segment's blocks have not been written yet
//! (INV-8).

use crate::commit::state::commit_state::{Appended, Blocked, CommitState};
use crate::commit::state::write_group::WriteGroup;
use crate::error::Error;
use crate::format::{RecordBuilder, close_footer, tail_bytes};
use crate::segment::spare_pool::KEPT_SPARES;
use crate::types::{Durability, GroupKind, Lsn, len32, round_up};
use std::sync::atomic::Ordering;

impl CommitState {
    /// Places a record at the end of the log, or returns why it has to wait.
    pub(crate) fn append(
        &mut self,
        batch: &RecordBuilder,
        class: Durability,
        head_crc: u32,
    ) -> Result<Appended, Blocked> {
        if let Some(failure) = &self.failure {
            return Err(Blocked::Failed(failure.clone()));
        }
        let bytes = batch.encoded_len();
        if self.queued_bytes > 0 && self.queued_bytes + bytes as u64 > self.limits.queue_bytes {
            self.stats.appends_waited += 1;
            return Err(Blocked::Queue);
        }
        // Control records, which are records without payload and lazy records, are the ones that release space. On a
        // full disk only they go into a segment that was entered with fewer than `KEPT_SPARES` spares. No record uses
        // the last spare: `SparePool::take` keeps one for every caller.
        let control = class == Durability::Lazy || batch.part_count() == 0;
        if self.reserved && !control && self.spare_pool.is_scarce() {
            return Err(self.spare_pool.failure().map_or(Blocked::Preallocator, Blocked::Failed));
        }
        self.make_room(bytes, batch.footer_bytes(), if control { 1 } else { KEPT_SPARES })?;
        let Some(group) = &mut self.filling else { return Err(Blocked::Queue) };
        let lsn = group.push(batch, class, head_crc);
        group.wanted |= class == Durability::Sync;
        if group.record_count.is_power_of_two() {
            group.note_arrival(self.clock.now_ns());
        }
        let ordinal = group.ordinal;
        self.note_gathered();
        self.footer_bytes = self.footer_bytes.saturating_add(batch.footer_bytes());
        self.queued_bytes += bytes as u64;
        self.pending_records = self.pending_records.saturating_add(1);
        self.marked = false;
        self.stats.records += 1;
        self.stats.record_bytes += bytes as u64;
        if let Some(index_builder) = &mut self.index_builder {
            index_builder.record(lsn, batch.meta_bytes(), &mut batch.part_infos(lsn.offset()));
        }
        Ok(Appended { lsn, group: ordinal })
    }

    /// Makes sure that a group is being filled which has room for `bytes` more.
    fn make_room(&mut self, bytes: usize, footer_bytes: u32, keep: usize) -> Result<(), Blocked> {
        if let Some(group) = &self.filling {
            let len = group.len_with(bytes);
            let most = self.limits.group_bytes.min(group.segment.reach_bytes(self.limits.block_bytes));
            let full = group.record_count > 0 && len > most as usize;
            if !full && self.fits(group.start, len, footer_bytes)? {
                return Ok(());
            }
        }
        let len = crate::format::layout::GROUP_HEADER_BYTES + bytes;
        if self.fits(self.next_start(len), len, footer_bytes)? {
            self.close_filling();
        } else {
            self.rotate(keep)?;
            if !self.fits(self.next_start(len), len, footer_bytes)? {
                let max = self.segment.file_bytes;
                if max < self.limits.segment_bytes || self.next_start(len) > self.offset {
                    // The segment was prepared with an older size or reach. Leave it empty; segments prepared from
                    // now on have the new size.
                    return Err(Blocked::Preallocator);
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

    /// Where a group of `len` bytes starts. A group longer than the segment's reach goes after a mark that announces
    /// it, since open does not look for such a group without the mark.
    fn next_start(&self, len: usize) -> u32 {
        let (block, next) = (self.limits.block_bytes, self.next_offset());
        let long = len > self.segment.reach_bytes(block) as usize;
        if long { next.saturating_add(block) } else { next }
    }

    /// Where the group after the one being filled starts.
    fn next_offset(&self) -> u32 {
        self.filling.as_ref().map_or(self.offset, |g| {
            let len = round_up(len32(g.len_with(0)), self.limits.block_bytes);
            g.start.saturating_add(len.unwrap_or(u32::MAX))
        })
    }

    /// Whether a group of `len` bytes at `start`, a mark, and the segment's footer with `footer_bytes` more of index
    /// fit into the segment. An error if they fit, but the blocks have not been written yet.
    fn fits(&self, start: u32, len: usize, footer_bytes: u32) -> Result<bool, Blocked> {
        let block = self.limits.block_bytes;
        let Some(end) = round_up(len32(len), block).and_then(|n| n.checked_add(start)) else {
            return Ok(false);
        };
        let footer = match self.footer_bytes.saturating_add(footer_bytes) {
            0 => 0,
            index => self.footer_room(index),
        };
        match end.checked_add(footer).and_then(|n| n.checked_add(block)) {
            Some(total) if total <= self.segment.file_bytes => self.check_written(end).map(|()| true),
            _ => Ok(false),
        }
    }

    /// Checks that the blocks of the segment below `end` have been written. The preallocator may write zeros to later
    /// blocks at any moment.
    fn check_written(&self, end: u32) -> Result<(), Blocked> {
        if end <= self.segment.written_to.load(Ordering::Acquire) {
            return Ok(());
        }
        self.spare_pool.note_waited_for();
        Err(self.spare_pool.unwritable().map_or(Blocked::Preallocator, Blocked::Failed))
    }

    fn start_group(&mut self, kind: GroupKind) -> WriteGroup {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        let buf = self.pool.take();
        WriteGroup::start(ordinal, self.segment.clone(), self.offset, kind, self.previous_end, buf)
    }

    /// Closes the group being filled: it takes no more records.
    pub(super) fn close_filling(&mut self) {
        if let Some(mut group) = self.filling.take() {
            self.offset = group.pad(self.limits.block_bytes);
            self.spare_pool.set_position(self.offset);
            // Fixed now: a later release may depend on a record in a later group.
            group.first_live = self.first_live;
            self.queued.push_back(group);
        }
    }

    /// Ends the segment with its footer and enters the next one. Changes no name on disk; the footer is the only thing
    /// to be written. Fails unless at least `keep` spares remain after one is taken: 2 for records with payload, 1 for
    /// others.
    fn rotate(&mut self, keep: usize) -> Result<(), Blocked> {
        if self.index_builder.is_some() && self.footer_bytes > 0 {
            let footer = self.footer_room(self.footer_bytes);
            let end = self.next_offset().saturating_add(footer);
            if end <= self.segment.file_bytes {
                self.check_written(end)?;
            }
        }
        let Some(next) = self.spare_pool.take(keep) else {
            if !std::mem::replace(&mut self.rotation_waits, true) {
                self.stats.rotations_waited += 1;
            }
            return Err(self.spare_pool.failure().map_or(Blocked::Preallocator, Blocked::Failed));
        };
        self.reserved = self.spare_pool.ready() < KEPT_SPARES;
        self.close_filling();
        self.put_footer();
        // The end of the log so far; a segment that stayed empty does not contain it.
        if self.offset > self.limits.block_bytes {
            self.previous_end = Lsn::new(self.segment.sequence, self.offset);
        }
        self.segment = next.clone();
        self.active.store(next.sequence, Ordering::Release);
        self.offset = self.limits.block_bytes;
        self.spare_pool.set_position(self.offset);
        self.footer_bytes = 0;
        self.entered.push((self.previous_end, next.segment));
        self.stats.rotations += 1;
        self.rotation_waits = false;
        Ok(())
    }

    /// Bytes of a footer with an index of `index_bytes`, and of the mark that announces it if it is long.
    fn footer_room(&self, index_bytes: u32) -> u32 {
        let block = self.limits.block_bytes;
        let bytes = tail_bytes(index_bytes, block).unwrap_or(u32::MAX);
        let long = bytes > self.segment.reach_bytes(block);
        if long { bytes.saturating_add(block) } else { bytes }
    }

    fn put_footer(&mut self) {
        let Some(index_builder) = &mut self.index_builder else { return };
        let mut index = Vec::new();
        index_builder.seal(self.segment.sequence, &mut index);
        let bytes = self.footer_room(len32(index.len()));
        let written_to = self.segment.written_to.load(Ordering::Acquire);
        let room = written_to.min(self.segment.file_bytes).saturating_sub(self.offset);
        // An index builder that writes more than it announced loses the footer; the log is not harmed.
        if index.is_empty() || bytes > room {
            return;
        }
        if bytes > tail_bytes(len32(index.len()), self.limits.block_bytes).unwrap_or(u32::MAX) {
            self.put_mark(GroupKind::Announcement);
        }
        let lsn = Lsn::new(self.segment.sequence, self.offset);
        let footer = close_footer(index, lsn, self.segment.salt, self.limits.block_bytes);
        let mut group = self.start_group(GroupKind::Footer);
        group.push(&footer, Durability::Lazy, footer.head_crc(Durability::Lazy));
        self.queued_bytes += group.record_bytes;
        self.filling = Some(group);
        self.close_filling();
    }

    /// Adds a mark if the log is idle and does not end in one. `Ok(false)` if it added none.
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
            // The footer of the previous segment must be durable before a mark may follow it.
            if self.has_work() {
                self.request_sync_all();
                return Ok(false);
            }
        }
        self.check_written(self.offset.saturating_add(block))?;
        self.put_mark(GroupKind::Mark);
        self.marked = true;
        Ok(true)
    }

    /// Adds a mark. The caller has made sure that it fits.
    fn put_mark(&mut self, kind: GroupKind) {
        let mut mark = self.start_group(kind);
        mark.wanted = true;
        self.filling = Some(mark);
        self.close_filling();
        self.stats.marks += 1;
    }
}
