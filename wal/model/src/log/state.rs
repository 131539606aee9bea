//! A state of the model: the disk, the process, and the history that promises are checked against.

use super::Case;
use super::block::{BLOCKS_MAX, Block, File, Group, Header, Kind, Pos, file, foreign, put};
use super::rules::Headers;
use super::scope::Files;

/// Group numbers that a history can hold. A run that needs more stops with an error.
pub const IDS: usize = 28;

/// The current activity of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// No process runs.
    Down,
    /// Open has decided and has not returned.
    Opening,
    /// The log is open.
    Running,
}

/// A write of a group or a segment header that is in flight. Any subset of its blocks survives a crash.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Write {
    /// Number of the group; 0 for a segment header.
    pub id: u8,
    /// Where it goes.
    pub at: Pos,
    /// Number of blocks.
    pub len: u8,
    /// The first block, and what every later block holds.
    pub blocks: [Block; 2],
    /// It has completed, and an earlier one has not.
    pub durable: bool,
    /// Acknowledgements of later groups wait for it.
    pub gates: bool,
}

impl Write {
    /// Its blocks, with their positions.
    pub fn content(&self) -> impl Iterator<Item = (Pos, Block)> {
        (0..self.len).map(|k| (self.at.plus(k), self.blocks[usize::from(k > 0)]))
    }
}

/// How far the preparation of a spare is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// The header is being written, under another name.
    Header,
    /// The header is durable, under another name.
    HeaderDurable,
    /// The file gets its name; the directory is not synced.
    Name,
    /// The file gets its name before it has a header (a wrong rule).
    NameFirst,
    /// The named file gets its header (a wrong rule).
    HeaderLast,
}

/// A spare that is being prepared.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Spare {
    /// How far it is.
    pub stage: Stage,
    /// Number that the file gets.
    pub target: u8,
    /// Number of the released file that is used again; 0 for a new file.
    pub source: u8,
    /// Its header.
    pub header: Block,
}

/// The file `CLOSED`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Closed {
    /// It does not exist.
    Absent,
    /// It names an end of the log.
    End(Pos),
    /// It fails its checksum.
    Damaged,
}

/// The kind of damage that happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DamageKind {
    /// One block of the group with this number; 0 if it belongs to no group.
    Block(u8),
    /// A run of zeros.
    Run,
    /// A missing file.
    File,
    /// A shortened file.
    Length,
    /// The file `CLOSED`.
    Witness,
}

/// Whether the log is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Damage {
    /// It never was.
    None,
    /// It is, and no open has seen it.
    Present(DamageKind),
    /// It was, and an open has accepted what was left.
    Accepted,
}

/// The kind of the next group, if it was announced.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Announced {
    /// Nothing is announced.
    No,
    /// A long data group.
    Data,
    /// A long footer.
    Footer,
}

/// The events so far. The promises are checked against them. The rules do not use them, except as the
/// index of a footer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct History {
    /// The groups of the log in order.
    pub log: Vec<u8>,
    /// Groups that were acknowledged, or returned by an open.
    pub acknowledged: u32,
    /// Groups without data.
    pub without_data: u32,
    /// Groups that an open has returned.
    pub returned: u32,
    /// Place of each group of the log.
    pub place: [Pos; IDS],
    /// Length of each group of the log, in blocks.
    pub len: [u8; IDS],
    /// Lowest segment that the caller still wants.
    pub released: u8,
    /// End of the log at the last clean close.
    pub closed_end: Pos,
}

impl History {
    /// Whether a group was acknowledged.
    pub fn is_acknowledged(&self, id: u8) -> bool {
        self.acknowledged >> id & 1 == 1
    }

    /// Whether a group has no data.
    pub fn is_without_data(&self, id: u8) -> bool {
        self.without_data >> id & 1 == 1
    }

    /// Position of a group.
    pub fn at(&self, id: u8) -> Pos {
        self.place[usize::from(id)]
    }

    /// The group of the log that has a block at `at`.
    pub fn owner(&self, at: Pos) -> Option<u8> {
        self.log.iter().copied().find(|&id| {
            let start = self.at(id);
            start <= at && at < start.plus(self.len[usize::from(id)])
        })
    }
}

/// A state: the disk, the process and the history.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The files of the log, ascending.
    pub files: Vec<File>,
    /// The file `CLOSED`.
    pub closed: Closed,
    /// Whether the disk is damaged.
    pub damage: Damage,
    /// Writes of a dead process that can still arrive (a wrong rule).
    pub late: Vec<(Pos, Block)>,
    /// Blocks that are in the page cache and not on the disk (a wrong rule).
    pub cached: Vec<(Pos, Block)>,
    /// The current activity of the process.
    pub phase: Phase,
    /// Where the next group goes.
    pub next: Pos,
    /// The segment in use has its footer.
    pub sealed: bool,
    /// Kind of the last group of the log.
    pub last: Option<Kind>,
    /// End of the log before the segment in use, as the groups of that segment name it.
    pub previous_end: Pos,
    /// End of the durable prefix.
    pub durable_end: Pos,
    /// The next group is announced.
    pub announced: Announced,
    /// Open has to write a mark before it returns.
    pub mark_due: bool,
    /// The writes that are in flight.
    pub in_flight: Vec<Write>,
    /// Spares that are being prepared.
    pub spares: Vec<Spare>,
    /// First live segment that the next group carries.
    pub release_asked: u8,
    /// Largest first live segment that is acknowledged.
    pub release_acknowledged: u8,
    /// Number of the next group.
    pub next_id: u8,
    /// Salt of the next file.
    pub next_salt: u8,
    /// Data groups so far.
    pub data_groups: u8,
    /// Power cuts and closes so far.
    pub stops: u8,
    /// The events so far.
    pub history: History,
}

impl State {
    /// The state before the log is opened for the first time.
    pub fn first(case: &Case) -> State {
        let given = if case.scope.prepares() { 0 } else { case.scope.segments };
        let history = History {
            log: Vec::new(),
            acknowledged: 0,
            without_data: 0,
            returned: 0,
            place: [Pos::NONE; IDS],
            len: [0; IDS],
            released: 1,
            closed_end: Pos::NONE,
        };
        State {
            files: (1..=given).map(|number| given_file(case, number)).collect(),
            closed: Closed::Absent,
            damage: Damage::None,
            late: Vec::new(),
            cached: Vec::new(),
            phase: Phase::Down,
            next: Pos::NONE,
            sealed: false,
            last: None,
            previous_end: Pos::NONE,
            durable_end: Pos::NONE,
            announced: Announced::No,
            mark_due: false,
            in_flight: Vec::new(),
            spares: Vec::new(),
            release_asked: 1,
            release_acknowledged: 1,
            next_id: 1,
            next_salt: case.scope.segments + 1,
            data_groups: 0,
            stops: 0,
            history,
        }
    }

    /// Whether the file with a number is durable in the directory.
    pub fn exists(&self, number: u8) -> bool {
        file(&self.files, number).is_some()
    }

    /// Whether a segment may be entered: it exists, and so does the one after it.
    pub fn may_enter(&self, number: u8, case: &Case) -> bool {
        self.exists(number) && (!case.rules.spare_beyond || self.exists(number + 1))
    }

    /// Takes the number of a new group and its place in the history.
    pub fn new_group(&mut self, group: &Group) {
        let id = usize::from(group.id);
        assert!(id < IDS, "the scope needs more than {IDS} group numbers");
        self.next_id += 1;
        self.history.place[id] = group.at;
        self.history.len[id] = group.len;
        self.history.log.push(group.id);
        if group.kind == Kind::Data {
            self.data_groups += 1;
        } else {
            self.history.without_data |= 1 << id;
        }
        self.last = Some(group.kind);
    }

    /// Forgets the process: what is left is the disk and the history.
    pub fn stop(&mut self) {
        self.phase = Phase::Down;
        self.stops += 1;
        self.next = Pos::NONE;
        self.sealed = false;
        self.last = None;
        self.previous_end = Pos::NONE;
        self.durable_end = Pos::NONE;
        self.announced = Announced::No;
        self.mark_due = false;
        self.in_flight.clear();
        self.spares.clear();
        self.late.clear();
        self.cached.clear();
        self.release_asked = 0;
        self.release_acknowledged = 0;
    }
}

fn given_file(case: &Case, number: u8) -> File {
    let mut file = File::zeroed(number);
    if case.scope.files == Files::GivenUsed {
        for (block, content) in (0u8..).zip(&mut file.blocks[..usize::from(case.scope.blocks)]) {
            *content = foreign(case, Pos::new(number, block));
        }
    }
    let header = Header {
        sequence: number,
        salt: number,
        first_live: 1,
        previous_end: Pos::NONE,
        zeros: case.scope.zeroed(),
    };
    file.blocks[0] = match case.rules.headers {
        Headers::Prepared => Block::Header(header),
        Headers::AtRotation(..) => Block::Zeros,
    };
    debug_assert!(usize::from(case.scope.blocks) <= BLOCKS_MAX);
    file
}

/// The file of a spare gets its name, and its header with it unless that comes later.
pub fn name_spare(files: &mut Vec<File>, spare: &Spare) {
    match files.iter_mut().find(|file| file.number == spare.source) {
        Some(file) => file.number = spare.target,
        None => files.push(File::zeroed(spare.target)),
    }
    files.sort_by_key(|file| file.number);
    if spare.stage == Stage::Name {
        put(files, Pos::new(spare.target, 0), spare.header);
    }
}
