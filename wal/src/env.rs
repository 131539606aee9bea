//! The environment of a log: disk, clock, random numbers and threads.
//!
//! All of them are parameters, so the same log code runs in production and under a seeded scheduler.

use crate::error::Error;
use crate::options::{Options, Strategy};
use seawall_disk::{
    Disk, Mode, PosixDisk,
    clock::{Clock, Random, SystemClock, SystemRandom},
};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Whether the log starts threads of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Threads {
    /// One thread flushes for callers that do not block, one prepares segments; a third, started with the first
    /// callback or future, runs callbacks and wakes tasks.
    #[default]
    Spawned,
    /// None: the caller steps the log, as a seeded scheduler does. The thread that completes a write runs callbacks and
    /// wakes tasks, one after the other, without holding a lock. Callbacks that become due while one runs follow when
    /// it returns.
    Stepped,
}

impl Threads {
    /// Number of threads that read segments in parallel when a log is opened or inspected.
    pub(crate) fn readers(self) -> usize {
        match self {
            Threads::Spawned => std::thread::available_parallelism().map_or(1, usize::from),
            Threads::Stepped => 1,
        }
    }
}

/// The environment that a log runs in.
#[derive(Clone, Debug)]
pub struct Env {
    /// The directory that holds the log.
    pub disk: Arc<dyn Disk>,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// The source of salts and identities.
    pub random: Arc<dyn Random>,
    /// Whether the log starts threads of its own.
    pub threads: Threads,
}

impl Env {
    /// The directory `dir` on a POSIX file system, the system's clock, and random numbers of the kernel.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], [`Error::NotALog`] if there is no such directory, [`Error::NoDescriptors`] or
    /// [`Error::Io`].
    pub fn posix(dir: &Path, options: &Options) -> Result<Env, Error> {
        let mode = match options.strategy {
            Strategy::Auto => None,
            Strategy::Direct => Some(Mode::Direct),
            Strategy::Sync => Some(Mode::Buffered),
        };
        let disk = PosixDisk::open(dir, mode).map_err(|e| open_failed(dir, e))?;
        Ok(Env {
            disk: Arc::new(disk),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            threads: Threads::Spawned,
        })
    }
}

/// Turns a failure to open the directory `dir` into an [`Error`].
pub(crate) fn open_failed(dir: &Path, e: io::Error) -> Error {
    let path = dir.display().to_string();
    match e.kind() {
        io::ErrorKind::NotADirectory => Error::NotADirectory { path },
        io::ErrorKind::NotFound => Error::NotALog { path, found: "no such directory" },
        _ => Error::open("open", path, "", e),
    }
}
