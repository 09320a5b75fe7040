//! The frame of a lab's `main`: parse, log, run, report a failure, exit.

use super::args::Common;
use super::error::Failure;
use super::exit::Exit;
use super::lab;
use super::log;
use super::mistakes::{self, Elsewhere};
use super::stdout::{complain, print_help};
use super::style::ColorChoice;
use super::topics::{self, Topic};
use super::version;
use crate::sys::privilege;
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
    topics: Vec<Topic>,
    hint: fn(&Error) -> Option<String>,
}

impl Frame {
    /// A lab with the arguments of this process.
    #[must_use]
    pub fn new(name: &'static str, command: Command) -> Self {
        let words = std::env::args_os().collect();
        let command = command.version(version::LONG);
        let (elsewhere, topics) = (&[], Vec::new());
        Self { name, command, shown: None, words, elsewhere, topics, hint: |_| None }
    }

    /// The command for help, completions and the manual, if it differs from the parsed one.
    #[must_use]
    pub fn shown(self, command: Command) -> Self {
        Self { shown: Some(command), ..self }
    }

    /// The words to parse, the program's name first.
    #[must_use]
    pub fn words(self, words: Vec<OsString>) -> Self {
        Self { words, ..self }
    }

    /// Options of other programs, and their names here.
    #[must_use]
    pub const fn elsewhere(mut self, elsewhere: Elsewhere) -> Self {
        self.elsewhere = elsewhere;
        self
    }

    /// The pages of `LAB help TOPIC`; `--help` omits their options.
    #[must_use]
    pub fn topics(self, topics: Vec<Topic>) -> Self {
        Self { topics, ..self }
    }

    /// A line to print before some of clap's errors.
    #[must_use]
    pub fn hint(self, hint: fn(&Error) -> Option<String>) -> Self {
        Self { hint, ..self }
    }

    /// Parses the words and runs the lab to its end.
    #[must_use]
    pub fn main<A: HasCommon>(self, run: impl FnOnce(A) -> Result<Exit, Failure>) -> ExitCode {
        // A kernel or a filter that refuses leaves the lab as it was started.
        let _ = privilege::confine_lab();
        if let Some(page) = self.help() {
            return page;
        }
        let parsed = mistakes::parse(&self.command, &self.words, self.elsewhere);
        let args = match parsed.and_then(|matches| A::from_arg_matches(&matches)) {
            Ok(args) => args,
            Err(error) => return self.refuse(error),
        };
        let common = args.common().clone();
        log::start(common.verbose);
        let style = common.color.for_stderr();
        if let Some(what) = common.generate {
            let ended = lab::generate(what, self.shown.unwrap_or(self.command), &self.topics);
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

    /// The page of `LAB help …`, where a lab has topics and that was typed.
    fn help(&self) -> Option<ExitCode> {
        let [_, first, rest @ ..] = self.words.as_slice() else { return None };
        if first != "help" || self.topics.is_empty() {
            return None;
        }
        let words: Vec<String> = rest.iter().map(|w| w.to_string_lossy().into_owned()).collect();
        let command = self.shown.as_ref().unwrap_or(&self.command);
        let page = topics::help(command, &self.topics, &words);
        let page = page.map_err(|why| Failure::new(Exit::Usage, why));
        let style = ColorChoice::Auto.for_stderr();
        Some(lab::end(
            self.name,
            style,
            page.and_then(|page| lab::say(&page)).map(|()| Exit::Holds),
        ))
    }

    /// Help on stdout, a mistake on stderr.
    fn refuse(self, error: Error) -> ExitCode {
        if error.use_stderr() {
            if let Some(hint) = (self.hint)(&error) {
                complain(&format!("{hint}\n"));
            }
            // Without clap's colours: it quotes words that may come from anywhere.
            complain(&error.render().to_string());
            return Exit::Usage.into();
        }
        let is_help = error.kind() == ErrorKind::DisplayHelp;
        let shown = match (self.shown, self.topics.is_empty()) {
            (shown, false) => Some(topics::front(shown.unwrap_or(self.command), &self.topics)),
            (shown, true) => shown,
        };
        let shown = shown.filter(|_| is_help);
        let shown = shown.and_then(|shown| shown.try_get_matches_from(self.words).err());
        let help = shown.unwrap_or(error);
        let style = ColorChoice::Auto.for_stdout();
        let text = help.render();
        let text = if style.color { text.ansi().to_string() } else { text.to_string() };
        let printed = print_help(&text).map_err(|error| lab::unprinted(&error));
        lab::end(self.name, style, printed.map(|()| Exit::Holds))
    }
}
