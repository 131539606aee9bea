//! Row 10: one thread that appends to one group and waits for nothing; one flush at the end.
//!
//! The figure is the cost of an append itself. The bare line frames the same payloads into a buffer: a header with a
//! length and a checksum, and a copy.

use crate::args::Site;
use crate::store::{RaftEngine, Seawall, Setup, Store};
use crate::turns::{Check, Figures, Line, Outcome, take_turns};
use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use seawall_compare::bar::Bar;
use seawall_compare::raft_engine::PURGED_FILES;
use seawall_harness::load::payload;
use seawall_wal::segments::part_crc;
use seawall_wal::{Durability, RecordBuilder, Wal};
use std::hint::black_box;
use std::time::Instant;

const GROUP: u64 = 1;
const BUFFER_BYTES: usize = 1 << 20;
const RATE: &str = "entries/s";

/// Appends that nobody waits for.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    /// Payload of an entry
    #[arg(long, default_value_t = 256)]
    bytes: usize,
    /// Appends per line and round
    #[arg(long, default_value_t = 1_000_000)]
    appends: u64,
    /// Files of raft-engine
    #[arg(long, default_value_t = 128 << 20)]
    file_bytes: u64,
}

impl Load {
    pub(crate) fn tiny(self) -> Load {
        Load { appends: 5000, file_bytes: 4 << 20, ..self }
    }

    pub(crate) fn needed_bytes(&self) -> u64 {
        4 * self.appends * (self.bytes as u64 + 128) + (8 << 30)
    }

    pub(crate) fn run(&self, site: &Site<'_>) -> Result<Vec<Outcome>> {
        let setup = Setup {
            file_bytes: self.file_bytes,
            purge_bytes: Some(PURGED_FILES * self.file_bytes),
            run_in: true,
            ..Setup::default()
        };
        let data = Bytes::from(payload(site.seed, self.bytes));
        let ours = Seawall::create(&site.dir.join("ours"), &setup)?;
        let again = Seawall::create(&site.dir.join("ours-again"), &setup)?;
        let theirs = RaftEngine::create(&site.dir.join("theirs"), &setup)?;
        let options = seawall::Options::default();
        let wal = Wal::create(site.dir.join("log"), &options.log).context("create the log")?;
        let lines = vec![
            Line::new("seawall", || self.measure(&ours, &data)),
            Line::new("seawall again", || self.measure(&again, &data)),
            Line::new("seawall, the log alone", || self.measure_log(&wal, &data)),
            Line::new("raft-engine", || self.measure(&theirs, &data)),
            Line::new("bare framing", || self.frame(&data)),
        ];
        let title = format!("not durable, one flush at the end, one thread, {} B", self.bytes);
        let rounds = take_turns(&title, site.dir, site.rounds, lines)?;
        let millions = rounds.median(RATE, 0) / 1e6;
        let checks = vec![
            Check::new("millions of entries per second", millions, Bar::AtLeast(3.0)),
            Check::new("seawall over raft-engine", rounds.ratio(RATE, 0, 3), Bar::AtLeast(1.0)),
        ];
        let mut outcome = rounds.outcome(10, title, checks);
        outcome.notes.push(format!("A against A: {:.2}", rounds.ratio(RATE, 1, 0)));
        outcome.notes.push(format!("of the bare framing: {:.2}", rounds.ratio(RATE, 0, 4)));
        wal.close().context("close the log")?;
        ours.close()?;
        again.close()?;
        theirs.close()?;
        Ok(vec![outcome])
    }

    fn measure<S: Store>(&self, store: &S, data: &Bytes) -> Result<Figures> {
        let mut writer = store.writer();
        let first = store.last_index(GROUP) + 1;
        if first > 2 {
            S::compact(&mut writer, GROUP, first - 2);
            store.submit_lazily(&mut writer)?;
            store.flush()?;
            store.tidy()?;
        }
        let begin = Instant::now();
        for index in first..first + self.appends {
            S::append(&mut writer, GROUP, index, 1, data)?;
            store.submit_lazily(&mut writer)?;
        }
        let appended = begin.elapsed();
        store.flush()?;
        let flushed = begin.elapsed();
        let rate = |time: std::time::Duration| self.appends as f64 / time.as_secs_f64();
        Ok(vec![(RATE, rate(appended)), ("with the flush", rate(flushed))])
    }

    fn measure_log(&self, wal: &Wal, data: &Bytes) -> Result<Figures> {
        wal.release(wal.active_segment()).context("release segments of the log")?;
        let mut record = RecordBuilder::new();
        let begin = Instant::now();
        for _ in 0..self.appends {
            record.clear();
            record.push_part(data);
            drop(wal.append(&record, Durability::Sync).context("append to the log")?);
        }
        let appended = begin.elapsed();
        wal.flush().context("flush the log")?;
        let flushed = begin.elapsed();
        let rate = |time: std::time::Duration| self.appends as f64 / time.as_secs_f64();
        Ok(vec![(RATE, rate(appended)), ("with the flush", rate(flushed))])
    }

    fn frame(&self, data: &Bytes) -> Result<Figures> {
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + self.bytes + 8);
        let length = u32::try_from(self.bytes)?;
        let begin = Instant::now();
        for _ in 0..self.appends {
            if buffer.len() >= BUFFER_BYTES {
                black_box(&mut buffer).clear();
            }
            buffer.extend_from_slice(&length.to_le_bytes());
            buffer.extend_from_slice(&part_crc(black_box(data)).to_le_bytes());
            buffer.extend_from_slice(data);
        }
        Ok(vec![(RATE, self.appends as f64 / begin.elapsed().as_secs_f64())])
    }
}
