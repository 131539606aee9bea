//! The loop of a node: inputs, ticks and the work of the pump, on one thread.

use std::time::{Duration, Instant};

use crate::adapters::raft_rs::error::Result;
use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::node::inbox::Inbox;
use crate::adapters::raft_rs::outcome::{End, Outcome};
use crate::adapters::raft_rs::pump::Pump;

impl<H: Host> Pump<H> {
    /// Runs this node on the calling thread, until somebody stops it ([`Pump::stop`]): gives it the inputs of `inbox`,
    /// ticks it every `tick`, and does its work as soon as there is any. Make the pump with the wake-up of the inbox's
    /// handle ([`NodeHandle::wake`](crate::adapters::raft_rs::NodeHandle::wake)).
    ///
    /// A full disk does not end the loop: the host is told ([`Host::stalled`]), and the node continues once there is
    /// space. Inputs that are left when the loop ends are dropped with the inbox.
    ///
    /// If the thread could not run for longer than a tick, the core gets one tick, not all that it missed: a node that was
    /// suspended should listen before it calls an election.
    ///
    /// # Errors
    /// The error that stopped the pump.
    pub fn run(&mut self, inbox: &Inbox<H>, tick: Duration) -> Result<End> {
        let mut next_tick = Instant::now() + tick;
        let mut stalled = false;
        loop {
            let rung = inbox.rung();
            let served = inbox.serve(self);
            let now = Instant::now();
            let mut outcome = if now >= next_tick {
                next_tick = if now < next_tick + tick { next_tick + tick } else { now + tick };
                self.tick()?
            } else {
                Outcome::Idle
            };
            if !outcome.is_stalled() {
                outcome = self.advance()?;
            }
            match outcome {
                Outcome::Ended(end) => return Ok(end),
                Outcome::Stalled(full) => {
                    if !stalled {
                        self.host_mut().stalled(&full);
                    }
                    stalled = true;
                    self.request_wake();
                    inbox.wait(rung, next_tick.saturating_duration_since(Instant::now()));
                }
                Outcome::Worked => stalled = false,
                Outcome::Idle => {
                    stalled = false;
                    if !served && !self.write_while_waiting() {
                        self.request_wake();
                        inbox.wait(rung, next_tick.saturating_duration_since(Instant::now()));
                    }
                }
            }
        }
    }
}
