//! Encodes and decodes the file `CHECKPOINT`, the manifest of a consistent copy of a log.
//!
//! A checkpoint directory has this file and no `IDENTITY`, so it cannot be opened as a log by mistake. The manifest
//! lists every file of the copy with its digest. It is written last: a directory without a valid manifest is not a
//! checkpoint.

use super::checksum::crc;
use super::features::{Features, ProviderName};
use super::identity::valid_block;
use super::layout::{
    CHECKPOINT_ENTRY_BYTES, CHECKPOINT_FILE_BYTES_MAX, CHECKPOINT_HEADER_BYTES, CHECKPOINT_MAGIC,
    CHECKPOINT_SEGMENT_BYTES, FORMAT_VERSION, RawCheckpoint, RawCheckpointFile, RawCheckpointSegment,
};
use crate::types::Lsn;
use std::fmt;
use zerocopy::{FromBytes, IntoBytes};

/// A BLAKE3 digest.
pub type Digest = [u8; 32];

/// The manifest of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Identity of the log that was copied.
    pub uuid: [u8; 16],
    /// Block size of the log in bytes.
    pub block_bytes: u32,
    /// Features of the log that a reader must know.
    pub features: Features,
    /// Feature bits of the log that a writer must know.
    pub read_only_compatible: u64,
    /// The provider that sealed payloads; present exactly with [`Features::SEALED`].
    pub provider: Option<ProviderName>,
    /// Position of the copy: it has every record below, and none at or above.
    pub end: Lsn,
    /// Lowest live segment of the copy.
    pub first_live: u32,
    /// Wall clock when the copy was complete, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Digest of the manifest of the checkpoint that this one shares files with.
    pub base: Option<Digest>,
    /// The segments from `first_live` on, without a gap. The last one is a spare without groups; the one before it holds
    /// `end`.
    pub segments: Vec<ManifestSegment>,
    /// All other files of the copy, such as snapshots, in ascending order of their names.
    pub files: Vec<ManifestFile>,
}

/// A segment of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ManifestSegment {
    /// Number of the segment.
    pub sequence: u32,
    /// Salt of the segment.
    pub salt: u64,
    /// End of its last group in bytes; the block size if it has none.
    pub end: u32,
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// Digest of the file.
    pub digest: Digest,
}

/// A file of a checkpoint that is not a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestFile {
    /// Path relative to the checkpoint's directory; its parts are separated by `/`.
    pub name: String,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Digest of the file.
    pub digest: Digest,
}

/// Why a manifest is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ManifestFault {
    /// The file is shorter or longer than its header says, or too large.
    Size,
    /// The file does not start with the magic bytes of a manifest.
    Magic,
    /// The file has this version of the format, which is not supported.
    Version(u32),
    /// A checksum does not match.
    Checksum,
    /// The log has feature bits that this version does not know: those bits.
    Features(u64),
    /// The log has this block size in bytes, which the format does not allow.
    BlockSize(u32),
    /// The checksums match, but no checkpoint has this content: the reason.
    Content(&'static str),
}

impl fmt::Display for ManifestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestFault::Size => write!(f, "it does not have the length that its header states"),
            ManifestFault::Magic => write!(f, "it does not start like a manifest"),
            ManifestFault::Version(found) => {
                write!(f, "format version {found}; this build supports version {FORMAT_VERSION}")
            }
            ManifestFault::Checksum => write!(f, "its checksum does not match"),
            ManifestFault::Features(bits) => write!(f, "the log has unknown feature bits {bits:#x}"),
            ManifestFault::BlockSize(bytes) => write!(f, "the log has blocks of {bytes} bytes"),
            ManifestFault::Content(why) => write!(f, "{why}"),
        }
    }
}

impl Manifest {
    /// Encodes the file.
    ///
    /// # Errors
    /// The content that [`Manifest::decode`] would refuse, so that no invalid manifest is ever written.
    pub fn encode(&self) -> Result<Vec<u8>, ManifestFault> {
        self.check()?;
        let narrow = |n: usize| u32::try_from(n).map_err(|_| ManifestFault::Size);
        let mut body = Vec::new();
        for segment in &self.segments {
            let raw = RawCheckpointSegment {
                sequence: segment.sequence.into(),
                end: segment.end.into(),
                salt: segment.salt.into(),
                file_bytes: segment.file_bytes.into(),
                reserved: 0.into(),
                digest: segment.digest,
            };
            body.extend_from_slice(raw.as_bytes());
        }
        for file in &self.files {
            let raw = RawCheckpointFile {
                bytes: file.bytes.into(),
                name_bytes: u16::try_from(file.name.len()).map_err(|_| ManifestFault::Size)?.into(),
                reserved: 0.into(),
                reserved2: 0.into(),
                digest: file.digest,
            };
            body.extend_from_slice(raw.as_bytes());
        }
        let names_bytes = narrow(self.files.iter().map(|file| file.name.len()).sum())?;
        self.files.iter().for_each(|file| body.extend_from_slice(file.name.as_bytes()));
        let mut raw = RawCheckpoint {
            magic: CHECKPOINT_MAGIC,
            version: FORMAT_VERSION.into(),
            block_bytes: self.block_bytes.into(),
            uuid: self.uuid,
            incompatible: self.features.bits().into(),
            read_only_compatible: self.read_only_compatible.into(),
            end: self.end.as_u64().into(),
            first_live: self.first_live.into(),
            segments: narrow(self.segments.len())?.into(),
            files: narrow(self.files.len())?.into(),
            names_bytes: names_bytes.into(),
            created_ms: self.created_ms.into(),
            base: self.base.unwrap_or_default(),
            provider: ProviderName::to_field(self.provider),
            body_crc: crc(&body).into(),
            crc: 0.into(),
        };
        raw.crc = crc(&raw.as_bytes()[..CHECKPOINT_HEADER_BYTES - 4]).into();
        let mut file = raw.as_bytes().to_vec();
        file.append(&mut body);
        if file.len() > CHECKPOINT_FILE_BYTES_MAX { Err(ManifestFault::Size) } else { Ok(file) }
    }

    /// Decodes a whole file. Allocates no more than a constant factor of its length.
    pub fn decode(file: &[u8]) -> Result<Manifest, ManifestFault> {
        let (raw, body) = RawCheckpoint::ref_from_prefix(file).map_err(|_| ManifestFault::Size)?;
        if raw.magic != CHECKPOINT_MAGIC {
            return Err(ManifestFault::Magic);
        }
        if raw.version.get() != FORMAT_VERSION {
            return Err(ManifestFault::Version(raw.version.get()));
        }
        if crc(&file[..CHECKPOINT_HEADER_BYTES - 4]) != raw.crc.get() {
            return Err(ManifestFault::Checksum);
        }
        let features = Features::from_bits(raw.incompatible.get()).map_err(ManifestFault::Features)?;
        let sizes = [
            (raw.segments.get(), CHECKPOINT_SEGMENT_BYTES),
            (raw.files.get(), CHECKPOINT_ENTRY_BYTES),
            (raw.names_bytes.get(), 1),
        ];
        let stated: u64 = sizes.iter().map(|(count, bytes)| u64::from(*count) * *bytes as u64).sum();
        if stated != body.len() as u64 || file.len() > CHECKPOINT_FILE_BYTES_MAX {
            return Err(ManifestFault::Size);
        }
        if crc(body) != raw.body_crc.get() {
            return Err(ManifestFault::Checksum);
        }
        let provider = ProviderName::from_field(&raw.provider)
            .ok_or(ManifestFault::Content("the name of the provider is invalid"))?;
        let (segments, files) = decode_body(raw, body)?;
        let manifest = Manifest {
            uuid: raw.uuid,
            block_bytes: raw.block_bytes.get(),
            features,
            read_only_compatible: raw.read_only_compatible.get(),
            provider,
            end: Lsn::from_u64(raw.end.get()),
            first_live: raw.first_live.get(),
            created_ms: raw.created_ms.get(),
            base: (raw.base != [0; 32]).then_some(raw.base),
            segments,
            files,
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks what a manifest of an existing checkpoint satisfies.
    fn check(&self) -> Result<(), ManifestFault> {
        let require = |holds: bool, why| if holds { Ok(()) } else { Err(ManifestFault::Content(why)) };
        let block = self.block_bytes;
        if !valid_block(block) {
            return Err(ManifestFault::BlockSize(block));
        }
        let sealed = self.features.contains(Features::SEALED);
        require(sealed == self.provider.is_some(), "it names a provider, or none, against its features")?;
        require(self.base != Some([0; 32]), "its base has no digest")?;
        let follows = |pair: &[ManifestSegment]| matches!(pair, [a, b] if a.sequence.checked_add(1) == Some(b.sequence));
        let starts = self.segments.first().is_some_and(|first| first.sequence == self.first_live);
        let whole = self.first_live > 0 && starts && self.segments.windows(2).all(follows);
        require(whole, "a segment is missing")?;
        let [.., tail, spare] = &self.segments[..] else {
            return Err(ManifestFault::Content("it has no segment and spare"));
        };
        require(
            Lsn::new(tail.sequence, tail.end) == self.end,
            "its last segment does not end at its position",
        )?;
        require(spare.end == block, "the spare after the last segment has groups")?;
        let shape = |s: &ManifestSegment| {
            s.end >= block
                && s.end.is_multiple_of(block)
                && s.file_bytes.is_multiple_of(u64::from(block))
                && (u64::from(s.end)..=u64::from(u32::MAX)).contains(&s.file_bytes)
        };
        require(self.segments.iter().all(shape), "a segment has an impossible length")?;
        require(self.files.is_sorted_by(|a, b| a.name < b.name), "its files are not in order")?;
        require(self.files.iter().all(|file| is_inside(&file.name)), "a file name leads out of the directory")
    }
}

/// Decodes the lists after the header, of which the lengths were checked.
fn decode_body(
    raw: &RawCheckpoint,
    body: &[u8],
) -> Result<(Vec<ManifestSegment>, Vec<ManifestFile>), ManifestFault> {
    let count = |n: u32| usize::try_from(n).map_err(|_| ManifestFault::Size);
    let (segments, body) =
        <[RawCheckpointSegment]>::ref_from_prefix_with_elems(body, count(raw.segments.get())?)
            .map_err(|_| ManifestFault::Size)?;
    let (files, mut names) = <[RawCheckpointFile]>::ref_from_prefix_with_elems(body, count(raw.files.get())?)
        .map_err(|_| ManifestFault::Size)?;
    let reserved = segments.iter().all(|s| s.reserved.get() == 0)
        && files.iter().all(|f| f.reserved.get() == 0 && f.reserved2.get() == 0);
    if !reserved {
        return Err(ManifestFault::Content("a reserved field is not 0"));
    }
    let segment = |s: &RawCheckpointSegment| ManifestSegment {
        sequence: s.sequence.get(),
        salt: s.salt.get(),
        end: s.end.get(),
        file_bytes: s.file_bytes.get(),
        digest: s.digest,
    };
    let mut named = Vec::with_capacity(files.len());
    for file in files {
        let (name, rest) =
            names.split_at_checked(usize::from(file.name_bytes.get())).ok_or(ManifestFault::Size)?;
        names = rest;
        let name =
            std::str::from_utf8(name).map_err(|_| ManifestFault::Content("a file name is not UTF-8"))?;
        named.push(ManifestFile { name: name.to_owned(), bytes: file.bytes.get(), digest: file.digest });
    }
    if !names.is_empty() {
        return Err(ManifestFault::Size);
    }
    Ok((segments.iter().map(segment).collect(), named))
}

/// Whether a name is a relative path that stays in its directory.
fn is_inside(name: &str) -> bool {
    name.split('/')
        .all(|part| !part.is_empty() && part != "." && part != ".." && !part.contains(['\0', '\\']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let segment = |sequence, end| ManifestSegment {
            sequence,
            salt: u64::from(sequence) * 3,
            end,
            file_bytes: 1 << 20,
            digest: [7; 32],
        };
        let file = |name: &str| ManifestFile { name: name.to_owned(), bytes: 9, digest: [8; 32] };
        Manifest {
            uuid: [5; 16],
            block_bytes: 4096,
            features: Features::SEALED,
            read_only_compatible: 0,
            provider: ProviderName::new("xchacha20poly1305"),
            end: Lsn::new(4, 12288),
            first_live: 3,
            created_ms: 77,
            base: Some([9; 32]),
            segments: vec![segment(3, 1 << 20), segment(4, 12288), segment(5, 4096)],
            files: vec![file("snap/0000-a.snap"), file("snap/0000-b.snap")],
        }
    }

    #[test]
    fn round_trip() {
        let plain =
            Manifest { features: Features::default(), provider: None, base: None, files: vec![], ..sample() };
        for manifest in [sample(), plain] {
            assert_eq!(Manifest::decode(&manifest.encode().expect("valid")), Ok(manifest));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused() {
        let file = sample().encode().expect("valid");
        for bit in 0..file.len() * 8 {
            let mut bad = file.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&bad).is_err(), "bit {bit}");
        }
        for len in 0..file.len() {
            assert!(Manifest::decode(&file[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(Manifest::decode(&[&file[..], &[0]].concat()), Err(ManifestFault::Size));
    }

    #[test]
    fn a_manifest_that_no_checkpoint_has_is_not_written() {
        let broken: [fn(&mut Manifest); 13] = [
            |m| m.provider = None,
            |m| m.features = Features::default(),
            |m| m.base = Some([0; 32]),
            |m| m.first_live = 0,
            |m| m.first_live = 2,
            |m| _ = m.segments.remove(1),
            |m| _ = m.segments.pop(),
            |m| m.segments.clear(),
            |m| m.end = Lsn::new(4, 8192),
            |m| m.segments[2].end = 8192,
            |m| m.segments[0].file_bytes = 4096,
            |m| m.files.swap(0, 1),
            |m| m.files[1].name = "z/../../etc/passwd".to_owned(),
        ];
        for (case, break_it) in broken.iter().enumerate() {
            let mut manifest = sample();
            break_it(&mut manifest);
            assert!(matches!(manifest.encode(), Err(ManifestFault::Content(_))), "case {case}");
        }
        for name in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\0b"] {
            assert!(!is_inside(name), "{name:?}");
        }
    }

    #[test]
    fn another_version_and_unknown_features_are_named() {
        let with = |at: usize, byte: u8| {
            let mut file = sample().encode().expect("valid");
            file[at] = byte;
            let sum = crc(&file[..CHECKPOINT_HEADER_BYTES - 4]).to_le_bytes();
            file[CHECKPOINT_HEADER_BYTES - 4..CHECKPOINT_HEADER_BYTES].copy_from_slice(&sum);
            Manifest::decode(&file)
        };
        assert_eq!(with(8, 2), Err(ManifestFault::Version(2)));
        assert_eq!(with(32, 0b10001), Err(ManifestFault::Features(16)));
        assert_eq!(with(13, 0), Err(ManifestFault::BlockSize(0)));
        assert_eq!(with(60, 255), Err(ManifestFault::Size));
    }
}
