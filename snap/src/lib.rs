//! Snapshots beside a Seawall log: so far their format and nothing that writes or reads whole files.
//!
//! **Promise.** Any bytes decode to a value or to a small error; every length is checked against a limit
//! before anybody can allocate it; no flipped bit goes unnoticed.
//!
//! **What it does not do.** It opens no files. Streaming writer and reader, publishing, fall-back and
//! retention are not built yet.
//!
//! ```text
//! │ header │ conf state │ metadata │ CRC │ chunk │ chunk │ ... │ trailer │
//! ```
//!
//! ```
//! use seawall_snap::format::{Fault, Header, encode_opening};
//! use seawall_snap::SnapshotId;
//!
//! # fn main() -> Result<(), Fault> {
//! let id = SnapshotId { group: 7, index: 40, term: 3 };
//! let opening = encode_opening(id, 1 << 20, b"conf state", b"metadata")?;
//! let header = Header::decode(&opening)?;
//! assert_eq!(header.id, id);
//! assert_eq!(header.split_opening(&opening)?, (&b"conf state"[..], &b"metadata"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! - `fuzz`: what the fuzz target runs. For tests of this crate. Off by default.
//!
//! Modules stand on floors and import only from floors below: types; format; fuzz. `docs/format.md` has the byte
//! tables.

pub mod format;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod types;

pub use types::SnapshotId;
