//! Runs three Raft nodes in one process, each with its log in its own directory, connected by channels.
//!
//! While proposals run, node 3 is dropped as a kill does, and started again. Meanwhile the others take
//! snapshots and compact their logs, so node 3 catches up by a snapshot; `--compact off` turns this off. In
//! the end the three state machines and logs must be the same.
//!
//! ```text
//! cargo run --release --features raft-rs --example three_nodes -- --proposals 100000 --dir /tmp/three
//! ```

mod net;
mod node;
mod transfer;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::channel;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use net::{Event, NODES, Net, Outcome};
use node::{Ended, run};
use seawall::inspect::{OpKind, decode_record};
use seawall_wal::inspect::{GroupHead, GroupKind, inspect, visit_records};

/// Most proposals in flight.
const WINDOW: u64 = 4000;

fn start(at: usize, (root, every): (&Path, Option<u64>), net: &Arc<Net>) -> JoinHandle<Outcome<Ended>> {
    let (sender, events) = channel();
    *net.senders[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    let (dir, net) = (root.join(format!("node-{}", at + 1)), Arc::clone(net));
    thread::spawn(move || run(at, &dir, every, &net, &events))
}

fn stop(node: JoinHandle<Outcome<Ended>>, at: usize, net: &Net, close: bool) -> Outcome<Ended> {
    net.send(at, Event::Stop { close });
    node.join().map_err(|_| "a node panicked")?
}

fn main() -> Outcome<()> {
    let (root, proposals, compact) = parse()?;
    // Several snapshots are taken while node 3 is away.
    let every = compact.then_some((proposals / 20).max(1));
    let place = (&*root, every);
    std::fs::create_dir_all(&root)?;
    let (net, began) = (Arc::new(Net::default()), Instant::now());
    let mut nodes: Vec<_> = (0..NODES).map(|at| start(at, place, &net)).collect();
    let applied = |at: usize| net.applied[at].load(SeqCst);
    let (mut next, mut leader, mut moved) = (0, NODES, (0, Instant::now()));
    let mut back_at = None;
    while (0..NODES).any(|at| applied(at) < proposals) {
        if nodes.iter().any(JoinHandle::is_finished) {
            break;
        }
        let most = (0..NODES).map(applied).max().unwrap_or(0);
        let leads = (0..NODES).find(|&at| net.leads[at].load(SeqCst)).unwrap_or(NODES);
        if most > moved.0 {
            moved = (most, Instant::now());
        }
        // Proposals may be lost with a leader. Those that are not applied are proposed again.
        if leads != leader || (most < proposals && moved.1.elapsed() > Duration::from_secs(3)) {
            (leader, next, moved.1) = (leads, most, Instant::now());
        }
        let window = proposals.min(most + WINDOW);
        if leader < NODES && next < window {
            net.send(leader, Event::Propose(next..window));
            next = window;
        }
        if back_at.is_none() && most > proposals / 3 {
            // Node 3 ends as after a kill: its log is not closed, and the messages in its channel are lost.
            let gone = stop(nodes.remove(NODES - 1), NODES - 1, &net, false)?;
            net.leads[NODES - 1].store(false, SeqCst);
            println!("node-3 has {} numbers and is gone", applied(NODES - 1));
            back_at = Some((most + proposals / 4, gone.last.0 + 1));
        }
        // Node 3 is started again when the others no longer have the entry that it needs next.
        let compacted = |index| !compact || (0..NODES - 1).all(|at| net.first[at].load(SeqCst) > index);
        if nodes.len() < NODES && back_at.is_some_and(|(at, index)| most >= at && compacted(index)) {
            println!("node-3 comes back, the others have {most} numbers");
            nodes.push(start(NODES - 1, place, &net));
        }
        thread::sleep(Duration::from_micros(200));
    }
    let seconds = began.elapsed().as_secs_f64();
    let ended: Outcome<Vec<Ended>> =
        nodes.into_iter().enumerate().map(|(at, node)| stop(node, at, &net, true)).collect();
    let ended = ended?;
    println!("{proposals} proposals in {seconds:.1} s");
    (0..NODES).try_for_each(|at| summary(&root, at, &ended[at]))?;
    let restored: Vec<&[u64]> = ended.iter().map(|node| &node.restored[..]).collect();
    if compact {
        println!("snapshots that came from a peer, by index: {restored:?}");
        if ended.last().is_none_or(|node| node.restored.is_empty()) {
            return Err("node-3 did not catch up by a snapshot".into());
        }
    }
    compare(&ended, proposals)
}

/// Checks that the state machines are equal, and the logs up to the index that all nodes have applied.
fn compare(ended: &[Ended], proposals: u64) -> Outcome<()> {
    let common = ended.iter().map(|node| node.applied).min().unwrap_or(0);
    // A log starts at its compaction point. Two logs are compared from the later of their starts.
    let part = |node: &Ended, other: &Ended| -> Option<Vec<seawall::Entry>> {
        let from = node.point.max(other.point);
        let (skip, count) = (from - node.point, common.saturating_sub(from));
        let (skip, count) = (usize::try_from(skip).ok()?, usize::try_from(count).ok()?);
        node.log.get(skip..skip.checked_add(count)?).map(<[_]>::to_vec)
    };
    let first = ended.first().ok_or("no node")?;
    for (at, node) in (1..).zip(ended) {
        if (node.numbers, node.digest) != (proposals, first.digest) {
            return Err(format!("node-{at} has another state: {} numbers", node.numbers).into());
        }
        if part(node, first).is_none() || part(node, first) != part(first, node) {
            return Err(format!("node-{at} has another log").into());
        }
    }
    println!("state machines and logs are the same");
    Ok(())
}

/// Prints the contents of the closed log, counted like `walinspect verify`: durable groups (marks and footers
/// included), records, and the Raft entries written, including those overwritten since.
fn summary(root: &Path, at: usize, ended: &Ended) -> Outcome<()> {
    let dir = root.join(format!("node-{}", at + 1));
    let disk = seawall_wal::disk::PosixDisk::open(&dir, None)?;
    let seen = inspect(&disk)?;
    let verdict = seen.verdict.map_err(|damage| format!("{} is damaged: {damage:?}", dir.display()))?;
    let groups: u32 = verdict.kept.iter().filter_map(|kept| kept.groups).sum();
    let (mut records, mut entries) = (0u64, 0u64);
    for kept in &verdict.kept {
        for segment in seen.segments.iter().filter(|s| s.sequence == kept.segment) {
            let kept = |head: &&GroupHead| head.offset < kept.end && head.kind == GroupKind::Data;
            for head in segment.heads.iter().filter(kept) {
                visit_records(&disk, segment, head, &mut |record| {
                    records += 1;
                    let ops = decode_record(record.meta(), record.part_count()).unwrap_or_default();
                    entries += ops.iter().map(|op| entries_of(&op.what)).sum::<u64>();
                })?;
            }
        }
    }
    let (index, term) = ended.last;
    let at = at + 1;
    println!(
        "node-{at}: {groups} groups, {records} records, {entries} entries, last index {index} term {term}"
    );
    Ok(())
}

fn entries_of(what: &OpKind) -> u64 {
    match what {
        OpKind::Entries { first, last, .. } => last - first + 1,
        _ => 0,
    }
}

fn parse() -> Outcome<(PathBuf, u64, bool)> {
    let usage = "usage: --dir D [--proposals N] [--compact on|off]";
    let (mut dir, mut proposals, mut compact) = (None, 100_000, true);
    let mut words = std::env::args().skip(1);
    while let (Some(word), value) = (words.next(), words.next()) {
        match (word.as_str(), value) {
            ("--dir", Some(value)) => dir = Some(PathBuf::from(value)),
            ("--proposals", Some(value)) => proposals = value.parse()?,
            ("--compact", Some(value)) if value == "on" || value == "off" => compact = value == "on",
            _ => return Err(usage.into()),
        }
    }
    Ok((dir.ok_or(usage)?, proposals, compact))
}
