//! Implements the disk on a real directory with POSIX calls: O_DIRECT with RWF_DSYNC where the file system supports
//! it well, else the page cache with fdatasync.

mod file;
mod lock;
mod unit;
mod uring;

use crate::buffer::ALIGNMENT;
use crate::errors::no_descriptors;
use crate::interface::ring::Ring;
use crate::interface::{Access, Disk, DiskFile, DiskLock, FileId, Mode, NameKind};
use file::{PosixFile, StalePages};
use rustix::fs::{self, Advice, AtFlags, FileType, Mode as Permissions, OFlags};
use rustix::io::retry_on_intr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uring::Uring;

/// Magic numbers of file systems on which a direct write into written blocks costs one device write.
const EXT4_MAGIC: u64 = 0xEF53;
const XFS_MAGIC: u64 = 0x5846_5342;
/// Magic number of btrfs, which writes every block to a new place unless a file says otherwise.
const BTRFS_MAGIC: u64 = 0x9123_683E;

/// A directory of a real file system.
#[derive(Debug)]
pub struct PosixDisk {
    path: PathBuf,
    dir: OwnedFd,
    mode: Mode,
    block_size: u32,
    file_system: u64,
}

impl PosixDisk {
    /// Name of the file that records which write mode was measured to be better on the device: one word. Written by
    /// [`PosixDisk::store_hint`].
    pub const HINT: &str = "HINT";

    /// Creates the directory `path` (mode 0700) if it is missing, and makes its name durable in its parent. The
    /// parent must exist.
    ///
    /// The parent of an existing directory is synced, too, since a killed process may have created the directory. If
    /// the file system of the parent cannot sync directories, that is ignored.
    ///
    /// # Errors
    /// `NotADirectory` if something else has the name, or the kernel's error.
    pub fn create_dir(path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => sync_parent(path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => match sync_parent(path) {
                // fsync of a directory fails with this error on squashfs, for example.
                Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
                synced => synced,
            },
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(io::ErrorKind::NotADirectory.into()),
            Err(e) => Err(e),
        }
    }

    /// Opens an existing directory. `mode` forces a write mode. Without it, the mode is direct on ext4 and xfs,
    /// unless [`PosixDisk::store_hint`] recorded that buffered is better. It is buffered elsewhere (tmpfs, overlay,
    /// network and copy-on-write file systems, and files for which the kernel has no direct I/O). The parent of the
    /// directory is not accessed.
    pub fn open(path: &Path, mode: Option<Mode>) -> io::Result<PosixDisk> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = fs::open(path, flags, Permissions::empty())?;
        let statfs = fs::fstatfs(&dir)?;
        let file_system = u64::try_from(statfs.f_type).unwrap_or(0);
        let has_direct = matches!(file_system, EXT4_MAGIC | XFS_MAGIC);
        let wants_direct =
            mode.map_or(has_direct && hint(&dir) != Some(Mode::Buffered), |m| m == Mode::Direct);
        let direct = if wants_direct { unit::direct_io(&dir) } else { None };
        let refused = direct.is_some_and(|d| d.offset == 0 || d.memory as usize > ALIGNMENT);
        let natural = if wants_direct && !refused { Mode::Direct } else { Mode::Buffered };
        let device = fs::fstat(&dir)?.st_dev;
        let block_size = 4096
            .max(unit::queue_limit(device, "logical_block_size"))
            .max(unit::queue_limit(device, "physical_block_size"))
            .max(direct.map_or(0, |d| d.offset))
            .next_power_of_two();
        let (path, mode) = (path.to_owned(), mode.unwrap_or(natural));
        Ok(PosixDisk { path, dir, mode, block_size, file_system })
    }

    /// Records which write mode was measured to be better in this directory; later opens without a forced mode use
    /// it. It cannot select direct mode where that is not used by default.
    pub fn store_hint(&self, mode: Mode) -> io::Result<()> {
        let word = match mode {
            Mode::Direct => "direct\n",
            Mode::Buffered => "sync\n",
        };
        let fd = self.openat(PosixDisk::HINT, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
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
        let permissions = Permissions::RUSR | Permissions::WUSR;
        let fd = retry_on_intr(|| fs::openat(&self.dir, name, flags, permissions))?;
        // With NONBLOCK the open does not wait for the other end of a pipe. The flag is cleared afterwards, because
        // with it io_uring fails a write that would wait with EAGAIN.
        fs::fcntl_setfl(&fd, fs::fcntl_getfl(&fd)? - OFlags::NONBLOCK)?;
        Ok(fd)
    }

    /// Opens the other descriptors through which the file `name`, open as `main`, is read.
    fn views(&self, name: &str, main: OwnedFd) -> io::Result<PosixFile> {
        let stat = fs::fstat(&main)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let is_direct = fs::fcntl_getfl(&main)?.contains(OFlags::DIRECT);
        let cached = if is_direct { Some(self.openat(name, OFlags::RDONLY)?) } else { None };
        // Recovery reads from the medium, where possible, also what was written through the page cache.
        let has_direct = matches!(self.file_system, EXT4_MAGIC | XFS_MAGIC);
        let medium = if is_direct || !has_direct {
            None
        } else {
            match self.openat(name, OFlags::RDONLY | OFlags::DIRECT) {
                Err(e) if no_descriptors(&e) => return Err(e),
                opened => opened.ok(),
            }
        };
        if let Some(cached) = &cached {
            // Read-ahead would fill the cache with blocks that are about to be written past it.
            let _ = fs::fadvise(cached, 0, None, Advice::Random);
        }
        let id = FileId { device: stat.st_dev, inode: stat.st_ino };
        let past_cache = has_direct && (is_direct || medium.is_some());
        let copies_on_write = self.file_system == BTRFS_MAGIC;
        Ok(PosixFile { main, cached, medium, past_cache, copies_on_write, id, doubt: StalePages::default() })
    }
}

/// The mode that the directory's hint names; `None` without a hint that can be understood.
fn hint(dir: &OwnedFd) -> Option<Mode> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(fs::openat(dir, PosixDisk::HINT, flags, Permissions::empty()).ok()?);
    let mut word = String::new();
    file.take(16).read_to_string(&mut word).ok()?;
    match word.as_str() {
        "direct\n" => Some(Mode::Direct),
        "sync\n" => Some(Mode::Buffered),
        _ => None,
    }
}

/// Makes the name of the directory `path` durable in its parent.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    match File::open(parent) {
        Ok(parent) => parent.sync_all(),
        // A process that may not read the parent cannot sync it alone, but can sync the file system that holds both.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(fs::syncfs(File::open(path)?)?),
        Err(e) => Err(e),
    }
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
            // A name that is not UTF-8 is foreign; its lossy form suffices for the report.
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
            // A reader bypasses the page cache where possible and falls back silently: it writes nothing.
            Access::Read => match self.openat(name, OFlags::RDONLY | OFlags::DIRECT) {
                Err(e) if !no_descriptors(&e) => self.openat(name, OFlags::RDONLY)?,
                opened => opened?,
            },
            Access::Write => self.openat(name, OFlags::RDWR | direct)?,
            Access::Create => self.openat(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | direct)?,
        };
        let opened = self.views(name, main);
        if opened.is_err() && access == Access::Create {
            // Otherwise the next attempt would find the file.
            let _ = self.remove(name);
        }
        Ok(Arc::new(opened?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(fs::renameat(&self.dir, from, &self.dir, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fs::fsync(&self.dir)?)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = fs::fstatvfs(&self.dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn ring(&self, depth: usize) -> io::Result<Box<dyn Ring>> {
        Ok(Box::new(Uring::new(depth)?))
    }

    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        // The text helps human readers; a full disk must not keep the log from opening.
        let write = |fd: &OwnedFd| {
            let _ = fs::ftruncate(fd, 0).and_then(|()| rustix::io::pwrite(fd, holder.as_bytes(), 0));
        };
        let lock = lock::exclusive(&self.dir, |flags| self.openat(name, flags), write)?;
        Ok(lock.map(|lock| Box::new(lock) as Box<dyn DiskLock>))
    }

    fn lock_for_reading(&self, name: &str) -> io::Result<Result<Option<Box<dyn DiskLock>>, String>> {
        let lock = lock::shared(&self.dir, |flags| self.openat(name, flags))?;
        Ok(lock.map(|lock| lock.map(|lock| Box::new(lock) as Box<dyn DiskLock>)))
    }
}
