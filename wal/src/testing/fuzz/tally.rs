//! What happened in runs of the model, counted: whether the faults that it is for did happen.

/// What happened in some runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Steps of a scheduler, appends included.
    pub operations: u64,
    /// Ends of a process, with or without the machine.
    pub crashes: u64,
    /// Calls of `open` and `create`.
    pub opens: u64,
    /// Records appended.
    pub appends: u64,
    /// Ranges that opens dropped.
    pub dropped: u64,
    /// Logs that stopped after an injected failure.
    pub latched: u64,
    /// Segments that opens took on their footer's word.
    pub by_footer: u64,
    /// Appends that a full disk refused.
    pub full: u64,
    /// Copies in which a place rotted: refused by name.
    pub rot_refused: u64,
    /// Such copies that opened on a footer's word, and whose reader was told the place.
    pub rot_read: u64,
    /// Such copies that showed what they would have shown.
    pub rot_unchanged: u64,
    /// Such copies that dropped records of the last moments.
    pub rot_dropped: u64,
}

impl Tally {
    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.crashes += other.crashes;
        self.opens += other.opens;
        self.appends += other.appends;
        self.dropped += other.dropped;
        self.latched += other.latched;
        self.by_footer += other.by_footer;
        self.full += other.full;
        self.rot_refused += other.rot_refused;
        self.rot_read += other.rot_read;
        self.rot_unchanged += other.rot_unchanged;
        self.rot_dropped += other.rot_dropped;
    }
}
