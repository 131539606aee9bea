//! Simulates the network between the nodes: messages are lost, duplicated and reordered, and transfers of
//! snapshots fail.

use raft::eraftpb::{Message, MessageType};
use raft::{SnapshotStatus, StateRole};
use seawall::raft_rs::Error;
use seawall::snapshots::snap::{Offer, Piece};
use seawall::{EntryRef, WriteBatch};

use crate::cluster::simulation::{Node, Run};

/// Another group in each node's log.
const OTHER: u64 = 2;

impl Run {
    /// Delivers one message to its node, or loses it.
    pub fn deliver(&mut self) {
        if self.network.is_empty() {
            return;
        }
        // Takes mostly the oldest message, sometimes any other, and may lose or duplicate it.
        let which = if self.rng.chance(80) { 0 } else { self.rng.pick(self.network.len()) };
        let message = self.network.remove(which);
        if self.rng.chance(5) {
            self.lost(&message);
            return;
        }
        if self.rng.chance(5) {
            self.network.push(message.clone());
        }
        if message.get_msg_type() == MessageType::MsgSnapshot && self.rng.chance(10) {
            // Simulates a leader that sends a snapshot without checking that it lists the receiver as a member.
            let to = 1 + self.rng.below(self.setup.nodes as u64);
            if to != message.from {
                self.pass_on(Message { to, ..message.clone() });
            }
        }
        self.pass_on(message);
    }

    /// Delivers messages while the log writes a record, so that their entries are in flight when the record
    /// is durable.
    pub fn deliver_during_a_write(&mut self, at: usize) {
        let here = |message: &Message| message.to == at as u64 + 1;
        let count = 1 + self.rng.pick(3);
        let mut messages = Vec::new();
        while let Some(next) = self.network.iter().position(here).filter(|_| messages.len() < count) {
            messages.push(self.network.remove(next));
        }
        let data = self.data();
        self.with(at, |engine, pump| {
            let mut batch = WriteBatch::new();
            let index = engine.group(OTHER).last_index() + 1;
            batch.append(OTHER, &[EntryRef { index, term: 1, payload: b"waited for" }]);
            batch.compact(OTHER, index);
            let ticket = engine.write(&mut batch)?;
            for message in messages {
                match pump.step(message) {
                    Err(Error::Core(_)) | Ok(()) => _ = pump.poll()?,
                    Err(error) => return Err(error),
                }
            }
            if pump.raft().state == StateRole::Leader {
                pump.propose(vec![], data)?;
                _ = pump.poll()?;
            }
            ticket.wait().map_err(seawall::Error::from)?;
            Ok(())
        });
        // The power cut loses what is in flight, none of which may have been acknowledged.
        if self.rng.chance(20) {
            self.crash(at);
        }
    }

    /// Passes the message to its node, if that node is up.
    pub fn pass_on(&mut self, message: Message) {
        if self.no_snapshots && message.get_msg_type() == MessageType::MsgSnapshot {
            return;
        }
        let to = usize::try_from(message.to - 1).unwrap();
        if self.nodes[to].alive.is_none() {
            self.lost(&message);
        }
        self.with(to, |_, pump| pump.step(message));
    }

    /// Reports a lost snapshot to its sender, as a transport does.
    fn lost(&mut self, message: &Message) {
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.snapshot_failed(message.from, message.to);
        }
    }

    /// Tells the node `from` that its snapshot did not reach `peer`.
    pub fn snapshot_failed(&mut self, from: u64, peer: u64) {
        let at = usize::try_from(from - 1).unwrap();
        self.with(at, |_, pump| pump.report_snapshot(peer, SnapshotStatus::Failure));
    }

    /// Transfers a snapshot from one node to another, or a part of it. After a whole transfer, sends the
    /// message again.
    pub fn fetch(&mut self, at: usize, offer: &Offer, message: Message) {
        let from = usize::try_from(message.from - 1).unwrap();
        let handle = |node: &Node| node.alive.as_ref().and_then(|alive| alive.snapshots.clone());
        let (own, theirs) = (handle(&self.nodes[at]), handle(&self.nodes[from]));
        let mut faulty = |chance| self.setup.faults && self.rng.chance(chance);
        let (breaks, unheard) = (faulty(20), faulty(5));
        let breaks = breaks.then(|| self.rng.below(4));
        let fetched = (|| {
            let (own, theirs) = (own?, theirs?);
            let Some(mut incoming) = own.receive(offer).ok()? else { return Some(()) };
            let export = theirs.catalog().export(offer.id()).ok()?;
            for (n, piece) in (0..).zip(export.pieces(incoming.next()).ok()?) {
                let mut piece = piece.ok()?;
                if breaks == Some(n) {
                    // The piece arrives damaged, and the transfer breaks off.
                    let mut bytes = piece.encode();
                    *bytes.last_mut().unwrap() ^= 1;
                    piece = Piece::decode(&bytes).ok()?;
                }
                incoming.accept(&piece).ok()?;
            }
            incoming.finish().ok().map(drop)
        })();
        match fetched {
            _ if unheard => {}
            Some(()) => self.network.push(message),
            None => self.snapshot_failed(message.from, message.to),
        }
    }
}
