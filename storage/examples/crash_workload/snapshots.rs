//! Runs and verifies the workload with snapshots: one group whose log and snapshots are on the disk whose
//! power is cut.
//!
//! ```text
//! ACK <n> applied <index>      the entries up to this index are durable and committed
//! ACK <n> snapshot <index>     a snapshot was taken or installed at this index
//! ```
//!
//! Entry and state are functions of seed, index and term, so a verifier needs only these lines. After any
//! power cut the newest snapshot is complete and not older than the last line tells, and the log continues
//! after it without a gap, at least up to the last index applied (INV-1, INV-3). No file may be damaged,
//! because a power cut damages none.

use std::io::{Read, Write};
use std::ops::RangeInclusive;
use std::path::Path;

use seawall::snapshots::snap::{self, Catalog, SnapshotId};
use seawall::snapshots::{Error, SnapshotOptions, SnapshotSource, Snapshots, Taken};
use seawall::{Engine, EntryRef, HardState, WriteBatch};

use crate::plan::Plan;
use crate::reference::Rng;

const GROUP: u64 = 1;

/// Steps that the verifier makes after its check.
const VERIFIER_STEPS: u64 = 12;

/// Contents that the lines promise.
#[derive(Clone, Copy, Default)]
struct Said {
    lines: u64,
    applied: u64,
    snapshot: u64,
}

impl Said {
    fn parse(text: &str) -> Result<Said, String> {
        let mut said = Said::default();
        let end = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text.get(..end).unwrap_or_default().lines().filter(|line| line.starts_with("ACK ")) {
            let words: Vec<&str> = line.split(' ').collect();
            let [_, number, what, index] = words[..] else { return Err(format!("`{line}`")) };
            let index: u64 = index.parse().map_err(|_| format!("`{line}`"))?;
            said.lines = number.parse().map_err(|_| format!("`{line}`"))?;
            match what {
                "applied" => said.applied = said.applied.max(index),
                "snapshot" => said.snapshot = said.snapshot.max(index),
                _ => return Err(format!("`{line}`")),
            }
        }
        Ok(said)
    }

    fn say(&mut self, what: &str, index: u64) -> Result<(), String> {
        self.lines += 1;
        // The whole line is one write to standard output.
        let line = format!("ACK {} {what} {index}\n", self.lines);
        let mut out = std::io::stdout().lock();
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(|error| error.to_string())
    }
}

/// The running node.
struct Node<'a> {
    plan: &'a Plan,
    engine: Engine,
    snapshots: Snapshots,
    rng: Rng,
    said: Said,
}

/// Runs the workload in `dir`. Creates the directory.
pub fn run(plan: &Plan, dir: &Path) -> Result<(), String> {
    let mut said = Said::default();
    std::fs::create_dir_all(dir).map_err(|error| format!("create: {error}"))?;
    for life in 0..=plan.reopens {
        let mut node = Node::open(plan, dir, said, life)?;
        for _ in 0..plan.ops / (plan.reopens + 1) {
            node.step()?;
        }
        said = node.end(life % 2 == 1)?;
    }
    Ok(())
}

/// Checks the contents of `dir` against the lines of `text`, and continues the workload.
pub fn verify(plan: &Plan, dir: &Path, text: &str) -> Result<(), String> {
    let mut said = Said::parse(text)?;
    std::fs::create_dir_all(dir).map_err(|error| format!("create: {error}"))?;
    for life in 0..2 {
        let mut node = Node::open(plan, dir, said, 1000 + said.lines)?;
        for _ in 0..VERIFIER_STEPS {
            node.step()?;
        }
        said = node.end(life == said.lines % 2)?;
    }
    Node::open(plan, dir, said, 0)?.end(true).map(drop)
}

fn payload(plan: &Plan, index: u64, term: u64) -> Vec<u8> {
    let mut rng = plan.rng(index, term, 1);
    let len = rng.below(u64::from(plan.payload_max) / 4);
    [index, term]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .chain((0..len).map(|_| rng.next().to_le_bytes()[0]))
        .collect()
}

/// The state at `index`: several chunks, half of which compress.
fn state(plan: &Plan, index: u64) -> Vec<u8> {
    let mut rng = plan.rng(index, 0, 2);
    let len = 1 + rng.below(30_000);
    let mut byte = |at: u64| match (at / 4096).is_multiple_of(2) {
        true => at.to_le_bytes()[1],
        false => rng.next().to_le_bytes()[0],
    };
    let mut bytes = index.to_le_bytes().to_vec();
    bytes.extend((0..len).map(&mut byte));
    bytes
}

fn dump(bytes: Vec<u8>) -> SnapshotSource {
    Box::new(move |to| to.write_all(&bytes))
}

impl<'a> Node<'a> {
    /// Opens log and snapshots, and checks them.
    fn open(plan: &'a Plan, dir: &Path, said: Said, life: u64) -> Result<Node<'a>, String> {
        let (log, files) = (dir.join("log"), dir.join("snapshots"));
        let engine = match Engine::open(&log, &plan.options()) {
            Ok((engine, _)) => engine,
            Err(seawall::Error::Log(_)) if said.lines == 0 => {
                // The power was cut before the log was created, and nothing was acknowledged.
                let _ = std::fs::remove_dir_all(&log);
                Engine::create(&log, &plan.options()).map_err(|error| format!("create: {error}"))?
            }
            Err(error) => return Err(format!("open refused: {error}")),
        };
        let options = snap::Options::default().with_chunk_bytes(4096).with_sync_bytes(64 << 10);
        let (catalog, found) =
            Catalog::open_dir(&files, &options).map_err(|error| format!("catalog: {error}"))?;
        let limits = SnapshotOptions::default().with_catch_up_entries(3);
        let (snapshots, start) = Snapshots::open(&engine, GROUP, &catalog, limits, 0)
            .map_err(|error| format!("no snapshot to start from: {error}"))?;
        if !found.damaged.is_empty() || !start.set_aside.is_empty() {
            return Err(format!("damaged: {:?} {:?}", found.damaged, start.set_aside));
        }
        if start.applied < said.snapshot {
            return Err(format!("starts at {}, {} was acknowledged", start.applied, said.snapshot));
        }
        if let Some(mut reader) = start.reader {
            let mut found = Vec::new();
            reader.read_to_end(&mut found).map_err(|error| format!("the snapshot: {error}"))?;
            if found != state(plan, start.applied) {
                return Err(format!("the snapshot at {} is another", start.applied));
            }
        }
        let group = engine.group(GROUP);
        let last = group.last_index();
        if last < said.applied {
            return Err(format!("the log ends at {last}, {} was acknowledged", said.applied));
        }
        let entries = group.entries(start.applied + 1, last + 1, None);
        for entry in entries.map_err(|error| format!("behind the snapshot: {error}"))? {
            if entry.payload[..] != payload(plan, entry.index, entry.term) {
                return Err(format!("entry {} is another", entry.index));
            }
        }
        Ok(Node { plan, engine, snapshots, rng: plan.rng(life, 0, 3), said })
    }

    fn end(self, close: bool) -> Result<Said, String> {
        let Node { engine, snapshots, said, .. } = self;
        drop(snapshots);
        match close {
            true => engine.close().map(|()| said).map_err(|error| format!("close: {error}")),
            false => Ok(said),
        }
    }

    /// Makes one step: appends, starts a snapshot, waits for one, or installs one from a peer.
    fn step(&mut self) -> Result<(), String> {
        if let Some(outcome) = self.snapshots.outcome() {
            self.taken(outcome)?;
        }
        let group = self.engine.group(GROUP);
        let last = group.last_index();
        match self.rng.below(12) {
            0 => self.install(last),
            1..5 if !self.snapshots.taking() && last > self.newest() => {
                let content = dump(state(self.plan, last));
                self.snapshots.start(last, b"", content).map_err(|error| format!("start: {error}"))
            }
            5 => {
                self.snapshots.wait();
                Ok(())
            }
            _ => {
                let (count, term) = (1 + self.rng.below(4), self.term(last) + self.rng.below(10) / 9);
                self.append(last + 1..=last + count, term.max(1), last + count)?;
                self.said.applied = last + count;
                self.said.say("applied", last + count)
            }
        }
    }

    fn newest(&self) -> u64 {
        self.engine.group(GROUP).snapshots().first().map_or(0, |newest| newest.index)
    }

    fn term(&self, index: u64) -> u64 {
        self.engine.group(GROUP).term(index).unwrap_or(0)
    }

    fn taken(&mut self, outcome: Result<Taken, Error>) -> Result<(), String> {
        match outcome {
            Ok(taken) => {
                self.said.snapshot = self.said.snapshot.max(taken.id.index);
                self.said.say("snapshot", taken.id.index)
            }
            Err(Error::Overtaken { .. }) => Ok(()),
            Err(error) => Err(format!("take: {error}")),
        }
    }

    fn append(&self, range: RangeInclusive<u64>, term: u64, commit: u64) -> Result<(), String> {
        let mut batch = WriteBatch::new();
        for index in range {
            batch.append(GROUP, &[EntryRef { index, term, payload: &payload(self.plan, index, term) }]);
        }
        batch.hard_state(GROUP, HardState { term, vote: 1, commit });
        let written = self.engine.write(&mut batch).and_then(|ticket| Ok(ticket.wait()?));
        written.map(drop).map_err(|error| format!("append: {error}"))
    }

    /// Installs a snapshot from a peer with its own disk. Its index is after the end of the log, or among
    /// entries that were never committed.
    fn install(&mut self, last: u64) -> Result<(), String> {
        let failed = |what: &'static str| move |error: snap::Error| format!("{what}: {error}");
        let refused = |error: Error| format!("install: {error}");
        let term = self.term(last) + 1;
        let index = if self.rng.chance(50) {
            self.append(last + 1..=last + 5, term, last)?;
            last + 3
        } else {
            last + 20
        };
        let id = SnapshotId { group: GROUP, index, term: term + 1 };
        let peer = std::env::temp_dir().join(format!("crash-workload-{}", std::process::id()));
        // Remove what a killed process with the same process id has left.
        let _ = std::fs::remove_dir_all(&peer);
        let options = snap::Options::default().with_chunk_bytes(4096);
        let (catalog, _) = Catalog::open_dir(&peer, &options).map_err(failed("peer"))?;
        let mut writer = catalog.write(id, b"", b"").map_err(failed("peer"))?;
        writer.append(&state(self.plan, index)).map_err(failed("peer"))?;
        writer.finish().map_err(failed("peer"))?;
        let export = catalog.export(id).map_err(failed("peer"))?;
        if let Some(mut incoming) = self.snapshots.receive(export.offer()).map_err(refused)? {
            for piece in export.pieces(incoming.next()).map_err(failed("peer"))? {
                incoming.accept(&piece.map_err(failed("peer"))?).map_err(refused)?;
            }
            incoming.finish().map_err(refused)?;
        }
        drop((export, catalog));
        let _ = std::fs::remove_dir_all(&peer);
        self.snapshots.install(id).map_err(refused)?;
        (self.said.snapshot, self.said.applied) = (index, index);
        self.said.say("snapshot", index)?;
        self.said.say("applied", index)
    }
}
