//! What measurements are made of, for `walbench` and for the comparison with other engines.
//!
//! Who appends (`load`), to what (`floor`: raw writes; `bare`: a group commit without a log; `log`), where
//! (`place`, `medium`), on what (`machine`, `device`), and what of it is printed (`text`).

pub mod bare;
pub mod device;
pub mod floor;
pub mod load;
pub mod log;
pub mod machine;
pub mod medium;
pub mod place;
pub mod text;
