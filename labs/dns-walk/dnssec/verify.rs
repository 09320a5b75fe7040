//! One set of records against the keys of a zone (RFC 4035 §5.3).

use super::canon::{labels, signed_bytes};
use super::key::Key;
use super::reason::Reason;
use super::verified::Computation;
use super::{UnixSeconds, Work, WorkLimit, rrsig};
use crate::limits::at_most;
use crate::text::name_text;
use hickory_proto::dnssec::PublicKey;
use hickory_proto::dnssec::rdata::RRSIG;
use hickory_proto::rr::{Name, Record};
use serde::{Deserialize, Serialize};

/// A signature and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureSeen {
    /// The zone that is said to have signed.
    pub signer: String,
    /// The number of the key.
    pub tag: u16,
    /// Its algorithm.
    pub algorithm: u8,
    /// Labels of the name as it was signed.
    pub labels: u8,
    /// It counts from then.
    pub inception: UnixSeconds,
    /// It counts until then.
    pub expiration: UnixSeconds,
    /// The verdict.
    pub verdict: SignatureVerdict,
}

/// The verdict on a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureVerdict {
    /// It holds.
    Valid,
    /// Another one held before it was looked at.
    NotNeeded,
    /// Its algorithm, or its key's size, is not supported; it proves nothing and harms nothing.
    Unsupported,
    /// It names another zone as its signer.
    WrongSigner,
    /// It names more labels than the name has.
    TooManyLabels,
    /// No key of the zone has its number and algorithm.
    NoKey,
    /// It does not count yet.
    NotYetValid,
    /// It has expired.
    Expired,
    /// It does not match the records.
    Invalid,
    /// The work for this reply was done before it was its turn.
    OverLimit,
}

impl SignatureVerdict {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::NotNeeded => "not needed",
            Self::Unsupported => "not supported",
            Self::WrongSigner => "of another zone",
            Self::TooManyLabels => "with too many labels",
            Self::NoKey => "of no key of the zone",
            Self::NotYetValid => "not valid yet",
            Self::Expired => "expired",
            Self::Invalid => "does not match",
            Self::OverLimit => "not checked: over a limit",
        }
    }
}

/// A set that was checked.
#[derive(Clone, Debug)]
pub struct Checked {
    /// Reason of the verdict, good or bad.
    pub reason: Reason,
    /// Labels of the wildcard that the set was made of, without its `*`, where it was.
    pub wildcard: Option<u8>,
    /// Each signature.
    pub signatures: Vec<SignatureSeen>,
}

impl Checked {
    /// Whether a signature holds.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        matches!(self.reason, Reason::Signed { .. })
    }
}

/// Keys and time that an RRset is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// The zone that the set should be of.
    pub zone: &'a Name,
    /// Its keys.
    pub keys: &'a [Key],
    /// The time.
    pub at: UnixSeconds,
}

/// Checks the signatures `signatures` over the records of `set`, which have one name and type.
#[must_use]
pub fn check(
    against: &Against<'_>,
    set: &[Record],
    signatures: &[Record],
    work: &mut Work,
) -> Checked {
    let zone = name_text(against.zone);
    let mut checked = Checked {
        reason: Reason::SignatureMissing { zone },
        wildcard: None,
        signatures: Vec::new(),
    };
    let Some(first) = set.first() else { return checked };
    let over_this = signatures.iter().filter(|record| record.name == first.name);
    let mut worst = SignatureVerdict::NotNeeded;
    let most = at_most(work.limits.signatures);
    for (number, signature) in over_this
        .filter_map(rrsig)
        .filter(|signature| signature.input().type_covered == first.record_type())
        .enumerate()
    {
        if number >= most {
            if !checked.is_secure() && worst <= SignatureVerdict::Unsupported {
                checked.reason = Reason::WorkLimit { limit: WorkLimit::Signatures };
            }
            break;
        }
        let (verdict, reason) = if checked.is_secure() {
            (SignatureVerdict::NotNeeded, None)
        } else {
            judge(against, set, signature, work)
        };
        checked.signatures.push(seen(against, signature, verdict));
        // The one that came furthest says best what is wrong.
        if verdict == SignatureVerdict::Valid || (!checked.is_secure() && verdict > worst) {
            worst = verdict;
            checked.reason = reason.unwrap_or(checked.reason);
        }
        if verdict == SignatureVerdict::Valid && signature.input().num_labels < labels(&first.name)
        {
            checked.wildcard = Some(signature.input().num_labels);
        }
    }
    checked
}

/// One signature as a record of what was seen.
fn seen(against: &Against<'_>, signature: &RRSIG, verdict: SignatureVerdict) -> SignatureSeen {
    let input = signature.input();
    SignatureSeen {
        signer: name_text(&input.signer_name),
        tag: input.key_tag,
        algorithm: u8::from(input.algorithm),
        labels: input.num_labels,
        inception: against.at.nearest(input.sig_inception.get()),
        expiration: against.at.nearest(input.sig_expiration.get()),
        verdict,
    }
}

/// Judges one signature; the cheap questions first.
fn judge(
    against: &Against<'_>,
    set: &[Record],
    signature: &RRSIG,
    work: &mut Work,
) -> (SignatureVerdict, Option<Reason>) {
    let input = signature.input();
    let (tag, algorithm) = (input.key_tag, u8::from(input.algorithm));
    let (zone, signer) = (name_text(against.zone), name_text(&input.signer_name));
    if !input.algorithm.is_supported() {
        return (SignatureVerdict::Unsupported, None);
    }
    if input.signer_name != *against.zone {
        return (SignatureVerdict::WrongSigner, Some(Reason::SignerNotZone { signer, zone }));
    }
    let owner = labels(&set[0].name);
    if input.num_labels > owner {
        let reason = Reason::LabelsTooMany { labels: input.num_labels, owner };
        return (SignatureVerdict::TooManyLabels, Some(reason));
    }
    let at = against.at;
    let (from, until) =
        (at.nearest(input.sig_inception.get()), at.nearest(input.sig_expiration.get()));
    if at < from {
        let reason = Reason::SignatureNotYetValid { tag, from, at };
        return (SignatureVerdict::NotYetValid, Some(reason));
    }
    if at > until {
        let reason = Reason::SignatureExpired { tag, until, at };
        return (SignatureVerdict::Expired, Some(reason));
    }
    let fits = |key: &&Key| key.tag == tag && u8::from(key.algorithm()) == algorithm;
    let mut fitting = against.keys.iter().filter(fits).peekable();
    if fitting.peek().is_none() {
        let reason = Reason::KeyMissing { zone, tag, algorithm };
        return (SignatureVerdict::NoKey, Some(reason));
    }
    if let Some(bits) = fitting.clone().map(Key::unchecked_bits).min().flatten() {
        let reason = Reason::SignatureNotChecked { signer, tag, bits };
        return (SignatureVerdict::Unsupported, Some(reason));
    }
    let over = |limit| (SignatureVerdict::OverLimit, Some(Reason::WorkLimit { limit }));
    let invalid = Reason::SignatureInvalid { signer: signer.clone(), tag, algorithm };
    let Some(bytes) = signed_bytes(input, set) else {
        return (SignatureVerdict::Invalid, Some(invalid));
    };
    for (tried, key) in (0_u32..).zip(fitting) {
        if tried >= work.limits.keys {
            return over(WorkLimit::Keys);
        }
        let computation = Computation::of(key, &bytes, signature.sig());
        if !work.verified.contains(&computation) {
            if work.validations >= work.limits.validations {
                return over(WorkLimit::Validations);
            }
            work.validations += 1;
            work.validations_all = work.validations_all.saturating_add(1);
            if key.dnskey.public_key().verify(&bytes, signature.sig()).is_err() {
                continue;
            }
            work.verified.keep(computation);
        }
        let reason = Reason::Signed { signer, tag, algorithm, until };
        return (SignatureVerdict::Valid, Some(reason));
    }
    (SignatureVerdict::Invalid, Some(invalid))
}
