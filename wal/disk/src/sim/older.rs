//! Pages in the cache of a simulated file that are older than the medium.

use super::fault::{SECTOR, sectors};
use std::collections::BTreeMap;
use std::ops::Range;

/// Sectors that reads through the cache see in the place of the file's own, by offset.
#[derive(Clone, Debug, Default)]
pub(super) struct OlderPages(BTreeMap<usize, [u8; SECTOR]>);

impl OlderPages {
    /// Caches `bytes`, which start at `offset`; only the whole sectors among them.
    pub(super) fn add(&mut self, offset: usize, bytes: &[u8]) {
        let skipped = offset.next_multiple_of(SECTOR) - offset;
        let (whole, _) = bytes.get(skipped..).unwrap_or_default().as_chunks();
        self.0.extend((offset + skipped..).step_by(SECTOR).zip(whole.iter().copied()));
    }

    /// Drops all of them.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Drops those in `range`, which was written through the cache or past it.
    pub(super) fn forget(&mut self, range: Range<usize>) {
        if !self.0.is_empty() {
            self.0.retain(|at, _| !range.contains(at));
        }
    }

    /// Replaces the bytes in `buf`, which were read from `offset`, by the cached ones.
    pub(super) fn cover(&self, offset: usize, buf: &mut [u8]) {
        let end = offset + buf.len();
        for (&at, sector) in self.0.range(sectors(offset, end)) {
            let (from, to) = (at.max(offset), (at + SECTOR).min(end));
            buf[from - offset..to - offset].copy_from_slice(&sector[from - at..to - at]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SimDisk, SimOptions};
    use super::SECTOR;
    use crate::buffer::AlignedBuf;
    use crate::interface::{Access, Disk, DiskFile, Mode};
    use std::sync::Arc;

    fn disk(mode: Mode, past_cache: bool) -> (Arc<SimDisk>, Arc<dyn DiskFile>) {
        let disk = SimDisk::new(1, SimOptions { mode, past_cache, ..SimOptions::default() });
        disk.write_file("a", &[1; 8192]);
        let file = disk.open("a", Access::Write).expect("open");
        (disk, file)
    }

    /// The byte at `at` as a read through the cache returns it, and as a read past the cache does.
    fn seen(file: &dyn DiskFile, at: usize) -> (u8, u8) {
        let (mut byte, mut all) = ([0], AlignedBuf::zeroed(8192));
        file.read_at(&mut byte, at as u64).expect("read");
        file.read_medium(&mut all, 0, 8192).expect("read");
        (byte[0], all[at])
    }

    #[test]
    fn older_pages_are_seen_until_they_are_dropped_or_written() {
        for mode in [Mode::Direct, Mode::Buffered] {
            let (disk, file) = disk(mode, true);
            disk.cache_older("a", 10, &[7; 5000]);
            // Only whole sectors are cached.
            for (at, cached) in [(SECTOR - 1, 1), (SECTOR, 7), (9 * SECTOR - 1, 7), (9 * SECTOR, 1)] {
                assert_eq!(seen(&*file, at), (cached, 1), "{at}");
            }
            let mut across = [0; 4];
            file.read_at(&mut across, SECTOR as u64 - 2).expect("read");
            assert_eq!(across, [1, 1, 7, 7]);
            file.write_at(&AlignedBuf::zeroed(4096), 0, true).expect("write");
            assert_eq!((seen(&*file, SECTOR), seen(&*file, 4096)), ((0, 0), (7, 1)));
            disk.kill();
            let file = disk.open("a", Access::Write).expect("open");
            assert_eq!(seen(&*file, 4096), (7, 1));
            // The advice is heeded before the next read.
            file.distrust_cache();
            assert_eq!(seen(&*file, 4096), (1, 1));
            disk.cache_older("a", 4096, &[7; 4096]);
            file.drop_cached(4096, 4096);
            assert_eq!(seen(&*file, 4096), (1, 1));
            disk.cache_older("a", 4096, &[7; 4096]);
            disk.crash();
            assert_eq!(disk.read_file("a")[4096], 1);
        }
    }

    #[test]
    fn without_reads_past_the_cache_the_medium_is_not_seen() {
        let (disk, file) = disk(Mode::Buffered, false);
        disk.cache_older("a", 4096, &[7; 4096]);
        assert_eq!(seen(&*file, 4096), (7, 7));
        file.distrust_cache();
        assert_eq!(seen(&*file, 4096), (1, 1));
    }

    #[test]
    fn reads_past_the_cache_show_what_a_failed_sync_lost() {
        use super::super::{FaultError, FaultOp, FaultRule};
        let (disk, file) = disk(Mode::Buffered, true);
        file.write_at(&[2; 8192], 0, false).expect("write");
        assert_eq!(seen(&*file, 0), (2, 2), "dirty pages are written out first");
        disk.fail(FaultRule::once(FaultOp::Sync, 1, FaultError::Io));
        file.sync().expect_err("fails");
        let lost =
            |file: &dyn DiskFile| (0..8192).filter(|at| seen(file, *at).0 != seen(file, *at).1).count();
        let count = lost(&*file);
        assert!(count > 0 && count < 8192, "{count}");
        file.drop_cache();
        assert_eq!(lost(&*file), 0);
    }

    /// A page that is written takes its neighbours along, lost ones included.
    #[test]
    fn pages_of_one_unit_are_written_together() {
        use super::super::{FaultError, FaultOp, FaultRule};
        for (page_bytes, both) in [(0, false), (8192, true)] {
            let options =
                SimOptions { mode: Mode::Buffered, past_cache: true, page_bytes, ..SimOptions::default() };
            let disk = SimDisk::new(3, options);
            disk.write_file("a", &[1; 8192]);
            let file = disk.open("a", Access::Write).expect("open");
            file.write_at(&[2; 4096], 4096, false).expect("write");
            disk.fail(FaultRule::once(FaultOp::Sync, 1, FaultError::Io));
            file.sync().expect_err("fails");
            file.write_at(&[3; 4096], 0, false).expect("write");
            file.sync().expect("syncs");
            disk.crash();
            assert_eq!(disk.read_file("a")[4096..] == [2; 4096], both, "pages of {page_bytes} bytes");
        }
    }
}
