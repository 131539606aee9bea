//! Computes all batches from the seed.
//!
//! Batch number `k` of a thread in a life depends on the seed, on these three numbers, and on the state of
//! the thread's groups before it. So a verifier can derive every byte that must be there from the
//! acknowledgements alone.
//!
//! No payload occurs twice: each contains life, thread, batch and a counter.

use crate::reference::{Act, Groups, Rng, Sizes, act};
use seawall::Options;
use seawall_wal::{Backend, Strategy};

/// Settings from the command line.
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
    /// Most batches of one thread that are not known to be durable.
    pub window: u64,
    pub payload_max: u32,
    /// Whether to run the workload with snapshots.
    pub snapshots: bool,
}

/// One batch: operations on the groups of one thread.
pub struct Planned {
    pub acts: Vec<(u64, Act)>,
    /// Whether the batch is synced at once.
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
        // Live entries are copied out of old segments constantly, and most reads go to the disk.
        let mut options =
            Options::default().with_reemit_groups_max(4).with_slack_bytes(0).with_cache_bytes(16 << 10);
        options.log.strategy = self.strategy;
        options.log.segment_bytes = self.segment_bytes;
        options.log.backend = self.backend;
        // Write groups are so small that several are queued, which sends them through the ring.
        options.log.group_bytes = if self.backend == Backend::IoUring { 4 << 10 } else { 16 << 10 };
        options.log.writes_in_flight_max = 8;
        // With two of three seeds open leaves the rest of segments unread, and batches can be longer than
        // that limit.
        options.log.in_flight_bytes_max = [2 << 20, 16 << 10, 32 << 10][(self.seed % 3) as usize];
        options.log.idle_ms = 4;
        options
    }

    /// Random numbers for one purpose.
    pub fn rng(&self, life: u64, thread: u64, number: u64) -> Rng {
        let mut rng = Rng(self.seed);
        for part in [life, thread, number] {
            rng = Rng(rng.next() ^ part);
        }
        rng
    }

    /// Returns batch `number` of `thread` in `life`, and brings `groups` to the state after it.
    pub fn batch(&self, life: u64, thread: u64, number: u64, groups: &mut Groups) -> Planned {
        let mut rng = self.rng(life, thread, number);
        let sizes = Sizes { groups: self.groups, payload_max: self.payload_max, batch: 3 };
        // The low 16 bits of an id are the payload's length; above them: 8 bits to count, 20, 6 and 14.
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

    /// Returns the number of the nth group of a thread. The threads' groups alternate, so that batches of
    /// different threads concern neighbouring groups.
    pub fn group_id(&self, thread: u64, n: u64) -> u64 {
        1 + thread + n * self.threads
    }
}
