//! A callback runs on the log's delivery thread, so it must be `Send`.
use seawall::Ticket;
use std::cell::Cell;
use std::rc::Rc;

fn misuse(ticket: Ticket, durable: Rc<Cell<bool>>) {
    ticket.on_durable(move |_| durable.set(true));
}

fn main() {}
