//! Two unnamed files of written blocks, overwritten in turn by the floor and the bare group commit.
//!
//! All blocks are written and synced before anything is measured, so a durable write changes no metadata, as in a
//! recycled segment of a log. The files have no names, so nothing remains however the process ends. An error is the
//! kernel's error with the operation that failed.

use anyhow::{Context, Result};
use seawall_wal::disk::{Access, AlignedBuf, Disk, DiskFile, Mode, PosixDisk, write_all_at};
use std::io;
use std::path::Path;
use std::sync::Arc;

const FILES: usize = 2;
/// Bytes per write while the files are filled.
const FILL_BYTES: usize = 1 << 20;

/// A reserved position for one write.
#[derive(Debug)]
pub struct Slot {
    file: Arc<dyn DiskFile>,
    offset: u64,
    mode: Mode,
}

impl Slot {
    /// Writes whole blocks at the position. They are durable on return.
    pub fn write(&self, blocks: &[u8]) -> io::Result<()> {
        write_all_at(self.file.as_ref(), blocks, self.offset, self.mode == Mode::Direct)?;
        if self.mode == Mode::Buffered {
            self.file.sync()?;
        }
        Ok(())
    }
}

/// Two written files and the position of the next write.
#[derive(Debug)]
pub struct Medium {
    files: [Arc<dyn DiskFile>; FILES],
    file_bytes: u64,
    block_size: usize,
    mode: Mode,
    current: usize,
    offset: u64,
}

impl Medium {
    /// Creates and fills the files `{name}-{0,1}` in `dir`, then removes their names.
    pub fn create(dir: &Path, name: &str, mode: Mode, file_bytes: u32) -> Result<Medium> {
        let disk = PosixDisk::open(dir, Some(mode)).with_context(|| format!("open {}", dir.display()))?;
        let create = |i: usize| {
            let name = format!("{name}-{i}");
            let file = disk.open(&name, Access::Create)?;
            disk.remove(&name)?;
            fill(file.as_ref(), u64::from(file_bytes))?;
            io::Result::Ok(file)
        };
        let doing = || format!("prepare the files {name}-0 and {name}-1 in {}", dir.display());
        let files = [create(0).with_context(doing)?, create(1).with_context(doing)?];
        Ok(Medium {
            files,
            file_bytes: u64::from(file_bytes),
            block_size: usize::try_from(disk.block_size()).context("block size")?,
            mode,
            current: 0,
            offset: 0,
        })
    }

    /// Pads `buf` with zeros to whole blocks and writes it at the next position; durable on return.
    pub fn write(&mut self, buf: &mut AlignedBuf) -> io::Result<()> {
        buf.resize(buf.len().next_multiple_of(self.block_size));
        self.reserve(buf.len() as u64).write(buf)
    }

    /// Reserves the next position for a write of `len` bytes, whole blocks. The write may run next to others.
    pub fn reserve(&mut self, len: u64) -> Slot {
        if self.offset + len > self.file_bytes {
            self.current = (self.current + 1) % FILES;
            self.offset = 0;
        }
        let offset = self.offset;
        self.offset += len;
        Slot { file: Arc::clone(&self.files[self.current]), offset, mode: self.mode }
    }
}

fn fill(file: &dyn DiskFile, file_bytes: u64) -> io::Result<()> {
    file.allocate(file_bytes)?;
    let zeros = AlignedBuf::zeroed(FILL_BYTES);
    let mut at = 0;
    while at < file_bytes {
        let len = (file_bytes - at).min(FILL_BYTES as u64);
        let len = usize::try_from(len).unwrap_or(FILL_BYTES);
        write_all_at(file, &zeros[..len], at, false)?;
        at += len as u64;
    }
    file.sync()
}

/// Returns whether files in `dir` can be written with `O_DIRECT`.
pub fn supports_direct(dir: &Path) -> Result<bool> {
    const PROBE: &str = "probe";
    let disk = PosixDisk::open(dir, Some(Mode::Direct)).with_context(|| format!("open {}", dir.display()))?;
    let opened = disk.open(PROBE, Access::Create);
    let supported = opened
        .as_ref()
        .is_ok_and(|file| file.write_at(&AlignedBuf::zeroed(disk.block_size() as usize), 0, true).is_ok());
    // Some file systems create the name and then refuse the flag.
    match disk.remove(PROBE) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("remove {PROBE} in {}", dir.display()))
        }
        _ => Ok(supported),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_to_the_other_file_and_leaves_no_names() {
        let dir = tempfile::tempdir().unwrap();
        let mut medium = Medium::create(dir.path(), "m", Mode::Buffered, 1 << 20).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let block = medium.block_size;
        let mut buf = AlignedBuf::new();
        buf.resize((1 << 20) - block);
        medium.write(&mut buf).unwrap();
        assert_eq!((medium.current, medium.offset), (0, (1 << 20) - block as u64));
        buf.clear();
        buf.resize(block + 1);
        medium.write(&mut buf).unwrap();
        assert_eq!(buf.len(), 2 * block);
        assert_eq!((medium.current, medium.offset), (1, 2 * block as u64));
    }

    #[test]
    fn probing_for_direct_writes_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        supports_direct(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
