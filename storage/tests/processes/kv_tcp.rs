//! Tests the example `kv_tcp` with three processes over TCP.
//!
//! One process is killed, and the others compact the entries that it misses. It catches up by a snapshot, and
//! every node answers reads with what was put through any other.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::example::example;

struct Cluster {
    dir: TempDir,
    addresses: Vec<String>,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    fn new() -> Cluster {
        // These ports are free now. Another process may still take them.
        let listeners: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = listeners.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        Cluster { dir: TempDir::new().unwrap(), addresses, nodes: vec![None, None, None] }
    }

    fn start(&mut self, at: usize) {
        let mut command = Command::new(example("kv_tcp"));
        command
            .arg((at + 1).to_string())
            .arg(self.dir.path().join(at.to_string()))
            .arg(self.addresses.join(","));
        self.nodes[at] = Some(command.stdout(Stdio::piped()).spawn().unwrap());
    }

    fn kill(&mut self, at: usize) {
        let mut node = self.nodes[at].take().unwrap();
        node.kill().unwrap();
        node.wait().unwrap();
    }

    fn client(&mut self, at: usize) -> BufReader<TcpStream> {
        loop {
            let ended = self.nodes[at].as_mut().and_then(|node| node.try_wait().unwrap());
            assert_eq!(ended, None, "node {at} ended");
            match TcpStream::connect(&self.addresses[at]) {
                Ok(stream) => {
                    stream.set_nodelay(true).unwrap();
                    return BufReader::new(stream);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

fn ask(client: &mut BufReader<TcpStream>, request: &str) -> String {
    client.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_line(&mut answer).unwrap();
    assert!(answer.ends_with('\n'), "the connection was closed");
    answer.trim_end().to_owned()
}

/// Repeats the request until it is answered, because there may be no leader for a while.
fn ask_until(client: &mut BufReader<TcpStream>, request: &str) -> String {
    loop {
        let answer = ask(client, request);
        if !answer.starts_with("error") {
            return answer;
        }
    }
}

#[test]
fn three_processes_agree_through_a_kill_and_a_snapshot() {
    let mut cluster = Cluster::new();
    (0..3).for_each(|at| cluster.start(at));
    let (mut first, mut last) = (cluster.client(0), cluster.client(2));
    assert_eq!(ask_until(&mut first, "put color red"), "ok");
    assert_eq!(ask_until(&mut last, "get color"), "red");
    drop(last);
    cluster.kill(2);
    // The others take a snapshot every 200 entries and keep at most 50 entries before it.
    let number = |line: usize| format!("put key-{} value-{line}", line % 100);
    let mut many: Vec<_> = (0..8).map(|_| cluster.client(0)).collect();
    for line in 0..1500 {
        let client = &mut many[line % 8];
        assert_eq!(ask_until(client, &number(line)), "ok");
    }
    for at in [0, 1] {
        let snapshots = std::fs::read_dir(cluster.dir.path().join(at.to_string()).join("snapshots")).unwrap();
        assert!(snapshots.flatten().any(|file| file.path().extension().is_some_and(|end| end == "snap")));
    }
    cluster.start(2);
    let mut last = cluster.client(2);
    assert_eq!(ask_until(&mut last, "get key-99"), "value-1499");
    assert_eq!(ask_until(&mut last, "put color blue"), "ok");
    assert_eq!(ask_until(&mut first, "get color"), "blue");
    for at in 0..3 {
        assert_eq!(ask(&mut cluster.client(at), "stop"), "stopping");
    }
    for at in 0..3 {
        let output = cluster.nodes[at].take().unwrap().wait_with_output().unwrap();
        assert!(output.status.success() && output.stdout.starts_with(b"stopped: End"), "{output:?}");
    }
}
