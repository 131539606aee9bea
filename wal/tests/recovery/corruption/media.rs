//! The media of the matrix: the simulated disk, and real directories that are opened with one of the
//! backends.

use crate::harness::{env, stepped};
use seawall_wal::disk::sim::{CallOp, HookDisk, SimDisk};
use seawall_wal::disk::{Access, Disk, Mode, PosixDisk};
use seawall_wal::{Backend, Env, Error, Options, RecoveryReport, Threads, Wal};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::log::BLOCK;

/// All files of a log except the lock, which every open writes.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The place of a log's files, and the backend and strategy that access them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    Simulated,
    PosixDirect,
    PosixSync,
    RingDirect,
    RingSync,
}

impl Place {
    /// The places that this machine supports. Prints those that it does not.
    pub fn here(dir: &Path) -> Vec<Place> {
        let disk = PosixDisk::open(dir, Some(Mode::Direct)).unwrap();
        let direct = disk.open("direct", Access::Create).is_ok();
        let _ = fs::remove_file(dir.join("direct"));
        let ring = disk.ring(1).is_ok();
        let mut places = vec![Place::Simulated, Place::PosixSync];
        match ring {
            true => places.push(Place::RingSync),
            false => println!("not run with io_uring: the kernel refuses it"),
        }
        match direct {
            true => {
                places.extend([Place::PosixDirect, Place::RingDirect].into_iter().take(1 + usize::from(ring)))
            }
            false => println!("not run with direct writes: this file system has none"),
        }
        places
    }

    pub fn backend(self) -> Backend {
        match self {
            Place::RingDirect | Place::RingSync => Backend::IoUring,
            _ => Backend::Posix,
        }
    }

    fn disk(self, dir: &Path) -> Arc<PosixDisk> {
        let mode = match self {
            Place::PosixDirect | Place::RingDirect => Mode::Direct,
            _ => Mode::Buffered,
        };
        Arc::new(PosixDisk::open(dir, Some(mode)).unwrap())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Simulated => "simulated",
            Place::PosixDirect => "directory/posix, direct",
            Place::PosixSync => "directory/posix, sync",
            Place::RingDirect => "directory/io_uring, direct",
            Place::RingSync => "directory/io_uring, sync",
        })
    }
}

/// The files of a log, which can be copied.
pub enum Media {
    Simulated(Arc<SimDisk>),
    Real(Copied),
}

/// The files of a log, and directories for copies of them. Making a new directory for each case would write a
/// hundred gigabytes, so a directory that is no longer used is restored and used again.
pub struct Original {
    place: Place,
    root: PathBuf,
    files: Files,
    free: Mutex<Vec<PathBuf>>,
}

/// A directory of an [`Original`] that is in use.
pub struct Copied {
    of: Arc<Original>,
    dir: PathBuf,
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.of.free.lock().unwrap().push(self.dir.clone());
    }
}

/// Makes a new directory in `root`.
fn fresh(root: &Path) -> PathBuf {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let dir = root.join(MADE.fetch_add(1, Ordering::Relaxed).to_string());
    fs::create_dir(&dir).unwrap();
    dir
}

fn read_dir(dir: &Path) -> Files {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name != "LOCK")
        .map(|name| (name.clone(), fs::read(dir.join(&name)).unwrap()))
        .collect()
}

/// Writes `new` to the file at `path`, which holds `old`. Writes only blocks that differ.
fn store(path: &Path, old: &[u8], new: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    if old.len() != new.len() {
        file.set_len(new.len() as u64).unwrap();
    }
    for (n, block) in new.chunks(BLOCK).enumerate() {
        let at = n * BLOCK;
        if old.get(at..at + block.len()) != Some(block) {
            file.write_all_at(block, at as u64).unwrap();
        }
    }
}

impl Media {
    /// The files of a simulated disk, placed at `place`. Directories are made in `root`.
    pub fn placed(disk: &Arc<SimDisk>, place: Place, root: &Path) -> Media {
        if place == Place::Simulated {
            return Media::Simulated(Arc::clone(disk));
        }
        let names = disk.names().into_iter().filter(|name| name != "LOCK");
        Media::of(names.map(|name| (name.clone(), disk.read_file(&name))).collect(), place, root)
    }

    fn of(files: Files, place: Place, root: &Path) -> Media {
        let of = Original { place, root: root.to_owned(), files, free: Mutex::default() };
        Media::Real(Copied::new(&Arc::new(of)))
    }

    /// A copy: of the simulated disk as it is now, or of the files with which this directory began.
    pub fn copy(&self) -> Media {
        match self {
            Media::Simulated(disk) => Media::Simulated(disk.fork(9)),
            Media::Real(copied) => Media::Real(Copied::new(&copied.of)),
        }
    }

    /// Makes the files as they are now those that copies begin with.
    pub fn keep(self) -> Media {
        match &self {
            Media::Simulated(_) => self,
            Media::Real(copied) => Media::of(self.files(), copied.of.place, &copied.of.root),
        }
    }

    /// The disk, for inspection.
    pub fn disk(&self) -> Arc<dyn Disk> {
        match self {
            Media::Simulated(disk) => disk.process(),
            Media::Real(copied) => copied.of.place.disk(&copied.dir),
        }
    }

    /// The environment, for a log.
    pub fn env(&self) -> Env {
        match self {
            Media::Simulated(disk) => stepped(disk),
            Media::Real(_) => env(self.disk(), Threads::Spawned),
        }
    }

    /// Ends the process. On the simulated disk, also cuts the power.
    pub fn crash(&self) {
        if let Media::Simulated(disk) = self {
            disk.crash();
        }
    }

    /// Opens the log and dies at the `n`-th change that it makes. Returns the result, and whether the open
    /// made that many changes.
    pub fn open_and_die(&self, n: u64, options: &Options) -> (Result<(Wal, RecoveryReport), Error>, bool) {
        let (opened, reached) = match self {
            Media::Simulated(disk) => {
                disk.crash_after(n);
                let opened = Wal::open_in(stepped(disk), options);
                (opened, disk.crash_reached())
            }
            Media::Real(_) => {
                let count = Arc::new(AtomicU64::new(0));
                let seen = Arc::clone(&count);
                let dies = HookDisk::new(self.disk(), move |call| {
                    let changes = match call.op {
                        CallOp::Open => !call.name.ends_with(".wal"),
                        op => op != CallOp::Read && op != CallOp::Other,
                    };
                    match changes && seen.fetch_add(1, Ordering::SeqCst) + 1 >= n {
                        true => Err(io::Error::other("dead")),
                        false => Ok(()),
                    }
                });
                // The log is stepped, so if it survives no thread of it dies a moment later.
                let opened = Wal::open_in(env(dies, Threads::Stepped), options);
                (opened, count.load(Ordering::SeqCst) >= n)
            }
        };
        self.crash();
        (opened, reached)
    }

    /// The number of changes that were made; `None` where they are not counted.
    pub fn operations(&self) -> Option<u64> {
        match self {
            Media::Simulated(disk) => Some(disk.operations()),
            Media::Real(_) => None,
        }
    }

    pub fn files(&self) -> Files {
        match self {
            Media::Simulated(disk) => {
                let names = disk.names().into_iter().filter(|name| name != "LOCK");
                names.map(|name| (name.clone(), disk.read_file(&name))).collect()
            }
            Media::Real(copied) => read_dir(&copied.dir),
        }
    }

    pub fn read_file(&self, name: &str) -> Vec<u8> {
        match self {
            Media::Simulated(disk) => disk.read_file(name),
            Media::Real(copied) => fs::read(copied.dir.join(name)).unwrap(),
        }
    }

    pub fn write_file(&self, name: &str, bytes: &[u8]) {
        match self {
            Media::Simulated(disk) => disk.write_file(name, bytes),
            Media::Real(copied) => {
                // This makes another file with the same name. A process that has the old file open keeps it.
                let _ = fs::remove_file(copied.dir.join(name));
                fs::write(copied.dir.join(name), bytes).unwrap();
            }
        }
    }

    pub fn remove_file(&self, name: &str) {
        match self {
            Media::Simulated(disk) => disk.remove_file(name),
            Media::Real(copied) => fs::remove_file(copied.dir.join(name)).unwrap(),
        }
    }

    pub fn truncate(&self, name: &str, len: usize) {
        match self {
            Media::Simulated(disk) => disk.truncate(name, len),
            Media::Real(copied) => {
                let file = File::options().write(true).open(copied.dir.join(name)).unwrap();
                file.set_len(len as u64).unwrap();
            }
        }
    }

    /// Changes the bytes of a file from `at` on directly, not through a log.
    pub fn corrupt(&self, name: &str, at: usize, f: impl FnOnce(&mut [u8])) {
        match self {
            Media::Simulated(disk) => disk.corrupt(name, at, f),
            Media::Real(copied) => {
                let old = self.read_file(name);
                let mut new = old.clone();
                f(&mut new[at..]);
                store(&copied.dir.join(name), &old, &new);
            }
        }
    }
}

impl Copied {
    fn new(of: &Arc<Original>) -> Copied {
        let used = of.free.lock().unwrap().pop();
        let dir = used.unwrap_or_else(|| fresh(&of.root));
        let now = read_dir(&dir);
        for name in now.keys().filter(|name| !of.files.contains_key(*name)) {
            fs::remove_file(dir.join(name)).unwrap();
        }
        for (name, bytes) in &of.files {
            match now.get(name) {
                Some(now) => store(&dir.join(name), now, bytes),
                None => fs::write(dir.join(name), bytes).unwrap(),
            }
        }
        Copied { of: Arc::clone(of), dir }
    }
}
