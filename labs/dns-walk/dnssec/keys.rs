//! The keys of a zone against the DS records above it, or against a trust anchor (RFC 4035 §5.2).

use super::reason::Reason;
use super::verify::{Against, Checked, SignatureSeen, check};
use super::{UnixSeconds, Work, WorkLimit};
use crate::dnssec::key::Key;
use crate::text::name_text;
use hickory_proto::dnssec::rdata::DS;
use hickory_proto::dnssec::{Algorithm, DigestType};
use hickory_proto::rr::{Name, Record};
use serde::{Deserialize, Serialize};

/// DS records, or anchors, for a zone's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// A digest of a key.
    Digest(DS),
    /// The key itself, as an anchor may be given.
    Key(Box<Key>),
}

impl Trusted {
    /// The number of the key.
    #[must_use]
    pub fn tag(&self) -> u16 {
        match self {
            Self::Digest(ds) => ds.key_tag(),
            Self::Key(key) => key.tag,
        }
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Digest(ds) => ds.algorithm(),
            Self::Key(key) => key.algorithm(),
        }
    }

    /// The kind of digest, or zero where the key itself is known.
    #[must_use]
    pub fn digest(&self) -> u8 {
        match self {
            Self::Digest(ds) => u8::from(ds.digest_type()),
            Self::Key(_) => 0,
        }
    }
}

/// A DS record as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DsSeen {
    /// The number of the key.
    pub tag: u16,
    /// Its algorithm.
    pub algorithm: u8,
    /// The kind of digest; zero where an anchor is the key itself.
    pub digest: u8,
    /// The verdict.
    pub verdict: DsVerdict,
}

/// The verdict on a DS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DsVerdict {
    /// Not compared: there was no need, or nothing to compare with.
    NotCompared,
    /// A key of the zone has this digest.
    Matches,
    /// No key of the zone does.
    MatchesNone,
    /// Its algorithm or its digest is not supported.
    Unsupported,
    /// SHA-1 does not count beside a better digest (RFC 4509 §3).
    Outclassed,
}

impl DsVerdict {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotCompared => "not compared",
            Self::Matches => "matches a key",
            Self::MatchesNone => "matches no key",
            Self::Unsupported => "not supported",
            Self::Outclassed => "ignored beside a better digest",
        }
    }
}

/// A key as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySeen {
    /// The number.
    pub tag: u16,
    /// The algorithm.
    pub algorithm: u8,
    /// Its flags: 257 for a key that signs keys, 256 for one that signs records.
    pub flags: u16,
}

/// A DNSKEY set that was judged.
#[derive(Clone, Debug)]
pub struct KeysChecked {
    /// Reason of the verdict.
    pub reason: Reason,
    /// The keys that may sign; none unless secure.
    pub keys: Vec<Key>,
    /// The DS records.
    pub ds: Vec<DsSeen>,
    /// The keys of the set.
    pub seen: Vec<KeySeen>,
    /// Signatures over the set.
    pub signatures: Vec<SignatureSeen>,
}

/// The records that a validator can use, and what it says where there are none
/// (RFC 6840 §5.2, RFC 4509 §3).
///
/// # Errors
/// Fails if none can be used: the zone counts as unsigned.
pub fn usable(zone: &Name, all: &[Trusted]) -> Result<Vec<(Trusted, DsVerdict)>, Reason> {
    let supported = |trusted: &Trusted| {
        let digest = DigestType::from(trusted.digest());
        let computable = matches!(trusted, Trusted::Key(_)) || digest.is_supported();
        (trusted.algorithm().is_supported(), computable)
    };
    let better = all.iter().any(|one| supported(one) == (true, true) && one.digest() > 1);
    let judged: Vec<(Trusted, DsVerdict)> = all
        .iter()
        .map(|one| {
            let verdict = match supported(one) {
                (true, true) if better && one.digest() == 1 => DsVerdict::Outclassed,
                (true, true) => DsVerdict::NotCompared,
                _ => DsVerdict::Unsupported,
            };
            (one.clone(), verdict)
        })
        .collect();
    if judged.iter().any(|(_, verdict)| *verdict == DsVerdict::NotCompared) {
        return Ok(judged);
    }
    let zone = name_text(zone);
    let mut algorithms: Vec<u8> = all.iter().map(|one| u8::from(one.algorithm())).collect();
    let mut digests: Vec<u8> = all.iter().map(Trusted::digest).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    digests.sort_unstable();
    digests.dedup();
    if all.iter().any(|one| one.algorithm().is_supported()) {
        Err(Reason::DigestUnsupported { zone, digests })
    } else {
        Err(Reason::AlgorithmUnsupported { zone, algorithms })
    }
}

/// Judges the DNSKEY set of a zone by what is trusted from above.
#[must_use]
pub fn judge(
    zone: &Name,
    trusted: Vec<(Trusted, DsVerdict)>,
    set: &[Record],
    signatures: &[Record],
    at: UnixSeconds,
    work: &mut Work,
) -> KeysChecked {
    let keys: Vec<Key> = set.iter().filter_map(Key::of).collect();
    let seen = |key: &Key| KeySeen {
        tag: key.tag,
        algorithm: u8::from(key.algorithm()),
        flags: key.dnskey.flags(),
    };
    let mut tags: Vec<u16> = trusted
        .iter()
        .filter(|(_, verdict)| *verdict == DsVerdict::NotCompared)
        .map(|(one, _)| one.tag())
        .collect();
    tags.sort_unstable();
    tags.dedup();
    let (mut entries, ds, over) = entry_points(zone, trusted, &keys, work);
    let mut checked = KeysChecked {
        reason: Reason::DsMatchesNoKey { zone: name_text(zone), tags: tags.clone() },
        keys: Vec::new(),
        ds,
        seen: keys.iter().map(seen).collect(),
        signatures: Vec::new(),
    };
    if entries.is_empty() {
        if over {
            checked.reason = Reason::WorkLimit { limit: WorkLimit::Digests };
        }
        return checked;
    }
    let unchecked = entries.iter().find_map(Key::unchecked_bits);
    entries.retain(|key| key.unchecked_bits().is_none());
    if let (Some(bits), true) = (unchecked, entries.is_empty()) {
        checked.reason = Reason::KeySizeUnsupported { zone: name_text(zone), bits };
        return checked;
    }
    let against = Against { zone, keys: &entries, at };
    let Checked { reason, signatures, .. } = check(&against, set, signatures, work);
    checked.signatures = signatures;
    checked.reason = match reason {
        Reason::SignatureMissing { .. } | Reason::KeyMissing { .. } => {
            Reason::KeysNotSigned { zone: name_text(zone), tags }
        }
        other => other,
    };
    if matches!(checked.reason, Reason::Signed { .. }) {
        checked.keys = keys.into_iter().filter(Key::signs_zones).collect();
    }
    checked
}

/// The keys that are trusted from above; whether the limit was reached before all were compared.
fn entry_points(
    zone: &Name,
    trusted: Vec<(Trusted, DsVerdict)>,
    keys: &[Key],
    work: &mut Work,
) -> (Vec<Key>, Vec<DsSeen>, bool) {
    let mut entries: Vec<Key> = Vec::new();
    let mut seen = Vec::new();
    let mut over = false;
    for (one, mut verdict) in trusted {
        if verdict == DsVerdict::NotCompared {
            verdict = DsVerdict::MatchesNone;
            let fits = |key: &&Key| {
                key.tag == one.tag() && key.algorithm() == one.algorithm() && key.signs_zones()
            };
            for key in keys.iter().filter(fits) {
                if work.digests >= work.limits.digests {
                    (verdict, over) = (DsVerdict::NotCompared, true);
                    break;
                }
                work.digests += 1;
                let same = match &one {
                    Trusted::Digest(ds) => matches!(ds.covers(zone, &key.dnskey), Ok(true)),
                    Trusted::Key(trusted) => trusted.dnskey == key.dnskey,
                };
                if same {
                    verdict = DsVerdict::Matches;
                    if !entries.contains(key) {
                        entries.push(key.clone());
                    }
                    break;
                }
            }
        }
        let (tag, algorithm, digest) = (one.tag(), u8::from(one.algorithm()), one.digest());
        seen.push(DsSeen { tag, algorithm, digest, verdict });
    }
    (entries, seen, over)
}
