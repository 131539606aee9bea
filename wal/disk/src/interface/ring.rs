//! The interface to io_uring: many operations in flight from one thread.
//!
//! The log's driver uses a ring instead of [`DiskFile::write_at`] and [`DiskFile::sync`] to keep the disk busy. A ring
//! owns the files and buffers of its operations until they have ended.

use super::file::DiskFile;
use crate::buffer::AlignedBuf;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// An operation on one file.
#[derive(Clone, Debug)]
pub enum RingOp {
    /// As [`DiskFile::write_at`] of the bytes of `buf` from `from` on.
    Write {
        /// The buffer; it is not changed until the operation has ended.
        buf: Arc<AlignedBuf>,
        /// Start of the bytes in `buf`, in bytes.
        from: usize,
        /// Offset in the file, in bytes.
        offset: u64,
        /// Whether the bytes written are on the medium when the operation ends.
        durable: bool,
    },
    /// As [`DiskFile::sync`].
    Sync,
}

/// An operation that ended: its token, and the number of bytes written or its error.
pub type Completion = (usize, io::Result<usize>);

/// A queue of operations in flight, owned and used by one thread. Dropping it waits for all of them.
pub trait Ring: fmt::Debug {
    /// Starts `op` on `file`; its completion carries `token`, the number of a slot of the ring. The caller keeps track
    /// of the free slots. Operations are not ordered among each other.
    ///
    /// # Errors
    /// The operation was not started: the ring has no slot `token` or it is in use, the kernel's queue is full, or
    /// `file` does not belong to the ring's disk.
    fn start(&mut self, file: &Arc<dyn DiskFile>, op: RingOp, token: usize) -> io::Result<()>;

    /// Blocks until an operation ended, the waker was called, or `timeout` has passed, and appends the completions to
    /// `ended`. It may also return without a reason.
    ///
    /// # Errors
    /// The kernel's error; the state of the operations in flight is then unknown.
    fn wait(&mut self, timeout: Duration, ended: &mut Vec<Completion>) -> io::Result<()>;

    /// The handle with which other threads end the current [`Ring::wait`], or the next one if there is none.
    fn waker(&self) -> Arc<dyn RingWaker>;
}

/// Ends a ring's wait from another thread.
pub trait RingWaker: Send + Sync + fmt::Debug {
    /// Ends the current [`Ring::wait`], or the next one if there is none.
    fn wake(&self);
}
