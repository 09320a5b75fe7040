//! What is wrong with a plan, and the parts of text that several settings share.

use crate::measure::{Ppm, human};
use std::time::Duration;
use thiserror::Error;

/// Gives the text of a file that a plan names, or says why not.
pub type ReadFile<'a> = &'a mut dyn FnMut(&str) -> Result<String, String>;

/// Why a text is not a plan.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// A word or number is not what belongs there.
    #[error("{what}: expected {expected}, got {got:?}{}", human::suggestion(expected, got))]
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
    /// Settings that make no sense, or not together.
    #[error("{0}")]
    Together(String),
}

pub(super) fn wrong(what: &'static str, expected: &'static str, got: &str) -> PlanError {
    PlanError::Text { what, expected, got: got.to_owned() }
}

pub(super) fn refuse(why: impl Into<String>) -> Result<(), PlanError> {
    Err(PlanError::Together(why.into()))
}

const SHARE: &str = "a share such as 2%, 0.5% or 500ppm, at most 100%";
const DURATION: &str = "a duration such as 40ms, 1.5s or 250us";

pub(super) fn share(what: &'static str, text: &str) -> Result<Ppm, PlanError> {
    human::parse_share(text).map_err(|_| wrong(what, SHARE, text))
}

pub(super) fn duration(what: &'static str, text: &str) -> Result<Duration, PlanError> {
    human::parse_duration(text).map_err(|_| wrong(what, DURATION, text))
}

/// A whole number without a sign.
pub(super) fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
