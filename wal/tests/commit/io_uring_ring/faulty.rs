//! A disk over a real directory and the kernel's io_uring whose operations on segments can fail, end short,
//! or complete in another order.

use seawall_wal::disk::{
    Access, AlignedBuf, Disk, DiskFile, DiskLock, Mode, NameKind, PosixDisk,
    ring::{Completion, Ring, RingOp, RingWaker},
};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The fault of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Io,
    NoSpace,
    /// A write ends after its first block. A sync is not affected.
    Short,
    /// A signal interrupts a write, which must be tried again. A sync is not affected.
    Interrupted,
    /// The kernel cannot accept a write without waiting (EAGAIN), nor any later write in the ring. A sync is
    /// not affected.
    Again,
}

/// The faults to inject, and what happened so far.
#[derive(Debug, Default)]
pub struct Plan {
    /// The operation that meets the fault, counted from 1; 0 for none.
    pub at: AtomicU64,
    pub fault: Option<Fault>,
    /// Whether completions that arrive together are reported in reverse order.
    pub reverse: bool,
    /// The error with which the kernel refuses a ring.
    pub refused: Option<io::ErrorKind>,
    /// Once this is set, every wait in the ring fails.
    pub deaf: AtomicBool,
    /// Whether every write of more than a block ends after its first block.
    pub all_short: bool,
    pub trace: Mutex<Vec<Reached>>,
    pub seen: AtomicU64,
    pub ring_ops: AtomicU64,
    pub most_in_flight: AtomicUsize,
}

/// An event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// A write ended.
    Write { offset: u64, asked: usize, written: usize },
    /// A sync began.
    Sync,
    /// A callback was told that the record at this offset is durable.
    Durable { offset: u64 },
}

impl Plan {
    pub fn note(&self, reached: Reached) {
        self.trace.lock().unwrap().push(reached);
    }

    fn next(&self, len: usize) -> Option<Fault> {
        if self.all_short {
            return (len > 4096).then_some(Fault::Short);
        }
        let n = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let at = self.at.load(Ordering::SeqCst);
        let lasts = self.fault == Some(Fault::Again) && at > 0;
        self.fault.filter(|_| n == at || lasts && n > at)
    }

    /// Starts to count operations. Operation `at` meets the fault.
    pub fn arm(&self, at: u64) {
        self.seen.store(0, Ordering::SeqCst);
        self.at.store(at, Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub struct FaultyDisk {
    inner: PosixDisk,
    plan: Arc<Plan>,
}

impl FaultyDisk {
    pub fn open(dir: &Path, mode: Mode, plan: &Arc<Plan>) -> Arc<FaultyDisk> {
        Arc::new(FaultyDisk { inner: PosixDisk::open(dir, Some(mode)).unwrap(), plan: Arc::clone(plan) })
    }
}

impl Disk for FaultyDisk {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn mode(&self) -> Mode {
        self.inner.mode()
    }
    fn block_size(&self) -> u32 {
        self.inner.block_size()
    }
    fn list(&self) -> io::Result<Vec<(String, NameKind)>> {
        self.inner.list()
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FaultyFile { inner: self.inner.open(name, access)?, plan: Arc::clone(&self.plan) }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
    fn ring(&self, depth: usize) -> io::Result<Box<dyn Ring>> {
        if let Some(kind) = self.plan.refused {
            return Err(kind.into());
        }
        let (inner, plan) = (self.inner.ring(depth)?, Arc::clone(&self.plan));
        Ok(Box::new(FaultyRing { inner, plan, held: Vec::new(), in_flight: 0, under_way: BTreeMap::new() }))
    }
    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        self.inner.lock(name, holder)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    plan: Arc<Plan>,
}

impl FaultyFile {
    /// The fault of the next operation. Operations of the preallocator's thread do not count.
    fn meets(&self, len: usize) -> Option<Fault> {
        if self.is_spare() { None } else { self.plan.next(len) }
    }

    fn is_spare(&self) -> bool {
        std::thread::current().name() == Some("seawall-spare")
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::NoSpace => io::ErrorKind::StorageFull.into(),
        Fault::Interrupted => io::ErrorKind::Interrupted.into(),
        Fault::Again => io::ErrorKind::WouldBlock.into(),
        Fault::Io | Fault::Short => io::Error::from_raw_os_error(5),
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn links(&self) -> io::Result<u64> {
        self.inner.links()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.inner.allocate(len)
    }
    fn written_end(&self, from: u64) -> io::Result<u64> {
        self.inner.written_end(from)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        self.inner.read_medium(buf, offset, len)
    }
    fn write_at(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        let written = match self.meets(buf.len()) {
            Some(Fault::Short) => self.inner.write_at(&buf[..4096], offset, durable)?,
            // A blocking call waits instead.
            Some(Fault::Again) => self.inner.write_at(buf, offset, durable)?,
            Some(fault) => return Err(error(fault)),
            None => self.inner.write_at(buf, offset, durable)?,
        };
        if !self.is_spare() {
            self.plan.note(Reached::Write { offset, asked: buf.len(), written });
        }
        Ok(written)
    }
    fn sync(&self) -> io::Result<()> {
        if !self.is_spare() {
            self.plan.note(Reached::Sync);
        }
        match self.meets(0) {
            Some(fault @ (Fault::Io | Fault::NoSpace)) => Err(error(fault)),
            _ => self.inner.sync(),
        }
    }
    fn drop_cache(&self) {
        self.inner.drop_cache();
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}

#[derive(Debug)]
struct FaultyRing {
    inner: Box<dyn Ring>,
    plan: Arc<Plan>,
    /// Completions of operations that were not passed to the kernel.
    held: Vec<Completion>,
    in_flight: usize,
    /// Offset and length of each write in flight, by token; `None` for a sync.
    under_way: BTreeMap<usize, Option<(u64, usize)>>,
}

impl Ring for FaultyRing {
    fn start(&mut self, file: &Arc<dyn DiskFile>, op: RingOp, token: usize) -> io::Result<()> {
        let len = match &op {
            RingOp::Write { buf, from, .. } => buf.len() - from,
            RingOp::Sync => 0,
        };
        let fault = self.plan.next(len);
        let offset = match &op {
            RingOp::Write { offset, .. } => Some(*offset),
            RingOp::Sync => None,
        };
        if offset.is_none() {
            self.plan.note(Reached::Sync);
        }
        self.under_way.insert(token, offset.map(|offset| (offset, len)));
        self.in_flight += 1;
        self.plan.ring_ops.fetch_add(1, Ordering::SeqCst);
        self.plan.most_in_flight.fetch_max(self.in_flight, Ordering::SeqCst);
        match (fault, op) {
            (Some(Fault::Short), RingOp::Write { buf, from, offset, durable }) => {
                let mut first = AlignedBuf::new();
                first.extend(&buf[from..from + 4096]);
                let op = RingOp::Write { buf: Arc::new(first), from: 0, offset, durable };
                self.inner.start(file, op, token)
            }
            (Some(Fault::Short | Fault::Interrupted | Fault::Again), RingOp::Sync) => {
                self.inner.start(file, RingOp::Sync, token)
            }
            (Some(fault), _) => {
                self.held.push((token, Err(error(fault))));
                Ok(())
            }
            (None, op) => self.inner.start(file, op, token),
        }
    }

    fn wait(&mut self, timeout: Duration, ended: &mut Vec<Completion>) -> io::Result<()> {
        if self.plan.deaf.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(9));
        }
        let timeout = if self.held.is_empty() { timeout } else { Duration::ZERO };
        self.inner.wait(timeout, ended)?;
        ended.append(&mut self.held);
        if self.plan.reverse {
            ended.reverse();
        }
        self.in_flight -= ended.len();
        for (token, result) in ended.iter() {
            if let (Some(Some((offset, asked))), Ok(written)) = (self.under_way.remove(token), result) {
                self.plan.note(Reached::Write { offset, asked, written: *written });
            }
        }
        Ok(())
    }

    fn waker(&self) -> Arc<dyn RingWaker> {
        self.inner.waker()
    }
}
