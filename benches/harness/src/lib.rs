//! Building blocks of measurements, for `walbench` and for the comparison with other engines.
//!
//! [`load`] runs the appending threads. The targets are [`floor`] (raw writes), [`bare`] (a group commit without a log)
//! and [`log`]. [`place`] and [`medium`] provide the files, [`machine`] and [`device`] describe and count the hardware,
//! and [`text`] prints.

#![forbid(unsafe_code)]

pub mod bare;
pub mod device;
pub mod floor;
pub mod load;
pub mod log;
pub mod machine;
pub mod medium;
pub mod place;
pub mod text;
