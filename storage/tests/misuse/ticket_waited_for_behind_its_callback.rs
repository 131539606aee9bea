//! A ticket is answered once: whoever leaves a callback has given it away.
use seawall::Ticket;

fn misuse(ticket: Ticket) {
    ticket.on_durable(|_| {});
    let _ = ticket.wait();
}

fn main() {}
