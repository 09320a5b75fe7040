//! Parses and formats durations, probabilities, rates, sizes and counts.
//!
//! A number without a unit is an error, except 0; the error suggests a unit and never assumes one.

use super::Ppm;
use super::interval::Share;
use super::quantile::Quantile;
use super::time::nanos;
use std::fmt;
use std::time::Duration;

/// Why a text is not a valid quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HumanError {
    expected: &'static str,
    got: String,
    /// The suggested correction.
    meant: Option<String>,
}

impl HumanError {
    fn new(expected: &'static str, got: &str, meant: Option<String>) -> Self {
        Self { expected, got: got.to_owned(), meant }
    }

    /// Advice after the error sentence, if any.
    fn advice(&self) -> String {
        let negative = self.got.trim().starts_with('-');
        let negative = if negative { "; it cannot be negative" } else { "" };
        let meant = self.meant.as_ref();
        negative.to_owned() + &meant.map_or(String::new(), |m| format!("; did you mean {m}?"))
    }

    /// The same, but suggests this unit if only the unit is missing.
    pub fn in_unit(self, unit: &str) -> Self {
        let meant = bare(&self.got).map(|number| format!("{number}{unit}"));
        Self { meant: meant.or(self.meant), ..self }
    }
}

impl fmt::Display for HumanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, got {:?}{}", self.expected, self.got, self.advice())
    }
}

impl std::error::Error for HumanError {}

/// `; did you mean 2%?` if `expected` names a quantity and `got` is nearly one, otherwise empty.
pub fn suggestion(expected: &str, got: &str) -> String {
    let error = match expected {
        text if text.contains("share such") => parse_share(got).err(),
        text if text.contains("duration such") => parse_duration(got).err(),
        text if text.contains("rate such") => parse_rate(got).err(),
        text if text.contains("size such") => parse_size(got).err(),
        _ => None,
    };
    error.map_or(String::new(), |error| error.advice())
}

/// The text, if it is a bare number.
fn bare(text: &str) -> Option<&str> {
    let text = text.trim();
    decimal(text, 1_000_000_000).is_some().then_some(text)
}

/// The text with another program's unit name replaced by ours.
fn translated(text: &str, words: &[(&str, &str)]) -> Option<String> {
    let text = text.trim();
    let (number, word) = text.split_at(text.find(|c: char| c.is_alphabetic())?);
    let word = word.strip_suffix("/s").unwrap_or(word);
    let (_, unit) = words.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
    bare(number).map(|number| format!("{number}{unit}"))
}

/// Unit names of rates in tc(8), iperf3 and others; case-insensitive.
const RATE_WORDS: &[(&str, &str)] = &[
    ("bps", "bit"),
    ("bits", "bit"),
    ("k", "kbit"),
    ("kb", "kbit"),
    ("kbps", "kbit"),
    ("kbit", "kbit"),
    ("m", "Mbit"),
    ("mb", "Mbit"),
    ("mbps", "Mbit"),
    ("mbit", "Mbit"),
    ("mbits", "Mbit"),
    ("g", "Gbit"),
    ("gbps", "Gbit"),
    ("gbit", "Gbit"),
];
const SIZE_WORDS: &[(&str, &str)] = &[
    ("b", "B"),
    ("bytes", "B"),
    ("k", "kB"),
    ("kb", "kB"),
    ("m", "MB"),
    ("mb", "MB"),
    ("g", "GB"),
    ("gb", "GB"),
];
const TIME_WORDS: &[(&str, &str)] = &[
    ("sec", "s"),
    ("secs", "s"),
    ("seconds", "s"),
    ("msec", "ms"),
    ("msecs", "ms"),
    ("usec", "us"),
    ("m", "min"),
    ("mins", "min"),
    ("minutes", "min"),
    ("hours", "h"),
];

const DURATION: &str = "a duration such as 20ms, 1.5s or 250us";
const PERCENT: &str = "a share such as 2%, 0.5% or 500ppm, at most 100%";

const RATE: &str = "a rate such as 20Mbit, 512kbit/s or 1.5Gbit, above 0";
const SIZE: &str = "a size such as 64kB, 1MB or 1500B";

/// Ascending: the last unit that divides a value gives its shortest text.
const RATES: [(&str, u64); 4] =
    [("bit", 1), ("kbit", 1_000), ("Mbit", 1_000_000), ("Gbit", 1_000_000_000)];
const SIZES: [(&str, u64); 6] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
];

const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// `20ms`, `1.5s`, `250us`, `0`.
/// Fails if the text is not a number and a unit, or is longer than 584 years.
pub fn parse_duration(text: &str) -> Result<Duration, HumanError> {
    let error = || HumanError::new(DURATION, text, translated(text, TIME_WORDS)).in_unit("ms");
    let trimmed = text.trim();
    if trimmed == "0" {
        return Ok(Duration::ZERO);
    }
    scaled(trimmed, &UNITS).map(Duration::from_nanos).ok_or_else(error)
}

/// `2%`, `2 %`, `0.05%`, `500ppm`.
/// Fails if the text is not a number and `%` or `ppm`, has more than four decimals of a percent, or
/// exceeds 100 %.
pub fn parse_share(text: &str) -> Result<Ppm, HumanError> {
    let error = || HumanError::new(PERCENT, text, meant_share(text));
    let trimmed = text.trim();
    if trimmed == "0" {
        return Ok(Ppm::ZERO);
    }
    let parts = if let Some(number) = trimmed.strip_suffix('%') {
        decimal(number.trim(), 10_000)
    } else if let Some(number) = trimmed.strip_suffix("ppm") {
        decimal(number.trim(), 1)
    } else {
        None
    };
    parts.and_then(|p| u32::try_from(p).ok()).and_then(Ppm::new).ok_or_else(error)
}

/// `20Mbit`, `512 kbit/s`, `1.5Gbit`, in bits per second; 0 is invalid.
/// Fails if the text is not a number and a unit, is not a whole number of bits, or is 0.
pub fn parse_rate(text: &str) -> Result<u64, HumanError> {
    let trimmed = text.trim();
    let unit = trimmed.strip_suffix("/s").unwrap_or(trimmed);
    scaled(unit, &RATES)
        .filter(|bits| *bits > 0)
        .ok_or_else(|| HumanError::new(RATE, text, translated(text, RATE_WORDS)).in_unit("Mbit"))
}

/// `64kB`, `1MB`, `64KiB`, `1500B`, in bytes.
/// Fails if the text is not a number and a unit, or is not a whole number of bytes.
pub fn parse_size(text: &str) -> Result<u64, HumanError> {
    scaled(text.trim(), &SIZES)
        .ok_or_else(|| HumanError::new(SIZE, text, translated(text, SIZE_WORDS)).in_unit("kB"))
}

/// The share a bare number may mean: below 1 it may be a fraction.
fn meant_share(text: &str) -> Option<String> {
    let number = bare(text)?;
    let fraction =
        decimal(number, 1_000_000).and_then(|p| u32::try_from(p).ok()).and_then(Ppm::new);
    match fraction {
        Some(fraction) if number.contains('.') => Some(format!("{} or {number}%", share(fraction))),
        _ => Some(format!("{number}%")),
    }
}

/// A number and one of these units.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic())?);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    decimal(number.trim(), *scale)
}

/// A decimal number times `scale`, exact; `None` if the product is not whole or overflows.
fn decimal(text: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let mut value = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction.bytes() {
        if !unit.is_multiple_of(10) {
            if digit == b'0' {
                continue;
            }
            return None;
        }
        unit /= 10;
        value = value.checked_add(u64::from(digit - b'0') * unit)?;
    }
    Some(value)
}

/// The shortest exact text that [`parse_duration`] accepts: `200ms`, `250us`.
pub fn duration(value: Duration) -> String {
    shortest_time(value, &[("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)])
}

/// The shortest exact text that [`parse_share`] accepts: `2%`.
pub fn share(value: Ppm) -> String {
    let text = format!("{}.{:04}", value.get() / 10_000, value.get() % 10_000);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The shortest exact text that [`parse_rate`] accepts.
pub fn rate(bits_per_second: u64) -> String {
    shortest(bits_per_second, &RATES)
}

/// The shortest exact text that [`parse_size`] accepts.
pub fn size(bytes: u64) -> String {
    shortest(bytes, &SIZES[..4])
}

fn shortest_time(value: Duration, units: &[(&str, u64)]) -> String {
    if value.is_zero() { "0".to_owned() } else { shortest(nanos(value), units) }
}

fn shortest(value: u64, units: &[(&str, u64)]) -> String {
    let divides = units.iter().rev().find(|(_, scale)| value.is_multiple_of(*scale) && value > 0);
    let (unit, scale) = divides.unwrap_or(&units[0]);
    format!("{}{unit}", value / scale)
}

/// Nanoseconds with a unit, three digits: `20.3 ms`, `1.56 s`, `850 µs`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn latency(nanos: u64) -> String {
    let (unit, scale) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..999_500 => ("µs", 1e3),
        999_500..999_500_000 => ("ms", 1e6),
        _ => ("s", 1e9),
    };
    format!("{} {unit}", three_digits(nanos as f64 / scale))
}

/// Bytes with a unit, three digits: `532 B`, `20.3 kB`, `60.1 MB`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn bytes(bytes: u64) -> String {
    let (unit, scale) = match bytes {
        0..1_000 => return format!("{bytes} B"),
        1_000..999_500 => ("kB", 1e3),
        999_500..999_500_000 => ("MB", 1e6),
        _ => ("GB", 1e9),
    };
    format!("{} {unit}", three_digits(bytes as f64 / scale))
}

/// An exact duration with a unit: `200 ms`, `250 µs`, `90 s`.
pub fn span(value: Duration) -> String {
    shortest_time(value, &[(" ns", 1), (" µs", 1_000), (" ms", 1_000_000), (" s", 1_000_000_000)])
}

/// Placeholder for a missing figure.
pub const NONE: &str = "–";

/// Nanoseconds as milliseconds, three digits, no unit: `20.3`, `243`, `1560`.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn ms(nanos: u64) -> String {
    three_digits(nanos as f64 / 1e6)
}

fn three_digits(value: f64) -> String {
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$}")
}

/// As above; a dash if there is none.
pub fn ms_or_none(nanos: Option<u64>) -> String {
    nanos.map_or_else(|| NONE.to_owned(), ms)
}

/// The interval of a quantile in milliseconds: `241–265`; `≥ 241` without an upper bound; empty
/// without a value.
pub fn interval(quantile: &Quantile) -> String {
    match (quantile.value_ns, quantile.low_ns, quantile.high_ns) {
        (None, ..) => String::new(),
        (_, None, None) => NONE.to_owned(),
        (_, Some(low), Some(high)) => range(&ms(low), &ms(high)),
        (_, Some(low), None) => format!("≥ {}", ms(low)),
        (_, None, Some(high)) => format!("≤ {}", ms(high)),
    }
}

/// A range: `241–265`.
pub fn range(low: &str, high: &str) -> String {
    format!("{low}–{high}")
}

/// A fraction of one in percent, at most three digits: `3.96 %`.
pub fn percent(share: f64) -> String {
    format!("{} %", percent_number(share))
}

/// As above, without the percent sign.
pub fn percent_number(share: f64) -> String {
    let value = share * 100.0;
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let decimals = if value == 0.0 || value >= 99.95 { 0 } else { 1 + usize::from(value < 9.995) };
    format!("{value:.decimals$}")
}

/// An observed share with its interval: `4.1 % (3.3–5.0)`.
pub fn observed(share: &Share) -> String {
    if share.trials == 0 {
        return NONE.to_owned();
    }
    let (low, high) = (percent_number(share.low), percent_number(share.high));
    format!("{} ({})", percent(share.share), range(&low, &high))
}

/// A number with this many decimals; a dash if it is not finite.
pub fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { NONE.to_owned() }
}

/// A count with thousands separators: `38,212`.
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

/// A count with its noun: `1 lane`, `2,524 lanes`.
pub fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// A number of times: `once`, `3 times`.
pub fn times(n: u64) -> String {
    if n == 1 { "once".to_owned() } else { format!("{} times", count(n)) }
}

/// A factor: `4.8×`.
pub fn factor(value: f64) -> String {
    format!("{}×", number(value, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write() {
        for (text, nanos) in [
            ("20ms", 20_000_000),
            ("1.5s", 1_500_000_000),
            ("250 us", 250_000),
            ("2min", 120_000_000_000),
            ("1h", 3_600_000_000_000),
            ("7ns", 7),
            ("0", 0),
        ] {
            let value = parse_duration(text).unwrap();
            assert_eq!(value.as_nanos(), nanos, "{text}");
            assert_eq!(parse_duration(&duration(value)).unwrap(), value, "{text}");
        }
        for text in ["20", "", "ms", "-1ms", "1.5ns", "1e3s", "20 parsecs", "99999999999999s"] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.to_string().contains("expected a duration such as 20ms"), "{text}");
        }
    }

    #[test]
    fn shares_read() {
        for (text, ppm) in
            [("2%", 20_000), ("0.05 %", 500), ("100%", 1_000_000), ("7ppm", 7), ("0", 0)]
        {
            let value = parse_share(text).unwrap();
            assert_eq!(value.get(), ppm, "{text}");
            assert_eq!(parse_share(&share(value)), Ok(value), "{text}");
        }
        for text in ["2", "101%", "-1%", "0.00001%", "x%", "1.5ppm"] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn errors_suggest_what_was_probably_meant() {
        let duration = |text| parse_duration(text).unwrap_err();
        let share = |text| parse_share(text).unwrap_err();
        let rate = |text| parse_rate(text).unwrap_err();
        let size = |text| parse_size(text).unwrap_err();
        for (error, end) in [
            (duration("20"), "did you mean 20ms?"),
            (duration("5").in_unit("s"), "did you mean 5s?"),
            (duration("20msec").in_unit("s"), "did you mean 20ms?"),
            (duration("5m"), "did you mean 5min?"),
            (duration("-1ms"), "it cannot be negative"),
            (duration("soon"), "got \"soon\""),
            (share("2"), "did you mean 2%?"),
            (share("0.02"), "did you mean 2% or 0.02%?"),
            (share("-1%"), "it cannot be negative"),
            (rate("20Mbps"), "did you mean 20Mbit?"),
            (rate("1.5 gbit/s"), "did you mean 1.5Gbit?"),
            (rate("20"), "did you mean 20Mbit?"),
            (size("64k"), "did you mean 64kB?"),
            (size("64"), "did you mean 64kB?"),
        ] {
            assert!(error.to_string().ends_with(end), "{error}");
        }
    }

    #[test]
    fn rates_and_sizes_read_and_write() {
        for (text, bits, shortest) in [
            ("20Mbit", 20_000_000, "20Mbit"),
            ("1.5 Gbit/s", 1_500_000_000, "1500Mbit"),
            ("56kbit/s", 56_000, "56kbit"),
            ("7bit", 7, "7bit"),
        ] {
            assert_eq!(parse_rate(text), Ok(bits), "{text}");
            assert_eq!(rate(bits), shortest);
            assert_eq!(parse_rate(shortest), Ok(bits), "{shortest}");
        }
        for text in ["0Mbit", "20", "20MB", "-1Mbit", "1.5bit", "Mbit", "1e3Mbit", "NaNbit"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        for (text, bytes, shortest) in
            [("64kB", 64_000, "64kB"), ("64KiB", 65_536, "65536B"), ("0B", 0, "0B")]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
            assert_eq!(size(bytes), shortest);
        }
        assert!(parse_size("64").is_err() && parse_size("99999999999GB").is_err());
    }

    #[test]
    fn bytes_have_three_digits() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (20_349, "20.3 kB"),
            (999_500, "1.00 MB"),
            (2_000_000_000, "2.00 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn latencies_have_three_digits() {
        for (nanos, text) in [
            (850, "850 ns"),
            (85_000, "85.0 µs"),
            (20_300_000, "20.3 ms"),
            (243_000_000, "243 ms"),
            (1_560_000_000, "1.56 s"),
        ] {
            assert_eq!(latency(nanos), text);
        }
    }

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
        assert_eq!(interval(&quantile), "≥ 2.00");
        assert_eq!(interval(&Quantile::default()), "");
    }

    #[test]
    fn one_is_singular() {
        for (number, words) in [(0, "0 lanes"), (1, "1 lane"), (2_524, "2,524 lanes")] {
            assert_eq!(plural(number, "lane", "lanes"), words);
        }
        assert_eq!([times(0), times(1), times(2)], ["0 times", "once", "2 times"]);
        assert_eq!(factor(4.84), "4.8×");
    }

    #[test]
    fn quantities_round_trip() {
        for (nanos, text) in [
            (200_000_000, "200 ms"),
            (250_000, "250 µs"),
            (90_000_000_000, "90 s"),
            (1_500_000_000, "1500 ms"),
            (7, "7 ns"),
            (0, "0"),
        ] {
            let value = Duration::from_nanos(nanos);
            assert_eq!(span(value), text);
            assert_eq!(parse_duration(text), Ok(value));
        }
    }
}
