//! Chooses among several ways to write by trying them: a tournament that never ends.
//!
//! Plain numbers: no clock, no lock, no error. Each way is tried for a *window* of groups. A window yields two figures:
//! records per second, and how long a record waited until it was durable. The way with more records per second wins;
//! where the rates are equal within their noise, as they are under a load that does not depend on the log, the way with
//! the shorter wait does, and then the one with fewer records that wait for long. All ways are tried in a few rounds at
//! the start. Then the winner is used, and now and then one other way is tried again: often after a change, rarely while
//! nothing changes.

/// Smallest length of a window of the winner, and of a challenger, in nanoseconds; and in groups, and in the time that as
/// many groups take one after the other.
const WINDOW_NS_MIN: u64 = 8_000_000;
const CHALLENGE_NS_MIN: u64 = 4_000_000;
const WINDOW_GROUPS_MIN: u32 = 8;

/// Groups after which a window of a way that is not the winner may end early, because the way is much worse.
const HOPELESS_GROUPS_MIN: u32 = 4;

/// How often all ways are tried at the start, and after a change.
const ROUNDS: u32 = 3;
const ROUNDS_AFTER_CHANGE: u32 = 1;

/// Number of windows of the winner between two tries of other ways: at first, and at most.
const PAUSE_MIN: u32 = 8;
const PAUSE_MAX: u32 = 256;

/// A way that was much worse than the winner is tried in one of this many turns only.
const HOPELESS_TURNS: u32 = 8;

/// Number of windows in a row whose rate differs from what the winner had before, after which all is tried again; and
/// the least number of windows between two such rounds, since on a device that changes often they would never end.
const CHANGED_WINDOWS: u32 = 8;
const CALM_WINDOWS: u32 = 64;

/// The measurements of one way, over one or more windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Records per second.
    rate: u64,
    /// Mean time from the append of a record until it was durable, in nanoseconds.
    wait_ns: u64,
    /// Share of the records, of [`NOISE`], that waited for an eighth longer than a record of the winner does.
    late: u64,
    /// Records that were counted in the last window; the fewer, the noisier.
    records: u64,
}

impl Figures {
    /// Whether this is better than `other` by more than noise.
    fn beats(self, other: Figures) -> bool {
        let noise = noise(self.records.min(other.records));
        if more(self.rate, other.rate, noise) {
            return true;
        }
        if more(other.rate, self.rate, noise) {
            return false;
        }
        if self.late > other.late + MANY_LATE {
            return false;
        }
        more(other.wait_ns, self.wait_ns, NOISE / 16)
            || self.late + LATE < other.late && !more(self.wait_ns, other.wait_ns, NOISE / 32)
    }

    /// Whether this is so much worse than `other` that no noise explains it.
    fn is_hopeless_next_to(self, other: Figures) -> bool {
        self.rate < other.rate / 4 * 3 || self.wait_ns / 4 * 3 > other.wait_ns
    }

    /// Whether the rate is not the `other` one any more.
    fn differs(self, other: Figures) -> bool {
        let noise = NOISE / 4 + noise(self.records.min(other.records));
        more(self.rate, other.rate, noise) || more(other.rate, self.rate, noise)
    }

    /// Adds a later window. One that is worse counts less than one that is better: what disturbs a window, as other work
    /// of the machine does, makes it worse.
    fn add(&mut self, later: Figures) {
        let better = |known: u64, later: u64| u64::midpoint(known, later);
        let worse = |known: u64, later: u64| known - known / 4 + later / 4;
        let less =
            |known: u64, later: u64| if later < known { better(known, later) } else { worse(known, later) };
        *self = Figures {
            rate: if later.rate > self.rate {
                better(self.rate, later.rate)
            } else {
                worse(self.rate, later.rate)
            },
            wait_ns: less(self.wait_ns, later.wait_ns),
            late: less(self.late, later.late),
            records: later.records,
        };
    }
}

/// The unit of [`noise`]: 1.0.
const NOISE: u64 = 1 << 16;

/// Difference of two shares of late records that counts between equal waits, and one that outweighs a shorter wait.
const LATE: u64 = NOISE / 256;
const MANY_LATE: u64 = NOISE / 16;

/// How much two rates that were each measured over `records` records may differ although nothing is different, as a share
/// of [`NOISE`]: 1/32 and two standard deviations of the difference, if the records arrive at random.
fn noise(records: u64) -> u64 {
    NOISE / 32 + NOISE * 3 / records.isqrt().max(1)
}

/// Whether `a` is larger than `b` by more than the share `noise` of it.
fn more(a: u64, b: u64, noise: u64) -> bool {
    u128::from(a) * u128::from(NOISE) > u128::from(b) * u128::from(NOISE + noise)
}

/// The window that is being measured.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    groups: u32,
    records: u64,
    ns: u64,
    wait_ns: u64,
    late: u64,
    /// Sum of the times that the groups took.
    took_ns: u64,
}

impl Window {
    fn figures(&self) -> Figures {
        let rate = u128::from(self.records) * 1_000_000_000 / u128::from(self.ns.max(1));
        Figures {
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
            wait_ns: self.wait_ns / self.records.max(1),
            late: self.late.saturating_mul(NOISE) / self.records.max(1),
            records: self.records,
        }
    }

    /// Whether it has at least `least` groups, and lasted for `least_ns` and for as many writes one after the other.
    fn complete(&self, least_ns: u64, least: u32) -> bool {
        let write_ns = self.took_ns / u64::from(self.groups.max(1));
        self.groups >= least && self.ns >= least_ns.max(write_ns.saturating_mul(u64::from(least)))
    }
}

/// The purpose of the present window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The first way is used for a window that does not count: threads start, and the device is not known yet.
    Start,
    /// All ways are tried in turn, this many more times; then the best becomes the winner.
    Round(u32),
    /// The winner is used, for this many more windows.
    Winner(u32),
    /// Another way is tried. `beaten`: it was better than the winner in its last window.
    Challenge { beaten: bool },
}

/// The tournament over the ways `0..ways`.
#[derive(Clone, Debug)]
pub(super) struct Trials {
    /// The figures of each way; `None` if it has not been tried since the start or since the load changed.
    known: Vec<Option<Figures>>,
    /// For each way the one of which it is the next step, if it is one.
    steps: Vec<Option<usize>>,
    stage: Stage,
    winner: usize,
    current: usize,
    window: Window,
    /// The way that is tried next, after the pause, and how often all ways have had their turn.
    next: usize,
    turn: u32,
    /// Windows of the winner between two challenges.
    pause: u32,
    /// Windows of the winner in a row that differ from what it had before.
    changed: u32,
    /// Windows since the last round ended.
    calm: u32,
}

impl Trials {
    /// A tournament that starts with the first way. `steps` has an entry for each way: the way of which it is the next
    /// step, or `None`.
    pub(super) fn new(steps: Vec<Option<usize>>) -> Trials {
        Trials {
            known: vec![None; steps.len()],
            steps,
            stage: Stage::Start,
            winner: 0,
            current: 0,
            window: Window::default(),
            next: 0,
            turn: 0,
            pause: PAUSE_MIN,
            changed: 0,
            calm: 0,
        }
    }

    /// The way to write now.
    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// Counts a group of `records` that took `took_ns`. `ns` have passed since the group before it ended, and its
    /// records waited `wait_ns` together. Returns whether the window ended, so that the way may be another one now.
    pub(super) fn count(&mut self, records: u32, took_ns: u64, ns: u64, wait_ns: u64) -> bool {
        self.window.groups += 1;
        self.window.records += u64::from(records);
        self.window.ns = self.window.ns.saturating_add(ns);
        self.window.wait_ns = self.window.wait_ns.saturating_add(wait_ns);
        let usual_ns = self.known[self.winner].map_or(0, |winner| winner.wait_ns);
        if wait_ns / u64::from(records.max(1)) > usual_ns.saturating_add(usual_ns / 8) {
            self.window.late += u64::from(records);
        }
        self.window.took_ns = self.window.took_ns.saturating_add(took_ns);
        let least_ns = if self.current == self.winner { WINDOW_NS_MIN } else { CHALLENGE_NS_MIN };
        let ended = self.window.complete(least_ns, WINDOW_GROUPS_MIN) || self.may_end_early();
        if ended {
            let figures = std::mem::take(&mut self.window).figures();
            self.judge(figures);
        }
        ended
    }

    /// Whether the way that is being tried is so much worse than the winner that its window need not be completed.
    fn may_end_early(&self) -> bool {
        let enough = self.current != self.winner && self.window.complete(0, HOPELESS_GROUPS_MIN);
        let winner = self.known[self.winner].filter(|_| enough);
        let now = self.window.figures();
        winner.is_some_and(|winner| now.rate < winner.rate / 2 || now.wait_ns / 2 > winner.wait_ns)
    }

    /// Ends a window and chooses the way of the next one.
    fn judge(&mut self, figures: Figures) {
        if self.stage == Stage::Start {
            self.stage = Stage::Round(ROUNDS);
            return;
        }
        let used = matches!(self.stage, Stage::Winner(_));
        let differs = used && self.known[self.current].is_some_and(|known| figures.differs(known));
        match &mut self.known[self.current] {
            Some(known) if !differs => known.add(figures),
            // The winner's figures stay until it is clear that they have changed.
            Some(_) => {}
            none => *none = Some(figures),
        }
        match self.stage {
            Stage::Start => {}
            Stage::Round(left) => self.continue_round(left),
            Stage::Winner(left) => self.continue_with_winner(left, differs.then_some(figures)),
            Stage::Challenge { beaten } => self.judge_challenge(beaten),
        }
    }

    /// Tries the next way of a round; after the last one, the best one wins.
    fn continue_round(&mut self, left: u32) {
        if self.beats(self.current, self.winner) {
            self.winner = self.current;
        }
        let next = (self.current + 1..self.known.len()).find(|&way| self.worth_trying(way));
        if let Some(way) = next {
            self.current = way;
            return;
        }
        self.stage = Stage::Round(left - 1);
        self.current = 0;
        if left == 1 {
            self.winner =
                (0..self.known.len()).fold(0, |best, way| if self.beats(way, best) { way } else { best });
            (self.pause, self.changed, self.calm) = (PAUSE_MIN, 0, 0);
            self.use_winner(PAUSE_MIN);
        }
    }

    fn use_winner(&mut self, windows: u32) {
        self.stage = Stage::Winner(windows);
        self.current = self.winner;
    }

    /// Counts a window of the winner; `differs` has its figures if they are not what they were before.
    fn continue_with_winner(&mut self, left: u32, differs: Option<Figures>) {
        self.calm = self.calm.saturating_add(1);
        self.changed = if differs.is_some() { self.changed + 1 } else { 0 };
        if self.changed >= CHANGED_WINDOWS {
            self.known[self.winner] = differs;
            self.changed = 0;
            if self.calm >= CALM_WINDOWS {
                // The load or the device has changed, so older measurements no longer apply.
                let winner = self.known[self.winner];
                self.known.fill(None);
                self.known[self.winner] = winner;
                self.stage = Stage::Round(ROUNDS_AFTER_CHANGE);
                self.current = 0;
            }
        } else if left > 1 {
            self.stage = Stage::Winner(left - 1);
        } else {
            self.stage = Stage::Challenge { beaten: false };
            self.current = self.next_challenger();
            if self.current == self.winner {
                self.use_winner(self.pause);
            }
        }
    }

    fn judge_challenge(&mut self, beaten: bool) {
        // Of two ways that are equally good the earlier one is kept, which is the simpler one.
        let earlier = self.current < self.winner && !self.beats(self.winner, self.current);
        if !earlier && !self.beats(self.current, self.winner) {
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            self.use_winner(self.pause);
        } else if beaten {
            (self.winner, self.pause, self.changed) = (self.current, PAUSE_MIN, 0);
            self.use_winner(PAUSE_MIN);
        } else {
            self.stage = Stage::Challenge { beaten: true };
        }
    }

    fn beats(&self, way: usize, other: usize) -> bool {
        self.known[way].zip(self.known[other]).is_some_and(|(way, other)| way.beats(other))
    }

    /// The next way to try, in turn; the winner itself if there is none.
    fn next_challenger(&mut self) -> usize {
        for _ in 0..self.known.len() {
            let way = self.next;
            self.next = (self.next + 1) % self.known.len();
            self.turn = self.turn.wrapping_add(u32::from(self.next == 0));
            let skipped = self.is_hopeless(way) && !self.turn.is_multiple_of(HOPELESS_TURNS);
            if way != self.winner && !skipped && self.worth_trying(way) {
                return way;
            }
        }
        self.winner
    }

    /// Whether `way` may be better than what is known: the next step after a way is not tried if that one was much worse
    /// than the winner.
    fn worth_trying(&self, way: usize) -> bool {
        let Some(before) = self.steps[way] else { return true };
        self.steps[before].is_none() || self.known[before].is_some() && !self.is_hopeless(before)
    }

    /// Whether `way` was much worse than the winner when it was tried last.
    fn is_hopeless(&self, way: usize) -> bool {
        let known = self.known[way].zip(self.known[self.winner]);
        known.is_some_and(|(known, winner)| known.is_hopeless_next_to(winner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets `trials` count groups for `windows` windows; `way(n)` is the time that a group of 32 records takes with way
    /// `n`, and how long each record waits. Returns how many windows each way had.
    fn run(trials: &mut Trials, windows: u32, way: impl Fn(usize) -> (u64, u64)) -> Vec<u32> {
        let mut used = vec![0; trials.known.len()];
        for _ in 0..windows {
            let now = trials.current();
            used[now] += 1;
            let (took_ns, wait_ns) = way(now);
            while !trials.count(32, took_ns, took_ns, wait_ns * 32) {}
        }
        used
    }

    #[test]
    fn the_way_with_the_highest_rate_is_used_nearly_always() {
        let times = [100_000, 60_000, 140_000];
        let mut trials = Trials::new(vec![None; 3]);
        run(&mut trials, 500, |way| (times[way], times[way]));
        let used = run(&mut trials, 2000, |way| (times[way], times[way]));
        assert!(used[1] > 1980, "{used:?}");
    }

    #[test]
    fn of_equal_rates_the_shorter_wait_wins_and_of_equal_waits_the_simpler_way() {
        let mut trials = Trials::new(vec![None; 3]);
        run(&mut trials, 200, |way| (100_000, [150_000, 100_000, 99_000][way]));
        assert_eq!(trials.winner, 1);
    }

    #[test]
    fn another_way_wins_after_the_load_has_changed() {
        let mut trials = Trials::new(vec![None; 2]);
        run(&mut trials, 1000, |way| ([100_000, 200_000][way], 100_000));
        assert_eq!(trials.winner, 0);
        run(&mut trials, 40, |way| ([400_000, 200_000][way], 100_000));
        assert_eq!(trials.winner, 1, "within 40 windows");
    }

    #[test]
    fn a_much_worse_way_ends_early_and_its_next_step_is_not_tried() {
        let mut trials = Trials::new(vec![None, Some(0), Some(1)]);
        let used = run(&mut trials, 300, |way| ([100_000, 400_000, 100_000][way], 100_000));
        assert_eq!((used[2], trials.winner), (0, 0));
        while trials.current() != 1 {
            trials.count(32, 100_000, 100_000, 0);
        }
        let groups = (1..).take_while(|_| !trials.count(32, 400_000, 400_000, 0)).count();
        assert_eq!(groups + 1, HOPELESS_GROUPS_MIN as usize);
    }

    #[test]
    fn one_disturbed_window_changes_nothing() {
        let mut trials = Trials::new(vec![None; 2]);
        run(&mut trials, 100, |way| ([100_000, 130_000][way], 100_000));
        while trials.current() == 0 {
            trials.count(32, 100_000, 100_000, 0);
        }
        run(&mut trials, 1, |_| (50_000, 100_000));
        run(&mut trials, 1, |_| (130_000, 100_000));
        assert_eq!(trials.winner, 0);
    }
}
