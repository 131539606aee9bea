//! The groups in memory: state and index of each, the table of all, and what each segment still holds.
//! Place on the data's way: between the log and the reads; the write path and replay change it through one
//! function, `publish::apply`. Invariants: the order of changes to a group is the order of their records.
//! Nothing here reads or writes a disk.

mod index;
mod map;
mod moved;
mod pins;
mod publish;
mod sealer;
mod small;
mod state;
mod states;
mod terms;

pub(crate) use map::{Groups, Locked};
pub(crate) use pins::{Edge, Hold, Pins, Uses};
pub(crate) use publish::{Append, apply, publish};
pub(crate) use sealer::{FooterSealer, footer_bytes};
pub(crate) use small::hard_state_back;
pub(crate) use state::{GroupState, Settled};
pub(crate) use states::States;
