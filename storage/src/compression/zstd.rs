//! Wraps the zstd library and keeps its contexts between calls, because making a context costs more than compressing
//! a small payload.
//!
//! Memory for a decompressed payload is allocated only if the frame claims the same length.

use super::error::DecompressError;
use ::zstd::bulk::{Compressor, Decompressor};
use ::zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};
use parking_lot::Mutex;
use std::fmt;

pub(super) const BUILT: bool = true;

/// Contexts that are not in use: as many as there were ever callers at the same time.
#[derive(Default)]
pub(super) struct Contexts {
    compressors: Mutex<Vec<Compressor<'static>>>,
    decompressors: Mutex<Vec<Decompressor<'static>>>,
}

impl Contexts {
    /// Compresses `raw` into `out`; returns the number of bytes used, or `None` if `out` is too small.
    pub(super) fn compress(&self, level: usize, raw: &[u8], out: &mut [u8]) -> Option<usize> {
        let kept = self.compressors.lock().pop();
        let level = i32::try_from(level).ok()?;
        let mut context = kept.map_or_else(|| Compressor::new(level).ok(), Some)?;
        let packed = context.compress_to_buffer(raw, out).ok();
        self.compressors.lock().push(context);
        packed
    }

    /// Decompresses `frame`, which must be a single frame with `bytes` bytes of content.
    pub(super) fn decompress(&self, frame: &[u8], bytes: usize) -> Result<Vec<u8>, DecompressError> {
        let wrong = DecompressError::Frame { bytes };
        // Checked before anything is allocated: the frame claims the expected length, and nothing follows it.
        let content = get_frame_content_size(frame).ok().flatten();
        if content != Some(bytes as u64) || find_frame_compressed_size(frame) != Ok(frame.len()) {
            return Err(wrong);
        }
        let kept = self.decompressors.lock().pop();
        let mut context = kept.map_or_else(|| Decompressor::new().map_err(|_| wrong), Ok)?;
        let mut raw = Vec::with_capacity(bytes);
        let written = context.decompress_to_buffer(frame, &mut raw);
        self.decompressors.lock().push(context);
        if written.ok() == Some(bytes) { Ok(raw) } else { Err(wrong) }
    }
}

impl fmt::Debug for Contexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contexts").finish_non_exhaustive()
    }
}
