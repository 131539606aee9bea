//! A node in a directory: opens its engine, its snapshots and its state machine, and runs its pump.
//!
//! The node's own thread owns the pump. Other threads reach it through a [`NodeHandle`].

pub(crate) mod inbox;
pub(crate) mod messages;
pub(crate) mod peer;
pub(crate) mod pending;
pub(crate) mod proposals;
pub(crate) mod run;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raft::Config;

use crate::adapters::raft_rs::error::{Error, HostError, Result};
use crate::adapters::raft_rs::host::{Host, PumpOptions};
use crate::adapters::raft_rs::node::inbox::{Inbox, NodeHandle, inbox};
use crate::adapters::raft_rs::outcome::End;
use crate::adapters::raft_rs::pump::Pump;
use crate::adapters::raft_rs::storage::GroupStorage;
use crate::engine::Engine;
use crate::options::Options;
use crate::snapshots::snap::{self, Catalog};
use crate::snapshots::{SnapshotOptions, Snapshots};
use crate::types::{ConfState, GroupId};

/// Options of a node.
#[derive(Clone)]
#[non_exhaustive]
pub struct NodeOptions {
    /// Number of the group in the engine; default 1.
    pub group: GroupId,
    /// The members that the group starts with, the same on each of them. They count only when the node is opened for the
    /// first time. With none, the default, the node joins a group that exists: propose its id there as a member.
    pub voters: Vec<u64>,
    /// Options of the engine.
    pub engine: Options,
    /// When snapshots are taken, and up to which entry they free the log.
    pub snapshots: SnapshotOptions,
    /// Options of the directory of snapshots.
    pub catalog: snap::Options,
    /// Options of the core. By default an entry of the core's messages and its Readys is limited to 1 MiB, and elections
    /// begin with a vote that costs no term (`pre_vote`). `id` is that of the node. `applied` is the last entry that the
    /// state machine keeps durably by itself; 0, the default, if it keeps nothing.
    pub core: Config,
    /// Options of the pump. [`Node::open`] sets `wake` and `snapshots`.
    pub pump: PumpOptions,
    /// Interval of the core's clock; default 100 ms.
    pub tick: Duration,
}

impl NodeOptions {
    /// The options of node `id`.
    pub fn new(id: u64) -> NodeOptions {
        let core = Config {
            max_size_per_msg: 1 << 20,
            max_committed_size_per_ready: 1 << 20,
            max_inflight_msgs: 256,
            pre_vote: true,
            check_quorum: true,
            ..Config::new(id)
        };
        NodeOptions {
            group: 1,
            voters: Vec::new(),
            engine: Options::default(),
            snapshots: SnapshotOptions::default(),
            catalog: snap::Options::default(),
            core,
            pump: PumpOptions::default(),
            tick: Duration::from_millis(100),
        }
    }
}

/// A node with one group, in a directory of its own: the log is in `log`, the snapshots are in `snapshots`.
///
/// For several groups in one process, share an [`Engine`] and make a [`Pump`] of each.
pub struct Node<H: Host> {
    engine: Engine,
    snapshots: Snapshots,
    pump: Pump<H>,
    inbox: Inbox<H>,
    handle: NodeHandle<H>,
    tick: Duration,
}

impl<H: Host> Node<H> {
    /// Opens the node in `dir`, or creates it there. The directory is created if it is missing; its parent must exist. The state machine then has the newest snapshot
    /// ([`Host::restore`]); it gets the entries after it once the node runs.
    ///
    /// `host` makes the network and the state machine. It gets the handle of the node.
    ///
    /// # Errors
    /// [`Error::Directory`]; the errors of [`Engine::open`], [`Catalog::open_dir`], [`Snapshots::open`] and [`Pump::new`]; [`Error::Bootstrap`]
    /// if [`NodeOptions::voters`] cannot start a group; [`Error::Host`] if `host` fails, or the state machine
    /// does not load its snapshot.
    pub fn open(
        dir: impl AsRef<Path>,
        options: NodeOptions,
        host: impl FnOnce(&NodeHandle<H>) -> std::result::Result<H, HostError>,
    ) -> Result<Node<H>> {
        let NodeOptions { group, voters, engine, snapshots, catalog, mut core, mut pump, tick } = options;
        let dir = dir.as_ref();
        seawall_wal::disk::PosixDisk::create_dir(dir).map_err(|source| Error::Directory {
            path: dir.display().to_string(),
            source: Arc::new(source),
        })?;
        let (engine, _) = Engine::open_or_create(dir.join("log"), &engine)?;
        let store = GroupStorage::new(&engine, group);
        match store.in_use() {
            Some(_) => {}
            None if voters.is_empty() => store.join()?,
            None => store.bootstrap(&ConfState { voters, ..ConfState::default() })?,
        }
        let (catalog, _) =
            Catalog::open_dir(&dir.join("snapshots"), &catalog).map_err(crate::snapshots::Error::from)?;
        let (snapshots, start) = Snapshots::open(&engine, group, &catalog, snapshots, core.applied)?;
        let (handle, inbox) = inbox(Some(snapshots.clone()));
        let mut host = host(&handle).map_err(|error| Error::Host(error.into()))?;
        if let Some(mut reader) = start.reader {
            host.restore(&mut reader).map_err(|error| Error::Host(error.into()))?;
        }
        core.applied = start.applied;
        pump.wake = Some(handle.wake());
        pump.snapshots = Some(snapshots.clone());
        let pump = Pump::new(&engine, group, &core, host, pump)?;
        Ok(Node { engine, snapshots, pump, inbox, handle, tick })
    }

    /// A handle of the node for other threads.
    pub fn handle(&self) -> NodeHandle<H> {
        self.handle.clone()
    }

    /// The engine of the node.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The snapshots of the node.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// The pump, before it runs.
    pub fn pump(&mut self) -> &mut Pump<H> {
        &mut self.pump
    }

    /// Runs the node on this thread until it is stopped ([`NodeHandle::stop`]), then closes its log.
    ///
    /// # Errors
    /// The error that stopped the pump; then the log is not closed, as after a kill. Or the error of closing the log.
    pub fn run(mut self) -> Result<End> {
        let end = self.pump.run(&self.inbox, self.tick)?;
        drop(self.pump);
        self.engine.close()?;
        Ok(end)
    }
}

impl fmt::Debug for NodeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeOptions")
            .field("id", &self.core.id)
            .field("group", &self.group)
            .field("voters", &self.voters)
            .field("tick", &self.tick)
            .finish_non_exhaustive()
    }
}

impl<H: Host> fmt::Debug for Node<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("pump", &self.pump).finish_non_exhaustive()
    }
}
