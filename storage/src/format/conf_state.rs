//! Encodes and decodes a conf state as one part: 32 bytes of version, flags, index and counts, then the members as
//! `u64`.
//!
//! Each value has exactly one encoding. Lengths are checked before memory is allocated (INV-9).

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::error::DecodeError;
use crate::types::ConfState;

pub(super) const VERSION: u16 = 1;
const AUTO_LEAVE: u16 = 1;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Header {
    pub(super) version: U16,
    pub(super) flags: U16,
    pub(super) reserved: U32,
    pub(super) index: U64,
    /// Numbers of voters, learners, outgoing voters and next learners, whose ids follow the header in this order.
    pub(super) counts: [U32; 4],
}

const HEADER_BYTES: usize = size_of::<Header>();
const _: () = assert!(HEADER_BYTES == 32);

/// Encodes `conf`.
pub(crate) fn encode_conf_state(conf: &ConfState) -> Vec<u8> {
    let lists = [&conf.voters, &conf.learners, &conf.voters_outgoing, &conf.learners_next];
    // Every reader refuses a count that does not fit. The record would be too large long before.
    let counts = lists.map(|list| U32::new(u32::try_from(list.len()).unwrap_or(u32::MAX)));
    let flags = if conf.auto_leave { AUTO_LEAVE } else { 0 };
    let (version, index) = (VERSION.into(), conf.index.into());
    let header = Header { version, flags: flags.into(), reserved: 0.into(), index, counts };
    let mut bytes = header.as_bytes().to_vec();
    bytes.reserve_exact(8 * lists.iter().map(|list| list.len()).sum::<usize>());
    for member in lists.into_iter().flatten() {
        bytes.extend_from_slice(&member.to_le_bytes());
    }
    bytes
}

/// Decodes the conf state in `bytes`, which must contain nothing else.
pub(crate) fn decode_conf_state(bytes: &[u8]) -> Result<ConfState, DecodeError> {
    let (header, body) = Header::read_from_prefix(bytes)
        .map_err(|_| DecodeError::TooShort { needed: HEADER_BYTES, found: bytes.len() })?;
    if header.version.get() != VERSION {
        return Err(DecodeError::Version { version: header.version.get() });
    }
    if header.flags.get() & !AUTO_LEAVE != 0 || header.reserved.get() != 0 {
        return Err(DecodeError::Reserved { at: 0 });
    }
    let members: u64 = header.counts.iter().map(|count| u64::from(count.get())).sum();
    let expected = members * 8 + HEADER_BYTES as u64;
    let wrong = DecodeError::Length { expected, found: bytes.len() };
    if expected != bytes.len() as u64 {
        return Err(wrong);
    }
    let mut rest = <[U64]>::ref_from_bytes(body).map_err(|_| wrong)?;
    let mut take = |count: U32| {
        let count = usize::try_from(count.get()).map_err(|_| wrong)?;
        let (list, behind) = rest.split_at_checked(count).ok_or(wrong)?;
        rest = behind;
        Ok(list.iter().map(|member| member.get()).collect())
    };
    let [voters, learners, outgoing, next] = header.counts;
    Ok(ConfState {
        voters: take(voters)?,
        learners: take(learners)?,
        voters_outgoing: take(outgoing)?,
        learners_next: take(next)?,
        auto_leave: header.flags.get() & AUTO_LEAVE != 0,
        index: header.index.get(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ConfState {
        ConfState {
            voters: vec![1, 2, u64::MAX],
            learners: vec![4],
            voters_outgoing: vec![1, 5],
            learners_next: vec![5],
            auto_leave: true,
            index: 1 << 40,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for conf in [sample(), ConfState::default()] {
            assert_eq!(decode_conf_state(&encode_conf_state(&conf)), Ok(conf));
        }
    }

    #[test]
    fn every_flipped_bit_gives_an_error_or_another_value() {
        let mut bytes = encode_conf_state(&sample());
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode_conf_state(&bytes), Ok(sample()), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn every_truncation_and_extension_is_an_error() {
        let mut bytes = encode_conf_state(&sample());
        for len in 0..bytes.len() {
            assert!(decode_conf_state(&bytes[..len]).is_err(), "{len} bytes");
        }
        bytes.push(0);
        assert!(decode_conf_state(&bytes).is_err());
    }
}
