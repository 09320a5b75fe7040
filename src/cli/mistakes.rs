//! Typed mistakes: what clap says of a wrong command line, with a remedy that fits.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, ArgMatches, Command};
use std::ffi::{OsStr, OsString};

/// Words of other programs or of habit, and what to type here.
///
/// A flag stands without its dashes, a command as it is.
pub type Elsewhere = &'static [(&'static str, &'static str)];

/// Parses `words`, the program's name first.
///
/// # Errors
/// Clap's error with a remedy; help and version are errors too, as in clap.
pub fn parse(
    command: &Command,
    words: &[OsString],
    elsewhere: Elsewhere,
) -> Result<ArgMatches, Error> {
    let read = |words: &[OsString]| command.clone().try_get_matches_from(words);
    let mut error = match read(words) {
        Err(error) if error.kind() == ErrorKind::UnknownArgument => error,
        Err(error) if error.kind() == ErrorKind::InvalidSubcommand => {
            return Err(with_commands(error, command, words, elsewhere));
        }
        other => return other,
    };
    // `--loss -1%` is a value, and its error is the value's.
    let mut built = command.clone();
    built.build();
    let joined = negatives_joined(&built, words);
    if joined.len() < words.len() {
        match read(&joined) {
            Err(again) if again.kind() == ErrorKind::UnknownArgument => error = again,
            other => return other,
        }
    }
    if let Some(at) = joined.iter().position(|word| is_negative(word)) {
        let mut positional = joined;
        positional.insert(at, "--".into());
        match read(&positional) {
            Err(again) if again.kind() == ErrorKind::ValueValidation => return Err(again),
            _ => {}
        }
    }
    Err(with_flag(error, elsewhere))
}

/// Whether a word is `-1`, `-1ms` or `-.5`.
fn is_negative(word: &OsStr) -> bool {
    let rest = word.to_str().and_then(|word| word.strip_prefix('-'));
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
}

/// The words, where each negative number is joined to the flag that it follows.
fn negatives_joined(command: &Command, words: &[OsString]) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    let mut behind = false;
    for word in words {
        behind |= word == "--";
        match joined.last_mut() {
            Some(flag) if !behind && is_negative(word) && takes_value(command, flag) => {
                flag.push("=");
                flag.push(word);
            }
            _ => joined.push(word.clone()),
        }
    }
    joined
}

/// Whether a word is a flag, of a command or of one below it, that a value must follow.
fn takes_value(command: &Command, word: &OsStr) -> bool {
    let Some(name) = word.to_str().and_then(|word| word.strip_prefix("--")) else { return false };
    let is_it = |arg: &Arg| {
        arg.get_long() == Some(name)
            && arg.get_action().takes_values()
            && !arg.is_require_equals_set()
    };
    command.get_arguments().any(is_it)
        || command.get_subcommands().any(|below| takes_value(below, word))
}

fn with_flag(error: Error, elsewhere: Elsewhere) -> Error {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let name = given.trim_start_matches('-');
    let name = name.split_once('=').map_or(name, |(name, _)| name);
    match elsewhere.iter().find(|(word, _)| *word == name) {
        Some((_, here)) => {
            suggesting(error, vec![(*here).to_owned()], &[ContextKind::SuggestedArg])
        }
        None => error,
    }
}

/// Says which commands there are where a word is none.
fn with_commands(
    error: Error,
    command: &Command,
    words: &[OsString],
    elsewhere: Elsewhere,
) -> Error {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let given = given.clone();
    let mut at = command;
    let mut path = command.get_name().to_owned();
    for word in words.iter().skip(1).take_while(|word| **word != given.as_str()) {
        if let Some(below) = at.find_subcommand(word) {
            at = below;
            path = format!("{path} {}", below.get_name());
        }
    }
    let mut tips = Vec::new();
    if let Some((_, here)) = elsewhere.iter().find(|(word, _)| *word == given) {
        tips.push((*here).to_owned());
    }
    let above = at.get_subcommands().find(|below| below.find_subcommand(&given).is_some());
    if let Some(above) = above {
        tips.push(format!("type {path} {} {given}", above.get_name()));
    }
    let names: Vec<&str> = at.get_subcommands().map(Command::get_name).collect();
    tips.push(format!("expected one of {}", names.join(", ")));
    // What clap found alike is worse than what is known.
    let guess: &[ContextKind] =
        if tips.len() > 1 { &[ContextKind::SuggestedSubcommand] } else { &[] };
    suggesting(error, tips, guess)
}

/// The error with these tips instead of some of clap's.
fn suggesting(mut error: Error, tips: Vec<String>, instead_of: &[ContextKind]) -> Error {
    for kind in instead_of {
        error.remove(*kind);
    }
    let tips = tips.into_iter().map(StyledStr::from).collect();
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::values::{duration, positive};

    const ELSEWHERE: Elsewhere =
        &[("latency", "use --wait"), ("withdraw", "a transfer takes money out")];

    fn lab() -> Command {
        let number = Arg::new("number").value_parser(positive);
        let call = Command::new("call")
            .subcommand_required(true)
            .subcommand(Command::new("balance").arg(number))
            .subcommand(Command::new("transfer"));
        Command::new("lab")
            .arg(Arg::new("wait").long("wait").value_parser(duration))
            .arg(Arg::new("to").long("to").allow_hyphen_values(true))
            .arg(Arg::new("json").long("json").num_args(0..=1).require_equals(true))
            .subcommand(call)
    }

    fn said(words: &str) -> String {
        let words: Vec<OsString> =
            std::iter::once("lab").chain(words.split(' ')).map(OsString::from).collect();
        parse(&lab(), &words, ELSEWHERE).unwrap_err().to_string()
    }

    #[test]
    fn a_remedy_fits_the_mistake() {
        for (words, part) in [
            ("--wait -1", "'-1' for '--wait <wait>'"),
            ("--wait -1ms", "it cannot be negative"),
            ("--wait 1ms --json -1", "unexpected argument '-1'"),
            ("call balance -1", "expected a whole number from 1"),
            ("--latency 5ms", "use --wait"),
            ("--latency=5ms", "use --wait"),
            ("--wiat 5ms", "'--wait'"),
            ("call withdraw 1", "a transfer takes money out"),
            ("call withdraw 1", "expected one of balance, transfer"),
            ("call balanse 1", "'balance'"),
            ("balance 1", "type lab call balance"),
        ] {
            let said = said(words);
            assert!(said.contains(part), "{words}: expected {part:?} in\n{said}");
        }
    }

    #[test]
    fn a_negative_value_that_is_allowed_is_taken() {
        let words = ["lab", "--to", "-5"].map(OsString::from);
        let matches = parse(&lab(), &words, ELSEWHERE).unwrap();
        assert_eq!(matches.get_one::<String>("to").unwrap(), "-5");
    }
}
