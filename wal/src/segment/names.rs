//! Names and numbers of segment files.

/// Highest number of a segment. Leaves room for the numbers after it without an overflow.
pub(crate) const SEQUENCE_MAX: u32 = u32::MAX - 3;

/// The file name of segment `sequence`.
pub fn file_name(sequence: u32) -> String {
    format!("{sequence:08x}.wal")
}

/// The name of segment `sequence` while it is being prepared.
pub(crate) fn spare_name(sequence: u32) -> String {
    format!("{sequence:08x}.new")
}

/// Parses a name made by [`file_name`] (`extension` is `wal`) or [`spare_name`] (`new`); returns the number.
pub(crate) fn parse_name(name: &str, extension: &str) -> Option<u32> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    let plain = digits.len() == 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number = u32::from_str_radix(digits, 16).ok()?;
    (plain && number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_canonical() {
        assert_eq!(file_name(0x1f), "0000001f.wal");
        assert_eq!(parse_name(&file_name(31), "wal"), Some(31));
        assert_eq!(parse_name(&spare_name(31), "new"), Some(31));
        for bad in ["0000001F.wal", "1f.wal", "00000000.wal", "+000001f.wal", "0000001f.wal.bak", "x", ""] {
            assert_eq!(parse_name(bad, "wal"), None, "{bad}");
        }
    }
}
