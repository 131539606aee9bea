//! Encodes chunks, compressed with zstd if that makes them smaller, and decodes them.
//!
//! Decompression writes at most the length that the chunk header states, which is within the chunk limit, and
//! needs no larger window than that limit (INV-9).

use crate::format::chunk::ChunkHeader;
use crate::format::fault::Fault;
use crate::format::header::Header;
use crate::format::layout::CHUNK_HEADER_BYTES;
use std::fmt;
use std::io;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

/// Makes frames: chunk headers with their stored bytes.
pub(crate) struct Encoder(Option<Compressor<'static>>);

impl Encoder {
    /// Makes an encoder with zstd at `level`, or without compression.
    pub(crate) fn new(level: Option<i32>) -> io::Result<Encoder> {
        level.map(Compressor::new).transpose().map(Encoder)
    }

    /// Replaces `frame` with chunk `index` of content `raw`.
    pub(crate) fn encode(
        &mut self,
        header: &Header,
        index: u32,
        raw: &[u8],
        frame: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        frame.resize(CHUNK_HEADER_BYTES + raw.len(), 0);
        let room = frame.len().saturating_sub(1).max(CHUNK_HEADER_BYTES);
        let stored = &mut frame[CHUNK_HEADER_BYTES..room];
        // An error means that the result does not fit, so it is not smaller.
        let packed = self.0.as_mut().and_then(|zstd| zstd.compress_to_buffer(raw, stored).ok());
        match packed.filter(|&len| len > 0) {
            Some(len) => frame.truncate(CHUNK_HEADER_BYTES + len),
            None => frame[CHUNK_HEADER_BYTES..].copy_from_slice(raw),
        }
        let raw_bytes = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        let chunk = ChunkHeader::new(header, index, raw_bytes, &frame[CHUNK_HEADER_BYTES..])?;
        frame[..CHUNK_HEADER_BYTES].copy_from_slice(&chunk.encode());
        Ok(())
    }
}

/// Decodes frames.
pub(crate) struct Decoder(Decompressor<'static>);

impl Decoder {
    pub(crate) fn new() -> io::Result<Decoder> {
        Decompressor::new().map(Decoder)
    }

    /// Checks the stored bytes of `chunk`. If they are compressed, decompresses them into `raw` and returns
    /// true; otherwise the stored bytes are the content.
    pub(crate) fn decode(
        &mut self,
        header: &Header,
        chunk: &ChunkHeader,
        stored: &[u8],
        raw: &mut Vec<u8>,
    ) -> Result<bool, Fault> {
        chunk.check_stored(stored)?;
        if !chunk.zstd {
            return Ok(false);
        }
        check_zstd(stored, u64::from(chunk.raw_bytes), u64::from(header.chunk_bytes_max))?;
        raw.clear();
        raw.reserve_exact(chunk.raw_bytes as usize);
        let len = self.0.decompress_to_buffer(stored, raw).map_err(|_| Fault::Frame)?;
        if len == chunk.raw_bytes as usize && raw.len() == len { Ok(true) } else { Err(Fault::Frame) }
    }
}

/// Checks that `stored` is one zstd frame that states `raw_bytes` of content and needs a window of at most
/// `window_max` bytes.
fn check_zstd(stored: &[u8], raw_bytes: u64, window_max: u64) -> Result<(), Fault> {
    let content = get_frame_content_size(stored).ok().flatten();
    if content != Some(raw_bytes) || find_frame_compressed_size(stored) != Ok(stored.len()) {
        return Err(Fault::Frame);
    }
    // RFC 8878, 3.1.1.1: magic number, then a descriptor. A single-segment frame has no window descriptor.
    const SINGLE_SEGMENT: u8 = 0x20;
    match stored.get(4..6) {
        Some(&[descriptor, _]) if descriptor & SINGLE_SEGMENT != 0 => Ok(()),
        Some(&[_, window]) => {
            let base = 1u64 << (10 + (window >> 3));
            let bytes = base + (base >> 3) * u64::from(window & 7);
            if bytes <= window_max { Ok(()) } else { Err(Fault::Window { bytes, max: window_max }) }
        }
        _ => Err(Fault::Frame),
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("zstd", &self.0.is_some()).finish()
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::encode_opening;
    use crate::format::layout::CHUNK_LIMIT_MIN;
    use crate::types::SnapshotId;

    fn header() -> Header {
        let id = SnapshotId { group: 1, index: 2, term: 3 };
        Header::decode(&encode_opening(id, CHUNK_LIMIT_MIN, b"", b"").unwrap()).unwrap()
    }

    /// Decodes `stored` as chunk 0 with correct checksums.
    fn claimed(raw_bytes: u32, stored: &[u8]) -> Result<bool, Fault> {
        let chunk = ChunkHeader::new(&header(), 0, raw_bytes, stored)?;
        Decoder::new().unwrap().decode(&header(), &chunk, stored, &mut Vec::new())
    }

    #[test]
    fn content_returns_packed_or_plain() {
        let mut noise = vec![0; 4096];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for level in [None, Some(-3), Some(1), Some(19)] {
            let (mut encoder, mut decoder) = (Encoder::new(level).unwrap(), Decoder::new().unwrap());
            let (mut frame, mut raw) = (vec![7; 9000], vec![7; 9000]);
            for (content, packs) in
                [(&b"text ".repeat(800)[..], true), (&noise, false), (b"x", false), (b"xy", false)]
            {
                encoder.encode(&header(), 4, content, &mut frame).unwrap();
                let chunk = ChunkHeader::decode(&frame, &header(), 4).unwrap();
                let stored = &frame[CHUNK_HEADER_BYTES..];
                assert_eq!(chunk.zstd, packs && level.is_some());
                let packed = decoder.decode(&header(), &chunk, stored, &mut raw).unwrap();
                assert_eq!((packed, if packed { &raw[..] } else { stored }), (chunk.zstd, content));
            }
            assert!(encoder.encode(&header(), 0, b"", &mut frame).is_err());
            assert!(encoder.encode(&header(), 0, &[0; 4097], &mut frame).is_err());
        }
    }

    #[test]
    fn hostile_frames_are_refused_before_anything_is_unpacked() {
        let pack = |content: &[u8]| zstd::bulk::compress(content, 3).unwrap();
        assert_eq!(claimed(4096, &pack(&[0; 4096])), Ok(true));
        // A bomb: 64 MiB of zeros in a few KiB.
        let bomb = pack(&vec![0; 64 << 20]);
        assert_eq!(claimed(4096, &bomb), Err(Fault::Frame));
        assert_eq!(claimed(4096, &pack(&[0; 4095])), Err(Fault::Frame));
        assert_eq!(claimed(4095, &pack(&[0; 4096])), Err(Fault::Frame));
        assert_eq!(claimed(4096, &[pack(&[0; 4096]), pack(&[0; 4096])].concat()), Err(Fault::Frame));
        assert_eq!(claimed(4096, b"no frame"), Err(Fault::Frame));
        assert_eq!(claimed(4096, &pack(&[0; 4096])[..10]), Err(Fault::Frame));
        // A window of 2 GiB with a content size of 4096: not a single segment, window descriptor, content size.
        let wide = [0x28, 0xB5, 0x2F, 0xFD, 0x40, 21 << 3, 0x00, 0x0F, 0x03, 0x80, 0x00, 0x00];
        assert_eq!(claimed(4096, &wide), Err(Fault::Window { bytes: 2 << 30, max: 4096 }));
        let narrow = [0x28, 0xB5, 0x2F, 0xFD, 0x40, 0, 0x00, 0x0F, 0x03, 0x80, 0x00, b'z'];
        assert_eq!(claimed(4096, &narrow), Ok(true));
    }
}
