//! Places in a log, in openraft's words.

/// A log id: who proposed an entry, and the core's index of it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Id<L> {
    pub(crate) leader: L,
    pub(crate) index: u64,
}

/// Where a log begins and ends, in the core's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ends<L> {
    /// The last entry purged, if any was.
    pub(crate) purged: Option<Id<L>>,
    /// The last entry; the last purged one if there is none.
    pub(crate) last: Option<Id<L>>,
}
