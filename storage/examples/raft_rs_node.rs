//! Runs one Raft node (crate `raft`) with its log in a directory.
//!
//! The node proposes numbers, and writes `ACK n` when number n is applied, which means that it is durable.
//! Kill it at any time and start it again: it checks that it still has every acknowledged number. With 0
//! proposals it only checks.
//!
//! ```text
//! cargo run --release --features raft-rs --example raft_rs_node -- /tmp/node 100000 /tmp/node.acks
//! ```
//!
//! The state machine is in memory, so it applies the whole log at each start.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::time::Duration;

use seawall::raft_rs::{GroupStorage, Host, HostError, Outcome, Pump, PumpOptions, raft};
use seawall::{ConfState, Engine, Options};

use raft::eraftpb::{Entry, Message};

/// Number of the Raft group in the engine, and id of the node in the group.
const GROUP: u64 = 1;
const NODE: u64 = 1;

/// Most proposals in flight.
const WINDOW: u64 = 200;

/// The state machine: every proposed number, in order. A single node needs no network.
struct Numbers {
    applied: Vec<u64>,
    acks: Option<Box<dyn Write>>,
}

impl Host for Numbers {
    fn send(&mut self, _: Vec<Message>) {}

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        let mut lines = Vec::new();
        for entry in entries {
            // Entries that the core adds itself are empty.
            let Ok(bytes) = entry.data[..].try_into() else { continue };
            let number = u64::from_le_bytes(bytes);
            self.applied.push(number);
            writeln!(lines, "ACK {number}")?;
        }
        // Nothing is acknowledged again while the log is replayed.
        if let Some(acks) = &mut self.acks {
            acks.write_all(&lines)?;
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let [dir, proposals, ack_file] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("usage: raft_rs_node DIR PROPOSALS ACK_FILE".into());
    };
    let proposals: u64 = proposals.parse()?;
    let engine = open(dir)?;

    // The state machine is not persistent, so it applies the log from the start: `applied` is 0.
    let config = raft::Config {
        max_size_per_msg: 1 << 20,
        // Limits the part of the log that is in memory during replay.
        max_committed_size_per_ready: 1 << 20,
        ..raft::Config::new(NODE)
    };
    let host = Numbers { applied: Vec::new(), acks: None };
    let mut pump = Pump::new(&engine, GROUP, &config, host, PumpOptions::default())?;

    // When a leader has applied an entry of its own term, it has applied everything that was committed.
    pump.campaign()?;
    let all = pump.raft().raft_log.last_index();
    while pump.applied() < all {
        carry(&mut pump)?;
    }
    let acknowledged = acknowledgements(ack_file)?;
    check(&acknowledged, &pump.host().applied)?;
    if proposals == 0 {
        return Ok(engine.close()?);
    }

    let file = OpenOptions::new().create(true).append(true).open(ack_file)?;
    file.set_len(acknowledged.len() as u64)?;
    pump.host_mut().acks = Some(Box::new(file));
    let before = pump.host().applied.len() as u64;
    let (mut next, end) = (before, before + proposals);
    while (pump.host().applied.len() as u64) < end {
        let window = end.min(pump.host().applied.len() as u64 + WINDOW);
        while next < window {
            match pump.propose(vec![], next.to_le_bytes().to_vec()) {
                Err(full) if full.is_no_space() => break,
                proposed => proposed?,
            }
            next += 1;
        }
        carry(&mut pump)?;
    }
    Ok(engine.close()?)
}

/// Runs the pump once and waits for more work. An error ends the node. A full disk is no error: the pump
/// continues when there is space.
fn carry(pump: &mut Pump<Numbers>) -> Result<(), Box<dyn Error>> {
    for outcome in [pump.poll()?, pump.wait(Duration::from_secs(1))?] {
        if let Outcome::Stalled(full) = outcome {
            eprintln!("waiting for room: {full}");
        }
    }
    Ok(())
}

/// Opens the log, or creates one with this node as the only member.
fn open(dir: &str) -> Result<Engine, Box<dyn Error>> {
    let mut options = Options::default();
    options.log.segment_bytes = 4 << 20;
    let (engine, _) = Engine::open_or_create(dir, &options)?;
    let store = GroupStorage::new(&engine, GROUP);
    if store.group().conf_state().is_none() {
        store.bootstrap(&ConfState { voters: vec![NODE], ..ConfState::default() })?;
    }
    Ok(engine)
}

/// Checks that the state machine has every acknowledged number, each at its own position.
fn check(acknowledged: &str, applied: &[u64]) -> Result<(), Box<dyn Error>> {
    for (place, number) in (0..).zip(applied) {
        if place != *number {
            return Err(format!("number {number} is at place {place}").into());
        }
    }
    for line in acknowledged.lines() {
        let number = line.strip_prefix("ACK ").ok_or("not an acknowledgement")?;
        let number: u64 = number.parse()?;
        if number >= applied.len() as u64 {
            return Err(format!("number {number} was acknowledged and is lost").into());
        }
    }
    println!("{} numbers, {} acknowledged and all of them here", applied.len(), acknowledged.lines().count());
    Ok(())
}

/// Reads the lines of the ack file. A last line cut off by a kill is ignored.
fn acknowledgements(path: &str) -> Result<String, Box<dyn Error>> {
    let mut text = match fs::read_to_string(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        read => read.unwrap_or_default(),
    };
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    Ok(text)
}
