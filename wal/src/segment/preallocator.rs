//! The preallocator: prepares spare segments ahead, writes their blocks, and recycles or removes released files.
//!
//! A spare is created as `.new`, allocated, given its header, synced, and only then renamed. A bad header at or above the
//! first live segment is therefore damage. A released file has none while it is zeroed or recycled. Spares are made one
//! number after the other, and each name is durable before the next, so rotation only takes a spare from the pool.
//!
//! Each [`Preallocator::step`] does one operation on the disk, so a seeded scheduler can interrupt it anywhere. If the
//! disk is full or a quota is used up, the preallocator reports that to the spare pool and tries again (INV-8).

use crate::error::Error;
use crate::format::{Identity, SegmentHeader};
use crate::options::Options;
use crate::segment::descriptors::{Descriptors, Key, SegmentFile};
use crate::segment::directory::{failed, failed_to_open};
use crate::segment::lazy_map::LazyMap;
use crate::segment::names::{SEQUENCE_MAX, file_name, spare_name};
use crate::segment::open_segment::{OpenSegment, Segment};
use crate::segment::spare_pool::{SparePool, ZERO_BYTES, ZeroPace};
use crate::sync::{AtomicBool, AtomicU32};
use crate::types::PriorContents;
use seawall_disk::{Access, AlignedBuf, Disk, DiskFile, clock::Random, is_no_room, write_all_at};
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A spare that is being prepared: the segment, and the present name of its file.
#[derive(Debug)]
struct SpareInProgress {
    segment: OpenSegment,
    name: String,
    stage: Stage,
}

/// The last operation that was completed for a spare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Created,
    Allocated,
    Headed,
    Synced,
    Named,
}

/// A released file that is kept, under its old name, to become a spare.
#[derive(Debug)]
struct ReleasedFile {
    sequence: u32,
    file: Arc<dyn DiskFile>,
    /// The file is zeros below this offset; the header is zeroed first, see [`Preallocator::zero_released`].
    zeroed_to: u32,
}

/// Result of a step, and when to take the next one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StepOutcome {
    /// It did one operation; there may be more.
    Stepped,
    /// Nothing to do until the spare pool changes from this version.
    Idle(u64),
    /// Nothing to do unless the log writes nothing for a while or the last reader of a released segment ends. Then
    /// released files can be zeroed, or removed. Also when the spare pool changes from this version.
    Lull(u64),
    /// Too many full segments are not durable, so no spare is made. Nothing to do until the spare pool changes from
    /// this version.
    Behind(u64),
    /// Zeros are far enough ahead of the records that are being written. Look again soon, or when the spare pool changes
    /// from this version.
    Ahead(u64),
    /// There is no space, or no file descriptor. Try again later, or when the spare pool changes from this version.
    Full(u64),
}

/// Prepares and removes the segment files of one log.
#[derive(Debug)]
pub(crate) struct Preallocator {
    disk: Arc<dyn Disk>,
    descriptors: Arc<Descriptors>,
    random: Arc<dyn Random>,
    spare_pool: Arc<SparePool>,
    uuid: [u8; 16],
    block_bytes: u32,
    segment_bytes: u32,
    reach_blocks: u16,
    spares: usize,
    /// Number of segments that are full and not durable from which on no spare is made: each of them keeps its file
    /// open.
    left_max: usize,
    making: Option<SpareInProgress>,
    /// Released files kept for recycling, at most as many as spares are wanted.
    retired: VecDeque<ReleasedFile>,
    /// Names of files to be removed.
    doomed: Vec<String>,
    /// The count of the log's writes when the preallocator last found nothing else to do.
    activity: u64,
    pace: ZeroPace,
    /// Number of the next spare.
    next: u32,
    /// Numbers of the segment files that exist, for removal.
    files: BTreeSet<u32>,
    zeros: AlignedBuf,
    /// The segment being zeroed, opened with a descriptor of its own: the kernel reports a failed write-back once per
    /// descriptor, and the descriptor that appends use must not miss it.
    zeroing: Option<(u32, Arc<dyn DiskFile>)>,
}

/// The parameters of a preallocator.
#[derive(Debug)]
pub(crate) struct PreallocatorStart {
    pub(crate) uuid: [u8; 16],
    pub(crate) block_bytes: u32,
    pub(crate) segment_bytes: u32,
    pub(crate) reach_blocks: u16,
    pub(crate) spares: usize,
    pub(crate) left_max: usize,
    /// Numbers of the segment files that exist.
    pub(crate) files: BTreeSet<u32>,
    /// Number of the first spare to make.
    pub(crate) next: u32,
}

impl PreallocatorStart {
    /// The parameters for the log `identity`, whose segment files have the numbers `files`.
    pub(crate) fn new(identity: &Identity, options: &Options, files: BTreeSet<u32>) -> PreallocatorStart {
        let block_bytes = identity.block_bytes;
        PreallocatorStart {
            uuid: identity.uuid,
            block_bytes,
            segment_bytes: options.segment_bytes / block_bytes * block_bytes,
            reach_blocks: u16::try_from((options.in_flight_bytes_max / block_bytes).max(1))
                .unwrap_or(u16::MAX),
            spares: options.spare_segments as usize,
            left_max: (options.descriptors_max as usize / 4).max(2),
            next: files.last().map_or(1, |top| top + 1),
            files,
        }
    }
}

impl Preallocator {
    pub(crate) fn new(
        descriptors: Arc<Descriptors>,
        random: Arc<dyn Random>,
        spare_pool: Arc<SparePool>,
        start: PreallocatorStart,
    ) -> Preallocator {
        Preallocator {
            disk: Arc::clone(descriptors.disk()),
            descriptors,
            random,
            spare_pool,
            uuid: start.uuid,
            block_bytes: start.block_bytes,
            segment_bytes: start.segment_bytes,
            reach_blocks: start.reach_blocks,
            spares: start.spares,
            left_max: start.left_max,
            making: None,
            retired: VecDeque::new(),
            doomed: Vec::new(),
            activity: 0,
            pace: ZeroPace::new(),
            next: start.next,
            files: start.files,
            zeros: AlignedBuf::new(),
            zeroing: None,
        }
    }

    /// Writes zeros no faster than needed from now on, for a thread that calls [`Preallocator::step`] again and again.
    pub(crate) fn pace(&mut self) {
        self.pace.enable();
    }

    /// Does the most urgent operation.
    ///
    /// # Errors
    /// The caller must stop the log. A lack of space or of file descriptors is no error; see [`StepOutcome::Full`].
    pub(crate) fn step(&mut self) -> Result<StepOutcome, Error> {
        let mut wanted = self.spare_pool.wanted();
        wanted.sealed.drain(..).for_each(|segment| segment.file.seal());
        let behind = wanted.left >= self.left_max && wanted.ready < 3;
        let result = if let Some(name) = self.doomed.pop() {
            self.remove(name)
        } else if let Some(&lowest) = self.files.first()
            && lowest < wanted.release_below
        {
            self.retire(lowest)
        } else if let Some(segment) = self.spare_pool.take_released() {
            self.spare_pool.notify_listener(|l| l.segment_released(segment.sequence));
            self.remove(file_name(segment.sequence))
        } else if !behind && (wanted.ready < 3 || (wanted.ready < self.spares && wanted.unwritten.is_empty()))
        {
            self.make(wanted.release_below)
        } else if let Some(segment) = wanted.unwritten.first() {
            return match self.pace.next_bytes(&self.spare_pool) {
                Some(most) => self.write_zeros(segment, most),
                None => Ok(StepOutcome::Ahead(wanted.version)),
            };
        } else if behind {
            return Ok(StepOutcome::Behind(wanted.version));
        } else if self.retired.iter().all(|r| r.zeroed_to == self.segment_bytes) {
            let idle = if wanted.lingering { StepOutcome::Lull } else { StepOutcome::Idle };
            return Ok(idle(wanted.version));
        } else if std::mem::replace(&mut self.activity, self.spare_pool.activity()) != self.activity {
            return Ok(StepOutcome::Lull(wanted.version));
        } else {
            self.zero_released();
            Ok(())
        };
        match result {
            Ok(()) => return Ok(StepOutcome::Stepped),
            Err(Error::Io { source, .. }) if is_no_room(&source) => {
                self.give_up_spare();
                self.spare_pool.note_no_room();
                self.spare_pool.set_failure(self.no_space());
            }
            Err(error @ Error::NoDescriptors { .. }) => self.spare_pool.set_failure(error),
            Err(e) => return Err(e),
        }
        // Segments that exist have their space already, so their blocks are written all the same.
        match wanted.unwritten.first() {
            Some(segment) => self.write_zeros(segment, ZERO_BYTES),
            None => Ok(StepOutcome::Full(self.spare_pool.version())),
        }
    }

    fn no_space(&self) -> Error {
        Error::NoSpace { path: self.disk.location() }
    }

    /// Does one step towards the next spare.
    fn make(&mut self, first_live: u32) -> Result<(), Error> {
        let Some(mut making) = self.making.take() else {
            self.making = Some(self.begin()?);
            return Ok(());
        };
        match self.advance(&making, first_live) {
            Ok(Some(stage)) => {
                making.stage = stage;
                self.making = Some(making);
            }
            Ok(None) => {
                self.files.insert(making.segment.sequence);
                self.next += 1;
                self.spare_pool.put(making.segment);
            }
            Err(error) => {
                self.making = Some(making);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Does the next operation for a spare. `None` when the spare is ready.
    fn advance(&self, making: &SpareInProgress, first_live: u32) -> Result<Option<Stage>, Error> {
        let (disk, segment) = (&*self.disk, &making.segment);
        let io = |action: &'static str| failure(disk, action, &making.name);
        Ok(Some(match making.stage {
            Stage::Created => {
                segment.pinned.allocate(u64::from(self.segment_bytes)).map_err(io("allocate"))?;
                Stage::Allocated
            }
            Stage::Allocated => {
                self.write_header(segment, first_live).map_err(io("write"))?;
                Stage::Headed
            }
            Stage::Headed => {
                segment.pinned.sync().map_err(io("sync"))?;
                Stage::Synced
            }
            Stage::Synced => {
                disk.rename(&making.name, &file_name(segment.sequence)).map_err(io("rename"))?;
                Stage::Named
            }
            Stage::Named => {
                disk.sync().map_err(io("sync the directory of"))?;
                return Ok(None);
            }
        }))
    }

    /// Starts a spare: from a released file if there is one, preferably one that is all zeros; otherwise from a new
    /// file.
    fn begin(&mut self) -> Result<SpareInProgress, Error> {
        if self.next > SEQUENCE_MAX {
            let e = io::Error::other("segment numbers are used up");
            return Err(failed(&*self.disk, "create", &spare_name(self.next), e));
        }
        let zeroed = self.retired.iter().position(|r| r.zeroed_to == self.segment_bytes);
        let segment = |file: Arc<dyn DiskFile>, written_to, prior| {
            let (uuid, block_bytes, sequence) = (self.uuid, self.block_bytes, self.next);
            let salt = self.random.next_u64();
            let key = Key { uuid, sequence, salt, block_bytes };
            let segment = Segment {
                sequence,
                salt,
                prior,
                reach_blocks: self.reach_blocks,
                file_bytes: self.segment_bytes,
                file: SegmentFile::opened(&self.descriptors, file_name(sequence), key, &file),
                written_to: AtomicU32::new(written_to),
                map: LazyMap::default(),
                left: AtomicBool::new(false),
            };
            OpenSegment { segment: Arc::new(segment), pinned: file }
        };
        if let Some(retired) = self.retired.remove(zeroed.unwrap_or(0)) {
            let prior = if zeroed.is_some() { PriorContents::Zeros } else { PriorContents::Stale };
            let segment = segment(retired.file, self.segment_bytes, prior);
            return Ok(SpareInProgress {
                segment,
                name: file_name(retired.sequence),
                stage: Stage::Allocated,
            });
        }
        let name = spare_name(self.next);
        let file = self.descriptors.open(&name, Access::Create);
        let file = file.map_err(|e| failed_to_open(&*self.disk, "create", &name, e))?;
        Ok(SpareInProgress { segment: segment(file, 0, PriorContents::Zeros), name, stage: Stage::Created })
    }

    /// Writes the header; in a new file also the first zeros after it, so that a new log can be appended to at once. A
    /// recycled file keeps its old name until the header is durable.
    fn write_header(&self, segment: &OpenSegment, first_live: u32) -> io::Result<()> {
        let header = SegmentHeader {
            uuid: self.uuid,
            sequence: segment.sequence,
            salt: segment.salt,
            first_live: first_live.max(1),
            block_bytes: self.block_bytes,
            file_bytes: u64::from(segment.file_bytes),
            prior: segment.prior,
            reach_blocks: segment.reach_blocks,
        };
        let fresh = segment.written_to.load(Ordering::Acquire) == 0;
        let len = if fresh { ZERO_BYTES.min(segment.file_bytes) } else { self.block_bytes };
        let mut bytes = AlignedBuf::zeroed(len as usize);
        header.encode(&mut bytes[..self.block_bytes as usize]);
        write_all_at(&*segment.pinned, &bytes, 0, false)?;
        self.spare_pool.note_prepared(u64::from(len));
        if fresh {
            segment.written_to.store(len, Ordering::Release);
        }
        Ok(())
    }

    /// Writes the next zeros of a segment, at most `most` bytes. This may find no space too, on a file system where allocated blocks have no
    /// space of their own, or no descriptor to open the file with.
    fn write_zeros(&mut self, segment: &Segment, most: u32) -> Result<StepOutcome, Error> {
        let name = file_name(segment.sequence);
        let file = match self.zeroing.take() {
            Some((sequence, file)) if sequence == segment.sequence => file,
            _ => match self.descriptors.open(&name, Access::Write) {
                Ok(file) => file,
                Err(e) => match failed_to_open(&*self.disk, "open", &name, e) {
                    error @ Error::NoDescriptors { .. } => {
                        self.spare_pool.set_unwritable(error);
                        return Ok(StepOutcome::Full(self.spare_pool.version()));
                    }
                    error => return Err(error),
                },
            },
        };
        let from = segment.written_to.load(Ordering::Acquire);
        let Some(end) = self.zero(&*file, from, segment.file_bytes, most, &name)? else {
            self.zeroing = Some((segment.sequence, file));
            self.spare_pool.note_no_room();
            self.spare_pool.set_unwritable(self.no_space());
            return Ok(StepOutcome::Full(self.spare_pool.version()));
        };
        if end < segment.file_bytes {
            self.zeroing = Some((segment.sequence, file));
        }
        self.spare_pool.written(segment, end);
        Ok(StepOutcome::Stepped)
    }

    /// Zeros a piece of a released file, which has no readers. The header goes first, durably: recovery follows the log
    /// down through every file with a valid header, and would find the rest missing.
    ///
    /// If zeroing fails, the file is removed. It holds nothing that is needed, and it must not be recycled: after a
    /// failed sync it is unknown which of its blocks are zeros, and blocks that cannot be written again for lack of
    /// space could not be written for a group either.
    fn zero_released(&mut self) {
        let Some(i) = self.retired.iter().position(|r| r.zeroed_to < self.segment_bytes) else { return };
        let (file, from) = (Arc::clone(&self.retired[i].file), self.retired[i].zeroed_to);
        let name = file_name(self.retired[i].sequence);
        let to = if from == 0 { self.block_bytes } else { self.segment_bytes };
        let result = self.zero(&*file, from, to, ZERO_BYTES, &name);
        if matches!(result, Ok(None)) {
            self.spare_pool.note_no_room();
        }
        match result {
            Ok(Some(end)) => self.retired[i].zeroed_to = end,
            Ok(None) | Err(_) => {
                self.retired.remove(i);
                self.doomed.push(name);
                self.spare_pool.note_given_up();
            }
        }
    }

    /// Writes zeros from offset `from` on, at most `most` bytes, and syncs the file once `to` is reached. Returns the offset where the zeros
    /// end; `None` if there is no space. A failed sync is an error in any case, since it may have lost more than zeros.
    fn zero(
        &mut self,
        file: &dyn DiskFile,
        from: u32,
        to: u32,
        most: u32,
        name: &str,
    ) -> Result<Option<u32>, Error> {
        let len = most.min(to - from);
        if self.zeros.len() < len as usize {
            self.zeros.resize(len as usize);
        }
        match write_all_at(file, &self.zeros[..len as usize], u64::from(from), false) {
            Ok(()) => {}
            Err(e) if is_no_room(&e) => return Ok(None),
            Err(e) => return Err(failed(&*self.disk, "write zeros to", name, e)),
        }
        self.spare_pool.note_prepared(u64::from(len));
        if from + len == to {
            file.sync().map_err(failure(&*self.disk, "sync", name))?;
        }
        Ok(Some(from + len))
    }

    /// Keeps a released file for recycling if it fits and has no readers or other names; otherwise removes it. A file
    /// with readers keeps its name until the last one ends, since it may have to be opened again to be read.
    fn retire(&mut self, sequence: u32) -> Result<(), Error> {
        let name = file_name(sequence);
        self.files.remove(&sequence);
        if !self.spare_pool.forget(sequence) {
            return Ok(());
        }
        self.spare_pool.notify_listener(|l| l.segment_released(sequence));
        if self.retired.len() < self.spares {
            let file = self.descriptors.open(&name, Access::Write).ok().filter(|file| {
                let fits = file.len().is_ok_and(|len| len == u64::from(self.segment_bytes));
                let written = || file.written_end(0).is_ok_and(|end| end == u64::from(self.segment_bytes));
                fits && file.links().is_ok_and(|n| n == 1) && written()
            });
            if let Some(file) = file {
                self.retired.push_back(ReleasedFile { sequence, file, zeroed_to: 0 });
                return Ok(());
            }
        }
        self.remove(name)
    }

    /// Removes a file that is not needed. If that fails it is tried again later: on a copy-on-write file system a
    /// removal takes space, too.
    fn remove(&mut self, name: String) -> Result<(), Error> {
        match self.disk.remove(&name) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => {
                let error = failed(&*self.disk, "remove", &name, e);
                self.doomed.push(name);
                Err(error)
            }
        }
    }

    /// Removes the files of released segments that have readers, because the log ends: the next open may recycle a file
    /// that still has a name. The readers keep their open files and maps.
    pub(crate) fn end(&self) {
        for segment in self.spare_pool.unreleased() {
            let _ = self.disk.remove(&file_name(segment.sequence));
        }
    }

    /// Gives up a spare that could not be finished, and removes its file.
    fn give_up_spare(&mut self) {
        if let Some(making) = self.making.take()
            && making.stage != Stage::Named
        {
            // Removed at once, since others lack the space that was allocated for it.
            let _ = self.remove(making.name);
        }
    }
}

/// Turns an I/O error about the file `name` into an [`Error`].
fn failure<'a>(
    disk: &'a dyn Disk,
    action: &'static str,
    name: &'a str,
) -> impl FnOnce(io::Error) -> Error + use<'a> {
    move |e| failed(disk, action, name, e)
}
