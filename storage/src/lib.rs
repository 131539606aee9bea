//! A durable log for Raft nodes: many Raft groups on one write-ahead log.
//!
//! **Promise.** A write is one atomic batch over any number of groups. Once its ticket is complete it is on
//! the medium, and so is everything written before it. What an opened engine shows is durable; what does not
//! fit together is an error that names the group, never a guess.
//!
//! **What it does not do.** It has no Raft core and no network. In the log a snapshot appears only as a marker, and
//! as the point behind which it starts; the module `snapshots` keeps the files beside it.
//!
//! # The data's way
//!
//! ```text
//! batch ── validated ──► record ──► queued ──► index published ──► written ──► durable ──► ticket
//!                                                    │
//!                                                  reads
//! ```
//!
//! Entries can be read as soon as `write` returns; durability is what the ticket reports.
//!
//! # Example
//!
//! ```
//! use seawall::{Engine, EntryRef, Error, HardState, Options, WriteBatch};
//!
//! fn append_and_read(dir: &std::path::Path) -> Result<(), Error> {
//!     let engine = Engine::create(dir, &Options::default())?;
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
//!     engine.write(&mut batch)?; // rides along with the next durable write
//!     assert_eq!((group.first_index(), group.last_index()), (2, 1));
//!     engine.close()
//! }
//! # let dir = tempfile::tempdir().unwrap();
//! # append_and_read(&dir.path().join("log")).unwrap();
//! ```
//!
//! # Features
//!
//! - `snapshots`: the module `snapshots`, which joins a group with a directory of snapshots. Off by default.
//! - `raft-rs`: the module `raft_rs`, which runs the crate `raft` 0.7 on a group; with `snapshots`. Off by default.
//! - `zstd`: compresses the payloads of entries. On by default; a build without it refuses to read what is compressed.
//! - `conformance`: the module `conformance`, a suite that holds any store to what Raft cores ask for. Off by default.
//! - `openraft`, `openraft-09`: the modules `openraft` and `openraft_09`, log stores for the two lines of that crate. Off
//!   by default.
//! - `fuzz`: what the fuzz targets run. For tests of this crate. Off by default.
//!
//! # Modules
//!
//! Modules stand on floors and import only from floors below: types; record, options, cache, keeper, errands, pace, pack; error; group; write,
//! restore, view, compact, rewrite; engine; snapshots; adapters. `ARCHITECTURE.md` has the table and a reading order.

mod types;

mod cache;
#[cfg(any(feature = "openraft", feature = "openraft-09", feature = "raft-rs"))]
mod errands;
mod keeper;
mod options;
mod ownership;
mod pace;
mod pack;
mod record;

mod error;

mod group;
mod listener;

mod compact;
pub mod look;
mod restore;
mod rewrite;
mod view;
mod write;

mod engine;

#[cfg(feature = "conformance")]
pub mod conformance;

#[cfg(feature = "fuzz")]
pub mod fuzz;

#[cfg(feature = "snapshots")]
pub mod snapshots;

#[cfg(any(feature = "openraft", feature = "openraft-09"))]
mod openraft_log;

#[cfg(feature = "openraft")]
pub mod openraft;
#[cfg(feature = "openraft-09")]
pub mod openraft_09;
#[cfg(feature = "raft-rs")]
pub mod raft_rs;

pub use cache::CacheStats;
pub use compact::RestateStats;
pub use engine::{BlockedBy, Blocker, Engine, Group, PinnedReader, ReaderStats, Report, Stats};
pub use error::{Error, Fault};
pub use listener::Listener;
pub use options::{Options, OutOfRange};
pub use pack::{CompressionStats, UnpackError};
pub use record::DecodeError;
pub use rewrite::RewriteStats;
pub use seawall_wal::{Bell, Lsn, Notify, Ticket};
pub use types::{
    Compression, ConfState, Entry, EntryRef, FencedEntry, GroupId, HardState, Owner, SnapshotMarker,
};
pub use write::WriteBatch;
