//! Exit codes, the same for every lab.
//!
//! Two codes are not in the common table: 6 belongs to `dns-walk`, and `lossy-path` passes on the
//! status of the program that it runs, whatever that is.

use std::process::ExitCode;

/// How a lab ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ran and the claim holds.
    Holds,
    /// It ran and the claim does not hold.
    Fails,
    /// The command line or a plan file is wrong; nothing was run.
    Usage,
    /// It ran and cannot tell: too few samples, or the host was too busy.
    Inconclusive,
    /// This machine lacks a privilege, a kernel feature, descriptors or disk space.
    Privilege,
    /// The peer or the network failed.
    Network,
    /// The answer's DNSSEC signatures do not validate (`dns-walk` only).
    Bogus,
    /// A bug in wirelab.
    Bug,
    /// Interrupted; what was measured is saved.
    Interrupted,
    /// The status of the program that `lossy-path` ran, passed on.
    Program(u8),
}

impl Exit {
    /// The codes that every lab shares, in order.
    pub const COMMON: [Self; 8] = [
        Self::Holds,
        Self::Fails,
        Self::Usage,
        Self::Inconclusive,
        Self::Privilege,
        Self::Network,
        Self::Bug,
        Self::Interrupted,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Holds => 0,
            Self::Fails => 1,
            Self::Usage => 2,
            Self::Inconclusive => 3,
            Self::Privilege => 4,
            Self::Network => 5,
            Self::Bogus => 6,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::Program(status) => status,
        }
    }

    /// Its meaning in every lab.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Holds => "ran, and the claim holds",
            Self::Fails => "ran, and the claim does not hold",
            Self::Usage => "wrong usage; nothing was run",
            Self::Inconclusive => "inconclusive: too few samples, or the host was too busy",
            Self::Privilege => {
                "missing here: a privilege, a kernel feature, descriptors, disk space"
            }
            Self::Network => "the peer or the network failed",
            Self::Bogus => "bogus: the answer's signatures do not validate",
            Self::Bug => "a bug in wirelab: please report it",
            Self::Interrupted => "interrupted; what was measured is saved",
            Self::Program(_) => "the program's own status",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table for `--help`: the common codes, with a lab's own wording or codes over them.
///
/// An empty wording leaves a code out that this lab cannot return.
#[must_use]
pub fn table(own: &[(Exit, &str)]) -> String {
    let mut rows: Vec<(u8, &str)> =
        Exit::COMMON.iter().map(|exit| (exit.code(), exit.about())).collect();
    for (exit, about) in own {
        rows.retain(|(code, _)| *code != exit.code());
        rows.push((exit.code(), about));
    }
    rows.sort_unstable();
    let rows = rows.iter().filter(|(_, about)| !about.is_empty());
    let rows: String = rows.map(|(code, about)| format!("  {code:>3}  {about}\n")).collect();
    format!("Exit codes:\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_table() {
        assert_eq!(Exit::COMMON.map(Exit::code), [0, 1, 2, 3, 4, 5, 70, 130]);
        let common = table(&[]);
        assert!(common.contains("\n  130  interrupted"));
        assert!(!common.contains("\n    6  "), "6 is dns-walk's own: {common}");
        let own = table(&[(Exit::Bogus, "bogus"), (Exit::Fails, "")]);
        assert!(own.contains("\n    6  bogus\n") && !own.contains("\n    1  "), "{own}");
    }
}
