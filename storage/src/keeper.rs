//! The engine's own thread, for work that nobody waits for.
//! Place on the data's way: beside it. Invariants: sleeps until it is woken; keeps nothing alive: it ends
//! when its owner is gone. Fails: a thread that cannot be had is an error of opening.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// What is to come after a piece of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// There is no more until the thread is woken.
    Sleep,
    /// There is more, after a pause.
    Again(Duration),
    /// The owner is gone.
    End,
}

/// Wakes the thread; dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Keeper(SyncSender<()>);

impl Keeper {
    /// Starts a thread that, when woken, calls `step` as it says.
    pub(crate) fn spawn(step: impl Fn() -> Next + Send + 'static) -> std::io::Result<Keeper> {
        // One signal is enough, however many pieces of work it stands for.
        let (sender, receiver) = sync_channel(1);
        std::thread::Builder::new().name("seawall-keeper".into()).spawn(move || {
            while receiver.recv().is_ok() {
                loop {
                    match step() {
                        // Others that want the processor have it even then.
                        Next::Again(Duration::ZERO) => std::thread::yield_now(),
                        Next::Again(pause) => std::thread::sleep(pause),
                        Next::Sleep => break,
                        Next::End => return,
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
