//! Bounds the file descriptors of sealed segments: closes files that were not read lately, and opens a file again when
//! it is read.
//!
//! A file that is written to is never closed here. A call on a file holds its descriptor until it returns, so the
//! descriptor's number cannot be reused for another file meanwhile. A file that is opened again must be the one that
//! was closed: device, inode and header are compared. No lock is held while a file is opened, read or closed.

use crate::format::SegmentHeader;
use crate::sync::{AtomicBool, AtomicU64, Mutex, RwLock};
use seawall_disk::{
    Access, AlignedBuf, Disk, DiskFile, FileId, Map, no_descriptors, read_exact_at, read_exact_medium,
};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Maximum number of descriptors of a file opened for reading: one for reads past the page cache, one for reads through
/// it.
const READING: u32 = 2;

/// The descriptors that the sealed segments of one log share.
#[derive(Debug)]
pub(crate) struct Descriptors {
    disk: Arc<dyn Disk>,
    max: u32,
    list: Mutex<List>,
    reopened: AtomicU64,
}

#[derive(Debug, Default)]
struct List {
    /// Files that may be closed, with their number of descriptors. The front is examined first.
    open: VecDeque<(Arc<Slot>, u32)>,
    /// Number of descriptors of these files and of files that are being opened.
    count: u32,
}

/// The file of one segment, if it is open.
#[derive(Debug, Default)]
struct Slot {
    file: RwLock<Option<Arc<dyn DiskFile>>>,
    /// Whether it was read since [`List`] was last searched for files to close.
    used: AtomicBool,
    /// Whether cached pages from before the log was opened must be dropped before the first read through the cache.
    doubted: AtomicBool,
}

impl Descriptors {
    /// Creates the list for files on `disk`, with at most `max` descriptors.
    pub(crate) fn new(disk: Arc<dyn Disk>, max: u32) -> Arc<Descriptors> {
        Arc::new(Descriptors { disk, max, list: Mutex::default(), reopened: AtomicU64::new(0) })
    }

    /// The disk that holds the files.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// How often a closed file was opened to be read.
    pub(crate) fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }

    /// Opens a file. If no descriptor is left, closes all sealed segments and tries once more.
    pub(crate) fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        match self.disk.open(name, access) {
            Err(e) if no_descriptors(&e) && self.close_down_to(0) => self.disk.open(name, access),
            opened => opened,
        }
    }

    /// Reserves `count` descriptors for a file that is about to be opened; closes others if there are too many.
    fn reserve(&self, count: u32) {
        self.list.lock().count += count;
        self.close_down_to(self.max);
    }

    /// Returns `reserved` descriptors, for a file that is not opened after all.
    fn give_back(&self, reserved: u32) {
        self.list.lock().count -= reserved;
    }

    /// Adds `slot`, which is open with `count` descriptors, to the files that may be closed; `reserved` were counted
    /// for it before.
    fn enlist(&self, slot: &Arc<Slot>, count: u32, reserved: u32) {
        let mut list = self.list.lock();
        list.count = list.count - reserved + count;
        list.open.push_back((Arc::clone(slot), count));
    }

    /// Removes `slot` from the files that may be closed.
    fn forget(&self, slot: &Arc<Slot>) {
        let mut list = self.list.lock();
        let Some(i) = list.open.iter().position(|(open, _)| Arc::ptr_eq(open, slot)) else { return };
        list.count -= list.open.remove(i).map_or(0, |(_, count)| count);
    }

    /// Closes files until at most `max` descriptors are counted. Files that were read since the last search are closed
    /// only if there are no others. Returns whether it closed any.
    fn close_down_to(&self, max: u32) -> bool {
        let mut closed = Vec::new();
        let mut list = self.list.lock();
        let mut spared = list.open.len();
        while list.count > max
            && let Some((slot, count)) = list.open.pop_front()
        {
            if slot.used.swap(false, Ordering::Relaxed) && spared > 0 {
                spared -= 1;
                list.open.push_back((slot, count));
                continue;
            }
            list.count -= count;
            closed.extend(slot.file.write().take());
        }
        drop(list);
        !closed.is_empty()
    }
}

/// The file of one segment, for readers. Open while it is written to; after that, opened when it is read.
pub(crate) struct SegmentFile {
    descriptors: Arc<Descriptors>,
    name: String,
    id: Option<FileId>,
    /// The header fields that identify the segment.
    key: Key,
    slot: Arc<Slot>,
}

/// The header fields that no two segments have in common, and the block size of the segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) uuid: [u8; 16],
    pub(crate) sequence: u32,
    pub(crate) salt: u64,
    pub(crate) block_bytes: u32,
}

impl Key {
    /// Whether `block` is the header of the segment.
    fn is_of(&self, block: &[u8]) -> bool {
        let same = |header: SegmentHeader| {
            (header.uuid, header.sequence, header.salt) == (self.uuid, self.sequence, self.salt)
        };
        SegmentHeader::decode(block).is_ok_and(same)
    }
}

/// Whether pages of a file that were cached before the log was opened may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CachedPages {
    /// None of them holds bytes that the medium lacks. One may be older than the medium; a reader whose checksum fails
    /// reads the medium.
    Trusted,
    /// They are dropped before the first read through the cache.
    Doubted,
}

/// Fills `buf` from `offset`, both block-aligned, past the page cache, after bytes from the cache failed their check.
/// Drops the cached pages of the range.
pub(crate) fn read_again(file: &dyn DiskFile, buf: &mut AlignedBuf, offset: u64) -> io::Result<()> {
    file.drop_cached(offset, buf.len() as u64);
    let len = buf.len();
    read_exact_medium(file, buf, offset, len)
}

impl SegmentFile {
    /// A file that is written to, open as `file`; it stays open until [`SegmentFile::seal`]. `name` is its name from
    /// then on. If it existed before the log was opened, its cached pages were dropped.
    pub(crate) fn opened(
        descriptors: &Arc<Descriptors>,
        name: String,
        key: Key,
        file: &Arc<dyn DiskFile>,
    ) -> SegmentFile {
        let sealed = SegmentFile::closed(descriptors, name, key, file.id(), CachedPages::Trusted);
        *sealed.slot.file.write() = Some(Arc::clone(file));
        sealed
    }

    /// A sealed file that existed before the log was opened and has not been read since. `cached` says whether readers
    /// may use the pages that are cached now.
    pub(crate) fn closed(
        descriptors: &Arc<Descriptors>,
        name: String,
        key: Key,
        id: Option<FileId>,
        cached: CachedPages,
    ) -> SegmentFile {
        let doubted = AtomicBool::new(cached == CachedPages::Doubted);
        let slot = Arc::new(Slot { doubted, ..Slot::default() });
        SegmentFile { descriptors: Arc::clone(descriptors), name, id, key, slot }
    }

    /// Allows the file to be closed: all of it is durable and it is not written to any more. Call it once.
    pub(crate) fn seal(&self) {
        if let Some(file) = self.if_open() {
            self.descriptors.enlist(&self.slot, file.descriptors(), 0);
            self.descriptors.close_down_to(self.descriptors.max);
        }
    }

    fn if_open(&self) -> Option<Arc<dyn DiskFile>> {
        self.slot.file.read().clone()
    }

    /// The file; opens it if it is closed.
    fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(file) = &*self.slot.file.read() {
            if !self.slot.used.load(Ordering::Relaxed) {
                self.slot.used.store(true, Ordering::Relaxed);
            }
            return Ok(Arc::clone(file));
        }
        self.reopen()
    }

    #[cold]
    fn reopen(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.descriptors.reserve(READING);
        let opened = self.open_checked();
        let mut open = self.slot.file.write();
        let file = match (&*open, opened) {
            // Another thread opened it first.
            (Some(file), _) => Ok(Arc::clone(file)),
            (None, Err(error)) => Err(error),
            (None, Ok(file)) => {
                *open = Some(Arc::clone(&file));
                drop(open);
                self.descriptors.enlist(&self.slot, file.descriptors(), READING);
                return Ok(file);
            }
        };
        drop(open);
        self.descriptors.give_back(READING);
        file
    }

    /// Opens the file, checks that it is the same one, and repeats the cache advice that its last descriptor was given.
    fn open_checked(&self) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.descriptors.open(&self.name, Access::Read)?;
        self.descriptors.reopened.fetch_add(1, Ordering::Relaxed);
        let replaced = || io::Error::new(io::ErrorKind::InvalidData, "another file has taken its name");
        if file.id() != self.id {
            return Err(replaced());
        }
        if self.slot.doubted.load(Ordering::Acquire) {
            file.distrust_cache();
        }
        file.expect_reads();
        // Through the page cache: a file whose pages are in doubt drops them now, before anything else is read.
        let mut block = AlignedBuf::zeroed(self.key.block_bytes as usize);
        read_exact_at(&*file, &mut block, 0)?;
        let same = self.key.is_of(&block);
        if !same {
            // An older page may be cached.
            read_again(&*file, &mut block, 0)?;
        }
        if !self.key.is_of(&block) {
            return Err(replaced());
        }
        self.slot.doubted.store(false, Ordering::Release);
        Ok(file)
    }

    /// The result of calls that only a writer may make; writers use the open file directly.
    fn read_only<T>() -> io::Result<T> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl DiskFile for SegmentFile {
    fn len(&self) -> io::Result<u64> {
        self.file()?.len()
    }

    fn links(&self) -> io::Result<u64> {
        self.file()?.links()
    }

    fn allocate(&self, _len: u64) -> io::Result<()> {
        SegmentFile::read_only()
    }

    fn written_end(&self, _from: u64) -> io::Result<u64> {
        SegmentFile::read_only()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file()?.read_at(buf, offset)
    }

    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        self.file()?.read_medium(buf, offset, len)
    }

    fn write_at(&self, _buf: &[u8], _offset: u64, _durable: bool) -> io::Result<usize> {
        SegmentFile::read_only()
    }

    fn map(&self) -> io::Result<Option<Map>> {
        self.file()?.map()
    }

    fn sync(&self) -> io::Result<()> {
        SegmentFile::read_only()
    }

    /// If the file is closed, the advice is given when it is opened, where it matters.
    fn drop_cache(&self) {
        if let Some(file) = self.if_open() {
            file.drop_cache();
        }
    }

    fn drop_cached(&self, offset: u64, len: u64) {
        if let Some(file) = self.if_open() {
            file.drop_cached(offset, len);
        }
    }

    /// As [`DiskFile::drop_cache`]: a closed file gets the advice when it is opened.
    fn expect_reads(&self) {
        if let Some(file) = self.if_open() {
            file.expect_reads();
        }
    }

    fn id(&self) -> Option<FileId> {
        self.id
    }
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        self.descriptors.forget(&self.slot);
    }
}

impl fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentFile").field("name", &self.name).finish_non_exhaustive()
    }
}
