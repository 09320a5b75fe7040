//! How stable the offset is over different times: the overlapping Allan deviation.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a deviation is good to a few digits; offsets are taken relative to the first"
)]

use super::bound::Row;
use serde::{Deserialize, Serialize};
use wirelab::measure::nanos;

/// The deviation at one averaging time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deviation {
    /// The averaging time, nanoseconds.
    pub tau_ns: u64,
    /// The deviation of the frequency over it, parts per trillion.
    pub deviation_ppt: u64,
    /// Second differences that it rests on; they overlap.
    pub terms: u32,
}

/// Stability of the clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stability {
    /// Why there is no deviation.
    pub absent: Option<String>,
    /// By averaging time.
    pub deviations: Vec<Deviation>,
    /// The averaging time of least deviation: a longer window is no better.
    pub best_tau_ns: Option<u64>,
}

/// Shortest span of samples: below it the network alone is seen.
const SPAN_MIN_NS: u64 = 600_000_000_000;
/// Fewest samples: five octaves.
const SAMPLES_MIN: usize = 32;
/// Longest averaging time, as a part of the span: beyond it too few differences are left.
const SPAN_PART: usize = 5;
/// Part of the samples that may be missing before a grid of them would be invented.
const MISSING_PART: usize = 10;

impl Stability {
    /// The deviation of these samples, which come in the order of sending.
    #[must_use]
    pub fn of(rows: &[Row]) -> Self {
        match grid(rows) {
            Ok((tau_ns, offsets)) => deviations(tau_ns, &offsets),
            Err(why) => Self { absent: Some(why), ..Self::default() },
        }
    }
}

/// Offsets at equal distances, nanoseconds; lost ones are bridged.
fn grid(rows: &[Row]) -> Result<(u64, Vec<f64>), String> {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err("there are no samples".to_owned());
    };
    let span = nanos(last.sent.since(first.sent));
    if rows.len() < SAMPLES_MIN || span < SPAN_MIN_NS {
        return Err(format!(
            "it takes {SAMPLES_MIN} samples over 10 min, there are {} over {} s",
            rows.len(),
            span / 1_000_000_000
        ));
    }
    let at = |row: &Row| row.sent.since(first.sent).as_nanos() as f64;
    let mut gaps: Vec<f64> = rows.windows(2).map(|pair| at(&pair[1]) - at(&pair[0])).collect();
    gaps.sort_by(f64::total_cmp);
    let tau = gaps[gaps.len() / 2].max(1.0);
    let places = (span as f64 / tau).round() as usize + 1;
    if rows.len() + places / MISSING_PART < places {
        return Err(format!(
            "it takes samples at equal distances, {} of {places} are missing",
            places - rows.len()
        ));
    }
    let offset = |row: &Row| (i128::from(row.offset_ns) - i128::from(first.offset_ns)) as f64;
    let mut next = 1;
    let place = |index: usize| {
        let time = index as f64 * tau;
        while next + 1 < rows.len() && at(&rows[next]) < time {
            next += 1;
        }
        let (a, b) = (&rows[next - 1], &rows[next]);
        let part = (time - at(a)) / (at(b) - at(a)).max(1.0);
        offset(a) + part * (offset(b) - offset(a))
    };
    Ok((tau as u64, (0..places).map(place).collect()))
}

/// Riley, NIST SP 1065 §5.2.4: the mean square of x(i+2m) - 2 x(i+m) + x(i), over 2 tau^2.
fn deviations(tau_ns: u64, offsets: &[f64]) -> Stability {
    let mut found = Vec::new();
    let mut step = 1;
    while step * SPAN_PART <= offsets.len() {
        let terms = offsets.len() - 2 * step;
        let second = |i: usize| offsets[i + 2 * step] - 2.0 * offsets[i + step] + offsets[i];
        let mean = (0..terms).map(|i| second(i).powi(2)).sum::<f64>() / terms as f64;
        let tau = tau_ns as f64 * step as f64;
        let deviation_ppt = (mean / 2.0).sqrt() / tau * 1e12;
        found.push(Deviation {
            tau_ns: tau_ns.saturating_mul(step as u64),
            deviation_ppt: deviation_ppt.round() as u64,
            terms: super::sample::count(terms),
        });
        step *= 2;
    }
    let best = found.iter().min_by_key(|d| d.deviation_ppt).map(|d| d.tau_ns);
    Stability { absent: None, deviations: found, best_tau_ns: best }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wirelab::measure::Instant;
    use wirelab::measure::draw::keyed;

    fn rows(count: u64, keep: impl Fn(u64) -> bool, offset: impl Fn(u64) -> i64) -> Vec<Row> {
        let row = |index: u64| {
            let sent = Instant::from_nanos(index * 16_000_000_000);
            let offset_ns = offset(index);
            let request = u32::try_from(index + 1).unwrap();
            let (high_ns, low_ns) = (offset_ns + 5, offset_ns - 5);
            Row {
                request,
                sent,
                came: sent,
                high_ns,
                low_ns,
                offset_ns,
                delay_ns: 10,
                slack_ns: 0,
                interleaved: false,
            }
        };
        (0..count).filter(|index| keep(*index)).map(row).collect()
    }

    fn noise(index: u64) -> i64 {
        i64::try_from(keyed(5, index) % 2_000_001).unwrap() - 1_000_000
    }

    /// log2 of the ratio of the deviations from one octave to the next, mean over the first four.
    fn slope(stability: &Stability) -> f64 {
        let d = &stability.deviations;
        (d[3].deviation_ppt as f64 / d[0].deviation_ppt as f64).log2() / 3.0
    }

    #[test]
    fn noise_of_phase_falls_and_a_walk_of_frequency_rises() {
        let white = Stability::of(&rows(1_024, |_| true, noise));
        assert!((slope(&white) + 1.0).abs() < 0.1, "white phase noise: {}", slope(&white));
        assert_eq!(white.best_tau_ns, white.deviations.last().map(|d| d.tau_ns));
        // sigma_y of uniform noise of +-1 ms: sqrt(3) * 1 ms / sqrt(3) / tau.
        let expected = 1e6 / 16e9 * 1e12;
        let first = white.deviations[0].deviation_ppt as f64;
        assert!((first / expected - 1.0).abs() < 0.1, "{first} for {expected}");
        let (mut rate, mut phase, mut walk) = (0, 0, Vec::new());
        for index in 0..1_024 {
            rate += noise(index);
            phase += rate;
            walk.push(phase);
        }
        let walk = Stability::of(&rows(1_024, |_| true, |i| walk[usize::try_from(i).unwrap()]));
        assert!((slope(&walk) - 0.5).abs() < 0.25, "walk of frequency: {}", slope(&walk));
        assert_eq!(walk.best_tau_ns, Some(16_000_000_000));
        // A rate that is only wrong is not unstable.
        let steady = Stability::of(&rows(64, |_| true, |i| i64::try_from(i).unwrap() * 800_000));
        assert!(steady.deviations.iter().all(|d| d.deviation_ppt == 0), "{steady:?}");
    }

    #[test]
    fn too_little_says_why() {
        let absent = |rows: &[Row]| Stability::of(rows).absent.unwrap_or_default();
        assert_eq!(absent(&[]), "there are no samples");
        assert!(absent(&rows(20, |_| true, noise)).contains("there are 20 over 304 s"));
        assert!(absent(&rows(100, |i| i % 2 == 0 || i < 60, noise)).contains("missing"));
        assert_eq!(Stability::of(&rows(100, |i| i % 20 != 7, noise)).absent, None);
    }
}
