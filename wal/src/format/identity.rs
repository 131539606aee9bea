//! Encodes and decodes the identity file: one block that identifies the log of a directory and states what is needed
//! to read it.

use super::checksum::crc;
use super::features::{Features, ProviderName};
use super::layout::{
    BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, FORMAT_VERSION, IDENTITY_BYTES, IDENTITY_FILE_BYTES, IDENTITY_MAGIC,
    PROVIDER_BYTES, RawIdentity, RawProvider,
};
use zerocopy::{FromBytes, IntoBytes};

/// Feature bits that a version must know to write a log, though not to read it; none is defined yet.
pub const READ_ONLY_COMPATIBLE_KNOWN: u64 = 0;

/// The identity of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Random number, chosen at creation and repeated in every segment.
    pub uuid: [u8; 16],
    /// Block size in bytes; a power of two.
    pub block_bytes: u32,
    /// Features that a reader must know.
    pub features: Features,
    /// Feature bits that a writer must know.
    pub read_only_compatible: u64,
    /// Wall clock at creation, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The provider that sealed payloads; present exactly with [`Features::SEALED`].
    pub provider: Option<ProviderName>,
}

/// Why an identity file is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum IdentityFault {
    /// The file does not have the length of an identity file.
    Size,
    /// The file does not start with the magic bytes of an identity.
    Magic,
    /// The file has this version of the format, which is not supported.
    Version(u32),
    /// The checksum does not match, or bytes after the structures are not zero.
    Checksum,
    /// The file has feature bits that this version does not know: those bits.
    Features(u64),
    /// The file has this block size in bytes, which the format does not allow.
    BlockSize(u32),
    /// The name of the provider is missing or invalid.
    Provider,
}

impl Identity {
    /// Encodes the start of the file; the caller writes zeros after it up to the end of the first block. The name of
    /// the provider is encoded only with [`Features::SEALED`].
    pub fn encode(&self) -> [u8; IDENTITY_FILE_BYTES] {
        let mut raw = RawIdentity {
            magic: IDENTITY_MAGIC,
            version: FORMAT_VERSION.into(),
            block_bytes: self.block_bytes.into(),
            uuid: self.uuid,
            incompatible: self.features.bits().into(),
            read_only_compatible: self.read_only_compatible.into(),
            created_ms: self.created_ms.into(),
            reserved: 0.into(),
            crc: 0.into(),
        };
        raw.crc = crc(&raw.as_bytes()[..IDENTITY_BYTES - 4]).into();
        let mut file = [0; IDENTITY_FILE_BYTES];
        file[..IDENTITY_BYTES].copy_from_slice(raw.as_bytes());
        if self.features.contains(Features::SEALED) {
            let name = ProviderName::to_field(self.provider);
            let mut raw = RawProvider { name, reserved: 0.into(), crc: 0.into() };
            raw.crc = crc(&raw.as_bytes()[..PROVIDER_BYTES - 4]).into();
            file[IDENTITY_BYTES..IDENTITY_BYTES + PROVIDER_BYTES].copy_from_slice(raw.as_bytes());
        }
        file
    }

    /// Decodes a whole file. The version is checked before the checksum, so that a later format is reported as such
    /// even if it computes its checksum differently; and unknown features before anything that they may have changed.
    pub fn decode(file: &[u8]) -> Result<Identity, IdentityFault> {
        let whole = (IDENTITY_FILE_BYTES..=BLOCK_BYTES_MAX as usize).contains(&file.len());
        if !whole || !file.len().is_power_of_two() {
            return Err(IdentityFault::Size);
        }
        let (raw, rest) = RawIdentity::ref_from_prefix(file).map_err(|_| IdentityFault::Size)?;
        if raw.magic != IDENTITY_MAGIC {
            return Err(IdentityFault::Magic);
        }
        if raw.version.get() != FORMAT_VERSION {
            return Err(IdentityFault::Version(raw.version.get()));
        }
        if crc(&file[..IDENTITY_BYTES - 4]) != raw.crc.get() {
            return Err(IdentityFault::Checksum);
        }
        let features = Features::from_bits(raw.incompatible.get()).map_err(IdentityFault::Features)?;
        let (provider, rest) = if features.contains(Features::SEALED) {
            let (raw, rest) = RawProvider::ref_from_prefix(rest).map_err(|_| IdentityFault::Size)?;
            (Some(decode_provider(raw)?), rest)
        } else {
            (None, rest)
        };
        if raw.reserved.get() != 0 || rest.iter().any(|&b| b != 0) {
            return Err(IdentityFault::Checksum);
        }
        let block_bytes = raw.block_bytes.get();
        if !valid_block(block_bytes) {
            return Err(IdentityFault::BlockSize(block_bytes));
        }
        Ok(Identity {
            uuid: raw.uuid,
            block_bytes,
            features,
            read_only_compatible: raw.read_only_compatible.get(),
            created_ms: raw.created_ms.get(),
            provider,
        })
    }
}

fn decode_provider(raw: &RawProvider) -> Result<ProviderName, IdentityFault> {
    if crc(&raw.as_bytes()[..PROVIDER_BYTES - 4]) != raw.crc.get() || raw.reserved.get() != 0 {
        return Err(IdentityFault::Checksum);
    }
    ProviderName::from_field(&raw.name).flatten().ok_or(IdentityFault::Provider)
}

/// Whether the format allows blocks of this size.
pub(super) fn valid_block(block_bytes: u32) -> bool {
    block_bytes.is_power_of_two() && (BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&block_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Identity {
        Identity {
            uuid: [7; 16],
            block_bytes: 4096,
            features: Features::default(),
            read_only_compatible: 0,
            created_ms: 12,
            provider: None,
        }
    }

    fn sealed() -> Identity {
        let features = Features::SEALED.with(Features::FORGOTTEN);
        Identity { features, provider: ProviderName::new("xchacha20poly1305"), ..sample() }
    }

    #[test]
    fn round_trip() {
        for identity in [sample(), sealed(), Identity { features: Features::NO_SYNC, ..sample() }] {
            assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        for file in [sample().encode(), sealed().encode()] {
            for bit in 0..file.len() * 8 {
                let mut bad = file;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Identity::decode(&bad).is_err(), "bit {bit}");
            }
            assert_eq!(Identity::decode(&file[..100]), Err(IdentityFault::Size));
        }
    }

    #[test]
    fn another_version_and_unknown_features_are_named() {
        let mut file = sample().encode();
        file[8] = 9;
        assert_eq!(Identity::decode(&file), Err(IdentityFault::Version(9)));
        let mut file = sample().encode();
        file[32] = 0b1001;
        // Bytes after the structure may mean something to a build that knows the feature.
        file[200] = 1;
        let sum = crc(&file[..60]).to_le_bytes();
        file[60..64].copy_from_slice(&sum);
        assert_eq!(Identity::decode(&file), Err(IdentityFault::Features(8)));
    }

    #[test]
    fn a_sealed_log_names_its_provider_and_no_other_does() {
        let unnamed = Identity { provider: None, ..sealed() };
        assert_eq!(Identity::decode(&unnamed.encode()), Err(IdentityFault::Provider));
        let mut file = sample().encode();
        file[IDENTITY_BYTES..IDENTITY_BYTES + PROVIDER_BYTES]
            .copy_from_slice(&sealed().encode()[IDENTITY_BYTES..IDENTITY_BYTES + PROVIDER_BYTES]);
        assert_eq!(Identity::decode(&file), Err(IdentityFault::Checksum));
    }
}
