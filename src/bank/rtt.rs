//! Round-trip estimate and retransmission timer (RFC 6298), integers only.
//! Replies echo the attempt, so no sample is ambiguous (Karn).

use crate::measure::{Ppm, nanos};
use serde::Serialize;
use std::time::Duration;

/// Retransmission timer settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RtoConfig {
    /// The timer before the first sample.
    //= RFC 8085 §3.1.1: "initial RTO of 1 second"
    pub initial: Duration,
    /// RTO = SRTT + max(`min_margin`, 4 * RTTVAR): the clock granularity G of RFC 6298 §2.2.
    ///
    /// It replaces the one-second minimum of §2.4, which allows for delayed acknowledgements; this
    /// protocol has none.
    pub min_margin: Duration,
    /// Upper limit of the timer (RFC 6298 §2.5 allows 60 s or more).
    pub max: Duration,
    /// A timer is multiplied by a draw from 1 ..= 1 + `jitter_ppm` / 10^6, to desynchronise clients
    /// that lost packets together.
    pub jitter_ppm: Ppm,
    /// A timer that neither follows the round trip nor doubles, instead of RFC 6298's.
    pub fixed: Option<Duration>,
}

impl Default for RtoConfig {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            min_margin: Duration::from_millis(10),
            max: Duration::from_secs(60),
            jitter_ppm: Ppm::new(50_000).expect("invariant: 5 % is a probability"),
            fixed: None,
        }
    }
}

/// Maximum doublings of the timer: 1 ms doubled 16 times is above the 60 s of RFC 6298.
pub const BACKOFF_MAX: u16 = 16;

/// The current estimate.
#[derive(Clone, Debug)]
pub struct RttEstimator {
    config: RtoConfig,
    smoothed: Option<(u64, u64)>,
}

impl RttEstimator {
    /// No samples yet.
    pub const fn new(config: RtoConfig) -> Self {
        Self { config, smoothed: None }
    }

    /// Adds a round-trip sample.
    pub fn sample(&mut self, rtt: Duration) {
        let rtt = nanos(rtt);
        self.smoothed = Some(match self.smoothed {
            //= RFC 6298 §2.2: SRTT <- R, RTTVAR <- R/2
            None => (rtt, rtt / 2),
            //= RFC 6298 §2.3: RTTVAR <- 3/4 RTTVAR + 1/4 |SRTT - R'|, SRTT <- 7/8 SRTT + 1/8 R'
            Some((srtt, rttvar)) => {
                (srtt - srtt / 8 + rtt / 8, rttvar - rttvar / 4 + srtt.abs_diff(rtt) / 4)
            }
        });
    }

    /// Smoothed round trip.
    pub fn srtt(&self) -> Option<Duration> {
        self.smoothed.map(|(srtt, _)| Duration::from_nanos(srtt))
    }

    /// Smoothed mean deviation.
    pub fn rttvar(&self) -> Option<Duration> {
        self.smoothed.map(|(_, rttvar)| Duration::from_nanos(rttvar))
    }

    /// The timer of a first attempt, without jitter.
    pub fn rto(&self) -> Duration {
        if let Some(fixed) = self.config.fixed {
            return fixed;
        }
        let rto = match self.smoothed {
            None => self.config.initial,
            //= RFC 6298 §2.3: RTO <- SRTT + max(G, K*RTTVAR), K = 4
            Some((srtt, rttvar)) => {
                let margin = Duration::from_nanos(rttvar.saturating_mul(4));
                Duration::from_nanos(srtt) + margin.max(self.config.min_margin)
            }
        };
        rto.min(self.config.max)
    }

    /// The timer after `failures` unanswered attempts, with the jitter of a uniform `draw`.
    pub fn timer(&self, failures: u16, draw: u64) -> Duration {
        //= RFC 6298 §5.5: "The host MUST set RTO <- RTO * 2"
        let doublings = if self.config.fixed.is_some() { 0 } else { failures.min(BACKOFF_MAX) };
        let doubled = self.rto().saturating_mul(1 << doublings);
        let base = nanos(doubled.min(self.config.max));
        let part = u128::from(base) * u128::from(self.config.jitter_ppm.get()) / 1_000_000;
        let jitter = u64::try_from((part * u128::from(draw)) >> 64)
            .expect("invariant: the upper half of a product of two u64");
        Duration::from_nanos(base.saturating_add(jitter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn follows_the_worked_example_of_rfc_6298() {
        let mut rtt = RttEstimator::new(RtoConfig { min_margin: MS, ..RtoConfig::default() });
        assert_eq!(rtt.rto(), Duration::from_secs(1));
        rtt.sample(100 * MS);
        assert_eq!((rtt.srtt(), rtt.rttvar()), (Some(100 * MS), Some(50 * MS)));
        assert_eq!(rtt.rto(), 300 * MS);
        rtt.sample(180 * MS);
        assert_eq!((rtt.srtt(), rtt.rttvar()), (Some(110 * MS), Some(57_500 * MS / 1_000)));
        assert_eq!(rtt.rto(), 340 * MS);
    }

    #[test]
    fn a_fixed_timer_neither_follows_nor_doubles() {
        let config = RtoConfig { fixed: Some(30 * MS), ..RtoConfig::default() };
        let mut rtt = RttEstimator::new(config);
        rtt.sample(100 * MS);
        assert_eq!((rtt.timer(0, 0), rtt.timer(5, 0)), (30 * MS, 30 * MS));
    }

    #[test]
    fn a_steady_path_keeps_the_margin() {
        let mut rtt = RttEstimator::new(RtoConfig::default());
        for _ in 0..200 {
            rtt.sample(20 * MS);
        }
        let rto = rtt.rto();
        assert!(rto >= 29 * MS && rto <= 31 * MS, "{rto:?}");
    }

    #[test]
    fn the_timer_doubles_jitters_and_is_capped() {
        let rtt = RttEstimator::new(RtoConfig::default());
        assert_eq!(rtt.timer(0, 0), Duration::from_secs(1));
        assert_eq!(rtt.timer(3, 0), Duration::from_secs(8));
        let most = rtt.timer(0, u64::MAX);
        assert!(most > 1_049 * MS && most < 1_050 * MS, "{most:?}");
        assert!(rtt.timer(u16::MAX, u64::MAX) <= 63_000 * MS);
    }
}
