//! A disk with a gate in the way of reads; the thread that made it must not come there while it is closed.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::ThreadId;

use parking_lot::{Condvar, Mutex};
use seawall_wal::disk::sim::SimDisk;
use seawall_wal::disk::{Access, AlignedBuf, Disk, DiskFile, DiskLock, Mode, NameKind};

/// Open at first.
pub struct Gate {
    owner: ThreadId,
    /// Whether it is closed, and how many came since it was closed or made.
    state: Mutex<(bool, u32)>,
    changed: Condvar,
}

impl Gate {
    fn new() -> Arc<Gate> {
        let owner = std::thread::current().id();
        Arc::new(Gate { owner, state: Mutex::new((false, 0)), changed: Condvar::new() })
    }

    pub fn close(&self) {
        *self.state.lock() = (true, 0);
    }

    pub fn open(&self) {
        self.state.lock().0 = false;
        self.changed.notify_all();
    }

    /// Waits until somebody stands there.
    pub fn wait_for_one(&self) {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |(_, came)| *came == 0);
    }

    /// Reads since it was closed or made.
    pub fn reads(&self) -> u32 {
        self.state.lock().1
    }

    fn pass(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.0 && std::thread::current().id() == self.owner {
            return Err(io::Error::other("the node's own thread reads"));
        }
        state.1 += 1;
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |(closed, _)| *closed);
        Ok(())
    }
}

/// `disk` behind a gate.
pub fn gated(disk: &SimDisk) -> (Arc<Gate>, Arc<GatedDisk>) {
    let gate = Gate::new();
    (Arc::clone(&gate), Arc::new(GatedDisk { inner: disk.process(), gate }))
}

pub struct GatedDisk {
    inner: Arc<SimDisk>,
    gate: Arc<Gate>,
}

struct GatedFile {
    inner: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl fmt::Debug for GatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for GatedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for GatedDisk {
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
        let inner = self.inner.open(name, access)?;
        Ok(Arc::new(GatedFile { inner, gate: Arc::clone(&self.gate) }))
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
    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        self.inner.lock(name, holder)
    }
}

impl DiskFile for GatedFile {
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
        self.gate.pass()?;
        self.inner.read_at(buf, offset)
    }
    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        self.gate.pass()?;
        self.inner.read_medium(buf, offset, len)
    }
    fn write_at(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        self.inner.write_at(buf, offset, durable)
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
    fn drop_cache(&self) {
        self.inner.drop_cache();
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}
