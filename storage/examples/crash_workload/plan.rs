//! What is written, as a function of the seed: batch number `k` of a thread in a life is drawn from these
//! three numbers and from what the thread's groups are before it. So a verifier needs the acknowledgements
//! and nothing else to know every byte that must be there.
//!
//! No payload occurs twice: each has life, thread, batch and a count in it.

use crate::reference::{Act, Groups, Rng, Sizes, act};
use seawall::Options;
use seawall_wal::{Backend, Strategy};

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub threads: u64,
    /// Groups of each thread.
    pub groups: u64,
    pub strategy: Strategy,
    pub backend: Backend,
    pub segment_bytes: u32,
    /// Batches of each thread, over all lives of `run`.
    pub ops: u64,
    /// Times that `run` opens the engine again.
    pub reopens: u64,
    /// Batches of one thread that are not known to be durable, at most.
    pub window: u64,
    pub payload_max: u32,
    /// Whether it is the workload with snapshots.
    pub snapshots: bool,
}

/// One batch: operations on the groups of one thread.
pub struct Planned {
    pub acts: Vec<(u64, Act)>,
    /// Whether it is to be durable as soon as possible.
    pub urgent: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            seed: 1,
            threads: 4,
            groups: 3,
            strategy: Strategy::Auto,
            backend: Backend::Auto,
            segment_bytes: 128 << 10,
            ops: 60,
            reopens: 3,
            window: 4,
            payload_max: 4000,
            snapshots: false,
        }
    }
}

impl Plan {
    pub fn options(&self) -> Options {
        // Live entries are copied out of old segments all the time, and most reads go to the disk.
        let mut options =
            Options { reemit_groups_max: 4, slack_bytes: 0, cache_bytes: 16 << 10, ..Options::default() };
        options.log.strategy = self.strategy;
        options.log.segment_bytes = self.segment_bytes;
        options.log.backend = self.backend;
        // Groups so small that several wait for the disk: those go through the ring.
        options.log.group_bytes = if self.backend == Backend::IoUring { 4 << 10 } else { 16 << 10 };
        options.log.writes_in_flight_max = 8;
        // So that open leaves the rest of segments unread, and batches are longer than that, in two of three runs.
        options.log.in_flight_bytes_max = [2 << 20, 16 << 10, 32 << 10][(self.seed % 3) as usize];
        options.log.idle_ms = 4;
        options
    }

    /// Numbers for one purpose.
    pub fn rng(&self, life: u64, thread: u64, number: u64) -> Rng {
        let mut rng = Rng(self.seed);
        for part in [life, thread, number] {
            rng = Rng(rng.next() ^ part);
        }
        rng
    }

    /// Batch `number` of `thread` in `life`; afterwards `groups` are as they are behind it.
    pub fn batch(&self, life: u64, thread: u64, number: u64, groups: &mut Groups) -> Planned {
        let mut rng = self.rng(life, thread, number);
        let sizes = Sizes { groups: self.groups, payload_max: self.payload_max, batch: 3 };
        // An id's low 16 bits are the payload's length; above them: 8 bits to count, 20, 6 and 14.
        let mut next_id = (((life & 0x3fff) << 6 | (thread & 0x3f)) << 20 | (number & 0xf_ffff)) << 8;
        let mut acts = Vec::new();
        for _ in 0..1 + rng.below(sizes.batch) {
            let id = self.group_id(thread, rng.below(sizes.groups));
            let act = act(&mut rng, groups.group(id), &sizes, &mut next_id);
            groups.apply(id, &act);
            acts.push((id, act));
        }
        Planned { acts, urgent: rng.chance(70) }
    }

    /// Number of a thread's nth group: threads take turns, so that batches of different threads are about
    /// neighbours.
    pub fn group_id(&self, thread: u64, n: u64) -> u64 {
        1 + thread + n * self.threads
    }
}
