//! Tests that the verifier of the example `crash_workload` accepts what a kill leaves, and refuses what a
//! power cut must not leave.
//!
//! `docs/testing.md` describes how to cut the power, which a test cannot do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::example::example;

/// A directory with an engine, and the lines that the example printed about it.
struct Place {
    dir: TempDir,
    acks: String,
}

impl Place {
    fn new() -> Place {
        Place { dir: TempDir::new().unwrap(), acks: String::new() }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Runs the workload and kills it when it has printed `lines` lines. Lines that it prints after that
    /// count, too.
    fn run(&mut self, seed: u64, strategy: &str, lines: usize) {
        let mut command = Command::new(example("crash_workload"));
        command.arg("run").arg(self.log()).args(["--strategy", strategy, "--seed", &seed.to_string()]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for n in 0.. {
            if n == lines {
                child.kill().unwrap();
            }
            if output.read_line(&mut self.acks).unwrap() == 0 {
                break;
            }
        }
        child.wait().unwrap();
    }

    /// Runs the verifier on `log` with the lines so far.
    fn verify(&self, log: &Path, seed: u64, strategy: &str) -> Output {
        let acks = self.dir.path().join("acks");
        fs::write(&acks, &self.acks).unwrap();
        let mut command = Command::new(example("crash_workload"));
        command.arg("verify").arg(log).arg(acks).args(["--strategy", strategy, "--seed", &seed.to_string()]);
        command.output().unwrap()
    }

    fn accepts(&mut self, seed: u64, strategy: &str) {
        let Output { status, stdout, stderr } = self.verify(&self.log(), seed, strategy);
        assert!(status.success(), "seed {seed}, {strategy}: {}", String::from_utf8_lossy(&stderr));
        self.acks.push_str(&String::from_utf8(stdout).unwrap());
    }

    fn refuses(&self, log: &Path, seed: u64, what: &str) {
        let Output { status, stderr, .. } = self.verify(log, seed, "sync");
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.code() == Some(1) && stderr.starts_with("VIOLATION "), "{what}: {status} {stderr}");
    }

    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.dir.path().join(name);
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(self.log()).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        copy
    }
}

#[test]
fn what_kills_leave_is_accepted_again_and_again() {
    for (seed, lines) in (1..).zip([0, 1, 2, 20, 60, 110, 170, 100_000]) {
        for strategy in ["sync", "auto"] {
            let mut place = Place::new();
            place.run(seed, strategy, lines);
            // The verifier writes as well, and its lines count.
            (0..3).for_each(|_| place.accepts(seed, strategy));
        }
    }
}

/// Tests the workload with snapshots, which the same program runs and verifies.
#[test]
fn with_snapshots_too_what_kills_leave_is_accepted_and_what_is_missing_is_refused() {
    let options = |command: &mut Command, seed: u64| {
        command.args(["--snapshots", "on", "--ops", "120", "--seed", &seed.to_string()]);
    };
    for (seed, lines) in (1..).zip([0, 1, 5, 12, 25, 40, 60, 100_000]) {
        let dir = TempDir::new().unwrap();
        let (node, acks) = (dir.path().join("node"), dir.path().join("acks"));
        let mut command = Command::new(example("crash_workload"));
        options(command.arg("run").arg(&node).stdout(Stdio::piped()), seed);
        let mut child = command.spawn().unwrap();
        let (mut output, mut said) = (BufReader::new(child.stdout.take().unwrap()), String::new());
        for n in 0.. {
            if n == lines {
                child.kill().unwrap();
            }
            if output.read_line(&mut said).unwrap() == 0 {
                break;
            }
        }
        child.wait().unwrap();
        let verify = |said: &str| {
            fs::write(&acks, said).unwrap();
            let mut command = Command::new(example("crash_workload"));
            options(command.arg("verify").arg(&node).arg(&acks), seed);
            command.output().unwrap()
        };
        for _ in 0..2 {
            let Output { status, stdout, stderr } = verify(&said);
            assert!(status.success(), "seed {seed}: {}", String::from_utf8_lossy(&stderr));
            said.push_str(&String::from_utf8(stdout).unwrap());
        }
        for what in ["applied", "snapshot"] {
            let Output { status, stderr, .. } = verify(&format!("{said}ACK 9999 {what} 1000000\n"));
            let stderr = String::from_utf8_lossy(&stderr);
            assert!(
                status.code() == Some(1) && stderr.starts_with("VIOLATION "),
                "{what}: {status} {stderr}"
            );
        }
        let files = node.join("snapshots");
        for file in fs::read_dir(&files).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "snap") {
                fs::remove_file(file).unwrap();
            }
        }
        assert_eq!(verify(&said).status.code(), Some(1), "seed {seed}: no snapshot is left");
    }
}

#[test]
fn what_was_acknowledged_and_is_not_there_is_refused() {
    let mut place = Place::new();
    place.run(7, "sync", 100_000);
    let before = place.copy("before");
    place.accepts(7, "sync");
    place.refuses(&before, 7, "an earlier state");
    place.refuses(&place.dir.path().join("nothing"), 7, "no engine at all");

    place.refuses(&place.copy("other"), 8, "what another seed writes");
    let lines = place.acks.lines().count() as u64;
    place.acks.push_str(&format!("ACK {} batch 2 1000\n", lines + 1));
    place.refuses(&place.log(), 7, "a batch that was never sent");
}

#[test]
fn what_was_never_sent_is_refused() {
    let mut place = Place::new();
    place.run(9, "sync", 100_000);
    // Drops all acknowledgements since the last open, which was many batches ago.
    let open = place.acks.rfind(" open ").unwrap();
    let end = open + place.acks[open..].find('\n').unwrap() + 1;
    place.acks.truncate(end);
    place.refuses(&place.log(), 9, "more than can have been sent");
}
