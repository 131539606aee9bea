//! Bars: the required ratio of Seawall's figure to another one.

use serde::Serialize;

/// A bound for the ratio of Seawall's figure to that of a line.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// The ratio is this or more.
    AtLeast(f64),
    /// The ratio is this or less.
    AtMost(f64),
}

impl Bar {
    /// Whether `ratio` meets the bar. NaN meets none.
    pub fn is_met(self, ratio: f64) -> bool {
        match self {
            Bar::AtLeast(bound) => ratio >= bound,
            Bar::AtMost(bound) => ratio <= bound,
        }
    }

    /// The bar as tables show it.
    pub fn text(self) -> String {
        match self {
            Bar::AtLeast(bound) => format!(">= {bound}"),
            Bar::AtMost(bound) => format!("<= {bound}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_include_their_bound() {
        assert!(Bar::AtLeast(2.0).is_met(2.0) && !Bar::AtLeast(2.0).is_met(1.99));
        assert!(Bar::AtMost(0.5).is_met(0.5) && !Bar::AtMost(0.5).is_met(0.51));
        assert!(!Bar::AtLeast(2.0).is_met(f64::NAN));
    }
}
