//! Finds the smallest unit in which files of a real directory can be written, from the limits of the device and of
//! direct I/O.

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, StatxFlags};
use std::os::fd::OwnedFd;

/// A limit of the device's request queue in bytes, from sysfs; 0 if it cannot be read.
pub(super) fn queue_limit(device: u64, name: &str) -> u32 {
    let (major, minor) = (fs::major(device), fs::minor(device));
    // A partition has no queue of its own; the whole disk is its parent.
    ["queue", "../queue"]
        .iter()
        .find_map(|q| std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/{q}/{name}")).ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Alignment that direct I/O on a file needs, according to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DirectIoUnits {
    /// Alignment of memory, in bytes; 0 if there is no direct I/O.
    pub(super) memory: u32,
    /// Alignment of offsets and lengths, in bytes; 0 if there is no direct I/O.
    pub(super) offset: u32,
}

/// The alignment for the files of `dir`, determined on an existing file, or else on an unnamed temporary file. `None`
/// if the kernel does not report it (before Linux 6.1, or on some file systems).
pub(super) fn direct_io(dir: &OwnedFd) -> Option<DirectIoUnits> {
    let entries = fs::Dir::read_from(dir).ok()?.filter_map(Result::ok);
    for entry in entries {
        if matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown) {
            let flags = StatxFlags::DIOALIGN | StatxFlags::TYPE;
            let found = fs::statx(dir, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW, flags).ok()?;
            if FileType::from_raw_mode(u32::from(found.stx_mode)) == FileType::RegularFile {
                return said(&found);
            }
        }
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = fs::openat(dir, ".", flags, Mode::RUSR | Mode::WUSR).ok()?;
    said(&fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?)
}

fn said(found: &fs::Statx) -> Option<DirectIoUnits> {
    let mask = StatxFlags::from_bits_retain(found.stx_mask);
    let answer = DirectIoUnits { memory: found.stx_dio_mem_align, offset: found.stx_dio_offset_align };
    mask.contains(StatxFlags::DIOALIGN).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_of_an_empty_directory_and_of_one_with_files() {
        let place = tempfile::tempdir().unwrap();
        let dir = std::fs::File::open(place.path()).unwrap().into();
        let empty = direct_io(&dir);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "left something behind");
        std::fs::create_dir(place.path().join("a directory")).unwrap();
        std::os::unix::fs::symlink("nowhere", place.path().join("a link")).unwrap();
        std::fs::write(place.path().join("file"), b"file").unwrap();
        assert_eq!(direct_io(&dir), empty);
        if let Some(said) = empty {
            assert_eq!(said.offset == 0, said.memory == 0, "{said:?}");
            assert!(said.offset == 0 || said.offset.is_power_of_two(), "{said:?}");
        }
    }
}
