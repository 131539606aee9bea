//! The log as its users see it: [`Wal`] composes the layers below and adds no mechanism of its own.

mod handle;
pub(crate) mod open;
mod prepared;
pub(crate) mod read;
mod salvage;
pub(crate) mod threads;

pub use handle::{CallbacksFull, Wal};
pub use prepared::Prepared;
