//! Why an answer has its status: one code for each cause, and a sentence.

use super::{Status, UnixSeconds, WorkLimit};
use serde::{Deserialize, Serialize};

/// Records of a proof of absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    /// Names in order (RFC 4034 §4).
    Nsec,
    /// Hashed names in order (RFC 5155).
    Nsec3,
    /// Hashed names in order, some unsigned delegations left out (RFC 5155 §6).
    Nsec3OptOut,
}

impl ProofKind {
    /// Its name for readers.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Nsec => "NSEC",
            Self::Nsec3 => "NSEC3",
            Self::Nsec3OptOut => "NSEC3 with opt-out",
        }
    }
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Reason {
    /// A key of the zone signed it, and the time is right.
    Signed {
        /// The zone.
        signer: String,
        /// The number of the key.
        tag: u16,
        /// Its algorithm.
        algorithm: u8,
        /// The signature counts until then.
        until: UnixSeconds,
    },
    /// A signed proof shows that it does not exist.
    Denied {
        /// Made of what.
        proof: ProofKind,
    },
    /// The zone above proves that a zone has no DS record: it is not signed, or not known to be.
    NoDs {
        /// The zone without.
        zone: String,
        /// Made of what.
        proof: ProofKind,
    },
    /// The zone's DS records name algorithms only that are not supported (RFC 6840 §5.2).
    AlgorithmUnsupported {
        /// The zone.
        zone: String,
        /// Which ones.
        algorithms: Vec<u8>,
    },
    /// The zone's DS records have digests only that are not supported (RFC 6840 §5.2).
    DigestUnsupported {
        /// The zone.
        zone: String,
        /// Which ones.
        digests: Vec<u8>,
    },
    /// The keys that are trusted from above have sizes only that are not supported.
    KeySizeUnsupported {
        /// The zone.
        zone: String,
        /// Bits of the first one's modulus.
        bits: u32,
    },
    /// The zone wants more rounds of a hash than are computed (RFC 9276 §3.2).
    Nsec3Iterations {
        /// How many it wants.
        iterations: u16,
        /// How many are computed at most.
        most: u16,
    },
    /// A proof with opt-out leaves room for unsigned names (RFC 5155 §9.2).
    OptOut,
    /// The zone is signed, this is not.
    SignatureMissing {
        /// The zone.
        zone: String,
    },
    /// The signature does not match the records: one of them was changed.
    SignatureInvalid {
        /// The zone that is said to have signed.
        signer: String,
        /// The number of the key.
        tag: u16,
        /// Its algorithm.
        algorithm: u8,
    },
    /// The key that signed has a size that is not supported, while the zone has others.
    SignatureNotChecked {
        /// The zone that is said to have signed.
        signer: String,
        /// The number of the key.
        tag: u16,
        /// Bits of its modulus.
        bits: u32,
    },
    /// The signature has expired.
    SignatureExpired {
        /// The number of the key.
        tag: u16,
        /// It counted until then.
        until: UnixSeconds,
        /// It was judged then.
        at: UnixSeconds,
    },
    /// The signature does not count yet.
    SignatureNotYetValid {
        /// The number of the key.
        tag: u16,
        /// It counts from then.
        from: UnixSeconds,
        /// It was judged then.
        at: UnixSeconds,
    },
    /// Signed in the name of a zone that the records are not in.
    SignerNotZone {
        /// The signer.
        signer: String,
        /// Owner of the records.
        zone: String,
    },
    /// The signature names more labels than the name has (RFC 4035 §5.3.1).
    LabelsTooMany {
        /// Labels by the signature.
        labels: u8,
        /// Labels of the name.
        owner: u8,
    },
    /// No key of the zone has the number and algorithm of the signature.
    KeyMissing {
        /// The zone.
        zone: String,
        /// The number.
        tag: u16,
        /// The algorithm.
        algorithm: u8,
    },
    /// The zone has DS records above it and no DNSKEY records.
    DnskeyMissing {
        /// The zone.
        zone: String,
    },
    /// None of the zone's keys is one that a DS record above it (or a trust anchor) names.
    DsMatchesNoKey {
        /// The zone.
        zone: String,
        /// The numbers of the keys that are named.
        tags: Vec<u16>,
    },
    /// A key is named by a DS record, but no key so named signed the zone's keys.
    KeysNotSigned {
        /// The zone.
        zone: String,
        /// The numbers of the keys that are named.
        tags: Vec<u16>,
    },
    /// It is said not to exist, without any NSEC or NSEC3 record.
    DenialMissing {
        /// What.
        name: String,
    },
    /// The NSEC or NSEC3 records are signed, but do not prove what the reply says.
    DenialInsufficient {
        /// Of what name.
        name: String,
        /// The missing part.
        missing: Missing,
    },
    /// No trust anchor covers it.
    NoAnchor,
    /// Data for the judgement could not be fetched.
    FetchFailed {
        /// The question.
        question: String,
        /// In words.
        because: String,
    },
    /// A limit of the work was reached: no zone in order needs so much.
    WorkLimit {
        /// Which.
        limit: WorkLimit,
    },
    /// The walk ended before the chain did.
    NotFinished {
        /// In words.
        because: String,
    },
    /// An earlier walk learned it without its signatures.
    NotKept,
    /// Records of this type are not signed themselves.
    NotSignable,
}

/// Missing part of a proof of absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// No record shows that the name is not there.
    Name,
    /// No record shows that no wildcard stands in for it.
    Wildcard,
    /// The record of the name says that the type is there.
    Type,
    /// No record shows the closest name that exists.
    ClosestEncloser,
    /// The name itself may exist, so no wildcard applies.
    NoCloserMatch,
}

impl Missing {
    /// The missing part, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Name => "no record of it covers the name",
            Self::Wildcard => "no record of it rules out a wildcard",
            Self::Type => "its record of the name says that the type, or an alias, is there",
            Self::ClosestEncloser => "no record of it shows the closest name that exists",
            Self::NoCloserMatch => "no record of it proves that the wildcard applies",
        }
    }
}

impl Reason {
    /// The status that the reason gives.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Signed { .. } | Self::Denied { .. } => Status::Secure,
            Self::NoDs { .. }
            | Self::AlgorithmUnsupported { .. }
            | Self::DigestUnsupported { .. }
            | Self::KeySizeUnsupported { .. }
            | Self::Nsec3Iterations { .. }
            | Self::OptOut => Status::Insecure,
            Self::NoAnchor
            | Self::FetchFailed { .. }
            | Self::WorkLimit { .. }
            | Self::NotFinished { .. }
            | Self::NotKept
            | Self::SignatureNotChecked { .. }
            | Self::NotSignable => Status::Indeterminate,
            _ => Status::Bogus,
        }
    }

    /// The extended error that a resolver would give for it (RFC 8914 §4).
    #[must_use]
    pub const fn extended_error(&self) -> Option<u16> {
        Some(match self {
            Self::AlgorithmUnsupported { .. }
            | Self::KeySizeUnsupported { .. }
            | Self::SignatureNotChecked { .. } => 1,
            Self::DigestUnsupported { .. } => 2,
            Self::NoAnchor | Self::NotKept | Self::NotSignable | Self::NotFinished { .. } => 5,
            Self::SignatureInvalid { .. }
            | Self::SignerNotZone { .. }
            | Self::LabelsTooMany { .. }
            | Self::WorkLimit { .. } => 6,
            Self::SignatureExpired { .. } => 7,
            Self::SignatureNotYetValid { .. } => 8,
            Self::DnskeyMissing { .. }
            | Self::KeyMissing { .. }
            | Self::DsMatchesNoKey { .. }
            | Self::KeysNotSigned { .. } => 9,
            Self::SignatureMissing { .. } => 10,
            Self::DenialMissing { .. } | Self::DenialInsufficient { .. } => 12,
            Self::FetchFailed { .. } => 22,
            Self::Nsec3Iterations { .. } => 27,
            _ => return None,
        })
    }

    /// Tags of DNSViz and Zonemaster, if any.
    #[must_use]
    pub const fn tags(&self) -> &'static [&'static str] {
        match self {
            Self::SignatureMissing { .. } => &["DNSViz:MISSING_RRSIG"],
            Self::SignatureInvalid { .. } => &["DNSViz:SIGNATURE_INVALID"],
            Self::SignatureExpired { .. } => &["DNSViz:EXPIRATION_IN_PAST"],
            Self::SignatureNotYetValid { .. } => &["DNSViz:INCEPTION_IN_FUTURE"],
            Self::SignerNotZone { .. } => &["DNSViz:SIGNER_NOT_ZONE"],
            Self::DsMatchesNoKey { .. } | Self::KeysNotSigned { .. } => &["DNSViz:NO_SEP"],
            Self::DenialMissing { .. } => &["DNSViz:MISSING_NSEC_FOR_NODATA"],
            _ => &[],
        }
    }

    /// The sentence.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Signed { signer, tag, algorithm, until } => format!(
                "signed by key {tag} of {signer} ({}), valid until {until}",
                algorithm_name(*algorithm)
            ),
            Self::Denied { proof } => format!("its absence is proved by signed {}", proof.words()),
            Self::NoDs { zone, proof } => format!(
                "the zone above proves that {zone} has no DS record ({}): what is below it is \
                 not signed",
                proof.words()
            ),
            Self::AlgorithmUnsupported { zone, algorithms } => format!(
                "{zone} is signed with {} alone, which this program cannot check: as if unsigned",
                list(algorithms, |number| algorithm_name(*number))
            ),
            Self::DigestUnsupported { zone, digests } => format!(
                "the DS records of {zone} have digests of type {} alone, which this program \
                 cannot compute: as if unsigned",
                list(digests, u8::to_string)
            ),
            Self::KeySizeUnsupported { zone, bits } => format!(
                "{zone} is trusted by an RSA key of {bits} bits alone, which this program does \
                 not check: as if unsigned"
            ),
            Self::Nsec3Iterations { iterations, most } => format!(
                "its NSEC3 records have {iterations} additional iterations, more than \
                 {most}: as if unsigned"
            ),
            Self::OptOut => "its NSEC3 records have opt-out: unsigned names may exist".to_owned(),
            _ => self.words_of_failure(),
        }
    }

    fn words_of_failure(&self) -> String {
        match self {
            Self::SignatureMissing { zone } => {
                format!("{zone} is signed, and this came without a signature of it")
            }
            Self::SignatureInvalid { signer, tag, algorithm } => format!(
                "the signature by key {tag} of {signer} ({}) does not match the records",
                algorithm_name(*algorithm)
            ),
            Self::SignatureNotChecked { signer, tag, bits } => format!(
                "it is signed by key {tag} of {signer}, an RSA key of {bits} bits, which this \
                 program does not check"
            ),
            Self::SignatureExpired { tag, until, at } => {
                format!("the signature by key {tag} expired on {until}; judged at {at}")
            }
            Self::SignatureNotYetValid { tag, from, at } => {
                format!("the signature by key {tag} is valid from {from} only; judged at {at}")
            }
            Self::SignerNotZone { signer, zone } => {
                format!("signed in the name of {signer}, but the records are of {zone}")
            }
            Self::LabelsTooMany { labels, owner } => {
                format!("its signature counts {labels} labels, the name has {owner}")
            }
            Self::KeyMissing { zone, tag, algorithm } => format!(
                "it is signed by key {tag} ({}), which is not among the keys of {zone}",
                algorithm_name(*algorithm)
            ),
            Self::DnskeyMissing { zone } => {
                format!("{zone} has DS records above it and no DNSKEY records")
            }
            Self::DsMatchesNoKey { zone, tags } => format!(
                "none of the keys of {zone} is one that is trusted from above (key {})",
                list(tags, u16::to_string)
            ),
            Self::KeysNotSigned { zone, tags } => format!(
                "the keys of {zone} are not signed by the key that is trusted from above ({})",
                list(tags, u16::to_string)
            ),
            Self::DenialMissing { name } => {
                format!("{name} is said not to be there, without any NSEC or NSEC3 record")
            }
            Self::DenialInsufficient { name, missing } => {
                format!("the proof about {name} does not hold: {}", missing.words())
            }
            Self::NoAnchor => "no trust anchor is known for it".to_owned(),
            Self::FetchFailed { question, because } => {
                format!("{question} could not be fetched: {because}")
            }
            Self::WorkLimit { limit } => format!("given up: {}", limit.words()),
            Self::NotFinished { because } => format!("the chain was not followed: {because}"),
            Self::NotKept => "an earlier walk learned it without its signatures".to_owned(),
            Self::NotSignable => "records of this type are not signed themselves".to_owned(),
            _ => String::new(),
        }
    }
}

fn list<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// An algorithm by its registered mnemonic (RFC 8624 §3.1).
#[must_use]
pub fn algorithm_name(number: u8) -> String {
    let name = match number {
        1 => "RSAMD5",
        3 => "DSA",
        5 => "RSASHA1",
        6 => "DSA-NSEC3-SHA1",
        7 => "RSASHA1-NSEC3-SHA1",
        8 => "RSASHA256",
        10 => "RSASHA512",
        12 => "ECC-GOST",
        13 => "ECDSAP256SHA256",
        14 => "ECDSAP384SHA384",
        15 => "ED25519",
        16 => "ED448",
        _ => return format!("algorithm {number}"),
    };
    name.to_owned()
}
