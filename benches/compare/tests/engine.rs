//! Tests that `compare-engine --quick` runs every row with all its engines and writes complete results.
//!
//! The tests judge no figure.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn compare(dir: &Path, more: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_seawall-compare-engine");
    Command::new(program).args(more).arg("--dir").arg(dir).output().unwrap()
}

/// Runs a row and returns its tables.
fn quick(row: &str) -> Vec<Value> {
    quick_with(row, ["seawall", "raft-engine"])
}

/// Runs a row, checks that each of its tables has a line for every engine in `engines`, and returns the
/// tables.
fn quick_with(row: &str, engines: [&str; 2]) -> Vec<Value> {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (data, json) = (scratch.path().join("data"), scratch.path().join("r.json"));
    let output = compare(&data, &[row, "--quick", "--seed", "7", "--json", json.to_str().unwrap()]);
    assert!(output.status.success(), "{row}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(!data.exists(), "{row}: a directory that was made is removed");
    let json: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(json["machine"]["seed"], 7);
    let outcomes = json["outcomes"].as_array().unwrap();
    for outcome in outcomes {
        for check in outcome["checks"].as_array().unwrap() {
            assert!(check["met"].is_boolean() && check["bar"].is_object(), "{check}");
        }
        let lines = outcome["lines"].as_array().unwrap();
        for engine in engines {
            let of = |line: &&Value| line["engine"].as_str().unwrap().starts_with(engine);
            let line = lines.iter().find(of).unwrap_or_else(|| panic!("no {engine} in {outcome}"));
            let figures = line["figures"].as_object().unwrap();
            assert!(figures.len() > 1, "{line}");
        }
    }
    outcomes.clone()
}

fn checks(outcomes: &[Value]) -> usize {
    outcomes.iter().map(|outcome| outcome["checks"].as_array().unwrap().len()).sum()
}

#[test]
fn many_groups() {
    let outcomes = quick("many-groups");
    assert_eq!((outcomes.len(), checks(&outcomes)), (2, 3));
}

#[test]
fn index_memory() {
    assert_eq!(checks(&quick("index-memory")), 2);
}

#[test]
fn slow_groups() {
    let outcomes = quick("slow-groups");
    assert_eq!(checks(&outcomes), 4);
    let lines = outcomes[0]["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 3, "with rewriting, without, and the other");
    assert!(lines.iter().all(|line| line["figures"]["disk MiB"].as_f64().unwrap() > 1.0), "{lines:?}");
}

#[test]
fn reading() {
    let outcomes = quick("reading");
    assert_eq!(
        (outcomes.len(), checks(&outcomes)),
        (6, 12),
        "ranges, single entries and a first pass, of two sizes"
    );
    let bare =
        |outcome: &&Value| outcome["lines"].as_array().unwrap().iter().any(|l| l["engine"] == "bare file");
    assert_eq!(outcomes.iter().filter(bare).count(), 4, "a first pass is compared with raft-engine alone");
}

#[test]
fn following() {
    let outcomes = quick("following");
    let share = outcomes[0]["lines"][0]["figures"]["from memory"].as_f64().unwrap();
    assert!(share > 0.0 && share <= 1.0);
}

#[test]
fn reopening() {
    let outcomes = quick("reopening");
    assert_eq!((outcomes.len(), checks(&outcomes)), (4, 12));
}

#[test]
fn device_bytes() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = compare(&scratch.path().join("data"), &["device-bytes", "--quick"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // A file system without a block device has no counters.
    assert!(output.status.success() || stderr.contains("no block device"), "{stderr}");
}

#[test]
fn raft_node() {
    let outcomes = quick_with("raft-node", ["seawall", "raw"]);
    assert_eq!((outcomes.len(), checks(&outcomes)), (1, 2));
    let lines = outcomes[0]["lines"].as_array().unwrap();
    assert!(lines.iter().all(|line| line["figures"]["proposals/s"].as_f64().unwrap() > 0.0), "{lines:?}");
}

#[test]
fn a_full_disk_is_not_made_of_a_large_one() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = compare(&scratch.path().join("data"), &["full-disk", "--room-mib", "1"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("a small one"), "{stderr}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for nonsense in [["reading", "--rounds", "0"], ["reading", "--json", "/nowhere/at/all"]] {
        let output = compare(&scratch.path().join("data"), &nonsense);
        assert_eq!(output.status.code(), Some(1), "{nonsense:?}");
    }
}
