//! Provides the state machine of each node, which checks the calls that it gets.

use std::io::Read;

use raft::eraftpb::{ConfChangeV2, ConfState, Entry, Message};
use seawall::raft_rs::{Host, HostError};
use seawall::snapshots::snap::{Offer, SnapshotId, SnapshotReader};
use seawall::snapshots::{SnapshotSource, Taken};

/// The state of a state machine: its index, and a hash of all entries up to there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    pub index: u64,
    pub hash: u64,
}

impl State {
    pub fn add(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.index + 1);
        self.index = entry.index;
        for byte in entry.term.to_le_bytes().iter().chain(&entry.data) {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// Returns the content of a snapshot, which has enough chunks that a transfer has several pieces.
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = [self.index.to_le_bytes(), self.hash.to_le_bytes()].concat();
        (0..1200u64).for_each(|n| bytes.extend(self.hash.wrapping_mul(2 * n + 1).to_le_bytes()));
        bytes
    }

    pub fn load(reader: &mut SnapshotReader) -> State {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let state = State { index: number(0), hash: number(8) };
        assert!(bytes == state.bytes() && state.index == reader.id().index);
        state
    }
}

#[derive(Default)]
pub struct Machine {
    pub sent: Vec<Message>,
    pub applied: Vec<Entry>,
    pub state: State,
    /// States restored from snapshots of other nodes.
    pub restored: Vec<State>,
    /// Offers of snapshots to be fetched.
    pub offered: Vec<(Offer, Message)>,
    pub taken: u64,
    /// Senders of snapshots that the core refused.
    pub refused: Vec<u64>,
    /// Index of each proposed change of the members, and whether the machine allowed it.
    pub verdicts: Vec<(u64, bool)>,
    /// Index of each change of the members, and the members after it.
    pub members: Vec<(u64, ConfState)>,
    /// Whether it allows every change.
    pub lenient: bool,
}

impl Host for Machine {
    fn send(&mut self, messages: Vec<Message>) {
        self.sent.extend(messages);
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<(), HostError> {
        self.applied.extend_from_slice(entries);
        entries.iter().for_each(|entry| self.state.add(entry));
        Ok(())
    }

    fn snapshot_source(&mut self, applied: u64) -> Option<SnapshotSource> {
        assert_eq!(applied, self.state.index);
        let bytes = self.state.bytes();
        Some(Box::new(move |to| to.write_all(&bytes)))
    }

    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), HostError> {
        self.state = State::load(snapshot);
        self.restored.push(self.state);
        Ok(())
    }

    fn snapshot_offered(&mut self, offer: &Offer, message: Message) {
        self.offered.push((*offer, message));
    }

    fn snapshot_refused(&mut self, from: u64, _: SnapshotId) {
        self.refused.push(from);
    }

    /// Refuses one change of four, depending on the state before its entry.
    fn allow_change(&mut self, index: u64, _: &ConfChangeV2) -> bool {
        assert_eq!(index, self.state.index + 1, "everything before it is applied");
        let allowed = self.lenient || !self.state.hash.is_multiple_of(4);
        self.verdicts.push((index, allowed));
        allowed
    }

    fn members_changed(&mut self, index: u64, conf: &ConfState) {
        assert_eq!(index, self.state.index + 1, "everything before it is applied");
        self.members.push((index, conf.clone()));
    }

    fn snapshot_taken(&mut self, outcome: &Result<Taken, seawall::snapshots::Error>) {
        self.taken += u64::from(outcome.is_ok());
    }
}
