//! Makes the subdirectory that a run works in, and removes it at the end.
//!
//! Refused are a path that is not a directory, a directory that holds a log, one that cannot be written, and too little
//! free space. The subdirectory is locked while it is in use. A later run removes subdirectories of killed runs, whose
//! locks are free.

use anyhow::{Context, Result, bail, ensure};
use seawall_wal::disk::{Disk, DiskLock, NameKind, PosixDisk};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const PREFIX: &str = "walbench-";
const LOCK: &str = "LOCK";
/// Files of the floor and of the bare group commit: two per strategy.
pub const MEDIUM_FILES: u64 = 4;
/// Segments that the log has at most at one time: one released, one sealed, one active, two prepared.
pub const LOG_SEGMENTS: u64 = 5;
/// Room for directories, indexes and the log's small files.
const MARGIN_BYTES: u64 = 16 << 20;

/// Where to make the subdirectory.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'a> {
    /// Name of the program, for locks and messages.
    pub tool: &'static str,
    /// The directory; created if missing.
    pub dir: &'a Path,
    /// Whether `dir` is the program's default directory, which is removed once it is empty.
    pub is_default: bool,
}

/// A locked, empty subdirectory. It is removed with its contents on drop.
#[derive(Debug)]
pub struct Place {
    scratch: PathBuf,
    /// The directory around it, if that is to be removed too once it is empty.
    made: Option<PathBuf>,
    tool: &'static str,
    _lock: Option<Box<dyn DiskLock>>,
}

impl Place {
    /// Makes the subdirectory. At least `needed` bytes must be free.
    pub fn prepare(spot: &Spot<'_>, needed: u64) -> Result<Place> {
        let (tool, dir) = (spot.tool, spot.dir);
        let made = match fs::metadata(dir) {
            Ok(meta) => {
                ensure!(meta.is_dir(), "{} is not a directory", dir.display());
                refuse_log(tool, dir)?;
                false
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(dir).with_context(|| format!("create the directory {}", dir.display()))?;
                true
            }
            Err(e) => return Err(e).with_context(|| format!("look at {}", dir.display())),
        };
        // A killed run left the default directory; it belongs to this program.
        let made = (made || spot.is_default).then(|| dir.to_owned());
        let mut place = Place { scratch: PathBuf::new(), made, tool, _lock: None };
        remove_leftovers(dir)?;

        let suffix = getrandom::u32().map_err(|e| anyhow::anyhow!("no random name from the system: {e}"))?;
        let scratch = dir.join(format!("{PREFIX}{suffix:08x}"));
        fs::create_dir(&scratch).with_context(|| format!("cannot write in {}", dir.display()))?;
        place.scratch = scratch;
        let disk = PosixDisk::open(&place.scratch, None).context("open the directory just made")?;
        let holder = format!("{tool}, process {}", std::process::id());
        match disk.lock(LOCK, &holder).context("lock the directory just made")? {
            Ok(lock) => place._lock = Some(lock),
            Err(other) => bail!("the directory just made is locked by {other}"),
        }
        let free = disk.free_bytes().with_context(|| format!("free space of {}", dir.display()))?;
        check_room(dir, needed, free)?;
        Ok(place)
    }

    /// The directory for all files of the run.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.scratch.as_os_str().is_empty()
            && let Err(e) = fs::remove_dir_all(&self.scratch)
        {
            eprintln!("{}: cannot remove {}: {e}", self.tool, self.scratch.display());
        }
        if let Some(made) = &self.made {
            // The directory is not empty if another run uses it or somebody put a file into it.
            let _ = fs::remove_dir(made);
        }
    }
}

fn refuse_log(tool: &str, dir: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    for entry in entries {
        let name = entry.with_context(|| format!("list {}", dir.display()))?.file_name();
        ensure!(
            name != "IDENTITY" && Path::new(&name).extension().is_none_or(|e| e != "wal"),
            "{} holds a log (it has `{}`); {tool} does not touch it: choose another --dir, \
             such as ./{tool}-data",
            dir.display(),
            name.to_string_lossy()
        );
    }
    Ok(())
}

/// Removes the subdirectories of runs that have ended.
fn remove_leftovers(dir: &Path) -> Result<()> {
    let listing = || format!("list {}", dir.display());
    let disk = PosixDisk::open(dir, None).with_context(listing)?;
    for (name, kind) in disk.list().with_context(listing)? {
        let path = dir.join(&name);
        let is_ours = kind == NameKind::Other
            && name.strip_prefix(PREFIX).is_some_and(|hex| u32::from_str_radix(hex, 16).is_ok())
            && path.join(LOCK).is_file();
        if is_ours
            && let Ok(disk) = PosixDisk::open(&path, None)
            && let Ok(Ok(_lock)) = disk.lock(LOCK, "removing")
        {
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Bytes that `files` files of `segment_bytes` bytes occupy, with a margin for small files and metadata.
pub fn space_needed(files: u64, segment_bytes: u32) -> u64 {
    files * u64::from(segment_bytes) + MARGIN_BYTES
}

fn check_room(dir: &Path, needed: u64, free: u64) -> Result<()> {
    const MIB: u64 = 1 << 20;
    ensure!(
        free >= needed,
        "not enough room in {}: {} MiB needed, {} MiB free; use a smaller --segment-bytes",
        dir.display(),
        needed.div_ceil(MIB),
        free / MIB
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_refused_with_both_sizes() {
        let needed = space_needed(MEDIUM_FILES + LOG_SEGMENTS, 64 << 20);
        check_room(Path::new("d"), needed, needed).unwrap();
        let message = check_room(Path::new("d"), needed, 100 << 20).unwrap_err().to_string();
        assert!(message.contains("592 MiB needed, 100 MiB free"), "{message}");
    }

    #[test]
    fn logs_are_refused_by_their_names() {
        for (name, refused) in
            [("IDENTITY", true), ("00000001.wal", true), ("wal", false), ("a.wal.txt", false)]
        {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), b"").unwrap();
            assert_eq!(refuse_log("test", dir.path()).is_err(), refused, "{name}");
        }
    }

    #[test]
    fn only_leftovers_that_nobody_holds_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join(LOCK), b"").unwrap();
            path
        };
        let (gone, held, foreign) = (make("walbench-0000000a"), make("walbench-0000000b"), make("other"));
        let disk = PosixDisk::open(&held, None).unwrap();
        let lock = disk.lock(LOCK, "test").unwrap().unwrap();
        remove_leftovers(dir.path()).unwrap();
        assert_eq!((gone.exists(), held.exists(), foreign.exists()), (false, true, true));
        drop(lock);
    }
}
