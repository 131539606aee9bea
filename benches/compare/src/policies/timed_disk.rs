//! A disk whose durable writes take as long as a [`Device`] says, in real time. The bytes are in a directory, which should
//! be in memory.
//!
//! A thread that waits for a write sleeps and uses no processor, as with a real device. Zeros that the log writes ahead and
//! changes of the directory take no time.

use crate::device::{Busy, Device};
use parking_lot::{Condvar, Mutex};
use seawall_wal::disk::ring::{Completion, Ring, RingOp, RingWaker};
use seawall_wal::disk::{Access, AlignedBuf, Disk, DiskFile, DiskLock, Mode, NameKind, PosixDisk};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// When the device is free.
#[derive(Debug)]
struct Schedule {
    begin: Instant,
    busy: Mutex<Busy>,
}

impl Schedule {
    /// Starts a write now and returns when it ends.
    fn start(&self) -> Instant {
        let mut busy = self.busy.lock();
        let now_ns = u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.begin + Duration::from_nanos(busy.start(now_ns))
    }
}

/// The directory with the files.
#[derive(Debug)]
pub(crate) struct TimedDisk {
    inner: PosixDisk,
    schedule: Arc<Schedule>,
}

impl TimedDisk {
    /// The directory `dir` on a device like `device`.
    pub(crate) fn open(dir: &Path, device: Device) -> io::Result<Arc<TimedDisk>> {
        let schedule = Schedule { begin: Instant::now(), busy: Mutex::new(Busy::new(device)) };
        let inner = PosixDisk::open(dir, Some(Mode::Buffered))?;
        Ok(Arc::new(TimedDisk { inner, schedule: Arc::new(schedule) }))
    }
}

impl Disk for TimedDisk {
    fn location(&self) -> String {
        self.inner.location()
    }

    /// Writes are durable when they return.
    fn mode(&self) -> Mode {
        Mode::Direct
    }

    fn block_size(&self) -> u32 {
        self.inner.block_size()
    }

    fn list(&self) -> io::Result<Vec<(String, NameKind)>> {
        self.inner.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let inner = self.inner.open(name, access)?;
        Ok(Arc::new(TimedFile { inner, schedule: Arc::clone(&self.schedule) }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.inner.free_bytes()
    }

    fn ring(&self, _depth: usize) -> io::Result<Box<dyn Ring>> {
        let bell = Arc::new(Bell::default());
        Ok(Box::new(TimedRing { schedule: Arc::clone(&self.schedule), in_flight: Vec::new(), bell }))
    }

    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        self.inner.lock(name, holder)
    }
}

#[derive(Debug)]
struct TimedFile {
    inner: Arc<dyn DiskFile>,
    schedule: Arc<Schedule>,
}

impl DiskFile for TimedFile {
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
        let end = durable.then(|| self.schedule.start());
        let written = self.inner.write_at(buf, offset, false)?;
        if let Some(end) = end {
            thread::sleep(end.saturating_duration_since(Instant::now()));
        }
        Ok(written)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&self) {}
}

/// The operations in flight of one thread.
#[derive(Debug)]
struct TimedRing {
    schedule: Arc<Schedule>,
    /// When each ends, its token, and its result.
    in_flight: Vec<(Instant, usize, usize)>,
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl RingWaker for Bell {
    fn wake(&self) {
        *self.rung.lock() = true;
        self.changed.notify_all();
    }
}

impl Ring for TimedRing {
    fn start(&mut self, file: &Arc<dyn DiskFile>, op: RingOp, token: usize) -> io::Result<()> {
        let (end, bytes) = match op {
            RingOp::Write { buf, from, offset, durable } => {
                let end = if durable { self.schedule.start() } else { Instant::now() };
                let bytes = buf.get(from..).ok_or(io::ErrorKind::InvalidInput)?;
                (end, file.write_at(bytes, offset, false)?)
            }
            RingOp::Sync => (self.schedule.start(), 0),
        };
        self.in_flight.push((end, token, bytes));
        Ok(())
    }

    fn wait(&mut self, timeout: Duration, ended: &mut Vec<Completion>) -> io::Result<()> {
        let latest = Instant::now() + timeout.min(Duration::from_secs(3600));
        let mut rung = self.bell.rung.lock();
        loop {
            let (now, before) = (Instant::now(), ended.len());
            self.in_flight.retain(|&(end, token, bytes)| {
                if end <= now {
                    ended.push((token, Ok(bytes)));
                }
                end > now
            });
            if ended.len() > before || std::mem::take(&mut *rung) || now >= latest {
                return Ok(());
            }
            let next = self.in_flight.iter().map(|(end, ..)| *end).min().unwrap_or(latest);
            self.bell.changed.wait_until(&mut rung, next.min(latest));
        }
    }

    fn waker(&self) -> Arc<dyn RingWaker> {
        Arc::clone(&self.bell) as Arc<dyn RingWaker>
    }
}
