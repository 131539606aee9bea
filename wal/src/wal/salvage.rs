//! Opening a log to read what is left of it: no write is taken, no mark made, no thread started, and no byte of
//! the directory changes (INV-10). Composition only, like its parent.

use super::{Wal, locked, table};
use crate::commit::{Core, Limits, Log, Start};
use crate::descriptors::Descriptors;
use crate::directory::{LOCK, failed, failed_to_open};
use crate::disk::{Access, DiskLock, Mode};
use crate::env::{Env, Threads};
use crate::error::Error;
use crate::mutant::mutant;
use crate::options::Options;
use crate::pipeline::{Pipeline, PipelineStart};
use crate::recover::{Recovered, Report, recover};
use crate::segment::{OpenSegment, file_name};
use crate::shelf::Shelf;
use crate::sync::{AtomicU32, Mutex, RwLock};
use crate::types::Lsn;
use crate::workers::Workers;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Wal {
    /// Opens whatever can be read. The state machine of the write side is there and stopped, with
    /// [`Error::ReadOnly`] as the reason.
    pub(super) fn salvage(env: Env, options: &Options) -> Result<(Wal, Report), Error> {
        let (begin, disk) = (env.clock.now_ns(), &*env.disk);
        // Without a lock if there is none to be had: a copy, or a directory that cannot be written.
        let lock = disk.lock_for_reading(LOCK).map_err(|e| failed(disk, "lock", LOCK, e))?;
        let lock = lock.map_err(|holder| locked(disk, holder))?.map(Arc::<dyn DiskLock>::from);
        let descriptors = Descriptors::new(Arc::clone(&env.disk), options.descriptors);
        let Recovered { identity, verdict, segments, mut report, .. } =
            recover(&descriptors, &*env.clock, options, env.threads.readers(), None, None)?;
        report.locked = lock.is_some();
        let Some((_, segment)) = segments.last_key_value() else {
            return Err(Error::Corrupt { path: disk.location(), damage: verdict.damaged.into() });
        };
        if mutant("salvage_writes_a_mark") {
            let mut block = crate::disk::AlignedBuf::zeroed(identity.block_bytes as usize);
            block[..].fill(1);
            if let Ok(file) = disk.open(&file_name(segment.sequence), Access::Write) {
                let _ = crate::disk::write_all_at(&*file, &block, u64::from(verdict.end.offset()), false);
            }
        }
        let shelf = Arc::new(Shelf::default());
        let start = PipelineStart::new(&identity, options, BTreeSet::new());
        let pipeline =
            Pipeline::new(Arc::clone(&descriptors), Arc::clone(&env.random), Arc::clone(&shelf), start);
        let limits = Limits {
            location: disk.location(),
            block_bytes: identity.block_bytes,
            segment_bytes: options.segment_bytes,
            group_bytes: options.group_bytes,
            queue_bytes: u64::from(options.queue_bytes),
            in_flight: 1,
            patience_ns: 0,
            answers_max: options.answers_max,
            spawned: env.threads == Threads::Spawned,
            durable_writes: disk.mode() == Mode::Direct,
        };
        // Nothing is written to it.
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
        let log = Log::new(Core::new(limits, Arc::clone(&env.clock), Arc::clone(&shelf), start));
        log.latch(Error::ReadOnly);
        report.took.total = Duration::from_nanos(env.clock.now_ns().saturating_sub(begin));
        let wal = Wal {
            log: Arc::new(log),
            table: RwLock::new(table(&verdict, &segments)),
            entered: AtomicU32::new(u32::MAX),
            pipeline: Arc::new(Mutex::new(pipeline)),
            shelf,
            descriptors,
            block_bytes: identity.block_bytes,
            location: disk.location(),
            options: options.clone(),
            workers: Workers::default(),
            env,
        };
        Ok((wal, report))
    }
}
