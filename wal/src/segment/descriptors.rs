//! Bounds the file descriptors of sealed segments: closes those that were not read lately, and opens a file again when it
//! is read.
//!
//! Invariants: a file that is written to is never closed here. A call on a file holds its descriptor until it returns, so
//! the descriptor's number cannot become another file's under it. A file that is opened again is the one that was closed:
//! device, inode and header are compared. No lock is held while a file is opened, read or closed.

use crate::disk::{Access, AlignedBuf, Disk, DiskFile, FileId, Map, no_descriptors, read_exact_at};
use crate::format::SegmentHeader;
use crate::sync::{AtomicBool, AtomicU64, Mutex, RwLock};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Descriptors that a file opened for reading takes at most: one past the page cache, one through it.
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
    /// Files that may be closed and the number of their descriptors; the front is looked at first.
    open: VecDeque<(Arc<Slot>, u32)>,
    /// Descriptors of those, and of files that are being opened.
    count: u32,
}

/// One segment's file while it is open.
#[derive(Debug, Default)]
struct Slot {
    file: RwLock<Option<Arc<dyn DiskFile>>>,
    /// It was read since [`List`] was last searched for files to close.
    used: AtomicBool,
    /// Pages may be cached that were cached before the log was opened, and that the medium never got.
    doubted: AtomicBool,
}

impl Descriptors {
    /// For files on `disk`, at most `max` descriptors.
    pub(crate) fn new(disk: Arc<dyn Disk>, max: u32) -> Arc<Descriptors> {
        Arc::new(Descriptors { disk, max, list: Mutex::default(), reopened: AtomicU64::new(0) })
    }

    /// The disk that the files are on.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Files opened again so far.
    pub(crate) fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }

    /// Opens a file. If there is no descriptor left, closes all sealed segments and tries once more.
    pub(crate) fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        match self.disk.open(name, access) {
            Err(e) if no_descriptors(&e) && self.close_down_to(0) => self.disk.open(name, access),
            opened => opened,
        }
    }

    /// Makes room for `count` descriptors of a file that is about to be opened.
    fn reserve(&self, count: u32) {
        self.list.lock().count += count;
        self.close_down_to(self.max);
    }

    /// A file that `reserved` was reserved for is not opened.
    fn give_back(&self, reserved: u32) {
        self.list.lock().count -= reserved;
    }

    /// `slot`, which is open, may be closed from here on.
    fn enlist(&self, slot: &Arc<Slot>, count: u32, reserved: u32) {
        let mut list = self.list.lock();
        list.count = list.count - reserved + count;
        list.open.push_back((Arc::clone(slot), count));
    }

    /// `slot` is not used any more.
    fn forget(&self, slot: &Arc<Slot>) {
        let mut list = self.list.lock();
        let Some(i) = list.open.iter().position(|(open, _)| Arc::ptr_eq(open, slot)) else { return };
        list.count -= list.open.remove(i).map_or(0, |(_, count)| count);
    }

    /// Closes files until no more than `max` descriptors are counted, those that were read since the last search only
    /// if there are no others. Says whether it closed any.
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

/// The file of one segment, for readers: open as long as it is written, afterwards opened when it is read.
pub(crate) struct SegmentFile {
    descriptors: Arc<Descriptors>,
    name: String,
    id: Option<FileId>,
    /// What its header says of it.
    key: Key,
    slot: Arc<Slot>,
}

/// What the header of a segment has that no other segment's has, and the size of the block that it is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    pub(crate) uuid: [u8; 16],
    pub(crate) sequence: u32,
    pub(crate) salt: u64,
    pub(crate) block_bytes: u32,
}

impl SegmentFile {
    /// A file that is written to, open as `file`; stays open until [`SegmentFile::seal`]. `name` is what it is called
    /// from then on. `doubted`: it was there before the log was opened.
    pub(crate) fn opened(
        descriptors: &Arc<Descriptors>,
        name: String,
        key: Key,
        file: &Arc<dyn DiskFile>,
        doubted: bool,
    ) -> SegmentFile {
        let sealed = SegmentFile::closed(descriptors, name, key, file.id());
        sealed.slot.doubted.store(doubted, Ordering::Relaxed);
        *sealed.slot.file.write() = Some(Arc::clone(file));
        sealed
    }

    /// A sealed file that was there before the log was opened and that nobody has read since.
    pub(crate) fn closed(
        descriptors: &Arc<Descriptors>,
        name: String,
        key: Key,
        id: Option<FileId>,
    ) -> SegmentFile {
        let slot = Arc::new(Slot { doubted: AtomicBool::new(true), ..Slot::default() });
        SegmentFile { descriptors: Arc::clone(descriptors), name, id, key, slot }
    }

    /// All of it is durable and nobody writes to it any more: it may be closed. To be called once.
    pub(crate) fn seal(&self) {
        if let Some(file) = self.if_open() {
            self.descriptors.enlist(&self.slot, file.descriptors(), 0);
            self.descriptors.close_down_to(self.descriptors.max);
        }
    }

    fn if_open(&self) -> Option<Arc<dyn DiskFile>> {
        self.slot.file.read().clone()
    }

    /// The file, opened if need be.
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
            // Another thread was faster.
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

    /// Opens the file and makes sure that it is the same one, with what its last descriptor was told.
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
        // Through the page cache: what is read from there afterwards is not older than what the medium has.
        let mut block = AlignedBuf::zeroed(self.key.block_bytes as usize);
        read_exact_at(&*file, &mut block, 0)?;
        let same = |header: SegmentHeader| {
            (header.uuid, header.sequence, header.salt) == (self.key.uuid, self.key.sequence, self.key.salt)
        };
        if !SegmentHeader::decode(&block).is_ok_and(same) {
            return Err(replaced());
        }
        self.slot.doubted.store(false, Ordering::Release);
        Ok(file)
    }

    /// For calls that only those who write to the file may make, who have it open.
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

    /// A file that is closed is told when it is opened, if it matters.
    fn drop_cache(&self) {
        if let Some(file) = self.if_open() {
            file.drop_cache();
        }
    }

    /// As [`DiskFile::drop_cache`].
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
