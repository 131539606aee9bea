//! Many operations in flight from one thread: the seam to io_uring.
//!
//! Place on the data's way: beside [`DiskFile::write_at`] and [`DiskFile::sync`], for whoever keeps the disk
//! busy on behalf of others. A ring owns what its operations name until they have ended.

use super::{AlignedBuf, DiskFile};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// An operation on one file.
#[derive(Clone, Debug)]
pub enum RingOp {
    /// As [`DiskFile::write_at`] of the bytes of `buf` behind `from`.
    Write {
        /// The bytes, not changed until the operation has ended.
        buf: Arc<AlignedBuf>,
        /// Where in `buf` to start, in bytes.
        from: usize,
        /// Where in the file, in bytes.
        offset: u64,
        /// Whether what is written is on the medium when the operation ends.
        durable: bool,
    },
    /// As [`DiskFile::sync`].
    Sync,
}

/// An operation that ended: its token, and the bytes written.
pub type Completion = (usize, io::Result<usize>);

/// Operations in flight, owned by one thread, which alone calls it. Dropping it waits for all of them.
pub trait Ring: fmt::Debug {
    /// Starts `op` on `file`; its end comes with `token`. Nothing orders it among the others.
    ///
    /// # Errors
    /// It was not started: the ring is full, or `file` is not one of its disk.
    fn start(&mut self, file: &Arc<dyn DiskFile>, op: RingOp, token: usize) -> io::Result<()>;

    /// Blocks until an operation ended, the waker was called, or `timeout` is over, and adds what ended
    /// to `ended`; may return for no reason.
    ///
    /// # Errors
    /// The kernel refuses; what is in flight is unknown.
    fn wait(&mut self, timeout: Duration, ended: &mut Vec<Completion>) -> io::Result<()>;

    /// What other threads call to end a [`Ring::wait`], now or the next one.
    fn waker(&self) -> Arc<dyn RingWaker>;
}

/// Ends a ring's wait from another thread.
pub trait RingWaker: Send + Sync + fmt::Debug {
    /// Does it.
    fn wake(&self);
}
