//! Tests the files next to the segments: `IDENTITY`, `CLOSED` and `CHECKPOINT`.
//!
//! Any bytes decode to a value or to a refusal (INV-9), a decoded value encodes to the same bytes, and every flipped
//! bit is detected.

use super::formats::{BUILT, REPAIR, opening};
use crate::format::layout::{
    CHECKPOINT_HEADER_BYTES, CHECKPOINT_MAGIC, CLOSED_BYTES, CLOSED_MAGIC, FORMAT_VERSION, IDENTITY_BYTES,
    IDENTITY_FILE_BYTES, IDENTITY_MAGIC, PROVIDER_BYTES,
};
use crate::format::{Closed, Identity, Manifest, checksum};

/// Corrects the checksum in the last four bytes of a structure, if `file` has it.
fn repair(file: &mut [u8], from: usize, to: usize) {
    if let Some(structure) = file.get_mut(from..to) {
        let (body, sum) = structure.split_at_mut(to - from - 4);
        sum.copy_from_slice(&checksum::crc(body).to_le_bytes());
    }
}

/// Sets the magic and the version at the start of `file`.
fn name(file: &mut [u8], magic: &[u8; 8]) {
    if let Some(head) = file.get_mut(..12) {
        head[..8].copy_from_slice(magic);
        head[8..].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    }
}

/// The file that an input describes, with a short one extended to a whole block if it asks for that.
fn file_of_blocks(flags: u8, body: &[u8]) -> Vec<u8> {
    let mut file = body.to_vec();
    if flags & BUILT != 0 {
        file.resize(file.len().max(IDENTITY_FILE_BYTES).next_power_of_two(), 0);
    }
    file
}

/// Asserts that a flipped bit and a missing byte are detected.
fn check_changes(file: &mut Vec<u8>, bit: u16, is_valid: impl Fn(&[u8]) -> bool) {
    let byte = usize::from(bit) / 8 % file.len();
    file[byte] ^= 1 << (bit % 8);
    assert!(!is_valid(file), "bit {} of byte {byte} flipped unnoticed", bit % 8);
    file[byte] ^= 1 << (bit % 8);
    file.pop();
    assert!(!is_valid(file), "cut short");
}

/// Tests the file `CLOSED`. Input: flags, the bit to flip, then the file.
pub fn closed(data: &[u8]) {
    let Some((flags, bit, body)) = opening(data) else { return };
    let mut file = file_of_blocks(flags, body);
    if flags & REPAIR != 0 {
        name(&mut file, &CLOSED_MAGIC);
        repair(&mut file, 0, CLOSED_BYTES);
    }
    let Ok(found) = Closed::decode(&file) else { return };
    assert_eq!(Closed::decode(&found.encode()), Ok(found));
    check_changes(&mut file, bit, |file| Closed::decode(file).is_ok());
}

/// Tests the file `IDENTITY`. Input: flags, the bit to flip, then the file.
pub fn identity(data: &[u8]) {
    let Some((flags, bit, body)) = opening(data) else { return };
    let mut file = file_of_blocks(flags, body);
    if flags & REPAIR != 0 {
        name(&mut file, &IDENTITY_MAGIC);
        repair(&mut file, IDENTITY_BYTES, IDENTITY_BYTES + PROVIDER_BYTES);
        repair(&mut file, 0, IDENTITY_BYTES);
    }
    let Ok(found) = Identity::decode(&file) else { return };
    let again = found.encode();
    assert_eq!(again[..], file[..again.len()], "one encoding per identity");
    check_changes(&mut file, bit, |file| Identity::decode(file).is_ok());
}

/// Tests the file `CHECKPOINT`. Input: flags, the bit to flip, then the file.
pub fn checkpoint(data: &[u8]) {
    let Some((flags, bit, body)) = opening(data) else { return };
    let mut file = body.to_vec();
    if flags & REPAIR != 0 && file.len() >= CHECKPOINT_HEADER_BYTES {
        name(&mut file, &CHECKPOINT_MAGIC);
        let sum = checksum::crc(&file[CHECKPOINT_HEADER_BYTES..]);
        file[CHECKPOINT_HEADER_BYTES - 8..CHECKPOINT_HEADER_BYTES - 4].copy_from_slice(&sum.to_le_bytes());
        repair(&mut file, 0, CHECKPOINT_HEADER_BYTES);
    }
    let Ok(found) = Manifest::decode(&file) else { return };
    assert_eq!(found.encode().as_ref(), Ok(&file), "one encoding per manifest");
    check_changes(&mut file, bit, |file| Manifest::decode(file).is_ok());
}
