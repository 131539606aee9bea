//! Reads the write and flush counts of a block device from `/sys/dev/block/MAJOR:MINOR/stat`.
//!
//! Counts only grow while the device exists. The difference of two readings covers all users of the device. The kernel
//! counts flushes for whole disks only, so for a partition the counts of its disk are used. A file system that is not
//! on a single block device is an error, which states the reason.

use anyhow::{Context, Result, bail};
use rustix::fs::{major, minor, stat};
use std::fs;
use std::path::{Path, PathBuf};

/// Size of a sector in the kernel's counts, in bytes. It does not depend on the device.
const SECTOR_BYTES: u64 = 512;

/// Counts of one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Write requests completed. The kernel counts a flush without data as one of them.
    pub writes: u64,
    /// Bytes of the completed write requests.
    pub write_bytes: u64,
    /// Flushes completed; absent before Linux 5.5.
    pub flushes: Option<u64>,
}

impl Counts {
    /// Fields 5, 7 and 16 of a `stat` file.
    fn parse(text: &str) -> Option<Counts> {
        let fields: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
        Some(Counts {
            writes: *fields.get(4)?,
            write_bytes: fields.get(6)?.saturating_mul(SECTOR_BYTES),
            flushes: fields.get(15).copied(),
        })
    }

    /// Returns the counts added since `before`.
    pub fn since(&self, before: &Counts) -> Counts {
        let flushes = self.flushes.zip(before.flushes);
        Counts {
            writes: self.writes.saturating_sub(before.writes),
            write_bytes: self.write_bytes.saturating_sub(before.write_bytes),
            flushes: flushes.map(|(after, before)| after.saturating_sub(before)),
        }
    }
}

/// The block device below a directory.
#[derive(Debug)]
pub struct Device {
    /// Its name in the kernel, such as `vda1`.
    pub name: String,
    /// Whether it only passes requests on to other devices. The kernel does not count flushes for such a device.
    pub is_stacked: bool,
    counts: PathBuf,
    flushes: PathBuf,
}

impl Device {
    /// Finds the device of the file system that `dir` is on.
    pub fn below(dir: &Path) -> Result<Device> {
        let device = stat(dir).with_context(|| format!("look at {}", dir.display()))?.st_dev;
        let (major, minor) = (major(device), minor(device));
        let sys = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let Ok(real) = fs::canonicalize(&sys) else {
            bail!(
                "the file system of {} has no block device of its own ({major}:{minor} is not in \
                 /sys/dev/block): nothing counts its writes; choose another --dir",
                dir.display()
            )
        };
        let counts = real.join("stat");
        let disk = if real.join("partition").exists() { real.parent().unwrap_or(&real) } else { &real };
        Ok(Device {
            name: real.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned()),
            is_stacked: fs::read_dir(real.join("slaves")).is_ok_and(|mut slaves| slaves.next().is_some()),
            flushes: disk.join("stat"),
            counts,
        })
    }

    /// Reads its current counts.
    pub fn read(&self) -> Result<Counts> {
        let read = |path: &Path| {
            let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
            Counts::parse(&text).with_context(|| format!("{} has no counts of writes", path.display()))
        };
        let counts = read(&self.counts)?;
        Ok(Counts { flushes: read(&self.flushes)?.flushes, ..counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_by_their_fields() {
        let new = "  1  2  3  4  50  6  8  9  10  11  12  13  14  15  16  170  18\n";
        assert_eq!(Counts::parse(new), Some(Counts { writes: 50, write_bytes: 4096, flushes: Some(170) }));
        let old = "1 2 3 4 50 6 8 9 10 11 12 13 14 15 16";
        assert_eq!(Counts::parse(old), Some(Counts { writes: 50, write_bytes: 4096, flushes: None }));
        assert_eq!(Counts::parse("1 2 3"), None);
        assert_eq!(Counts::parse(""), None);
    }

    #[test]
    fn differences_are_taken_of_each_count() {
        let before = Counts { writes: 1, write_bytes: 512, flushes: Some(3) };
        let after = Counts { writes: 5, write_bytes: 1024, flushes: Some(4) };
        assert_eq!(after.since(&before), Counts { writes: 4, write_bytes: 512, flushes: Some(1) });
        assert_eq!(after.since(&Counts { flushes: None, ..before }).flushes, None);
    }

    #[test]
    fn a_file_system_without_a_device_is_refused() {
        let message = Device::below(Path::new("/proc")).unwrap_err().to_string();
        assert!(message.contains("no block device"), "{message}");
    }
}
