//! One file of a real directory, open in up to two ways.
//!
//! One descriptor is in the log's write mode, the other is for other reads. In direct mode the second reads through the
//! page cache, at any alignment. It reads only blocks that will never be written again, so both descriptors return the
//! same bytes. In buffered mode the second reads past the page cache where the file system can do that.

use crate::buffer::AlignedBuf;
use crate::interface::{DiskFile, FileId};
use crate::map::Map;
use rustix::fs::{self, Advice, FallocateFlags, IFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Largest page of the kernels on which the log runs, in bytes.
const PAGE_BYTES_MAX: u64 = 64 << 10;

/// An open file and its descriptors.
#[derive(Debug)]
pub(super) struct PosixFile {
    pub(super) main: OwnedFd,
    /// Descriptor that reads through the page cache, if `main` is direct.
    pub(super) cached: Option<OwnedFd>,
    /// Descriptor that reads past the page cache, if `main` is not direct and the file system supports it.
    pub(super) medium: Option<OwnedFd>,
    /// Whether [`DiskFile::read_medium`] is known to read past the page cache.
    pub(super) past_cache: bool,
    /// Whether the file system writes every block to a new place unless the file says otherwise.
    pub(super) copies_on_write: bool,
    pub(super) id: FileId,
    pub(super) doubt: StalePages,
}

/// Whether pages may still be cached that were cached before the file was opened.
#[derive(Debug, Default)]
pub(super) struct StalePages {
    raised: AtomicBool,
    settled: OnceLock<()>,
}

impl PosixFile {
    /// Drops such pages; called before anything is read through the page cache.
    fn settle_doubt(&self) {
        if self.doubt.raised.load(Ordering::Acquire) {
            self.doubt.settled.get_or_init(|| self.drop_cache());
        }
    }
}

impl DiskFile for PosixFile {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(fs::fstat(&self.main)?.st_size).unwrap_or(0))
    }

    #[expect(clippy::useless_conversion, reason = "the type of st_nlink differs between targets")]
    fn links(&self) -> io::Result<u64> {
        Ok(u64::from(fs::fstat(&self.main)?.st_nlink))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if self.copies_on_write && self.len()? == 0 {
            // Without NOCOW only the first write of a block uses the reservation; each later one takes new space,
            // which a full disk does not have. If the file system refuses the flag, that is ignored.
            let _ = fs::ioctl_getflags(&self.main)
                .and_then(|f| fs::ioctl_setflags(&self.main, f | IFlags::NOCOW));
        }
        match retry_on_intr(|| fs::fallocate(&self.main, FallocateFlags::empty(), 0, len)) {
            Ok(()) => Ok(()),
            // The file system cannot reserve: make a sparse file of the right size. ENOSPC then shows when it is
            // filled.
            Err(Errno::OPNOTSUPP) => Ok(fs::ftruncate(&self.main, len)?),
            Err(e) => Err(e.into()),
        }
    }

    fn written_end(&self, from: u64) -> io::Result<u64> {
        let len = self.len()?;
        if from >= len {
            return Ok(len);
        }
        // Cached pages of blocks that were never written would count as written.
        self.drop_cache();
        match fs::seek(&self.main, SeekFrom::Hole(from)) {
            Ok(end) => Ok(end.min(len)),
            Err(Errno::NXIO) => Ok(len),
            // The file system cannot tell: treat all of it as written, which costs only speed.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(len),
            Err(e) => Err(e.into()),
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.settle_doubt();
        let fd = self.cached.as_ref().unwrap_or(&self.main);
        Ok(rustix::io::pread(fd, buf, offset)?)
    }

    fn map(&self) -> io::Result<Option<Map>> {
        self.settle_doubt();
        let len = usize::try_from(self.len()?).unwrap_or(0);
        Map::new(self.cached.as_ref().unwrap_or(&self.main), len).map(Some)
    }

    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        let fd = self.medium.as_ref().unwrap_or(&self.main);
        Ok(rustix::io::pread(fd, &mut buf[..len], offset)?)
    }

    fn write_at(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        if durable {
            let flags = ReadWriteFlags::DSYNC;
            Ok(rustix::io::pwritev2(&self.main, &[IoSlice::new(buf)], offset, flags)?)
        } else {
            Ok(rustix::io::pwrite(&self.main, buf, offset)?)
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fs::fdatasync(&self.main)?)
    }

    fn id(&self) -> Option<FileId> {
        Some(self.id)
    }

    fn descriptors(&self) -> u32 {
        1 + u32::from(self.cached.is_some()) + u32::from(self.medium.is_some())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.main.as_fd())
    }

    fn drop_cache(&self) {
        // The pages belong to the file, not to the descriptor.
        let _ = fs::fadvise(&self.main, 0, None, Advice::DontNeed);
    }

    fn drop_cached(&self, offset: u64, len: u64) {
        // The kernel keeps a page of which it is to drop only a part.
        let from = offset / PAGE_BYTES_MAX * PAGE_BYTES_MAX;
        let to = offset.saturating_add(len).div_ceil(PAGE_BYTES_MAX).saturating_mul(PAGE_BYTES_MAX);
        let _ = fs::fadvise(&self.main, from, NonZeroU64::new(to - from), Advice::DontNeed);
    }

    fn expect_reads(&self) {
        if let Some(cached) = &self.cached {
            let _ = fs::fadvise(cached, 0, None, Advice::Normal);
        }
    }

    /// Delays the drop: dropping the pages of all files of a log takes longer than the rest of opening it, and most
    /// of the files may never be read again.
    fn distrust_cache(&self) {
        if self.past_cache && self.doubt.settled.get().is_none() {
            self.doubt.raised.store(true, Ordering::Release);
        } else {
            self.drop_cache();
        }
    }
}
