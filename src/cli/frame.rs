//! The frame of a lab's `main`: parse, log, run, report a failure, exit.

use super::args::Common;
use super::error::Failure;
use super::exit::Exit;
use super::lab;
use super::log;
use super::mistakes::{self, Elsewhere};
use super::stdout::complain;
use super::style::ColorChoice;
use clap::error::{Error, ErrorKind};
use clap::{Command, FromArgMatches};
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// A command line that has the flags of every lab.
pub trait HasCommon: FromArgMatches {
    /// Those flags.
    fn common(&self) -> &Common;
}

/// How a lab is called.
pub struct Frame {
    name: &'static str,
    command: Command,
    shown: Option<Command>,
    words: Vec<OsString>,
    elsewhere: Elsewhere,
    hint: fn(&Error) -> Option<String>,
}

impl Frame {
    /// A lab with the arguments of this process.
    #[must_use]
    pub fn new(name: &'static str, command: Command) -> Self {
        let words = std::env::args_os().collect();
        Self { name, command, shown: None, words, elsewhere: &[], hint: |_| None }
    }

    /// What help, completions and the manual show, where that is more than what is parsed.
    #[must_use]
    pub fn shown(self, command: Command) -> Self {
        Self { shown: Some(command), ..self }
    }

    /// The words to parse, the program's name first.
    #[must_use]
    pub fn words(self, words: Vec<OsString>) -> Self {
        Self { words, ..self }
    }

    /// Words of other programs, and what they are called here.
    #[must_use]
    pub const fn elsewhere(mut self, elsewhere: Elsewhere) -> Self {
        self.elsewhere = elsewhere;
        self
    }

    /// A line to print before some of clap's errors.
    #[must_use]
    pub fn hint(self, hint: fn(&Error) -> Option<String>) -> Self {
        Self { hint, ..self }
    }

    /// Parses the words and runs the lab to its end.
    #[must_use]
    pub fn main<A: HasCommon>(self, run: impl FnOnce(A) -> Result<Exit, Failure>) -> ExitCode {
        let parsed = mistakes::parse(&self.command, &self.words, self.elsewhere);
        let args = match parsed.and_then(|matches| A::from_arg_matches(&matches)) {
            Ok(args) => args,
            Err(error) => return self.refuse(error),
        };
        let common = args.common().clone();
        log::start(common.verbose);
        let style = common.color.for_stderr();
        if let Some(what) = common.generate {
            let ended = lab::generate(what, self.shown.unwrap_or(self.command));
            return lab::end(self.name, style, ended);
        }
        // The panic itself has been printed by then.
        let ended = catch_unwind(AssertUnwindSafe(|| run(args)));
        lab::end(
            self.name,
            style,
            ended.unwrap_or_else(|_| {
                Err(Failure::new(
                    Exit::Bug,
                    "this is a bug in wirelab: please report the lines above",
                ))
            }),
        )
    }

    /// Help on stdout, a mistake on stderr.
    fn refuse(self, error: Error) -> ExitCode {
        if error.use_stderr() {
            if let Some(hint) = (self.hint)(&error) {
                complain(&format!("{hint}\n"));
            }
            // A closed stderr has no reader to inform.
            let _ = error.print();
            return Exit::Usage.into();
        }
        let help = match (error.kind(), self.shown) {
            (ErrorKind::DisplayHelp, Some(shown)) => {
                shown.try_get_matches_from(self.words).err().unwrap_or(error)
            }
            _ => error,
        };
        let style = ColorChoice::Auto.for_stdout();
        let text = help.render();
        let text = if style.color { text.ansi().to_string() } else { text.to_string() };
        lab::end(self.name, style, lab::say(&text).map(|()| Exit::Holds))
    }
}
