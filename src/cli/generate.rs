//! Completions and the manual page, made by the program itself: `--generate completions:bash`.
//!
//! It must never need a build step or a file beside the program.

use clap::Command;
use clap_complete::Shell;
use std::io;
use std::str::FromStr;

/// What `--generate` takes.
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
    /// What rendering returns; it writes to memory.
    pub fn render(self, mut command: Command) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Man => clap_mangen::Man::new(command).render(&mut out)?,
            Self::Completions(shell) => {
                let name = command.get_name().to_owned();
                clap_complete::generate(shell, &mut command, name, &mut out);
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_every_text_and_refuses_the_rest() {
        for what in ["man", "completions:bash", "completions:zsh", "completions:fish"] {
            let command = Command::new("lab").arg(clap::arg!(--seed <N> "The seed"));
            let text = what.parse::<Generate>().unwrap().render(command).unwrap();
            assert!(String::from_utf8(text).unwrap().contains("seed"), "{what}");
        }
        for what in ["", "completions", "completions:tcsh", "html"] {
            assert!(what.parse::<Generate>().unwrap_err().contains("completions:SHELL"), "{what}");
        }
    }
}
