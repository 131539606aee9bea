//! Tests that `compare --quick` runs every row with every engine and writes complete results.
//!
//! The tests judge no figure.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn compare(dir: &Path, more: &[&str]) -> Output {
    let dir = dir.display().to_string();
    let arguments = [["--dir", dir.as_str()].as_slice(), more].concat();
    Command::new(env!("CARGO_BIN_EXE_seawall-compare")).args(arguments).output().unwrap()
}

#[test]
fn a_quick_run_has_all_rows_and_leaves_nothing() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (data, json, svg) =
        (scratch.path().join("data"), scratch.path().join("r.json"), scratch.path().join("r.svg"));
    let files = ["--json", json.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
    let output = compare(&data, &[["--quick", "--seed", "7"].as_slice(), &files].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(!data.exists(), "a directory that was made is removed");

    let json: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(json["machine"]["seed"], 7);
    assert_eq!(json["versions"].as_array().unwrap().len(), 4);
    assert!(json["machine"]["file_system"].is_string());
    let rows = json["rows"].as_array().unwrap();
    for row in rows {
        if row["absent"].is_string() {
            assert!(row.get("ops_s").is_none(), "{row}");
            continue;
        }
        for field in ["ops_s", "mib_s", "appended", "rounds"] {
            assert!(row[field].as_f64().unwrap() > 0.0, "{field}: {row}");
        }
        let ratios = row["ratios"].as_array().unwrap();
        assert!(!ratios.is_empty(), "{row}");
        assert!(ratios.iter().all(|ratio| ratio["met"].is_boolean() == row["bar"].is_object()), "{row}");
    }
    let numbers: BTreeSet<u64> = rows.iter().map(|row| row["row"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=6).collect());
    let engines: BTreeSet<&str> = rows.iter().map(|row| row["engine"].as_str().unwrap()).collect();
    for engine in ["raw", "bare", "seawall", "raft-engine", "raft-log", "okaywal"] {
        assert!(engines.iter().any(|name| name.starts_with(engine)), "{engine}: {engines:?}");
    }

    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("one Raft group per log"), "{table}");
    let svg = fs::read_to_string(&svg).unwrap();
    assert!(svg.contains("row 6") && svg.contains("seawall"));
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for nonsense in [["--rows", "9"], ["--rounds", "0"], ["--json", "/nowhere/at/all"]] {
        let output = compare(&scratch.path().join("data"), &nonsense);
        assert_eq!(output.status.code(), Some(1), "{nonsense:?}");
    }
}
