//! Computes CRC-32C, and the seed that ties a checksum to a position and an incarnation of the file.
//!
//! A stored checksum is the CRC of the bytes, exclusive-or a mix of the segment's salt and the LSN. Bytes at another
//! position, or of an earlier incarnation of the file, therefore fail the check. The CRC itself can be computed
//! before the LSN is known, without holding a lock.

use crate::types::Lsn;

/// CRC-32C (Castagnoli) of `bytes`.
pub fn crc(bytes: &[u8]) -> u32 {
    if has_wide_vectors() { crc_fast::crc32_iscsi(bytes) } else { crc32c::crc32c(bytes) }
}

/// Whether the processor multiplies 512 bits at a time without carries, which is faster than its CRC instruction.
fn has_wide_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::is_x86_feature_detected!("vpclmulqdq") && std::is_x86_feature_detected!("avx512vl");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has
}

/// CRC-32C of the concatenation of `pieces`.
pub fn crc_of<const N: usize>(pieces: [&[u8]; N]) -> u32 {
    let mut sum = Sum::new();
    pieces.iter().for_each(|piece| sum.update(piece));
    sum.value()
}

/// CRC-32C of bytes that arrive in pieces.
pub struct Sum(u32);

impl Sum {
    /// The sum over no bytes.
    pub fn new() -> Sum {
        Sum(0)
    }

    /// Adds the bytes that follow.
    pub fn update(&mut self, piece: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, piece);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u32 {
        self.0
    }
}

/// The number that is mixed into the checksum of bytes at `lsn` in a segment with `salt`: the low half of the
/// finaliser of SplitMix64 over both.
pub fn seed(salt: u64, lsn: Lsn) -> u32 {
    let mut z = salt ^ lsn.as_u64().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the seed")]
    let low = z as u32;
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_polynomial() {
        assert_eq!(crc(b"123456789"), 0xE306_9283);
        assert_eq!(crc_of([&b"1234"[..], b"", b"56789"]), 0xE306_9283);
    }

    /// Both implementations compute the same, in one piece and in two, whichever this processor uses.
    #[test]
    fn two_implementations_agree() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for len in (0..600).chain([4095, 4096, 4097, 10_000]) {
            let (whole, expected) = (&bytes[..len], crc32c::crc32c(&bytes[..len]));
            assert_eq!(crc_fast::crc32_iscsi(whole), expected, "{len}");
            assert_eq!(crc(whole), expected, "{len}");
            assert_eq!(crc_of([&whole[..len / 3], &whole[len / 3..]]), expected, "{len}");
        }
    }

    #[test]
    fn seeds_differ_by_place_and_by_salt() {
        let mut seen = std::collections::HashSet::new();
        for salt in 0..50 {
            for block in 0..50 {
                assert!(seen.insert(seed(salt, Lsn::new(1, block * 4096))));
            }
        }
    }
}
