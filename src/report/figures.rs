//! Figures as readers see them: milliseconds, shares, intervals, counts.
//!
//! It exists so that text and HTML write the same figure the same way.
//! It must never add, divide or otherwise make a figure of its own.

use crate::measure::interval::Share;
use crate::measure::quantile::Quantile;

/// What stands where there is no figure.
pub const NONE: &str = "–";

/// Nanoseconds as milliseconds, three digits, no unit: `20.3`, `243`, `1560`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
#[must_use]
pub fn ms(nanos: u64) -> String {
    let value = nanos as f64 / 1e6;
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$}")
}

/// The same, or a dash.
#[must_use]
pub fn ms_or_none(nanos: Option<u64>) -> String {
    nanos.map_or_else(|| NONE.to_owned(), ms)
}

/// The interval of a quantile: `241..265`, an open end as a dash, empty where there is no value.
#[must_use]
pub fn interval(quantile: &Quantile) -> String {
    match (quantile.value_ns, quantile.low_ns, quantile.high_ns) {
        (None, ..) => String::new(),
        (_, None, None) => NONE.to_owned(),
        (_, low, high) => format!("{}..{}", ms_or_none(low), ms_or_none(high)),
    }
}

/// A share of one in percent, three digits at most: `3.96 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{} %", percent_number(share))
}

/// The same without the sign.
#[must_use]
pub fn percent_number(share: f64) -> String {
    let value = share * 100.0;
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let decimals = if value == 0.0 || value >= 99.95 { 0 } else { 1 + usize::from(value < 9.995) };
    format!("{value:.decimals$}")
}

/// An observed share with its interval: `4.1 % (3.3..5.0)`.
#[must_use]
pub fn share(share: &Share) -> String {
    if share.trials == 0 {
        return NONE.to_owned();
    }
    let (low, high) = (percent_number(share.low), percent_number(share.high));
    format!("{} ({low}..{high})", percent(share.share))
}

/// A number with this many decimals, or a dash where it is none.
#[must_use]
pub fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { NONE.to_owned() }
}

/// A count with thousands apart: `38,212`.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits() {
        for (nanos, text) in [(20_300_000, "20.3"), (243_100_000, "243"), (1_560_000_000, "1560")] {
            assert_eq!(ms(nanos), text);
        }
        for (value, text) in [(0.0396, "3.96 %"), (0.0, "0 %"), (1.0, "100 %"), (0.416, "41.6 %")] {
            assert_eq!(percent(value), text);
        }
        assert_eq!(percent(f64::NAN), "– %");
        assert_eq!(count(1_234_567), "1,234,567");
    }

    #[test]
    fn open_intervals_show_a_dash() {
        let quantile = Quantile { value_ns: Some(5), low_ns: Some(2_000_000), high_ns: None };
        assert_eq!(interval(&quantile), "2.00..–");
        assert_eq!(interval(&Quantile::default()), "");
    }
}
