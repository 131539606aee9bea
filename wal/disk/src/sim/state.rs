//! The changing state of the simulated disk: names, files, the lock, and which process is alive.
//!
//! The disk's one mutex protects it, so every operation is whole or cut by a crash point, and a single-threaded run
//! is a function of its seed. Invariant: the volatile directory operations, applied in order to the durable names,
//! give the visible names.

use super::clock::Rng;
use super::fault::{FaultOp, Faults, Outcome, Survival, full};
use super::inode::Inode;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Space of a disk without a stated capacity, in bytes: large, but small enough that a wild length is an error and
/// does not exhaust the memory of the test machine.
const UNLIMITED_BYTES: u64 = 1 << 36;

/// Names and the inodes to which they refer.
type Names = BTreeMap<String, u64>;

/// A change of the directory that no directory sync has covered.
#[derive(Clone, Debug)]
pub(super) enum DirOp {
    Create { name: String, inode: u64 },
    Rename { from: String, to: String, inode: u64 },
    Remove { name: String, inode: u64 },
}

impl DirOp {
    fn inode(&self) -> u64 {
        match self {
            DirOp::Create { inode, .. } | DirOp::Rename { inode, .. } | DirOp::Remove { inode, .. } => *inode,
        }
    }

    fn mentions(&self, which: &str) -> bool {
        match self {
            DirOp::Create { name, .. } | DirOp::Remove { name, .. } => name == which,
            DirOp::Rename { from, to, .. } => from == which || to == which,
        }
    }

    /// Applies the change where it makes sense: a creation on a free name, the others on a name that still refers to
    /// the same file. An operation whose precondition was lost is lost, too.
    fn apply(&self, names: &mut Names) {
        match self {
            DirOp::Create { name, inode } => {
                names.entry(name.clone()).or_insert(*inode);
            }
            DirOp::Rename { from, to, inode } => {
                if names.get(from) == Some(inode) {
                    names.remove(from);
                    names.insert(to.clone(), *inode);
                }
            }
            DirOp::Remove { name, inode } => {
                if names.get(name) == Some(inode) {
                    names.remove(name);
                }
            }
        }
    }
}

/// The changing state of a disk.
#[derive(Clone)]
pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    capacity: u64,
    inodes: BTreeMap<u64, Inode>,
    /// The last number that was given to an inode, a write or a lock.
    last_id: u64,
    names: Names,
    durable_names: Names,
    dir_ops: Vec<DirOp>,
    /// The holder's text and a token, while the lock is held.
    lock: Option<(String, u64)>,
    /// Number of the present process.
    generation: u64,
    operations: u64,
    /// The value of `operations` at which the process dies.
    crash_at: Option<u64>,
    crash_reached: bool,
}

impl State {
    pub(super) fn new(seed: u64, capacity: Option<u64>) -> State {
        State {
            rng: Rng::new(seed),
            faults: Faults::default(),
            capacity: capacity.unwrap_or(UNLIMITED_BYTES),
            inodes: BTreeMap::new(),
            last_id: 0,
            names: Names::new(),
            durable_names: Names::new(),
            dir_ops: Vec::new(),
            lock: None,
            generation: 0,
            operations: 0,
            crash_at: None,
            crash_reached: false,
        }
    }

    pub(super) fn fork(&self, seed: u64) -> State {
        let mut copy = self.clone();
        copy.rng = Rng::new(seed);
        copy.kill();
        copy
    }

    pub(super) fn is_alive(&self, generation: Option<u64>) -> bool {
        !self.crash_reached && generation.is_none_or(|generation| generation == self.generation)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn arm(&mut self, n: u64) {
        self.crash_at = Some(self.operations.saturating_add(n.max(1)));
    }

    pub(super) fn crash_reached(&self) -> bool {
        self.crash_reached
    }

    pub(super) fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes.unwrap_or(UNLIMITED_BYTES);
    }

    pub(super) fn kill(&mut self) {
        self.generation += 1;
        self.crash_at = None;
        self.crash_reached = false;
        self.lock = None;
        for inode in self.inodes.values_mut() {
            inode.opens = 0;
        }
        self.collect();
    }

    pub(super) fn crash(&mut self) {
        let order: Vec<u64> = (0u64..).take(self.dir_ops.len()).collect();
        let survival = Survival::draw(&mut self.rng, &order);
        for (op, at) in self.dir_ops.drain(..).zip(order) {
            if survival.keeps(&mut self.rng, at) {
                op.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();

        let mut order: Vec<u64> = self.inodes.values().flat_map(Inode::pending).collect();
        order.sort_unstable();
        order.dedup();
        let survival = Survival::draw(&mut self.rng, &order);
        for inode in self.inodes.values_mut() {
            inode.crash(survival, &mut self.rng);
        }
        self.kill();
    }

    /// Counts a mutating operation and decides whether it completes; an error is an injected one.
    pub(super) fn begin(&mut self, op: FaultOp, names: &[&str]) -> io::Result<Outcome> {
        self.operations += 1;
        if self.crash_at == Some(self.operations) {
            self.crash_reached = true;
            return Ok(Outcome::Crash);
        }
        self.faults.check(op, names).map(|()| Outcome::Complete)
    }

    /// As [`State::begin`], for an operation on an open file.
    pub(super) fn begin_on(&mut self, op: FaultOp, inode: u64) -> io::Result<Outcome> {
        let name = self.name_for_faults(inode);
        self.begin(op, name.as_deref().as_slice())
    }

    /// Fails a read if a rule fires; reads are not counted as operations.
    pub(super) fn begin_read(&mut self, inode: u64) -> io::Result<()> {
        let name = self.name_for_faults(inode);
        self.faults.check(FaultOp::Read, name.as_deref().as_slice())
    }

    /// Fails the open of an existing file if a rule fires; such opens are not counted as operations.
    pub(super) fn begin_open(&mut self, name: &str) -> io::Result<()> {
        self.faults.check(FaultOp::Open, &[name])
    }

    fn name_for_faults(&self, inode: u64) -> Option<String> {
        let mut names = self.names.iter();
        if self.faults.by_name() {
            names.find(|(_, i)| **i == inode).map(|(name, _)| name.clone())
        } else {
            None
        }
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Takes the space that growing `inode` to `bytes` bytes needs, or fails with `StorageFull`.
    pub(super) fn reserve(&mut self, inode: u64, bytes: usize) -> io::Result<()> {
        let now = self.inode(inode).reserved;
        if bytes > now {
            if (bytes - now) as u64 > self.free_bytes() {
                return Err(full());
            }
            self.inode_mut(inode).reserved = bytes;
        }
        Ok(())
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let used: u64 = self.names.values().map(|&inode| self.inode(inode).reserved as u64).sum();
        self.capacity.saturating_sub(used)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn links(&self, inode: u64) -> u64 {
        self.names.values().filter(|&&i| i == inode).count() as u64
    }

    pub(super) fn inode_of(&self, name: &str) -> Option<u64> {
        self.names.get(name).copied()
    }

    /// The file `inode`, to which a name or a living handle refers: `collect` keeps those.
    pub(super) fn inode(&self, inode: u64) -> &Inode {
        &self.inodes[&inode]
    }

    /// As [`State::inode`], to change it.
    pub(super) fn inode_mut(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("an inode that a name or a living handle refers to")
    }

    /// Fails the sync of a file, in a cache with pages of `page` bytes.
    pub(super) fn fail_sync(&mut self, inode: u64, page: usize) {
        if let Some(file) = self.inodes.get_mut(&inode) {
            file.fail_sync(&mut self.rng, page);
        }
    }

    /// Closes a handle of the process `generation`; the handles of a dead process were closed by its death.
    pub(super) fn close(&mut self, inode: u64, generation: u64) {
        if generation != self.generation {
            return;
        }
        let file = self.inode_mut(inode);
        file.opens -= 1;
        if file.opens == 0 && self.links(inode) == 0 {
            self.collect();
        }
    }

    /// The text of the lock's holder, if the lock is held.
    pub(super) fn lock_holder(&self) -> Option<&str> {
        self.lock.as_ref().map(|(holder, _)| holder.as_str())
    }

    /// Gives the lock to `holder`; returns the token that releases it.
    pub(super) fn take_lock(&mut self, holder: &str) -> u64 {
        let token = self.next_id();
        self.lock = Some((holder.to_owned(), token));
        token
    }

    /// Frees the lock if `token` still holds it: another process may hold the lock of a dead one by now.
    pub(super) fn release_lock(&mut self, token: u64) {
        self.lock.take_if(|(_, held)| *held == token);
    }

    /// Makes the present names durable.
    pub(super) fn sync_names(&mut self) {
        self.durable_names = self.names.clone();
        self.dir_ops.clear();
        self.collect();
    }

    /// Creates or replaces a file durably.
    pub(super) fn plant(&mut self, name: &str, bytes: &[u8], block: usize) {
        self.uproot(name);
        let inode = self.next_id();
        self.inodes.insert(inode, Inode::durable(block, bytes));
        self.names.insert(name.to_owned(), inode);
        self.durable_names.insert(name.to_owned(), inode);
    }

    /// Removes a name durably. Unsynced operations up to the last one on that name become durable first, which is a
    /// state that the directory might have reached by itself.
    pub(super) fn uproot(&mut self, name: &str) {
        let settled = self.dir_ops.iter().rposition(|op| op.mentions(name)).map_or(0, |last| last + 1);
        for op in self.dir_ops.drain(..settled) {
            op.apply(&mut self.durable_names);
        }
        self.names.remove(name);
        self.durable_names.remove(name);
        self.collect();
    }

    pub(super) fn create(&mut self, name: &str, block: usize) -> u64 {
        let inode = self.next_id();
        self.inodes.insert(inode, Inode::new(block));
        self.change(DirOp::Create { name: name.to_owned(), inode });
        inode
    }

    pub(super) fn change(&mut self, op: DirOp) {
        op.apply(&mut self.names);
        self.dir_ops.push(op);
    }

    /// Frees inodes that nothing can reach any more.
    fn collect(&mut self) {
        let mut reached: BTreeSet<u64> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        reached.extend(self.dir_ops.iter().map(DirOp::inode));
        self.inodes.retain(|inode, file| file.opens > 0 || reached.contains(inode));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SimDisk, SimOptions};
    use crate::interface::{Access, Disk};

    #[test]
    fn planting_a_file_leaves_other_names_volatile() {
        let lost = (0..50).filter(|&seed| {
            let disk = SimDisk::new(seed, SimOptions::default());
            disk.open("a", Access::Create).unwrap();
            disk.write_file("b", b"b");
            disk.crash();
            assert!(disk.exists("b"));
            !disk.exists("a")
        });
        assert!((1..50).contains(&lost.count()));
    }

    #[test]
    fn unreachable_files_are_freed() {
        let disk = SimDisk::new(0, SimOptions::default());
        for round in 0..100 {
            let file = disk.open("a", Access::Create).unwrap();
            disk.remove("a").unwrap();
            if round % 10 == 0 {
                disk.sync().unwrap();
            }
            drop(file);
        }
        disk.sync().unwrap();
        assert_eq!(disk.shared.state.lock().inodes.len(), 0);
    }
}
