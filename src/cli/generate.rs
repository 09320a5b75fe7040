//! Completions and the manual page, made by the program itself: `--generate completions:bash`.

use super::topics::Topic;
use clap::Command;
use clap_complete::Shell;
use std::io::{self, Write as _};
use std::str::FromStr;

/// Values of `--generate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generate {
    /// `completions:SHELL`.
    Completions(Shell),
    /// `man`.
    Man,
}

const SHELLS: &str = "bash, elvish, fish, powershell, zsh";

impl FromStr for Generate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "man" {
            return Ok(Self::Man);
        }
        let shell = text.strip_prefix("completions:").and_then(|name| name.parse().ok());
        shell
            .map(Self::Completions)
            .ok_or_else(|| format!("expected man or completions:SHELL ({SHELLS}), got {text:?}"))
    }
}

impl Generate {
    /// The text, for the command of a lab.
    ///
    /// # Errors
    /// Errors of rendering, which writes to memory.
    pub fn render(self, mut command: Command, topics: &[Topic]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Man => {
                command.build();
                manual(&command, &mut out)?;
                pages(topics, &mut out)?;
            }
            Self::Completions(shell) => {
                let name = command.get_name().to_owned();
                clap_complete::generate(shell, &mut command, name, &mut out);
            }
        }
        Ok(out)
    }
}

/// The page of a command, then those of the commands below it; `man -l` shows them as one.
fn manual(command: &Command, out: &mut Vec<u8>) -> io::Result<()> {
    let title = command.get_bin_name().unwrap_or_else(|| command.get_name()).replace(' ', "-");
    clap_mangen::Man::new(command.clone()).title(title).render(out)?;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        manual(below, out)?;
    }
    Ok(())
}

/// The texts of the topics, a section each; their flags are among the options above.
fn pages(topics: &[Topic], out: &mut Vec<u8>) -> io::Result<()> {
    for topic in topics.iter().filter(|topic| !topic.text.is_empty()) {
        let title = topic.name.to_uppercase();
        // A dot or a quote that begins a line would be a request.
        let text = topic.text.replace('\\', "\\e").replace("\n", "\n\\&");
        write!(out, ".SH \"{title}\"\n.nf\n\\&{text}\n.fi\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_every_text_and_refuses_the_rest() {
        for what in ["man", "completions:bash", "completions:zsh", "completions:fish"] {
            let topics = [Topic::text("more", "a topic", "text\n.dotted")];
            let serve = Command::new("serve").arg(clap::arg!(--listen <ADDR> "Where"));
            let command = Command::new("lab").arg(clap::arg!(--seed <N> "The seed"));
            let text = what.parse::<Generate>().unwrap().render(command.subcommand(serve), &topics);
            let text = String::from_utf8(text.unwrap()).unwrap();
            assert_eq!(text.contains("\n\\&.dotted"), what == "man", "{text}");
            assert!(text.contains("seed") && text.contains("listen"), "{what}: {text}");
        }
        for what in ["", "completions", "completions:tcsh", "html"] {
            assert!(what.parse::<Generate>().unwrap_err().contains("completions:SHELL"), "{what}");
        }
    }
}
