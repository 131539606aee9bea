//! The types that describe loads: the target of appends, the way they are made, and their options.
//!
//! Plans consist of these types and engines execute them. Plans and engines do not depend on each other.

use seawall_wal::disk::Mode;
use seawall_wal::{Backend, Options};
use std::time::Duration;

/// The target of the appends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    /// Raw durable writes.
    Floor(Mode),
    /// A group commit without a log.
    Bare,
    Seawall(Variant),
    RaftEngine,
    /// The same engine; the caller gathers the appends in flight in one batch.
    RaftEngineGathered,
    /// raft-engine with its default options.
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

    /// The target whose engine it uses; two ways to drive an engine share it.
    pub(crate) fn engine(self) -> Who {
        if self == Who::RaftEngineGathered { Who::RaftEngine } else { self }
    }

    pub(crate) fn variant(self) -> Option<Variant> {
        if let Who::Seawall(variant) = self { Some(variant) } else { None }
    }
}

/// How long appends are made, and whether they are waited for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Kind {
    /// Every append is durable.
    Durable { window: Duration },
    /// So many appends, and one sync at the end.
    Lazy { appends: u64 },
}

/// The target and the load.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Load {
    pub(crate) threads: usize,
    pub(crate) in_flight: usize,
    pub(crate) bytes: usize,
    pub(crate) kind: Kind,
}

/// How long raft-log's worker waits for more appends before it syncs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Window {
    /// The default: 1 ms.
    Default,
    Short,
    None,
    /// The default, but a batch with 32 appends does not wait for more. Made for a load with 32 appends in flight.
    Batch32,
}

impl Window {
    /// Windows for a lone writer.
    pub(crate) const LONE: [Window; 3] = [Window::Default, Window::Short, Window::None];
    /// Windows for several appends in flight.
    pub(crate) const DEEP: [Window; 4] = [Window::Default, Window::Short, Window::None, Window::Batch32];

    /// The duration to set; `None` leaves the default.
    pub(crate) fn duration(self) -> Option<Duration> {
        match self {
            Window::Default | Window::Batch32 => None,
            Window::Short => Some(Duration::from_micros(50)),
            Window::None => Some(Duration::ZERO),
        }
    }
}

/// Name of a variant, and its changes to the options.
type Way = (&'static str, fn(Options) -> Options);

/// Variants of Seawall that run in the same comparison.
const VARIANTS: &[Way] =
    &[("auto", |options| options), ("posix", |options| options.clone().with_backend(Backend::Posix))];

/// One of [`VARIANTS`].
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

    /// Returns the options of the variant, from those that all variants share.
    pub(crate) fn options(self, base: Options) -> Options {
        VARIANTS[self.0].1(base)
    }
}
