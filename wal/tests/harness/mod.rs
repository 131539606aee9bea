//! What the tests of this folder share: environments, records with known content, a disk that calls a
//! hook before every operation, and a watchdog.

#![allow(dead_code, reason = "every test file uses its own part of it")]

use seawall_wal::disk::sim::{SimDisk, SimRandom};
use seawall_wal::disk::{
    AlignedBuf, Disk, DiskFile, DiskLock, Mode, NameKind, Ring, SystemClock, {Access, Clock},
};
use seawall_wal::{Batch, Env, Error, Lsn, Options, Threads, Wal};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Ends the test process if a test runs for a minute: a hang is a failure, not a wait.
pub struct Watchdog(Arc<AtomicBool>);

impl Watchdog {
    pub fn new(what: &'static str) -> Watchdog {
        let done = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&done);
        std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_secs(60);
            while Instant::now() < end {
                if seen.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            eprintln!("{what}: hangs");
            std::process::abort();
        });
        Watchdog(done)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A log on `disk` with real time.
pub fn env(disk: Arc<dyn Disk>, threads: Threads) -> Env {
    Env {
        disk,
        clock: Arc::new(SystemClock::new()) as Arc<dyn Clock>,
        random: Arc::new(SimRandom::new(7)),
        threads,
    }
}

pub fn stepped(disk: &Arc<SimDisk>) -> Env {
    env(disk.process(), Threads::Stepped)
}

pub fn spawned(disk: &Arc<SimDisk>) -> Env {
    env(disk.process(), Threads::Spawned)
}

/// Small segments, so that a few records fill several.
pub fn small() -> Options {
    Options { segment_bytes: 64 << 10, idle_ms: 5, ..Options::default() }
}

/// A record that says which it is; `bytes` of payload, none of them zero.
pub fn record(id: u64, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    batch.meta().extend(id.to_le_bytes());
    batch.push_part(&vec![fill(id); bytes]);
    batch
}

pub fn fill(id: u64) -> u8 {
    u8::try_from(id % 255).unwrap() + 1
}

/// The numbers of all records that can be read, their content checked.
pub fn ids(wal: &Wal) -> Vec<u64> {
    try_ids(wal).unwrap()
}

pub fn try_ids(wal: &Wal) -> Result<Vec<u64>, Error> {
    wal.records(Lsn::ZERO)
        .map(|record| {
            let record = record?;
            let id = u64::from_le_bytes(record.meta().try_into().unwrap());
            assert!(record.parts().all(|(_, part)| part.iter().all(|&b| b == fill(id))), "record {id}");
            Ok(id)
        })
        .collect()
}

/// An operation that is about to be carried out.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub op: &'static str,
    /// The name under which the file was opened.
    pub name: &'a str,
    pub offset: u64,
    pub len: usize,
}

type Hook = dyn Fn(Call<'_>) -> io::Result<()> + Send + Sync;

/// A disk that asks `hook` before each operation; it may delay the caller, or fail it.
pub struct HookDisk {
    inner: Arc<dyn Disk>,
    hook: Arc<Hook>,
}

impl HookDisk {
    pub fn new(
        inner: Arc<dyn Disk>,
        hook: impl Fn(Call<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<HookDisk> {
        Arc::new(HookDisk { inner, hook: Arc::new(hook) })
    }

    fn ask(&self, op: &'static str, name: &str) -> io::Result<()> {
        (self.hook)(Call { op, name, offset: 0, len: 0 })
    }
}

impl fmt::Debug for HookDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookDisk")
    }
}

impl Disk for HookDisk {
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
        self.ask("open", name)?;
        let inner = self.inner.open(name, access)?;
        Ok(Arc::new(HookFile { inner, name: name.to_owned(), hook: Arc::clone(&self.hook) }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask("rename", from)?;
        self.inner.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.ask("remove", name)?;
        self.inner.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.ask("sync directory", "")?;
        self.inner.sync()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }
    fn ring(&self, depth: usize) -> io::Result<Box<dyn Ring>> {
        self.inner.ring(depth)
    }
    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        self.inner.lock(name, holder)
    }
}

struct HookFile {
    inner: Arc<dyn DiskFile>,
    name: String,
    hook: Arc<Hook>,
}

impl HookFile {
    fn ask(&self, op: &'static str, offset: u64, len: usize) -> io::Result<()> {
        (self.hook)(Call { op, name: &self.name, offset, len })
    }
}

impl fmt::Debug for HookFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl DiskFile for HookFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn links(&self) -> io::Result<u64> {
        self.inner.links()
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.ask("allocate", 0, 0)?;
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
        self.ask("write", offset, buf.len())?;
        self.inner.write_at(buf, offset, durable)
    }
    fn sync(&self) -> io::Result<()> {
        self.ask("sync", 0, 0)?;
        self.inner.sync()
    }
    fn drop_cache(&self) {
        self.inner.drop_cache();
    }
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}

/// A gate in the way of some operation: closed until opened.
#[derive(Default)]
pub struct Gate {
    state: Mutex<(bool, u32)>,
    changed: Condvar,
}

impl Gate {
    /// Waits until the gate is open.
    pub fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        while !state.0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    pub fn open(&self) {
        self.state.lock().unwrap().0 = true;
        self.changed.notify_all();
    }

    /// Waits until somebody stands at the gate.
    pub fn wait_for_one(&self) {
        let mut state = self.state.lock().unwrap();
        while state.1 == 0 {
            state = self.changed.wait(state).unwrap();
        }
    }
}

pub fn sleep_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}
