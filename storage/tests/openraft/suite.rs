//! Runs the suite of openraft 0.10 for stores, each case as a test of its own on a new log in a real
//! directory.
//!
//! The module `store` and the unit tests in `src/adapters/openraft` test what the suite does not: reopening,
//! crashes, and the order of callbacks.

use crate::openraft_machine;

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft_machine::Machine;
use seawall::openraft::{LogOptions, LogStore, LogStores};
use seawall::{Engine, Options};
use tempfile::TempDir;

openraft::declare_raft_types!(
    TypeConfig:
        D = u64,
        R = u64,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

struct Builder;

impl StoreBuilder<TypeConfig, LogStore<TypeConfig>, Machine<TypeConfig>, (Engine, TempDir)> for Builder {
    async fn build(
        &self,
    ) -> Result<((Engine, TempDir), LogStore<TypeConfig>, Machine<TypeConfig>), StorageError<TypeConfig>>
    {
        let dir = TempDir::new().unwrap();
        let mut options = Options::default();
        options.log.segment_bytes = 1 << 20;
        let engine = Engine::create(dir.path(), &options).unwrap();
        // Reads are limited to 100 bytes, so that the cases get only part of a range at a time.
        let logs = LogStores::new(&engine, LogOptions::default().with_read_bytes_max(100)).unwrap();
        let store = LogStore::open(&logs, 7).unwrap();
        Ok(((engine, dir), store, Machine::new(Arc::default())))
    }
}

type Cases = Suite<TypeConfig, LogStore<TypeConfig>, Machine<TypeConfig>, Builder, (Engine, TempDir)>;

macro_rules! cases {
    ($($case:ident)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $case() {
                let (_guard, store, machine) = Builder.build().await.unwrap();
                Cases::$case(store, machine).await.unwrap();
            }
        )*

        /// Names of all cases in this file. Their number must be that of the cases in the crate.
        const CASES: &[&str] = &[$(stringify!($case),)* "transfer_snapshot"];
    };
}

cases! {
    last_membership_in_log_initial
    last_membership_in_log
    last_membership_in_log_multi_step
    get_membership_initial
    get_membership_from_log_and_empty_sm
    get_membership_from_empty_log_and_sm
    get_membership_from_log_le_sm_last_applied
    get_membership_from_log_gt_sm_last_applied_1
    get_membership_from_log_gt_sm_last_applied_2
    get_initial_state_without_init
    get_initial_state_membership_from_empty_log_and_sm
    get_initial_state_membership_from_sm_inlog_is_smaller
    get_initial_state_membership_from_log_insm_is_smaller
    get_initial_state_with_state
    get_initial_state_last_log_gt_sm
    get_initial_state_last_log_lt_sm
    get_initial_state_inverted_log_order
    get_initial_state_conflict_at_same_index
    get_initial_state_log_ids
    get_initial_state_re_apply_committed
    save_vote
    get_log_entries
    limited_get_log_entries
    leader_bounded_stream
    entries_stream
    try_get_log_entry
    log_reader_reads_new_entries
    initial_logs
    get_log_state
    get_log_id
    last_id_in_log
    last_applied_state
    purge_logs_upto_0
    purge_logs_upto_5
    purge_logs_upto_20
    delete_logs_after_11
    delete_logs_after_5
    delete_logs_after_0
    delete_logs_after_none
    append_to_log
    snapshot_meta
    snapshot_meta_optional
    apply_single
    apply_multiple
}

#[tokio::test(start_paused = true)]
async fn transfer_snapshot() {
    Cases::transfer_snapshot(&Builder).await.unwrap();
}

#[test]
fn every_case_of_the_suite_is_here() {
    assert_eq!(CASES.len(), 45);
}
