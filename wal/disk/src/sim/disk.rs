//! Implements [`Disk`] for the simulated directory.
//!
//! Every call checks that its process is alive, then checks the contract, then whether a crash point or a fault cuts
//! it, and only then acts. A call that a crash point cuts acts only in volatile state. Errors are those of the
//! kernel: NotFound, AlreadyExists, StorageFull, EIO.

use super::fault::{FaultOp, Outcome};
use super::file::SimFile;
use super::machine::SimDisk;
use super::shared::Shared;
use super::state::DirOp;
use crate::interface::{Access, Disk, DiskFile, DiskLock, Mode, NameKind};
use std::fmt;
use std::io;
use std::sync::Arc;

impl Disk for SimDisk {
    fn location(&self) -> String {
        "simulated disk".to_owned()
    }

    fn mode(&self) -> Mode {
        self.shared.options.mode
    }

    fn block_size(&self) -> u32 {
        self.shared.options.block_size
    }

    fn list(&self) -> io::Result<Vec<(String, NameKind)>> {
        let state = self.shared.enter(self.generation)?;
        Ok(state.names().into_iter().map(|name| (name, NameKind::File)).collect())
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.shared.enter(self.generation)?;
        check_name(name)?;
        let inode = match (state.inode_of(name), access) {
            (Some(_), Access::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, Access::Read | Access::Write) => return Err(io::ErrorKind::NotFound.into()),
            (Some(inode), Access::Read | Access::Write) => {
                state.begin_open(name)?;
                inode
            }
            (None, Access::Create) => {
                let outcome = state.begin(FaultOp::Create, &[name])?;
                let inode = state.create(name, self.shared.block());
                outcome.finish(inode)?
            }
        };
        state.inode_mut(inode).opens += 1;
        let generation = state.generation();
        Ok(Arc::new(SimFile::new(Arc::clone(&self.shared), inode, generation, access != Access::Read)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.shared.enter(self.generation)?;
        check_name(to)?;
        let inode = state.inode_of(from).ok_or(io::ErrorKind::NotFound)?;
        let outcome = state.begin(FaultOp::Rename, &[from, to])?;
        if from != to {
            state.change(DirOp::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        }
        outcome.finish(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.shared.enter(self.generation)?;
        let inode = state.inode_of(name).ok_or(io::ErrorKind::NotFound)?;
        let outcome = state.begin(FaultOp::Remove, &[name])?;
        state.change(DirOp::Remove { name: name.to_owned(), inode });
        outcome.finish(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.shared.enter(self.generation)?;
        let outcome = state.begin(FaultOp::DirSync, &[])?;
        // If a crash point cuts it, any part of it may have happened: the crash draws which.
        if outcome == Outcome::Complete {
            state.sync_names();
        }
        outcome.finish(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.shared.enter(self.generation)?.free_bytes())
    }

    fn lock(&self, name: &str, holder: &str) -> io::Result<Result<Box<dyn DiskLock>, String>> {
        let mut state = self.shared.enter(self.generation)?;
        check_name(name)?;
        if let Some(holder) = state.lock_holder() {
            return Ok(Err(holder.to_owned()));
        }
        let inode = match state.inode_of(name) {
            Some(inode) => inode,
            None => {
                let outcome = state.begin(FaultOp::Create, &[name])?;
                let inode = state.create(name, self.shared.block());
                outcome.finish(inode)?
            }
        };
        // The text helps human readers. It takes no space, is not counted as an operation, and is durable at once, so
        // that it has no influence on what a crash draws.
        let file = state.inode_mut(inode);
        file.truncate(0);
        file.write(0, 0, holder.as_bytes());
        file.sync();
        let token = state.take_lock(holder);
        Ok(Ok(Box::new(SimLock { shared: Arc::clone(&self.shared), token })))
    }

    fn lock_for_reading(&self, name: &str) -> io::Result<Result<Option<Box<dyn DiskLock>>, String>> {
        let mut state = self.shared.enter(self.generation)?;
        check_name(name)?;
        if let Some(holder) = state.lock_holder() {
            return Ok(Err(holder.to_owned()));
        }
        if state.inode_of(name).is_none() {
            return Ok(Ok(None));
        }
        let token = state.take_lock("a reader");
        Ok(Ok(Some(Box::new(SimLock { shared: Arc::clone(&self.shared), token }))))
    }
}

/// Refuses a name that is not one component of a path.
fn check_name(name: &str) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a single path component"));
    }
    Ok(())
}

/// The held lock of the directory.
struct SimLock {
    shared: Arc<Shared>,
    token: u64,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.shared.state.lock().release_lock(self.token);
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLock").field("token", &self.token).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FaultError, FaultRule, SimOptions};
    use super::*;
    use std::collections::BTreeSet;
    use std::io::ErrorKind;

    fn disk(seed: u64) -> Arc<SimDisk> {
        SimDisk::new(seed, SimOptions::default())
    }

    #[test]
    fn names_resolve_as_in_a_directory() {
        let disk = disk(0);
        assert_eq!(disk.open("a", Access::Write).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.rename("a", "b").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.remove("a").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(disk.open("x/y", Access::Create).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(disk.operations(), 0);
        let a = disk.open("a", Access::Create).unwrap();
        let b = disk.open("b", Access::Create).unwrap();
        assert_eq!(disk.open("a", Access::Create).unwrap_err().kind(), ErrorKind::AlreadyExists);
        disk.rename("a", "b").unwrap();
        assert_eq!((a.links().unwrap(), b.links().unwrap()), (1, 0));
        disk.sync().unwrap();
        assert_eq!(b.len().unwrap(), 0);
        disk.remove("b").unwrap();
        assert_eq!((a.links().unwrap(), disk.list().unwrap()), (0, Vec::new()));
    }

    #[test]
    fn unsynced_names_are_a_sensible_part_of_what_was_done() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..200 {
            let disk = disk(seed);
            disk.write_file("old", b"o");
            disk.open("new", Access::Create).unwrap();
            disk.rename("new", "old").unwrap();
            disk.open("third", Access::Create).unwrap();
            disk.crash();
            let old = disk.read_file("old");
            outcomes.insert((disk.names().join(" "), old == b"o"));
        }
        let expected = [
            ("new old", true),
            ("new old third", true),
            ("old", false),
            ("old", true),
            ("old third", false),
            ("old third", true),
        ];
        assert_eq!(outcomes, expected.map(|(names, old)| (names.to_owned(), old)).into());
    }

    #[test]
    fn synced_names_survive_every_seed() {
        for seed in 0..50 {
            let disk = disk(seed);
            disk.write_file("gone", b"");
            disk.open("a", Access::Create).unwrap();
            disk.rename("a", "b").unwrap();
            disk.remove("gone").unwrap();
            disk.sync().unwrap();
            disk.remove("b").unwrap();
            disk.open("b", Access::Create).unwrap();
            disk.sync().unwrap();
            disk.crash();
            assert_eq!(disk.names(), ["b"]);
        }
    }

    #[test]
    fn a_lost_removal_brings_the_content_back() {
        let returned = (0..50).filter(|&seed| {
            let disk = disk(seed);
            disk.write_file("a", b"content");
            disk.remove("a").unwrap();
            disk.crash();
            assert!(!disk.exists("a") || disk.read_file("a") == b"content");
            disk.exists("a")
        });
        assert!((1..50).contains(&returned.count()));
    }

    #[test]
    fn a_full_disk_refuses_and_a_removal_gives_space_back() {
        let disk = disk(0);
        disk.set_capacity(Some(3 * 4096));
        let a = disk.open("a", Access::Create).unwrap();
        a.allocate(8192).unwrap();
        let b = disk.open("b", Access::Create).unwrap();
        assert_eq!(disk.free_bytes().unwrap(), 4096);
        let error = b.allocate(4097).unwrap_err();
        assert_eq!((error.kind(), error.raw_os_error()), (ErrorKind::StorageFull, Some(28)));
        assert_eq!(b.len().unwrap(), 0);
        let buf = crate::buffer::AlignedBuf::zeroed(8192);
        assert_eq!(b.write_at(&buf, 0, true).unwrap_err().kind(), ErrorKind::StorageFull);
        b.write_at(&buf[..4096], 0, true).unwrap();
        a.write_at(&buf, 0, true).unwrap();
        assert_eq!(disk.free_bytes().unwrap(), 0);
        disk.remove("a").unwrap();
        b.allocate(3 * 4096).unwrap();
        disk.set_capacity(Some(4 * 4096));
        assert_eq!(disk.free_bytes().unwrap(), 4096);
    }

    #[test]
    fn directory_operations_fail_when_told_and_change_nothing() {
        let disk = disk(0);
        disk.write_file("a", b"");
        let io = FaultError::Io;
        for op in [FaultOp::Create, FaultOp::Rename, FaultOp::Remove, FaultOp::DirSync] {
            disk.fail(FaultRule::once(op, 1, io));
        }
        assert_eq!(disk.open("b", Access::Create).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(disk.rename("a", "b").unwrap_err().raw_os_error(), Some(5));
        assert_eq!(disk.remove("a").unwrap_err().raw_os_error(), Some(5));
        assert_eq!(Disk::sync(&*disk).unwrap_err().raw_os_error(), Some(5));
        assert_eq!((disk.names(), disk.operations()), (vec!["a".to_owned()], 4));
        disk.rename("a", "b").unwrap();
    }

    #[test]
    fn the_lock_is_exclusive_until_dropped() {
        let disk = disk(0);
        let lock = disk.lock("LOCK", "first").unwrap().unwrap();
        assert_eq!(disk.lock("LOCK", "second").unwrap().unwrap_err(), "first");
        assert_eq!(disk.read_file("LOCK"), b"first");
        drop(lock);
        let _lock = disk.lock("LOCK", "second").unwrap().unwrap();
        assert_eq!(disk.read_file("LOCK"), b"second");
    }
}
