//! One log store: opening, reading, appending.

pub(crate) mod blocking;
pub(crate) mod callback_order;
pub(crate) mod leaders;
pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod write;
