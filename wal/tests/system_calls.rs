//! What a durable append costs the kernel: one that nobody else is there to share with is one write on the
//! disk, and at most two system calls in all.
//!
//! The calls on the disk are counted at the seam, for the whole log. What the kernel was asked for is counted
//! from outside where it lets us: reads and writes by the process's own record, sleeps by its context switches.

use seawall_wal::disk::{Access, AlignedBuf, Disk, DiskFile, DiskLock, NameKind};
use seawall_wal::disk::{Mode, PosixDisk, SystemClock, SystemRandom};
use seawall_wal::{Batch, Class, Env, Options, Threads, Wal};
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Appends counted: all of them fit into the first segment.
const APPENDS: u64 = 500;

/// Calls on files and on the directory.
#[derive(Debug, Default)]
struct Calls {
    durable_writes: AtomicU64,
    others: AtomicU64,
}

impl Calls {
    fn other<T>(&self, result: T) -> T {
        self.others.fetch_add(1, Ordering::SeqCst);
        result
    }

    /// So far: durable writes, and everything else.
    fn counts(&self) -> (u64, u64) {
        (self.durable_writes.load(Ordering::SeqCst), self.others.load(Ordering::SeqCst))
    }
}

/// A disk whose calls are counted.
#[derive(Debug)]
struct Counted<T> {
    inner: T,
    calls: Arc<Calls>,
}

impl Disk for Counted<PosixDisk> {
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
        self.calls.other(self.inner.list())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.calls.other(self.inner.open(name, access))?;
        Ok(Arc::new(Counted { inner, calls: Arc::clone(&self.calls) }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.calls.other(self.inner.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.calls.other(self.inner.remove(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.calls.other(self.inner.sync())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.calls.other(self.inner.free_bytes())
    }

    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        self.calls.other(self.inner.lock(name, holder))
    }
}

impl DiskFile for Counted<Arc<dyn DiskFile>> {
    fn len(&self) -> io::Result<u64> {
        self.calls.other(self.inner.len())
    }

    fn links(&self) -> io::Result<u64> {
        self.calls.other(self.inner.links())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.calls.other(self.inner.allocate(len))
    }

    fn written_end(&self, from: u64) -> io::Result<u64> {
        self.calls.other(self.inner.written_end(from))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.calls.other(self.inner.read_at(buf, offset))
    }

    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        self.calls.other(self.inner.read_medium(buf, offset, len))
    }

    fn write_at(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        let count = if durable { &self.calls.durable_writes } else { &self.calls.others };
        count.fetch_add(1, Ordering::SeqCst);
        self.inner.write_at(buf, offset, durable)
    }

    fn sync(&self) -> io::Result<()> {
        self.calls.other(self.inner.sync())
    }

    fn drop_cache(&self) {
        self.inner.drop_cache();
        self.calls.other(());
    }
}

/// The calling thread's read and write calls so far, as the kernel counts them; `None` where it does not say.
fn kernel_counts() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/thread-self/io").ok()?;
    let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse().ok());
    Some((value("syscr:")?, value("syscw:")?))
}

#[test]
fn a_lone_durable_append_is_one_write() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let calls = Arc::new(Calls::default());
    let Ok(inner) = PosixDisk::open(dir.path(), Some(Mode::Direct)) else {
        println!("no direct I/O on this file system: not run");
        return;
    };
    let disk = Counted { inner, calls: Arc::clone(&calls) };
    let env = Env {
        disk: Arc::new(disk),
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom),
        threads: Threads::Spawned,
    };
    // No mark in between, however slow the machine: it would be the log's, but not the append's.
    let options = Options { segment_bytes: 8 << 20, idle_ms: 60_000, ..Options::default() };
    let Ok(wal) = Wal::create_in(env, &options) else {
        println!("no direct I/O on this file system: not run");
        return;
    };
    let mut batch = Batch::new();
    batch.push_part(&[7; 256]);
    let append = || wal.append(&batch, Class::Sync).unwrap().wait().unwrap();
    // The pipeline prepares its spares meanwhile; then nothing happens but the appends.
    let (mut writes, mut others) = (0, u64::MAX);
    while others != calls.counts().1 {
        (writes, others) = calls.counts();
        append();
        writes += 1;
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    let before = kernel_counts();
    (0..APPENDS).for_each(|_| _ = append());
    let after = kernel_counts();
    let (writes, others) = (calls.counts().0 - writes, calls.counts().1 - others);
    println!("{APPENDS} appends: {writes} durable writes, {others} other calls on the disk");
    assert_eq!((writes, others), (APPENDS, 0));
    if let (Some((reads_before, writes_before)), Some((reads, writes))) = (before, after) {
        let (reads, writes) = (reads - reads_before, writes - writes_before);
        println!("by this thread: {reads} read and {writes} write calls");
        // Looking is a few reads. Writes are fewer if the machine kept this thread from running for so long
        // that the flusher wrote in its place.
        assert!(reads <= 8 && writes <= APPENDS, "{reads} read and {writes} write calls");
    }
    wal.close().unwrap();
}
