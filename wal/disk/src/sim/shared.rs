//! The options of a simulated disk, and the state that all its handles share.

use super::fault::Dead;
use super::state::State;
use crate::interface::Mode;
use parking_lot::{Mutex, MutexGuard};
use std::io;

/// How a [`SimDisk`](super::SimDisk) behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SimOptions {
    /// The mode in which files are written. `Direct` refuses writes that are not block-aligned.
    pub mode: Mode,
    /// Block size that `Disk::block_size` reports, in bytes; raised to a power of two of at least 512.
    pub block_size: u32,
    /// Size of the file system in bytes; `None` for one that does not fill up.
    pub capacity_bytes: Option<u64>,
    /// Whether some writes write less than they were given. They end at a block boundary in `Direct` mode, so that
    /// the rest is aligned, too, and at a sector boundary in `Buffered` mode.
    pub short_writes: bool,
    /// Whether a block that is written again takes new space before the old space is freed, as with copy-on-write,
    /// shared extents and thin storage.
    pub copies_on_write: bool,
    /// Whether `read_medium` reads past the page cache. Otherwise it sees what the cache holds, and
    /// `distrust_cache` drops that at once.
    pub past_cache: bool,
    /// Size of the pages that are written out whole in `Buffered` mode, in bytes; 0 for single sectors. A failed sync
    /// loses whole pages.
    pub page_bytes: usize,
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions {
            mode: Mode::Direct,
            block_size: 4096,
            capacity_bytes: None,
            short_writes: false,
            copies_on_write: false,
            past_cache: false,
            page_bytes: 0,
        }
    }
}

/// The state that all handles of one disk share.
pub(super) struct Shared {
    pub(super) options: SimOptions,
    pub(super) state: Mutex<State>,
}

impl Shared {
    /// Locks the state, if the process `generation` is alive.
    pub(super) fn enter(&self, generation: Option<u64>) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if state.is_alive(generation) { Ok(state) } else { Err(Dead::error()) }
    }

    pub(super) fn block(&self) -> usize {
        usize::try_from(self.options.block_size).unwrap_or(usize::MAX)
    }
}
