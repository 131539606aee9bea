//! Devices as arithmetic: when does a durable write that is started now end?

use std::fmt;

/// How the time of a durable write depends on the others that are under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// This many writes run at the same time; the others wait their turn.
    Queues(usize),
    /// One flush runs at a time, and serves all writes that were started before it began.
    SharedFlush,
    /// As 4 queues, but during every other second a write takes ten times as long.
    Bimodal,
}

/// A device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Device {
    /// Duration of a durable write that runs alone, in nanoseconds.
    pub(crate) flush_ns: u64,
    pub(crate) kind: Kind,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flush_ns / 1000 {
            us if us < 1000 => write!(f, "{us} us, ")?,
            us => write!(f, "{} ms, ", us / 1000)?,
        }
        match self.kind {
            Kind::Queues(1) => f.write_str("1 queue"),
            Kind::Queues(n) => write!(f, "{n} queues"),
            Kind::SharedFlush => f.write_str("shared flush"),
            Kind::Bimodal => f.write_str("bimodal"),
        }
    }
}

/// All devices of the grid.
pub(crate) fn devices() -> Vec<Device> {
    let kinds = [
        Kind::Queues(1),
        Kind::Queues(2),
        Kind::Queues(4),
        Kind::Queues(64),
        Kind::SharedFlush,
        Kind::Bimodal,
    ];
    let of = |flush_us: u64| kinds.map(|kind| Device { flush_ns: flush_us * 1000, kind });
    [20, 85, 1000, 10_000].into_iter().flat_map(of).collect()
}

/// The writes under way on a device.
#[derive(Clone, Debug)]
pub(crate) struct Busy {
    device: Device,
    /// When each queue is free, in nanoseconds.
    free_ns: Vec<u64>,
    /// Begin and end of the last flush that was asked for, in nanoseconds.
    flush_ns: (u64, u64),
}

impl Busy {
    /// An idle device.
    pub(crate) fn new(device: Device) -> Busy {
        let queues = match device.kind {
            Kind::Queues(n) => n,
            Kind::SharedFlush => 1,
            Kind::Bimodal => 4,
        };
        Busy { device, free_ns: vec![0; queues], flush_ns: (0, 0) }
    }

    /// Starts a write at `now_ns` and returns when it ends.
    pub(crate) fn start(&mut self, now_ns: u64) -> u64 {
        let takes_ns = self.device.flush_ns;
        if self.device.kind == Kind::SharedFlush {
            let (begin_ns, end_ns) = self.flush_ns;
            if now_ns >= end_ns {
                self.flush_ns = (now_ns, now_ns + takes_ns);
            } else if now_ns >= begin_ns {
                self.flush_ns = (end_ns, end_ns + takes_ns);
            }
            return self.flush_ns.1;
        }
        let queue = self.free_ns.iter_mut().min();
        let Some(free_ns) = queue else { return now_ns };
        let begin_ns = now_ns.max(*free_ns);
        let slow = self.device.kind == Kind::Bimodal && (begin_ns / 1_000_000_000) % 2 == 1;
        *free_ns = begin_ns + if slow { takes_ns * 10 } else { takes_ns };
        *free_ns
    }
}
