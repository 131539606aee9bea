//! Classifies errors of a disk: no space left, no descriptors left.

use rustix::io::Errno;
use std::io;

/// Whether a call failed for lack of space: the file system is full, or a quota is used up. The call may succeed once
/// there is space. A sync that failed for this reason may have lost data all the same.
pub fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether a file could not be opened because the process (EMFILE) or the system (ENFILE) has no descriptor left.
pub fn no_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}
