//! Tests that the openraft example keeps every number that it acknowledged when SIGKILL ends it under load,
//! again and again on one directory.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test processes openraft_kill::` repeats the moments of one run.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use seawall_wal::disk::clock::{Random, SystemRandom};
use tempfile::TempDir;

use crate::example::example;
use crate::random::Rng;
use crate::seeds;

const KILLS: u64 = 10;

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
    let mut command = Command::new(example("openraft_node"));
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
    let seed = seeds::number("SEAWALL_SEED").unwrap_or_else(|| SystemRandom.next_u64());
    println!("SEAWALL_SEED={seed}");
    let mut rng = Rng(seed);
    let dir = TempDir::new().unwrap();
    let (log, mut acknowledged) = (dir.path().join("log"), 0);
    for round in 0..KILLS {
        let (here, last) = run_and_kill(&log, rng.below(400), Duration::from_micros(rng.below(4000)));
        assert!(here >= acknowledged, "round {round}: {acknowledged} were acknowledged, {here} are here");
        acknowledged = last;
    }
    assert!(acknowledged > 100, "there was no load");
}
