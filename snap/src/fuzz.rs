//! What the fuzz target of snapshots runs: any bytes, or bytes whose checksums were made right, decode to a
//! value or to a refusal (INV-9); what decodes is within its limits and encodes to the same bytes.
//!
//! Place: above the format, for tests only (feature `fuzz`). The only panics are findings.

use crate::format::{
    BODY_BYTES_MAX, CHUNK_HEADER_BYTES, CHUNK_LIMIT_MAX, CHUNK_LIMIT_MIN, CHUNK_MAGIC, ChunkHeader, Fault,
    HEADER_BYTES, Header, SNAPSHOT_MAGIC, TRAILER_BYTES, TRAILER_MAGIC, Trailer, VERSION, encode_opening,
};
use crate::types::SnapshotId;

/// Flag in an input's first byte: checksums and magic are made right.
const REPAIR: u8 = 4;

/// Flags, the bit to flip, then an opening, a chunk, a trailer, or the content of a snapshot to encode.
pub fn snapshot_format(data: &[u8]) {
    let Some((&[flags, bit], body)) = data.split_first_chunk::<2>() else { return };
    let (repaired, mut bytes) = (flags & REPAIR != 0, body.to_vec());
    match flags & 3 {
        0 => {
            if repaired {
                repair(&mut bytes, HEADER_BYTES, &SNAPSHOT_MAGIC);
                if let Some(version) = bytes.get_mut(8..12) {
                    version.copy_from_slice(&VERSION.to_le_bytes());
                }
                repair(&mut bytes, HEADER_BYTES, &SNAPSHOT_MAGIC);
            }
            opening(&mut bytes, repaired, bit);
        }
        1 => {
            if repaired {
                repair(&mut bytes, CHUNK_HEADER_BYTES, &CHUNK_MAGIC);
            }
            chunk(&mut bytes, bit);
        }
        2 => {
            if repaired {
                repair(&mut bytes, TRAILER_BYTES, &TRAILER_MAGIC);
            }
            trailer(&mut bytes, bit);
        }
        _ => written(&bytes, bit),
    }
}

fn opening(bytes: &mut Vec<u8>, repaired: bool, bit: u8) {
    let Ok(header) = Header::decode(bytes) else { return };
    assert!(header.id.index > 0);
    assert!(header.conf_state_bytes <= BODY_BYTES_MAX && header.metadata_bytes <= BODY_BYTES_MAX);
    assert!((CHUNK_LIMIT_MIN..=CHUNK_LIMIT_MAX).contains(&header.chunk_bytes_max));
    let len = header.opening_bytes();
    if repaired && bytes.len() >= len {
        bytes.truncate(len);
        let sum = crc32c::crc32c(&bytes[..len - 4]);
        bytes[len - 4..].copy_from_slice(&sum.to_le_bytes());
    }
    let Ok((conf_state, metadata)) = header.split_opening(bytes) else { return };
    let again = encode_opening(header.id, header.chunk_bytes_max, conf_state, metadata);
    assert_eq!(again.as_ref(), Ok(&*bytes), "one encoding per opening");
    flip(bytes, bit);
    let same = Header::decode(bytes).is_ok_and(|header| header.split_opening(bytes).is_ok());
    assert!(!same, "a flipped bit is not noticed");
}

fn chunk(bytes: &mut [u8], bit: u8) {
    let id = SnapshotId { group: 1, index: 2, term: 3 };
    let opening = encode_opening(id, CHUNK_LIMIT_MIN, b"", b"").expect("within the limits");
    let header = Header::decode(&opening).expect("what was encoded");
    let index = bytes.get(4).map_or(0, |&low| u32::from(low));
    let Ok(chunk) = ChunkHeader::decode(bytes, &header, index) else { return };
    assert!((1..=header.chunk_bytes_max).contains(&chunk.raw_bytes) && chunk.stored_bytes <= chunk.raw_bytes);
    assert_eq!(chunk.zstd, chunk.stored_bytes < chunk.raw_bytes, "plain only if it does not get smaller");
    assert_eq!(chunk.encode(), bytes[..CHUNK_HEADER_BYTES], "one encoding per chunk header");
    let wrong = ChunkHeader::decode(bytes, &header, index + 1);
    assert_eq!(wrong, Err(Fault::Chunk { expected: index + 1, found: index }));
    // What is stored, whatever it is, is checked for its length first.
    let stored = &bytes[CHUNK_HEADER_BYTES..];
    assert!(stored.len() == chunk.stored_bytes as usize || chunk.check_stored(stored).is_err());
    flip(&mut bytes[..CHUNK_HEADER_BYTES], bit);
    assert!(ChunkHeader::decode(bytes, &header, index).is_err(), "a flipped bit is not noticed");
}

fn trailer(bytes: &mut [u8], bit: u8) {
    let Ok(trailer) = Trailer::decode(bytes) else { return };
    assert_eq!(trailer.encode(), *bytes, "one encoding per trailer");
    flip(bytes, bit);
    assert!(Trailer::decode(bytes).is_err(), "a flipped bit is not noticed");
}

/// The input as content: what is written is read.
fn written(content: &[u8], bit: u8) {
    let (conf_state, metadata) = content.split_at(content.len() / 3);
    let id = SnapshotId { group: content.len() as u64, index: u64::from(bit) + 1, term: u64::MAX };
    let opening = encode_opening(id, CHUNK_LIMIT_MAX, conf_state, metadata).expect("within the limits");
    let header = Header::decode(&opening).expect("what was encoded");
    assert_eq!((header.id, header.opening_bytes()), (id, opening.len()));
    assert_eq!(header.split_opening(&opening), Ok((conf_state, metadata)));
    let raw_bytes = u32::from(bit) + 1;
    let Ok(chunk) = ChunkHeader::new(&header, 9, raw_bytes, content) else {
        assert!(content.is_empty() || content.len() > raw_bytes as usize);
        return;
    };
    assert_eq!(ChunkHeader::decode(&chunk.encode(), &header, 9), Ok(chunk));
    assert_eq!(chunk.check_stored(content), Ok(()));
    let mut stored = content.to_vec();
    flip(&mut stored, bit);
    assert_eq!(chunk.check_stored(&stored), Err(Fault::Checksum));
}

/// Gives the structure of `size` bytes at the start of `bytes` its magic and a right checksum.
fn repair(bytes: &mut [u8], size: usize, magic: &[u8]) {
    if let Some(own) = bytes.get_mut(..size) {
        own[..magic.len()].copy_from_slice(magic);
        let sum = crc32c::crc32c(&own[..size - 4]);
        own[size - 4..].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Flips the bit with number `bit`, counted from the start and round again.
fn flip(bytes: &mut [u8], bit: u8) {
    let byte = usize::from(bit) % bytes.len();
    bytes[byte] ^= 1 << (bit >> 5);
}
