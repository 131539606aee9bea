//! Recovery: what open concludes from the disk, what it promises, and where the log continues.

mod decide;
mod evidence;
pub mod open;
mod promises;
mod refusal;
mod resume;
mod scan;
