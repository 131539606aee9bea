//! One log store: opening it, reading and writing.

pub(crate) mod callback_order;
pub(crate) mod leaders;
pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod write;
