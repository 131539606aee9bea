//! Runs the suite of openraft 0.10 for stores, each case as a test of its own on a new log in a real
//! directory.
//!
//! The module `store` and the unit tests in `src/adapters/openraft` test what the suite does not: reopening,
//! crashes, and the order of callbacks.

use crate::cases::{cases, engine};
use crate::openraft_machine;

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft_machine::Machine;
use seawall::Engine;
use seawall::openraft::{LogOptions, LogStore, LogStores};
use tempfile::TempDir;

openraft::declare_raft_types!(
    TypeConfig:
        D = u64,
        R = u64,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

impl openraft_machine::Config for TypeConfig {}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore<TypeConfig>, Machine<TypeConfig>, (Engine, TempDir)> for Builder {
    async fn build(
        &self,
    ) -> Result<((Engine, TempDir), LogStore<TypeConfig>, Machine<TypeConfig>), StorageError<TypeConfig>>
    {
        let (engine, dir) = engine();
        // Reads are limited to 100 bytes, so that the cases get only part of a range at a time.
        let logs = LogStores::new(&engine, LogOptions::default().with_read_bytes_max(100)).unwrap();
        let store = LogStore::open(&logs, 7).unwrap();
        Ok(((engine, dir), store, Machine::new(Arc::default())))
    }
}

type Cases = Suite<TypeConfig, LogStore<TypeConfig>, Machine<TypeConfig>, Builder, (Engine, TempDir)>;

cases! {
    45:
    get_initial_state_membership_from_empty_log_and_sm
    get_initial_state_membership_from_sm_inlog_is_smaller
    get_initial_state_membership_from_log_insm_is_smaller
    get_initial_state_inverted_log_order
    get_initial_state_conflict_at_same_index
    leader_bounded_stream
    entries_stream
    log_reader_reads_new_entries
    delete_logs_after_11
    delete_logs_after_5
    delete_logs_after_0
    delete_logs_after_none
    snapshot_meta_optional
}
