//! A byte buffer at an address that direct I/O accepts.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Alignment of every buffer and unit of its capacity, in bytes: the largest memory alignment that direct I/O needs.
pub(crate) const ALIGNMENT: usize = 4096;

/// The bytes of a buffer from one aligned address to the next.
#[derive(FromBytes, Immutable, IntoBytes)]
#[repr(C, align(4096))]
struct Unit([u8; ALIGNMENT]);

const _: () = assert!(size_of::<Unit>() == ALIGNMENT && align_of::<Unit>() == ALIGNMENT);

/// A growable byte buffer, aligned to 4096 bytes. Bytes between its length and its capacity are initialised.
///
/// Like `Vec`, it panics if its length would exceed `isize::MAX` bytes, rounded up to the alignment, and aborts if
/// the allocator fails.
#[derive(Default)]
pub struct AlignedBuf {
    units: Vec<Unit>,
    len: usize,
}

impl AlignedBuf {
    /// An empty buffer without an allocation.
    pub const fn new() -> AlignedBuf {
        AlignedBuf { units: Vec::new(), len: 0 }
    }

    /// A buffer of `len` zeros.
    pub fn zeroed(len: usize) -> AlignedBuf {
        let mut buf = AlignedBuf::new();
        buf.resize(len);
        buf
    }

    /// Number of bytes that it can hold without allocating.
    pub const fn capacity(&self) -> usize {
        self.units.len() * ALIGNMENT
    }

    /// Sets the length to 0 and keeps the allocation.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        let at = self.len;
        self.reserve(bytes.len());
        self.len = at + bytes.len();
        self[at..].copy_from_slice(bytes);
    }

    /// Makes the buffer `len` bytes long; bytes added are zero.
    pub fn resize(&mut self, len: usize) {
        let old = self.len;
        if len > old {
            self.reserve(len - old);
            self.len = len;
            self[old..].fill(0);
        } else {
            self.len = len;
        }
    }

    /// Sets the length without changing the bytes, which are those that the buffer last held (never uninitialised).
    /// For buffers that a read is about to fill.
    pub fn set_len_for_read(&mut self, len: usize) {
        self.reserve(len.saturating_sub(self.len));
        self.len = len;
    }

    fn reserve(&mut self, additional: usize) {
        let Some(needed) = self.len.checked_add(additional) else { capacity_overflow() };
        if needed <= self.capacity() {
            return;
        }
        let doubled = needed.max(self.capacity().saturating_mul(2));
        let Some(layout) = layout(doubled).or_else(|| layout(needed)) else { capacity_overflow() };
        // Pages of zeros cost nothing until they are touched.
        let Ok(mut units) = Unit::new_vec_zeroed(layout.size() / ALIGNMENT) else {
            handle_alloc_error(layout);
        };
        units.as_mut_bytes()[..self.len].copy_from_slice(self);
        self.units = units;
    }
}

/// The layout of `bytes` bytes, rounded up to whole units; `None` if no allocation can be that large.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.checked_next_multiple_of(ALIGNMENT)?, ALIGNMENT).ok()
}

#[cold]
fn capacity_overflow() -> ! {
    panic!("capacity overflow")
}

impl Clone for AlignedBuf {
    fn clone(&self) -> AlignedBuf {
        let mut copy = AlignedBuf::new();
        copy.extend(self);
        copy
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.units.as_bytes()[..self.len]
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.units.as_mut_bytes()[..self.len]
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf").field("len", &self.len).field("capacity", &self.capacity()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_no_memory_has_panic_as_those_of_a_vec_do() {
        type Grow = fn(&mut AlignedBuf, usize);
        let ways: [Grow; 3] =
            [AlignedBuf::set_len_for_read, AlignedBuf::resize, |buf, len| *buf = AlignedBuf::zeroed(len)];
        let most = usize::MAX / 2;
        for grow in ways {
            for len in [usize::MAX, usize::MAX - 100, usize::MAX - 4095, usize::MAX - 4096, most + 1, most] {
                for held in [0, 10] {
                    let mut buf = AlignedBuf::zeroed(held);
                    let caught =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| grow(&mut buf, len)));
                    let panic = caught.expect_err("grew");
                    assert_eq!(panic.downcast_ref::<&str>(), Some(&"capacity overflow"), "{len:#x}");
                    // Its contents did not change.
                    assert_eq!(buf[..], vec![0; held], "{len:#x}");
                }
            }
        }
    }

    #[test]
    fn grows_aligned_and_keeps_its_bytes() {
        let mut buf = AlignedBuf::new();
        for i in 0..40_000u32 {
            buf.extend(&i.to_le_bytes());
        }
        assert_eq!(buf.len(), 160_000);
        assert_eq!(buf.as_ptr().addr() % ALIGNMENT, 0);
        for (i, word) in buf.chunks_exact(4).enumerate() {
            assert_eq!(word, u32::try_from(i).unwrap().to_le_bytes());
        }
        buf.clear();
        buf.resize(5000);
        assert!(buf.iter().all(|&b| b == 0));
    }
}
