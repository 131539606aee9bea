//! Tests that in the example `three_nodes` a node that was away catches up by entries or by a snapshot, and
//! that all three nodes agree.

use std::process::{Command, Output};

use tempfile::TempDir;

use crate::example::example;

fn run(compact: &str) -> String {
    let dir = TempDir::new().unwrap();
    let mut command = Command::new(example("three_nodes"));
    command.arg("--dir").arg(dir.path()).args(["--proposals", "20000", "--compact", compact]);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}: {stdout}{stderr}");
    assert!(stdout.contains("node-3 comes back") && stdout.contains("are the same"), "{stdout}");
    stdout.into_owned()
}

#[test]
fn a_node_behind_the_compaction_catches_up_by_a_snapshot() {
    let stdout = run("on");
    let line = stdout.lines().find(|line| line.starts_with("snapshots that came")).expect("it says so");
    assert!(!line.ends_with("[]]"), "node-3 got none: {line}");
}

#[test]
fn without_compaction_it_catches_up_by_entries() {
    assert!(!run("off").contains("snapshots"));
}
