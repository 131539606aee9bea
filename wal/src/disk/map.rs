//! Maps a file into memory for reading.

#![expect(unsafe_code, reason = "mapping memory has no safe interface")]

use rustix::mm::{self, MapFlags, ProtFlags};
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Largest number of maps per process: a quarter of the kernel's default limit, since other code needs some, too.
const MAPS_MAX: usize = 16_384;

static MAPS: AtomicUsize = AtomicUsize::new(0);

/// A file mapped for reading. The file must be neither written nor shortened while the value lives. If the medium
/// fails to deliver a page, the process ends (SIGBUS).
pub struct Map {
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is read-only and belongs to the value.
unsafe impl Send for Map {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `len` bytes of the file, which must be at least that long.
    ///
    /// # Errors
    /// `OutOfMemory` if the process has too many maps, or the kernel's error.
    pub(super) fn new(file: impl AsFd, len: usize) -> io::Result<Map> {
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if MAPS.fetch_add(1, Ordering::Relaxed) >= MAPS_MAX {
            MAPS.fetch_sub(1, Ordering::Relaxed);
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let (protection, flags) = (ProtFlags::READ, MapFlags::SHARED);
        // SAFETY: the kernel picks the address, so nothing that is in use is mapped over.
        let mapped = unsafe { mm::mmap(std::ptr::null_mut(), len, protection, flags, file, 0) };
        match mapped.map(|ptr| NonNull::new(ptr.cast())) {
            Ok(Some(ptr)) => Ok(Map { ptr, len }),
            failed => {
                MAPS.fetch_sub(1, Ordering::Relaxed);
                Err(failed.map_or_else(io::Error::from, |_| io::ErrorKind::OutOfMemory.into()))
            }
        }
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped at `ptr` until the value is dropped, and nobody writes to the file.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, and no reference to it outlives the value.
        let unmapped = unsafe { mm::munmap(self.ptr.as_ptr().cast(), self.len) };
        if unmapped.is_ok() {
            MAPS.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("len", &self.len).finish_non_exhaustive()
    }
}
