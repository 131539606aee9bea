//! Describes the machine, the medium and the program that the figures were measured with.
//!
//! Figures without this description mean nothing. Everything is read from `/proc` and `/sys`; a value that cannot be
//! read is absent from the report.

use anyhow::{Context, Result};
use rustix::fs::{major, minor, stat};
use seawall_wal::disk::{Disk, PosixDisk};
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::SystemTime;

/// The machine, the medium and the tool.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Processors that this process may use.
    pub cores: usize,
    /// Memory of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Release of Linux.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Type of the file system, such as `ext4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_system: Option<String>,
    /// Source of the mount, such as a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Cache mode of the device as the kernel sees it: `write back` or `write through`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_cache: Option<String>,
    /// Whether the device supports writes that bypass its cache (FUA).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fua: Option<bool>,
    /// Unit of direct writes, in bytes.
    pub block_bytes: u32,
    /// Version of Seawall and its tools.
    pub version: &'static str,
    /// Commit of the source tree that the program was built from, read from Git when the program starts; `cargo run`
    /// builds the current tree first. Absent without Git, or if the tree no longer exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Whether tracked files of the tree differ from that commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
    /// Seed of the payload bytes.
    pub seed: u64,
    /// Start of the run, UTC.
    pub date: String,
}

impl Machine {
    /// Whether files there are in memory only.
    pub fn in_memory(&self) -> bool {
        matches!(self.file_system.as_deref(), Some("tmpfs" | "ramfs"))
    }

    /// The commit that was measured, as tables show it.
    pub fn source(&self) -> String {
        let Some(commit) = &self.commit else { return "commit unknown".to_owned() };
        let state = match self.dirty {
            Some(true) => ", with changes that are not committed",
            Some(false) => "",
            None => ", with or without changes",
        };
        format!("commit {commit}{state}")
    }
}

/// Describes the machine and the medium below `dir`.
pub fn describe(dir: &Path, seed: u64) -> Result<Machine> {
    let disk = PosixDisk::open(dir, None).with_context(|| format!("open {}", dir.display()))?;
    let device = stat(dir).with_context(|| format!("look at {}", dir.display()))?.st_dev;
    let device = format!("{}:{}", major(device), minor(device));
    let mount = fs::read_to_string("/proc/self/mountinfo").ok().and_then(|text| find_mount(&text, &device));
    let (file_system, source) = mount.unzip();
    Ok(Machine {
        cpu: field("/proc/cpuinfo", "model name"),
        cores: thread::available_parallelism().map_or(1, usize::from),
        memory_bytes: field("/proc/meminfo", "MemTotal").and_then(|text| kib(&text)),
        kernel: line("/proc/sys/kernel/osrelease"),
        file_system,
        device: source,
        write_cache: queue(&device, "write_cache"),
        fua: queue(&device, "fua").map(|text| text != "0"),
        block_bytes: disk.block_size(),
        version: env!("CARGO_PKG_VERSION"),
        commit: git(&["rev-parse", "HEAD"]).filter(|commit| !commit.is_empty()),
        dirty: git(&["status", "--porcelain", "--untracked-files=no"]).map(|changes| !changes.is_empty()),
        seed,
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
    })
}

/// Runs Git in the source tree and returns its output; `None` if it fails.
fn git(arguments: &[&str]) -> Option<String> {
    let tree = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("git").arg("-C").arg(tree).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|t| !t.is_empty())
}

/// Returns the value of the first line `name : value` of a file in `/proc`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

fn kib(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Reads a limit of the device's request queue. For a partition, its disk's queue is read.
fn queue(device: &str, name: &str) -> Option<String> {
    ["queue", "../queue"].iter().find_map(|queue| line(&format!("/sys/dev/block/{device}/{queue}/{name}")))
}

/// File system type and source of the mount of a device (`major:minor`).
fn find_mount(mountinfo: &str, device: &str) -> Option<(String, String)> {
    // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if before.split(' ').nth(2)? != device {
            return None;
        }
        let mut after = after.split(' ');
        Some((after.next()?.to_owned(), after.next()?.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_says_whether_it_was_changed() {
        let mut machine = describe(&std::env::temp_dir(), 1).unwrap();
        if let Some(commit) = &machine.commit {
            assert!(commit.len() >= 40 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{commit}");
            assert!(machine.dirty.is_some());
        }
        (machine.commit, machine.dirty) = (Some("c0ffee".to_owned()), Some(true));
        assert_eq!(machine.source(), "commit c0ffee, with changes that are not committed");
        machine.dirty = Some(false);
        assert_eq!(machine.source(), "commit c0ffee");
        let json = serde_json::to_value(&machine).unwrap();
        assert_eq!((&json["commit"], &json["dirty"]), (&"c0ffee".into(), &false.into()));
        machine.commit = None;
        assert_eq!(machine.source(), "commit unknown");
    }

    #[test]
    fn mounts_are_found_by_their_device() {
        let text =
            "22 1 0:21 / /proc rw shared:2 - proc proc rw\n36 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n";
        assert_eq!(find_mount(text, "254:0"), Some(("ext4".to_owned(), "/dev/vda".to_owned())));
        assert_eq!(find_mount(text, "54:0"), None);
    }

    #[test]
    fn sizes_of_memory_are_read() {
        assert_eq!(kib("16384 kB"), Some(16 << 20));
        assert_eq!(kib("16384"), None);
    }
}
