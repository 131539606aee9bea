//! Tests the program `walbench`: its JSON, the exit codes of its refusals, and that it removes its files.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn walbench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_walbench")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Returns the arguments of a run that is as short as possible.
fn tiny<'a>(dir: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["--dir", dir, "--seconds", "0.05", "--rounds", "1", "--segment-bytes", "1MiB"];
    [&args, more].concat()
}

fn refused(args: &[&str], code: i32, message: &str) {
    let output = walbench(args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(stderr.contains(message), "{args:?}: {stderr}");
}

#[test]
fn a_tiny_run_writes_json_with_every_field_and_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let json = dir.path().join("out.json");
    let data = dir.path().join("data");
    let more = [
        "--bytes",
        "128,5000",
        "--threads",
        "1,3",
        "--in-flight",
        "4",
        "--rows",
        "lone,inflight,threads,groups",
        "--seed",
        "18446744073709551615",
        "--json",
        path(&json),
    ];
    let output = walbench(&tiny(path(&data), &more));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("x floor"));
    assert!(!data.exists(), "a directory that walbench made is removed");

    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let machine = &report["machine"];
    assert_eq!(machine["seed"], u64::MAX);
    assert!(machine["cores"].as_u64().unwrap() >= 1 && machine["block_bytes"].as_u64().unwrap() >= 4096);
    assert!(machine["version"].is_string() && machine["date"].as_str().unwrap().ends_with('Z'));

    let rows = report["rows"].as_array().unwrap();
    for row in rows {
        check_row(row);
    }
    for bytes in [128, 5000] {
        let count = |what: &str, load: &str| {
            let is_it = |r: &&Value| r["what"] == what && r["load"] == load && r["bytes"] == bytes;
            rows.iter().filter(is_it).count()
        };
        assert!((1..=2).contains(&count("floor", "lone")), "one floor per strategy");
        let bare = ["lone", "inflight", "threads", "groups"].map(|load| count("bare", load));
        assert_eq!(bare, [1, 1, 2, 2]);
    }
}

fn check_row(row: &Value) {
    for field in ["ops_s", "p50_us", "p99_us", "p999_us", "max_us", "floor_p50_ratio"] {
        assert!(row[field].as_f64().is_some_and(|v| v > 0.0), "{field} in {row}");
    }
    assert!(["floor", "bare", "log"].contains(&row["what"].as_str().unwrap()), "{row}");
    assert!(row["floor_p999_ratio"].as_f64().is_some_and(|v| v > 0.0), "{row}");
    check_counters(row);
    assert!(["direct", "sync"].contains(&row["strategy"].as_str().unwrap()), "{row}");
    assert!(row["backend"].is_string(), "{row}");
    assert_eq!((&row["segment_bytes"], &row["rounds"]), (&Value::from(1 << 20), &Value::from(1)), "{row}");
    let applies = match row["load"].as_str().unwrap() {
        "lone" => (false, false),
        "rotations" => (false, false),
        "inflight" => (false, true),
        "threads" => (true, false),
        "groups" => (true, true),
        other => panic!("load {other}"),
    };
    assert_eq!((row.get("threads").is_some(), row.get("in_flight").is_some()), applies, "{row}");
}

/// Checks that rows of the log have the log's counters, and that other rows do not.
fn check_counters(row: &Value) {
    const FIELDS: [&str; 6] = [
        "rotations",
        "rotations_waited",
        "groups",
        "records_per_group",
        "padding_ratio",
        "write_amplification",
    ];
    if row["what"] != "log" {
        assert!(FIELDS.iter().all(|field| row.get(field).is_none()), "{row}");
        return;
    }
    let [rotations, waited, groups, records, padding, amplification] =
        FIELDS.map(|field| row[field].as_f64().unwrap_or_else(|| panic!("{field} in {row}")));
    assert!(waited <= rotations && groups >= 1.0 && records > 0.0, "{row}");
    assert!((0.0..1.0).contains(&padding) && amplification >= 1.0, "{row}");
}

#[test]
fn rotations_are_as_many_as_asked_for_with_a_floor_of_their_own() {
    let dir = TempDir::new().unwrap();
    let json = dir.path().join("out.json");
    let data = dir.path().join("data");
    let args = [
        "--dir",
        path(&data),
        "--rows",
        "rotations",
        "--rotations",
        "5",
        "--rounds",
        "2",
        "--segment-bytes",
        "1MiB",
        "--json",
        path(&json),
    ];
    let output = walbench(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("rot/waited"));
    assert!(!data.exists());
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let [floor, log] = report["rows"].as_array().unwrap().as_slice() else { panic!("{report}") };
    for row in [floor, log] {
        assert_eq!((&row["load"], &row["bytes"]), (&"rotations".into(), &16384.into()), "{row}");
        assert!(row["p999_us"].as_f64() <= row["max_us"].as_f64(), "{row}");
    }
    assert_eq!((&floor["what"], &log["what"]), (&"floor".into(), &"log".into()));
    assert_eq!((&floor["ops"], &floor["strategy"]), (&log["ops"], &log["strategy"]));
    check_counters(log);
    // The five rotations take two rounds of three.
    assert!(log["rotations"].as_u64().unwrap() >= 6, "{log}");
}

#[test]
fn first_ack_times_creation_and_opening() {
    let dir = TempDir::new().unwrap();
    let json = dir.path().join("out.json");
    let data = dir.path().join("data");
    let short = ["--rounds", "2", "--segment-bytes", "1MiB", "--written", "2500KiB", "--json", path(&json)];
    let output = walbench(&[&["first-ack", "--dir", path(&data)], short.as_slice()].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!data.exists());
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    assert!(report["machine"]["version"].is_string());
    let [create, open] = report["rows"].as_array().unwrap().as_slice() else { panic!("{report}") };
    assert_eq!((&create["what"], &open["what"]), (&"create".into(), &"open".into()));
    assert_eq!((create.get("written_bytes"), &open["written_bytes"]), (None, &(2500 << 10).into()));
    for row in [create, open] {
        let us = |field: &str| row[field].as_f64().unwrap_or_else(|| panic!("{field} in {row}"));
        assert!(us("ready_us") > 0.0 && us("append_us") > 0.0, "{row}");
        assert!(us("ack_us") >= us("ready_us") && us("ack_max_us") >= us("ack_us"), "{row}");
        assert_eq!(row["rounds"], 2);
        assert!(["direct", "sync"].contains(&row["strategy"].as_str().unwrap()), "{row}");
    }
}

#[test]
fn completions_are_heard_of_in_three_ways() {
    let dir = TempDir::new().unwrap();
    let json = dir.path().join("out.json");
    let data = dir.path().join("data");
    let short = ["--seconds", "0.06", "--rounds", "1", "--segment-bytes", "1MiB", "--json", path(&json)];
    let output = walbench(&[&["callback", "--dir", path(&data)], short.as_slice()].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!data.exists());
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "{report}");
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["what"], ["log", "engine"][i / 3], "{row}");
        assert_eq!(row["way"], ["tickets", "closures", "wait_past"][i % 3], "{row}");
        assert!(row["ops_s"].as_f64().unwrap() > 0.0 && row["over_tickets"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn device_writes_are_counted_or_refused_where_nothing_counts_them() {
    let dir = TempDir::new().unwrap();
    let json = dir.path().join("out.json");
    let data = dir.path().join("data");
    let short = ["--appends", "50", "--segment-bytes", "1MiB", "--json", path(&json)];
    let output = walbench(&[&["device-writes", "--dir", path(&data)], short.as_slice()].concat());
    assert!(!data.exists());
    if !output.status.success() {
        // File systems in memory, overlays and the like have no device.
        assert!(text(&output.stderr).contains("no block device"), "{}", text(&output.stderr));
        return;
    }
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.len() == 2 || rows.len() == 4, "{report}");
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["what"], ["floor", "log"][i % 2], "{row}");
        assert!(row["groups"].as_u64().unwrap() >= 50 && row["appends"] == 50, "{row}");
        assert!(row["device"].is_string());
        // A durable append writes at least one block. The number of requests depends on the system.
        assert!(row["writes_per_group"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["bytes_per_group"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn a_directory_that_was_there_stays_and_is_empty() {
    let dir = TempDir::new().unwrap();
    let more = ["--bytes", "1", "--rows", "lone", "--strategy", "sync"];
    let output = walbench(&tiny(path(dir.path()), &more));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_holds_a_log_is_refused_untouched() {
    for name in ["IDENTITY", "0000000000000001.wal"] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(name), b"data").unwrap();
        refused(&tiny(path(dir.path()), &[]), 1, "holds a log");
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, [name]);
    }
}

#[test]
fn places_that_cannot_be_used_are_refused() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    refused(&tiny(path(&file), &[]), 1, "is not a directory");
    refused(&tiny(path(&dir.path().join("no/such")), &[]), 1, "create the directory");
    // Not even root can make a directory there.
    refused(&tiny("/proc", &[]), 1, "cannot write in /proc");
    refused(
        &tiny(path(dir.path()), &["--json", path(&dir.path().join("no/out"))]),
        1,
        "there is no directory",
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn nonsense_is_exit_code_1_and_wrong_usage_2() {
    for (option, value) in [("--threads", "0"), ("--bytes", "0"), ("--bytes", "16777217"), ("--rounds", "0")]
    {
        refused(&[option, value], 1, option);
    }
    refused(&["--seconds", "0"], 1, "--seconds");
    refused(&["--rotations", "0"], 1, "--rotations");
    for (command, option, value) in [
        ("first-ack", "--rounds", "0"),
        ("first-ack", "--written", "5GiB"),
        ("first-ack", "--segment-bytes", "1000"),
        ("device-writes", "--appends", "0"),
        ("device-writes", "--bytes", "0"),
    ] {
        refused(&[command, option, value], 1, option);
    }
    let dir = TempDir::new().unwrap();
    let many = ["device-writes", "--dir", path(dir.path()), "--appends", "1000", "--segment-bytes", "1MiB"];
    let output = walbench(&many);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("--appends 1000") || stderr.contains("no block device"), "{stderr}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    refused(&["first-ack", "--written", "much"], 2, "unknown unit");
    refused(&["device-writes", "--strategy", "direct"], 2, "--strategy");
    refused(&["--bytes", "lots"], 2, "unknown unit");
    refused(&["--no-such-option"], 2, "--no-such-option");
}
