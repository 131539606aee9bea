//! Computes how long the engine's background work pauses between two pieces, from the rate at which callers write.
//!
//! The work takes a share of what callers write. It is not throttled if nobody writes or if the log has reached its
//! limit. A pause is bounded, so the work always proceeds.

use std::time::{Duration, Instant};

/// Longest pause. With pieces of 256 KiB, the work proceeds at 12 MiB/s at least.
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Bytes that callers write for each byte of background work, as long as the log is short.
const SHARE: f64 = 2.0;

/// Weight of the newest observation in the moving average of the callers' rate.
const NEWEST: f64 = 0.3;

/// The observations that the pauses depend on.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Time of the last call, and the bytes of records that the log had taken then.
    last: Option<(Instant, u64)>,
    /// Bytes per second that callers write.
    rate: f64,
}

impl Throttle {
    pub(crate) const fn new() -> Throttle {
        Throttle { last: None, rate: 0.0 }
    }

    /// The pause after a piece of `piece` bytes, at `now`. `total` is the number of bytes of records that the log has
    /// taken, `excess` the bytes by which it exceeds the length at which the work starts, `slack` the excess from
    /// which on there is no pause.
    pub(crate) fn pause(
        &mut self,
        now: Instant,
        total: u64,
        piece: u64,
        excess: u64,
        slack: u64,
    ) -> Duration {
        if let Some((before, taken)) = self.last.replace((now, total)) {
            let seconds = now.saturating_duration_since(before).as_secs_f64().max(1e-6);
            let callers = total.saturating_sub(taken).saturating_sub(piece) as f64 / seconds;
            self.rate += NEWEST * (callers - self.rate);
        }
        pause(piece, self.rate, excess, slack)
    }
}

/// The time in which callers write their share; less, the nearer the log is to its limit.
fn pause(piece: u64, rate: f64, excess: u64, slack: u64) -> Duration {
    if rate < 1.0 || excess >= slack {
        return Duration::ZERO;
    }
    let calm = 1.0 - excess as f64 / slack as f64;
    let seconds = SHARE * piece as f64 / rate;
    PAUSE_MAX.mul_f64(calm * (seconds / PAUSE_MAX.as_secs_f64()).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECE: u64 = 256 << 10;
    const SLACK: u64 = 256 << 20;

    #[test]
    fn nobody_writes_or_no_room_is_left_and_there_is_no_pause() {
        assert_eq!(pause(PIECE, 0.0, 0, SLACK), Duration::ZERO);
        for excess in [SLACK, SLACK + 1, u64::MAX] {
            assert_eq!(pause(PIECE, 1e9, excess, SLACK), Duration::ZERO);
        }
        assert_eq!(pause(PIECE, 1e9, 0, 0), Duration::ZERO);
    }

    #[test]
    fn callers_have_their_share_and_the_work_goes_on() {
        // Callers that write 100 MiB/s leave 50 MiB/s.
        let rate = f64::from(100 << 20);
        assert_eq!(pause(PIECE, rate, 0, SLACK), Duration::from_millis(5));
        assert_eq!(pause(PIECE, rate, SLACK / 2, SLACK), Duration::from_micros(2500));
        assert_eq!(pause(PIECE, 1000.0, 0, SLACK), PAUSE_MAX);
        let mut before = PAUSE_MAX;
        for step in 0..=100 {
            let now = pause(PIECE, 1e7, SLACK / 100 * step, SLACK);
            assert!(now <= before, "longer at {step} %");
            before = now;
        }
    }

    #[test]
    fn the_rate_is_that_of_callers_alone() {
        let (mut throttle, mut now, mut total) = (Throttle::new(), Instant::now(), 0);
        let mut last = Duration::ZERO;
        let mut go = |callers: u64, times: u32| {
            for _ in 0..times {
                now += Duration::from_millis(10);
                total += callers + PIECE;
                last = throttle.pause(now, total, PIECE, 0, SLACK);
            }
            last
        };
        assert_eq!(go(0, 20), Duration::ZERO, "its own copies are no reason to wait");
        // 100 MiB/s.
        let busy = go(1 << 20, 50);
        assert!((Duration::from_micros(4900)..Duration::from_micros(5100)).contains(&busy), "{busy:?}");
        assert_eq!(go(0, 200), Duration::ZERO);
    }
}
