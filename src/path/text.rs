//! A plan as people write it, the same words in flags and in plan files.
//!
//! It must never read a file itself, and never turn a typing mistake into a plan.

use super::{
    Change, Corruption, Delay, FateKey, LinkPlan, LossModel, MtuLimit, Queue, Rate, Reorder,
};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Gives the text of a file that a plan names, or says why not.
pub type ReadFile<'a> = &'a mut dyn FnMut(&str) -> Result<String, String>;

/// Why a text is not a plan.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// A word or number is not what belongs there.
    #[error("{what}: expected {expected}, got {got:?}")]
    Text {
        /// Which setting.
        what: &'static str,
        /// What belongs there.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// The same in a file.
    #[error("{file}, line {line}: expected {expected}, got {got:?}")]
    Line {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What belongs there.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// A file cannot be read.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// Why not.
        why: String,
    },
    /// Settings that cannot stand together.
    #[error("{0}")]
    Together(String),
}

macro_rules! stub {
    ($($name:ident),*) => {$(
        impl FromStr for $name {
            type Err = PlanError;
            fn from_str(text: &str) -> Result<Self, PlanError> {
                Err(PlanError::Together(text.to_owned()))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("")
            }
        }
    )*};
}
stub!(FateKey, Corruption, MtuLimit, Queue, Reorder);

macro_rules! reading {
    ($($name:ident),*) => {$(
        impl $name {
            /// Reads its text form; `read` gives the files that it names.
            ///
            /// # Errors
            /// What was expected, and what came.
            pub fn parse(text: &str, read: ReadFile<'_>) -> Result<Self, PlanError> {
                let _ = read;
                Err(PlanError::Together(text.to_owned()))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("")
            }
        }
    )*};
}
reading!(LossModel, Delay, Rate, Change);

impl LinkPlan {
    /// The words of [`LinkPlan::set_all`], in the order in which the impairments act.
    pub const WORDS: [&'static str; 12] = [
        "key",
        "loss",
        "max-burst",
        "corrupt",
        "duplicate",
        "mark",
        "mtu",
        "rate",
        "queue",
        "delay",
        "reorder",
        "at",
    ];

    /// Sets what each pair of a word and a text says, in any order; `at` may come several times,
    /// every other word once. What no pair names stays as it is.
    ///
    /// # Errors
    /// The first pair that is wrong, or what [`LinkPlan::check`] says of the whole.
    pub fn set_all(
        &mut self,
        settings: &[(&str, &str)],
        read: ReadFile<'_>,
    ) -> Result<(), PlanError> {
        let _ = (settings, read);
        Ok(())
    }

    /// The words and texts that make this plan from the default one.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
