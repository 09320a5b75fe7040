//! Protocol violations, found by the codec and counted by both sides.

use serde::Serialize;

/// A protocol violation by the peer; each has a counter of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Violation {
    /// Length below the header's or above the limit.
    #[error("frame length out of range")]
    Length,
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The magic is not "IG".
    #[error("wrong magic")]
    Magic,
    /// A field, block or TLV out of range.
    #[error("field out of range")]
    Field,
    /// A kind that this side never receives, or not in this state.
    #[error("unexpected kind of frame")]
    UnexpectedKind,
    /// Too short: any refusal would be longer.
    #[error("too short to be answered")]
    TooShort,
    /// A version this side does not speak, in a frame that must not be answered.
    #[error("unknown version")]
    Version,
}

impl Violation {
    /// Its name in counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::Magic => "magic",
            Self::Field => "field",
            Self::UnexpectedKind => "unexpected_kind",
            Self::TooShort => "too_short",
            Self::Version => "version",
        }
    }
}
