//! Help in pages: `--help` fits a screen or two, `LAB help TOPIC` has the rest.

use clap::{Arg, ArgAction, Command};
use std::borrow::Cow;
use std::fmt::Write as _;

/// A page of `LAB help TOPIC`.
#[derive(Clone, Debug)]
pub struct Topic {
    /// The word after `help`.
    pub name: &'static str,
    /// One line for the list of topics.
    pub about: &'static str,
    /// The help heading of its flags, which `--help` then leaves out; empty for text alone.
    pub heading: &'static str,
    /// Text below the flags.
    pub text: Cow<'static, str>,
}

impl Topic {
    /// A page that lists the flags under `heading`.
    #[must_use]
    pub const fn flags(name: &'static str, about: &'static str, heading: &'static str) -> Self {
        Self { name, about, heading, text: Cow::Borrowed("") }
    }

    /// A page of text.
    #[must_use]
    pub fn text(
        name: &'static str,
        about: &'static str,
        text: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { name, about, heading: "", text: text.into() }
    }

    /// The page with a text below its flags.
    #[must_use]
    pub fn with(self, text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), ..self }
    }

    fn has(&self, arg: &Arg) -> bool {
        !self.heading.is_empty() && arg.get_help_heading() == Some(self.heading)
    }
}

/// The command as `--help` shows it: one line a flag, flags of topics left out, topics listed last.
#[must_use]
pub fn front(command: Command, topics: &[Topic]) -> Command {
    let width = topics.iter().map(|topic| topic.name.len()).max().unwrap_or(0);
    let mut list = format!("More, with {} help TOPIC:\n", command.get_name());
    for topic in topics {
        let _ = writeln!(list, "  {:width$}  {}", topic.name, topic.about);
    }
    let help = Arg::new("help").short('h').long("help").action(ArgAction::HelpShort);
    let help = help.global(true).help("Print this page").help_heading(None::<&str>);
    let hidden = |command| hide(command, |arg| topics.iter().any(|topic| topic.has(arg)));
    hidden(command)
        .mut_subcommands(hidden)
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .arg(help)
        .after_help(list)
}

/// The page that `LAB help WORDS` asks for: a topic's, a command's, or the front page.
///
/// # Errors
/// Fails if the words name no topic and no command: the names that exist.
pub fn help(command: &Command, topics: &[Topic], words: &[String]) -> Result<String, String> {
    let mut built = command.clone();
    built.build();
    let mut below = &built;
    let topic = topics.iter().find(|topic| [topic.name] == *words);
    match topic {
        Some(topic) => return Ok(page(command.clone(), topic)),
        None if words.is_empty() => {
            return Ok(front(command.clone(), topics).render_help().to_string());
        }
        None => {}
    }
    for word in words {
        let Some(found) = below.find_subcommand(word) else {
            let commands = built.get_subcommands().map(Command::get_name);
            let names: Vec<&str> = topics.iter().map(|topic| topic.name).chain(commands).collect();
            let names = names.join(", ").replace(", help", "");
            return Err(format!("no help on {word:?}: expected one of {names}"));
        };
        below = found;
    }
    Ok(below.clone().render_long_help().to_string())
}

fn page(command: Command, topic: &Topic) -> String {
    let mut text = format!("{} {}: {}\n", command.get_name(), topic.name, topic.about);
    let command = hide(command, |arg| !topic.has(arg));
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        let bare = command.disable_help_flag(true).disable_version_flag(true);
        let flags = bare.help_template("{options}").render_long_help().to_string();
        let _ = write!(text, "\n{}\n", flags.trim_end());
    }
    if !topic.text.is_empty() {
        let _ = write!(text, "\n{}\n", topic.text.trim_end());
    }
    text
}

fn hide(command: Command, which: impl Fn(&Arg) -> bool) -> Command {
    command.mut_args(|arg| {
        let hide = arg.is_hide_set() || which(&arg);
        arg.hide(hide)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Command {
        let flag = |name: &'static str, heading: &'static str| {
            Arg::new(name).long(name).help(format!("the {name}")).help_heading(heading)
        };
        Command::new("lab")
            .before_help("Examples:\n  lab --loss 1%")
            .arg(Arg::new("seed").long("seed").help("the seed"))
            .args([flag("loss", "Path"), flag("cc", "Kernel")])
            .subcommand(Command::new("show").arg(Arg::new("run")))
    }

    fn topics() -> Vec<Topic> {
        vec![
            Topic::flags("path", "delay and loss", "Path").with("Loss comes first."),
            Topic::text("exit-codes", "what the status says", "  0  yes"),
        ]
    }

    fn on(words: &[&str]) -> Result<String, String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        help(&lab(), &topics(), &words)
    }

    #[test]
    fn the_front_page_leaves_out_what_a_topic_has() {
        let front = on(&[]).unwrap();
        assert!(front.starts_with("Examples:"), "{front}");
        assert!(front.contains("--seed") && front.contains("--cc"), "{front}");
        assert!(!front.contains("--loss <"), "{front}");
        assert!(front.contains("\n  path        delay and loss\n"), "{front}");
    }

    #[test]
    fn a_topic_has_its_flags_and_its_text_alone() {
        let path = on(&["path"]).unwrap();
        assert!(path.contains("--loss") && path.contains("Loss comes first."), "{path}");
        assert!(!path.contains("--seed") && !path.contains("--cc"), "{path}");
        assert_eq!(
            on(&["exit-codes"]).unwrap(),
            "lab exit-codes: what the status says\n\n  0  yes\n"
        );
        assert!(on(&["show"]).unwrap().contains("Usage: lab show"));
    }

    #[test]
    fn an_unknown_topic_lists_those_that_exist() {
        let error = on(&["paht"]).unwrap_err();
        assert!(error.contains("\"paht\"") && error.contains("path, exit-codes, show"), "{error}");
        assert!(!error.contains(", help"), "{error}");
    }
}
