//! A durable log for Raft nodes: many Raft groups on one write-ahead log.
//!
//! **Start here.** With raft-rs: `raft_rs::Node`. With openraft: `openraft::LogStores`. With a Raft core of your own:
//! [`Engine`]. Only a log, without Raft: the crate [`seawall_wal`], also as [`wal`].
//!
//! **Promise.** A write is one atomic batch over any number of groups. Once its ticket is complete, the batch and
//! everything written before it are on the medium. Everything that an opened engine shows is durable. If the records
//! of a group contradict each other, opening fails with an error that names the group; the engine never guesses.
//!
//! **Not included.** There is no Raft core and no network. The log holds only a marker for each snapshot and the
//! index after which the log starts; the module `snapshots` keeps the snapshot files in a directory next to the log.
//!
//! # How a write proceeds
//!
//! ```text
//! batch ── validated ──► record ──► queued ──► in the index ──► written ──► durable ──► ticket
//!                                                   │
//!                                                   └──► reads
//! ```
//!
//! Entries can be read as soon as `write` returns; the ticket reports when they are durable.
//!
//! # Example
//!
//! ```
//! use seawall::{Engine, EntryRef, Error, HardState, Options, WriteBatch};
//!
//! fn append_and_read(dir: &std::path::Path) -> Result<(), Error> {
//!     let (engine, _) = Engine::open_or_create(dir, &Options::default())?;
//!     let mut batch = WriteBatch::new();
//!     batch
//!         .append(7, &[EntryRef { index: 1, term: 1, payload: b"set x = 1" }])
//!         .hard_state(7, HardState { term: 1, vote: 2, commit: 0 });
//!     let ticket = engine.write(&mut batch)?; // readable
//!     ticket.wait()?; // durable
//!
//!     let group = engine.group(7);
//!     assert_eq!(group.entries(1, 2, None)?[0].payload, &b"set x = 1"[..]);
//!     batch.hard_state(7, HardState { term: 1, vote: 2, commit: 1 }).compact(7, 1);
//!     drop(engine.write(&mut batch)?); // rides along with the next durable write
//!     assert_eq!((group.first_index(), group.last_index()), (2, 1));
//!     engine.close()
//! }
//! # let dir = tempfile::tempdir().unwrap();
//! # append_and_read(&dir.path().join("log")).unwrap();
//! ```
//!
//! # Features
//!
//! - `snapshots`: the module `snapshots`, which connects a group to a directory of snapshots. Off by default.
//! - `raft-rs`: the module `raft_rs`, which runs the crate `raft` 0.7 on a group; enables `snapshots`. Off by
//!   default.
//! - `zstd`: compression of entry payloads. On by default; a build without it cannot read compressed payloads.
//! - `conformance`: the module `testing::conformance`, a test suite that checks any store against what Raft cores
//!   require. Off by default.
//! - `openraft`, `openraft-09`: the modules `openraft` and `openraft_09`, log stores for the crate `openraft` 0.10
//!   and 0.9. Off by default.
//! - `fuzz`: the module `testing::fuzz`, the bodies of the fuzz targets, for tests of this crate. Off by default.
//!
//! `ARCHITECTURE.md` describes the modules of the crate and what each of them may import.

#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

mod adapters;
mod compression;
mod engine;
pub mod error;
mod format;
mod group;
pub mod inspect;
mod listener;
mod options;
mod owner;
mod read;
mod reclaim;
mod recovery;
#[cfg(feature = "snapshots")]
pub mod snapshots;
#[cfg(any(feature = "conformance", feature = "fuzz"))]
pub mod testing;
mod threads;
mod types;
mod write;

#[cfg(feature = "openraft-09")]
pub use adapters::openraft::v0_9 as openraft_09;
#[cfg(feature = "openraft")]
pub use adapters::openraft::v0_10 as openraft;
#[cfg(feature = "raft-rs")]
pub use adapters::raft_rs;
pub use engine::{Cursor, Engine, Entries, Group, PinnedReader, Report};
pub use error::Error;
pub use listener::Listener;
pub use options::Options;
pub use seawall_wal as wal;
pub use seawall_wal::Ticket;
pub use types::{
    Compression, ConfState, DamagedEntry, Entry, EntryRef, GroupId, HardState, Owner, SnapshotMarker,
};
pub use write::WriteBatch;

/// Statistics of an engine; see [`Engine::stats`].
pub mod stats {
    pub use crate::compression::CompressionStats;
    pub use crate::engine::{BlockedBy, Blocker, Stats};
    pub use crate::read::entry_cache::CacheStats;
    pub use crate::read::readers::ReaderStats;
    pub use crate::reclaim::release::ReemitStats;
    pub use crate::reclaim::rewrite::RewriteStats;
}
