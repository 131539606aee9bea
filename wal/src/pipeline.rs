//! The file pipeline: prepares segments ahead, writes their blocks, removes released ones.
//!
//! A spare is created as `.new`, allocated, given its header, synced, and only then named, one number
//! after the other, each name durable before the next: so a `.wal` always has a sound header, and
//! rotation does nothing but take one. Each [`Pipeline::step`] does one operation on the disk, so a
//! seeded scheduler can cut it anywhere. A full disk is reported to the shelf and tried again.

use crate::directory::failed;
use crate::disk::{Access, AlignedBuf, Disk, Random, write_all_at};
use crate::error::Error;
use crate::frame::SegmentHeader;
use crate::segment::{Segment, file_name, spare_name};
use crate::shelf::Shelf;
use crate::types::Prior;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of zeros written at a time.
const ZERO_BYTES: u32 = 1 << 20;

/// A spare on its way.
#[derive(Debug)]
enum Making {
    Nothing,
    Created(Arc<Segment>),
    Allocated(Arc<Segment>),
    Headed(Arc<Segment>),
    Synced(Arc<Segment>),
    Named(Arc<Segment>),
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Progress {
    /// One operation; there may be more.
    Stepped,
    /// Nothing to do until the shelf changes from this version.
    Idle(u64),
    /// The disk is full; try again later, or when the shelf changes from this version.
    Full(u64),
}

/// Prepares and removes the segment files of one log.
#[derive(Debug)]
pub(crate) struct Pipeline {
    disk: Arc<dyn Disk>,
    random: Arc<dyn Random>,
    shelf: Arc<Shelf>,
    uuid: [u8; 16],
    block_bytes: u32,
    segment_bytes: u32,
    spares: usize,
    making: Making,
    /// Number of the next spare.
    next: u32,
    /// Files that exist, for removal.
    files: BTreeSet<u32>,
    zeros: AlignedBuf,
}

/// Numbers that a pipeline starts with.
#[derive(Debug)]
pub(crate) struct PipelineStart {
    pub(crate) uuid: [u8; 16],
    pub(crate) block_bytes: u32,
    pub(crate) segment_bytes: u32,
    pub(crate) spares: usize,
    /// Segment files that exist.
    pub(crate) files: BTreeSet<u32>,
    /// Number of the first spare to make.
    pub(crate) next: u32,
}

impl Pipeline {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        shelf: Arc<Shelf>,
        start: PipelineStart,
    ) -> Pipeline {
        Pipeline {
            disk,
            random,
            shelf,
            uuid: start.uuid,
            block_bytes: start.block_bytes,
            segment_bytes: start.segment_bytes / start.block_bytes * start.block_bytes,
            spares: start.spares,
            making: Making::Nothing,
            next: start.next,
            files: start.files,
            zeros: AlignedBuf::new(),
        }
    }

    /// Does the most urgent operation. An error latches the log; a full disk does not.
    pub(crate) fn step(&mut self) -> Result<Progress, Error> {
        let wanted = self.shelf.wanted();
        let result = if let Some(&lowest) = self.files.first()
            && lowest < wanted.release_below
        {
            self.remove(lowest)
        } else if wanted.ready < 2 || (wanted.ready < self.spares && wanted.unwritten.is_empty()) {
            self.make(wanted.release_below)
        } else if let Some(segment) = wanted.unwritten.first() {
            self.write_zeros(segment)
        } else {
            return Ok(Progress::Idle(wanted.version));
        };
        match result {
            Ok(()) => Ok(Progress::Stepped),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                self.give_up_spare();
                self.shelf.set_failure(Some(Error::NoSpace { path: self.disk.location() }));
                Ok(Progress::Full(self.shelf.version()))
            }
            Err(e) => Err(e),
        }
    }

    /// One step towards the next spare.
    fn make(&mut self, first_live: u32) -> Result<(), Error> {
        let sequence = self.next;
        let spare = spare_name(sequence);
        let disk = Arc::clone(&self.disk);
        let io = |action: &'static str| {
            let (disk, spare) = (Arc::clone(&disk), spare.clone());
            move |e| failed(&*disk, action, &spare, e)
        };
        self.making = match std::mem::replace(&mut self.making, Making::Nothing) {
            Making::Nothing => {
                let file = self.disk.open(&spare, Access::Create).map_err(io("create"))?;
                Making::Created(Arc::new(Segment {
                    sequence,
                    salt: self.random.next_u64(),
                    file_bytes: self.segment_bytes,
                    file,
                    written_to: AtomicU32::new(0),
                }))
            }
            Making::Created(segment) => {
                segment.file.allocate(u64::from(self.segment_bytes)).map_err(io("allocate"))?;
                Making::Allocated(segment)
            }
            Making::Allocated(segment) => {
                self.write_header(&segment, first_live).map_err(io("write"))?;
                Making::Headed(segment)
            }
            Making::Headed(segment) => {
                segment.file.sync().map_err(io("sync"))?;
                Making::Synced(segment)
            }
            Making::Synced(segment) => {
                self.disk.rename(&spare, &file_name(sequence)).map_err(io("rename"))?;
                Making::Named(segment)
            }
            Making::Named(segment) => {
                self.disk.sync().map_err(io("sync the directory of"))?;
                self.files.insert(sequence);
                self.next += 1;
                self.shelf.put(segment);
                Making::Nothing
            }
        };
        Ok(())
    }

    /// The header, and the first zeros behind it, so that a fresh log can be appended to at once.
    fn write_header(&mut self, segment: &Segment, first_live: u32) -> io::Result<()> {
        let header = SegmentHeader {
            uuid: self.uuid,
            sequence: segment.sequence,
            salt: segment.salt,
            first_live: first_live.max(1),
            block_bytes: self.block_bytes,
            file_bytes: u64::from(segment.file_bytes),
            prior: Prior::Zeros,
        };
        let len = ZERO_BYTES.min(segment.file_bytes);
        let mut bytes = AlignedBuf::zeroed(len as usize);
        header.encode(&mut bytes[..self.block_bytes as usize]);
        write_all_at(&*segment.file, &bytes, 0, false)?;
        segment.written_to.store(len, Ordering::Release);
        Ok(())
    }

    fn write_zeros(&mut self, segment: &Segment) -> Result<(), Error> {
        let from = segment.written_to.load(Ordering::Acquire);
        let len = ZERO_BYTES.min(segment.file_bytes - from);
        if self.zeros.len() < len as usize {
            self.zeros.resize(len as usize);
        }
        let name = file_name(segment.sequence);
        write_all_at(&*segment.file, &self.zeros[..len as usize], u64::from(from), false)
            .map_err(|e| failed(&*self.disk, "write zeros to", &name, e))?;
        if from + len == segment.file_bytes {
            segment.file.sync().map_err(|e| failed(&*self.disk, "sync", &name, e))?;
        }
        self.shelf.written(segment, from + len);
        Ok(())
    }

    fn remove(&mut self, sequence: u32) -> Result<(), Error> {
        let name = file_name(sequence);
        self.files.remove(&sequence);
        match self.disk.remove(&name) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(failed(&*self.disk, "remove", &name, e)),
        }
    }

    /// Removes a spare that was begun on a full disk.
    fn give_up_spare(&mut self) {
        if !matches!(std::mem::replace(&mut self.making, Making::Nothing), Making::Nothing) || self.next > 0 {
            let _ = self.disk.remove(&spare_name(self.next));
        }
    }
}
