//! Measures the device and the load, and decides from that when a group is written and how many are written at the
//! same time.
//!
//! Plain numbers: it has no clock of its own, takes no lock and cannot fail. There are a few ways to write
//! ([`WritePlan`]). Which one is best depends on the device, on how soon the users of the log append again, and on the
//! processors, so the log tries all of them and keeps the best ([`Trials`]). The *crowd* is the number of records that
//! are appended and not durable. The results for each size of the crowd are kept apart, and used again when the
//! crowd has this size again. With a crowd of one nothing is tried: each record is written at once.

use crate::commit::state::trials::Trials;

/// The largest number of records that are not durable is remembered over the last `RECENT` to 2 * `RECENT` groups.
const RECENT: u32 = 32;

/// The sizes of a load: crowds from these numbers of records up.
const SIZES: [u32; 7] = [2, 6, 12, 24, 48, 96, 192];

/// Smaller one of the two numbers of records up to which a group is gathered. Waiting for more may take as long as
/// writing them.
const GATHERED_SOME: u32 = 32;

/// The longest time, in nanoseconds, for which a group waits for more records, however slow the device is.
pub(in crate::commit) const GATHER_NS_MAX: u64 = 10_000_000;

/// When a group is written while its records arrive, and next to how many others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WritePlan {
    /// One group at a time, at once.
    OneByOne,
    /// One group at a time. A group waits until as many records have arrived as the previous one made durable, or until
    /// it holds this many; but not for longer than such records usually take to arrive.
    Gathered(u32),
    /// Two groups at a time, each with nearly half of the records in flight: while one half is written, the users of the
    /// other half append again.
    Halves,
    /// Up to this many groups at a time, each at once.
    Concurrent(u32),
}

/// The ways to write that a log tries if it may have `in_flight` writes in flight.
pub(crate) fn plans(in_flight: usize) -> Vec<WritePlan> {
    let most = u32::try_from(in_flight).unwrap_or(u32::MAX);
    let mut plans =
        vec![WritePlan::OneByOne, WritePlan::Gathered(u32::MAX), WritePlan::Gathered(GATHERED_SOME)];
    if most > 1 {
        plans.push(WritePlan::Halves);
    }
    let doubled = std::iter::successors(Some(2_u32), |n| n.checked_mul(2)).take_while(|&n| n < most);
    plans.extend(doubled.map(WritePlan::Concurrent));
    if most > 1 {
        plans.push(WritePlan::Concurrent(most));
    }
    plans
}

/// For each plan the one of which it is the next step: more concurrent groups are tried only if fewer were not worse.
fn steps(plans: &[WritePlan]) -> Vec<Option<usize>> {
    let concurrent = |plan: &WritePlan| matches!(plan, WritePlan::Concurrent(_) | WritePlan::OneByOne);
    let before = |at: usize| plans[..at].iter().rposition(concurrent);
    let step = |(at, plan): (usize, &WritePlan)| matches!(plan, WritePlan::Concurrent(_)).then(|| before(at));
    plans.iter().enumerate().map(step).map(Option::flatten).collect()
}

/// A group that has become durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) records: u32,
    /// When it was issued, in nanoseconds.
    pub(super) issued_ns: u64,
    /// How long its records waited until now, all together, in nanoseconds.
    pub(super) waited_ns: u64,
    /// Whether it was small and written alone, so that it measures the latency of the device.
    pub(super) latency_sample: bool,
    /// Records that were appended and not durable before this group was, its own included.
    pub(super) pending: u32,
}

/// What the next group waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gather {
    /// Number of records that the group is to hold.
    pub(super) target: u32,
    /// Since when it waits, and until when at most, in nanoseconds.
    pub(super) begin_ns: u64,
    pub(super) until_ns: u64,
}

/// What was learned under loads of one size.
#[derive(Clone, Debug)]
struct Learned {
    trials: Trials,
    /// How long it usually takes until as many records have arrived as a group made durable. `u64::MAX` while unknown.
    return_ns: u64,
}

/// The measurements of one log, and the decisions that follow from them.
#[derive(Debug)]
pub(super) struct WritePolicy {
    plans: Vec<WritePlan>,
    /// Latency of the device for a small group that is written alone: the lowest observed. It is aged slowly, so
    /// that a busy machine is not taken for a slow device. `u64::MAX` while nothing is known.
    fastest_ns: u64,
    /// Most records that were not durable at once: in the current period of [`RECENT`] groups, and in the one before.
    crowd: [u32; 2],
    groups: u32,
    last_end_ns: u64,
    /// By the size of the load, from the smallest up.
    learned: Vec<Learned>,
    /// Number of the present size; 0 for a lone writer.
    size: usize,
    /// Since when the present plan is used, in nanoseconds, and whether no group that was issued since then is durable.
    since_ns: u64,
    starting: bool,
}

impl WritePolicy {
    /// The policy of a log that may use `plans`. A lone writer always uses the first one.
    pub(super) fn new(plans: Vec<WritePlan>) -> WritePolicy {
        let learned = Learned { trials: Trials::new(steps(&plans)), return_ns: u64::MAX };
        WritePolicy {
            plans,
            fastest_ns: u64::MAX,
            crowd: [0; 2],
            groups: 0,
            last_end_ns: 0,
            learned: vec![learned; SIZES.len()],
            size: 0,
            since_ns: 0,
            starting: true,
        }
    }

    /// The present way to write.
    pub(super) fn plan(&self) -> WritePlan {
        let way = self.size.checked_sub(1).map_or(0, |size| self.learned[size].trials.current());
        self.plans[way]
    }

    /// Counts a group that is durable at `now_ns`.
    pub(super) fn observe(&mut self, group: Written, now_ns: u64) {
        let took_ns = now_ns.saturating_sub(group.issued_ns);
        // If the clock did not move, nothing was measured.
        if group.latency_sample && took_ns > 0 {
            let slower = took_ns.saturating_sub(self.fastest_ns);
            self.fastest_ns = took_ns.min(self.fastest_ns) + slower / 512;
        }
        // The time since the previous completion counts, since that is what concurrent writes save. A pause without
        // writes does not.
        let since_ns = now_ns.saturating_sub(self.last_end_ns).min(took_ns.saturating_mul(2));
        self.last_end_ns = now_ns;
        self.note_crowd(group.pending, now_ns);
        // A group that was issued under another plan says nothing about this one; nor does a group without records.
        if group.records == 0 || group.issued_ns < self.since_ns {
            return;
        }
        // Nor do the groups with which concurrent writes begin: until the first of them is durable, none completes.
        if self.starting {
            (self.starting, self.since_ns) = (false, now_ns);
            return;
        }
        if let Some(learned) = self.size.checked_sub(1).map(|size| &mut self.learned[size])
            && learned.trials.count(group.records, took_ns, since_ns, group.waited_ns)
        {
            (self.starting, self.since_ns) = (true, now_ns);
        }
    }

    /// Counts the records that are not durable, and changes the size of the load if that is another one now.
    fn note_crowd(&mut self, pending: u32, now_ns: u64) {
        self.crowd[0] = self.crowd[0].max(pending);
        self.groups += 1;
        if self.groups == RECENT {
            self.crowd = [pending, self.crowd[0]];
            self.groups = 0;
        }
        let crowd = self.crowd();
        // A crowd that varies around a boundary stays on one side of it.
        let least = self.size.checked_sub(1).map_or(0, |size| SIZES[size] - SIZES[size] / 4);
        let most = SIZES.get(self.size).map_or(u32::MAX, |next| next + next / 4);
        let size = SIZES.iter().take_while(|&&least| crowd >= least).count();
        if size != self.size && (crowd < least || crowd > most || self.size == 0 || crowd <= 1) {
            (self.size, self.since_ns, self.starting) = (size, now_ns, true);
        }
    }

    fn crowd(&self) -> u32 {
        self.crowd[0].max(self.crowd[1])
    }

    /// How long a waiting thread yields before it sleeps: three times the latency of the device. 0 if that exceeds
    /// `most_ns` or is not known.
    pub(super) fn yield_max_ns(&self, most_ns: u64) -> u64 {
        let writes_ns = self.fastest_ns.saturating_mul(3);
        if writes_ns > most_ns { 0 } else { writes_ns }
    }

    /// What the next group waits for, if writes have made `answered` records durable at `now_ns`, nothing is in flight,
    /// and `filled` records wait. `None` if it waits for nothing.
    pub(super) fn gather(&self, filled: u32, answered: u32, now_ns: u64) -> Option<Gather> {
        let target = match self.plan() {
            WritePlan::Gathered(most) => filled.saturating_add(answered).min(most),
            WritePlan::Halves => self.half(),
            WritePlan::OneByOne | WritePlan::Concurrent(_) => 0,
        };
        let return_ns = self.size.checked_sub(1).map_or(u64::MAX, |size| self.learned[size].return_ns);
        let most_ns = return_ns.saturating_add(return_ns / 2).min(self.fastest_ns);
        if most_ns == u64::MAX {
            return None;
        }
        let until_ns = now_ns.saturating_add(most_ns.min(GATHER_NS_MAX));
        (target > filled).then_some(Gather { target, begin_ns: now_ns, until_ns })
    }

    /// Counts a group that was gathered for `ns`; `reached`: until it held all records that were waited for.
    pub(super) fn gathered(&mut self, ns: u64, reached: bool) {
        let took_ns = if reached { ns } else { ns.saturating_mul(2) }.min(self.fastest_ns);
        if let Some(learned) = self.size.checked_sub(1).map(|size| &mut self.learned[size]) {
            let known_ns = learned.return_ns;
            learned.return_ns = if known_ns == u64::MAX { took_ns } else { (known_ns * 7 + took_ns) / 8 };
        }
    }

    /// Whether groups wait for records while nothing is in flight.
    pub(super) fn gathers(&self) -> bool {
        matches!(self.plan(), WritePlan::Gathered(_))
    }

    /// Number of groups that may be written at the same time at once, whatever they hold.
    pub(super) fn concurrent(&self) -> usize {
        match self.plan() {
            WritePlan::Concurrent(most) => most as usize,
            _ => 1,
        }
    }

    /// Whether a group of `records` is written concurrently with the one in flight: it must hold nearly half of the
    /// recent number of records in flight, so that the first threads to wake up do not write a small group of their
    /// own.
    pub(super) fn split(&self, records: u32) -> bool {
        self.plan() == WritePlan::Halves && self.half() > 0 && records >= self.half()
    }

    /// Nearly half of the crowd; 0 if there is none.
    fn half(&self) -> u32 {
        let crowd = u64::from(self.crowd());
        u32::try_from((crowd * 7).div_ceil(16)).unwrap_or(u32::MAX) * u32::from(crowd > 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A policy that knows one plan only, a crowd of `crowd` and a device that takes 100 us.
    fn policy(plan: WritePlan, crowd: u32) -> WritePolicy {
        let mut policy = WritePolicy::new(vec![plan]);
        policy.observe(written(crowd, 0), 100_000);
        policy
    }

    fn written(pending: u32, issued_ns: u64) -> Written {
        Written { records: 1, issued_ns, waited_ns: 0, latency_sample: true, pending }
    }

    #[test]
    fn nearly_half_of_the_crowd_goes_with_a_second_write() {
        let mut policy = policy(WritePlan::Halves, 16);
        assert!(policy.split(7) && !policy.split(6));
        for at in 1..=2 * u64::from(RECENT) {
            policy.observe(written(4, at * 100_000), (at + 1) * 100_000);
        }
        assert!(policy.split(2) && !policy.split(1), "a crowd that left is forgotten");
        assert!(!WritePolicy::new(vec![WritePlan::Halves]).split(1));
    }

    #[test]
    fn a_group_waits_for_those_that_were_answered_and_a_lone_one_for_nobody() {
        let policy = policy(WritePlan::Gathered(32), 16);
        let gather = policy.gather(4, 12, 1000).unwrap();
        assert_eq!((gather.target, gather.begin_ns, gather.until_ns), (16, 1000, 101_000));
        assert_eq!(policy.gather(20, 100, 0).unwrap().target, 32, "no more than the plan says");
        assert_eq!(policy.gather(32, 1, 0), None);
        assert_eq!(WritePolicy::new(vec![WritePlan::Gathered(32)]).gather(1, 1, 0), None, "nothing is known");
        for plan in [WritePlan::OneByOne, WritePlan::Concurrent(4)] {
            assert_eq!(super::tests::policy(plan, 16).gather(0, 16, 0), None);
        }
    }

    #[test]
    fn it_waits_for_half_as_long_again_as_records_take_to_arrive() {
        let mut policy = policy(WritePlan::Gathered(32), 16);
        (0..64).for_each(|_| policy.gathered(20_000, true));
        assert_eq!(policy.gather(0, 16, 0).unwrap().until_ns, 30_000);
        (0..64).for_each(|_| policy.gathered(90_000, false));
        assert_eq!(policy.gather(0, 16, 0).unwrap().until_ns, 100_000, "at most as long as a write takes");
    }

    #[test]
    fn the_longest_yield_is_as_long_as_a_few_writes() {
        assert_eq!(WritePolicy::new(plans(1)).yield_max_ns(1_000_000), 0, "nothing is known");
        let policy = policy(WritePlan::OneByOne, 1);
        assert_eq!((policy.yield_max_ns(1_000_000), policy.yield_max_ns(200_000)), (300_000, 0));
    }

    #[test]
    fn a_log_with_one_write_in_flight_tries_no_concurrent_writes() {
        assert!(plans(1).iter().all(|plan| matches!(plan, WritePlan::OneByOne | WritePlan::Gathered(_))));
        let all = plans(6);
        assert_eq!(all[4..], [WritePlan::Concurrent(2), WritePlan::Concurrent(4), WritePlan::Concurrent(6)]);
        assert_eq!(steps(&all), [None, None, None, None, Some(0), Some(4), Some(5)]);
    }

    #[test]
    fn a_lone_writer_is_written_at_once_whatever_a_crowd_needs() {
        let mut policy = WritePolicy::new(plans(32));
        for at in 0..10_000 {
            policy.observe(written(1, at * 100_000), (at + 1) * 100_000);
            assert_eq!(policy.plan(), WritePlan::OneByOne);
        }
    }
}
