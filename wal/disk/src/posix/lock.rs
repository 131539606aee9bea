//! Locks a real directory: the directory itself, and a file in it that names the holder.
//!
//! The file alone does not suffice: if it is removed, the next process creates a new one and locks that. The
//! directory alone does not suffice either: some file systems (NFS) refuse to lock one. There the file is the only
//! lock.

use crate::interface::DiskLock;
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Number of attempts, and the time between them: the kernel may hold the files of a killed process for a moment
/// longer than the process.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// Name of the holder if the directory is locked and the file in it is not.
const UNNAMED: &str = "a process that has locked the directory itself (its file LOCK may have been removed)";

/// The descriptors that hold the locks; closing them releases the locks.
#[derive(Debug)]
pub(super) struct PosixLock {
    _directory: Option<OwnedFd>,
    _file: Option<OwnedFd>,
}

impl DiskLock for PosixLock {}

/// Result of an attempt to lock a descriptor.
enum LockAttempt {
    Yes,
    Busy,
    /// The file system does not support the lock.
    Refused(Errno),
}

/// Locks `directory`, then the file that `open` opens or creates, into which `name` writes the holder. If another
/// process holds a lock, returns the text that it wrote.
pub(super) fn exclusive(
    directory: impl AsFd,
    open: impl Fn(OFlags) -> io::Result<OwnedFd>,
    name: impl FnOnce(&OwnedFd),
) -> io::Result<Result<PosixLock, String>> {
    let operation = FlockOperation::NonBlockingLockExclusive;
    let Ok(_directory) = lock_directory(directory, operation)? else { return Ok(Err(holder(open))) };
    let file = open(OFlags::RDWR | OFlags::CREATE)?;
    match flock(&file, operation) {
        LockAttempt::Yes => {
            name(&file);
            Ok(Ok(PosixLock { _directory, _file: Some(file) }))
        }
        LockAttempt::Busy => Ok(Err(text(file))),
        LockAttempt::Refused(e) => Err(e.into()),
    }
}

/// Takes shared locks, which exclude [`exclusive`]; creates no file. `None` if neither the directory nor the file can
/// be locked.
pub(super) fn shared(
    directory: impl AsFd,
    open: impl Fn(OFlags) -> io::Result<OwnedFd>,
) -> io::Result<Result<Option<PosixLock>, String>> {
    let operation = FlockOperation::NonBlockingLockShared;
    let Ok(_directory) = lock_directory(directory, operation)? else { return Ok(Err(holder(open))) };
    let _file = match open(OFlags::RDONLY) {
        Ok(file) => match flock(&file, operation) {
            LockAttempt::Yes => Some(file),
            LockAttempt::Busy => return Ok(Err(text(file))),
            // A file system without locks, or one that refuses them to processes that cannot write.
            LockAttempt::Refused(_) => None,
        },
        Err(_) => None,
    };
    let any = _directory.is_some() || _file.is_some();
    Ok(Ok(any.then_some(PosixLock { _directory, _file })))
}

/// Locks the directory; `Ok(None)` if the file system refuses, `Err` if another process holds the lock.
fn lock_directory(
    directory: impl AsFd,
    operation: FlockOperation,
) -> io::Result<Result<Option<OwnedFd>, ()>> {
    // A lock belongs to an open file description, so each lock opens the directory again.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let own = fs::openat(directory, ".", flags, Mode::empty())?;
    Ok(match flock(&own, operation) {
        LockAttempt::Yes => Ok(Some(own)),
        LockAttempt::Busy => Err(()),
        LockAttempt::Refused(_) => Ok(None),
    })
}

fn flock(fd: &OwnedFd, operation: FlockOperation) -> LockAttempt {
    for _ in 0..TRIES {
        match fs::flock(fd, operation) {
            Ok(()) => return LockAttempt::Yes,
            Err(Errno::WOULDBLOCK) => std::thread::sleep(PAUSE),
            Err(Errno::INTR) => {}
            Err(e) => return LockAttempt::Refused(e),
        }
    }
    LockAttempt::Busy
}

/// The holder that the file names, if the file is locked too.
fn holder(open: impl Fn(OFlags) -> io::Result<OwnedFd>) -> String {
    match open(OFlags::RDONLY) {
        Ok(file) if fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK) => {
            text(file)
        }
        _ => UNNAMED.to_owned(),
    }
}

fn text(file: OwnedFd) -> String {
    let mut text = String::new();
    let _ = File::from(file).take(256).read_to_string(&mut text);
    text.trim().to_owned()
}
