//! Tests that the openraft example keeps every number that it acknowledged when SIGKILL ends it under load,
//! again and again on one directory.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test processes openraft_kill::` repeats the moments of one run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use seawall_wal::disk::{Random, SystemRandom};
use tempfile::TempDir;

const KILLS: u64 = 10;

/// Returns the path of the built example. `cargo test` builds it, but
/// `cargo test --test processes openraft_kill::` does not.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().and_then(Path::parent).unwrap().join("examples/openraft_node");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/openraft_node.rs");
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    assert!(
        changed(&example) >= changed(&source),
        "{} is not up to date: run all tests of the package, or `cargo build --examples`",
        example.display()
    );
    example
}

/// Kills the child when the test ends, also when it fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the example until it has printed `acks` acknowledgements, waits for `moment`, and kills it. Returns
/// how many numbers it had when it started, and the last one that it acknowledged.
fn run_and_kill(dir: &Path, acks: u64, moment: Duration) -> (u64, u64) {
    let mut command = Command::new(example());
    command.arg(dir).arg("10000").stdout(Stdio::piped());
    let mut child = Killed(command.spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let first = lines.next().expect("it started").unwrap();
    let here: u64 =
        first.strip_suffix(" numbers are here").unwrap_or_else(|| panic!("{first}")).parse().unwrap();
    let mut last = here;
    let number = |line: String| line.strip_prefix("ACK ").and_then(|n| n.parse::<u64>().ok());
    for _ in 0..acks {
        let Some(Ok(line)) = lines.next() else { break };
        last = number(line).expect("a whole line");
    }
    sleep(moment);
    child.0.kill().unwrap();
    // Lines that it wrote before it died count, except for the last one, which may be cut off.
    let mut rest = Vec::new();
    lines.map_while(Result::ok).for_each(|line| rest.push(line));
    rest.pop();
    last = rest.into_iter().rev().find_map(number).unwrap_or(last);
    (here, last)
}

#[test]
fn every_acknowledged_number_outlives_the_kills() {
    let seed = std::env::var("SEAWALL_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seed: u64 = seed.unwrap_or_else(|| SystemRandom.next_u64());
    println!("SEAWALL_SEED={seed}");
    let mut below = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let dir = TempDir::new().unwrap();
    let (log, mut acknowledged) = (dir.path().join("log"), 0);
    for round in 0..KILLS {
        let (here, last) = run_and_kill(&log, below(400), Duration::from_micros(below(4000)));
        assert!(here >= acknowledged, "round {round}: {acknowledged} were acknowledged, {here} are here");
        acknowledged = last;
    }
    assert!(acknowledged > 100, "there was no load");
}
