//! The engine's own thread, for work that nobody waits for.
//! Place on the data's way: beside it. Invariants: sleeps until it is woken; keeps nothing alive: it ends
//! when its owner is gone. Fails: a thread that cannot be had is an error of opening.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// Pause between two pieces of work, so that writers come between them.
const PAUSE: Duration = Duration::from_millis(1);

/// Wakes the thread; dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Keeper(SyncSender<()>);

impl Keeper {
    /// Starts a thread that, when woken, calls `step` while it says `Some(true)`; `None` ends it.
    pub(crate) fn spawn(step: impl Fn() -> Option<bool> + Send + 'static) -> std::io::Result<Keeper> {
        // One signal is enough, however many pieces of work it stands for.
        let (sender, receiver) = sync_channel(1);
        std::thread::Builder::new().name("seawall-keeper".into()).spawn(move || {
            while receiver.recv().is_ok() {
                loop {
                    match step() {
                        Some(true) => std::thread::sleep(PAUSE),
                        Some(false) => break,
                        None => return,
                    }
                }
            }
        })?;
        Ok(Keeper(sender))
    }

    /// Has it look; does not wait.
    pub(crate) fn wake(&self) {
        let _ = self.0.try_send(());
    }
}
