//! Opens a published file and checks its opening and trailer against each other and its length.
//!
//! Counts and sizes are consistent with the file's length before anything of the stated size is allocated
//! (INV-9).

use crate::error::{Error, FileContext, FilePart};
use crate::format::name;
use crate::format::{CHUNK_HEADER_BYTES, Fault, HEADER_BYTES, Header, TRAILER_BYTES, Trailer};
use crate::read::chunk_reader::{ChunkReader, Medium};
use crate::types::{Published, SnapshotId};
use seawall_disk::{Access, Disk};

/// The opening and trailer of a snapshot's file.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) context: FileContext,
    pub(crate) header: Header,
    pub(crate) trailer: Trailer,
    /// Everything before the first chunk.
    pub(crate) opening: Vec<u8>,
    pub(crate) file_bytes: u64,
    medium: Medium,
}

/// Size of a snapshot's file, in bytes; `None` if it overflows.
pub(crate) fn file_bytes(header: &Header, trailer: &Trailer) -> Option<u64> {
    let headers = u64::from(trailer.chunk_count) * CHUNK_HEADER_BYTES as u64;
    let ends = (header.opening_bytes() + TRAILER_BYTES) as u64;
    trailer.stored_bytes.checked_add(headers)?.checked_add(ends)
}

/// Checks that a trailer is consistent with `header`.
pub(crate) fn check_counts(header: &Header, trailer: &Trailer) -> Result<(), Fault> {
    let count = u64::from(trailer.chunk_count);
    let raw = count..=count * u64::from(header.chunk_bytes_max);
    let stored = count..=trailer.raw_bytes;
    let agree = raw.contains(&trailer.raw_bytes) && stored.contains(&trailer.stored_bytes);
    if agree { Ok(()) } else { Err(Fault::Counts) }
}

impl Snapshot {
    /// Opens the published snapshot `id`.
    pub(crate) fn open(disk: &dyn Disk, id: SnapshotId) -> Result<Snapshot, Error> {
        let name = name::published(id);
        let context = FileContext::new(&disk.location(), &name);
        let file = disk.open(&name, Access::Read).map_err(|e| context.io("open", e))?;
        let len = file.len().map_err(|e| context.io("examine", e))?;
        let medium = Medium::new(file, disk.block_size());

        let opening = |fault| context.damaged(FilePart::Opening, fault);
        let too_short =
            |expected: usize| Fault::Length { expected, found: usize::try_from(len).unwrap_or(0) };
        if len < (HEADER_BYTES + TRAILER_BYTES) as u64 {
            return Err(opening(too_short(HEADER_BYTES + TRAILER_BYTES)));
        }
        let read = |place, offset, len| medium.read_vec(offset, len).map_err(|e| context.read(place, e));
        let header = Header::decode(&read(FilePart::Opening, 0, HEADER_BYTES)?).map_err(opening)?;
        if header.id != id {
            return Err(opening(Fault::Name));
        }
        let opening_bytes = header.opening_bytes();
        if ((opening_bytes + TRAILER_BYTES) as u64) > len {
            return Err(opening(too_short(opening_bytes + TRAILER_BYTES)));
        }
        let bytes = read(FilePart::Opening, 0, opening_bytes)?;
        header.split_opening(&bytes).map_err(opening)?;

        let trailer = |fault| context.damaged(FilePart::Trailer, fault);
        let last = read(FilePart::Trailer, len - TRAILER_BYTES as u64, TRAILER_BYTES)?;
        let found = Trailer::decode(&last).map_err(trailer)?;
        check_counts(&header, &found).map_err(trailer)?;
        if file_bytes(&header, &found) != Some(len) {
            return Err(trailer(Fault::Counts));
        }
        Ok(Snapshot { header, trailer: found, opening: bytes, file_bytes: len, medium, context })
    }

    pub(crate) fn conf_state(&self) -> &[u8] {
        &self.opening[HEADER_BYTES..HEADER_BYTES + self.header.conf_state_bytes as usize]
    }

    pub(crate) fn metadata(&self) -> &[u8] {
        let from = HEADER_BYTES + self.header.conf_state_bytes as usize;
        &self.opening[from..from + self.header.metadata_bytes as usize]
    }

    pub(crate) fn published(&self) -> Published {
        Published {
            id: self.header.id,
            raw_bytes: self.trailer.raw_bytes,
            file_bytes: self.file_bytes,
            digest: self.trailer.digest,
        }
    }

    /// Number and offset of chunk 0.
    pub(crate) fn first(&self) -> (u32, u64) {
        (0, self.opening.len() as u64)
    }

    /// Reads chunks from `from` on, the number and offset of a chunk.
    pub(crate) fn frames(&self, from: (u32, u64)) -> ChunkReader {
        let end = self.file_bytes - TRAILER_BYTES as u64;
        let (medium, context) = (self.medium.clone(), self.context.clone());
        ChunkReader::new(medium, context, self.header, from, (self.trailer.chunk_count, end))
    }
}
