//! Options of Seawall's crates: the error of an option that is out of range, and their setters.

use std::fmt;

/// An option with a value outside of its range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange {
    /// Name of the option.
    pub option: &'static str,
    /// The value given.
    pub value: i64,
    /// Smallest value allowed.
    pub min: i64,
    /// Largest value allowed.
    pub max: i64,
}

impl OutOfRange {
    /// Checks that `value` is within `min..=max`.
    ///
    /// # Errors
    /// The option with its range, if it is not. A value of 2^63 or more is given as 2^63 - 1.
    pub fn check<T>(option: &'static str, value: T, min: T, max: T) -> Result<(), OutOfRange>
    where
        T: PartialOrd + Copy + TryInto<i64>,
    {
        if min <= value && value <= max {
            return Ok(());
        }
        let [value, min, max] = [value, min, max].map(|number| number.try_into().unwrap_or(i64::MAX));
        Err(OutOfRange { option, value, min, max })
    }
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutOfRange { option, value, min, max } = self;
        write!(f, "option {option} is {value}; it must be {min} to {max}")
    }
}

impl std::error::Error for OutOfRange {}

/// Adds a method for each option that returns the options with another value of it. For the options of Seawall's crates
/// only.
#[doc(hidden)]
#[macro_export]
macro_rules! setters {
    ($type:ident { $($field:ident: $kind:ty => $setter:ident,)* }) => {
        impl $type {
            $(
                #[doc = concat!("Returns the options with another value of [`", stringify!($field), "`](", stringify!($type), "::", stringify!($field), ").")]
                #[must_use]
                pub fn $setter(mut self, $field: $kind) -> $type {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}
