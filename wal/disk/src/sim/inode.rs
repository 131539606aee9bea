//! The content of one simulated file: the bytes on the device, the bytes that readers see, and the volatile writes.
//!
//! The disk's one mutex protects it. Invariants: a sector without a volatile write reads as on the device, unless a
//! failed sync lost it; a sector with volatile writes reads as the latest of them; `durable.len` never exceeds what
//! was made durable.

use super::clock::Rng;
use super::fault::{SECTOR, Survival, sectors};
use super::older::OlderPages;
use std::borrow::Cow;
use std::ops::Range;

/// One view of the file's bytes.
#[derive(Clone, Debug)]
struct Image {
    /// A whole number of sectors; zeros beyond `len`.
    bytes: Vec<u8>,
    len: usize,
    /// For each block, whether it is written, or merely allocated.
    written: Vec<bool>,
    block: usize,
}

impl Image {
    fn new(block: usize) -> Image {
        Image { bytes: Vec::new(), len: 0, written: Vec::new(), block }
    }

    /// Makes room for whole sectors up to `end`, without changing the length.
    fn reach(&mut self, end: usize) {
        if end > self.bytes.len() {
            self.bytes.resize(end.next_multiple_of(SECTOR), 0);
            self.written.resize(end.div_ceil(self.block), false);
        }
    }

    fn put(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        self.reach(end);
        self.bytes[offset..end].copy_from_slice(data);
        self.written[offset / self.block..end.div_ceil(self.block)].fill(true);
    }

    /// Cuts to `len` bytes or extends with unwritten zeros.
    fn set_len(&mut self, len: usize) {
        self.len = len;
        self.bytes.resize(len.next_multiple_of(SECTOR), 0);
        self.bytes[len..].fill(0);
        self.written.resize(len.div_ceil(self.block), false);
    }

    /// Overwrites the image with the bytes of `other`, reusing the allocation.
    fn become_copy(&mut self, other: &Image) {
        self.bytes.clone_from(&other.bytes);
        self.written.clone_from(&other.written);
        self.len = other.len;
    }
}

/// A completed write that no sync has covered: whole sectors, as the cache held them after the write.
#[derive(Clone, Debug)]
struct Volatile {
    seq: u64,
    offset: usize,
    bytes: Vec<u8>,
}

impl Volatile {
    fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.bytes.len()
    }

    fn part(&self, range: Range<usize>) -> Option<Volatile> {
        let bytes = self.bytes.get(range.start - self.offset..range.end - self.offset)?.to_vec();
        (!bytes.is_empty()).then_some(Volatile { seq: self.seq, offset: range.start, bytes })
    }
}

/// One file, whatever its names.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    visible: Image,
    durable: Image,
    /// In write order.
    volatile: Vec<Volatile>,
    /// The lengths that the file has had since its last sync.
    lengths: Vec<usize>,
    /// Bytes of the file system that it occupies.
    pub(super) reserved: usize,
    /// Number of open handles of the living process.
    pub(super) opens: u32,
    /// Whether a failed sync left readers seeing bytes that the device lacks.
    lost: bool,
    /// Cached pages that are older than all of these.
    pub(super) older: OlderPages,
}

impl Inode {
    pub(super) fn new(block: usize) -> Inode {
        Inode {
            visible: Image::new(block),
            durable: Image::new(block),
            volatile: Vec::new(),
            lengths: Vec::new(),
            reserved: 0,
            opens: 0,
            lost: false,
            older: OlderPages::default(),
        }
    }

    /// A file whose `bytes` are all written and durable.
    pub(super) fn durable(block: usize, bytes: &[u8]) -> Inode {
        let mut inode = Inode::new(block);
        inode.write(0, 0, bytes);
        inode.sync();
        inode.reserve_len();
        inode
    }

    /// Length as the living process sees it.
    pub(super) fn len(&self) -> usize {
        self.visible.len
    }

    /// The bytes as a read past the cache shows them, which writes dirty pages out first.
    pub(super) fn medium(&self) -> Cow<'_, [u8]> {
        if !self.lost {
            return Cow::Borrowed(self.bytes());
        }
        let mut reread = self.clone();
        reread.drop_clean();
        Cow::Owned(reread.bytes().to_vec())
    }

    /// The bytes as the living process sees them, without older pages.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.visible.bytes[..self.visible.len]
    }

    /// Sequence numbers of the volatile writes.
    pub(super) fn pending(&self) -> impl Iterator<Item = u64> {
        self.volatile.iter().map(|write| write.seq)
    }

    /// End of the run of written blocks from `from`, at most the length.
    pub(super) fn written_end(&self, from: usize) -> usize {
        let len = self.visible.len;
        if from >= len {
            return len;
        }
        let block = self.visible.block;
        let first = from / block;
        let run = self.visible.written[first..].iter().take_while(|&&written| written).count();
        if run == 0 { from } else { ((first + run) * block).min(len) }
    }

    /// Bytes of the blocks between `start` and `end` that are written already.
    pub(super) fn written_bytes(&self, start: usize, end: usize) -> usize {
        let block = self.visible.block;
        let blocks = self.visible.written.iter().take(end.div_ceil(block)).skip(start / block);
        blocks.filter(|&&written| written).count() * block
    }

    /// Extends the file to `len` bytes with unwritten blocks; never shrinks it.
    pub(super) fn extend(&mut self, len: usize) {
        if len > self.visible.len {
            self.visible.set_len(len);
            self.lengths.push(len);
        }
    }

    /// Writes `data`, which stays volatile.
    pub(super) fn write(&mut self, seq: u64, offset: usize, data: &[u8]) {
        self.write_pages(seq, offset, data, SECTOR);
    }

    /// As [`Inode::write`], through a cache with pages of `page` bytes, which are written out whole.
    pub(super) fn write_pages(&mut self, seq: u64, offset: usize, data: &[u8], page: usize) {
        if data.is_empty() {
            return;
        }
        let range = self.write_visible(offset, data);
        let (start, end) = (range.start / page * page, range.end.next_multiple_of(page));
        let bytes = self.visible.bytes[start..end.min(self.visible.bytes.len())].to_vec();
        self.volatile.push(Volatile { seq, offset: start, bytes });
    }

    /// Writes `data` to the medium, with the length needed to read it, but nothing else.
    pub(super) fn write_durable(&mut self, offset: usize, data: &[u8]) {
        let range = self.write_visible(offset, data);
        self.durable.put(range.start, &self.visible.bytes[range.clone()]);
        self.durable.len = self.durable.len.max(offset + data.len());
        self.lengths.retain(|&len| len > self.durable.len);
        self.forget(range);
    }

    /// Makes all content and the length durable.
    pub(super) fn sync(&mut self) {
        for write in self.volatile.drain(..) {
            self.durable.put(write.offset, &self.visible.bytes[write.range()]);
        }
        if let Some(len) = self.lengths.pop() {
            self.durable.set_len(len.max(self.durable.len));
        }
        self.lengths.clear();
    }

    /// A failed sync: some pages of `page` bytes reached the device, the others never will, and all count as clean.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng, page: usize) {
        for write in self.volatile.drain(..) {
            for at in write.range().step_by(page) {
                if rng.coin() {
                    let end = (at + page).min(write.range().end);
                    self.durable.put(at, &self.visible.bytes[at..end]);
                } else {
                    self.lost = true;
                }
            }
        }
        if rng.coin()
            && let Some(len) = self.lengths.pop()
        {
            self.durable.set_len(len.max(self.durable.len));
        }
        self.lost |= self.durable.len != self.visible.len;
        self.lengths.clear();
    }

    /// Rereads clean sectors from the device.
    pub(super) fn drop_clean(&mut self) {
        self.older.clear();
        if !self.lost {
            return;
        }
        let (len, written) = (self.visible.len, std::mem::take(&mut self.visible.written));
        self.visible.become_copy(&self.durable);
        self.visible.set_len(len);
        // The length and the extents belong to the inode, not to the cache: if lost, they stay visible until the
        // crash.
        self.visible.written = written;
        for write in &self.volatile {
            self.visible.put(write.offset, &write.bytes);
        }
        self.lost = self.durable.len != self.visible.len || self.durable.written != self.visible.written;
    }

    /// Power loss: the device keeps the volatile writes that `survival` selects, and readers see the device.
    pub(super) fn crash(&mut self, survival: Survival, rng: &mut Rng) {
        self.older.clear();
        if self.volatile.is_empty() && self.lengths.is_empty() && !self.lost {
            return;
        }
        for write in self.volatile.drain(..) {
            for (i, sector) in write.bytes.chunks_exact(SECTOR).enumerate() {
                if survival.keeps(rng, write.seq) {
                    self.durable.put(write.offset + i * SECTOR, sector);
                }
            }
        }
        // The length is metadata: the journal commits it independently of the order of the data.
        let len = match survival {
            Survival::All => self.lengths.last(),
            Survival::None => None,
            _ if rng.coin() => None,
            _ => self.lengths.get(rng.below(self.lengths.len())),
        };
        let len = len.copied().unwrap_or(0).max(self.durable.len);
        self.durable.set_len(len);
        self.lengths.clear();
        self.lost = false;
        self.visible.become_copy(&self.durable);
        self.reserve_len();
    }

    /// Bit rot: changes the bytes on the device without any process knowing. Volatile sectors still hide it.
    pub(super) fn edit(&mut self, offset: usize, f: impl FnOnce(&mut [u8])) {
        let len = self.durable.len;
        let before = self.durable.bytes.clone();
        self.durable.reach(len);
        f(&mut self.durable.bytes[offset.min(len)..len]);
        for at in (0..len).step_by(SECTOR) {
            let sector = at..at + SECTOR;
            let hidden = self.volatile.iter().any(|write| write.range().contains(&at));
            if !hidden && before.get(sector.clone()) != Some(&self.durable.bytes[sector.clone()]) {
                self.visible.put(at, &self.durable.bytes[sector]);
                self.durable.written[at / self.durable.block] = true;
            }
        }
    }

    /// Cuts or extends both views durably.
    pub(super) fn truncate(&mut self, len: usize) {
        let tail = sectors(len, len);
        self.forget(tail.start..usize::MAX);
        self.lengths.clear();
        self.visible.set_len(len);
        self.durable.set_len(len);
        self.durable.bytes[tail.clone()].copy_from_slice(&self.visible.bytes[tail]);
        self.durable.written.clone_from(&self.visible.written);
        self.reserve_len();
    }

    fn reserve_len(&mut self) {
        self.reserved = self.visible.len.next_multiple_of(self.visible.block);
    }

    fn write_visible(&mut self, offset: usize, data: &[u8]) -> Range<usize> {
        let end = offset + data.len();
        self.extend(end);
        self.visible.put(offset, data);
        self.older.forget(sectors(offset, end));
        sectors(offset, end)
    }

    /// Removes `range` from the volatile writes: the device has newer bytes there.
    fn forget(&mut self, range: Range<usize>) {
        let overlaps = |write: &Volatile| write.range().start < range.end && range.start < write.range().end;
        if !self.volatile.iter().any(overlaps) {
            return;
        }
        for write in std::mem::take(&mut self.volatile) {
            if !overlaps(&write) {
                self.volatile.push(write);
                continue;
            }
            let whole = write.range();
            if whole.start < range.start {
                self.volatile.extend(write.part(whole.start..range.start));
            }
            if range.end < whole.end {
                self.volatile.extend(write.part(range.end..whole.end));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 4096;

    fn crashed(inode: &Inode, survival: Survival) -> Inode {
        let mut copy = inode.clone();
        copy.crash(survival, &mut Rng::new(1));
        copy
    }

    #[test]
    fn a_later_durable_write_is_not_undone_by_an_earlier_volatile_one() {
        let mut inode = Inode::new(BLOCK);
        inode.write(1, 0, &[1; 3 * SECTOR]);
        inode.write_durable(SECTOR, &[2; SECTOR]);
        let after = crashed(&inode, Survival::All);
        assert_eq!((after.bytes()[0], after.bytes()[SECTOR], after.bytes()[2 * SECTOR]), (1, 2, 1));
        let after = crashed(&inode, Survival::None);
        assert_eq!((after.len(), after.bytes()[0], after.bytes()[SECTOR]), (2 * SECTOR, 0, 2));
    }

    #[test]
    fn a_later_volatile_write_comes_after_an_earlier_one() {
        let mut inode = Inode::new(BLOCK);
        inode.write(1, 0, &[1; SECTOR]);
        inode.write(2, 0, &[2; SECTOR]);
        assert_eq!(crashed(&inode, Survival::All).bytes()[0], 2);
        let seen: Vec<u8> = (0..40)
            .map(|seed| {
                let mut copy = inode.clone();
                copy.sync();
                copy.write(3, 0, &[3; SECTOR]);
                copy.write(4, 0, &[4; SECTOR]);
                copy.crash(Survival::Subset(128), &mut Rng::new(seed));
                copy.bytes()[0]
            })
            .collect();
        assert!([2, 3, 4].iter().all(|byte| seen.contains(byte)), "{seen:?}");
    }

    #[test]
    fn partial_sectors_keep_their_neighbours() {
        let mut inode = Inode::durable(BLOCK, &[7; 700]);
        inode.write_durable(100, &[8; 10]);
        inode.write(1, 690, &[9; 20]);
        let after = crashed(&inode, Survival::All);
        assert_eq!(after.len(), 710);
        assert_eq!((after.bytes()[99], after.bytes()[100], after.bytes()[110]), (7, 8, 7));
        assert_eq!((after.bytes()[689], after.bytes()[690], after.bytes()[709]), (7, 9, 9));
        assert_eq!(crashed(&inode, Survival::None).bytes()[690..], [7; 10]);
    }

    #[test]
    fn written_end_counts_written_blocks_only() {
        let mut inode = Inode::new(BLOCK);
        inode.extend(5 * BLOCK);
        assert_eq!(inode.written_end(0), 0);
        inode.write_durable(0, &[1; 2 * BLOCK]);
        inode.write_durable(3 * BLOCK, &[1; BLOCK]);
        assert_eq!(inode.written_end(0), 2 * BLOCK);
        assert_eq!(inode.written_end(100), 2 * BLOCK);
        assert_eq!(inode.written_end(2 * BLOCK), 2 * BLOCK);
        assert_eq!(inode.written_end(3 * BLOCK), 4 * BLOCK);
        assert_eq!(inode.written_end(9 * BLOCK), 5 * BLOCK);
        inode.sync();
        let after = crashed(&inode, Survival::None);
        assert_eq!((after.len(), after.written_end(0)), (5 * BLOCK, 2 * BLOCK));
    }

    #[test]
    fn a_failed_sync_loses_sectors_for_good_but_not_from_view() {
        let mut inode = Inode::durable(BLOCK, &[1; BLOCK]);
        inode.write(1, 0, &[2; BLOCK]);
        inode.fail_sync(&mut Rng::new(5), SECTOR);
        inode.sync();
        assert_eq!(inode.bytes(), [2; BLOCK]);
        let after = crashed(&inode, Survival::All);
        assert!(after.bytes().contains(&1) && after.bytes().contains(&2));
        inode.drop_clean();
        assert_eq!(inode.bytes(), after.bytes());
        inode.write(2, 0, &[3; BLOCK]);
        inode.sync();
        assert_eq!(crashed(&inode, Survival::None).bytes(), [3; BLOCK]);
    }

    #[test]
    fn rot_is_hidden_by_volatile_sectors_until_they_are_lost() {
        let mut inode = Inode::durable(BLOCK, &[1; BLOCK]);
        inode.write(1, 0, &[2; SECTOR]);
        inode.edit(0, |bytes| bytes.fill(9));
        assert_eq!((inode.bytes()[0], inode.bytes()[SECTOR]), (2, 9));
        assert_eq!(crashed(&inode, Survival::None).bytes(), [9; BLOCK]);
    }

    #[test]
    fn a_lost_length_and_lost_extents_end_with_the_crash() {
        for seed in 0..20 {
            let mut inode = Inode::new(BLOCK);
            inode.extend(2 * BLOCK);
            inode.sync();
            inode.write(1, 0, &[1; 3 * BLOCK]);
            inode.fail_sync(&mut Rng::new(seed), SECTOR);
            inode.drop_clean();
            assert_eq!((inode.len(), inode.written_end(0)), (3 * BLOCK, 3 * BLOCK));
            let after = crashed(&inode, Survival::All);
            assert_eq!(after.len(), inode.durable.len);
            assert!(
                after.visible.bytes == after.durable.bytes && after.visible.written == after.durable.written
            );
        }
    }

    #[test]
    fn truncation_cuts_volatile_writes_too() {
        let mut inode = Inode::new(BLOCK);
        inode.write(1, 0, &[1; 4 * SECTOR]);
        inode.truncate(SECTOR);
        inode.extend(4 * SECTOR);
        let after = crashed(&inode, Survival::All);
        assert_eq!((after.bytes()[0], after.bytes()[SECTOR], after.len()), (1, 0, 4 * SECTOR));
    }
}
