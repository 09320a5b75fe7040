//! Values on the command line: durations, shares, lists of them.
//!
//! For `#[arg(value_parser = args::share, value_delimiter = ',')]`. A bare number is an error, save
//! 0: in `0,1,2` nobody can know whether 1 is one percent or certainty, so it is `0,1%,2%`.
//! It must never guess a unit.

use crate::measure::{Ppm, human};
use std::time::Duration;

/// `20ms`, `1.5s`, `0`.
///
/// # Errors
/// A sentence that says what was expected and what to type.
pub fn duration(text: &str) -> Result<Duration, String> {
    human::parse_duration(text).map_err(|error| hint(&error, text, "ms"))
}

/// `2%`, `0.5%`, `500ppm`, `0`.
///
/// # Errors
/// A sentence that says what was expected and what to type.
pub fn share(text: &str) -> Result<Ppm, String> {
    human::parse_share(text).map_err(|error| hint(&error, text, "%"))
}

/// A whole number above 0.
///
/// # Errors
/// A sentence that says what was expected.
pub fn positive(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err(format!("expected a whole number from 1 up to {}, got {text:?}", u32::MAX)),
    }
}

/// The error, and the most likely wish where only the unit is missing.
fn hint(error: &impl ToString, text: &str, unit: &str) -> String {
    let text = text.trim();
    let number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let wish = if number { format!("; did you mean {text}{unit}?") } else { String::new() };
    error.to_string() + &wish
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_is_an_error_that_says_what_to_type() {
        assert_eq!(share("0").unwrap(), Ppm::ZERO);
        assert_eq!(share("2%").unwrap().get(), 20_000);
        assert!(share("2").unwrap_err().ends_with("did you mean 2%?"));
        assert!(duration("20").unwrap_err().ends_with("did you mean 20ms?"));
        assert!(!duration("soon").unwrap_err().contains("did you mean"));
        assert!(positive("0").is_err() && positive("8") == Ok(8));
    }
}
