//! Code that the tools share. The interface of this package is its programs, not this library.
//!
//! [`utc`] formats times, and [`open_report`] makes JSON of the result of an open.

#![forbid(unsafe_code)]

pub mod open_report;

/// Formats a time in seconds since the Unix epoch as `2025-01-31T23:59:59Z`; a time after the year 9999 as its last second.
pub fn utc(seconds: u64) -> String {
    // Four digits of a year are all that the format has.
    let last = std::time::Duration::from_secs(253_402_300_799);
    let since = std::time::Duration::from_secs(seconds).min(last);
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn no_number_is_too_large() {
        assert!(utc(u64::MAX / 1000).ends_with('Z'));
    }
}
