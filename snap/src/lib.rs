//! Snapshots for a Seawall log: streams state of any size into a file, verifies it, publishes it and sends it.
//!
//! **Start here.** [`Catalog::open_dir`] opens a directory of snapshots, [`Catalog::write`] writes one, and
//! [`Catalog::newest`] reads the newest that is sound. The crate `seawall` connects snapshots with the log of a Raft
//! group.
//!
//! **Promise.** A snapshot gets its name only once all of it is durable: after a crash either the previous or
//! the new one is available, complete. No byte of a chunk that fails its checksum is handed out, and no flipped
//! bit goes unnoticed. A damaged file is set aside and kept until newer verified snapshots replace it or there
//! are too many damaged files; an older snapshot is used only if the log covers the gap. Memory is bounded,
//! whatever a file or a sender claims.
//!
//! **What it does not do.** It knows nothing about the log or the meaning of the content. It does not repair,
//! encrypt, or move bytes between machines: it determines which bytes to move. It does not decide when to take
//! a snapshot.
//!
//! ```text
//! state ──► SnapshotWriter ──► <id>.new ── synced, renamed ──► <id>.snap ──► SnapshotReader
//!                                                                │   ▲
//!                                                 Export, Pieces ▼   │ Receiver (<id>.<tag>.part)
//!
//! │ header │ conf state │ metadata │ CRC │ chunk │ chunk │ ... │ trailer │
//! ```
//!
//! # Example
//!
//! ```
//! use seawall_snap::{Catalog, Error, Options, SnapshotId};
//! use std::io::{Read, Write};
//! use std::ops::ControlFlow::Continue;
//!
//! fn write_and_read(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
//!     let (catalog, found) = Catalog::open_dir(dir, &Options::default())?;
//!     assert!(found.removed.is_empty()); // nothing left of a crash
//!     let id = SnapshotId { group: 7, index: 40, term: 3 };
//!     let mut writer = catalog.write(id, b"conf state", b"metadata")?;
//!     writer.write_all(b"the state of the group")?;
//!     writer.finish()?; // durable, under its name
//!
//!     catalog.verify(id, &mut |_| Continue(()))?; // read back from the medium
//!     catalog.retain(7)?;
//!     assert_eq!(catalog.release_floor(7), None); // not until there is a second one to fall back to
//!
//!     let log_covers = |_: SnapshotId| false;
//!     let newest = catalog.newest(7, log_covers, &mut |_| Continue(()))?.expect("one");
//!     let mut reader = newest.reader;
//!     assert_eq!((reader.id(), reader.conf_state()), (id, &b"conf state"[..]));
//!     let mut state = Vec::new();
//!     reader.read_to_end(&mut state)?;
//!     assert_eq!(state, b"the state of the group");
//!     Ok(())
//! }
//! # let dir = tempfile::tempdir().unwrap();
//! # write_and_read(&dir.path().join("snapshots")).unwrap();
//! ```
//!
//! # Features
//!
//! - `fuzz`: the module `testing::fuzz` with the functions that the fuzz targets run, for tests of this crate.
//!   Off by default.
//!
//! In the repository, `docs/format.md` describes the bytes, and `docs/decisions/0012-snapshots.md` gives the reasons.

#![forbid(unsafe_code)]

mod catalog;
mod directory;
mod error;
pub mod format;
mod options;
mod ordered_pool;
mod read;
#[cfg(test)]
#[path = "../../wal/tests/format/document/tables.rs"]
mod tables;
#[cfg(feature = "fuzz")]
pub mod testing;
mod transfer;
mod types;
mod write;

pub use catalog::{Catalog, Found, Newest};
pub use directory::store::{Pin, Quarantined};
pub use error::{Error, FilePart, OfferFault, PieceFault};
pub use format::wire::{Offer, Piece};
pub use options::Options;
pub use read::SnapshotReader;
pub use transfer::export::{Export, Pieces};
pub use transfer::receive::Receiver;
pub use types::{Progress, Published, SnapshotId};
pub use write::SnapshotWriter;
