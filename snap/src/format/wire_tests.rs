//! Tests of the bytes of a transfer: round trips, every flipped bit, hostile numbers, and agreement with
//! `docs/format.md`.

use super::*;
use crate::tables::{check_constants, check_structures, fields};

fn offer() -> Offer {
    let trailer = Trailer { chunk_count: 3, raw_bytes: 9000, stored_bytes: 1000, digest: [8; 32] };
    let id = SnapshotId { group: 7, index: 40, term: 3 };
    Offer { id, tag: 99, file_bytes: 1000 + 100 + 3 * 28 + 60, opening_bytes: 100, trailer }
}

fn every_bit<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, Fault>) {
    assert!(decode(bytes).is_ok());
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&changed).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len]).is_err(), "{len}");
    }
    assert!(decode(&[bytes, b"x"].concat()).is_err());
}

#[test]
fn offers_and_pieces_return() {
    assert_eq!(Offer::decode(&offer().encode()), Ok(offer()));
    every_bit(&offer().encode(), Offer::decode);
    let piece = Piece { tag: 5, number: 2, offset: 1 << 40, bytes: b"some bytes".to_vec() };
    assert_eq!(Piece::decode(&piece.encode()).as_ref(), Ok(&piece));
    every_bit(&piece.encode(), Piece::decode);
    assert!(Piece::decode(&Piece { bytes: vec![], ..piece }.encode()).is_err());
}

#[test]
fn offers_that_cannot_be_are_refused() {
    let good = offer();
    let trailer = good.trailer;
    for (offer, fault) in [
        (Offer { id: SnapshotId { index: 0, ..good.id }, ..good }, "IndexZero"),
        (Offer { file_bytes: 1 << 60, ..good }, "Counts"),
        (Offer { opening_bytes: 59, ..good }, "Limit"),
        (Offer { opening_bytes: u32::MAX, ..good }, "Limit"),
        (Offer { trailer: Trailer { stored_bytes: u64::MAX, ..trailer }, ..good }, "Counts"),
        (Offer { trailer: Trailer { chunk_count: u32::MAX, ..trailer }, ..good }, "Limit"),
    ] {
        let found = format!("{:?}", Offer::decode(&offer.encode()).unwrap_err());
        assert!(found.starts_with(fault), "{found} {fault}");
    }
}

#[test]
fn the_document_says_the_same() {
    let structures = [
        (
            "Offer",
            fields!(RawOffer: magic version group index term tag file_bytes raw_bytes stored_bytes digest
                chunk_count opening_bytes flags crc),
        ),
        ("Piece", fields!(RawPiece: magic number tag offset length bytes_crc crc)),
    ];
    check_structures("Transfers", &structures);
    let text = |magic: &[u8]| format!("\"{}\"", String::from_utf8_lossy(magic));
    let constants = [
        ("offer magic", text(&OFFER_MAGIC)),
        ("piece magic", text(&PIECE_MAGIC)),
        ("largest piece", PIECE_BYTES_MAX.to_string()),
        ("Offer bytes", OFFER_BYTES.to_string()),
        ("Piece header bytes", PIECE_HEADER_BYTES.to_string()),
    ];
    check_constants("Transfers", &constants);
}
