//! Snapshots of a group: when to take one, how far the log may then be compacted, how to receive and install
//! one, and which one a node starts from.
//!
//! At every moment, and after a crash at any moment, either there is a complete snapshot that the log names and
//! the log has every entry after it, or the log has its first entry. A call that fails keeps the steps that it
//! completed, which does no harm.
//!
//! This order of steps ensures it:
//!
//! ```text
//! taken:     file written ► named, durable ► read back ► marker durable ► log compacted ► older files removed
//! installed: file received ► named, durable ► read back ► start of the log, members, marker: one record, durable
//!            ► older files may be removed; state machine loads it (after a crash, at the next start)
//! ```
//!
//! A file counts once its marker is durable. A crash before that leaves the old snapshot and the log after
//! it; a crash afterwards leaves the new one. The snapshots of the newest two markers are pinned, so
//! retention does not remove them. With the pump of raft-rs, a commit index that covers the snapshot may be
//! in a later record than its marker; after a crash in between, `GroupStorage::initial_state` returns the
//! compaction point as the commit index.
//!
//! ```
//! use seawall::snapshots::{SnapshotOptions, Snapshots, snap};
//! use seawall::{Engine, EntryRef, HardState, Options, WriteBatch};
//! use std::io::Read;
//!
//! # fn run(dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
//! let engine = Engine::create(dir.join("log"), &Options::default())?;
//! let (catalog, _) = snap::Catalog::open_dir(&dir.join("snapshots"), &snap::Options::default())?;
//! let (snapshots, start) = Snapshots::open(&engine, 7, &catalog, SnapshotOptions::default(), 0)?;
//! assert!(start.reader.is_none()); // nothing there yet: the state machine starts empty
//!
//! let mut batch = WriteBatch::new();
//! for index in 1..=20 {
//!     batch.append(7, &[EntryRef { index, term: 1, payload: b"+1" }]);
//! }
//! batch.hard_state(7, HardState { term: 1, vote: 1, commit: 20 });
//! engine.write(&mut batch)?.wait()?;
//! for applied in [10u64, 20] {
//! // The state of the state machine after entry `applied`.
//!     snapshots.take(applied, b"", Box::new(move |to| to.write_all(applied.to_string().as_bytes())))?;
//! }
//! # drop(snapshots);
//!
//! // A later start gets the newest snapshot.
//! let (_, start) = Snapshots::open(&engine, 7, &catalog, SnapshotOptions::default(), 0)?;
//! let mut reader = start.reader.expect("two were taken");
//! let mut state = String::new();
//! reader.read_to_string(&mut state)?;
//! assert_eq!((reader.id().index, state.as_str()), (20, "20"));
//! # Ok(())
//! # }
//! # let dir = tempfile::tempdir().unwrap();
//! # run(dir.path()).unwrap();
//! ```

pub(crate) mod eligibility;
pub(crate) mod handle;

mod error;
mod install;
mod job;
mod open;
mod options;
mod take;
mod transfer;

pub use error::Error;
pub use handle::{Served, Snapshots, Taken};
pub use install::Incoming;
pub use open::Start;
pub use options::SnapshotOptions;
pub use seawall_snap as snap;
pub use take::SnapshotSource;
