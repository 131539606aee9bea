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

use serde::Serialize;
use serde::de::DeserializeOwned;

const FORMAT: u8 = 1;

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
    #[error("{bytes} bytes behind the value")]
    Trailing {
        /// Number of bytes after the value.
        bytes: usize,
    },
    /// The value cannot be encoded: its `Serialize` failed.
    #[error("the value does not encode: {0}")]
    Encode(Arc<rmp_serde::encode::Error>),
}

/// Encodes `value`.
///
/// # Errors
/// [`CodecError::Encode`].
pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![FORMAT];
    let mut writer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
    value.serialize(&mut writer).map_err(|error| CodecError::Encode(Arc::new(error)))?;
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
    let mut reader = rmp_serde::Deserializer::new(body);
    let value = T::deserialize(&mut reader).map_err(|error| CodecError::Decode(Arc::new(error)))?;
    match reader.get_ref().len() {
        0 => Ok(value),
        bytes => Err(CodecError::Trailing { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use serde::Deserialize;

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
        assert!(decode::<serde::de::IgnoredAny>(&deep).is_err());
    }
}
