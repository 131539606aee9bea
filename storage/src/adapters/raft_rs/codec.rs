//! Encodes an entry of the core as the payload of an entry of the engine, without protobuf.
//!
//! Each entry has exactly one encoding, which is never longer than its protobuf form; a limit in protobuf bytes
//! therefore bounds the bytes that are read. Decoding is total (INV-9).
//!
//! ```text
//! byte 0       entry type (0 normal, 1 conf change, 2 conf change v2); 0x80 is the core's `sync_log`
//! 1 to 5 bytes length of the context, LEB128, shortest form
//! context, then the data up to the end
//! ```
//!
//! The engine stores index and term next to the payload.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};

const SYNC_LOG: u8 = 0x80;

/// Upper bound of the bytes that an encoding adds to context and data.
pub(super) const OVERHEAD_BYTES: usize = 8;

/// Why a payload is not an entry. Its checksum was correct, so something else wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The payload ends before its fixed part is complete.
    #[error("{found} bytes are too few for an entry")]
    TooShort {
        /// Length of the payload, in bytes.
        found: usize,
    },
    /// The entry type is unknown.
    #[error("entry type {found} is not known")]
    EntryType {
        /// The type found.
        found: u8,
    },
    /// The length of the context is not a 32-bit number in its shortest form.
    #[error("the length of the context is not a number")]
    ContextLength,
    /// The context is longer than the payload.
    #[error("a context of {length} bytes where {found} are left")]
    Context {
        /// Length of the context that the payload states, in bytes.
        length: u32,
        /// Bytes that are left in the payload.
        found: usize,
    },
}

/// Appends the encoding of `entry` to `out`. A context of 4 GiB or more cannot be stored; the messages of the
/// core cannot carry one either.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let kind: u8 = match entry.entry_type {
        EntryType::EntryNormal => 0,
        EntryType::EntryConfChange => 1,
        EntryType::EntryConfChangeV2 => 2,
    };
    out.push(kind | if entry.sync_log { SYNC_LOG } else { 0 });
    let mut length = u32::try_from(entry.context.len()).unwrap_or(u32::MAX);
    while length >= 0x80 {
        out.push((length & 0x7f).to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    out.push(length.to_le_bytes()[0]);
    out.extend_from_slice(&entry.context);
    out.extend_from_slice(&entry.data);
}

/// Decodes the entry in `payload`. Context and data share the buffer of `payload`.
///
/// # Errors
/// [`CodecError`] for bytes that [`encode`] does not produce.
pub(super) fn decode(index: u64, term: u64, payload: &Bytes) -> Result<Entry, CodecError> {
    let short = CodecError::TooShort { found: payload.len() };
    let (&kind, rest) = payload.split_first().ok_or(short)?;
    let entry_type = match kind & !SYNC_LOG {
        0 => EntryType::EntryNormal,
        1 => EntryType::EntryConfChange,
        2 => EntryType::EntryConfChangeV2,
        found => return Err(CodecError::EntryType { found }),
    };
    let (mut length, mut digits) = (0u64, 0usize);
    loop {
        let &digit = rest.get(digits).ok_or(short)?;
        length |= u64::from(digit & 0x7f) << (7 * digits);
        digits += 1;
        if digit & 0x80 == 0 {
            if digit == 0 && digits > 1 {
                return Err(CodecError::ContextLength);
            }
            break;
        }
        if digits == 5 {
            return Err(CodecError::ContextLength);
        }
    }
    let length = u32::try_from(length).map_err(|_| CodecError::ContextLength)?;
    let body = payload.slice(1 + digits..);
    let beyond = CodecError::Context { length, found: body.len() };
    let split = usize::try_from(length).ok().filter(|at| *at <= body.len()).ok_or(beyond)?;
    let mut entry = Entry { entry_type, term, index, sync_log: kind & SYNC_LOG != 0, ..Entry::default() };
    entry.data = body.slice(split..);
    entry.context = body.slice(..split);
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protobuf::Message;

    fn samples() -> Vec<Entry> {
        let mut samples = Vec::new();
        for (entry_type, context, data) in [
            (EntryType::EntryNormal, 0, 0),
            (EntryType::EntryNormal, 0, 300),
            (EntryType::EntryConfChange, 1, 2),
            (EntryType::EntryConfChangeV2, 127, 0),
            (EntryType::EntryNormal, 128, 1),
            (EntryType::EntryNormal, 20_000, 128),
        ] {
            for sync_log in [false, true] {
                let mut entry = Entry { entry_type, term: 3, index: 9, sync_log, ..Entry::default() };
                entry.context = vec![7; context].into();
                entry.data = vec![8; data].into();
                samples.push(entry);
            }
        }
        samples
    }

    fn bytes(entry: &Entry) -> Bytes {
        let mut out = Vec::new();
        encode(entry, &mut out);
        out.into()
    }

    #[test]
    fn what_is_encoded_is_decoded_and_no_longer_than_protobuf() {
        for entry in samples() {
            let payload = bytes(&entry);
            assert_eq!(decode(9, 3, &payload), Ok(entry.clone()));
            assert!(payload.len() <= entry.compute_size() as usize, "{entry:?}");
            assert!(payload.len() <= entry.context.len() + entry.data.len() + OVERHEAD_BYTES);
        }
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let mut entry = Entry { entry_type: EntryType::EntryConfChangeV2, ..Entry::default() };
        entry.context = vec![0xcc; 130].into();
        entry.data = vec![0xdd, 0xee].into();
        let mut expected = vec![2, 0x82, 0x01];
        expected.extend([0xcc; 130]);
        expected.extend([0xdd, 0xee]);
        assert_eq!(bytes(&entry)[..], expected[..]);
    }

    #[test]
    fn every_flipped_bit_gives_an_error_or_another_entry() {
        for entry in samples().into_iter().filter(|e| e.context.len() < 1000) {
            let whole = bytes(&entry).to_vec();
            for bit in 0..whole.len() * 8 {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(other) = decode(9, 3, &flipped.clone().into()) {
                    assert_ne!(other, entry, "bit {bit}");
                    assert_eq!(bytes(&other)[..], flipped[..], "bit {bit}: one encoding per entry");
                }
            }
        }
    }

    #[test]
    fn what_is_no_entry_is_named() {
        let fails = |bytes: &'static [u8]| decode(1, 1, &Bytes::from_static(bytes)).map(|_| ());
        assert_eq!(fails(&[]), Err(CodecError::TooShort { found: 0 }));
        assert_eq!(fails(&[0]), Err(CodecError::TooShort { found: 1 }));
        assert_eq!(fails(&[0, 0x80]), Err(CodecError::TooShort { found: 2 }));
        assert_eq!(fails(&[3, 0]), Err(CodecError::EntryType { found: 3 }));
        assert_eq!(fails(&[0, 0x80, 0]), Err(CodecError::ContextLength));
        assert_eq!(fails(&[0, 0xff, 0xff, 0xff, 0xff, 0x7f]), Err(CodecError::ContextLength));
        assert_eq!(fails(&[0, 0xff, 0xff, 0xff, 0xff, 0xff]), Err(CodecError::ContextLength));
        assert_eq!(fails(&[0, 2, 1]), Err(CodecError::Context { length: 2, found: 1 }));
        let huge = CodecError::Context { length: u32::MAX, found: 0 };
        assert_eq!(fails(&[0, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(huge));
    }
}
