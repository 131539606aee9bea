//! The file being written: bytes in order, synced now and then, and at the end.
//!
//! FilePart: last step of writing and receiving. Invariant: [`FileWriter::sync`] covers everything written before it; after
//! an error nothing is written any more (its owner gives up). Fails as the system says.

use crate::error::{Error, FileContext};
use seawall_wal::disk::{Access, Disk, DiskFile, write_all_at};
use std::io;
use std::sync::Arc;

/// A file that grows.
#[derive(Debug)]
pub(crate) struct FileWriter {
    file: Arc<dyn DiskFile>,
    site: FileContext,
    offset: u64,
    unsynced: u64,
    sync_bytes: u64,
}

impl FileWriter {
    /// A new file `name`. One that has the name is what is left of a writer that could not remove it.
    pub(crate) fn create(disk: &dyn Disk, name: &str, sync_bytes: u64) -> Result<FileWriter, Error> {
        let site = FileContext::new(&disk.location(), name);
        let file = match disk.open(name, Access::Create) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(name).map_err(|e| site.io("remove", e))?;
                disk.open(name, Access::Create)
            }
            result => result,
        };
        let file = file.map_err(|e| site.io("create", e))?;
        Ok(FileWriter { file, site, offset: 0, unsynced: 0, sync_bytes })
    }

    /// Goes on with `file` at `offset`.
    pub(crate) fn resume(
        file: Arc<dyn DiskFile>,
        site: FileContext,
        offset: u64,
        sync_bytes: u64,
    ) -> FileWriter {
        FileWriter { file, site, offset, unsynced: 0, sync_bytes }
    }

    pub(crate) fn site(&self) -> &FileContext {
        &self.site
    }

    /// Bytes of the file up to here.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn len(&self) -> Result<u64, Error> {
        self.file.len().map_err(|e| self.site.io("examine", e))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        write_all_at(&*self.file, bytes, self.offset, false).map_err(|e| self.site.io("write", e))?;
        self.offset += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= self.sync_bytes {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes everything written durable. It is read back from the medium or not at all, so its cached pages go.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.file.sync().map_err(|e| self.site.io("sync", e))?;
        self.unsynced = 0;
        self.file.drop_cache();
        Ok(())
    }
}
