//! Creates a new log. Order: write the identity under a temporary name, make the first segments and a mark, rename the
//! identity.
//!
//! A crash at any point leaves a directory in which the next `create` starts over: nothing can have been acknowledged
//! before `IDENTITY` has its name. A directory with that name but without segments has lost them. Creation fails if the
//! directory already holds a log or part of one.

use crate::error::Error;
use crate::format::layout::{BLOCK_BYTES_MAX, BLOCK_BYTES_MIN};
use crate::format::{Features, Identity, SegmentHeader, is_head};
use crate::segment::directory::{IDENTITY, IDENTITY_NEW, failed, failed_to_open, list, write_identity};
use crate::segment::names::file_name;
use crate::types::Lsn;
use seawall_disk::{Access, AlignedBuf, Disk, clock::Random, read_exact_medium};

/// Checks that the directory holds no log, removes the files of an unfinished creation, and writes the identity under
/// its temporary name. Returns the identity; the caller makes the segments and then calls [`finish`].
pub(crate) fn begin(disk: &dyn Disk, random: &dyn Random, wall_ms: u64) -> Result<Identity, Error> {
    let block_bytes = disk.block_size();
    if !block_bytes.is_power_of_two() || !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&block_bytes) {
        let e = std::io::Error::other(format!("the block size is {block_bytes}"));
        return Err(failed(disk, "examine", "", e));
    }
    let names = list(disk)?;
    let taken = |found: &str| Error::AlreadyALog { path: disk.location(), found: found.into() };
    if names.identity {
        return Err(taken(IDENTITY));
    }
    if let Some(&first) = names.segments.first() {
        // Segments without an identity are an unfinished creation only if the temporary identity exists and no record
        // was ever appended.
        if !names.identity_new {
            return Err(taken(&file_name(first)));
        }
        for &sequence in &names.segments {
            if has_groups(disk, sequence)? {
                return Err(taken(&file_name(sequence)));
            }
        }
    }
    let remove = |name: &str| disk.remove(name).map_err(|e| failed(disk, "remove", name, e));
    for &sequence in &names.segments {
        remove(&file_name(sequence))?;
    }
    names.unfinished.iter().try_for_each(|name| remove(name))?;
    let sync = || disk.sync().map_err(|e| failed(disk, "sync", "", e));
    if names.identity_new {
        // `IDENTITY.new` shows that the segments are of an unfinished creation, so it is removed after them.
        sync()?;
        remove(IDENTITY_NEW)?;
    }
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&random.next_u64().to_le_bytes());
    uuid[8..].copy_from_slice(&random.next_u64().to_le_bytes());
    let features = Features::default();
    let identity = Identity {
        uuid,
        block_bytes,
        features,
        read_only_compatible: 0,
        created_ms: wall_ms,
        provider: None,
    };
    write_identity(disk, &identity)?;
    sync()?;
    Ok(identity)
}

/// Renames the identity to its final name, durably: from now on the directory is a log.
pub(crate) fn finish(disk: &dyn Disk) -> Result<(), Error> {
    disk.rename(IDENTITY_NEW, IDENTITY).map_err(|e| failed(disk, "rename", IDENTITY_NEW, e))?;
    disk.sync().map_err(|e| failed(disk, "sync", "", e))
}

/// Whether a segment holds a group after the mark that an unfinished creation may have left.
fn has_groups(disk: &dyn Disk, sequence: u32) -> Result<bool, Error> {
    let name = file_name(sequence);
    let io = |e| failed_to_open(disk, "read", &name, e);
    let file = disk.open(&name, Access::Read).map_err(io)?;
    let block = disk.block_size();
    if file.len().map_err(io)? < u64::from(block) * 3 {
        return Ok(false);
    }
    let mut bytes = AlignedBuf::zeroed(block as usize * 3);
    let len = bytes.len();
    read_exact_medium(&*file, &mut bytes, 0, len).map_err(io)?;
    let (first, third) = bytes.split_at(block as usize * 2);
    Ok(SegmentHeader::decode(&first[..block as usize])
        .is_ok_and(|h| is_head(third, h.salt, Lsn::new(sequence, block * 2))))
}
