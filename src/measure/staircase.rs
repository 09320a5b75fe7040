//! The retry staircase: latency distribution of a request/reply exchange under packet loss.
//!
//! An attempt fails if the request or the reply is lost, so with loss p each way
//! q = 1 - (1 - p)^2; after k failures the reply comes at RTT + the first k timers. The latency is
//! therefore a staircase: step k has probability q^k (1 - q).

use super::Ppm;
use super::time::nanos;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One step: requests that waited for `failures` timers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stair {
    /// Failed attempts before the answered one.
    pub failures: u32,
    /// Latency of the step, nanoseconds.
    pub at_ns: u64,
    /// Probability of a latency of at most `at_ns`.
    pub share: f64,
}

/// Probability that an attempt fails: the request or the reply is lost.
pub fn attempt_fails(loss: Ppm) -> f64 {
    1.0 - (1.0 - loss.fraction()).powi(2)
}

/// Maximum steps of a staircase: 2^-64 is below any share a run can show.
pub const STEPS_MAX: u32 = 64;

/// The staircase of round-trip time `rtt`, first timer `rto` doubling each time, up to `deadline`.
pub fn staircase(rtt: Duration, rto: Duration, loss: Ppm, deadline: Duration) -> Vec<Stair> {
    let q = attempt_fails(loss);
    let mut stairs = Vec::new();
    let (mut at, mut timer, mut all_failed) = (rtt, rto, 1.0);
    for failures in 0..STEPS_MAX {
        if at > deadline || (failures > 0 && q == 0.0) {
            break;
        }
        all_failed *= q;
        stairs.push(Stair { failures, at_ns: nanos(at), share: 1.0 - all_failed });
        at += timer;
        timer *= 2;
    }
    stairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_the_worked_example() {
        // RTT 20 ms, first timer 220 ms doubling, 2 % each way.
        let stairs = staircase(
            Duration::from_millis(20),
            Duration::from_millis(220),
            Ppm::new(20_000).unwrap(),
            Duration::from_secs(4),
        );
        let at: Vec<u64> = stairs.iter().map(|s| s.at_ns / 1_000_000).collect();
        assert_eq!(at, [20, 240, 680, 1_560, 3_320]);
        assert!((stairs[0].share - 0.9604).abs() < 1e-9);
        assert!((stairs[1].share - (1.0 - 0.0396_f64.powi(2))).abs() < 1e-9);
    }

    #[test]
    fn without_loss_there_is_one_step() {
        let stairs = staircase(
            Duration::from_millis(20),
            Duration::from_millis(220),
            Ppm::ZERO,
            Duration::MAX,
        );
        assert_eq!(stairs.len(), 1);
        assert!((stairs[0].share - 1.0).abs() < f64::EPSILON);
    }
}
