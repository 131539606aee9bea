//! Provides a disk with a gate for reads. While the gate is closed, reads wait, and the thread that made it
//! must not read.

use std::io;
use std::sync::Arc;
use std::thread::ThreadId;

use parking_lot::{Condvar, Mutex};
use seawall_wal::disk::sim::{Call, CallOp, HookDisk, SimDisk};

/// A gate for reads, open at first.
pub struct Gate {
    owner: ThreadId,
    /// Whether the gate is closed, and the number of reads since it was closed or made.
    state: Mutex<(bool, u32)>,
    changed: Condvar,
}

impl Gate {
    fn new() -> Arc<Gate> {
        let owner = std::thread::current().id();
        Arc::new(Gate { owner, state: Mutex::new((false, 0)), changed: Condvar::new() })
    }

    pub fn close(&self) {
        *self.state.lock() = (true, 0);
    }

    pub fn open(&self) {
        self.state.lock().0 = false;
        self.changed.notify_all();
    }

    /// Waits until a read has reached the gate.
    pub fn wait_for_one(&self) {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |(_, came)| *came == 0);
    }

    /// Returns the number of reads since the gate was closed or made.
    pub fn reads(&self) -> u32 {
        self.state.lock().1
    }

    fn pass(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.0 && std::thread::current().id() == self.owner {
            return Err(io::Error::other("the node's own thread reads"));
        }
        state.1 += 1;
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |(closed, _)| *closed);
        Ok(())
    }
}

/// Returns `disk` with a gate for its reads.
pub fn gated(disk: &SimDisk) -> (Arc<Gate>, Arc<HookDisk>) {
    let gate = Gate::new();
    let way = Arc::clone(&gate);
    let read = move |call: Call<'_>| if call.op == CallOp::Read { way.pass() } else { Ok(()) };
    (gate, HookDisk::new(disk.process(), read))
}
