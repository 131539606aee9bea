//! The simulated machine: processes, power losses, injected faults, and the content of the disk as a test sees it.

use super::fault::{Dead, FaultRule};
use super::shared::{Shared, SimOptions};
use super::state::State;
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A directory on a simulated device; its state outlives every crash.
///
/// The value that [`SimDisk::new`] returns is the machine: it works at all times, whatever process is alive. Files
/// and locks opened through it belong to the process that is alive at that moment. [`SimDisk::process`] returns a
/// `Disk` that dies with the present process, for logs whose threads may outlive a crash.
pub struct SimDisk {
    pub(super) shared: Arc<Shared>,
    /// The process to which the handle belongs; `None` for the machine itself.
    pub(super) generation: Option<u64>,
}

impl SimDisk {
    /// An empty disk on which `seed` decides every random choice.
    pub fn new(seed: u64, options: SimOptions) -> Arc<SimDisk> {
        let block_size = options.block_size.clamp(512, 1 << 30).next_power_of_two();
        let options = SimOptions { block_size, ..options };
        let state = Mutex::new(State::new(seed, options.capacity_bytes));
        Arc::new(SimDisk { shared: Arc::new(Shared { options, state }), generation: None })
    }

    /// The same disk as the present process sees it: every call fails once that process is dead.
    pub fn process(&self) -> Arc<SimDisk> {
        let generation = self.shared.state.lock().generation();
        Arc::new(SimDisk { shared: Arc::clone(&self.shared), generation: Some(generation) })
    }

    /// A copy of the whole state with its own randomness, to try another outcome of the same history. The copy has no
    /// living process: handles of this disk do not reach it, and its lock is free, as after [`SimDisk::kill`].
    pub fn fork(&self, seed: u64) -> Arc<SimDisk> {
        let state = self.shared.state.lock().fork(seed);
        let shared = Shared { options: self.shared.options, state: Mutex::new(state) };
        Arc::new(SimDisk { shared: Arc::new(shared), generation: None })
    }

    /// Cuts the power: the seed decides which part of the volatile state survives. The process is dead, its lock is
    /// free, and an armed crash point is disarmed. Faults and the capacity stay.
    pub fn crash(&self) {
        self.shared.state.lock().crash();
    }

    /// Ends the process but not the machine: volatile state stays visible and volatile. The lock is free, and an
    /// armed crash point is disarmed.
    pub fn kill(&self) {
        self.shared.state.lock().kill();
    }

    /// Arms a crash point: the `n`-th mutating operation from now (1 is the next) does not complete. It takes effect
    /// at most in volatile state. It and every later call of the process fail with an error for which
    /// [`SimDisk::is_crash`] holds, until [`SimDisk::crash`] or [`SimDisk::kill`].
    pub fn crash_after(&self, n: u64) {
        self.shared.state.lock().arm(n);
    }

    /// Whether an armed crash point was reached and neither `crash` nor `kill` was called since.
    pub fn crash_reached(&self) -> bool {
        self.shared.state.lock().crash_reached()
    }

    /// Whether a call failed because its process is dead, not because of the device.
    pub fn is_crash(error: &io::Error) -> bool {
        Dead::is(error)
    }

    /// Number of mutating operations so far: writes, syncs, allocations, creations, renames, removals, and syncs of
    /// the directory, whether they succeeded or not. Calls that break a contract are not counted.
    pub fn operations(&self) -> u64 {
        self.shared.state.lock().operations()
    }

    /// Adds a fault; its count of calls starts now.
    pub fn fail(&self, rule: FaultRule) {
        self.shared.state.lock().faults.add(rule);
    }

    /// Removes all faults; returns whether any has fired since they were last cleared.
    pub fn clear_faults(&self) -> bool {
        self.shared.state.lock().faults.clear()
    }

    /// Sets the size of the file system in bytes; allocated space stays allocated, even beyond it.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.shared.state.lock().set_capacity(bytes);
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.shared.state.lock().names()
    }

    /// Whether the name exists.
    pub fn exists(&self, name: &str) -> bool {
        self.shared.state.lock().inode_of(name).is_some()
    }

    /// The content of a file as a process would read it.
    ///
    /// # Panics
    ///
    /// If no file has the name.
    #[track_caller]
    pub fn read_file(&self, name: &str) -> Vec<u8> {
        self.existing(name, |state, inode| state.inode(inode).bytes().to_vec())
    }

    /// Creates or replaces a file; its name and content are durable. Not counted as an operation.
    pub fn write_file(&self, name: &str, bytes: &[u8]) {
        self.shared.state.lock().plant(name, bytes, self.shared.block());
    }

    /// Removes a file durably, if it exists. Not counted as an operation.
    pub fn remove_file(&self, name: &str) {
        self.shared.state.lock().uproot(name);
    }

    /// Cuts a file, or extends it with zeros, durably. Not counted as an operation.
    ///
    /// # Panics
    ///
    /// If no file has the name.
    #[track_caller]
    pub fn truncate(&self, name: &str, len: usize) {
        self.existing(name, |state, inode| state.inode_mut(inode).truncate(len));
    }

    /// Changes the bytes on the device from `offset` to the end of the file, without any process knowing. Sectors
    /// with unsynced writes still read as written.
    ///
    /// # Panics
    ///
    /// If no file has the name.
    #[track_caller]
    pub fn corrupt(&self, name: &str, offset: usize, f: impl FnOnce(&mut [u8])) {
        self.existing(name, |state, inode| state.inode_mut(inode).edit(offset, f));
    }

    /// Caches `bytes` as the contents of a file from `offset` on: older ones than the medium has, as if another
    /// process had kept their pages from being dropped when the file was written. Reads through the cache return the
    /// whole sectors among them until they are dropped or written, or the power fails.
    ///
    /// # Panics
    ///
    /// If no file has the name.
    #[track_caller]
    pub fn cache_older(&self, name: &str, offset: usize, bytes: &[u8]) {
        self.existing(name, |state, inode| state.inode_mut(inode).older.add(offset, bytes));
    }

    #[track_caller]
    fn existing<T>(&self, name: &str, f: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = self.shared.state.lock();
        match state.inode_of(name) {
            Some(inode) => f(&mut state, inode),
            None => panic!("no file {name:?} on the simulated disk, which has {:?}", state.names()),
        }
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("SimDisk")
            .field("options", &self.shared.options)
            .field("generation", &self.generation)
            .field("operations", &state.operations())
            .field("names", &state.names())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::AlignedBuf;
    use crate::interface::{Access, Disk};

    fn aligned(len: usize, byte: u8) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(len);
        buf.fill(byte);
        buf
    }

    /// A small history with every kind of operation; stops at the first error.
    fn history(disk: &SimDisk) -> io::Result<()> {
        let a = disk.open("a", Access::Create)?;
        a.allocate(16384)?;
        a.write_at(&aligned(8192, 1), 0, true)?;
        a.write_at(&aligned(8192, 2), 4096, false)?;
        a.sync()?;
        disk.sync()?;
        let b = disk.open("b", Access::Create)?;
        b.write_at(&aligned(4096, 3), 0, false)?;
        disk.rename("b", "c")?;
        disk.remove("a")?;
        disk.sync()
    }

    fn content(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
        disk.names().into_iter().map(|name| (name.clone(), disk.read_file(&name))).collect()
    }

    #[test]
    fn crash_after_cuts_every_operation_and_all_later_ones() {
        let whole = SimDisk::new(0, SimOptions::default());
        history(&whole).unwrap();
        let operations = whole.operations();
        assert_eq!(operations, 11);
        for n in 1..=operations {
            let disk = SimDisk::new(n, SimOptions::default());
            disk.crash_after(n);
            let error = history(&disk).unwrap_err();
            assert!(SimDisk::is_crash(&error) && disk.crash_reached(), "{n}: {error}");
            assert_eq!(disk.operations(), n);
            assert!(SimDisk::is_crash(&disk.list().unwrap_err()));
            disk.crash();
            assert!(!disk.crash_reached());
            disk.open("new", Access::Create).unwrap();
        }
        let disk = SimDisk::new(0, SimOptions::default());
        disk.crash_after(operations + 1);
        history(&disk).unwrap();
    }

    #[test]
    fn same_seed_same_result() {
        let run = |seed| {
            let disk = SimDisk::new(seed, SimOptions { short_writes: true, ..SimOptions::default() });
            disk.crash_after(9);
            history(&disk).unwrap_err();
            disk.crash();
            content(&disk)
        };
        let results: Vec<_> = (0..40).map(run).collect();
        assert_eq!(results, (0..40).map(run).collect::<Vec<_>>());
        assert!(results.iter().any(|result| *result != results[0]));
    }

    #[test]
    fn forks_share_nothing_and_crash_each_their_own_way() {
        let disk = SimDisk::new(0, SimOptions::default());
        let file = disk.open("a", Access::Create).unwrap();
        file.write_at(&aligned(8192, 1), 0, false).unwrap();
        let _lock = disk.lock("LOCK", "me").unwrap().unwrap();
        let outcomes: Vec<_> = (0..30)
            .map(|seed| {
                let fork = disk.fork(seed);
                assert_eq!(fork.read_file("a"), [1; 8192]);
                let _lock = fork.lock("LOCK", "you").unwrap().unwrap();
                fork.crash();
                content(&fork)
            })
            .collect();
        assert!(outcomes.iter().any(|outcome| *outcome != outcomes[0]));
        assert_eq!(disk.read_file("a"), [1; 8192]);
        file.write_at(&aligned(4096, 2), 0, true).unwrap();
    }

    #[test]
    fn nothing_of_a_dead_process_lands() {
        for power in [true, false] {
            let disk = SimDisk::new(7, SimOptions::default());
            disk.write_file("a", &[1; 4096]);
            let process = disk.process();
            let file = process.open("a", Access::Write).unwrap();
            let lock = process.lock("LOCK", "me").unwrap().unwrap();
            if power {
                disk.crash()
            } else {
                disk.kill()
            }

            let mut buf = aligned(4096, 2);
            let errors = [
                file.write_at(&buf, 0, true).map(drop),
                file.write_at(&buf, 0, false).map(drop),
                file.sync(),
                file.allocate(1 << 20),
                file.len().map(drop),
                file.links().map(drop),
                file.written_end(0).map(drop),
                file.read_at(&mut buf, 0).map(drop),
                file.read_medium(&mut buf, 0, 4096).map(drop),
                process.list().map(drop),
                process.open("a", Access::Read).map(drop),
                process.open("b", Access::Create).map(drop),
                process.rename("a", "b"),
                process.remove("a"),
                process.sync(),
                process.free_bytes().map(drop),
                process.lock("LOCK", "me").map(drop),
            ];
            for error in errors {
                let error = error.unwrap_err();
                assert!(SimDisk::is_crash(&error) && error.kind() != io::ErrorKind::NotFound);
            }
            file.drop_cache();

            let second = disk.lock("LOCK", "next").unwrap().unwrap();
            drop((file, lock));
            assert_eq!(disk.lock("LOCK", "third").unwrap().unwrap_err(), "next");
            drop(second);
            assert_eq!(disk.read_file("a"), [1; 4096]);
        }
    }

    #[test]
    fn a_killed_process_leaves_its_writes_visible_and_volatile() {
        let mut lost = 0;
        for seed in 0..40 {
            let disk = SimDisk::new(seed, SimOptions::default());
            disk.write_file("a", &[1; 4096]);
            disk.open("a", Access::Write).unwrap().write_at(&aligned(4096, 2), 0, false).unwrap();
            disk.open("b", Access::Create).unwrap();
            disk.kill();
            assert_eq!((disk.read_file("a"), disk.exists("b")), (vec![2; 4096], true));
            disk.crash();
            lost += u32::from(disk.read_file("a") == [1; 4096]);
        }
        assert!((1..40).contains(&lost));
    }

    #[test]
    fn planted_files_are_durable_and_can_rot() {
        let disk = SimDisk::new(1, SimOptions::default());
        disk.write_file("a", &[1; 5000]);
        disk.write_file("b", b"gone");
        disk.corrupt("a", 4999, |bytes| bytes[0] ^= 0xFF);
        disk.remove_file("b");
        disk.truncate("a", 6000);
        disk.crash();
        assert_eq!(disk.names(), ["a"]);
        let bytes = disk.read_file("a");
        assert_eq!((bytes.len(), bytes[4998], bytes[4999], bytes[5000]), (6000, 1, 0xFE, 0));
        assert_eq!(disk.operations(), 0);
    }

    #[test]
    #[should_panic(expected = "no file \"x\"")]
    fn reading_a_missing_file_says_so() {
        SimDisk::new(1, SimOptions::default()).read_file("x");
    }
}
