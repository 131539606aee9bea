//! The real directory: POSIX calls, O_DIRECT with RWF_DSYNC where the file system supports it well,
//! else the page cache with fdatasync.
//!
//! Every file has up to two descriptors: one in the log's write mode, and one through the page cache
//! for reads of any alignment. The second reads only blocks that will never be written again, so the
//! two never disagree. Fails with the kernel's error, unchanged.

use super::uring::Uring;
use super::{Access, AlignedBuf, Disk, DiskFile, DiskLock, Map, Mode, NameKind, Ring};
use crate::mutant::mutant;
use parking_lot::Mutex;
use rustix::fs::{
    self, Advice, AtFlags, FallocateFlags, FileType, FlockOperation, Mode as Permissions, OFlags, SeekFrom,
};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// File-system magic numbers on which direct writes into written blocks cost one device write.
const EXT4_MAGIC: u64 = 0xEF53;
const XFS_MAGIC: u64 = 0x5846_5342;

/// The file with what was measured of the device: one word, the mode.
pub(crate) const HINT: &str = "HINT";

/// A directory of a real file system.
#[derive(Debug)]
pub struct PosixDisk {
    path: PathBuf,
    dir: OwnedFd,
    /// The directory that holds its name; paths may change while the log is open.
    parent: OwnedFd,
    mode: Mode,
    block_size: u32,
    file_system: u64,
}

impl PosixDisk {
    /// Creates the directory `path` (mode 0700) if it is missing, with its name durable in its parent.
    /// Parents must exist. Fails if something else has the name.
    pub fn create_dir(path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            Err(e) => return Err(e),
        }
        sync_parent(path)
    }

    /// Opens an existing directory. `mode` forces a write mode; otherwise direct on ext4 and xfs, unless
    /// [`PosixDisk::store_hint`] has found that worse, and buffered elsewhere (tmpfs, overlay, network and
    /// copy-on-write file systems).
    pub fn open(path: &Path, mode: Option<Mode>) -> io::Result<PosixDisk> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = fs::open(path, flags, Permissions::empty())?;
        let parent = fs::openat(&dir, "..", flags, Permissions::empty())?;
        let statfs = fs::fstatfs(&dir)?;
        let file_system = u64::try_from(statfs.f_type).unwrap_or(0);
        let natural = match file_system {
            EXT4_MAGIC | XFS_MAGIC if hint(&dir) != Some(Mode::Buffered) => Mode::Direct,
            _ => Mode::Buffered,
        };
        let device = fs::fstat(&dir)?.st_dev;
        let block_size = 4096
            .max(queue_limit(device, "logical_block_size"))
            .max(queue_limit(device, "physical_block_size"))
            .next_power_of_two();
        let (path, mode) = (path.to_owned(), mode.unwrap_or(natural));
        Ok(PosixDisk { path, dir, parent, mode, block_size, file_system })
    }

    /// Says which mode was measured to be the better one here; later opens that are free to choose heed it. Of
    /// no weight where direct writes are not sound anyway, and for mode that is forced.
    pub fn store_hint(&self, mode: Mode) -> io::Result<()> {
        let word = match mode {
            Mode::Direct => "direct\n",
            Mode::Buffered => "sync\n",
        };
        let fd = self.openat(HINT, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        File::from(fd).write_all(word.as_bytes())
    }

    /// The path given at open.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kernel's magic number of the file system.
    pub fn file_system(&self) -> u64 {
        self.file_system
    }

    fn openat(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        Ok(fs::openat(&self.dir, name, flags, Permissions::RUSR | Permissions::WUSR)?)
    }
}

/// The mode that the directory's hint names; none if there is none that can be understood.
fn hint(dir: &OwnedFd) -> Option<Mode> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(fs::openat(dir, HINT, flags, Permissions::empty()).ok()?);
    let mut word = String::new();
    file.take(16).read_to_string(&mut word).ok()?;
    match word.as_str() {
        "direct\n" => Some(Mode::Direct),
        "sync\n" => Some(Mode::Buffered),
        _ => None,
    }
}

/// A limit of the device's request queue from sysfs, 0 if it cannot be read.
fn queue_limit(device: u64, name: &str) -> u32 {
    let (major, minor) = (fs::major(device), fs::minor(device));
    ["queue", "../queue"]
        .iter()
        .find_map(|q| std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/{q}/{name}")).ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

impl Disk for PosixDisk {
    fn location(&self) -> String {
        self.path.display().to_string()
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn block_size(&self) -> u32 {
        self.block_size
    }

    fn list(&self) -> io::Result<Vec<(String, NameKind)>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.dir)? {
            let entry = entry?;
            // A name that is not UTF-8 is foreign; the lossy form serves the report.
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => NameKind::File,
                FileType::Unknown => {
                    let stat = fs::statat(&self.dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                    match FileType::from_raw_mode(stat.st_mode) {
                        FileType::RegularFile => NameKind::File,
                        _ => NameKind::Other,
                    }
                }
                _ => NameKind::Other,
            };
            names.push((name, kind));
        }
        Ok(names)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let direct = match self.mode {
            Mode::Direct => OFlags::DIRECT,
            Mode::Buffered => OFlags::empty(),
        };
        let main = match access {
            // A reader takes the medium's view where it can and falls back silently: it writes nothing.
            Access::Read => self
                .openat(name, OFlags::RDONLY | OFlags::DIRECT)
                .or_else(|_| self.openat(name, OFlags::RDONLY))?,
            Access::Write => self.openat(name, OFlags::RDWR | direct)?,
            Access::Create => self.openat(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | direct)?,
        };
        let stat = fs::fstat(&main)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let is_direct = fs::fcntl_getfl(&main)?.contains(OFlags::DIRECT);
        let cached = if is_direct { Some(self.openat(name, OFlags::RDONLY)?) } else { None };
        // What is written through the page cache is still recovered from the medium, where that works.
        let medium = if is_direct || !matches!(self.file_system, EXT4_MAGIC | XFS_MAGIC) {
            None
        } else {
            self.openat(name, OFlags::RDONLY | OFlags::DIRECT).ok()
        };
        if let Some(cached) = &cached {
            // Read-ahead would fill the cache with blocks that are about to be written past it.
            let _ = fs::fadvise(cached, 0, None, Advice::Random);
        }
        Ok(Arc::new(PosixFile { main, cached, medium, doubt: Doubt::default() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.dir, from, &self.dir, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    fn sync(&self) -> io::Result<()> {
        fs::fsync(&self.dir)?;
        Ok(fs::fsync(&self.parent)?)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = fs::fstatvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn ring(&self, depth: usize) -> io::Result<Box<dyn Ring>> {
        Ok(Box::new(Uring::new(depth)?))
    }

    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        let fd = self.openat(name, OFlags::RDWR | OFlags::CREATE)?;
        let mut file = match flock(fd, FlockOperation::NonBlockingLockExclusive)? {
            Ok(file) => file,
            Err(holder) => return Ok(Err(holder)),
        };
        // Who holds the lock is a help for people; a full disk must not keep the log from opening.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
        Ok(Ok(Box::new(PosixLock(Mutex::new(file)))))
    }

    fn lock_for_reading(&self, name: &str) -> io::Result<Result<Option<Box<dyn DiskLock>>, String>> {
        let Ok(fd) = self.openat(name, OFlags::RDONLY) else { return Ok(Ok(None)) };
        match flock(fd, FlockOperation::NonBlockingLockShared) {
            Ok(Ok(file)) => Ok(Ok(Some(Box::new(PosixLock(Mutex::new(file)))))),
            Ok(Err(holder)) => Ok(Err(holder)),
            // A file system without locks, or one that gives none to who cannot write.
            Err(_) => Ok(Ok(None)),
        }
    }
}

/// Takes a lock, or says what its holder wrote.
fn flock(fd: OwnedFd, operation: FlockOperation) -> io::Result<Result<File, String>> {
    // The kernel may hold a killed process's files for a moment longer than the process.
    let mut tries = 0;
    loop {
        match fs::flock(&fd, operation) {
            Ok(()) => return Ok(Ok(File::from(fd))),
            Err(Errno::WOULDBLOCK) if tries < 20 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let _ = File::from(fd).take(256).read_to_string(&mut text);
                return Ok(Err(text.trim().to_owned()));
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// The open `LOCK` file; closing it releases the lock.
#[derive(Debug)]
struct PosixLock(#[expect(dead_code, reason = "held for its lock, released when closed")] Mutex<File>);

impl DiskLock for PosixLock {}

#[derive(Debug)]
struct PosixFile {
    main: OwnedFd,
    /// Page-cache view, if `main` is direct.
    cached: Option<OwnedFd>,
    /// A view past the page cache, if `main` is not direct and the file system has one.
    medium: Option<OwnedFd>,
    doubt: Doubt,
}

/// Whether pages are still cached that were cached before the file was opened.
#[derive(Debug, Default)]
struct Doubt {
    raised: AtomicBool,
    settled: OnceLock<()>,
}

impl PosixFile {
    /// Before anything is read through the page cache.
    fn settle_doubt(&self) {
        if self.doubt.raised.load(Ordering::Acquire) {
            self.doubt.settled.get_or_init(|| self.drop_cache());
        }
    }
}

impl DiskFile for PosixFile {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(fs::fstat(&self.main)?.st_size).unwrap_or(0))
    }

    #[expect(clippy::useless_conversion, reason = "the type of st_nlink differs between targets")]
    fn links(&self) -> io::Result<u64> {
        Ok(u64::from(fs::fstat(&self.main)?.st_nlink))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match rustix::io::retry_on_intr(|| fs::fallocate(&self.main, FallocateFlags::empty(), 0, len)) {
            Ok(()) => Ok(()),
            // No reservation there: a sparse file of the right size; ENOSPC then shows when it is filled.
            Err(Errno::OPNOTSUPP) => Ok(fs::ftruncate(&self.main, len)?),
            Err(e) => Err(e.into()),
        }
    }

    fn written_end(&self, from: u64) -> io::Result<u64> {
        let len = self.len()?;
        if from >= len {
            return Ok(len);
        }
        // Cached pages of blocks that were never written would count as written.
        self.drop_cache();
        match fs::seek(&self.main, SeekFrom::Hole(from)) {
            Ok(end) => Ok(end.min(len)),
            Err(Errno::NXIO) => Ok(len),
            // A file system that cannot tell: treat all of it as written, which costs speed only.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(len),
            Err(e) => Err(e.into()),
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.settle_doubt();
        let fd = self.cached.as_ref().unwrap_or(&self.main);
        Ok(rustix::io::pread(fd, buf, offset)?)
    }

    fn map(&self) -> io::Result<Option<Map>> {
        self.settle_doubt();
        let len = usize::try_from(self.len()?).unwrap_or(0);
        Map::new(self.cached.as_ref().unwrap_or(&self.main), len).map(Some)
    }

    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        let fd = self.medium.as_ref().unwrap_or(&self.main);
        Ok(rustix::io::pread(fd, &mut buf[..len], offset)?)
    }

    fn write_at(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        if durable && !mutant("posix_write_not_forced") {
            let flags = ReadWriteFlags::DSYNC;
            Ok(rustix::io::pwritev2(&self.main, &[IoSlice::new(buf)], offset, flags)?)
        } else {
            Ok(rustix::io::pwrite(&self.main, buf, offset)?)
        }
    }

    fn sync(&self) -> io::Result<()> {
        if mutant("posix_sync_does_nothing") {
            return Ok(());
        }
        Ok(fs::fdatasync(&self.main)?)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.main.as_fd())
    }

    fn drop_cache(&self) {
        for fd in [Some(self.main.as_fd()), self.cached.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
            let _ = fs::fadvise(fd, 0, None, Advice::DontNeed);
        }
    }
    fn expect_reads(&self) {
        if let Some(cached) = &self.cached {
            let _ = fs::fadvise(cached, 0, None, Advice::Normal);
        }
    }

    /// Dropping the pages of all files of a log takes longer than all else that opening it does, and most of
    /// them may never be read again.
    fn distrust_cache(&self) {
        let reads_past_it = self.cached.is_some() || self.medium.is_some();
        if reads_past_it && self.doubt.settled.get().is_none() {
            self.doubt.raised.store(true, Ordering::Release);
        } else {
            self.drop_cache();
        }
    }
}
