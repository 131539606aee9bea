//! Log ids as openraft uses them.

/// A log id: the leader that proposed an entry, and the core's index of the entry.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Id<L> {
    pub(crate) leader: L,
    pub(crate) index: u64,
}

/// The start and end of a log, as log ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ends<L> {
    /// The last purged entry, if any.
    pub(crate) purged: Option<Id<L>>,
    /// The last entry, or the last purged one if the log is empty.
    pub(crate) last: Option<Id<L>>,
}
