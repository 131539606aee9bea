//! The log's own threads: the flusher, which serves whoever does not block and drives the disk, and the one
//! that prepares segments. A thread that panics stops the log, so that nobody waits for it.

use crate::commit::{Committer, Driver, RingQueue};
use crate::disk::Disk;
use crate::env::Env;
use crate::error::Error;
use crate::options::{Backend, Options};
use crate::segment::directory::failed;
use crate::segment::preallocator::{Preallocator, StepOutcome};
use crate::segment::spare_pool::SparePool;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Mutex, mpsc};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// The threads of one log; none if it is stepped.
#[derive(Debug, Default)]
pub(crate) struct LogThreads {
    threads: Vec<JoinHandle<()>>,
    driver: Driver,
}

impl LogThreads {
    /// Starts the flusher, with a ring if the options ask for one and the kernel has it.
    pub(crate) fn flush(&mut self, log: &Arc<Committer>, env: &Env, options: &Options) -> Result<(), Error> {
        let (log, clock) = (Arc::clone(log), Arc::clone(&env.clock));
        let idle = Duration::from_millis(u64::from(options.idle_ms));
        let (disk, options) = (Arc::clone(&env.disk), options.clone());
        let (ready, started) = mpsc::sync_channel(1);
        let work = move || {
            // A ring belongs to the thread that made it.
            let rail = match rail(&*disk, &options) {
                Ok(rail) => rail,
                Err(e) => return drop(ready.send(Err(e))),
            };
            let driver = if rail.is_some() { Driver::Ring } else { Driver::Blocking };
            log.start_driver(driver, rail.as_ref());
            let _ = ready.send(Ok(driver));
            stop_on_panic(&log, || log.flush_loop(&*clock, idle, rail));
        };
        self.start("seawall-flush", env, work)?;
        let driver = started.recv().map_err(io::Error::other).flatten();
        self.driver = driver.map_err(|e| failed(&*env.disk, "set up io_uring for", "", e))?;
        Ok(())
    }

    /// Starts the pipeline's thread.
    pub(crate) fn prepare(
        &mut self,
        log: &Arc<Committer>,
        shelf: &Arc<SparePool>,
        pipeline: &Arc<Mutex<Preallocator>>,
        env: &Env,
    ) -> Result<(), Error> {
        let (log, shelf, pipeline) = (Arc::clone(log), Arc::clone(shelf), Arc::clone(pipeline));
        self.start("seawall-spare", env, move || {
            stop_on_panic(&log, || prepare(&log, &shelf, &pipeline));
        })
    }

    fn start(&mut self, name: &str, env: &Env, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = thread::Builder::new().name(name.into()).spawn(work);
        self.threads.push(thread.map_err(|e| failed(&*env.disk, "start a thread for", "", e))?);
        Ok(())
    }

    /// Whether the log is stepped.
    pub(crate) fn none(&self) -> bool {
        self.threads.is_empty()
    }

    /// Who carries out writes, as `Stats` says it.
    pub(crate) fn backend(&self) -> &'static str {
        if self.driver == Driver::Ring { "io_uring" } else { "posix" }
    }

    /// Waits for the threads of a log that was stopped. Says whether there were any and all have ended.
    pub(crate) fn join(&mut self) -> bool {
        let mut all = !self.none();
        for worker in self.threads.drain(..) {
            // The last owner may be a listener that one of them calls; that one ends by itself.
            if worker.thread().id() == thread::current().id() {
                all = false;
            } else {
                // A worker that panicked has nothing left to say; the log is stopped either way.
                let _ = worker.join();
            }
        }
        all
    }
}

/// The ring that the options ask for; `None` where POSIX calls are to do.
fn rail(disk: &dyn Disk, options: &Options) -> io::Result<Option<RingQueue>> {
    if options.backend == Backend::Posix {
        return Ok(None);
    }
    // One more than may be written at a time: a sync runs beside the writes.
    let depth = options.writes_in_flight_max as usize + 1;
    match disk.ring(depth) {
        Ok(ring) => Ok(Some(RingQueue::new(ring, depth))),
        Err(_) if options.backend == Backend::Auto => Ok(None),
        Err(e) => Err(e),
    }
}

/// How long the log writes nothing before released files are zeroed.
const LULL: Duration = Duration::from_millis(200);

/// Runs a worker; if it panics, the log stops, so that nobody waits for it.
fn stop_on_panic(log: &Committer, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        let location = log.lock_state().location();
        log.poison(Error::io("run a thread for", location, "", io::Error::other("panic")));
    }
}

/// The pipeline's thread.
fn prepare(log: &Committer, shelf: &SparePool, pipeline: &Mutex<Preallocator>) {
    loop {
        if shelf.stopped() {
            return;
        }
        let progress = pipeline.lock().step();
        let go_on = match progress {
            Ok(StepOutcome::Stepped) => true,
            Ok(StepOutcome::Idle(version) | StepOutcome::Behind(version)) => shelf.sleep(version, None),
            Ok(StepOutcome::Lull(version)) => shelf.sleep(version, Some(LULL)),
            Ok(StepOutcome::Full(version)) => shelf.sleep(version, Some(Duration::from_millis(100))),
            Err(error) => {
                log.poison(error);
                shelf.stop();
                false
            }
        };
        if !go_on {
            return;
        }
    }
}
