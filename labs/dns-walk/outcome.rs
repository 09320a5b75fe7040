//! How a walk ended.

use super::limits::Limit;
use serde::{Deserialize, Serialize};

/// How a walk ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The records asked for.
    Answer,
    /// The name exists and has no such record.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// No server of a zone gave an answer.
    Unanswered {
        /// The zone.
        zone: String,
        /// Whether any of them replied at all.
        any_reply: bool,
    },
    /// The aliases lead in a circle.
    AliasLoop {
        /// The name that came up twice.
        at: String,
    },
    /// A limit was reached.
    Limit {
        /// Which.
        limit: Limit,
    },
    /// The user stopped it.
    Interrupted,
}
