//! The interface to the medium: traits for one directory of flat files, with written contracts.
//!
//! Errors are `io::Error`s, returned unchanged; the callers decide what an error means for their data.

pub(crate) mod ring;

use crate::buffer::AlignedBuf;
use crate::map::Map;
use ring::Ring;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// How files of the log are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Past the page cache (O_DIRECT): every buffer, offset and length is a multiple of the block size.
    Direct,
    /// Through the page cache: durable only after [`DiskFile::sync`].
    Buffered,
}

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// The file must exist and is only read.
    Read,
    /// The file must exist; it is read and written.
    Write,
    /// The file must not exist; it is created with mode 0600.
    Create,
}

/// Kind of a directory entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameKind {
    /// A regular file.
    File,
    /// Anything else: a directory, symbolic link or socket.
    Other,
}

/// One directory that holds one log.
///
/// All calls block. Names are single path components. Implementations are shared by threads; calls on different names
/// may run concurrently.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Location of the directory, for messages.
    fn location(&self) -> String;

    /// The mode in which files are written.
    fn mode(&self) -> Mode;

    /// The smallest unit in bytes in which the medium can be written without touching its neighbours: the largest of
    /// 4096, the logical and physical block size and the direct-I/O alignment.
    fn block_size(&self) -> u32;

    /// All names in the directory, in no particular order.
    fn list(&self) -> io::Result<Vec<(String, NameKind)>>;

    /// Opens a regular file; never follows a symbolic link. A creation that fails leaves no file.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames `from` to `to`, replacing an existing file of that name. Durable after [`Disk::sync`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Durable after [`Disk::sync`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names in the directory durable. The name of the directory in its parent is not included; see
    /// [`PosixDisk::create_dir`](crate::PosixDisk::create_dir).
    fn sync(&self) -> io::Result<()>;

    /// Free space of the file system, in bytes.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Creates a ring for up to `depth` concurrent operations on files of this disk, to be used by the calling thread
    /// only.
    ///
    /// # Errors
    /// `Unsupported`, or the kernel's error, if the disk has no rings.
    fn ring(&self, depth: usize) -> io::Result<Box<dyn Ring>> {
        let _ = depth;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Locks the directory exclusively, and the file `name` in it, and writes `holder` into the file. Returns
    /// `Ok(Err(text))` if another process holds the lock, with the text that it wrote.
    ///
    /// Removing the file does not unlock the directory, where directories can be locked. Dropping the value unlocks
    /// the directory; callers drop it after their last operation that changes the directory has ended.
    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>>;

    /// Excludes writers, but not readers, without changing anything: takes a shared lock of the directory, and of the
    /// file `name` if there is one. Returns `Ok(Ok(None))` if neither can be locked; the caller then reads without a
    /// lock.
    fn lock_for_reading(&self, name: &str) -> io::Result<Result<Option<Box<dyn DiskLock>>, String>> {
        let _ = name;
        Ok(Ok(None))
    }
}

/// A held directory lock; dropping it unlocks the directory.
pub trait DiskLock: Send + Sync + fmt::Debug {}

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

    /// The descriptor in the log's write mode, for a [`Ring`] of the same disk.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
