//! The functions that the fuzz targets of snapshots run; for tests only (feature `fuzz`).
//!
//! Arbitrary bytes, with or without corrected checksums, decode to a value or are refused (INV-9); a decoded
//! value is within its limits and encodes to the same bytes. Any directory yields a snapshot as it was written
//! or a refusal, and loses nothing (INV-10). A panic is a finding.

use crate::catalog::Catalog;
use crate::directory::store::DAMAGED_BEYOND_KEEP;
use crate::error::Error;
use crate::format::name::Kind;
use crate::format::wire::{Offer, Piece};
use crate::format::{
    BODY_BYTES_MAX, CHUNK_HEADER_BYTES, CHUNK_LIMIT_MAX, CHUNK_LIMIT_MIN, CHUNK_MAGIC, ChunkHeader, Fault,
    HEADER_BYTES, Header, SNAPSHOT_MAGIC, TRAILER_BYTES, TRAILER_MAGIC, Trailer, VERSION, encode_opening,
};
use crate::options::Options;
use crate::types::SnapshotId;
use seawall_disk::Mode;
use seawall_disk::sim::{SimDisk, SimOptions};
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::ControlFlow::Continue;
use std::sync::{Arc, OnceLock};

/// Flag in the first byte of an input: correct the checksums and the magic.
const REPAIR: u8 = 4;

/// Fuzzes the format. The input has flags, the bit to flip, then an opening, a chunk, a trailer, or the content
/// of a snapshot to encode.
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
    // The length of the stored bytes is checked first.
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

/// Encodes the input as content and decodes it again.
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

/// Gives the structure of `size` bytes at the start of `bytes` its magic and a correct checksum.
fn repair(bytes: &mut [u8], size: usize, magic: &[u8]) {
    if let Some(own) = bytes.get_mut(..size) {
        own[..magic.len()].copy_from_slice(magic);
        let sum = crc32c::crc32c(&own[..size - 4]);
        own[size - 4..].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Flips bit `bit`, counted from the start and wrapping around.
fn flip(bytes: &mut [u8], bit: u8) {
    let byte = usize::from(bit) % bytes.len();
    bytes[byte] ^= 1 << (bit >> 5);
}

/// Decodes an offer or a piece; the result must encode to the same bytes.
fn message(bytes: &[u8]) {
    if let Ok(offer) = Offer::decode(bytes) {
        assert_eq!(offer.encode(), bytes, "one encoding per offer");
    }
    if let Ok(piece) = Piece::decode(bytes) {
        assert_eq!(piece.encode(), bytes, "one encoding per piece");
    }
}

/// Indexes of the snapshots that a directory starts with.
const INDEXES: [u64; 3] = [1, 2, 3];

fn id(index: u64) -> SnapshotId {
    SnapshotId { group: 1, index, term: 1 }
}

fn name(index: u64) -> String {
    crate::format::name::published(id(index))
}

fn content(index: u64) -> Vec<u8> {
    (0..5000u64).map(|n| (n * index / 7 + n % index).to_le_bytes()[0]).collect()
}

fn new_disk() -> Arc<SimDisk> {
    SimDisk::new(1, SimOptions { mode: Mode::Buffered, ..SimOptions::default() })
}

fn open(disk: &SimDisk) -> Result<Catalog, Error> {
    let options = Options { helpers: 0, chunk_bytes: 4096, ..Options::default() };
    Catalog::open(disk.process(), &options).map(|(catalog, _)| catalog)
}

/// The files that a directory starts with.
fn files() -> &'static [(String, Vec<u8>)] {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = new_disk();
        let catalog = open(&disk).expect("an empty directory");
        let write = |index| {
            let mut writer = catalog.write(id(index), b"conf", b"meta")?;
            writer.append(&content(index))?;
            writer.finish()
        };
        let _ = INDEXES.map(|index| write(index).expect("a sound disk"));
        INDEXES.map(|index| (name(index), disk.read_file(&name(index)))).to_vec()
    })
}

/// A file name chosen by a byte of the input: existing snapshots and others, unfinished files, foreign names.
fn any_name(byte: u8) -> String {
    let index = u64::from(byte >> 4) % 5 + 1;
    match byte % 8 {
        0..=2 => name(index),
        3 => crate::format::name::writing(id(index)),
        4 => crate::format::name::receiving(id(index), index),
        5 => crate::format::name::damaged(id(index), u32::from(byte >> 6)),
        6 => name(index).to_uppercase(),
        _ => format!("{index}.snap"),
    }
}

/// Applies changes of four bytes each to a directory, which must then yield a snapshot as it was written or
/// refuse, and lose nothing.
pub fn catalog(data: &[u8]) {
    message(data);
    let Some((&flags, changes)) = data.split_first() else { return };
    let disk = new_disk();
    files().iter().for_each(|(name, bytes)| disk.write_file(name, bytes));
    for change in changes.chunks_exact(4).take(64) {
        let (&[what, which, at, value], name) = (change.first_chunk().expect("four"), any_name(change[1]));
        let bytes = if disk.exists(&name) { disk.read_file(&name) } else { Vec::new() };
        let at = usize::from(at) * bytes.len() / 255;
        match what % 5 {
            0 if at < bytes.len() => disk.corrupt(&name, at, |bytes| bytes[0] ^= value.max(1)),
            1 if !bytes.is_empty() => disk.truncate(&name, at + usize::from(value)),
            2 => disk.remove_file(&name),
            // The content of another snapshot, or meaningless content.
            3 => disk.write_file(&name, &files()[usize::from(value) % files().len()].1),
            _ => disk.write_file(&name, &[value; 3].repeat(usize::from(which))),
        }
    }
    let all = |disk: &SimDisk| -> BTreeMap<String, Vec<u8>> {
        disk.names().into_iter().map(|name| (name.clone(), disk.read_file(&name))).collect()
    };
    let before = all(&disk);
    let serve = |catalog: &Catalog| match catalog.newest(1, |_| flags & 1 == 0, &mut |_| Continue(())) {
        Ok(newest) => newest.map(|newest| {
            let (mut reader, mut found) = (newest.reader, Vec::new());
            reader.read_to_end(&mut found).expect("verified");
            assert!(found == content(reader.id().index) && reader.metadata() == b"meta", "another content");
            reader.id().index
        }),
        Err(Error::Gap { .. } | Error::NoneLeft { .. } | Error::Version { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    let sound = files().iter().rev().find(|(name, bytes)| before.get(name) == Some(bytes));
    let served = serve(&open(&disk).expect("a sound disk"));
    if let (Some((name, _)), true) = (sound, flags & 1 == 0) {
        let refused = served.is_none();
        assert!(refused || served.map(self::name).as_ref() >= Some(name), "a sound newer one is there");
    }
    // Nothing is lost except the files of writers, and the oldest damaged files if there are too many.
    let mut after = all(&disk);
    let damaged_most = Options::default().keep as usize + DAMAGED_BEYOND_KEEP;
    let is_damaged = |name: &&String| matches!(crate::format::name::parse(name), Some(Kind::Damaged(..)));
    let too_many = after.keys().filter(is_damaged).count() >= damaged_most;
    let is_foreign = |file: &(&String, &Vec<u8>)| crate::format::name::parse(file.0).is_none();
    let (foreign, own): (Vec<_>, Vec<_>) = before.iter().partition(is_foreign);
    for (name, bytes) in foreign {
        assert_eq!(after.remove(name).as_ref(), Some(bytes), "{name} is changed");
    }
    // Own files may have another name now. Intact files come first, since a damaged one may hold the same bytes.
    let mut after: Vec<Vec<u8>> = after.into_values().collect();
    let is_sound = |file: &(&String, &Vec<u8>)| files().iter().any(|(name, bytes)| (name, bytes) == *file);
    let (sound, others): (Vec<_>, Vec<_>) = own.into_iter().partition(is_sound);
    for (name, bytes) in sound.iter().chain(&others).filter(|(name, _)| !name.ends_with(".new")) {
        let at = after.iter().position(|found| found == *bytes);
        let may_go = || too_many && !is_sound(&(name, bytes));
        assert!(at.is_some() || may_go(), "{name} is gone");
        at.map(|at| after.swap_remove(at));
    }
    assert_eq!(serve(&open(&disk).expect("a sound disk")), served, "another one after a reopen");
}
