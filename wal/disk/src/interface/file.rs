//! The interface to one open file: the trait and its contract.

use crate::buffer::AlignedBuf;
use crate::map::Map;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

/// Identifies a file among all files of a machine that exist at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId {
    /// Number of the device that holds the file.
    pub device: u64,
    /// Inode number on that device.
    pub inode: u64,
}

/// One open file.
///
/// Shared by threads: reads and writes of ranges that do not overlap may run concurrently. A range must not be read
/// while it is written.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Length of the file in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Number of names (hard links) of the file.
    fn links(&self) -> io::Result<u64>;

    /// Makes the file `len` bytes long with space reserved for all of them; they read as zeros. The blocks are
    /// allocated but not written. Where the file system supports it, they can be written more than once without
    /// taking more space.
    ///
    /// # Errors
    /// An error for which [`is_no_room`](crate::is_no_room) holds if the space is not available.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// End of the run of *written* blocks that starts at `from`, at most the file's length. Writing below it changes
    /// no metadata.
    fn written_end(&self, from: u64) -> io::Result<u64>;

    /// Reads into `buf` from `offset`, at any alignment, through the page cache. Returns the number of bytes read,
    /// which is 0 only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// As [`DiskFile::read_at`], but reads from the medium where the file system allows it, never from a page cache
    /// that may hold bytes that the device lacks. `buf`, its length and `offset` are block-aligned.
    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize>;

    /// Writes `buf`, which is block-aligned, at `offset`. Returns the number of bytes written, which may be less than
    /// all. With `durable`, the bytes reported as written are on the medium when the call returns, with the metadata
    /// needed to read them back. Otherwise they are durable only after a later [`DiskFile::sync`].
    fn write_at(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize>;

    /// Maps the whole file into memory, through the page cache; `None` if that is not possible. The file must not be
    /// written while the map lives.
    fn map(&self) -> io::Result<Option<Map>> {
        Ok(None)
    }

    /// Makes all writes durable that completed before the call. After an error no earlier write can be assumed to be
    /// durable, and a later `Ok` proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Asks the kernel to drop cached pages of the file; advisory.
    fn drop_cache(&self);

    /// As [`DiskFile::drop_cache`], for the pages that hold the `len` bytes at `offset`.
    fn drop_cached(&self, offset: u64, len: u64) {
        let _ = (offset, len);
        self.drop_cache();
    }

    /// As [`DiskFile::drop_cache`], for reads from now on: where other reads go past the page cache, the pages may
    /// stay until the first read through it.
    fn distrust_cache(&self) {
        self.drop_cache();
    }

    /// Tells the kernel that the file will not be written any more, so that it may read ahead in large pages;
    /// advisory.
    fn expect_reads(&self) {}

    /// Identity of the file, whatever its name; `None` if the disk cannot tell.
    fn id(&self) -> Option<FileId> {
        None
    }

    /// Number of descriptors that the file keeps open.
    fn descriptors(&self) -> u32 {
        1
    }

    /// The descriptor in the log's write mode, for a [`Ring`](crate::ring::Ring) of the same disk.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
