//! `--predict`: the reader guesses a few figures before the run, and sees guess beside result.

use super::error::Failure;
use super::stdout::complain;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io::{self, BufRead};

/// `--predict`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub struct Predict {
    /// Ask for three guesses first, and show them beside the result
    #[arg(long)]
    pub predict: bool,
}

/// A figure that the reader guesses before the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guess {
    /// Its name in the result, such as `p99_ms`.
    pub figure: String,
    /// The question, without a question mark.
    pub question: String,
    /// The unit of both numbers, such as `ms`; empty for a count.
    pub unit: String,
    /// The reader's guess; `None` if skipped.
    pub guess: Option<f64>,
    /// The run's value, if there is one.
    pub seen: Option<f64>,
}

impl Guess {
    /// A question that has no answer yet.
    #[must_use]
    pub fn new(figure: &str, question: &str, unit: &str) -> Self {
        let [figure, question, unit] = [figure, question, unit].map(str::to_owned);
        Self { figure, question, unit, guess: None, seen: None }
    }
}

/// Maximum bytes of an answer; a number is shorter.
const ANSWER_BYTES_MAX: u64 = 200;
/// How often a question is repeated after an answer that is not a number.
const TRIES: u32 = 3;

impl Predict {
    /// Asks on stderr and reads a line of stdin for each question; asks nothing without the flag.
    ///
    /// An empty line skips a question, the end of input skips the rest.
    ///
    /// # Errors
    /// Fails if stdin cannot be read.
    pub fn ask(self, questions: Vec<Guess>) -> Result<Vec<Guess>, Failure> {
        if !self.predict {
            return Ok(Vec::new());
        }
        complain("Guess first (Enter skips):\n");
        answered(questions, &mut io::stdin().lock(), complain).map_err(|error| {
            Failure::from_error(super::exit::Exit::Usage, "--predict: cannot read stdin", &error)
        })
    }
}

fn answered(
    mut questions: Vec<Guess>,
    input: &mut impl BufRead,
    say: impl Fn(&str),
) -> io::Result<Vec<Guess>> {
    let count = questions.len();
    'questions: for (index, asked) in questions.iter_mut().enumerate() {
        let unit = if asked.unit.is_empty() { String::new() } else { format!(" ({})", asked.unit) };
        for _ in 0..TRIES {
            say(&format!("  {}/{count}  {}{unit}? ", index + 1, asked.question));
            let mut line = String::new();
            if io::Read::take(&mut *input, ANSWER_BYTES_MAX).read_line(&mut line)? == 0 {
                say("\n");
                break 'questions;
            }
            if line.trim().is_empty() {
                break;
            }
            asked.guess = number(&line, &asked.unit);
            if asked.guess.is_some() {
                break;
            }
            let like = if asked.unit.is_empty() { "3" } else { "a number such as 3 or 3 " };
            say(&format!("       expected {like}{}\n", asked.unit));
        }
    }
    Ok(questions)
}

/// `52`, `52 ms` or `52ms` where the unit is `ms`.
fn number(line: &str, unit: &str) -> Option<f64> {
    let line = line.trim();
    let bare = line.strip_suffix(unit).unwrap_or(line).trim_end();
    bare.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Guesses beside what was seen, a line each; empty where nothing was asked.
#[must_use]
pub fn table(guesses: &[Guess]) -> String {
    let mut text = String::new();
    if guesses.is_empty() {
        return text;
    }
    let show = |number: Option<f64>| number.map_or_else(|| "-".to_owned(), figure);
    let width = guesses.iter().map(|asked| asked.question.len() + asked.unit.len() + 3).max();
    let width = width.unwrap_or(0);
    let _ = writeln!(text, "{:width$}  {:>10}  {:>10}", "prediction", "guess", "seen");
    for asked in guesses {
        let unit = if asked.unit.is_empty() { String::new() } else { format!(" ({})", asked.unit) };
        let name = format!("{}{unit}", asked.question);
        let (guess, seen) = (show(asked.guess), show(asked.seen));
        let _ = writeln!(text, "{name:width$}  {guess:>10}  {seen:>10}  {}", apart(asked));
    }
    text
}

/// How far a guess is off, as a factor.
fn apart(asked: &Guess) -> String {
    match asked.guess.zip(asked.seen) {
        Some((guess, seen)) if guess > 0.0 && seen > 0.0 => {
            let factor = (guess / seen).max(seen / guess);
            if factor < 1.05 { "right".to_owned() } else { format!("off by {}×", figure(factor)) }
        }
        _ => String::new(),
    }
}

/// Three significant digits, without an exponent.
fn figure(number: f64) -> String {
    let magnitude = number.abs();
    match magnitude {
        0.0 => "0".to_owned(),
        m if m >= 100.0 => format!("{number:.0}"),
        m if m >= 10.0 => format!("{number:.1}"),
        m if m >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn asked(input: &str) -> (Vec<Guess>, String) {
        let questions = vec![
            Guess::new("p99_ms", "p99 latency of udp-once", "ms"),
            Guess::new("slow", "share of slow requests", "%"),
            Guess::new("lost", "lost frames", ""),
        ];
        let said = RefCell::new(String::new());
        let answers = answered(questions, &mut input.as_bytes(), |text| {
            said.borrow_mut().push_str(text);
        });
        (answers.unwrap(), said.into_inner())
    }

    #[test]
    fn answers_are_numbers_with_or_without_their_unit() {
        let (answers, said) = asked("52 ms\nlots\n4%\n\n");
        assert_eq!(
            answers.iter().map(|a| a.guess).collect::<Vec<_>>(),
            [Some(52.0), Some(4.0), None]
        );
        assert!(said.contains("2/3  share of slow requests (%)? "), "{said}");
        assert!(said.contains("expected a number such as 3 or 3 %"), "{said}");
    }

    #[test]
    fn the_end_of_input_skips_the_rest_and_nonsense_is_asked_three_times() {
        assert!(asked("").0.iter().all(|answer| answer.guess.is_none()));
        let (answers, said) = asked("a\nNaN\ninf\n7\n");
        assert_eq!((answers[0].guess, answers[1].guess), (None, Some(7.0)));
        assert_eq!(said.matches("1/3").count(), 3, "{said}");
    }

    #[test]
    fn a_guess_stands_beside_what_was_seen() {
        let mut guesses = asked("52\n2\n\n").0;
        for (guess, seen) in guesses.iter_mut().zip([51.7, 3.96, 80.0]) {
            guess.seen = Some(seen);
        }
        assert_eq!(
            table(&guesses),
            "prediction                         guess        seen\n\
             p99 latency of udp-once (ms)        52.0        51.7  right\n\
             share of slow requests (%)          2.00        3.96  off by 1.98×\n\
             lost frames                            -        80.0  \n"
        );
        assert_eq!(table(&[]), "");
    }
}
