//! Tests a raft-rs node in a directory: proposals and reads from other threads, snapshots over a connection,
//! restarts.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use seawall::raft_rs::raft::eraftpb::{Entry, Message};
use seawall::raft_rs::{End, Error, Host, HostError, Node, NodeHandle, NodeOptions, Proposals};
use seawall::snapshots::snap::SnapshotReader;
use seawall::snapshots::{SnapshotSource, Snapshots};
use tempfile::TempDir;

const SOON: Duration = Duration::from_secs(20);

/// A state machine whose state is the lines that were proposed.
struct Lines {
    lines: Vec<String>,
    proposals: Proposals<usize>,
    restored: usize,
}

impl Host for Lines {
    fn send(&mut self, _: Vec<Message>) {}

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        for entry in entries.iter().filter(|entry| !entry.data.is_empty()) {
            self.lines.push(String::from_utf8(entry.data.to_vec())?);
            self.proposals.answer(entry, self.lines.len());
        }
        Ok(())
    }

    fn snapshot_source(&mut self, _: u64) -> Option<SnapshotSource> {
        let lines = self.lines.clone();
        Some(Box::new(move |to| lines.iter().try_for_each(|line| writeln!(to, "{line}"))))
    }

    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), HostError> {
        self.lines = BufReader::new(snapshot).lines().collect::<Result<_, _>>()?;
        self.restored = self.lines.len();
        Ok(())
    }
}

fn options(voters: &[u64]) -> NodeOptions {
    let mut options = NodeOptions::new(1);
    options.voters = voters.to_vec();
    options.engine.log.segment_bytes = 1 << 20;
    options.tick = Duration::from_millis(5);
    options.snapshots.entries = 50;
    options.snapshots.catch_up_entries = 10;
    options
}

type Running = thread::JoinHandle<Result<End, Error>>;

fn start(dir: &Path, voters: &[u64]) -> (NodeHandle<Lines>, Proposals<usize>, Snapshots, Running) {
    let proposals = Proposals::new();
    let kept = proposals.clone();
    let node =
        Node::open(dir, options(voters), |_| Ok(Lines { lines: Vec::new(), proposals: kept, restored: 0 }));
    let node = node.unwrap();
    let (handle, snapshots) = (node.handle(), node.snapshots().clone());
    (handle, proposals, snapshots, thread::spawn(move || node.run()))
}

fn propose(node: &NodeHandle<Lines>, proposals: &Proposals<usize>, line: &str) -> usize {
    loop {
        match proposals.propose(node, line.into()).wait(SOON) {
            Ok(count) => return count,
            // There is no leader yet, so nothing was proposed.
            Err(Error::Core(_)) => thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn proposals_and_reads_are_answered_and_the_node_starts_again() {
    let dir = TempDir::new().unwrap();
    let (node, proposals, snapshots, running) = start(dir.path(), &[1]);
    for number in 1..=200 {
        assert_eq!(propose(&node, &proposals, &format!("line {number}")), number);
    }
    assert_eq!(node.read(|host| host.lines.len()).wait(SOON).unwrap(), 200);
    assert_eq!(futures_lite::future::block_on(node.read(|host| host.lines[0].clone())).unwrap(), "line 1");
    // Snapshots are taken by another thread, which frees the log.
    let first_index = || node.call(|pump| pump.raft().raft_log.first_index()).wait(SOON).unwrap();
    while snapshots.served().is_none_or(|served| served.index() <= 100) || first_index() <= 50 {
        thread::sleep(Duration::from_millis(5));
    }
    node.stop(10).wait(SOON).unwrap().unwrap();
    let end = running.join().unwrap().unwrap();
    assert!(end.drained && !end.leads);
    // Requests after the end get an error, and nothing hangs.
    assert!(matches!(node.read(|host| host.lines.len()).wait(SOON), Err(Error::NoAnswer)));
    assert!(matches!(proposals.propose(&node, b"late".to_vec()).wait(SOON), Err(Error::NoAnswer)));
    assert!(!node.step(Message::default()));
    drop(snapshots);

    let (node, proposals, snapshots, running) = start(dir.path(), &[]);
    let (count, restored) = node.read(|host| (host.lines.len(), host.restored)).wait(SOON).unwrap();
    assert!(count == 200 && restored > 90, "{count} lines, {restored} of them from a snapshot");
    assert_eq!(propose(&node, &proposals, "line 201"), 201);
    drop(snapshots);
    node.stop(10).wait(SOON).unwrap().unwrap();
    running.join().unwrap().unwrap();
}

#[test]
fn a_node_without_a_quorum_answers_that_there_is_no_answer() {
    let dir = TempDir::new().unwrap();
    let (node, proposals, _, running) = start(dir.path(), &[1, 2, 3]);
    assert!(matches!(node.read(|host| host.lines.len()).wait(SOON), Err(Error::NoAnswer)));
    assert!(matches!(proposals.propose(&node, b"x".to_vec()).wait(SOON), Err(Error::Core(_))));
    // A read that waits when the node is stopped gets an error.
    let waiting = node.read(|host| host.lines.len());
    node.stop(2).wait(SOON).unwrap().unwrap();
    let end = running.join().unwrap().unwrap();
    assert!(!end.leads);
    assert!(matches!(waiting.wait(SOON), Err(Error::Stopping | Error::NoAnswer)));
}

#[test]
fn a_host_that_fails_ends_the_opening() {
    let dir = TempDir::new().unwrap();
    let opened = Node::<Lines>::open(dir.path(), options(&[1]), |_| Err("no state machine".into()));
    assert!(matches!(opened, Err(Error::Host(_))));
    // The directory is free again.
    let (node, _, _, running) = start(dir.path(), &[1]);
    node.stop(1).wait(SOON).unwrap().unwrap();
    running.join().unwrap().unwrap();
}

/// A stream that ends after a number of bytes has been read.
struct Cut(UnixStream, usize);

impl Read for Cut {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let most = to.len().min(self.1);
        let read = self.0.read(&mut to[..most])?;
        self.1 -= read;
        Ok(read)
    }
}

impl Write for Cut {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        self.0.write(from)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn a_snapshot_is_fetched_over_connections_that_break() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (node, proposals, source, running) = start(from.path(), &[1]);
    for number in 1..=120 {
        propose(&node, &proposals, &format!("line {number} {}", "x".repeat(200)));
    }
    let (other, _, target, other_running) = start(to.path(), &[1, 2]);
    let offer = loop {
        match source.served() {
            Some(served) if served.index() >= 100 => break served.offer,
            _ => thread::sleep(Duration::from_millis(5)),
        }
    };
    let fetch = |most: usize| {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let source = source.clone();
        let sender = thread::spawn(move || source.send(&mut theirs));
        let fetched = target.fetch(&offer, &mut Cut(ours, most));
        (fetched, sender.join().unwrap())
    };
    for most in [0, 1, 4, 40, 100] {
        let (fetched, _) = fetch(most);
        assert!(matches!(fetched, Err(seawall::snapshots::Error::Stream(_))), "{most}: {fetched:?}");
    }
    let (fetched, sent) = fetch(usize::MAX);
    fetched.unwrap();
    assert_eq!(sent.unwrap(), offer.id());
    assert!(target.has(&offer).unwrap());
    // The snapshot is here now, so the receiver requests nothing, and the sender sees the connection end.
    let (fetched, sent) = fetch(0);
    fetched.unwrap();
    assert!(matches!(sent, Err(seawall::snapshots::Error::Stream(_))));

    // Bytes that are no request end the call. A sender that no longer has the snapshot says so.
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    ours.write_all(&[9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap();
    assert!(matches!(source.send(&mut theirs), Err(seawall::snapshots::Error::Stream(_))));
    let gone = target.clone();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    gone.set_aside(offer.id()).unwrap();
    let sender = thread::spawn(move || gone.send(&mut theirs));
    let fetched = target.fetch(&offer, &mut ours);
    assert!(matches!(fetched, Err(seawall::snapshots::Error::NotSent { .. })), "{fetched:?}");
    assert!(sender.join().unwrap().is_err());

    for (node, running) in [(node, running), (other, other_running)] {
        node.stop(1).wait(SOON).unwrap().unwrap();
        running.join().unwrap().unwrap();
    }
}
