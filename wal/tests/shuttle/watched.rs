//! A disk for the models that remembers which bytes are durable, checks that the log acknowledges no others,
//! and lets other threads run during writes and syncs.

use parking_lot::Mutex;
use seawall_wal::disk::sim::SimDisk;
use seawall_wal::disk::{Access, AlignedBuf, Disk, DiskFile, DiskLock, Mode, NameKind};
use seawall_wal::{Error, Lsn};
use shuttle::sync::atomic::{AtomicU32, Ordering};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Ranges `[from, to)` of one segment's file.
#[derive(Debug, Default)]
struct Ranges {
    durable: Vec<(u64, u64)>,
    /// Written; the next sync covers them.
    written: Vec<(u64, u64)>,
    /// The end of the last write that was issued.
    issued_to: u64,
}

impl Ranges {
    /// Whether all bytes of `[from, to)` are durable.
    fn cover(&self, from: u64, to: u64) -> bool {
        let mut at = from;
        let mut ranges = self.durable.clone();
        ranges.sort_unstable();
        for (start, end) in ranges {
            if start <= at {
                at = at.max(end);
            }
        }
        at >= to
    }
}

#[derive(Debug)]
pub struct Watched {
    disk: Arc<SimDisk>,
    /// The ranges of each segment. The lock is not one of shuttle's, so no model thread switches while it is
    /// held.
    ranges: Arc<Mutex<BTreeMap<u32, Ranges>>>,
}

impl Watched {
    pub fn new(disk: Arc<SimDisk>) -> Watched {
        Watched { disk, ranges: Arc::default() }
    }

    /// Asserts that the record of `bytes` at `lsn`, and everything that was issued before it, is durable
    /// (INV-1, INV-2).
    pub fn assert_durable(&self, lsn: Lsn, bytes: usize) {
        let ranges = self.ranges.lock();
        let block = u64::from(self.disk.block_size());
        for (&segment, ranges) in ranges.range(..lsn.segment()) {
            let covered = ranges.issued_to == 0 || ranges.cover(block, ranges.issued_to);
            assert!(covered, "{lsn} was acknowledged before segment {segment} was durable: {ranges:?}");
        }
        let own = ranges.get(&lsn.segment()).expect("something was written");
        let end = u64::from(lsn.offset()) + bytes as u64;
        assert!(own.cover(block, end), "{lsn} was acknowledged before it was durable: {own:?}");
    }
}

/// A point at which another thread may run.
pub fn switch() {
    AtomicU32::new(0).load(Ordering::SeqCst);
}

impl Disk for Watched {
    fn location(&self) -> String {
        self.disk.location()
    }

    fn mode(&self) -> Mode {
        self.disk.mode()
    }

    fn block_size(&self) -> u32 {
        self.disk.block_size()
    }

    fn list(&self) -> io::Result<Vec<(String, NameKind)>> {
        self.disk.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let segment = name.split('.').next().and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let (file, ranges) = (self.disk.open(name, access)?, Arc::clone(&self.ranges));
        Ok(Arc::new(WatchedFile { file, segment, ranges }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        switch();
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        switch();
        self.disk.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        switch();
        self.disk.sync()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }

    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        self.disk.lock(name, holder)
    }
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn DiskFile>,
    segment: Option<u32>,
    ranges: Arc<Mutex<BTreeMap<u32, Ranges>>>,
}

impl WatchedFile {
    fn note(&self, f: impl FnOnce(&mut Ranges)) {
        if let Some(segment) = self.segment {
            f(self.ranges.lock().entry(segment).or_default());
        }
    }
}

impl DiskFile for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn links(&self) -> io::Result<u64> {
        self.file.links()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        switch();
        self.file.allocate(len)
    }

    fn written_end(&self, from: u64) -> io::Result<u64> {
        self.file.written_end(from)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        switch();
        self.file.read_at(buf, offset)
    }

    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        self.file.read_medium(buf, offset, len)
    }

    fn write_at(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        // The preallocator writes headers and zeros, which are not part of the log.
        let counts = offset > 0 && buf.iter().any(|&b| b != 0);
        let issued_to = offset + buf.len() as u64;
        if counts {
            self.note(|r| r.issued_to = r.issued_to.max(issued_to));
        }
        switch();
        let written = self.file.write_at(buf, offset, durable)?;
        if counts {
            let range = (offset, offset + written as u64);
            self.note(|r| if durable { r.durable.push(range) } else { r.written.push(range) });
        }
        switch();
        Ok(written)
    }

    fn sync(&self) -> io::Result<()> {
        // The sync covers only writes that ended before the call.
        let mut covered = Vec::new();
        self.note(|r| covered = std::mem::take(&mut r.written));
        switch();
        self.file.sync()?;
        self.note(|r| r.durable.append(&mut covered));
        switch();
        Ok(())
    }

    fn drop_cache(&self) {
        self.file.drop_cache();
    }
}

/// The answer to one record's ticket.
#[derive(Clone, Debug)]
pub struct Answer {
    pub lsn: Lsn,
    pub result: Result<Lsn, Error>,
}
