//! Creates and opens engines.

use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};

use parking_lot::{Mutex, RwLock};
use seawall_wal::{Env, OpenMode, Threads, Wal, notify::Bell};

use crate::compression::Compressor;
use crate::engine::handle::Engine;
use crate::engine::inner::EngineInner;
use crate::engine::owner_check;
use crate::engine::stats::Report;
use crate::engine::user_handle::UserHandle;
use crate::error::{Error, Result};
use crate::group::FooterIndexBuilder;
use crate::options::Options;
use crate::owner::OWNER_GROUP;
use crate::read::Buffers;
use crate::read::entry_cache::EntryCache;
use crate::read::readers::Readers;
use crate::reclaim::release::PrefixRelease;
use crate::reclaim::rewrite::Rewrite;
use crate::reclaim::throttle::Throttle;
use crate::recovery::{self, Findings, Restored};
use crate::threads::background::BackgroundThread;
#[cfg(any(feature = "raft-rs", feature = "snapshots"))]
use crate::threads::task_pool::TaskPool;

impl Engine {
    /// Creates an engine in `dir`, which must not contain one.
    ///
    /// # Errors
    /// [`Error::OptionOutOfRange`], [`Error::OwnerTooLarge`], [`Error::Thread`], or the error of the log.
    pub fn create(dir: impl AsRef<Path>, options: &Options) -> Result<Engine> {
        options.check()?;
        Engine::fresh(Wal::create(dir, &options.log)?, Threads::Spawned, options)
    }

    /// Opens the engine in `dir`. Everything that it then shows is durable (INV-3).
    ///
    /// # Errors
    /// - `Corrupt` of the log, with every damaged range (INV-5).
    /// - [`Error::Lost`], in degraded and salvage mode, if more than payloads of entries is damaged.
    /// - [`Error::CommitBeyondLog`], [`Error::Damage`] and [`Error::Record`], if acknowledged data is missing or
    ///   cannot be decoded.
    /// - [`Error::OtherOwner`], if the log does not belong to [`Options::owner`]; [`Error::OwnerUnreadable`], if a
    ///   later version wrote its owner.
    ///
    /// If one of these is returned, nothing in the directory has changed except the lock file. Otherwise
    /// [`Error::OptionOutOfRange`], [`Error::OwnerTooLarge`], [`Error::Thread`], or another error of the log.
    pub fn open(dir: impl AsRef<Path>, options: &Options) -> Result<(Engine, Report)> {
        options.check()?;
        Engine::open_in(Env::posix(dir.as_ref(), &options.log)?, options)
    }

    /// Opens the engine in `dir`, or creates it if there is none: if the directory does not exist, is empty, or holds what
    /// an interrupted [`Engine::create`] left. The report is that of the open; `None` for a new engine.
    ///
    /// A directory in which a file of a log is left never counts as empty, so a log that lost its `IDENTITY` is refused
    /// and not replaced. But a directory that lost all of its files is: a node whose volume is not mounted would start
    /// without its log. Where that can happen, call [`Engine::create`] once, by hand, and then only [`Engine::open`]; or
    /// set [`Options::owner`] to notice the wrong volume.
    ///
    /// # Errors
    /// As [`Engine::open`] and [`Engine::create`].
    pub fn open_or_create(dir: impl AsRef<Path>, options: &Options) -> Result<(Engine, Option<Report>)> {
        match Engine::open(&dir, options) {
            Ok((engine, report)) => Ok((engine, Some(report))),
            Err(error) if error.is_not_found() => Ok((Engine::create(dir, options)?, None)),
            Err(error) => Err(error),
        }
    }

    /// As [`Engine::create`], with the disk, clock, random source and threads given by `env`.
    ///
    /// # Errors
    /// As [`Engine::create`].
    pub fn create_in(env: Env, options: &Options) -> Result<Engine> {
        options.check()?;
        let threads = env.threads;
        Engine::fresh(Wal::create_in(env, &options.log)?, threads, options)
    }

    /// As [`Engine::open`], with the disk, clock, random source and threads given by `env`.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_in(env: Env, options: &Options) -> Result<(Engine, Report)> {
        options.check()?;
        let threads = env.threads;
        let index_builder = FooterIndexBuilder::default();
        let prepared = Wal::prepare(env, &options.log, Some(&mut index_builder.clone()))?;
        let restored = recovery::open(&prepared, threads, &index_builder)?;
        if let Some(owner) = &options.owner {
            owner_check::compare(&restored.groups, owner)?;
        }
        let Findings { records, groups, entries } = restored.found;
        let groups = groups - u64::from(restored.groups.get(OWNER_GROUP).is_some());
        // Nothing has been written so far, so a refused log is left as it was found.
        let (wal, log) = prepared.start(Some(Box::new(index_builder.clone())))?;
        let engine = Engine::start(wal, threads, restored, index_builder, options)?;
        if let Some(owner) = options.owner.as_ref().filter(|_| log.mode != OpenMode::Salvage) {
            engine.set_owner(owner)?;
        }
        Ok((engine, Report { log, records, groups, entries }))
    }

    fn fresh(wal: Wal, threads: Threads, options: &Options) -> Result<Engine> {
        let index_builder = FooterIndexBuilder::default();
        wal.set_index_builder(Box::new(index_builder.clone()))?;
        let engine = Engine::start(wal, threads, Restored::default(), index_builder, options)?;
        if let Some(owner) = &options.owner {
            engine.set_owner(owner)?;
        }
        Ok(engine)
    }

    fn start(
        wal: Wal,
        threads: Threads,
        restored: Restored,
        index_builder: FooterIndexBuilder,
        options: &Options,
    ) -> Result<Engine> {
        let Restored { groups, usage, damaged, .. } = restored;
        let core = Arc::new(EngineInner {
            wal: RwLock::new(Some(wal)),
            groups,
            usage,
            cache: EntryCache::new(options.cache_bytes),
            buffers: Buffers::default(),
            compressor: Compressor::new(options.compression),
            map_sealed: options.map_sealed,
            readers: Readers::default(),
            release: PrefixRelease::default(),
            damaged,
            rewrite: Rewrite::default(),
            index_builder,
            background: OnceLock::new(),
            woken_in: AtomicU32::new(0),
            full: AtomicBool::new(false),
            listener: OnceLock::new(),
            throttle: Mutex::new(Throttle::new()),
            owner_lock: Mutex::new(()),
            #[cfg(feature = "raft-rs")]
            task_pool: TaskPool::new("seawall-reads", usize::from(threads == Threads::Spawned)),
            #[cfg(feature = "snapshots")]
            snapshots: TaskPool::new("seawall-snap", options.snapshot_threads),
            #[cfg(any(feature = "openraft", feature = "openraft-09"))]
            openraft: AtomicBool::new(false),
            followers: AtomicUsize::new(0),
            written: Bell::new(),
            options: options.clone(),
        });
        let engine = Engine(UserHandle::of_users(Arc::clone(&core)));
        if threads == Threads::Spawned {
            let background = BackgroundThread::spawn(move || core.keep());
            let background = background.map_err(|source| Error::Thread { source: Arc::new(source) })?;
            // Background work may have been due before the engine was opened.
            background.wake();
            let _ = engine.0.background.set(background);
        }
        Ok(engine)
    }
}
