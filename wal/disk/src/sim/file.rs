//! Implements open files of the simulated disk: checks contracts, faults and crash points before it acts on an inode.
//!
//! A handle acts only while the process that opened it is alive, so no write of a dead process takes effect later.
//! Fails with `InvalidInput` for a write that direct I/O would refuse, with EBADF through a read-only handle, with
//! injected errors, or as a dead process.

use super::fault::{FaultOp, Outcome, SECTOR, full, not_writable, tears};
use super::shared::Shared;
use super::state::State;
use crate::buffer::AlignedBuf;
use crate::interface::{DiskFile, FileId, Mode};
use parking_lot::MutexGuard;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Largest alignment of a buffer that is required, in bytes: direct I/O needs the block size, but no allocator aligns
/// beyond a page.
const BUFFER_ALIGNMENT_MAX: usize = 4096;

/// A handle of one process on one inode.
pub(super) struct SimFile {
    shared: Arc<Shared>,
    inode: u64,
    generation: u64,
    writable: bool,
    /// Whether the cached pages are dropped before the next read through the cache.
    doubted: AtomicBool,
}

impl SimFile {
    pub(super) fn new(shared: Arc<Shared>, inode: u64, generation: u64, writable: bool) -> SimFile {
        SimFile { shared, inode, generation, writable, doubted: AtomicBool::new(false) }
    }

    fn enter(&self) -> io::Result<MutexGuard<'_, State>> {
        self.shared.enter(Some(self.generation))
    }

    fn enter_to_write(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.enter()?;
        if self.writable { Ok(state) } else { Err(not_writable()) }
    }

    /// Refuses accesses that direct I/O refuses.
    fn check_aligned(&self, buf: &[u8], offset: usize) -> io::Result<()> {
        let block = self.shared.block();
        let aligned = offset.is_multiple_of(block)
            && buf.len().is_multiple_of(block)
            && buf.as_ptr().addr().is_multiple_of(block.min(BUFFER_ALIGNMENT_MAX));
        if self.shared.options.mode == Mode::Direct && !aligned {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "direct I/O that is not block-aligned"));
        }
        Ok(())
    }

    /// How much of a write of `len` bytes is done: all of it, or sometimes only some of its units.
    fn accepted(&self, state: &mut State, len: usize) -> usize {
        let unit = match self.shared.options.mode {
            Mode::Direct => self.shared.block(),
            Mode::Buffered => SECTOR,
        };
        if self.shared.options.short_writes && len > unit && state.rng.below(4) == 0 {
            (1 + state.rng.below((len - 1) / unit)) * unit
        } else {
            len
        }
    }

    /// Makes the next reads read clean pages from the device.
    fn forget_pages(&self, state: &mut State) {
        let inode = state.inode_mut(self.inode);
        match self.shared.options.mode {
            Mode::Direct => inode.older.clear(),
            Mode::Buffered => inode.drop_clean(),
        }
    }

    /// The unit in which what was written through the cache is written out, in bytes.
    fn page(&self) -> usize {
        match self.shared.options.mode {
            Mode::Direct => SECTOR,
            Mode::Buffered => self.shared.options.page_bytes.next_multiple_of(SECTOR).max(SECTOR),
        }
    }

    /// A write that the device gave up in the middle: any subset of its sectors may have been written.
    fn write_torn(&self, state: &mut State, offset: usize, buf: &[u8]) {
        let end = offset + buf.len();
        let mut at = offset;
        while at < end {
            let next = end.min((at + 1).next_multiple_of(SECTOR));
            if state.rng.coin() {
                let seq = state.next_id();
                state.inode_mut(self.inode).write(seq, at, &buf[at - offset..next - offset]);
            }
            at = next;
        }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.enter()?.inode(self.inode).len() as u64)
    }

    fn links(&self) -> io::Result<u64> {
        Ok(self.enter()?.links(self.inode))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.enter_to_write()?;
        let len = to_usize(len)?;
        let outcome = state.begin_on(FaultOp::Allocate, self.inode)?;
        if let Err(error) = state.reserve(self.inode, len.next_multiple_of(self.shared.block())) {
            outcome.finish(())?;
            return Err(error);
        }
        state.inode_mut(self.inode).extend(len);
        outcome.finish(())
    }

    fn written_end(&self, from: u64) -> io::Result<u64> {
        Ok(self.enter()?.inode(self.inode).written_end(to_usize(from)?) as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.enter()?;
        state.begin_read(self.inode)?;
        if self.doubted.swap(false, Ordering::Relaxed) {
            self.forget_pages(&mut state);
        }
        let inode = state.inode(self.inode);
        let n = copy(inode.bytes(), buf, offset);
        if n > 0 {
            inode.older.cover(to_usize(offset)?, &mut buf[..n]);
        }
        Ok(n)
    }

    /// Without [`SimOptions::past_cache`](super::SimOptions::past_cache) it returns the same bytes as
    /// [`DiskFile::read_at`], pages that a failed sync marked clean included.
    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        let buf = buf.get_mut(..len).ok_or(io::ErrorKind::InvalidInput)?;
        self.check_aligned(buf, to_usize(offset)?)?;
        if !self.shared.options.past_cache {
            return self.read_at(buf, offset);
        }
        let mut state = self.enter()?;
        state.begin_read(self.inode)?;
        let inode = state.inode(self.inode);
        Ok(match self.shared.options.mode {
            Mode::Direct => copy(inode.bytes(), buf, offset),
            Mode::Buffered => copy(&inode.medium(), buf, offset),
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        let mut state = self.enter_to_write()?;
        let offset = to_usize(offset)?;
        self.check_aligned(buf, offset)?;
        if buf.is_empty() {
            return Ok(0);
        }
        let accepted = self.accepted(&mut state, buf.len());
        let buf = &buf[..accepted];
        let end = offset + buf.len();

        let outcome = match state.begin_on(FaultOp::Write, self.inode) {
            Ok(outcome) => outcome,
            Err(error) => {
                if tears(&error) {
                    self.write_torn(&mut state, offset, buf);
                }
                return Err(error);
            }
        };
        if end > state.inode(self.inode).len()
            && let Err(error) = state.reserve(self.inode, end.next_multiple_of(self.shared.block()))
        {
            outcome.finish(())?;
            return Err(error);
        }
        let again = state.inode(self.inode).written_bytes(offset, end) as u64;
        if self.shared.options.copies_on_write && again > state.free_bytes() {
            outcome.finish(())?;
            return Err(full());
        }
        if durable && outcome == Outcome::Complete {
            state.inode_mut(self.inode).write_durable(offset, buf);
        } else {
            let (seq, page) = (state.next_id(), self.page());
            state.inode_mut(self.inode).write_pages(seq, offset, buf, page);
        }
        outcome.finish(buf.len())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.enter()?;
        match state.begin_on(FaultOp::Sync, self.inode) {
            Ok(outcome) => {
                // If a crash point cuts it, any part of it may have happened: the crash draws which.
                if outcome == Outcome::Complete {
                    state.inode_mut(self.inode).sync();
                }
                outcome.finish(())
            }
            Err(error) => {
                state.fail_sync(self.inode, self.page());
                Err(error)
            }
        }
    }

    fn id(&self) -> Option<FileId> {
        Some(FileId { device: 0, inode: self.inode })
    }

    /// Makes clean pages be read from the device again, so the losses of a failed sync become visible.
    fn drop_cache(&self) {
        if let Ok(mut state) = self.enter() {
            self.forget_pages(&mut state);
        }
    }

    fn distrust_cache(&self) {
        if self.shared.options.past_cache {
            self.doubted.store(true, Ordering::Relaxed);
        } else {
            self.drop_cache();
        }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.shared.state.lock().close(self.inode, self.generation);
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile")
            .field("inode", &self.inode)
            .field("generation", &self.generation)
            .field("writable", &self.writable)
            .finish_non_exhaustive()
    }
}

/// Copies the bytes from `offset` on; returns their number.
fn copy(bytes: &[u8], buf: &mut [u8], offset: u64) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
    let n = rest.len().min(buf.len());
    buf[..n].copy_from_slice(&rest[..n]);
    n
}

/// Converts offsets and lengths to positions in memory. Beyond `FILE_BYTES_MAX` they are EFBIG, as in any file
/// system, so that the sums above cannot overflow.
fn to_usize(n: u64) -> io::Result<usize> {
    const FILE_BYTES_MAX: u64 = 1 << 40;
    match usize::try_from(n) {
        Ok(small) if n <= FILE_BYTES_MAX => Ok(small),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
