//! Measures the share of the processors that other processes used. A figure measured next to a busy neighbour means
//! little.
//!
//! It reads `/proc/stat` and `/proc/self/stat`, in the kernel's ticks. Kernel threads that work for this process count
//! as others. A value that cannot be read is unknown, not an error.

use std::fs;

/// Processor time since the start of the machine and of this process, in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticks {
    total: u64,
    busy: u64,
    own: u64,
}

impl Ticks {
    /// Reads the current values; `None` if they cannot be read.
    pub fn now() -> Option<Ticks> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        Ticks::parse(&stat, &fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(stat: &str, own: &str) -> Option<Ticks> {
        let all = stat.lines().next()?.strip_prefix("cpu ")?;
        // user nice system idle iowait irq softirq steal; guests are in user.
        let all: Vec<u64> = all.split_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
        let idle = all.get(3)? + all.get(4)?;
        let total = all.iter().sum::<u64>();
        // Fields 14 to 17, including those of child processes. The name before them may hold any character and ends
        // with the last parenthesis.
        let mut fields = own.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut field = || fields.next()?.parse::<u64>().ok();
        Some(Ticks { total, busy: total - idle, own: field()? + field()? + field()? + field()? })
    }

    /// Share of all processors that other processes used since `before`.
    pub fn others_since(&self, before: &Ticks) -> f64 {
        let total = self.total.saturating_sub(before.total).max(1);
        let own = self.own.saturating_sub(before.own);
        self.busy.saturating_sub(before.busy).saturating_sub(own) as f64 / total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_used_is_not_of_others() {
        let own = |user, system| format!("7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 {user} {system} 2 3 20 0");
        let before = Ticks::parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1", &own(20, 10)).unwrap();
        assert_eq!(before, Ticks { total: 1000, busy: 150, own: 35 });
        let after = Ticks::parse("cpu  160 0 70 900 70 0 0 0 0 0\n", &own(60, 20)).unwrap();
        assert!((after.others_since(&before) - 0.15).abs() < 1e-9);
        assert!(Ticks::now().is_some());
    }
}
