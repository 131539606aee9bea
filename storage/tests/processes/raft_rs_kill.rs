//! Tests that the raft-rs example keeps every acknowledged proposal when SIGKILL ends it under load, fifty
//! times on one directory.
//!
//! After each kill the test inspects the log, and the example checks that every acknowledged proposal is
//! there.
//!
//! `SEAWALL_SEED=n cargo test -p seawall --test processes raft_rs_kill::` repeats the moments of one run.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use seawall_wal::disk::{
    PosixDisk,
    clock::{Random, SystemRandom},
};
use seawall_wal::inspect::inspect;
use tempfile::TempDir;

use crate::example::example;
use crate::random::Rng;
use crate::seeds;

const KILLS: u64 = 50;

struct Node {
    dir: TempDir,
    rng: Rng,
}

impl Node {
    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn acks(&self) -> PathBuf {
        self.dir.path().join("acks")
    }

    fn acked_bytes(&self) -> u64 {
        fs::metadata(self.acks()).map_or(0, |file| file.len())
    }

    fn command(&self, proposals: &str) -> Command {
        let mut command = Command::new(example("raft_rs_node"));
        command.arg(self.log()).arg(proposals).arg(self.acks());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Starts the example and kills it at a random moment, in most rounds after its first acknowledgement.
    fn run_and_kill(&mut self, round: u64) {
        let before = self.acked_bytes();
        let mut child = self.command("1000000000").spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        if self.rng.below(8) > 0 {
            while self.acked_bytes() == before {
                assert!(child.try_wait().unwrap().is_none(), "round {round}: ended by itself");
                assert!(Instant::now() < deadline, "round {round}: acknowledges nothing");
                sleep(Duration::from_millis(1));
            }
        }
        sleep(Duration::from_micros(self.rng.below(6_000)));
        child.kill().unwrap();
        let Output { status, stderr, .. } = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(status.code().is_none(), "round {round}: ended by itself: {stderr}");
    }

    fn look(&self, round: u64) {
        let disk = match PosixDisk::open(&self.log(), None) {
            Ok(disk) => disk,
            // The example was killed before it made the directory.
            Err(_) if self.acked_bytes() == 0 => return,
            Err(error) => panic!("round {round}: {error}"),
        };
        match inspect(&disk) {
            Ok(found) => assert!(found.verdict.is_ok(), "round {round}: {:?}", found.verdict),
            Err(seawall_wal::Error::NotALog { .. }) if self.acked_bytes() == 0 => {}
            Err(error) => panic!("round {round}: {error}"),
        }
    }

    fn check(&self, round: u64) {
        let Output { status, stderr, .. } = self.command("0").output().unwrap();
        assert!(status.success(), "round {round}: {}", String::from_utf8_lossy(&stderr));
    }
}

#[test]
fn every_acknowledged_proposal_outlives_fifty_kills() {
    let seed = seeds::number("SEAWALL_SEED").unwrap_or_else(|| SystemRandom.next_u64());
    println!("SEAWALL_SEED={seed}");
    let mut node = Node { dir: TempDir::new().unwrap(), rng: Rng(seed) };
    for round in 1..=KILLS {
        node.run_and_kill(round);
        node.look(round);
        node.check(round);
        node.look(round);
    }
    let text = fs::read_to_string(node.acks()).unwrap();
    println!("{} acknowledged", text.lines().count());
    assert!(text.lines().count() > 1000, "there was no load");
}
