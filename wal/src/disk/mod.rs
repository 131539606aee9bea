//! The seam to the medium: one directory of flat files, with written contracts.
//!
//! Place on the data's way: the last step before the device. Everything above sees only these traits,
//! so the same log runs on a real directory and on a simulated disk. The only `unsafe` and the only
//! system calls of the crate live in this folder. Every failure is an `io::Error`, passed up unchanged;
//! the callers decide whether it latches the log.

mod buffer;
mod clock;
mod lazy_map;
mod lock;
mod map;
mod posix;
mod ring;
#[cfg(feature = "sim")]
pub mod sim;
mod unit;
mod uring;

pub use buffer::AlignedBuf;
pub use clock::{Clock, Random, SystemClock, SystemRandom};
pub(crate) use lazy_map::LazyMap;
pub use map::Map;
pub(crate) use posix::HINT;
pub use posix::PosixDisk;
pub use ring::{Completion, Ring, RingOp, RingWaker};

use rustix::io::Errno;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// How files of the log are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Past the page cache: every buffer, offset and length is a multiple of the block size.
    Direct,
    /// Through the page cache: durable only after [`DiskFile::sync`].
    Buffered,
}

/// How a file is to be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It must exist; nothing may be written.
    Read,
    /// It must exist.
    Write,
    /// It must not exist; created with mode 0600.
    Create,
}

/// What a name in the directory refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameKind {
    /// A regular file.
    File,
    /// Anything else: directory, symlink, socket.
    Other,
}

/// One directory that holds one log.
///
/// All calls block. Names are single path components. Implementations are shared by threads; calls on
/// different names may run at the same time.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Where the directory is, for messages.
    fn location(&self) -> String;

    /// The mode in which files are written.
    fn mode(&self) -> Mode;

    /// The smallest unit in which the medium can be written without touching its neighbours:
    /// the largest of 4096, the logical and physical block size and the direct-I/O alignment.
    fn block_size(&self) -> u32;

    /// All names in the directory, in no particular order.
    fn list(&self) -> io::Result<Vec<(String, NameKind)>>;

    /// Opens a regular file; never follows a symbolic link. A creation that fails leaves no file.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives `from` the name `to`, replacing what had it. Durable after [`Disk::sync`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. Durable after [`Disk::sync`].
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names in the directory durable; its own name in its parent is made so by [`PosixDisk::create_dir`].
    fn sync(&self) -> io::Result<()>;

    /// Bytes that can still be written before the file system is full.
    fn free_bytes(&self) -> io::Result<u64>;

    /// A ring for up to `depth` operations at a time on this disk's files, for the calling thread alone;
    /// `Unsupported`, or what the kernel says, where there is none.
    fn ring(&self, depth: usize) -> io::Result<Box<dyn Ring>> {
        let _ = depth;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes the exclusive lock of the directory, and of the file `name` in it, and writes `holder` into that;
    /// `Ok(Err(text))` if another process has it, with what that process wrote. Removing the file does not free the
    /// directory, where it can be locked itself. The lock is released when the value is dropped, after every file opened
    /// through this disk is closed.
    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>>;

    /// Keeps writers out of the directory, and no reader, without changing anything: a shared lock of the directory,
    /// and of the file `name` if there is one. `Ok(Ok(None))` if neither can be had: then the caller reads without one.
    fn lock_for_reading(&self, name: &str) -> io::Result<Result<Option<Box<dyn DiskLock>>, String>> {
        let _ = name;
        Ok(Ok(None))
    }
}

/// A held directory lock; dropping it releases the directory.
pub trait DiskLock: Send + Sync + fmt::Debug {}

/// What tells one file of a machine from every other one that exists at the same time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId {
    /// The device that the file is on.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

/// One open file.
///
/// Shared by threads: reads and writes of ranges that do not overlap may run at the same time. A range
/// being written must not be read.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Length of the file in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Number of names (hard links) of the file.
    fn links(&self) -> io::Result<u64>;

    /// Makes the file `len` bytes long with space reserved for all of them, reading as zeros. The
    /// blocks are allocated, not written, and can be written more than once without taking more space, where the file
    /// system can do that. Fails with an error for which [`is_no_room`] holds when there is no room.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// End of the run of *written* blocks that starts at `from`, at most the file's length: writing
    /// below it changes no metadata.
    fn written_end(&self, from: u64) -> io::Result<u64>;

    /// Reads into `buf` from `offset`, any alignment, through the page cache. Returns the bytes read;
    /// 0 only at the end of the file.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// As [`DiskFile::read_at`], but from the medium where the file system allows it: never from a
    /// page cache that may hold what the device lacks. `buf`, its length and `offset` are block-aligned.
    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize>;

    /// Writes `buf`, block-aligned, at `offset`. May write less than all of it; returns how much.
    /// With `durable`, what is returned as written is on the medium (data, and the metadata needed to
    /// read it back) before the call returns; else only after a [`DiskFile::sync`] issued after it.
    fn write_at(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize>;

    /// The whole file as memory, through the page cache; `None` where that cannot be. Nobody may write to the
    /// file while the map lives.
    fn map(&self) -> io::Result<Option<Map>> {
        Ok(None)
    }

    /// Makes everything written and completed before the call durable. After an error nothing may be
    /// assumed about any earlier write, and a later `Ok` proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Asks that cached pages of the file be dropped; advisory.
    fn drop_cache(&self);

    /// As [`DiskFile::drop_cache`], for what is read from now on: with reads that go past the cache the
    /// pages may stay until somebody reads through it.
    fn distrust_cache(&self) {
        self.drop_cache();
    }

    /// Says that nobody will write to the file any more, so that reading ahead, in large pages, is welcome; advisory.
    fn expect_reads(&self) {}

    /// Which file it is, whatever its name; `None` if the disk cannot tell.
    fn id(&self) -> Option<FileId> {
        None
    }

    /// Descriptors that it keeps open.
    fn descriptors(&self) -> u32 {
        1
    }

    /// What the kernel knows the file by, in the log's write mode; for a [`Ring`] of the same disk.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Whether a call failed for lack of room: the file system is full, or a quota is used up. What failed so may succeed
/// once there is room; a sync that did may have lost data all the same.
pub fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a file could not be opened because the process (EMFILE) or the system (ENFILE) has no descriptor left.
pub fn no_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Smallest and largest unit of direct I/O, in bytes: where a read that was cut short goes on.
const UNIT_MIN: usize = 4096;
/// See [`UNIT_MIN`].
const UNIT_MAX: usize = 65536;

/// Fills `buf` from `offset`, any alignment; a file that ends earlier is `UnexpectedEof`.
pub fn read_exact_at(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Fills the first `len` bytes of `buf` from the medium; a file that ends earlier is `UnexpectedEof`.
pub fn read_exact_medium(
    file: &dyn DiskFile,
    buf: &mut AlignedBuf,
    offset: u64,
    len: usize,
) -> io::Result<()> {
    let mut done = 0;
    // Only the start of a buffer is aligned, so what a short read left is read into another.
    let mut rest = AlignedBuf::new();
    while done < len {
        let from = offset + done as u64;
        let result = if done == 0 {
            file.read_medium(buf, offset, len)
        } else {
            rest.resize(len - done);
            file.read_medium(&mut rest, from, len - done)
        };
        let n = match result {
            Ok(n) if n == len - done => n,
            // A short read of a regular file ends at its end, or was cut: by a signal, or by what the kernel
            // transfers at most in one call, which is less than the largest group.
            Ok(n) if n == 0 || from + n as u64 >= file.len()? => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(n) => n - n % if n > UNIT_MAX { UNIT_MAX } else { UNIT_MIN },
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(e),
        };
        if done > 0 {
            buf[done..done + n].copy_from_slice(&rest[..n]);
        }
        done += n;
    }
    Ok(())
}

/// Writes all of `buf`; a short write is continued, so that a sync issued afterwards covers everything.
pub fn write_all_at(file: &dyn DiskFile, buf: &[u8], offset: u64, durable: bool) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match file.write_at(&buf[done..], offset + done as u64, durable) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
