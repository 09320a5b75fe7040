//! An error as a person can use it: what failed, why, what to type.
//!
//! It must never end in a number alone, nor without a way on.

use super::exit::Exit;
use crate::report::style::Style;
use std::fmt;

/// Why a lab cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the lab ends.
    pub exit: Exit,
    /// What failed: the operation, and on what.
    pub what: String,
    /// Why, one reason per line.
    pub why: Vec<String>,
    /// What helps, and what to type for it.
    pub remedies: Vec<(String, String)>,
}

impl Failure {
    /// A failure of `what`.
    #[must_use]
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), why: Vec::new(), remedies: Vec::new() }
    }

    /// Adds a reason.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why.push(why.into());
        self
    }

    /// Adds a remedy: what it is for, and what to type.
    #[must_use]
    pub fn or_type(mut self, label: impl Into<String>, command: impl Into<String>) -> Self {
        self.remedies.push((label.into(), command.into()));
        self
    }

    /// A failure with the chain of causes of an error as its reasons.
    #[must_use]
    pub fn from_error(exit: Exit, what: impl Into<String>, error: &dyn std::error::Error) -> Self {
        let mut failure = Self::new(exit, what).because(error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            failure = failure.because(error.to_string());
            cause = error.source();
        }
        failure
    }

    /// The text for stderr, with the name of the lab before it.
    #[must_use]
    pub fn render(&self, lab: &str, style: Style) -> String {
        let bold = |text: &str| {
            if style.color { format!("\x1b[1;31m{text}\x1b[0m") } else { text.to_owned() }
        };
        let mut out = format!("{} {}\n", bold(&format!("{lab}:")), self.what);
        for why in &self.why {
            out.push_str(&format!("  {why}\n"));
        }
        let wide = self.remedies.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, command) in &self.remedies {
            let pad = " ".repeat(wide - label.chars().count());
            out.push_str(&format!("  {label}:{pad}  {command}\n"));
        }
        out
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_why_and_what_to_type() {
        let failure = Failure::new(Exit::Privilege, "cannot create a network namespace: EPERM")
            .because("this kernel forbids unprivileged user namespaces")
            .or_type("without any privilege", "tcp-vs-udp --sim")
            .or_type("as root", "sudo tcp-vs-udp");
        let text = failure.render("tcp-vs-udp", Style { color: false, width: 80 });
        assert_eq!(
            text,
            "tcp-vs-udp: cannot create a network namespace: EPERM\n  \
             this kernel forbids unprivileged user namespaces\n  \
             without any privilege:  tcp-vs-udp --sim\n  \
             as root:                sudo tcp-vs-udp\n"
        );
    }

    #[test]
    fn an_error_brings_its_causes() {
        let error = std::io::Error::other("the disk is full");
        let failure = Failure::from_error(Exit::Bug, "cannot save the run", &error);
        assert_eq!(failure.why, ["the disk is full"]);
    }
}
