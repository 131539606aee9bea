//! Runs the suite of openraft 0.9 for stores, each case as a test of its own on a new log in a real
//! directory.
//!
//! The module `store_09` and the unit tests in `src/adapters/openraft` test what the suite does not:
//! reopening, crashes, and the order of callbacks.

use crate::cases::{cases, engine};
use crate::openraft_09_machine;

use std::io::Cursor;
use std::sync::Arc;

use openraft_09::StorageError;
use openraft_09::testing::{StoreBuilder, Suite};
use openraft_09_machine::Machine;
use seawall::Engine;
use seawall::openraft_09::{LogOptions, LogStore, LogStores};
use tempfile::TempDir;

openraft_09::declare_raft_types!(
    TypeConfig:
        D = u64,
        R = u64,
);

impl openraft_09_machine::Config for TypeConfig {}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore<TypeConfig>, Machine, (Engine, TempDir)> for Builder {
    async fn build(&self) -> Result<((Engine, TempDir), LogStore<TypeConfig>, Machine), StorageError<u64>> {
        let (engine, dir) = engine();
        // Reads are limited to 100 bytes, so that the cases get only part of a range at a time.
        let logs = LogStores::new(&engine, LogOptions::default().with_read_bytes_max(100)).unwrap();
        let store = LogStore::open(&logs, 7).unwrap();
        Ok(((engine, dir), store, Machine::new(Arc::default())))
    }
}

type Cases = Suite<TypeConfig, LogStore<TypeConfig>, Machine, Builder, (Engine, TempDir)>;

cases! {
    35:
    get_initial_state_membership_from_log_and_sm
    delete_logs_since_11
    delete_logs_since_0
}
