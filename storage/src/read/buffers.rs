//! Buffers for payloads that are read from files, used again once no entry refers to them.
//!
//! Memory that was used before costs neither zeroing nor page faults.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Size of the buffers that are kept, in bytes: payloads are checked while they are in the processor's cache.
pub(super) const BUFFER_BYTES: usize = 128 << 10;

/// Largest number of buffers kept.
const KEPT_MAX: usize = 32;

/// The buffers that are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer for one read.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    /// Where it is kept once it is no longer used.
    home: Option<Buffers>,
}

impl Buffers {
    /// A buffer of `len` bytes with any contents. Only lengths near [`BUFFER_BYTES`] use kept buffers: entries keep the
    /// whole buffer in memory.
    pub(super) fn take(&self, len: usize) -> Buffer {
        if !(BUFFER_BYTES / 2..=BUFFER_BYTES).contains(&len) {
            return Buffer { bytes: vec![0; len], len, home: None };
        }
        let kept = self.0.lock().pop();
        let bytes = kept.unwrap_or_else(|| vec![0; BUFFER_BYTES]);
        Buffer { bytes, len, home: Some(self.clone()) }
    }
}

impl Buffer {
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }

    /// The bytes, to be shared by entries.
    pub(super) fn freeze(mut self) -> Bytes {
        match self.home {
            Some(_) => Bytes::from_owner(self),
            None => Bytes::from(std::mem::take(&mut self.bytes)),
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = &self.home else { return };
        let mut kept = home.0.lock();
        if kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_nothing_refers_to_it() {
        let buffers = Buffers::default();
        let filled = |byte: u8, len: usize| {
            let mut buffer = buffers.take(len);
            buffer.as_mut().fill(byte);
            buffer.freeze()
        };
        let first = filled(1, BUFFER_BYTES);
        let part = first.slice(10..20);
        let second = filled(2, BUFFER_BYTES - 1);
        assert_eq!((first.len(), second.len()), (BUFFER_BYTES, BUFFER_BYTES - 1));
        drop(first);
        assert!(buffers.0.lock().is_empty());
        assert_eq!(part, [1; 10][..]);
        drop(part);
        assert_eq!(buffers.0.lock().len(), 1);
        let third = filled(3, BUFFER_BYTES / 2);
        assert!(buffers.0.lock().is_empty());
        assert_eq!((second.first(), third.len()), (Some(&2), BUFFER_BYTES / 2));
        drop((second, third));
        assert_eq!(buffers.0.lock().len(), 2);
    }

    #[test]
    fn few_buffers_of_one_size_are_kept() {
        let buffers = Buffers::default();
        for len in [0, 1, BUFFER_BYTES / 2 - 1, BUFFER_BYTES + 1] {
            assert_eq!(buffers.take(len).freeze().len(), len);
        }
        assert!(buffers.0.lock().is_empty());
        let many: Vec<Bytes> = (0..2 * KEPT_MAX).map(|_| buffers.take(BUFFER_BYTES).freeze()).collect();
        drop(many);
        assert_eq!(buffers.0.lock().len(), KEPT_MAX);
        assert!(buffers.0.lock().iter().all(|buffer| buffer.len() == BUFFER_BYTES));
    }
}
