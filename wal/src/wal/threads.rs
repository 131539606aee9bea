//! The log's own threads: the flusher, which writes for callers that do not block, and the preallocator's thread,
//! which prepares segments; the delivery thread is in `commit/delivery.rs`.
//!
//! A thread that panics stops the log, so that no caller waits for it forever.

use crate::commit::{Committer, Driver, RingQueue};
use crate::env::Env;
use crate::error::Error;
use crate::options::{Backend, Options};
use crate::segment::directory::failed;
use crate::segment::preallocator::{Preallocator, StepOutcome};
use crate::segment::spare_pool::SparePool;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Mutex, mpsc};
use seawall_disk::Disk;
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
            // Only the thread that created a ring may use it.
            let ring_queue = match ring_queue(&*disk, &options) {
                Ok(ring_queue) => ring_queue,
                Err(e) => return drop(ready.send(Err(e))),
            };
            let driver = if ring_queue.is_some() { Driver::Ring } else { Driver::Blocking };
            log.start_driver(driver, ring_queue.as_ref());
            let _ = ready.send(Ok(driver));
            stop_on_panic(&log, || log.flush_loop(&*clock, idle, ring_queue));
        };
        self.start("seawall-flush", env, work)?;
        let driver = started.recv().map_err(io::Error::other).flatten();
        self.driver = driver.map_err(|e| failed(&*env.disk, "set up io_uring for", "", e))?;
        Ok(())
    }

    /// Starts the preallocator's thread.
    pub(crate) fn prepare(
        &mut self,
        log: &Arc<Committer>,
        spare_pool: &Arc<SparePool>,
        preallocator: &Arc<Mutex<Preallocator>>,
        env: &Env,
    ) -> Result<(), Error> {
        let (log, spare_pool, preallocator) =
            (Arc::clone(log), Arc::clone(spare_pool), Arc::clone(preallocator));
        self.start("seawall-spare", env, move || {
            stop_on_panic(&log, || prepare(&log, &spare_pool, &preallocator));
        })
    }

    fn start(&mut self, name: &str, env: &Env, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let thread = thread::Builder::new().name(name.into()).spawn(work);
        self.threads.push(thread.map_err(|e| failed(&*env.disk, "start a thread for", "", e))?);
        Ok(())
    }

    /// Whether the log has no threads, because it is stepped.
    pub(crate) fn none(&self) -> bool {
        self.threads.is_empty()
    }

    /// Name of the backend that carries out writes, as [`Stats`](crate::stats::Stats) shows it.
    pub(crate) fn backend(&self) -> &'static str {
        if self.driver == Driver::Ring { "io_uring" } else { "posix" }
    }

    /// Waits for the threads of a log that was stopped. Returns whether there were any and all have ended.
    pub(crate) fn join(&mut self) -> bool {
        let mut all = !self.none();
        for worker in self.threads.drain(..) {
            // The last owner of the log may be a listener that one of the threads calls; that thread ends by itself.
            if worker.thread().id() == thread::current().id() {
                all = false;
            } else {
                // The result of a thread that panicked is not needed: the log is stopped either way.
                let _ = worker.join();
            }
        }
        all
    }
}

/// The ring that the options ask for; `None` if POSIX calls are used.
fn ring_queue(disk: &dyn Disk, options: &Options) -> io::Result<Option<RingQueue>> {
    if options.backend == Backend::Posix {
        return Ok(None);
    }
    // One more than the number of writes in flight: a sync runs in parallel with them.
    let depth = options.writes_in_flight_max as usize + 1;
    match disk.ring(depth) {
        Ok(ring) => Ok(Some(RingQueue::new(ring, depth))),
        Err(_) if options.backend == Backend::Auto => Ok(None),
        Err(e) => Err(e),
    }
}

/// How long the preallocator waits while zeros are far enough ahead of the records.
const AHEAD: Duration = Duration::from_millis(1);

/// How long the log must have written nothing before released files are zeroed.
const LULL: Duration = Duration::from_millis(200);

/// Runs a worker; if it panics, the log stops, so that no caller waits for it forever.
fn stop_on_panic(log: &Committer, work: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(work)).is_err() {
        let location = log.lock_state().location();
        log.poison(Error::io("run a thread for", location, "", io::Error::other("panic")));
    }
}

/// The main loop of the preallocator's thread.
fn prepare(log: &Committer, spare_pool: &SparePool, preallocator: &Mutex<Preallocator>) {
    preallocator.lock().pace();
    loop {
        if spare_pool.stopped() {
            return;
        }
        let progress = preallocator.lock().step();
        let go_on = match progress {
            Ok(StepOutcome::Stepped) => true,
            Ok(StepOutcome::Idle(version) | StepOutcome::Behind(version)) => spare_pool.sleep(version, None),
            Ok(StepOutcome::Ahead(version)) => spare_pool.sleep(version, Some(AHEAD)),
            Ok(StepOutcome::Lull(version)) => spare_pool.sleep(version, Some(LULL)),
            Ok(StepOutcome::Full(version)) => spare_pool.sleep(version, Some(Duration::from_millis(100))),
            Err(error) => {
                log.poison(error);
                spare_pool.stop();
                false
            }
        };
        if !go_on {
            return;
        }
    }
}
