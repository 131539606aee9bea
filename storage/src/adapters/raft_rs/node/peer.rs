//! Sends messages to one peer, over a connection that is opened when it is needed.

use std::fmt;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use raft::eraftpb::Message;

use crate::adapters::raft_rs::host::Host;
use crate::adapters::raft_rs::node::inbox::NodeHandle;
use crate::adapters::raft_rs::node::messages::write_message;

/// Largest number of messages that wait to be sent.
const WAITING_MAX: usize = 1024;

/// Pause after a connection could not be opened.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends messages to one peer on a thread of its own; see [`NodeHandle::connect`]. When it is dropped, the thread sends what
/// is waiting and ends.
pub struct PeerSender(SyncSender<Message>);

impl<H: Host> NodeHandle<H> {
    /// Starts a thread that sends messages to a peer, as [`read_message`](crate::adapters::raft_rs::read_message) reads them.
    /// It calls `open` for a connection when there is a message and no connection. If that or the sending fails, the message
    /// is lost, the node is told ([`NodeHandle::not_sent`]), and the next message opens another connection.
    ///
    /// Set a timeout for writing on the connection: a peer that does not read holds up only this thread, but its messages
    /// then wait.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn connect<S: Write>(
        &self,
        open: impl FnMut() -> io::Result<S> + Send + 'static,
    ) -> io::Result<PeerSender>
    where
        H: 'static,
    {
        let (sender, messages) = sync_channel(WAITING_MAX);
        let node = self.clone();
        std::thread::Builder::new().name("seawall-peer".into()).spawn(move || run(open, &messages, &node))?;
        Ok(PeerSender(sender))
    }
}

impl PeerSender {
    /// Sends `message` without waiting. Drops it if 1024 messages are waiting already: Raft sends again what a slow peer
    /// needs.
    pub fn send(&self, message: Message) {
        let _ = self.0.try_send(message);
    }
}

fn run<S: Write, H: Host>(
    mut open: impl FnMut() -> io::Result<S>,
    messages: &Receiver<Message>,
    node: &NodeHandle<H>,
) {
    let mut connection: Option<S> = None;
    for message in messages {
        if connection.is_none() {
            connection = open().ok();
        }
        let opened = connection.is_some();
        if connection.as_mut().is_none_or(|connection| write_message(connection, &message).is_err()) {
            connection = None;
            node.not_sent(&message);
        }
        if !opened {
            std::thread::sleep(PAUSE);
            // They are old by now.
            messages.try_iter().for_each(|message| node.not_sent(&message));
        }
    }
}

impl fmt::Debug for PeerSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerSender")
    }
}
