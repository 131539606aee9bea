//! There is one ticket per write, so it cannot be cloned.
use seawall::Ticket;

fn misuse(ticket: Ticket) {
    let _second = ticket.clone();
}

fn main() {}
