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
mod tests {
    use super::super::{FaultError, FaultRule, SimDisk, SimOptions};
    use super::*;
    use crate::exact::write_all_at;
    use crate::interface::{Access, Disk};
    use std::io::ErrorKind;

    const SEEDS: u64 = 60;

    fn options(mode: Mode) -> SimOptions {
        SimOptions { mode, ..SimOptions::default() }
    }

    fn aligned(len: usize, byte: u8) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(len);
        buf.fill(byte);
        buf
    }

    /// A disk with a durable file "a" of 8192 ones, and a handle on it.
    fn disk_with_file(seed: u64, mode: Mode) -> (Arc<SimDisk>, Arc<dyn DiskFile>) {
        let disk = SimDisk::new(seed, options(mode));
        disk.write_file("a", &[1; 8192]);
        let file = disk.open("a", Access::Write).unwrap();
        (disk, file)
    }

    #[test]
    fn unsynced_writes_are_lost_kept_or_torn_at_sectors() {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..SEEDS {
            let (disk, file) = disk_with_file(seed, Mode::Direct);
            file.write_at(&aligned(8192, 2), 0, false).unwrap();
            assert_eq!(disk.read_file("a"), [2; 8192]);
            disk.crash();
            let bytes = disk.read_file("a");
            assert!(bytes.chunks(512).all(|sector| sector == [1; 512] || sector == [2; 512]));
            match (bytes.contains(&1), bytes.contains(&2)) {
                (true, false) => lost += 1,
                (false, _) => kept += 1,
                (true, true) => torn += 1,
            }
        }
        assert!(lost > 3 && kept > 3 && torn > 3, "{lost} {kept} {torn}");
    }

    #[test]
    fn a_prefix_of_the_writes_often_survives() {
        let mut clean_prefixes = 0;
        for seed in 0..SEEDS {
            let disk = SimDisk::new(seed, options(Mode::Direct));
            disk.write_file("a", &[0; 16 * 4096]);
            let file = disk.open("a", Access::Write).unwrap();
            for i in 0..16 {
                file.write_at(&aligned(4096, 1), i * 4096, false).unwrap();
            }
            disk.crash();
            let bytes = disk.read_file("a");
            let ones = bytes.iter().filter(|&&byte| byte == 1).count();
            let run = bytes.iter().take_while(|&&byte| byte == 1).count();
            clean_prefixes += u32::from(run >= 4096 && run < bytes.len() && ones - run < 4096);
        }
        assert!(clean_prefixes > 5, "{clean_prefixes}");
    }

    #[test]
    fn durable_and_synced_writes_survive_every_seed() {
        for seed in 0..SEEDS {
            let (disk, file) = disk_with_file(seed, Mode::Direct);
            file.write_at(&aligned(4096, 9), 4096, false).unwrap();
            file.write_at(&aligned(4096, 2), 0, true).unwrap();
            file.write_at(&aligned(4096, 3), 8192, true).unwrap();
            disk.crash();
            let bytes = disk.read_file("a");
            assert_eq!((&bytes[..4096], &bytes[8192..]), (&[2; 4096][..], &[3; 4096][..]));

            let file = disk.open("a", Access::Write).unwrap();
            file.allocate(65536).unwrap();
            file.write_at(&aligned(4096, 4), 16384, false).unwrap();
            file.sync().unwrap();
            disk.crash();
            let bytes = disk.read_file("a");
            assert_eq!((bytes.len(), &bytes[16384..20480]), (65536, &[4; 4096][..]));
        }
    }

    #[test]
    fn an_unsynced_file_is_empty_or_allocated_or_between() {
        let mut lens = std::collections::BTreeSet::new();
        for seed in 0..SEEDS {
            let disk = SimDisk::new(seed, options(Mode::Direct));
            let file = disk.open("new", Access::Create).unwrap();
            file.allocate(8192).unwrap();
            file.write_at(&aligned(4096, 5), 8192, false).unwrap();
            assert_eq!(file.written_end(0).unwrap(), 0);
            disk.sync().unwrap();
            disk.crash();
            let bytes = disk.read_file("new");
            assert!(bytes.chunks(512).all(|sector| sector == [0; 512] || sector == [5; 512]));
            lens.insert(bytes.len());
        }
        assert_eq!(lens.into_iter().collect::<Vec<_>>(), [0, 8192, 12288]);
    }

    #[test]
    fn an_interrupted_durable_write_or_sync_may_have_done_anything() {
        for sync in [false, true] {
            let (mut lost, mut kept, mut torn) = (0, 0, 0);
            for seed in 0..SEEDS {
                let (disk, file) = disk_with_file(seed, Mode::Direct);
                if sync {
                    file.write_at(&aligned(8192, 2), 0, false).unwrap();
                }
                disk.crash_after(1);
                let result =
                    if sync { file.sync() } else { file.write_at(&aligned(8192, 2), 0, true).map(drop) };
                assert!(SimDisk::is_crash(&result.unwrap_err()));
                disk.crash();
                let bytes = disk.read_file("a");
                match (bytes.contains(&1), bytes.contains(&2)) {
                    (true, false) => lost += 1,
                    (false, _) => kept += 1,
                    (true, true) => torn += 1,
                }
            }
            assert!(lost > 3 && kept > 3 && torn > 3, "{lost} {kept} {torn}");
        }
    }

    #[test]
    fn contracts_are_enforced() {
        let (disk, file) = disk_with_file(0, Mode::Direct);
        let mut buf = aligned(8192, 2);
        for result in [
            file.write_at(&buf[..4096], 512, true),
            file.write_at(&buf[..512], 0, true),
            file.write_at(&buf[512..4608], 0, true),
            file.read_medium(&mut buf, 512, 4096),
            file.read_medium(&mut buf, 0, 12288),
        ] {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(disk.operations(), 0);
        let reader = disk.open("a", Access::Read).unwrap();
        assert_eq!(reader.write_at(&buf, 0, true).unwrap_err().raw_os_error(), Some(9));
        assert_eq!(reader.allocate(1 << 20).unwrap_err().raw_os_error(), Some(9));
        assert_eq!(file.allocate(u64::MAX).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(disk.read_file("a"), [1; 8192]);

        let (disk, file) = disk_with_file(0, Mode::Buffered);
        assert_eq!(file.write_at(&[3; 10], 8190, false).unwrap(), 10);
        assert_eq!(disk.read_file("a")[8189..], [1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
    }

    #[test]
    fn reads_end_at_the_length() {
        let (_disk, file) = disk_with_file(0, Mode::Direct);
        let mut buf = aligned(8192, 7);
        assert_eq!(file.read_at(&mut buf[..10], 8187).unwrap(), 5);
        assert_eq!(buf[..6], [1, 1, 1, 1, 1, 7]);
        assert_eq!(file.read_at(&mut buf, 8192).unwrap(), 0);
        assert_eq!(file.read_at(&mut buf, u64::MAX).unwrap(), 0);
        assert_eq!(file.read_medium(&mut buf, 4096, 8192).unwrap(), 4096);
        assert_eq!((file.len().unwrap(), file.links().unwrap()), (8192, 1));
    }

    #[test]
    fn short_writes_end_on_units_and_can_be_continued() {
        for (mode, unit) in [(Mode::Direct, 4096), (Mode::Buffered, 512)] {
            let disk = SimDisk::new(4, SimOptions { short_writes: true, ..options(mode) });
            let file = disk.open("a", Access::Create).unwrap();
            let (mut short, mut odd) = (0, 0);
            for _ in 0..200 {
                let n = file.write_at(&aligned(16384, 1), 0, false).unwrap();
                assert!(n > 0 && n.is_multiple_of(unit));
                short += u32::from(n < 16384);
                odd += u32::from(!n.is_multiple_of(4096));
                file.sync().unwrap();
            }
            assert!((20..100).contains(&short), "{short}");
            assert_eq!(odd > 0, mode == Mode::Buffered);
            write_all_at(&*file, &aligned(65536, 2), 0, true).unwrap();
            disk.sync().unwrap();
            disk.crash();
            assert_eq!(disk.read_file("a"), [2; 65536]);
        }
    }

    #[test]
    fn writes_fail_once_or_for_ever_and_may_be_torn() {
        let (disk, file) = disk_with_file(2, Mode::Direct);
        disk.fail(FaultRule::once(FaultOp::Write, 2, FaultError::Io).on("a"));
        file.write_at(&aligned(8192, 2), 0, true).unwrap();
        assert_eq!(file.write_at(&aligned(8192, 3), 0, true).unwrap_err().raw_os_error(), Some(5));
        let bytes = disk.read_file("a");
        assert!(bytes.contains(&2) && bytes.contains(&3) && !bytes.contains(&1));
        file.write_at(&aligned(8192, 4), 0, true).unwrap();

        disk.fail(FaultRule::forever(FaultOp::Write, 1, FaultError::Full));
        for _ in 0..3 {
            assert_eq!(file.write_at(&aligned(4096, 5), 0, true).unwrap_err().kind(), ErrorKind::StorageFull);
        }
        assert_eq!(disk.read_file("a"), [4; 8192]);
        disk.clear_faults();
        file.write_at(&aligned(4096, 5), 0, true).unwrap();

        disk.fail(FaultRule::once(FaultOp::Read, 1, FaultError::Io));
        assert_eq!(file.read_at(&mut [0; 4], 0).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(file.read_at(&mut [0; 4], 0).unwrap(), 4);
    }

    #[test]
    fn what_a_failed_sync_lost_no_later_sync_brings_back() {
        let mut lost = 0;
        for seed in 0..SEEDS {
            let (disk, file) = disk_with_file(seed, Mode::Buffered);
            disk.fail(FaultRule::once(FaultOp::Sync, 1, FaultError::Io));
            file.write_at(&aligned(8192, 2), 0, false).unwrap();
            assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(5));
            file.sync().unwrap();
            assert_eq!(disk.read_file("a"), [2; 8192]);
            let fork = disk.fork(seed);
            file.drop_cache();
            let after_drop = disk.read_file("a");
            fork.crash();
            assert_eq!(fork.read_file("a"), after_drop);
            lost += u32::from(after_drop.contains(&1));
        }
        assert!(lost > 50, "{lost}");
    }
}
