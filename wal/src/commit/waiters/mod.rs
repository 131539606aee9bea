//! Where waiters are registered: wait slots for threads, entries for futures and callbacks, and how long a thread
//! yields.

pub(crate) mod adaptive_yield;
pub(crate) mod futures;
pub(crate) mod wait_slot;
