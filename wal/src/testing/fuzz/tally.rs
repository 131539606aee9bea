//! Counts the events in runs of the model, to show that the intended faults occurred.

/// Counts of the events in some runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Steps of a scheduler, including appends.
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
    /// Segments that opens accepted by their footer.
    pub by_footer: u64,
    /// Appends that a full disk refused.
    pub full: u64,
    /// Reads that found an older page in the cache, and the right bytes on the medium.
    pub stale: u64,
    /// Copies with a rotten place that open refused and named.
    pub rot_refused: u64,
    /// Copies with a rotten place that opened by a footer, and whose reader got an error that names the place.
    pub rot_read: u64,
    /// Copies with a rotten place that showed the same records as without it.
    pub rot_unchanged: u64,
    /// Copies with a rotten place that dropped records of the last moments.
    pub rot_dropped: u64,
}

impl Tally {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Tally) {
        self.operations += other.operations;
        self.crashes += other.crashes;
        self.opens += other.opens;
        self.appends += other.appends;
        self.dropped += other.dropped;
        self.latched += other.latched;
        self.by_footer += other.by_footer;
        self.full += other.full;
        self.stale += other.stale;
        self.rot_refused += other.rot_refused;
        self.rot_read += other.rot_read;
        self.rot_unchanged += other.rot_unchanged;
        self.rot_dropped += other.rot_dropped;
    }
}
