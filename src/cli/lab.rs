//! Steps of every lab: printing its result and its failures, `--generate`, refused privileges.

use super::error::Failure;
use super::exit::Exit;
use super::generate::Generate;
use super::stdout;
use super::topics::Topic;
use crate::report::style::Style;
use crate::sys::privilege::PrivilegeError;
use clap::Command;
use serde::Serialize;
use std::process::ExitCode;

/// Prints the result, or a part of it.
///
/// # Errors
/// Fails if stdout cannot be written (disk full, for example).
pub fn say(text: &str) -> Result<(), Failure> {
    stdout::print(text).map_err(|error| unprinted(&error))
}

/// The failure of a write to stdout.
pub(super) fn unprinted(error: &std::io::Error) -> Failure {
    Failure::from_error(Exit::Privilege, "cannot write to standard output", error)
}

/// A value as an indented JSON document that ends its line.
///
/// # Errors
/// Fails if the value cannot be JSON, which is a bug.
pub fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::from_error(Exit::Bug, "the result cannot be JSON", &error))?;
    Ok(text + "\n")
}

/// Prints what `--generate` asks for.
///
/// # Errors
/// Those of [`say`].
pub fn generate(what: Generate, command: Command, topics: &[Topic]) -> Result<Exit, Failure> {
    let text = what
        .render(command, topics)
        .map_err(|error| Failure::from_error(Exit::Bug, "cannot print", &error))?;
    say(&String::from_utf8_lossy(&text))?;
    Ok(Exit::Holds)
}

/// The exit code of a lab; a failure is printed first, on stderr.
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

/// The failure where namespaces are refused: the rule that forbids them, and what to type.
#[must_use]
pub fn refused(refused: &PrivilegeError) -> Failure {
    let text = refused.to_string();
    let what = text.lines().next().unwrap_or_default().to_owned();
    let failure = Failure::new(Exit::Privilege, what).because(refused.why.clone());
    refused.remedy.iter().fold(failure, |failure, way| failure.or_type("try", way.clone()))
}
