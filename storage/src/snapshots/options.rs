//! When a snapshot is due, and how much of the log stays behind it.
//! Place on the data's way: read once, when a group is joined with its catalog. How many files are kept, and whether
//! the log is released up to the second newest, are the catalog's options. Invariants: each limit states its reason.
//! Fails: with the option, its value and its range.

use super::error::Error;

/// Most entries that can be kept for slow followers: counting them holds the group's lock, for about 5 ms.
const CATCH_UP_MAX: u64 = 1 << 20;

/// How a group's snapshots are taken. `Default` is for state machines of some size on a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotOptions {
    /// Entries applied since the last snapshot, after which the next is due: 1 or more (10,000).
    pub entries: u64,
    /// Bytes applied since the last snapshot, after which the next is due: 1 or more (16 MiB). Whichever of the
    /// two comes first counts; `u64::MAX` is never.
    pub bytes: u64,
    /// Entries that stay in the log behind the newest snapshot, 0 to 2^20 (5000), so that a follower which is that far
    /// behind gets entries and no snapshot.
    pub catch_up_entries: u64,
    /// Bytes of payload, as they are stored, that these may have together (64 MiB): there are fewer if they have more.
    pub catch_up_bytes: u64,
    /// Whether a snapshot is taken by one of the engine's threads for snapshots (yes), or by the thread that asks for it, as
    /// a simulated disk wants it.
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

impl SnapshotOptions {
    pub(super) fn check(&self) -> Result<(), Error> {
        for (option, value, min, max) in [
            ("entries", self.entries, 1, u64::MAX),
            ("bytes", self.bytes, 1, u64::MAX),
            ("catch_up_entries", self.catch_up_entries, 0, CATCH_UP_MAX),
        ] {
            if !(min..=max).contains(&value) {
                return Err(Error::Option { option, value, min, max });
            }
        }
        Ok(())
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
            assert!(matches!(bad.check(), Err(Error::Option { option, .. }) if option == name), "{name}");
        }
    }
}
