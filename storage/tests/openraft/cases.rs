//! Provides the parts that the tests of both versions' suites share: the engine, and the list of the cases
//! that both suites have.

use seawall::{Engine, Options};
use tempfile::TempDir;

/// Creates an engine in a directory of its own.
pub fn engine() -> (Engine, TempDir) {
    let dir = TempDir::new().unwrap();
    let mut options = Options::default();
    options.log.segment_bytes = 1 << 20;
    (Engine::create(dir.path(), &options).unwrap(), dir)
}

/// Makes a test of each case that both suites have and of each case that is named. The number is that of all
/// cases in the crate. `Builder` and `Cases` are the caller's.
macro_rules! cases {
    ($count:literal: $($own:ident)*) => {
        $crate::cases::cases! {
            tests $count:
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
            get_initial_state_with_state
            get_initial_state_last_log_gt_sm
            get_initial_state_last_log_lt_sm
            get_initial_state_log_ids
            get_initial_state_re_apply_committed
            save_vote
            get_log_entries
            limited_get_log_entries
            try_get_log_entry
            initial_logs
            get_log_state
            get_log_id
            last_id_in_log
            last_applied_state
            purge_logs_upto_0
            purge_logs_upto_5
            purge_logs_upto_20
            append_to_log
            snapshot_meta
            apply_single
            apply_multiple
            $($own)*
        }
    };
    (tests $count:literal: $($case:ident)*) => {
        $(
            #[tokio::test(start_paused = true)]
            async fn $case() {
                let (_guard, store, machine) = Builder.build().await.unwrap();
                Cases::$case(store, machine).await.unwrap();
            }
        )*

        #[tokio::test(start_paused = true)]
        async fn transfer_snapshot() {
            Cases::transfer_snapshot(&Builder).await.unwrap();
        }

        #[test]
        fn every_case_of_the_suite_is_here() {
            let cases = [$(stringify!($case),)* "transfer_snapshot"];
            assert_eq!(cases.len(), $count);
        }
    };
}
pub(crate) use cases;
