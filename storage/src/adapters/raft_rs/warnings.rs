//! The default logger of the core: writes warnings and errors to standard error.
//!
//! The core reports some faults in no other way; it logs a warning and drops the message. Each line names the
//! group and the node.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};

use crate::types::GroupId;

/// Returns a logger for node `id` of `group`.
pub(super) fn logger(group: GroupId, id: u64) -> Logger {
    Logger::root(Warnings { group, id }, slog::o!())
}

struct Warnings {
    group: GroupId,
    id: u64,
}

impl Warnings {
    /// Formats a record as a line; `None` for records below warnings.
    fn line(&self, record: &Record<'_>) -> Option<String> {
        if !record.level().is_at_least(Level::Warning) {
            return None;
        }
        let (level, message) = (record.level().as_short_str(), record.msg());
        let mut line =
            Line(format!("seawall: group {}, node {}: raft {level}: {message}", self.group, self.id));
        // Only the formatter can fail here, and a string never does.
        let _ = record.kv().serialize(record, &mut line);
        line.0.push('\n');
        Some(line.0)
    }
}

impl Drain for Warnings {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        if let Some(line) = self.line(record) {
            // There is no place to report that standard error is gone.
            let _ = io::stderr().lock().write_all(line.as_bytes());
        }
        Ok(())
    }
}

struct Line(String);

impl Serializer for Line {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        Ok(write!(self.0, ", {key}: {value}")?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Kept(Warnings, Mutex<Vec<String>>);

    impl Drain for Kept {
        type Ok = ();
        type Err = Never;

        fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
            self.1.lock().unwrap().extend(self.0.line(record));
            Ok(())
        }
    }

    #[test]
    fn warnings_name_group_and_node_and_nothing_else_is_said() {
        let kept = Arc::new(Kept(Warnings { group: 7, id: 4 }, Mutex::default()));
        let logger = Logger::root(Arc::clone(&kept), slog::o!());
        slog::warn!(logger, "not a member"; "voters" => "1, 2");
        slog::info!(logger, "became follower");
        slog::error!(logger, "{} of {}", 1, 2);
        let lines = kept.1.lock().unwrap().concat();
        let expected = ["WARN: not a member, voters: 1, 2\n", "ERRO: 1 of 2\n"];
        assert_eq!(lines, expected.map(|line| format!("seawall: group 7, node 4: raft {line}")).concat());
    }
}
