//! The interface to the medium: traits for one directory of flat files, with written contracts.
//!
//! Errors are `io::Error`s, returned unchanged; the callers decide what an error means for their data.

mod file;
pub mod ring;

pub use file::{DiskFile, FileId};

use ring::Ring;
use std::fmt;
use std::io;
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
