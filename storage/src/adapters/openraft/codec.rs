//! Encodes entries, votes and log ids: a format byte, then MessagePack with field names.
//!
//! Any value that `serde` can describe can be stored. A field that is added later with a default reads old
//! bytes. Decoding is total (INV-9).
//!
//! ```text
//! byte 0   1, the format
//! then     the value in MessagePack, structures as maps by name, up to the end of the payload
//! ```

use std::sync::Arc;

use rmp_serde::decode::Error;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

const FORMAT: u8 = 1;

/// How deep maps and lists may be nested in a value. Decoding recurses, and deeper bytes would end the stack of a thread.
const NESTING_MAX: usize = 128;

/// Why bytes are not the expected value. Their checksum was correct, so something else wrote them: another
/// version, or an application with other types.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// There are no bytes.
    #[error("no bytes")]
    Empty,
    /// This version does not know the format.
    #[error("format {found} is not known")]
    Format {
        /// The format byte found.
        found: u8,
    },
    /// The bytes are not the MessagePack of such a value.
    #[error("the bytes do not decode: {0}")]
    Decode(Arc<rmp_serde::decode::Error>),
    /// Bytes follow the value.
    #[error("{bytes} bytes after the value")]
    Trailing {
        /// Number of bytes after the value.
        bytes: usize,
    },
    /// Maps and lists are nested deeper than a value may be.
    #[error("maps and lists are nested more than {max} deep")]
    Nesting {
        /// The largest depth.
        max: usize,
    },
    /// The value cannot be encoded: its `Serialize` failed.
    #[error("the value does not encode: {0}")]
    Encode(Arc<rmp_serde::encode::Error>),
}

/// Encodes `value`.
///
/// # Errors
/// [`CodecError::Encode`]; [`CodecError::Nesting`] for a value that [`decode`] would refuse.
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![FORMAT];
    let mut writer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
    value.serialize(&mut writer).map_err(|error| CodecError::Encode(Arc::new(error)))?;
    check_nesting(&bytes[1..])?;
    Ok(bytes)
}

/// Decodes a value from `bytes`.
///
/// # Errors
/// [`CodecError`] for bytes that [`encode`] does not produce for such a value.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (&format, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if format != FORMAT {
        return Err(CodecError::Format { found: format });
    }
    check_nesting(body)?;
    let mut reader = rmp_serde::Deserializer::new(body);
    let value = T::deserialize(&mut reader).map_err(|error| CodecError::Decode(Arc::new(error)))?;
    match reader.get_ref().len() {
        0 => Ok(value),
        bytes => Err(CodecError::Trailing { bytes }),
    }
}

/// Checks that maps and lists in `body` are nested at most [`NESTING_MAX`] deep.
///
/// The limit of the decoder does not suffice, since it does not count enums.
fn check_nesting(body: &[u8]) -> Result<(), CodecError> {
    // Each level takes a byte that marks a map or a list, so most values have too few of them.
    let marks = body.iter().filter(|byte| matches!(byte, 0x80..=0x9f | 0xdc..=0xdf)).count();
    if marks <= NESTING_MAX {
        return Ok(());
    }
    let mut reader = rmp_serde::Deserializer::new(body);
    reader.set_max_depth(NESTING_MAX + 1);
    match IgnoredAny::deserialize(&mut reader) {
        Err(Error::DepthLimitExceeded) => Err(CodecError::Nesting { max: NESTING_MAX }),
        // Other faults are the decoder's to name.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Eq, Debug, Clone)]
    enum Request {
        Blank,
        Put { key: String, value: Vec<u8> },
    }

    #[derive(Serialize, Deserialize, PartialEq, Eq, Debug, Clone)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Bytes(Vec<u8>),
    }

    #[derive(Serialize, Deserialize, PartialEq, Eq, Debug, Clone)]
    struct Sample {
        request: Request,
        either: Vec<Either>,
        nodes: BTreeMap<(u64, String), Option<BTreeSet<u8>>>,
        #[serde(flatten)]
        more: BTreeMap<String, u32>,
    }

    fn sample() -> Sample {
        Sample {
            request: Request::Put { key: "k".into(), value: (0..=255).collect() },
            either: vec![Either::Number(u64::MAX), Either::Bytes(vec![0, 128, 255])],
            nodes: BTreeMap::from([
                ((7, "a".into()), Some(BTreeSet::from([1, 200]))),
                ((8, "".into()), None),
            ]),
            more: BTreeMap::from([("x".into(), 1)]),
        }
    }

    #[test]
    fn what_serde_can_describe_comes_back() {
        assert_eq!(decode::<Sample>(&encode(&sample()).unwrap()).unwrap(), sample());
        assert_eq!(decode::<Request>(&encode(&Request::Blank).unwrap()).unwrap(), Request::Blank);
        assert_eq!(decode::<Option<u64>>(&encode(&None::<u64>).unwrap()).unwrap(), None);
    }

    #[test]
    fn a_field_that_was_added_with_a_default_reads_old_bytes() {
        #[derive(Serialize)]
        struct Old {
            a: u64,
        }
        #[derive(Deserialize, PartialEq, Debug)]
        struct New {
            #[serde(default)]
            b: Option<String>,
            a: u64,
        }
        assert_eq!(decode::<New>(&encode(&Old { a: 3 }).unwrap()).unwrap(), New { b: None, a: 3 });
    }

    #[test]
    fn what_is_no_value_is_named() {
        let whole = encode(&sample()).unwrap();
        assert!(matches!(decode::<Sample>(&[]), Err(CodecError::Empty)));
        assert!(matches!(decode::<Sample>(&[2, 0]), Err(CodecError::Format { found: 2 })));
        for length in 1..whole.len() {
            assert!(decode::<Sample>(&whole[..length]).is_err(), "{length} bytes");
        }
        let longer = [&whole[..], &[0]].concat();
        assert!(matches!(decode::<Sample>(&longer), Err(CodecError::Trailing { bytes: 1 })));
    }

    #[test]
    fn no_bytes_panic_or_take_memory_that_is_not_there() {
        let whole = encode(&sample()).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = decode::<Sample>(&flipped);
        }
        // An array, a map and a byte string of four billion elements, then a million levels of nesting.
        for claim in
            [[1, 0xdd, 255, 255, 255, 255], [1, 0xdf, 255, 255, 255, 255], [1, 0xc6, 255, 255, 255, 255]]
        {
            assert!(decode::<Vec<u64>>(&claim).is_err());
            assert!(decode::<BTreeMap<u64, u64>>(&claim).is_err());
        }
        let mut deep = vec![1];
        deep.resize(1 << 20, 0x91);
        assert!(matches!(decode::<IgnoredAny>(&deep), Err(CodecError::Nesting { max: NESTING_MAX })));
    }

    /// A type that contains itself, through an enum.
    #[derive(Serialize, Deserialize, PartialEq, Eq, Debug, Clone)]
    enum List {
        End,
        Item(Box<List>),
    }

    #[test]
    fn a_value_that_is_nested_too_deep_is_refused_on_both_sides() {
        let list = |depth| (0..depth).fold(List::End, |rest, _| List::Item(Box::new(rest)));
        let deepest = list(NESTING_MAX);
        assert_eq!(decode::<List>(&encode(&deepest).unwrap()).unwrap(), deepest);
        for depth in [NESTING_MAX + 1, 1000] {
            assert!(matches!(encode(&list(depth)), Err(CodecError::Nesting { max: NESTING_MAX })), "{depth}");
        }
        // Bytes that `encode` never writes: a million nested maps, each with the name of a variant.
        let mut bytes = vec![1];
        (0..1_000_000).for_each(|_| bytes.extend([0x81, 0xa4, b'I', b't', b'e', b'm']));
        assert!(matches!(decode::<List>(&bytes), Err(CodecError::Nesting { max: NESTING_MAX })));
    }
}
