//! Runs the engine's own thread, for work that nobody waits for.
//!
//! The thread sleeps until it is woken. [`Keeper::end`] waits for the step under way, so that whoever calls it knows that the
//! thread does nothing any more. Starting the thread is the only thing that can fail.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// What follows a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BackgroundStep {
    /// Nothing until the thread is woken.
    Sleep,
    /// Another step, after a pause.
    Again(Duration),
}

/// The thread.
#[derive(Debug)]
pub(crate) struct BackgroundThread {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    signal: Mutex<Signal>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Signal {
    woken: bool,
    ended: bool,
}

impl BackgroundThread {
    /// Starts a thread that, when woken, calls `step` as often as it says.
    pub(crate) fn spawn(
        step: impl Fn() -> BackgroundStep + Send + 'static,
    ) -> std::io::Result<BackgroundThread> {
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        let run = move || {
            while own.woken() {
                while let BackgroundStep::Again(pause) = step()
                    && own.pause(pause)
                {}
            }
        };
        let thread = thread::Builder::new().name("seawall-keeper".into()).spawn(run)?;
        Ok(BackgroundThread { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Makes the thread look whether there is something to do; does not wait.
    pub(crate) fn wake(&self) {
        let mut signal = self.shared.signal.lock();
        if !std::mem::replace(&mut signal.woken, true) {
            self.shared.changed.notify_all();
        }
    }

    /// Ends the thread and waits for it, unless this is the thread: then it ends after the step under way.
    pub(crate) fn end(&self) {
        self.shared.signal.lock().ended = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|keeper| keeper.thread().id() != thread::current().id()) {
            // A step that panicked has nothing left to say.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Sleeps until the thread is woken; `false` if it is to end.
    fn woken(&self) -> bool {
        let mut signal = self.signal.lock();
        self.changed.wait_while(&mut signal, |signal| !signal.woken && !signal.ended);
        signal.woken = false;
        !signal.ended
    }

    /// Pauses; `false` if the thread is to end.
    fn pause(&self, pause: Duration) -> bool {
        if pause.is_zero() {
            // Others that want the processor have it even then.
            thread::yield_now();
        }
        let until = Instant::now() + pause;
        let mut signal = self.signal.lock();
        while !signal.ended && !self.changed.wait_until(&mut signal, until).timed_out() {}
        !signal.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn it_steps_when_it_is_woken_and_no_more_once_it_has_ended() {
        let (sender, steps) = channel();
        let keeper = BackgroundThread::spawn(move || {
            sender.send(()).unwrap();
            BackgroundStep::Sleep
        })
        .unwrap();
        for _ in 0..3 {
            keeper.wake();
            steps.recv().unwrap();
        }
        keeper.end();
        keeper.wake();
        assert!(steps.recv().is_err(), "the thread has let go of what it used");
        keeper.end();
    }

    #[test]
    fn a_pause_does_not_hold_the_end_up() {
        let (sender, steps) = channel();
        let keeper = BackgroundThread::spawn(move || {
            sender.send(()).unwrap();
            BackgroundStep::Again(Duration::from_secs(3600))
        })
        .unwrap();
        keeper.wake();
        steps.recv().unwrap();
        keeper.end();
        assert!(steps.try_recv().is_err(), "one step");
    }
}
