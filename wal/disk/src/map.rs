//! Maps a file into memory for reading.

#![expect(unsafe_code, reason = "the kernel does not keep a file from changing while it is mapped")]

use memmap2::{Mmap, MmapOptions};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest number of maps per process: a quarter of the kernel's default limit, since other code needs some, too.
const MAPS_MAX: usize = 16_384;

static MAPS: AtomicUsize = AtomicUsize::new(0);

/// A file mapped for reading. The file must be neither written nor shortened while the value lives. If the medium
/// fails to deliver a page, the process ends (SIGBUS).
pub struct Map(Mmap);

impl Map {
    /// Maps the first `len` bytes of the file, which must be at least that long.
    ///
    /// # Errors
    /// `OutOfMemory` if the process has too many maps, or the kernel's error.
    pub(crate) fn new(file: impl AsFd, len: usize) -> io::Result<Map> {
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if MAPS.fetch_add(1, Ordering::Relaxed) >= MAPS_MAX {
            MAPS.fetch_sub(1, Ordering::Relaxed);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let file = file.as_fd().as_raw_fd();
        // SAFETY: the callers of `DiskFile::map` neither write nor shorten the file while the map lives. A page that
        // cannot be read ends the process, and is never seen as other bytes.
        let mapped = unsafe { MmapOptions::new().len(len).map(file) };
        if mapped.is_err() {
            MAPS.fetch_sub(1, Ordering::Relaxed);
        }
        mapped.map(Map)
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        MAPS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("len", &self.len()).finish_non_exhaustive()
    }
}
