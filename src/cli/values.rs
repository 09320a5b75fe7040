//! Values on the command line: durations, shares, counts, addresses.
//!
//! An error says what was expected, what came and what was probably meant.

use crate::measure::Ppm;
use crate::measure::human::{self, HumanError};
use clap::builder::TypedValueParser;
use clap::error::Error as ClapError;
use clap::{Arg, Command};
use std::ffi::OsStr;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

/// `20ms`, `1.5s`, `0`.
///
/// # Errors
/// A sentence that says what was expected and what to type.
pub fn duration(text: &str) -> Result<Duration, String> {
    human::parse_duration(text).map_err(|error| error.to_string())
}

/// `2%`, `0.5%`, `500ppm`, `0`.
///
/// # Errors
/// A sentence that says what was expected and what to type.
pub fn share(text: &str) -> Result<Ppm, String> {
    human::parse_share(text).map_err(|error| error.to_string())
}

/// A duration within bounds; a number without a unit gets the unit of the flag's default suggested.
#[derive(Clone, Debug)]
pub struct Time {
    within: RangeInclusive<Duration>,
}

/// Any duration.
#[must_use]
pub const fn time() -> Time {
    Time { within: Duration::ZERO..=Duration::MAX }
}

/// A duration from the first to the second.
#[must_use]
pub const fn time_within(within: RangeInclusive<Duration>) -> Time {
    Time { within }
}

impl Time {
    fn read(&self, text: &str, unit: &str) -> Result<Duration, String> {
        let found = human::parse_duration(text);
        let found = found.map_err(|error: HumanError| error.in_unit(unit).to_string())?;
        if found < *self.within.start() {
            return Err(match found {
                Duration::ZERO => format!("expected a time above 0, such as 1{unit}, got {text:?}"),
                _ => {
                    let least = human::duration(*self.within.start());
                    format!("expected at least {least}, got {text:?}")
                }
            });
        }
        if found > *self.within.end() {
            let most = human::duration(*self.within.end());
            return Err(format!("expected at most {most}, got {text:?}"));
        }
        Ok(found)
    }
}

impl TypedValueParser for Time {
    type Value = Duration;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Duration, ClapError> {
        let time = self.clone();
        let unit = arg.and_then(unit_of_default).unwrap_or_else(|| "ms".to_owned());
        let read = move |text: &str| time.read(text, &unit);
        read.parse_ref(command, arg, value)
    }
}

/// The unit of a flag's default: of its value, or of `[default: 20ms]` in its help.
fn unit_of_default(arg: &Arg) -> Option<String> {
    let value = arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned());
    let value = value.or_else(|| {
        let help = arg.get_help()?.to_string();
        help.split_once("[default: ").map(|(_, rest)| rest.to_owned())
    })?;
    let unit = value.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let unit: String = unit.chars().take_while(|c| c.is_alphabetic()).collect();
    human::parse_duration(&format!("1{unit}")).is_ok().then_some(unit)
}

/// A whole number within bounds.
pub fn whole<T>(within: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text: &str| {
        let read = |text: &str| text.parse().ok().filter(|number| within.contains(number));
        read(text).ok_or_else(|| {
            let (least, most) = (within.start(), within.end());
            let meant = written_out(text).filter(|meant| read(meant).is_some());
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean {meant}?"));
            format!("expected a whole number from {least} up to {most}, got {text:?}{meant}")
        })
    }
}

/// `4k`, `1.5M`, `10_000`, `10,000`, `1e6` in digits alone.
fn written_out(text: &str) -> Option<String> {
    let plain = text.trim().replace(['_', ',', ' '], "");
    let zeros = match plain.chars().last()? {
        'k' | 'K' => 3,
        'M' | 'm' => 6,
        'G' | 'g' => 9,
        _ => 0,
    };
    let number = plain.trim_end_matches(|c: char| zeros > 0 && c.is_ascii_alphabetic());
    let (number, zeros) = match number.split_once(['e', 'E']) {
        Some((number, power)) => (number, zeros + power.parse::<usize>().ok()?),
        None => (number, zeros),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if zeros > 18
        || whole.is_empty()
        || fraction.len() > zeros
        || !digits(whole)
        || !digits(fraction)
    {
        return None;
    }
    Some(format!("{whole}{fraction}{}", "0".repeat(zeros - fraction.len())))
}

/// A whole number above 0.
///
/// # Errors
/// A sentence that says what was expected.
pub fn positive(text: &str) -> Result<u32, String> {
    whole(1..=u32::MAX)(text)
}

/// The addresses that a text names: `HOST:PORT`, `HOST` or an address with the usual port, or a
/// port alone on the loopback address.
///
/// # Errors
/// A sentence that says what was expected, or why the name has no address.
pub fn addresses(text: &str, usual_port: u16) -> Result<Vec<SocketAddr>, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into()]);
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![(address, usual_port).into()]);
    }
    let expected = "expected HOST:PORT, such as 127.0.0.1:7411 or [::1]:7411";
    let found = if text.contains(':') {
        text.to_socket_addrs()
    } else {
        (text, usual_port).to_socket_addrs()
    };
    let found: Vec<_> = found.map_err(|error| format!("{expected}; {error}"))?.collect();
    if found.is_empty() { Err(format!("{expected}; the name has no address")) } else { Ok(found) }
}

/// An address to listen on, as [`addresses`] reads it.
pub fn listen(usual_port: u16) -> impl Fn(&str) -> Result<SocketAddr, String> + Clone {
    move |text| addresses(text, usual_port).map(|found| found[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    #[test]
    fn a_bare_number_is_an_error_that_says_what_to_type() {
        assert_eq!(share("0").unwrap(), Ppm::ZERO);
        assert_eq!(share("2%").unwrap().get(), 20_000);
        assert!(share("2").unwrap_err().ends_with("did you mean 2%?"));
        assert!(duration("20").unwrap_err().ends_with("did you mean 20ms?"));
        assert!(!duration("soon").unwrap_err().contains("did you mean"));
        assert!(positive("0").is_err() && positive("8") == Ok(8));
    }

    #[test]
    fn a_duration_gets_the_unit_of_its_default() {
        let refused = |arg: Arg| {
            let command = Command::new("lab").arg(arg.long("wait").value_parser(time()));
            command.try_get_matches_from(["lab", "--wait", "5"]).unwrap_err().to_string()
        };
        for (arg, meant) in [
            (Arg::new("a").default_value("4min"), "did you mean 5min?"),
            (Arg::new("a").help("How long [default: 2s, then 64s]"), "did you mean 5s?"),
            (Arg::new("a").help("How long [default: as the path]"), "did you mean 5ms?"),
            (Arg::new("a"), "did you mean 5ms?"),
        ] {
            let said = refused(arg);
            assert!(said.contains(meant), "{said}");
        }
        let short = time_within(Duration::from_secs(1)..=Duration::from_secs(9));
        assert!(short.read("1ms", "s").unwrap_err().contains("at least 1s"));
        assert!(short.read("1min", "s").unwrap_err().contains("at most 9s"));
    }

    #[test]
    fn a_whole_number_is_suggested_in_digits() {
        let read = whole(1..=1_000_000_u32);
        assert_eq!(read("4000"), Ok(4000));
        for (text, meant) in [
            ("4k", "4000"),
            ("1.5K", "1500"),
            ("1M", "1000000"),
            ("10_000", "10000"),
            ("1e6", "1000000"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.ends_with(&format!("did you mean {meant}?")), "{said}");
        }
        for text in ["abc", "-1", "0", "2M", "1.5", "", "k", "1e99"] {
            let said = read(text).unwrap_err();
            assert!(said.contains("from 1 up to 1000000") && !said.contains("mean"), "{said}");
        }
    }

    #[test]
    fn addresses_need_no_port_and_ports_no_address() {
        for (text, address) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("127.0.0.1", "127.0.0.1:7411"),
            ("::1", "[::1]:7411"),
            ("[::1]", "[::1]:7411"),
            ("[::1]:80", "[::1]:80"),
            ("8080", "127.0.0.1:8080"),
            (":8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(addresses(text, 7411), Ok(vec![address.parse().unwrap()]), "{text}");
        }
        let local = addresses("localhost", 7411).unwrap();
        assert!(local.iter().all(|a| a.ip().is_loopback() && a.port() == 7411), "{local:?}");
        for text in ["", "127.0.0.1:99999", "127.0.0.1:", "a:b:c"] {
            assert!(addresses(text, 7411).unwrap_err().contains("HOST:PORT"), "{text}");
        }
    }
}
