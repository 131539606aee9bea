//! Writes a file sequentially, with a sync at intervals and at the end.
//!
//! [`FileWriter::sync`] covers everything written before it. The owner must not write again after an error.

use crate::error::{Error, FileContext};
use seawall_disk::{Access, Disk, DiskFile, write_all_at};
use std::io;
use std::sync::Arc;

/// A file that grows.
#[derive(Debug)]
pub(crate) struct FileWriter {
    file: Arc<dyn DiskFile>,
    context: FileContext,
    offset: u64,
    unsynced: u64,
    sync_bytes: u64,
}

impl FileWriter {
    /// Creates file `name`. An existing file of that name is the remainder of a writer that could not remove
    /// it, and is replaced.
    pub(crate) fn create(disk: &dyn Disk, name: &str, sync_bytes: u64) -> Result<FileWriter, Error> {
        let context = FileContext::new(&disk.location(), name);
        let file = match disk.open(name, Access::Create) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(name).map_err(|e| context.io("remove", e))?;
                disk.open(name, Access::Create)
            }
            result => result,
        };
        let file = file.map_err(|e| context.io("create", e))?;
        Ok(FileWriter { file, context, offset: 0, unsynced: 0, sync_bytes })
    }

    /// Continues to write `file` at `offset`.
    pub(crate) fn resume(
        file: Arc<dyn DiskFile>,
        context: FileContext,
        offset: u64,
        sync_bytes: u64,
    ) -> FileWriter {
        FileWriter { file, context, offset, unsynced: 0, sync_bytes }
    }

    pub(crate) fn context(&self) -> &FileContext {
        &self.context
    }

    /// Size of the file so far, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn len(&self) -> Result<u64, Error> {
        self.file.len().map_err(|e| self.context.io("examine", e))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        write_all_at(&*self.file, bytes, self.offset, false).map_err(|e| self.context.io("write", e))?;
        self.offset += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= self.sync_bytes {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes everything written so far durable. Also drops the cached pages: later reads go to the medium
    /// anyway.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.file.sync().map_err(|e| self.context.io("sync", e))?;
        self.unsynced = 0;
        self.file.drop_cache();
        Ok(())
    }
}
