//! The memory map of a file, made once enough of the file was read.

use seawall_disk::{DiskFile, Map, no_descriptors, read_exact_at};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Smallest number of bytes that a read counts for: one page.
const READ_BYTES_MIN: u64 = 4096;
/// A file is mapped once one part in this many of its bytes was read.
const SHARE: u64 = 4;
/// Bytes per read of the whole file, before it is mapped.
const CHUNK_BYTES: u64 = 1 << 20;

/// How many bytes of a file were read, and its map.
#[derive(Debug, Default)]
pub(crate) struct LazyMap {
    read_bytes: AtomicU64,
    claimed: AtomicBool,
    map: OnceLock<Option<Map>>,
}

impl LazyMap {
    /// Counts a read of `bytes` bytes.
    pub(crate) fn note_read(&self, bytes: usize) {
        self.read_bytes.fetch_add((bytes as u64).max(READ_BYTES_MIN), Ordering::Relaxed);
    }

    /// The map of `file`, if it exists or pays off by now. The file must not be written any more. While one thread
    /// makes the map, others get `None`.
    pub(crate) fn get(&self, file: &dyn DiskFile, file_bytes: u64) -> Option<&Map> {
        if let Some(map) = self.map.get() {
            return map.as_ref();
        }
        let worth = self.read_bytes.load(Ordering::Relaxed) >= file_bytes / SHARE;
        if !worth || self.claimed.swap(true, Ordering::AcqRel) {
            return None;
        }
        match map_read(file, file_bytes) {
            // This is not a fault of the file: a later call may succeed.
            Err(e) if no_descriptors(&e) => {
                self.claimed.store(false, Ordering::Release);
                None
            }
            made => self.map.get_or_init(|| made.unwrap_or(None)).as_ref(),
        }
    }
}

/// Maps `file` after reading all of it: an unreadable page gives an error here but SIGBUS in a map.
fn map_read(file: &dyn DiskFile, file_bytes: u64) -> io::Result<Option<Map>> {
    let mut buf = Vec::new();
    for from in (0..file_bytes).step_by(usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX)) {
        buf.resize(usize::try_from((file_bytes - from).min(CHUNK_BYTES)).unwrap_or(0), 0);
        read_exact_at(file, &mut buf, from)?;
    }
    file.map()
}
