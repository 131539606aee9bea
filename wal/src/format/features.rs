//! Features of a log: the bits of its identity that say what a build must know to use it, and the name of the provider
//! that sealed its payloads.

use super::layout::PROVIDER_NAME_BYTES;
use std::fmt;

/// The incompatible features of a log. A build refuses a log with a feature that it does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub struct Features(u64);

impl Features {
    /// Payloads may be sealed. The identity names the provider, without which the payloads cannot be read.
    pub const SEALED: Features = Features(1 << 0);
    /// The log was truncated, restored or imported: its node may have forgotten a vote or an acknowledged entry, so it
    /// must not vote under its old identity.
    pub const FORGOTTEN: Features = Features(1 << 1);
    /// The log was created without syncs, for tests: nothing in it was ever durable.
    pub const NO_SYNC: Features = Features(1 << 2);

    /// Every feature that has a name, with the name.
    const NAMED: [(Features, &str); 3] =
        [(Features::SEALED, "sealed"), (Features::FORGOTTEN, "forgotten"), (Features::NO_SYNC, "no-sync")];

    /// The features with these bits, or the bits that this build does not know.
    pub const fn from_bits(bits: u64) -> Result<Features, u64> {
        let unknown = bits & !(Features::SEALED.0 | Features::FORGOTTEN.0 | Features::NO_SYNC.0);
        if unknown == 0 { Ok(Features(bits)) } else { Err(unknown) }
    }

    /// The bits, as stored in the identity.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether these include all of `features`.
    pub const fn contains(self, features: Features) -> bool {
        self.0 & features.0 == features.0
    }

    /// These and `features`.
    #[must_use]
    pub const fn with(self, features: Features) -> Features {
        Features(self.0 | features.0)
    }

    /// These without `features`.
    #[must_use]
    pub const fn without(self, features: Features) -> Features {
        Features(self.0 & !features.0)
    }
}

impl fmt::Display for Features {
    /// The names, separated by commas; `none` if there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = Features::NAMED.iter().filter(|(feature, _)| self.contains(*feature));
        let Some((_, first)) = names.next() else { return f.write_str("none") };
        f.write_str(first)?;
        names.try_for_each(|(_, name)| write!(f, ", {name}"))
    }
}

/// The name of the provider that seals payloads: 1 to 56 bytes of visible ASCII, such as `xchacha20poly1305`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProviderName([u8; PROVIDER_NAME_BYTES]);

impl ProviderName {
    /// The name; `None` unless it has 1 to 56 bytes, all of them visible ASCII characters.
    pub fn new(name: &str) -> Option<ProviderName> {
        if name.contains('\0') {
            return None;
        }
        let mut bytes = [0; PROVIDER_NAME_BYTES];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        ProviderName::from_field(&bytes).flatten()
    }

    /// Decodes the field of an identity or a manifest: the name, then zeros. The outer `None` means that the field is
    /// invalid, the inner one that it is empty.
    pub(super) fn from_field(field: &[u8; PROVIDER_NAME_BYTES]) -> Option<Option<ProviderName>> {
        let end = field.iter().position(|&byte| byte == 0).unwrap_or(PROVIDER_NAME_BYTES);
        let (name, rest) = field.split_at(end);
        let valid = name.iter().all(u8::is_ascii_graphic) && rest.iter().all(|&byte| byte == 0);
        valid.then_some((end > 0).then_some(ProviderName(*field)))
    }

    /// The field of an identity or a manifest.
    pub(super) fn to_field(name: Option<ProviderName>) -> [u8; PROVIDER_NAME_BYTES] {
        name.map_or([0; PROVIDER_NAME_BYTES], |name| name.0)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(PROVIDER_NAME_BYTES);
        // Both constructors accept only ASCII.
        self.0.get(..end).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_has_a_name_or_is_unknown() {
        for bit in 0..64 {
            let bits = 1 << bit;
            let named = Features::NAMED.iter().any(|(feature, _)| feature.bits() == bits);
            assert_eq!(Features::from_bits(bits).is_ok(), named, "bit {bit}");
        }
        assert_eq!(Features::from_bits(0b11011), Err(0b11000));
        let both = Features::SEALED.with(Features::NO_SYNC);
        assert_eq!(both.to_string(), "sealed, no-sync");
        assert_eq!(both.without(Features::SEALED).to_string(), "no-sync");
        assert_eq!(Features::default().to_string(), "none");
    }

    #[test]
    fn names_of_providers_are_short_and_visible() {
        for good in ["x", "xchacha20poly1305", &"a".repeat(56)] {
            assert_eq!(ProviderName::new(good).expect("a name").as_str(), good);
        }
        for bad in ["", "two words", "nul\0", "tab\t", "ü", &"a".repeat(57)] {
            assert_eq!(ProviderName::new(bad), None, "{bad:?}");
        }
        let mut field = [0; PROVIDER_NAME_BYTES];
        assert_eq!(ProviderName::from_field(&field), Some(None));
        field[1] = b'x';
        assert_eq!(ProviderName::from_field(&field), None, "a name that starts with a zero");
    }
}
