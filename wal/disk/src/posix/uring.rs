//! Implements the ring with the kernel's `io_uring`, with one issuer and deferred task work where the kernel supports
//! that (Linux 6.1).
//!
//! Each operation's file and buffer stay in its slot until the kernel has reported the end of the operation, and
//! dropping the ring waits for all operations to end, so the kernel never touches memory that was freed. Fails with `Unsupported`
//! if the kernel lacks a required feature, else with the kernel's error.

#![expect(unsafe_code, reason = "the kernel is given addresses, which the slots keep alive")]

use crate::buffer::AlignedBuf;
use crate::interface::DiskFile;
use crate::interface::ring::{Completion, Ring, RingOp, RingWaker};
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, ReadWriteFlags};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// User data that marks the read of the waker's counter among the completions.
const WAKER: u64 = u64::MAX;

/// Keeps the file and the buffer of an operation in flight alive.
struct Slot {
    _file: Arc<dyn DiskFile>,
    _buf: Option<Arc<AlignedBuf>>,
}

/// An `io_uring` that one thread uses.
pub(super) struct Uring {
    ring: IoUring,
    /// The operations in flight, by token.
    slots: Vec<Option<Slot>>,
    waker: Arc<Event>,
    /// Buffer for the read of the waker's counter; its address does not change.
    count: Box<[u8; 8]>,
    /// Whether the read of the counter is in flight.
    armed: bool,
}

impl fmt::Debug for Uring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uring").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}

impl Uring {
    /// Creates a ring for `depth` concurrent operations, to be used by the calling thread only.
    pub(super) fn new(depth: usize) -> io::Result<Uring> {
        let entries = u32::try_from(depth + 1).unwrap_or(u32::MAX).next_power_of_two();
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(entries)
            .or_else(|_| IoUring::new(entries))?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let codes = [opcode::Write::CODE, opcode::Read::CODE, opcode::Fsync::CODE];
        if !codes.into_iter().all(|code| probe.is_supported(code)) || !ring.params().is_feature_ext_arg() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let waker = Arc::new(Event(eventfd(0, EventfdFlags::CLOEXEC)?));
        Ok(Uring {
            ring,
            slots: (0..depth).map(|_| None).collect(),
            waker,
            count: Box::new([0; 8]),
            armed: false,
        })
    }

    fn in_flight(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the memory that the entry points to is in a slot, or is `count`; both outlive the operation, since
        // a ring is not dropped before every operation has ended.
        unsafe { self.ring.submission().push(entry) }
            .map_err(|_| io::Error::new(io::ErrorKind::WouldBlock, "the ring is full"))
    }

    /// Starts a read of the waker's counter, so that a wake ends a wait.
    fn arm(&mut self) -> io::Result<()> {
        if !self.armed {
            let fd = Fd(self.waker.0.as_raw_fd());
            let read = opcode::Read::new(fd, self.count.as_mut_ptr(), 8).build().user_data(WAKER);
            self.push(&read)?;
            self.armed = true;
        }
        Ok(())
    }

    /// Submits the operations that were started, and waits for one to end.
    fn enter(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let result = match timeout {
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                let args = SubmitArgs::new().timespec(&timespec);
                self.ring.submitter().submit_with_args(1, &args)
            }
            None => self.ring.submit_and_wait(1),
        };
        match result.map_err(|e| (e.raw_os_error().map(Errno::from_raw_os_error), e)) {
            Ok(_) => Ok(()),
            // A timeout; a signal; or the kernel lacks a resource that operations give back when they end.
            Err((Some(Errno::TIME | Errno::INTR | Errno::AGAIN | Errno::BUSY), _)) => Ok(()),
            Err((_, e)) => Err(e),
        }
    }

    fn reap(&mut self, ended: &mut Vec<Completion>) {
        for end in self.ring.completion() {
            if end.user_data() == WAKER {
                self.armed = false;
                continue;
            }
            let token = usize::try_from(end.user_data()).unwrap_or(usize::MAX);
            if self.slots.get_mut(token).and_then(Option::take).is_none() {
                continue;
            }
            let result = usize::try_from(end.result())
                .map_err(|_| io::Error::from_raw_os_error(end.result().saturating_neg()));
            ended.push((token, result));
        }
    }
}

impl Ring for Uring {
    fn start(&mut self, file: &Arc<dyn DiskFile>, op: RingOp, token: usize) -> io::Result<()> {
        let fd = file.descriptor().ok_or(io::ErrorKind::Unsupported)?;
        let fd = Fd(fd.as_raw_fd());
        if !self.slots.get(token).is_some_and(Option::is_none) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the ring has no free slot of this number",
            ));
        }
        let (entry, buf) = match op {
            RingOp::Write { buf, from, offset, durable } => {
                let bytes = buf.get(from..).unwrap_or_default();
                // A longer buffer than one operation can write becomes a short write.
                let len = u32::try_from(bytes.len()).unwrap_or(i32::MAX.cast_unsigned() & !0xFFFF);
                let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
                let entry = opcode::Write::new(fd, bytes.as_ptr(), len)
                    .offset(offset)
                    .rw_flags(flags.bits().cast_signed())
                    .build();
                (entry, Some(buf))
            }
            RingOp::Sync => (opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(), None),
        };
        self.slots[token] = Some(Slot { _file: Arc::clone(file), _buf: buf });
        let pushed = self.push(&entry.user_data(token as u64));
        if pushed.is_err() {
            self.slots[token] = None;
        }
        pushed
    }

    fn wait(&mut self, timeout: Duration, ended: &mut Vec<Completion>) -> io::Result<()> {
        self.arm()?;
        self.enter(Some(timeout))?;
        self.reap(ended);
        Ok(())
    }

    fn waker(&self) -> Arc<dyn RingWaker> {
        Arc::clone(&self.waker) as Arc<dyn RingWaker>
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.waker.wake();
        let mut ended = Vec::new();
        while self.armed || self.in_flight() > 0 {
            if self.enter(None).is_err() {
                // The kernel may still use the addresses, so the memory is leaked rather than freed.
                std::mem::forget(std::mem::take(&mut self.slots));
                std::mem::forget(std::mem::replace(&mut self.count, Box::new([0; 8])));
                return;
            }
            self.reap(&mut ended);
        }
    }
}

/// An eventfd; adding to it ends the read that a ring has in flight.
#[derive(Debug)]
struct Event(OwnedFd);

impl RingWaker for Event {
    fn wake(&self) {
        // If the counter is full the write fails, but the read ends all the same.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}
