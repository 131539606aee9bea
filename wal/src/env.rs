//! What a log runs on: disk, clock, random numbers and threads are parameters, so that the log of production
//! and the one that a seeded scheduler steps are the same.

use crate::disk::{Clock, Disk, Mode, PosixDisk, Random, SystemClock, SystemRandom};
use crate::error::Error;
use crate::options::{Options, Strategy};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Whether the log starts threads of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Threads {
    /// One that flushes for those who do not block, one that prepares segments; and, from the first callback or
    /// future on, one that calls callbacks and wakes tasks.
    #[default]
    Spawned,
    /// None: the caller steps the log, as a seeded scheduler does. The thread that completes a write calls callbacks and
    /// wakes tasks, one after the other, without any lock; those that a callback makes due follow when it returns.
    Stepped,
}

impl Threads {
    /// Threads that may read the segments side by side while a log is opened or looked at.
    pub(crate) fn readers(self) -> usize {
        match self {
            Threads::Spawned => std::thread::available_parallelism().map_or(1, usize::from),
            Threads::Stepped => 1,
        }
    }
}

/// What the log runs on: disk, clock, random numbers and threads.
#[derive(Clone, Debug)]
pub struct Env {
    /// The directory.
    pub disk: Arc<dyn Disk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Salts and identities.
    pub random: Arc<dyn Random>,
    /// Threads.
    pub threads: Threads,
}

impl Env {
    /// The real directory `dir`, the machine's clock and the kernel's random numbers.
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

/// What opening the directory `dir` failed with, as the log's error.
pub(crate) fn open_failed(dir: &Path, e: io::Error) -> Error {
    let path = dir.display().to_string();
    match e.kind() {
        io::ErrorKind::NotADirectory => Error::NotADirectory { path },
        io::ErrorKind::NotFound => Error::NotALog { path, found: "no such directory" },
        _ => Error::open("open", path, "", e),
    }
}
