//! Defines what can go wrong: injected errors, crash points, and which unsynced sectors survive a power loss.
//!
//! Every operation of the simulated disk first checks here whether it may complete. A rule counts the operations that
//! it matches and fires at the n-th, once or from there on. Errors carry the kernel's own numbers, so the code above
//! treats them exactly like real ones.

use super::clock::Rng;
use std::error::Error;
use std::fmt;
use std::io;
use std::ops::Range;

/// The unit in which a device writes atomically, in bytes; a log must survive any subset of a write's sectors.
pub(super) const SECTOR: usize = 512;

/// The whole sectors that overlap the bytes `start..end`.
pub(super) fn sectors(start: usize, end: usize) -> Range<usize> {
    start / SECTOR * SECTOR..end.next_multiple_of(SECTOR)
}

const EINTR: i32 = 4;
const EIO: i32 = 5;
const EBADF: i32 = 9;
const EAGAIN: i32 = 11;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

/// The calls that a [`FaultRule`] counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultOp {
    /// `read_at` and `read_medium`.
    Read,
    /// `write_at`.
    Write,
    /// `DiskFile::sync`.
    Sync,
    /// `allocate`.
    Allocate,
    /// `open` with `Access::Create`, and a `lock` that must create its file.
    Create,
    /// `open` of a file that exists.
    Open,
    /// `rename`.
    Rename,
    /// `remove`.
    Remove,
    /// `Disk::sync`.
    DirSync,
}

/// The error with which a call fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// EIO: the device failed. A write may have reached some of its sectors; a sync has lost some sectors.
    Io,
    /// ENOSPC: the file system is full. With this error, as with every error but `Io`, a sync has lost some sectors,
    /// and any other call has changed nothing.
    Full,
    /// EDQUOT: the quota of the user or project is used up.
    Quota,
    /// EMFILE: the process has reached its limit of open files.
    ProcessFiles,
    /// ENFILE: the system has reached its limit of open files.
    SystemFiles,
    /// EINTR: a signal interrupted the call.
    Interrupted,
    /// EAGAIN: the kernel lacks a resource at the moment.
    Again,
}

impl From<FaultError> for io::Error {
    fn from(error: FaultError) -> io::Error {
        io::Error::from_raw_os_error(match error {
            FaultError::Io => EIO,
            FaultError::Full => ENOSPC,
            FaultError::Quota => EDQUOT,
            FaultError::ProcessFiles => EMFILE,
            FaultError::SystemFiles => ENFILE,
            FaultError::Interrupted => EINTR,
            FaultError::Again => EAGAIN,
        })
    }
}

/// One injected fault: the n-th matching call from now fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultRule {
    op: FaultOp,
    nth: u64,
    forever: bool,
    error: FaultError,
    name: Option<String>,
    seen: u64,
}

impl FaultRule {
    /// Fails the `nth` call of kind `op` from now, 1 being the next; later ones succeed again.
    pub fn once(op: FaultOp, nth: u64, error: FaultError) -> FaultRule {
        FaultRule { op, nth: nth.max(1), forever: false, error, name: None, seen: 0 }
    }

    /// Fails the `nth` call of kind `op` from now and all later ones, until the faults are cleared.
    pub fn forever(op: FaultOp, nth: u64, error: FaultError) -> FaultRule {
        FaultRule { forever: true, ..FaultRule::once(op, nth, error) }
    }

    /// Counts only calls on the file that has the name `name` at the time of the call (either name of a rename).
    pub fn on(self, name: &str) -> FaultRule {
        FaultRule { name: Some(name.to_owned()), ..self }
    }
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    rules: Vec<FaultRule>,
    /// Whether a rule has fired since the rules were last cleared.
    fired: bool,
}

impl Faults {
    pub(super) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) -> bool {
        self.rules.clear();
        std::mem::take(&mut self.fired)
    }

    /// Whether some rule depends on names.
    pub(super) fn by_name(&self) -> bool {
        self.rules.iter().any(|rule| rule.name.is_some())
    }

    /// Counts a call, and fails it if a rule fires.
    pub(super) fn check(&mut self, op: FaultOp, names: &[&str]) -> io::Result<()> {
        let mut hit = None;
        self.rules.retain_mut(|rule| {
            let matches = rule.op == op && rule.name.as_deref().is_none_or(|name| names.contains(&name));
            if !matches {
                return true;
            }
            rule.seen += 1;
            let fires = rule.seen == rule.nth || (rule.forever && rule.seen > rule.nth);
            if fires && hit.is_none() {
                hit = Some(rule.error);
            }
            !fires || rule.forever
        });
        self.fired |= hit.is_some();
        hit.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The error of calls of a dead process. It carries no errno, so that it is never mistaken for a device's error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Dead;

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated process is dead")
    }
}

impl Error for Dead {}

impl Dead {
    pub(super) fn error() -> io::Error {
        io::Error::other(Dead)
    }

    pub(super) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Dead>())
    }
}

/// The error of a write, an allocation or a lock file that exceeds the capacity.
pub(super) fn full() -> io::Error {
    FaultError::Full.into()
}

/// Whether the device failed in the middle of a write, so that some of its sectors may be written.
pub(super) fn tears(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EIO)
}

/// The error of a write through a descriptor that was opened for reading.
pub(super) fn not_writable() -> io::Error {
    io::Error::from_raw_os_error(EBADF)
}

/// Whether an operation that may proceed completes or is cut by the armed crash point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(super) enum Outcome {
    Complete,
    /// It takes effect only in volatile state; the coming crash decides what is left of it.
    Crash,
}

impl Outcome {
    /// The call's result, after its effects were applied.
    pub(super) fn finish<T>(self, value: T) -> io::Result<T> {
        match self {
            Outcome::Complete => Ok(value),
            Outcome::Crash => Err(Dead::error()),
        }
    }
}

/// Which volatile writes survive one crash. Drawn once per crash: independent draws for every sector would
/// practically never give "everything" or "a clean prefix" of many writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Survival {
    /// Everything: the device had just written its cache out.
    All,
    /// Nothing: the device lost its whole cache.
    None,
    /// Each item with a chance of this many in 256: devices reorder freely.
    Subset(usize),
    /// All items before this one in write order; this one is torn, and no later one survives.
    Prefix(u64),
}

impl Survival {
    /// Draws a pattern over the items with the sequence numbers `order`.
    pub(super) fn draw(rng: &mut Rng, order: &[u64]) -> Survival {
        match rng.below(8) {
            0 => Survival::All,
            1 => Survival::None,
            2 | 3 => Survival::Subset(128),
            4 => Survival::Subset([16, 240][rng.below(2)]),
            _ => Survival::Prefix(order.get(rng.below(order.len())).copied().unwrap_or(0)),
        }
    }

    /// Whether one sector of the item `seq` survives.
    pub(super) fn keeps(self, rng: &mut Rng, seq: u64) -> bool {
        match self {
            Survival::All => true,
            Survival::None => false,
            Survival::Subset(chance) => rng.below(256) < chance,
            Survival::Prefix(cut) => seq < cut || (seq == cut && rng.coin()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: FaultRule, calls: usize) -> Vec<bool> {
        let mut faults = Faults::default();
        faults.add(rule);
        (0..calls).map(|_| faults.check(FaultOp::Write, &["a"]).is_ok()).collect()
    }

    #[test]
    fn a_rule_fires_at_the_nth_call_once_or_from_there_on() {
        use FaultError::Io;
        assert_eq!(run(FaultRule::once(FaultOp::Write, 2, Io), 4), [true, false, true, true]);
        assert_eq!(run(FaultRule::forever(FaultOp::Write, 2, Io), 4), [true, false, false, false]);
        assert_eq!(run(FaultRule::once(FaultOp::Write, 0, Io), 2), [false, true]);
        assert_eq!(run(FaultRule::forever(FaultOp::Sync, 1, Io), 2), [true, true]);
        assert_eq!(run(FaultRule::forever(FaultOp::Write, 1, Io).on("b"), 2), [true, true]);
        assert_eq!(run(FaultRule::forever(FaultOp::Write, 1, Io).on("a"), 2), [false, false]);
    }

    #[test]
    fn injected_errors_look_like_the_kernels() {
        let io_error = io::Error::from(FaultError::Io);
        assert_eq!(io_error.raw_os_error(), Some(5));
        assert_eq!(full().kind(), io::ErrorKind::StorageFull);
        assert_eq!(full().raw_os_error(), Some(28));
        assert_eq!(io::Error::from(FaultError::Quota).kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(io::Error::from(FaultError::Interrupted).kind(), io::ErrorKind::Interrupted);
        assert_eq!(io::Error::from(FaultError::Again).kind(), io::ErrorKind::WouldBlock);
        assert!(!Dead::is(&io_error) && Dead::is(&Dead::error()));
        assert_ne!(Dead::error().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn every_pattern_is_drawn_often() {
        let mut rng = Rng::new(3);
        let mut counts = [0; 4];
        for _ in 0..800 {
            let slot = match Survival::draw(&mut rng, &[4, 9, 12]) {
                Survival::All => 0,
                Survival::None => 1,
                Survival::Subset(_) => 2,
                Survival::Prefix(cut) => {
                    assert!([4, 9, 12].contains(&cut));
                    3
                }
            };
            counts[slot] += 1;
        }
        assert!(counts.iter().all(|&n| n > 50), "{counts:?}");
    }

    #[test]
    fn a_prefix_tears_only_its_last_item() {
        let mut rng = Rng::new(1);
        let at = |rng: &mut Rng, seq| (0..64).filter(|_| Survival::Prefix(5).keeps(rng, seq)).count();
        assert_eq!(at(&mut rng, 4), 64);
        assert!((1..64).contains(&at(&mut rng, 5)));
        assert_eq!(at(&mut rng, 6), 0);
    }
}
