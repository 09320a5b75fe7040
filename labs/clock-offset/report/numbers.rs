//! Offsets, bounds and rates as text, rounded so that an interval never becomes narrower.

use crate::bound::Interval;
use crate::drift::DriftLimit;
use wirelab::measure::human;

/// An estimate and the interval beside it.
pub(super) fn between(offset_ns: i64, interval: Interval) -> String {
    let places = digits(interval.width_ns());
    format!(
        "{} s, in [{}, {}] s",
        seconds(offset_ns, 9.min(places + 1), Round::Nearest),
        seconds(interval.low_ns, places, Round::Down),
        seconds(interval.high_ns, places, Round::Up),
    )
}

/// Decimals of a second that are worth showing beside an interval of this width.
pub(super) const fn digits(width_ns: i64) -> usize {
    match width_ns {
        ..1_000_000 => 9,
        1_000_000..100_000_000 => 6,
        _ => 4,
    }
}

#[derive(Clone, Copy)]
pub(super) enum Round {
    Down,
    Nearest,
    Up,
}

/// Seconds with a sign and this many decimals, with the given rounding.
pub(super) fn seconds(ns: i64, decimals: usize, round: Round) -> String {
    let unit = (decimals..9).fold(1_i128, |unit, _| unit * 10);
    let value = i128::from(ns);
    let units = match round {
        Round::Down => value.div_euclid(unit),
        Round::Up => -(-value).div_euclid(unit),
        Round::Nearest => (value + unit / 2).div_euclid(unit),
    };
    let sign = if units < 0 { '-' } else { '+' };
    let (size, one) = (units.abs(), 1_000_000_000 / unit);
    format!("{sign}{}.{:0decimals$}", size / one, size % one)
}

pub(super) fn nanos(ns: i64) -> String {
    human::latency(ns.unsigned_abs())
}

pub(super) fn signed(ns: i64) -> String {
    format!("{}{}", if ns < 0 { '-' } else { '+' }, nanos(ns))
}

/// How fast two clocks may drift apart: a size, without a sign.
pub(super) fn limit(limit: DriftLimit) -> String {
    let text = seconds(i64::from(limit.ppb()) * 1_000_000, 3, Round::Up);
    format!("{} ppm", text.trim_start_matches('+').trim_end_matches('0').trim_end_matches('.'))
}

/// Parts per trillion as ppm with a sign, with the given rounding.
pub(super) fn ppm(ppt: i64, round: Round) -> String {
    // As many parts per trillion are in a ppm as microseconds are in a second.
    let nanos = ppt.saturating_mul(1000);
    seconds(nanos, 3, round) + " ppm"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_rounded_outwards() {
        assert_eq!(seconds(1_234_567_891, 6, Round::Down), "+1.234567");
        assert_eq!(seconds(1_234_567_891, 6, Round::Up), "+1.234568");
        assert_eq!(seconds(-1_234_567_891, 6, Round::Down), "-1.234568");
        assert_eq!(seconds(-1_234_567_891, 6, Round::Up), "-1.234567");
        assert_eq!(seconds(-400, 9, Round::Nearest), "-0.000000400");
        assert_eq!(seconds(i64::MIN, 9, Round::Down), "-9223372036.854775808");
        assert_eq!(ppm(-50_100_499, Round::Up), "-50.100 ppm");
    }
}
