//! Seawall's log in each of its variants.

use super::{Engine, Seen};
use crate::args::Scale;
use crate::load::{Kind, Load, Variant, Who};
use anyhow::{Context, Result};
use seawall_harness::load::{Drive, Target, drive};
use seawall_harness::log::Log;
use seawall_wal::{Durability, Options, Wal};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A log, and the options and directory to reopen it.
pub(super) struct Seawall {
    log: Log,
    dir: PathBuf,
    options: Options,
}

impl Seawall {
    pub(super) fn create(dir: &Path, variant: Variant, scale: &Scale, row: u8) -> Result<Seawall> {
        let base = Options::default().with_segment_bytes(scale.segment_bytes);
        // The row over bandwidth has large records. All records of a round fit into the spares.
        let base = if row == 5 {
            base.clone().with_segment_bytes(scale.large_segment_bytes).with_spare_segments(8)
        } else {
            base
        };
        let options = variant.options(base);
        let dir = dir.join("log");
        Ok(Seawall { log: Log::create(&dir, &options)?, dir, options })
    }

    /// Appends that no thread waits for, and one flush that makes all of them durable.
    fn lazy(&self, appends: u64, payload: &[u8]) -> Result<Seen> {
        let mut producer = self.log.producer(0);
        let begin = Instant::now();
        for _ in 0..appends {
            drop(self.log.append_as(&mut producer, payload, Durability::Lazy)?);
        }
        self.log.flush()?;
        Ok(Seen::of_lazy(appends, begin))
    }
}

impl Engine for Seawall {
    fn measure(&self, _who: Who, load: &Load, payload: &[u8]) -> Result<Seen> {
        match load.kind {
            Kind::Durable { window } => {
                let how = Drive { threads: load.threads, in_flight: load.in_flight, payload, window };
                Ok(Seen::from(&drive(&self.log, how)?))
            }
            Kind::Lazy { appends } => self.lazy(appends, payload),
        }
    }

    fn rest(&self) -> Result<()> {
        self.log.settle()
    }

    fn records(&self) -> Result<Option<u64>> {
        Ok(Some(self.log.stats().records))
    }

    fn syncs(&self) -> Result<Option<u64>> {
        // A group is one durable write, or one write with one sync.
        Ok(Some(self.log.stats().groups))
    }

    fn read_back(self: Box<Self>, payload: &[u8]) -> Result<Option<Vec<u8>>> {
        let ticket = self.log.append(&mut self.log.producer(0), payload)?;
        let lsn = ticket.lsn();
        self.log.wait(ticket)?;
        self.log.close()?;
        let (wal, _) = Wal::open(&self.dir, &self.options).context("open the log")?;
        let record = wal.records(lsn).last().context("the log ends before its last record")??;
        let (_, part) = record.parts().next().context("the last record has no payload")?;
        Ok(Some(part.to_vec()))
    }
}
