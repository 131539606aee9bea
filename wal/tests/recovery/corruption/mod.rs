//! Tests the corruption matrix: open refuses a damaged log with an error that names the place, and changes
//! nothing, or drops bytes that were never known to be durable, and reports them (INV-5, INV-6).
//!
//! A log has 200 acknowledged records, one group each. The damage is at record 100 unless the row says
//! otherwise, in a tail segment and in a sealed one, in files prepared with zeros and in files that hold
//! stale bytes. A reader of a log that was open already shows the records as they were, or an error. A log
//! that open refuses is opened in the other modes: degraded mode quarantines what strict mode names, or
//! refuses too; salvage mode reads what is left and changes nothing (INV-10).
//!
//! On the simulated disk all cases run. In directories, which are in memory (`/dev/shm`) if possible, one of 16
//! cases of the same damage runs, or all with `SEAWALL_FULL=1`.
//!
//! `cargo test -p seawall-wal --test recovery corruption:: -- --nocapture` prints the table.

mod end;
mod files;
mod inside;
mod log;
mod media;
mod modes;
mod table;

use crate::harness;

use log::{Kind, Logs};
use media::Place;
use table::Table;

/// Runs one or more rows of the matrix on logs of one kind.
type Row = fn(&Logs, &mut Table);

const ROWS: [Row; 15] = [
    inside::rows_1_to_5_and_17_damage_inside_of_a_group,
    end::row_6_the_last_group_is_half_written,
    files::rows_6_and_7_a_file_is_cut_short_or_gone,
    files::row_8_a_segment_is_missing,
    files::row_9_copies_of_segments,
    end::row_10_bytes_of_another_incarnation,
    end::row_11_a_torn_group_before_a_whole_one,
    inside::row_12_a_torn_group_below_a_watermark,
    inside::row_12_rot_below_a_watermark_beyond_a_gap,
    end::row_13_a_crash_during_recovery,
    inside::row_14_blocks_at_the_wrong_place,
    files::row_15_the_header_of_a_segment,
    end::row_16_rot_of_what_was_acknowledged_last,
    files::row_18_no_log_is_taken_for_an_empty_one,
    files::row_19_the_file_of_a_clean_close,
];

/// Runs every row on logs of one kind. The rows about footers use a log of their own.
fn run(kind: Kind, root: &std::path::Path, one_of: u32) -> Table {
    let (mut table, logs) = (Table::new(one_of), Logs::new(kind, root));
    ROWS.iter().for_each(|row| row(&logs, &mut table));
    if kind.sealed {
        inside::row_17_a_footer(&logs, &mut table);
        inside::row_17_a_segment_under_its_footer(&logs, &mut table);
    }
    table
}

#[test]
fn the_matrix() {
    let in_memory = tempfile::tempdir_in("/dev/shm").ok();
    let one_of = if harness::full() { 1 } else { 16 };
    // Without a directory in memory, the build directory: the system's temporary directory may not support
    // direct writes.
    let root = in_memory.unwrap_or_else(|| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    let places = Place::here(root.path());
    let mut table = Table::default();
    let parts = std::thread::scope(|scope| {
        let kinds = places.iter().flat_map(|place| Kind::of(*place));
        let threads: Vec<_> = kinds
            .map(|kind| {
                scope.spawn({
                    let root = root.path();
                    move || run(kind, root, one_of)
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Table>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    parts.into_iter().for_each(|part| table.add(part));
    println!("{table}");
    for kind in places.iter().flat_map(|place| Kind::of(*place)) {
        // Some rows have a case for each operation of an open, and in a directory an open has other
        // operations.
        let ((run, all), (due, _)) =
            (table.cases(kind), table.cases(Kind { place: Place::Simulated, ..kind }));
        println!("{kind}, {}: {run} of {all} cases", kind.place);
        assert!(all > due * 2 / 3, "{kind}, {}: {all} cases, {due} on the simulated disk", kind.place);
        assert!(run == all || one_of > 1, "{kind}, {}: {run} of {all} cases", kind.place);
    }
    for place in places {
        assert_eq!(table.rows(place), (1..=19).collect(), "{place}: a row of the matrix is missing");
        assert!(table.others(place).is_empty(), "{place}: {:?}", table.others(place));
    }
}
