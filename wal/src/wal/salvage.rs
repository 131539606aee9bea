//! Opens a log to read what is left of it: accepts no write, makes no mark, starts no thread, and changes no byte of
//! the directory (INV-10).

use super::handle::Wal;
use super::prepared::Prepared;
use crate::commit::{CommitState, Committer, Limits, Start};
use crate::env::Threads;
use crate::error::Error;
use crate::format::Closed;
use crate::recovery::RecoveryReport;
use crate::segment::directory::failed_to_open;
use crate::segment::names::file_name;
use crate::segment::open_segment::OpenSegment;
use crate::segment::preallocator::{Preallocator, PreallocatorStart};
use crate::segment::spare_pool::SparePool;
use crate::sync::{AtomicU32, Mutex};
use crate::types::Lsn;
use crate::wal::threads::LogThreads;
use seawall_disk::{Access, Mode};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Prepared {
    /// The log as a [`Wal`] that accepts no writes: its write side exists, but is stopped with [`Error::ReadOnly`].
    pub(super) fn for_reading(self) -> Result<(Wal, RecoveryReport), Error> {
        let took = self.since_begin();
        let Prepared {
            env, options, descriptors, lock, identity, verdict, segments, view, mut report, ..
        } = self;
        let disk = &*env.disk;
        let Some((_, segment)) = segments.last_key_value() else {
            return Err(Error::Corrupt { path: disk.location(), damage: verdict.damaged.into() });
        };
        let spare_pool = Arc::new(SparePool::default());
        let start = PreallocatorStart::new(&identity, &options, BTreeSet::new());
        let preallocator = Preallocator::new(
            Arc::clone(&descriptors),
            Arc::clone(&env.random),
            Arc::clone(&spare_pool),
            start,
        );
        let limits = Limits {
            location: disk.location(),
            block_bytes: identity.block_bytes,
            segment_bytes: options.segment_bytes,
            group_bytes: options.group_bytes,
            queue_bytes: u64::from(options.queue_bytes),
            in_flight: 1,
            yield_max_ns: 0,
            callbacks_max: options.callbacks_max,
            spawned: env.threads == Threads::Spawned,
            durable_writes: disk.mode() == Mode::Direct,
        };
        // Nothing is written to this segment.
        let name = file_name(segment.sequence);
        let pinned =
            descriptors.open(&name, Access::Read).map_err(|e| failed_to_open(disk, "open", &name, e))?;
        let start = Start {
            segment: OpenSegment { segment: Arc::clone(segment), pinned },
            offset: segment.file_bytes,
            previous_end: Lsn::ZERO,
            watermark: verdict.end,
            first_live: verdict.first_live,
            footer_bytes: 0,
            marked: true,
            lock,
        };
        let log =
            Committer::new(CommitState::new(limits, Arc::clone(&env.clock), Arc::clone(&spare_pool), start));
        log.poison(Error::ReadOnly);
        report.took.total = took;
        let wal = Wal {
            log: Arc::new(log),
            view,
            entered: AtomicU32::new(u32::MAX),
            preallocator: Arc::new(Mutex::new(preallocator)),
            spare_pool,
            descriptors,
            options,
            workers: LogThreads::default(),
            closed: Closed { uuid: identity.uuid, end: report.witness.durable() },
            env,
        };
        Ok((wal, report))
    }
}
