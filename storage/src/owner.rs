//! Encodes the owner of a log: a node of a cluster, and bytes of the user.
//!
//! The owner is a metadata value of a group that is reserved for it, so it is stored, copied and checked like all
//! metadata. `docs/format.md` describes its bytes.

use crate::types::{GroupId, MetaKey, Owner};

/// The group whose metadata holds the owner of the log. A user's batch must not name it.
pub(crate) const OWNER_GROUP: GroupId = GroupId::MAX;

/// Metadata key of the owner.
pub(crate) const OWNER_KEY: &[u8] = b"owner";

/// Largest length of [`Owner::user`] in bytes.
pub(crate) const OWNER_USER_BYTES_MAX: usize = 1024;

/// First byte of an encoded owner.
const VERSION: u8 = 1;

impl Owner {
    /// Encodes the owner as a metadata value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.cluster.to_le_bytes());
        bytes.extend_from_slice(&self.node.to_le_bytes());
        bytes.extend_from_slice(&self.user);
        bytes
    }

    /// Decodes an owner; `None` if a later version wrote `bytes`, or if they are not an owner.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Owner> {
        let rest = bytes.strip_prefix(&[VERSION])?;
        let (cluster, rest) = rest.split_first_chunk()?;
        let (node, user) = rest.split_first_chunk()?;
        if user.len() > OWNER_USER_BYTES_MAX {
            return None;
        }
        let (cluster, node) = (u64::from_le_bytes(*cluster), u64::from_le_bytes(*node));
        Some(Owner { cluster, node, user: user.to_vec() })
    }
}

/// The metadata key of the owner.
pub(crate) fn owner_key() -> Option<MetaKey> {
    MetaKey::new(OWNER_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_back_and_nothing_else_is_one() {
        for user in [vec![], vec![7], vec![0; OWNER_USER_BYTES_MAX]] {
            let owner = Owner { cluster: 1 << 40, node: 3, user };
            let bytes = owner.encode();
            assert_eq!(Owner::decode(&bytes), Some(owner));
            let too_long = [&bytes[..], &[0; OWNER_USER_BYTES_MAX + 1]].concat();
            assert_eq!(Owner::decode(&too_long), None);
            assert!((0..17).all(|length| Owner::decode(&bytes[..length]).is_none()));
            assert_eq!(Owner::decode(&[&[2], &bytes[1..]].concat()), None);
        }
        assert_eq!(
            Owner { cluster: 7, node: 2, user: b"a\"b".to_vec() }.to_string(),
            r#"node 2 of cluster 7 ("a\"b")"#
        );
    }
}
