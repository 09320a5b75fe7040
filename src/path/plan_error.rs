//! Errors of a plan, and text parsing that several settings share.

use crate::measure::{Ppm, human};
use std::time::Duration;
use thiserror::Error;

/// Returns the text of a file that a plan names, or why it cannot be read.
pub type ReadFile<'a> = &'a mut dyn FnMut(&str) -> Result<String, String>;

/// Why a text is not a plan.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// A wrong word or number.
    #[error("{what}: expected {expected}, got {got:?}{}", human::suggestion(expected, got))]
    Text {
        /// The setting.
        what: &'static str,
        /// The expected form.
        expected: &'static str,
        /// The text found.
        got: String,
    },
    /// A wrong word or number in a file.
    #[error("{file}, line {line}: expected {expected}, got {got:?}")]
    Line {
        /// The file.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// The expected form.
        expected: &'static str,
        /// The text found.
        got: String,
    },
    /// A file cannot be read.
    #[error("{file}: {why}")]
    File {
        /// The file.
        file: String,
        /// The reason.
        why: String,
    },
    /// Invalid or contradictory settings.
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

/// An unsigned integer.
pub(super) fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
