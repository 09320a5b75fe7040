//! One link of the chain of trust, as it was judged.

use super::Status;
use super::keys::{DsSeen, KeySeen};
use super::reason::Reason;
use super::verify::SignatureSeen;
use crate::text::{Asked, Question, name_text};
use hickory_proto::rr::Name;
use serde::{Deserialize, Serialize};

/// Subject of a link of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// The DS records of a zone, or their absence, in the zone above.
    Ds,
    /// The keys of a zone.
    Keys,
    /// Records that the user's question led to.
    Records,
    /// The absence of such records.
    Absence,
}

/// One link of the chain: what was checked, against what, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The step that brought it; absent where nothing could be fetched.
    pub step: Option<u32>,
    /// Its subject.
    pub link: LinkKind,
    /// The name and type.
    pub subject: Asked,
    /// The zone whose keys had to prove it.
    pub zone: String,
    /// How far it is proved.
    pub status: Status,
    /// Why.
    pub reason: Reason,
    /// The DS records (or trust anchors) of the zone.
    pub ds: Vec<DsSeen>,
    /// The keys of the zone.
    pub keys: Vec<KeySeen>,
    /// The signatures that were looked at.
    pub signatures: Vec<SignatureSeen>,
}

impl Link {
    /// A link that is not judged yet.
    pub(super) fn new(step: Option<u32>, link: LinkKind, about: &Question, zone: &Name) -> Self {
        Self {
            step,
            link,
            subject: about.text(),
            zone: name_text(zone),
            status: Status::Indeterminate,
            reason: Reason::NotKept,
            ds: Vec::new(),
            keys: Vec::new(),
            signatures: Vec::new(),
        }
    }
}
