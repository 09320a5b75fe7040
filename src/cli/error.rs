//! An error as a person can use it: what failed, why, what to type.

use super::exit::Exit;
use crate::report::style::{Ink, Style};
use std::error::Error;
use std::{fmt, io};

/// Why a lab cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the lab ends.
    pub exit: Exit,
    /// The failed operation and its object.
    pub what: String,
    /// Why, one reason per line.
    pub why: Vec<String>,
    /// The remedy, and the command for it.
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

    /// Adds a remedy: its purpose and the command.
    #[must_use]
    pub fn or_type(mut self, label: impl Into<String>, command: impl Into<String>) -> Self {
        self.remedies.push((label.into(), command.into()));
        self
    }

    /// A failure with the chain of causes of an error as its reasons.
    ///
    /// Where this machine has run out of descriptors or disk space, that decides the exit code and
    /// the remedy, whatever the caller took the failure for.
    #[must_use]
    pub fn from_error(exit: Exit, what: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        let causes = || std::iter::successors(Some(error), |error| (*error).source());
        let mut whys: Vec<String> = causes().map(ToString::to_string).collect();
        // Some errors end in the text of their cause.
        whys.dedup_by(|cause, error| error.ends_with(cause.as_str()));
        let failure = whys.into_iter().fold(Self::new(exit, what), Self::because);
        match causes().find_map(Shortage::of) {
            Some(shortage) => shortage.explain(failure),
            None => failure,
        }
    }

    /// The text for stderr, with the name of the lab before it.
    #[must_use]
    pub fn render(&self, lab: &str, style: Style) -> String {
        let mut out = format!("{} {}\n", style.ink(Ink::Bad, &format!("{lab}:")), self.what);
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

/// A resource that ran out on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortage {
    /// `EMFILE`: this process may open no more.
    Descriptors,
    /// `ENFILE`: no process may.
    SystemDescriptors,
    /// `ENOSPC`, `EDQUOT`.
    Disk,
}

impl Shortage {
    fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        let error = error.downcast_ref::<io::Error>()?;
        match (error.raw_os_error(), error.kind()) {
            (Some(EMFILE), _) => Some(Self::Descriptors),
            (Some(ENFILE), _) => Some(Self::SystemDescriptors),
            (_, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Some(Self::Disk),
            _ => None,
        }
    }

    fn explain(self, failure: Failure) -> Failure {
        let failure = Failure { exit: Exit::Privilege, ..failure };
        match self {
            Self::Descriptors => failure
                .because("this process may open no more files and sockets (see `ulimit -n`)")
                .or_type("allow more, then run it again", "ulimit -n 4096"),
            Self::SystemDescriptors => failure
                .because("this machine has no more descriptors for any process")
                .or_type("allow more", "sudo sysctl -w fs.file-max=1000000"),
            Self::Disk => failure
                .because("the file system is full, or a quota is used up")
                .or_type("see which", "df -h"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {}

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
        let error = io::Error::other("the disk is full");
        let failure = Failure::from_error(Exit::Bug, "cannot save the run", &error);
        assert_eq!((failure.exit, failure.why), (Exit::Bug, vec!["the disk is full".to_owned()]));
    }

    #[test]
    fn a_shortage_of_this_machine_is_no_bug() {
        for (errno, typed) in [(24, "ulimit -n"), (23, "fs.file-max"), (28, "df"), (122, "df")] {
            let error = io::Error::from_raw_os_error(errno);
            let failure = Failure::from_error(Exit::Bug, "cannot print", &error);
            assert_eq!(failure.exit, Exit::Privilege, "{errno}");
            assert!(failure.remedies[0].1.contains(typed), "{:?}", failure.remedies);
        }
    }
}
