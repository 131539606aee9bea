//! The words in which loads are spoken of: who appends are made to, in which way, and how.
//!
//! Plans are made of them and engines understand them; neither knows the other.

use seawall_wal::disk::Mode;
use seawall_wal::{Backend, Options};
use std::time::Duration;

/// Who appends are made to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// Raw durable writes.
    Floor(Mode),
    /// A group commit without a log.
    Bare,
    Seawall(Variant),
    RaftEngine,
    /// The same engine; the caller gathers what is in flight in one batch.
    RaftEngineGathered,
    /// raft-engine as it comes.
    RaftEngineDefault,
    RaftLog(Window),
    Okaywal,
}

impl Who {
    pub(crate) fn name(self) -> String {
        match self {
            Who::Floor(Mode::Direct) => "raw O_DIRECT+DSYNC".to_owned(),
            Who::Floor(Mode::Buffered) => "raw write+fdatasync".to_owned(),
            Who::Bare => "bare group commit".to_owned(),
            Who::Seawall(variant) => format!("seawall {}", variant.name()),
            Who::RaftEngine => "raft-engine".to_owned(),
            Who::RaftEngineGathered => "raft-engine gathered".to_owned(),
            Who::RaftEngineDefault => "raft-engine default".to_owned(),
            Who::RaftLog(Window::Default) => "raft-log 1 ms".to_owned(),
            Who::RaftLog(Window::Short) => "raft-log 50 us".to_owned(),
            Who::RaftLog(Window::None) => "raft-log 0".to_owned(),
            Who::RaftLog(Window::Batch32) => "raft-log batch 32".to_owned(),
            Who::Okaywal => "okaywal".to_owned(),
        }
    }

    /// Whose engine it uses: two ways to drive one share it.
    pub(crate) fn engine(self) -> Who {
        if self == Who::RaftEngineGathered { Who::RaftEngine } else { self }
    }

    pub(crate) fn variant(self) -> Option<Variant> {
        if let Who::Seawall(variant) = self { Some(variant) } else { None }
    }
}

/// How long, and what is waited for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Kind {
    /// Every append is durable.
    Durable { window: Duration },
    /// So many appends, and one sync at the end.
    Lazy { appends: u64 },
}

/// Who appends how.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Load {
    pub(crate) threads: usize,
    pub(crate) in_flight: usize,
    pub(crate) bytes: usize,
    pub(crate) kind: Kind,
}

/// How long its worker waits for more appends before it syncs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Window {
    /// As it comes: 1 ms.
    Default,
    Short,
    None,
    /// As it comes, but a batch that has 32 appends waits for no more: cut to a load with as many in flight.
    Batch32,
}

impl Window {
    /// Those for a lone writer.
    pub(crate) const LONE: [Window; 3] = [Window::Default, Window::Short, Window::None];
    /// Those for several appends in flight.
    pub(crate) const DEEP: [Window; 4] = [Window::Default, Window::Short, Window::None, Window::Batch32];

    /// What it asks for; `None` leaves it as it comes.
    pub(crate) fn duration(self) -> Option<Duration> {
        match self {
            Window::Default | Window::Batch32 => None,
            Window::Short => Some(Duration::from_micros(50)),
            Window::None => Some(Duration::ZERO),
        }
    }
}

/// A name, and what it changes of the options.
type Way = (&'static str, fn(Options) -> Options);

/// Ways to run Seawall, which are run side by side.
const VARIANTS: &[Way] =
    &[("auto", |options| options), ("posix", |options| Options { backend: Backend::Posix, ..options })];

/// One of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Variant(usize);

impl Variant {
    pub(crate) const COUNT: usize = VARIANTS.len();
    #[cfg(test)]
    pub(crate) const FIRST: Variant = Variant(0);

    pub(crate) fn all() -> impl Iterator<Item = Variant> {
        (0..Variant::COUNT).map(Variant)
    }

    pub(crate) fn name(self) -> &'static str {
        VARIANTS[self.0].0
    }

    /// Its options, from those that all variants share.
    pub(crate) fn options(self, base: Options) -> Options {
        VARIANTS[self.0].1(base)
    }
}
