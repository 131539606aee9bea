//! Tests of the format: round trips, every flipped bit, hostile lengths, and agreement with `docs/format.md`.

use super::fault::crc;
use super::layout::{RawChunk, RawHeader, RawTrailer, ZSTD};
use super::*;
use crate::tables::{check_constants, check_structures, fields};
use crate::types::SnapshotId;

const ID: SnapshotId = SnapshotId { group: 7, index: 40, term: 3 };

fn opening() -> Vec<u8> {
    encode_opening(ID, CHUNK_LIMIT_MIN, b"conf", b"metadata").unwrap()
}

fn header() -> Header {
    Header::decode(&opening()).unwrap()
}

/// Flips every bit of `bytes` in turn; `read` must refuse each result.
fn every_bit(mut bytes: Vec<u8>, read: impl Fn(&[u8]) -> Result<(), Fault>) {
    assert_eq!(read(&bytes), Ok(()));
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn openings() {
    let header = header();
    assert_eq!((header.id, header.conf_state_bytes, header.metadata_bytes), (ID, 4, 8));
    assert_eq!(header.split_opening(&opening()), Ok((&b"conf"[..], &b"metadata"[..])));
    let empty = encode_opening(ID, CHUNK_LIMIT_MAX, b"", b"").unwrap();
    assert_eq!(Header::decode(&empty).unwrap().split_opening(&empty), Ok((&b""[..], &b""[..])));
    every_bit(opening(), |bytes| Header::decode(bytes)?.split_opening(bytes).map(|_| ()));
}

#[test]
fn an_opening_of_another_snapshot_is_refused() {
    let other =
        encode_opening(SnapshotId { index: 41, ..ID }, CHUNK_LIMIT_MIN, b"conf", b"metadata").unwrap();
    assert_eq!(header().split_opening(&other), Err(Fault::Checksum));
}

#[test]
fn chunks() {
    let header = header();
    for (raw_bytes, stored, zstd) in [(5, &b"plain"[..], false), (4096, &b"packed"[..], true)] {
        let chunk = ChunkHeader::new(&header, 2, raw_bytes, stored).unwrap();
        assert_eq!((chunk.zstd, chunk.stored_bytes as usize), (zstd, stored.len()));
        assert_eq!(ChunkHeader::decode(&chunk.encode(), &header, 2), Ok(chunk));
        let bytes = [&chunk.encode()[..], stored].concat();
        every_bit(bytes, |bytes| {
            let chunk = ChunkHeader::decode(bytes, &header, 2)?;
            chunk.check_stored(&bytes[CHUNK_HEADER_BYTES..])
        });
        let found = ChunkHeader::decode(&chunk.encode(), &header, 3);
        assert_eq!(found, Err(Fault::Chunk { expected: 3, found: 2 }));
    }
    assert!(matches!(ChunkHeader::new(&header, 0, 0, b""), Err(Fault::Limit { field: "raw_bytes", .. })));
    let large = ChunkHeader::new(&header, 0, CHUNK_LIMIT_MIN + 1, b"x");
    assert!(matches!(large, Err(Fault::Limit { field: "raw_bytes", .. })));
    let grown = ChunkHeader::new(&header, 0, 2, b"grown");
    assert!(matches!(grown, Err(Fault::Limit { field: "stored_bytes", .. })));
}

#[test]
fn trailers() {
    let trailer = Trailer { chunk_count: 3, raw_bytes: 1 << 40, stored_bytes: 99, digest: [8; 32] };
    assert_eq!(Trailer::decode(&trailer.encode()), Ok(trailer));
    every_bit(trailer.encode().to_vec(), |bytes| Trailer::decode(bytes).map(|_| ()));
    let mut longer = trailer.encode().to_vec();
    longer.push(0);
    assert_eq!(Trailer::decode(&longer), Err(Fault::Length { expected: 60, found: 61 }));
}

/// Changes a field of an opening's header and corrects the checksum.
fn forged(offset: usize, value: u32) -> Result<Header, Fault> {
    let mut bytes = opening();
    bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    let sum = crc(&bytes[..HEADER_BYTES - 4]).to_le_bytes();
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&sum);
    Header::decode(&bytes)
}

#[test]
fn lengths_beyond_their_limits_are_refused_though_they_check() {
    assert_eq!(forged(8, 2), Err(Fault::Version { found: 2 }));
    assert_eq!(forged(12, 4), Err(Fault::Flags { flags: 4 }));
    assert_eq!(forged(24, 0), Err(Fault::IndexZero));
    for (offset, name, values) in [
        (40, "conf_state_bytes", &[BODY_BYTES_MAX + 1, u32::MAX][..]),
        (44, "metadata_bytes", &[BODY_BYTES_MAX + 1, u32::MAX]),
        (48, "chunk_bytes_max", &[0, CHUNK_LIMIT_MIN - 1, CHUNK_LIMIT_MAX + 1, u32::MAX]),
    ] {
        for &value in values {
            let found = forged(offset, value);
            assert!(
                matches!(found, Err(Fault::Limit { field, bytes, .. }) if field == name && bytes == value),
                "{found:?}"
            );
        }
    }
}

#[test]
fn the_document_says_the_same() {
    let structures = [
        (
            "Snapshot header",
            fields!(RawHeader: magic version flags group index term conf_state_bytes metadata_bytes
                chunk_bytes_max crc),
        ),
        ("Chunk header", fields!(RawChunk: magic index raw_bytes stored_bytes flags stored_crc crc)),
        ("Trailer", fields!(RawTrailer: magic chunk_count raw_bytes stored_bytes digest crc)),
    ];
    check_structures("Snapshots", &structures);
    let text = |magic: &[u8]| format!("\"{}\"", String::from_utf8_lossy(magic));
    let constants = [
        ("snapshot version", VERSION.to_string()),
        ("snapshot magic", text(&SNAPSHOT_MAGIC)),
        ("chunk magic", text(&CHUNK_MAGIC)),
        ("trailer magic", text(&TRAILER_MAGIC)),
        ("largest body", BODY_BYTES_MAX.to_string()),
        ("smallest chunk limit", CHUNK_LIMIT_MIN.to_string()),
        ("largest chunk limit", CHUNK_LIMIT_MAX.to_string()),
        ("zstd flag", ZSTD.to_string()),
        ("Snapshot header bytes", HEADER_BYTES.to_string()),
        ("Chunk header bytes", CHUNK_HEADER_BYTES.to_string()),
        ("Trailer bytes", TRAILER_BYTES.to_string()),
    ];
    check_constants("Snapshots", &constants);
}
