//! Code that the tools share. The interface of this package is its programs, not this library.
//!
//! `utc` formats times, `open_report` makes JSON of the result of an open, and `bench` has the building blocks of the
//! measuring programs.

#![forbid(unsafe_code)]

pub mod bench;
pub mod open_report;

/// Formats a time in seconds since the Unix epoch as `2025-01-31T23:59:59Z`.
pub fn utc(seconds: u64) -> String {
    const DAY_SECONDS: u64 = 86_400;
    let (days, second) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
    // Years start in March, so that the leap day is the last: 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
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
