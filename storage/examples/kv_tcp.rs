//! A key-value store over TCP, with snapshots and linearizable reads. To start the second of three nodes:
//!
//! ```text
//! cargo run --release --features raft-rs --example kv_tcp -- 2 /tmp/kv-2 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003
//! ```
//!
//! Clients connect to any node and send lines: `put KEY VALUE`, `get KEY`, `stop`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use seawall::raft_rs::raft::eraftpb::{Entry, Message};
use seawall::raft_rs::{Host, HostError, Node, NodeHandle, NodeOptions, PeerSender, Proposals, read_message};
use seawall::snapshots::SnapshotSource;
use seawall::snapshots::snap::{Offer, SnapshotReader};

/// First bytes of the connections between nodes.
const MESSAGES: [u8; 1] = *b"M";
const SNAPSHOT: [u8; 1] = *b"S";
const TIMEOUT: Duration = Duration::from_secs(5);
type Outcome = Result<(), Box<dyn Error>>;

/// The state machine, and the other nodes with the threads that send to them.
struct Store {
    map: BTreeMap<String, String>,
    proposals: Proposals<()>,
    node: NodeHandle<Store>,
    peers: BTreeMap<u64, (String, PeerSender)>,
}

impl Host for Store {
    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            if let Some((_, peer)) = self.peers.get(&message.to) {
                peer.send(message);
            }
        }
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        for entry in entries {
            if let Some((key, value)) = std::str::from_utf8(&entry.data)?.split_once(' ') {
                self.map.insert(key.into(), value.into());
            }
            self.proposals.answer(entry, ());
        }
        Ok(())
    }

    fn snapshot_source(&mut self, _: u64) -> Option<SnapshotSource> {
        let map = self.map.clone();
        Some(Box::new(move |to| map.iter().try_for_each(|(key, value)| writeln!(to, "{key} {value}"))))
    }

    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), HostError> {
        self.map.clear();
        for line in BufReader::new(snapshot).lines() {
            let line = line?;
            let (key, value) = line.split_once(' ').ok_or("not a pair")?;
            self.map.insert(key.into(), value.into());
        }
        Ok(())
    }

    fn snapshot_offered(&mut self, offer: &Offer, message: Message) {
        if let Some(address) = self.peers.get(&message.from).map(|(address, _)| address.clone()) {
            self.node.fetch(offer, message, move || connect(&address, SNAPSHOT));
        }
    }
}

fn main() -> Outcome {
    let [id, dir, addresses] = &std::env::args().skip(1).collect::<Vec<_>>()[..] else {
        return Err("usage: kv_tcp ID DIR ADDRESS,ADDRESS,...".into());
    };
    let id: u64 = id.parse()?;
    let addresses: BTreeMap<u64, String> = (1..).zip(addresses.split(',').map(String::from)).collect();
    let mut options = NodeOptions::new(id);
    options.voters = addresses.keys().copied().collect();
    (options.snapshots.entries, options.snapshots.catch_up_entries) = (200, 50);
    let proposals = Proposals::new();
    let listener = TcpListener::bind(addresses.get(&id).ok_or("no address of this node")?)?;
    let node = Node::open(dir, options, |node| {
        let mut peers = BTreeMap::new();
        for (id, address) in addresses {
            let to = address.clone();
            peers.insert(id, (address, node.connect(move || connect(&to, MESSAGES))?));
        }
        Ok(Store { map: BTreeMap::new(), proposals: proposals.clone(), node: node.clone(), peers })
    })?;
    let handle = node.handle();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (node, proposals) = (handle.clone(), proposals.clone());
            // A connection that fails ends alone; its peer or client connects again.
            thread::spawn(move || serve(stream, &node, &proposals).map_err(|error| eprintln!("{error}")));
        }
    });
    println!("stopped: {:?}", node.run()?);
    Ok(())
}

/// Serves a connection of a peer or a client. Its first byte tells which.
fn serve(mut stream: TcpStream, node: &NodeHandle<Store>, proposals: &Proposals<()>) -> Outcome {
    let mut first = [0];
    stream.read_exact(&mut first)?;
    match first {
        MESSAGES => loop {
            node.step(read_message(&mut stream)?);
        },
        SNAPSHOT => node.send_snapshot(&mut stream)?,
        _ => {
            let mut writer = stream.try_clone()?;
            for line in BufReader::new(first.chain(stream)).lines() {
                let answer =
                    request(&line?, node, proposals).unwrap_or_else(|error| format!("error: {error}"));
                writer.write_all((answer + "\n").as_bytes())?;
            }
        }
    }
    Ok(())
}

/// Carries out a client's request.
fn request(
    line: &str,
    node: &NodeHandle<Store>,
    proposals: &Proposals<()>,
) -> Result<String, seawall::raft_rs::Error> {
    match line.split_once(' ') {
        Some(("put", pair)) => proposals.propose(node, pair.into()).wait(TIMEOUT).map(|()| "ok".into()),
        Some(("get", key)) => {
            let key = key.to_owned();
            node.read(move |store| store.map.get(&key).cloned().unwrap_or_default()).wait(TIMEOUT)
        }
        _ if line == "stop" => node.stop(50).wait(TIMEOUT)?.map(|()| "stopping".into()),
        _ => Ok("put KEY VALUE, get KEY, or stop".into()),
    }
}

fn connect(address: &str, purpose: [u8; 1]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(&purpose)?;
    Ok(stream)
}
