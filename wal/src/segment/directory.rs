//! The directory of a log: the names of its files, its identity file and the file of a clean close.
//!
//! `IDENTITY` gets its name last at creation, when the first segments are durable. So a directory with that name but
//! without segments has lost them, and a directory without it holds an unfinished creation or has lost the file.

use crate::damage::Witness;
use crate::error::Error;
use crate::format::layout::{BLOCK_BYTES_MAX, FORMAT_VERSION};
use crate::format::{Closed, ClosedFault, Identity, IdentityFault};
use crate::segment::names::parse_name;
use seawall_disk::{Access, AlignedBuf, Disk, DiskFile, NameKind, read_exact_at, write_all_at};
use std::io;
use std::sync::Arc;

pub(crate) const LOCK: &str = "LOCK";
/// The file with measurements of the device. It may exist before the directory holds a log, and is not part of the log.
const HINT: &str = seawall_disk::PosixDisk::HINT;
pub(crate) const IDENTITY: &str = "IDENTITY";
pub(crate) const IDENTITY_NEW: &str = "IDENTITY.new";
/// The file of a clean close, which records where the log ended, and its name until it is durable.
const CLOSED: &str = "CLOSED";
const CLOSED_NEW: &str = "CLOSED.new";

/// The manifest of a checkpoint, which is a copy of a log and not a log.
const CHECKPOINT: &str = "CHECKPOINT";

/// The names found in the directory, sorted by their role.
#[derive(Debug, Default)]
pub(crate) struct DirectoryListing {
    /// Numbers of the segments, ascending.
    pub(crate) segments: Vec<u32>,
    /// Temporary names: segments that were being prepared, and a `CLOSED` file that was being written.
    pub(crate) unfinished: Vec<String>,
    /// Whether the identity file exists, and whether it exists under its temporary name.
    pub(crate) identity: bool,
    pub(crate) identity_new: bool,
    /// Whether the file of a clean close exists.
    pub(crate) closed: bool,
    /// Whether the directory has the manifest of a checkpoint.
    pub(crate) checkpoint: bool,
    /// Names that do not belong to the log; it leaves them alone.
    pub(crate) foreign: Vec<String>,
}

/// Describes a directory that has segments but no identity: the log has lost its identity file.
pub const SEGMENTS_WITHOUT_IDENTITY: &str = "segments without IDENTITY";

impl DirectoryListing {
    /// Describes the directory if it has no identity file; `None` if it has one.
    pub(crate) fn instead_of_log(&self) -> Option<&'static str> {
        match (self.identity, self.segments.is_empty(), self.identity_new) {
            (true, _, _) => None,
            (false, _, _) if self.checkpoint => Some("a checkpoint; restore it into another directory"),
            (false, _, true) => Some("a creation that was not finished"),
            (false, true, false) => Some("no IDENTITY"),
            (false, false, false) => Some(SEGMENTS_WITHOUT_IDENTITY),
        }
    }
}

/// Lists the directory. Fails if a name of the log belongs to something that is not a regular file.
pub(crate) fn list(disk: &dyn Disk) -> Result<DirectoryListing, Error> {
    let mut names = DirectoryListing::default();
    for (name, kind) in disk.list().map_err(|e| failed(disk, "list", "", e))? {
        names.checkpoint |= name == CHECKPOINT;
        let segment = parse_name(&name, "wal");
        let unfinished = parse_name(&name, "new").is_some() || name == CLOSED_NEW;
        let ours = segment.is_some()
            || unfinished
            || [LOCK, HINT, IDENTITY, IDENTITY_NEW, CLOSED].contains(&name.as_str());
        if ours && kind != NameKind::File {
            return Err(Error::NotAFile { path: disk.location(), file: name });
        }
        match (segment, name.as_str()) {
            (Some(sequence), _) => names.segments.push(sequence),
            (None, LOCK | HINT) => {}
            (None, IDENTITY) => names.identity = true,
            (None, IDENTITY_NEW) => names.identity_new = true,
            (None, CLOSED) => names.closed = true,
            (None, _) if unfinished => names.unfinished.push(name),
            (None, _) => names.foreign.push(name),
        }
    }
    names.segments.sort_unstable();
    names.unfinished.sort_unstable();
    names.foreign.sort_unstable();
    Ok(names)
}

/// Reads and checks the identity file.
pub(crate) fn read_identity(disk: &dyn Disk) -> Result<Identity, Error> {
    let io = |e| failed_to_open(disk, "read", IDENTITY, e);
    let file = disk.open(IDENTITY, Access::Read).map_err(io)?;
    let len = usize::try_from(file.len().map_err(io)?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len.min(BLOCK_BYTES_MAX as usize)];
    read_exact_at(&*file, &mut bytes, 0).map_err(io)?;
    let decoded = if bytes.len() == len { Identity::decode(&bytes) } else { Err(IdentityFault::Size) };
    decoded.map_err(|fault| match fault {
        IdentityFault::Version(found) => Error::UnsupportedVersion {
            path: disk.location(),
            file: IDENTITY.into(),
            found,
            supported: FORMAT_VERSION,
        },
        IdentityFault::Features(bits) => {
            Error::UnsupportedFeatures { path: disk.location(), file: IDENTITY.into(), bits }
        }
        fault => Error::Identity { path: disk.location(), fault },
    })
}

/// Fails if the disk cannot write a block of the log without touching its neighbours (INV-4).
pub(crate) fn check_blocks(disk: &dyn Disk, identity: &Identity) -> Result<(), Error> {
    let (log, least) = (identity.block_bytes, disk.block_size());
    if log < least {
        return Err(Error::BlockSize { path: disk.location(), log, disk: least });
    }
    Ok(())
}

/// Reads the file of a clean close of the log `uuid`, if there is one. An unreadable or invalid file is no error.
pub(crate) fn read_closed(disk: &dyn Disk, names: &DirectoryListing, uuid: &[u8; 16]) -> Witness {
    if !names.closed {
        return Witness::Absent;
    }
    let read = || {
        let file = disk.open(CLOSED, Access::Read)?;
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        // One byte more than the maximum, so that a longer file is detected.
        let mut bytes = vec![0; len.min(BLOCK_BYTES_MAX as usize + 1)];
        read_exact_at(&*file, &mut bytes, 0)?;
        io::Result::Ok(bytes)
    };
    match read().map_err(|_| ClosedFault::Unreadable).and_then(|bytes| Closed::decode(&bytes)) {
        Ok(closed) if closed.uuid == *uuid => Witness::End(closed.end),
        Ok(_) => Witness::Damaged(ClosedFault::Foreign),
        Err(fault) => Witness::Damaged(fault),
    }
}

/// Records durably where the log ended. The previous record stays in place until the new one is durable.
pub(crate) fn write_closed(disk: &dyn Disk, closed: &Closed, block_bytes: u32) -> io::Result<()> {
    let file: Arc<dyn DiskFile> = disk.open(CLOSED_NEW, Access::Create)?;
    let mut block = AlignedBuf::new();
    block.extend(&closed.encode());
    block.resize(block.len().max(block_bytes as usize));
    write_all_at(&*file, &block, 0, false)?;
    file.sync()?;
    disk.rename(CLOSED_NEW, CLOSED)?;
    disk.sync()
}

/// Writes the identity under its temporary name and makes its content durable.
pub(crate) fn write_identity(disk: &dyn Disk, identity: &Identity) -> Result<(), Error> {
    let io = |e| failed_to_open(disk, "write", IDENTITY_NEW, e);
    let file: Arc<dyn DiskFile> = disk.open(IDENTITY_NEW, Access::Create).map_err(io)?;
    let mut block = AlignedBuf::new();
    block.extend(&identity.encode());
    block.resize(block.len().max(identity.block_bytes as usize));
    write_all_at(&*file, &block, 0, false).map_err(io)?;
    file.sync().map_err(io)
}

/// As [`failed`], for a call that opens `file`: no descriptor left is [`Error::NoDescriptors`].
pub(crate) fn failed_to_open(disk: &dyn Disk, action: &'static str, file: &str, e: io::Error) -> Error {
    Error::open(action, disk.location(), file, e)
}

/// An [`Error::Io`] about `file` of this directory.
pub(crate) fn failed(disk: &dyn Disk, action: &'static str, file: &str, e: io::Error) -> Error {
    Error::io(action, disk.location(), file, e)
}
