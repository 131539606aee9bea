//! Compresses the payloads of entries, each on its own, and decompresses them.
//!
//! Compression runs on the caller's thread before the groups of a batch are locked. Decompression runs after the
//! checksum of the stored bytes was checked. A payload that does not become sufficiently smaller is stored as it is.
//! The checksum of the plain payload is stored with a compressed one, so that it can be compared with a copy that is
//! stored otherwise.
//! A length is checked before memory is allocated for it (INV-9).

mod error;
#[cfg(feature = "zstd")]
mod zstd;
#[cfg(not(feature = "zstd"))]
#[path = "without_zstd.rs"]
mod zstd;

pub use error::DecompressError;

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use seawall_wal::segments::part_crc;

use crate::types::Compression;

/// Size in bytes of the largest payload that is compressed, and so the largest original length that is accepted.
const RAW_BYTES_MAX: usize = 1 << 26;

/// Bytes before the frame: the original length and the CRC-32C of the original payload, each a `u32`.
const PREFIX_BYTES: usize = 8;

/// Bit of the original length: the checksum follows. Earlier builds wrote neither.
const WITH_CRC: u32 = 1 << 31;

/// Smallest number of bytes that compression must save: more than splitting a run of entries costs.
const SAVED_BYTES_MIN: usize = 256;

/// Statistics of compression since the engine was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CompressionStats {
    /// Number of payloads that were compressed.
    pub entries: u64,
    /// Bytes of these payloads before compression.
    pub raw_bytes: u64,
    /// Bytes of these payloads in the log.
    pub stored_bytes: u64,
    /// Number of payloads that compression did not make sufficiently smaller.
    pub declined: u64,
}

/// Compresses and decompresses payloads. Shared by all threads.
#[derive(Debug)]
pub(crate) struct Compressor {
    how: Option<Compression>,
    contexts: zstd::Contexts,
    entries: AtomicU64,
    raw_bytes: AtomicU64,
    stored_bytes: AtomicU64,
    declined: AtomicU64,
}

impl Compressor {
    pub(crate) fn new(how: Option<Compression>) -> Compressor {
        let counts = [0; 4].map(AtomicU64::new);
        let [entries, raw_bytes, stored_bytes, declined] = counts;
        Compressor { how, contexts: zstd::Contexts::default(), entries, raw_bytes, stored_bytes, declined }
    }

    /// Whether compression should be tried for a payload of `bytes` bytes.
    pub(crate) fn wants(&self, bytes: usize) -> bool {
        zstd::BUILT && self.how.is_some_and(|how| (how.from_bytes..=RAW_BYTES_MAX).contains(&bytes))
    }

    /// Compresses `raw`; `None` if that is not worthwhile.
    pub(crate) fn pack(&self, raw: &[u8]) -> Option<Vec<u8>> {
        let how = self.how.filter(|_| self.wants(raw.len()))?;
        let worthwhile = (raw.len() - raw.len() / 8).min(raw.len().saturating_sub(SAVED_BYTES_MIN));
        let mut stored = vec![0; worthwhile];
        let length = u32::try_from(raw.len()).ok()?;
        let prefix = [length | WITH_CRC, part_crc(raw)].map(u32::to_le_bytes);
        stored.get_mut(..PREFIX_BYTES)?.copy_from_slice(prefix.as_flattened());
        // An error means that the result does not fit into the buffer, so it is not small enough.
        let Some(frame) = self.contexts.compress(how.level, raw, stored.get_mut(PREFIX_BYTES..)?) else {
            self.declined.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        stored.truncate(PREFIX_BYTES + frame);
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.raw_bytes.fetch_add(raw.len() as u64, Ordering::Relaxed);
        self.stored_bytes.fetch_add(stored.len() as u64, Ordering::Relaxed);
        Some(stored)
    }

    /// Decompresses the result of `pack`, whatever the current options are.
    pub(crate) fn unpack(&self, stored: &[u8]) -> Result<Bytes, DecompressError> {
        let split = |bytes| split_u32(bytes).ok_or(DecompressError::TooShort { bytes: stored.len() });
        let (length, mut frame) = split(stored)?;
        let mut crc = None;
        if length & WITH_CRC != 0 {
            let (word, rest) = split(frame)?;
            (crc, frame) = (Some(word), rest);
        }
        let bytes = usize::try_from(length & !WITH_CRC).unwrap_or(usize::MAX);
        if bytes > RAW_BYTES_MAX {
            return Err(DecompressError::TooLong { bytes, max: RAW_BYTES_MAX });
        }
        let raw = self.contexts.decompress(frame, bytes)?;
        match crc {
            Some(stored) if stored != part_crc(&raw) => {
                Err(DecompressError::Checksum { stored, found: part_crc(&raw) })
            }
            _ => Ok(Bytes::from(raw)),
        }
    }

    pub(crate) fn stats(&self) -> CompressionStats {
        CompressionStats {
            entries: self.entries.load(Ordering::Relaxed),
            raw_bytes: self.raw_bytes.load(Ordering::Relaxed),
            stored_bytes: self.stored_bytes.load(Ordering::Relaxed),
            declined: self.declined.load(Ordering::Relaxed),
        }
    }
}

/// Splits a little-endian `u32` off `bytes`.
fn split_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressor(from_bytes: usize) -> Compressor {
        Compressor::new(Some(Compression { from_bytes, level: 1 }))
    }

    /// A zstd frame of three bytes that are stored uncompressed.
    fn raw_frame() -> Vec<u8> {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x20, 3];
        frame.extend_from_slice(&[1 | 3 << 3, 0, 0, b'a', b'b', b'c']);
        frame
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn what_is_compressed_is_decompressed() {
        let compressor = compressor(512);
        for bytes in [512, 4000, 1 << 20] {
            let raw = b"something that comes again and again. ".repeat(bytes / 38 + 1);
            let stored = compressor.pack(&raw).expect("worthwhile");
            assert!(stored.len() < raw.len() / 2);
            assert_eq!(compressor.unpack(&stored).expect("ours"), raw);
            for bit in (0..stored.len().min(40) * 8).chain([stored.len() * 8 - 1]) {
                let mut other = stored.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                // The bit that says that there is a checksum has no checksum. The frame detects its loss.
                if let Ok(other) = compressor.unpack(&other) {
                    assert_eq!(other, raw, "bit {bit}");
                }
            }
            for len in [0, 3, 4, 5, 7, 8, 9, stored.len() / 2, stored.len() - 1] {
                assert!(compressor.unpack(&stored[..len]).is_err(), "{len} bytes");
            }
            assert!(compressor.unpack(&[&stored[..], &[0]].concat()).is_err(), "something behind the frame");
        }
        assert_eq!(compressor.stats().entries, 3);
        let off = Compressor::new(None);
        assert_eq!(off.pack(&[0; 9999]), None);
        assert_eq!(off.unpack(&[&[3, 0, 0, 0], &raw_frame()[..]].concat()).expect("sound"), &b"abc"[..]);
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn what_does_not_pay_stays_as_it_is() {
        let compressor = compressor(1000);
        // SplitMix64.
        let mut x = 7u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB).to_le_bytes()
        })
        .flatten()
        .take(100_000)
        .collect();
        assert_eq!(compressor.pack(&noise), None);
        let zeros = |n: usize| vec![0; n];
        // It would save a tenth.
        assert_eq!(compressor.pack(&[&noise[..90_000], &zeros(10_000)].concat()), None);
        assert!(compressor.pack(&[&noise[..80_000], &zeros(20_000)].concat()).is_some());
        assert_eq!(
            compressor.pack(&[&noise[..800], &zeros(250)].concat()),
            None,
            "an eighth, but not 256 bytes"
        );
        assert_eq!(compressor.pack(&zeros(999)), None);
        assert!(compressor.pack(&zeros(1000)).is_some());
        assert_eq!((compressor.stats().entries, compressor.stats().declined), (2, 3));
    }

    /// The checksum is that of the plain payload, and another one is an error.
    #[cfg(feature = "zstd")]
    #[test]
    fn the_plain_payload_has_a_checksum() {
        let prefix = |length: u32, crc: u32| [length.to_le_bytes(), crc.to_le_bytes()].concat();
        let crc = part_crc(b"abc");
        let compressor = compressor(512);
        let stored = |crc| [&prefix(3 | WITH_CRC, crc)[..], &raw_frame()].concat();
        assert_eq!(compressor.unpack(&stored(crc)).expect("sound"), &b"abc"[..]);
        assert_eq!(
            compressor.unpack(&stored(!crc)),
            Err(DecompressError::Checksum { stored: !crc, found: crc })
        );
        assert_eq!(compressor.unpack(&stored(crc)[..7]), Err(DecompressError::TooShort { bytes: 7 }));
        let raw = [9; 4000];
        let packed = compressor.pack(&raw).expect("worthwhile");
        assert_eq!(packed[..PREFIX_BYTES], prefix(4000 | WITH_CRC, part_crc(&raw)));
    }

    #[test]
    fn a_length_that_lies_is_refused_before_it_is_allocated() {
        let with = |length: u32, frame: &[u8]| [&length.to_le_bytes()[..], frame].concat();
        let compressor = compressor(512);
        let too_long = Err(DecompressError::TooLong { bytes: u32::MAX as usize >> 1, max: RAW_BYTES_MAX });
        assert_eq!(compressor.unpack(&with(u32::MAX, &raw_frame())), too_long);
        assert_eq!(compressor.unpack(b"abc"), Err(DecompressError::TooShort { bytes: 3 }));
        for length in [0, 2, 4, 1 << 26] {
            let wrong =
                if zstd::BUILT { DecompressError::Frame { bytes: length } } else { DecompressError::NoZstd };
            let length = u32::try_from(length).expect("small");
            assert_eq!(compressor.unpack(&with(length, &raw_frame())), Err(wrong));
        }
        assert!(compressor.unpack(&with(3, b"no frame")).is_err());
        assert!(compressor.unpack(&with(0, b"")).is_err());
    }
}
