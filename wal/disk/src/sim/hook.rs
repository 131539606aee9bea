//! A disk that calls a hook of a test before every call to the disk below.
//!
//! The hook may record the call, delay the thread that makes it, or fail it. No lock is held while it runs.

use crate::buffer::AlignedBuf;
use crate::interface::{Access, Disk, DiskFile, DiskLock, FileId, Mode, NameKind};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The kind of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallOp {
    /// `open`, with any access.
    Open,
    /// `rename`; the name is the old one.
    Rename,
    /// `remove`.
    Remove,
    /// `Disk::sync`.
    DirSync,
    /// `allocate`.
    Allocate,
    /// `read_at` and `read_medium`.
    Read,
    /// `write_at`.
    Write,
    /// `DiskFile::sync`.
    Sync,
    /// A query about the disk, the directory or a file, or taking the lock.
    Other,
}

/// A call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The kind of the call.
    pub op: CallOp,
    /// The name under which the file was opened; empty for the directory.
    pub name: &'a str,
    /// Offset of a read or write, in bytes.
    pub offset: u64,
    /// The bytes of a write.
    pub bytes: &'a [u8],
    /// Whether a write must be durable when it returns.
    pub durable: bool,
}

impl<'a> Call<'a> {
    fn new(op: CallOp, name: &'a str) -> Call<'a> {
        Call { op, name, offset: 0, bytes: &[], durable: false }
    }
}

type Hook = dyn Fn(Call<'_>) -> io::Result<()> + Send + Sync;

/// A disk that calls a hook before each call. It has no ring and no maps, so that every access is a call.
pub struct HookDisk {
    inner: Arc<dyn Disk>,
    hook: Arc<Hook>,
}

struct HookFile {
    inner: Arc<dyn DiskFile>,
    name: String,
    hook: Arc<Hook>,
}

impl HookDisk {
    /// `inner`, with `hook` before every call.
    pub fn new(
        inner: Arc<dyn Disk>,
        hook: impl Fn(Call<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Arc<HookDisk> {
        Arc::new(HookDisk { inner, hook: Arc::new(hook) })
    }

    fn ask(&self, op: CallOp, name: &str) -> io::Result<()> {
        (self.hook)(Call::new(op, name))
    }
}

impl fmt::Debug for HookDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HookDisk").field(&self.inner).finish()
    }
}

impl Disk for HookDisk {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn mode(&self) -> Mode {
        self.inner.mode()
    }

    fn block_size(&self) -> u32 {
        self.inner.block_size()
    }

    fn list(&self) -> io::Result<Vec<(String, NameKind)>> {
        self.ask(CallOp::Other, "")?;
        self.inner.list()
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.ask(CallOp::Open, name)?;
        let inner = self.inner.open(name, access)?;
        Ok(Arc::new(HookFile { inner, name: name.to_owned(), hook: Arc::clone(&self.hook) }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.ask(CallOp::Rename, from)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.ask(CallOp::Remove, name)?;
        self.inner.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.ask(CallOp::DirSync, "")?;
        self.inner.sync()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.ask(CallOp::Other, "")?;
        self.inner.free_bytes()
    }

    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        self.ask(CallOp::Other, name)?;
        self.inner.lock(name, holder)
    }

    fn lock_for_reading(&self, name: &str) -> io::Result<Result<Option<Box<dyn DiskLock>>, String>> {
        self.ask(CallOp::Other, name)?;
        self.inner.lock_for_reading(name)
    }
}

impl HookFile {
    fn call(&self, op: CallOp) -> Call<'_> {
        Call::new(op, &self.name)
    }

    fn ask(&self, op: CallOp) -> io::Result<()> {
        (self.hook)(self.call(op))
    }
}

impl fmt::Debug for HookFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HookFile").field(&self.inner).finish()
    }
}

impl DiskFile for HookFile {
    fn len(&self) -> io::Result<u64> {
        self.ask(CallOp::Other)?;
        self.inner.len()
    }

    fn links(&self) -> io::Result<u64> {
        self.ask(CallOp::Other)?;
        self.inner.links()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.ask(CallOp::Allocate)?;
        self.inner.allocate(len)
    }

    fn written_end(&self, from: u64) -> io::Result<u64> {
        self.ask(CallOp::Other)?;
        self.inner.written_end(from)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        (self.hook)(Call { offset, ..self.call(CallOp::Read) })?;
        self.inner.read_at(buf, offset)
    }

    fn read_medium(&self, buf: &mut AlignedBuf, offset: u64, len: usize) -> io::Result<usize> {
        (self.hook)(Call { offset, ..self.call(CallOp::Read) })?;
        self.inner.read_medium(buf, offset, len)
    }

    fn write_at(&self, buf: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        (self.hook)(Call { offset, bytes: buf, durable, ..self.call(CallOp::Write) })?;
        self.inner.write_at(buf, offset, durable)
    }

    fn sync(&self) -> io::Result<()> {
        self.ask(CallOp::Sync)?;
        self.inner.sync()
    }

    fn drop_cache(&self) {
        // The call cannot fail, so an error of the hook is ignored.
        let _ = self.ask(CallOp::Other);
        self.inner.drop_cache();
    }

    fn drop_cached(&self, offset: u64, len: u64) {
        let _ = self.ask(CallOp::Other);
        self.inner.drop_cached(offset, len);
    }

    fn distrust_cache(&self) {
        let _ = self.ask(CallOp::Other);
        self.inner.distrust_cache();
    }

    fn id(&self) -> Option<FileId> {
        self.inner.id()
    }

    fn descriptors(&self) -> u32 {
        self.inner.descriptors()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }
}
