//! Threads, futures and callbacks that wait for a record to become durable.

pub(crate) mod adaptive_yield;
pub(crate) mod blocking;
pub(crate) mod futures;
pub(crate) mod wait_slot;
