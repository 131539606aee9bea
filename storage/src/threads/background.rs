//! Runs the engine's background thread.
//!
//! The thread sleeps until it is woken. When [`BackgroundThread::end`] returns, the thread does nothing any more: it
//! waits for the step under way. Only starting the thread can fail.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// The thread's next action after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BackgroundStep {
    /// Sleeps until it is woken.
    Sleep,
    /// Does another step after a pause.
    Again(Duration),
}

/// A thread that does steps of background work.
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
    /// Starts a thread that calls `step` each time it is woken, and again as long as `step` returns
    /// [`BackgroundStep::Again`].
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
        let thread = thread::Builder::new().name("seawall-reclaim".into()).spawn(run)?;
        Ok(BackgroundThread { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Wakes the thread to look for work. Does not wait for it.
    pub(crate) fn wake(&self) {
        let mut signal = self.shared.signal.lock();
        if !std::mem::replace(&mut signal.woken, true) {
            self.shared.changed.notify_all();
        }
    }

    /// Ends the thread and waits until it has ended. If called on that thread itself, it ends after the step under
    /// way.
    pub(crate) fn end(&self) {
        self.shared.signal.lock().ended = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|handle| handle.thread().id() != thread::current().id()) {
            // If a step panicked, there is nothing left to do.
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
            // Lets other threads run even without a pause.
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
        let background = BackgroundThread::spawn(move || {
            sender.send(()).unwrap();
            BackgroundStep::Sleep
        })
        .unwrap();
        for _ in 0..3 {
            background.wake();
            steps.recv().unwrap();
        }
        background.end();
        background.wake();
        assert!(steps.recv().is_err(), "the thread has let go of what it used");
        background.end();
    }

    #[test]
    fn a_pause_does_not_hold_the_end_up() {
        let (sender, steps) = channel();
        let background = BackgroundThread::spawn(move || {
            sender.send(()).unwrap();
            BackgroundStep::Again(Duration::from_secs(3600))
        })
        .unwrap();
        background.wake();
        steps.recv().unwrap();
        background.end();
        assert!(steps.try_recv().is_err(), "one step");
    }
}
