//! Options that control when a snapshot is due and how much of the log stays after it.
//!
//! The catalog's options control how many files are kept, and whether the log is kept back to the second newest
//! snapshot.

use seawall_wal::disk::OutOfRange;

/// Maximum number of entries that can be kept for slow followers: counting them holds the group's lock for
/// about 5 ms.
const CATCH_UP_MAX: u64 = 1 << 20;

/// How a group's snapshots are taken. The defaults suit state machines of some size on a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
#[non_exhaustive]
pub struct SnapshotOptions {
    /// Entries applied since the last snapshot after which the next is due, at least 1 (default 10,000).
    pub entries: u64,
    /// Bytes applied since the last snapshot after which the next is due, at least 1 (default 16 MiB). The next
    /// is due when either limit is reached; `u64::MAX` disables a limit.
    pub bytes: u64,
    /// Entries before the newest snapshot that stay in the log, 0 to 2^20 (default 5000). A follower that is at
    /// most this far behind gets entries instead of a snapshot.
    pub catch_up_entries: u64,
    /// Maximum total size of the payloads of these entries, as stored, in bytes (default 64 MiB). If it is
    /// exceeded, fewer entries stay.
    pub catch_up_bytes: u64,
    /// Whether one of the engine's snapshot threads takes a snapshot (default true) or the calling thread does,
    /// as required with a simulated disk.
    pub background: bool,
}

impl Default for SnapshotOptions {
    fn default() -> SnapshotOptions {
        SnapshotOptions {
            entries: 10_000,
            bytes: 16 << 20,
            catch_up_entries: 5000,
            catch_up_bytes: 64 << 20,
            background: true,
        }
    }
}

seawall_wal::disk::setters!(SnapshotOptions {
    entries: u64 => with_entries,
    bytes: u64 => with_bytes,
    catch_up_entries: u64 => with_catch_up_entries,
    catch_up_bytes: u64 => with_catch_up_bytes,
    background: bool => with_background,
});

impl SnapshotOptions {
    pub(super) fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::check("entries", self.entries, 1, u64::MAX)?;
        OutOfRange::check("bytes", self.bytes, 1, u64::MAX)?;
        OutOfRange::check("catch_up_entries", self.catch_up_entries, 0, CATCH_UP_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_outside_of_their_limits_are_named() {
        let good = SnapshotOptions::default();
        assert!(good.check().is_ok());
        for (name, bad) in [
            ("entries", SnapshotOptions { entries: 0, ..good }),
            ("bytes", SnapshotOptions { bytes: 0, ..good }),
            ("catch_up_entries", SnapshotOptions { catch_up_entries: CATCH_UP_MAX + 1, ..good }),
        ] {
            assert!(matches!(bad.check(), Err(out) if out.option == name), "{name}");
        }
    }
}
