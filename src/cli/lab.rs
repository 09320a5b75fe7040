//! What every lab does alike at its beginning and its end: texts that it makes of itself, output,
//! saved results, the command that repeats a run, how a failure is told.
//!
//! It must never know which lab it serves.

use super::error::Failure;
use super::exit::Exit;
use super::generate::Generate;
use super::{run_dir, stdout};
use crate::report::style::Style;
use clap::Command;
use serde::de::DeserializeOwned;
use std::path::Path;
use std::process::ExitCode;

/// Prints the result, or a part of it.
///
/// # Errors
/// Where stdout takes it not: a full disk, for example.
pub fn say(text: &str) -> Result<(), Failure> {
    stdout::print(text).map_err(|error| Failure::from_error(Exit::Bug, "cannot print", &error))
}

/// Prints what `--generate` asks for.
///
/// # Errors
/// Those of [`say`].
pub fn generate(what: Generate, command: Command) -> Result<Exit, Failure> {
    let text = what
        .render(command)
        .map_err(|error| Failure::from_error(Exit::Bug, "cannot print", &error))?;
    say(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Holds)
}

/// The exit code of a lab; a failure is told first, on stderr.
#[must_use]
pub fn end(lab: &str, style: Style, ended: Result<Exit, Failure>) -> ExitCode {
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            stdout::complain(&failure.render(lab, style));
            failure.exit.into()
        }
    }
}

/// The result that a run of this lab left; `first` is a command that leaves one.
///
/// # Errors
/// Where there is no such file, or it holds something else.
pub fn read_result<T: DeserializeOwned>(lab: &str, run: &Path, first: &str) -> Result<T, Failure> {
    let file = run_dir::folder(run).join("result.json");
    let what = format!("{} is not the result of a run of {lab}", file.display());
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Failure::from_error(Exit::Usage, what.clone(), &error).or_type("make a run first", first)
    })?;
    serde_json::from_str(&text).map_err(|error| Failure::from_error(Exit::Usage, what, &error))
}

/// The words that were typed, with the seed where one is needed to repeat them.
#[must_use]
pub fn repeat_command(lab: &str, seed: Option<u64>) -> String {
    repeated(lab, std::env::args().skip(1), seed)
}

fn repeated(lab: &str, mut given: impl Iterator<Item = String>, seed: Option<u64>) -> String {
    let mut words = vec![lab.to_owned()];
    while let Some(word) = given.next() {
        if word == "--seed" {
            given.next();
        } else if !word.starts_with("--seed=") {
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=.,:%/+".contains(c));
            words.push(if plain { word } else { format!("'{}'", word.replace('\'', r"'\''")) });
        }
    }
    if let Some(seed) = seed {
        words.extend(["--seed".to_owned(), seed.to_string()]);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeat_has_one_seed_and_is_safe_for_a_shell() {
        let typed = |words: &[&str], seed| {
            repeated("lab", words.iter().map(|word| (*word).to_owned()), seed)
        };
        assert_eq!(typed(&["--loss", "2%", "--seed", "3"], Some(7)), "lab --loss 2% --seed 7");
        assert_eq!(typed(&["--seed=3", "it's"], None), r"lab 'it'\''s'");
    }
}
