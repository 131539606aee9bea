//! There is one ticket per write.
use seawall::Ticket;

fn misuse(ticket: Ticket) {
    let _second = ticket.clone();
}

fn main() {}
