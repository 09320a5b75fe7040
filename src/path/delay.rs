//! Delays drawn by inverting their distribution, in whole nanoseconds.
//!
//! A seed gives the same delays on every machine: the tables are built with additions,
//! multiplications and divisions of IEEE 754 doubles alone, which every platform rounds alike, and
//! read with integers. No function of the C library is used: its last digit differs between
//! machines.

use super::effect::{Effect, Word};
use super::files::{FromFile, delays, round_trips};
use super::plan_error::{PlanError, ReadFile, duration, refuse, wrong};
use crate::measure::{human, nanos, saturated};
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

/// Longer delays are unit mistakes: light needs 9 minutes from the sun.
const DELAY_MAX: Duration = Duration::from_secs(3600);
/// Octaves of the tail in a table: a share of 2^-40 is one frame in 10^12, which no run reaches.
/// Rarer draws get the last value.
const OCTAVES: usize = 40;
/// Cells of an octave. Between cells the value is interpolated; the error stays below 2 * 10^-5
/// standard deviations.
const CELLS: usize = 64;
/// log2 of [`CELLS`].
const CELL_BITS: u32 = 6;
/// Values are whole multiples of 2^-32 standard deviations.
const UNIT: f64 = 4_294_967_296.0;
/// log2 of [`UNIT`].
const UNIT_BITS: u32 = 32;

/// Propagation delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delay {
    /// Constant.
    Constant(Duration),
    /// Uniform between `mean - half_width` and `mean + half_width`.
    Uniform {
        /// The middle.
        mean: Duration,
        /// At most the mean.
        half_width: Duration,
    },
    /// Normal, cut at zero.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation, at most the mean.
        deviation: Duration,
    },
    /// Pareto with shape 3, shifted: never below `mean - deviation / sqrt(3)`.
    Pareto {
        /// The mean.
        mean: Duration,
        /// The standard deviation, at most sqrt(3) times the mean.
        deviation: Duration,
    },
    /// Measured one-way delays, ascending, drawn by inverting their distribution with linear
    /// interpolation between neighbours; not empty.
    Table(FromFile<Duration>),
    /// The same from a file of round trips; the values here are already halved.
    RttTable(FromFile<Duration>),
}

impl Default for Delay {
    fn default() -> Self {
        Self::Constant(Duration::ZERO)
    }
}

/// Two durations separated by a comma.
fn pair(expected: &'static str, text: &str) -> Result<(Duration, Duration), PlanError> {
    let (mean, width) = text.split_once(',').ok_or_else(|| wrong("delay", expected, text))?;
    Ok((duration("delay", mean)?, duration("delay", width)?))
}

impl Delay {
    /// Reads `40ms`, `uniform:40ms,5ms`, `normal:40ms,5ms`, `pareto:40ms,5ms`, `table:FILE` (one
    /// delay a line) or `rtt-table:FILE` (round trips, or the output of `ping`); `read` gives the
    /// file.
    ///
    /// # Errors
    /// The expected form and the text found.
    pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Self, PlanError> {
        const EXPECTED: &str = "a duration such as 40ms, uniform:40ms,5ms, normal:40ms,5ms, \
                                pareto:40ms,5ms, table:FILE or rtt-table:FILE";
        let text = text.trim();
        let Some((kind, rest)) = text.split_once(':') else {
            let constant = human::parse_duration(text).map(Self::Constant);
            let constant = constant.map_err(|_| wrong("delay", EXPECTED, text))?;
            constant.check()?;
            return Ok(constant);
        };
        let delay = match kind {
            "uniform" => {
                let (mean, half_width) = pair(EXPECTED, rest)?;
                Self::Uniform { mean, half_width }
            }
            "normal" => {
                let (mean, deviation) = pair(EXPECTED, rest)?;
                Self::Normal { mean, deviation }
            }
            "pareto" => {
                let (mean, deviation) = pair(EXPECTED, rest)?;
                Self::Pareto { mean, deviation }
            }
            "table" => Self::Table(delays(rest, read)?),
            "rtt-table" => Self::RttTable(round_trips(rest, read)?),
            _ => return Err(wrong("delay", EXPECTED, text)),
        };
        delay.check()?;
        Ok(delay)
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = human::duration;
        match self {
            Self::Constant(delay) => f.write_str(&text(*delay)),
            Self::Uniform { mean, half_width } => {
                write!(f, "uniform:{},{}", text(*mean), text(*half_width))
            }
            Self::Normal { mean, deviation } => {
                write!(f, "normal:{},{}", text(*mean), text(*deviation))
            }
            Self::Pareto { mean, deviation } => {
                write!(f, "pareto:{},{}", text(*mean), text(*deviation))
            }
            Self::Table(file) => write!(f, "table:{}", file.name),
            Self::RttTable(file) => write!(f, "rtt-table:{}", file.name),
        }
    }
}

impl Delay {
    /// The delay that `per_mille`/1000 of the frames do not exceed.
    #[must_use]
    pub fn per_mille(&self, per_mille: u16) -> Duration {
        let part = |per_mille: u16| u64::MAX / 1000 * u64::from(per_mille.min(1000));
        let draw = match self {
            // The top bit says on which side of the mean, the others how much lies beyond.
            Self::Normal { .. } if per_mille >= 500 => 1 << 63 | part(1000 - per_mille.min(1000)),
            _ => part(per_mille),
        };
        sample(self, draw)
    }

    pub(super) fn check(&self) -> Result<(), PlanError> {
        let text = human::duration;
        let wider = |mean: &Duration, width: &Duration, what: &str| {
            refuse(format!(
                "delay: {what} must not be above the mean, got {} at a mean of {}",
                text(*width),
                text(*mean)
            ))
        };
        let longest = match self {
            Self::Constant(delay) => *delay,
            Self::Uniform { mean, half_width } if half_width > mean => {
                return wider(mean, half_width, "half the width");
            }
            Self::Normal { mean, deviation } if deviation > mean => {
                return wider(mean, deviation, "the deviation");
            }
            Self::Pareto { mean, deviation } if square(*deviation) > 3 * square(*mean) => {
                return wider(mean, deviation, "the deviation divided by the root of 3");
            }
            Self::Uniform { mean, .. } | Self::Normal { mean, .. } | Self::Pareto { mean, .. } => {
                *mean
            }
            Self::Table(table) | Self::RttTable(table) => {
                if !table.values.is_sorted() {
                    return refuse(format!("delay: the values of {} must ascend", table.name));
                }
                match table.values.last() {
                    Some(longest) => *longest,
                    None => return refuse(format!("delay: {} is empty", table.name)),
                }
            }
        };
        if longest > DELAY_MAX {
            return refuse(format!("delay: expected at most an hour, got {}", text(longest)));
        }
        Ok(())
    }

    pub(super) fn is_constant(&self) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::Uniform { half_width: width, .. }
            | Self::Normal { deviation: width, .. }
            | Self::Pareto { deviation: width, .. } => width.is_zero(),
            Self::Table(table) | Self::RttTable(table) => {
                table.values.first() == table.values.last()
            }
        }
    }
}

/// At most an hour's nanoseconds squared, 2^84; larger values are rejected before.
fn square(duration: Duration) -> u128 {
    u128::from(nanos(duration) >> 1).pow(2)
}

/// The time from the bottleneck to departure; [`sample`] gives it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Propagation;

impl Effect for Propagation {
    type Setting = Delay;
    const WORDS: &'static [Word] = &[Word {
        name: "delay",
        value: "TIME",
        help: "One-way delay: 40ms, normal:40ms,5ms, uniform:…, pareto:…, table:FILE, \
               rtt-table:FILE",
    }];

    fn parse(text: &str, read: ReadFile<'_>) -> Result<Delay, PlanError> {
        Delay::parse(text, read)
    }

    fn text(setting: &Delay) -> String {
        setting.to_string()
    }

    fn check(setting: &Delay) -> Result<(), PlanError> {
        setting.check()
    }
}

/// The inverse of a distribution's upper tail, finer towards its end.
struct Tail(Vec<[i64; CELLS + 1]>);

impl Tail {
    /// Builds the table from a function of a tail share and the previous value; shares come in
    /// falling order, from `largest` down.
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^47: 12,000 deviations")]
    fn new(largest: f64, first: f64, next: impl Fn(f64, f64) -> f64) -> Self {
        let mut value = first;
        let mut octaves = Vec::with_capacity(OCTAVES);
        let mut top = largest;
        for _ in 0..OCTAVES {
            let mut cells = [0; CELLS + 1];
            let mut share = 1.0;
            for cell in cells.iter_mut().rev() {
                value = next(top * share, value);
                *cell = (value * UNIT) as i64;
                share -= 0.5 / 64.0;
            }
            octaves.push(cells);
            top /= 2.0;
        }
        Self(octaves)
    }

    /// The value at the share `draw / 2^64` of the largest.
    fn at(&self, draw: u64) -> i64 {
        let octave = draw.leading_zeros() as usize;
        let Some(cells) = self.0.get(octave) else {
            return self.0.last().map_or(0, |cells| cells[0]);
        };
        // The leading one is implied; the next bits are the position in the octave.
        let place = (draw << octave) << 1;
        let cell = (place >> (64 - CELL_BITS)) as usize;
        let between = i128::from((place << CELL_BITS) >> UNIT_BITS);
        let (low, high) = (i128::from(cells[cell]), i128::from(cells[cell + 1]));
        let value = low + (((high - low) * between) >> UNIT_BITS);
        i64::try_from(value).expect("between two 64-bit values")
    }
}

/// Normal: mean 0, deviation 1.
static NORMAL: LazyLock<Tail> = LazyLock::new(|| {
    // Newton's method; the previous value is so near that four steps reach the last digits.
    let next = |share: f64, before: f64| {
        (0..4).fold(before, |z, _| z + (normal_tail(z) - share) / normal_density(z))
    };
    Tail::new(0.5, 0.0, next)
});

/// Pareto with shape 3, shifted and scaled to mean 0 and deviation 1.
static PARETO: LazyLock<Tail> = LazyLock::new(|| {
    /// Of the plain distribution from 1 on: 3 / 2, and the root of 3 / 4.
    const MEAN: f64 = 1.5;
    const DEVIATION: f64 = 0.866_025_403_784_438_6;
    let next = |share: f64, before: f64| {
        let root = before * DEVIATION + MEAN;
        // share^(-1/3), by Newton's method from the previous one.
        let root = (0..4).fold(root, |y: f64, _| y - (y - 1.0 / (share * y * y)) / 3.0);
        (root - MEAN) / DEVIATION
    };
    Tail::new(1.0, (1.0 - MEAN) / DEVIATION, next)
});

/// exp(-x) for 0 <= x < 100.
fn exp_minus(x: f64) -> f64 {
    /// exp(-1).
    const E_MINUS_1: f64 = 0.367_879_441_171_442_33;
    let (mut whole, mut rest) = (1.0, x);
    while rest >= 1.0 {
        whole *= E_MINUS_1;
        rest -= 1.0;
    }
    let series = (1..24_u32).rev().fold(1.0, |sum, n| 1.0 - rest / f64::from(n) * sum);
    whole * series
}

fn normal_density(z: f64) -> f64 {
    /// 1 / sqrt(2 pi).
    const SCALE: f64 = 0.398_942_280_401_432_7;
    SCALE * exp_minus(z * z / 2.0)
}

/// P(Z > z) for z >= 0: Abramowitz and Stegun 26.2.11 near the middle, 26.2.14 in the tail.
fn normal_tail(z: f64) -> f64 {
    if z < 3.0 {
        let (mut term, mut sum) = (z, z);
        for n in 1..60_u32 {
            term *= z * z / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 - normal_density(z) * sum
    } else {
        let fraction = (1..80_u32).rev().fold(z, |below, n| z + f64::from(n) / below);
        normal_density(z) / fraction
    }
}

/// The delay of a uniform draw: the larger the draw, the longer the delay, except that a normal one
/// takes its side from the draw's top bit.
pub(super) fn sample(delay: &Delay, draw: u64) -> Duration {
    match delay {
        Delay::Constant(delay) => *delay,
        Delay::Uniform { mean, half_width } => {
            let (mean, half) = (nanos(*mean), nanos(*half_width));
            let width = u128::from(half) * 2 + 1;
            let within = saturated((width * u128::from(draw)) >> 64);
            Duration::from_nanos(mean.saturating_sub(half).saturating_add(within))
        }
        Delay::Normal { mean, deviation } => {
            let off = NORMAL.at(draw << 1);
            scaled(*mean, *deviation, if draw >> 63 == 1 { off } else { -off })
        }
        Delay::Pareto { mean, deviation } => scaled(*mean, *deviation, PARETO.at(!draw)),
        Delay::Table(table) | Delay::RttTable(table) => interpolated(&table.values, draw),
    }
}

/// Builds a delay's tables in advance, so that no frame waits for them: a few milliseconds.
pub(super) fn prepare(delay: &Delay) {
    match delay {
        Delay::Normal { .. } => drop(LazyLock::force(&NORMAL)),
        Delay::Pareto { .. } => drop(LazyLock::force(&PARETO)),
        _ => {}
    }
}

/// `mean + deviation * value`, not below zero.
fn scaled(mean: Duration, deviation: Duration, value: i64) -> Duration {
    let off = (i128::from(nanos(deviation)) * i128::from(value)) >> UNIT_BITS;
    let sum = i128::from(nanos(mean)) + off;
    Duration::from_nanos(saturated(sum.max(0).unsigned_abs()))
}

fn interpolated(table: &[Duration], draw: u64) -> Duration {
    let steps = table.len().saturating_sub(1) as u128;
    let place = u128::from(draw) * steps;
    let index = usize::try_from(place >> 64).expect("below the table's length");
    let at = |i: usize| table.get(i).or_else(|| table.last()).copied().map_or(0, nanos);
    let (low, high) = (at(index), at(index + 1));
    let between = (place & u128::from(u64::MAX)) * u128::from(high.saturating_sub(low));
    let between = u64::try_from(between >> 64).expect("below a 64-bit difference");
    Duration::from_nanos(low + between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::draw::keyed;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "compared to six digits")]
    fn quantiles_agree_with_published_tables() {
        // Abramowitz and Stegun, table 26.5 and 26.6: z for an upper tail.
        for (tail, z) in [
            (0.5_f64, 0.0_f64),
            (0.25, 0.674_490),
            (0.1, 1.281_552),
            (0.01, 2.326_348),
            (0.001, 3.090_232),
            (1e-6, 4.753_424),
            (1e-9, 5.997_807),
        ] {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 1")]
            let draw = ((tail * 2.0 * 18_446_744_073_709_551_616.0) as u64).max(1);
            let got = NORMAL.at(draw) as f64 / UNIT;
            assert!((got - z).abs() < 3e-5, "tail {tail}: {got} instead of {z}");
        }
        let lowest = PARETO.at(u64::MAX) as f64 / UNIT;
        assert!((lowest + 1.0 / 3.0_f64.sqrt()).abs() < 1e-5, "{lowest}");
        // (8 - 1.5) / sqrt(3/4) at a tail of 1/512.
        let far = PARETO.at(1 << 55) as f64 / UNIT;
        assert!((far - 7.505_553).abs() < 1e-5, "{far}");
    }

    #[test]
    fn quantiles_are_those_of_the_draws() {
        let (mean, five) = (Duration::from_millis(40), Duration::from_millis(5));
        for delay in [
            Delay::Constant(mean),
            Delay::Uniform { mean, half_width: five },
            Delay::Normal { mean, deviation: five },
            Delay::Pareto { mean, deviation: five },
        ] {
            let draws = (0..10_000).map(|n| sample(&delay, keyed(5, n)));
            let mut drawn: Vec<Duration> = draws.collect();
            drawn.sort_unstable();
            for per_mille in [100, 500, 900] {
                let seen = drawn[usize::from(per_mille) * 10];
                let off = seen.abs_diff(delay.per_mille(per_mille));
                assert!(off < Duration::from_micros(300), "{delay:?} {per_mille}: {off:?}");
            }
        }
    }

    #[test]
    fn extreme_draws_stay_in_range() {
        let mean = Duration::from_millis(40);
        let five = Duration::from_millis(5);
        let uniform = Delay::Uniform { mean, half_width: five };
        assert_eq!(sample(&uniform, 0), mean - five);
        assert_eq!(sample(&uniform, u64::MAX), mean + five);
        let normal = Delay::Normal { mean: five, deviation: five };
        assert_eq!(sample(&normal, 1), Duration::ZERO);
        assert!(sample(&normal, u64::MAX) < five * 9);
        for delay in [normal, uniform, Delay::Pareto { mean, deviation: five }] {
            for draw in [0, 1, 1 << 62, 1 << 63, (1 << 63) - 1, u64::MAX - 1, u64::MAX] {
                assert!(sample(&delay, draw) < Duration::from_secs(100), "{delay:?} {draw}");
            }
        }
    }
}
