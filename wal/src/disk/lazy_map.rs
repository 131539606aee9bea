//! The map of a file, made once it is worth it.

use super::{DiskFile, Map, no_descriptors, read_exact_at};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes that a read counts for at least: the page that it takes.
const READ_BYTES_MIN: u64 = 4096;
/// The part of a file, one in so many, that is read before all of it is worth reading.
const SHARE: u64 = 4;
/// Bytes read at a time before a file is mapped.
const CHUNK_BYTES: u64 = 1 << 20;

/// How much of a file was read, and its map.
#[derive(Debug, Default)]
pub(crate) struct LazyMap {
    read_bytes: AtomicU64,
    claimed: AtomicBool,
    map: OnceLock<Option<Map>>,
}

impl LazyMap {
    /// Counts a read.
    pub(crate) fn note_read(&self, bytes: usize) {
        self.read_bytes.fetch_add((bytes as u64).max(READ_BYTES_MIN), Ordering::Relaxed);
    }

    /// The map of `file`, which nobody writes to any more, if it is there or worth making. While one thread makes
    /// it, others do without.
    pub(crate) fn get(&self, file: &dyn DiskFile, file_bytes: u64) -> Option<&Map> {
        if let Some(map) = self.map.get() {
            return map.as_ref();
        }
        let worth = self.read_bytes.load(Ordering::Relaxed) >= file_bytes / SHARE;
        if !worth || self.claimed.swap(true, Ordering::AcqRel) {
            return None;
        }
        match map_read(file, file_bytes) {
            // Nothing of the file: the next one may have more luck.
            Err(e) if no_descriptors(&e) => {
                self.claimed.store(false, Ordering::Release);
                None
            }
            made => self.map.get_or_init(|| made.unwrap_or(None)).as_ref(),
        }
    }
}

/// Maps `file` after reading all of it: what the medium does not deliver is an error here, and under a map a signal.
fn map_read(file: &dyn DiskFile, file_bytes: u64) -> io::Result<Option<Map>> {
    let mut buf = Vec::new();
    for from in (0..file_bytes).step_by(usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX)) {
        buf.resize(usize::try_from((file_bytes - from).min(CHUNK_BYTES)).unwrap_or(0), 0);
        read_exact_at(file, &mut buf, from)?;
    }
    file.map()
}
