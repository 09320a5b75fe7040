//! How far a record is believed, and why it is not learned.

use serde::{Deserialize, Serialize};

/// How far a record is to be believed (RFC 2181 §5.4.1), the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// An address that came with a referral: good for asking that server, for nothing else.
    Glue,
    /// An answer without authority, taken where no server of the zone gave another one.
    NonAuthoritative,
    /// The servers of a zone, as the zone above names them.
    Referral,
    /// The servers of a zone, as it names them itself beside an answer.
    Authority,
    /// An authoritative answer.
    Answer,
}

/// Why a record was not learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// Its owner is not in the zone that was asked (RFC 5452 §6).
    OutOfBailiwick,
    /// It has nothing to do with the question.
    NotAskedFor,
    /// It names servers of a zone, and neither the zone above nor the zone was asked for them.
    Unsolicited,
    /// Its class is not IN.
    NotInternet,
    /// The cached data has a higher trust rank (RFC 2181 §5.4.1).
    Outranked,
    /// It is what a zone says of its own servers, and the parent's side alone is walked.
    OtherSide,
    /// Its address is not one of the public Internet.
    NotPublic,
    /// More than a limit allows.
    OverLimit,
}

impl DropReason {
    /// The reason in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::OutOfBailiwick => "not in the zone that was asked",
            Self::NotAskedFor => "not asked for",
            Self::Unsolicited => "servers that were not asked for",
            Self::NotInternet => "not of class IN",
            Self::Outranked => "outranked by what is known",
            Self::OtherSide => "of the other side of the delegation",
            Self::NotPublic => "not a public address",
            Self::OverLimit => "over a limit",
        }
    }
}
