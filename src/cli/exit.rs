//! Exit codes: what a script learns without reading a word.
//!
//! It must never give two meanings to one code.

use std::process::ExitCode;

/// How a lab ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It ran and the claim holds.
    Holds = 0,
    /// It ran and the claim does not hold.
    Fails = 1,
    /// The command line or a plan file is wrong; nothing was run.
    Usage = 2,
    /// It ran and cannot tell: too few samples, or the host was too busy.
    Inconclusive = 3,
    /// A privilege or a kernel feature is missing.
    Privilege = 4,
    /// The peer or the network failed.
    Network = 5,
    /// What came is signed wrongly: it is not to be believed.
    Bogus = 6,
    /// A fault of wirelab.
    Bug = 70,
    /// The user stopped it; what was measured is saved.
    Interrupted = 130,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Self; 9] = [
        Self::Holds,
        Self::Fails,
        Self::Usage,
        Self::Inconclusive,
        Self::Privilege,
        Self::Network,
        Self::Bogus,
        Self::Bug,
        Self::Interrupted,
    ];

    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means, for the table.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Holds => "ran, and the claim holds",
            Self::Fails => "ran, and the claim does not hold",
            Self::Usage => "wrong usage; nothing was run",
            Self::Inconclusive => "inconclusive: too few samples, or the host was too busy",
            Self::Privilege => "a privilege or a kernel feature is missing",
            Self::Network => "the peer or the network failed",
            Self::Bogus => "what came is signed wrongly, and not to be believed",
            Self::Bug => "a fault of wirelab: please report it",
            Self::Interrupted => "interrupted; what was measured is saved",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table for `--help`.
#[must_use]
pub fn table() -> String {
    let row = |exit: &Exit| format!("  {:>3}  {}\n", exit.code(), exit.about());
    let rows: String = Exit::ALL.iter().map(row).collect();
    format!("Exit codes:\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_table() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 4, 5, 6, 70, 130]);
        assert!(table().contains("\n  130  interrupted"));
    }
}
