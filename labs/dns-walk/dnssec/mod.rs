//! Whether an answer can be proved from a trust anchor down: the rules, without any network.
//!
//! The primitives (digests, public-key signatures) are `hickory-proto`'s; what they mean is decided
//! here.

pub mod advice;
pub mod anchor;
pub mod canon;
pub mod chain;
pub mod denial;
pub mod evidence;
pub mod key;
pub mod keys;
pub mod link;
pub mod reason;
pub mod verified;
pub mod verify;

use hickory_proto::dnssec::rdata::{DNSSECRData, RRSIG};
use hickory_proto::rr::{RData, Record, RecordType};
use serde::{Deserialize, Serialize};
use std::fmt;
use verified::Verified;

/// A time of day and year: seconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// The time that 32 bits of a signature mean: the one nearest to `self` (RFC 4034 §3.1.5).
    #[must_use]
    pub fn nearest(self, bits: u32) -> Self {
        let [.., a, b, c, d] = self.0.to_be_bytes();
        let ahead = bits.wrapping_sub(u32::from_be_bytes([a, b, c, d]));
        if ahead < 1 << 31 {
            Self(self.0.saturating_add(u64::from(ahead)))
        } else {
            Self(self.0.saturating_sub(u64::from(ahead.wrapping_neg())))
        }
    }

    /// Reads seconds since 1970, `YYYYMMDDHHMMSS` as in signatures, or `YYYY-MM-DD`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| !"-T:Z".contains(*c)).collect();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let dated = digits.len() == 14 || (text.contains('-') && digits.len() == 8);
        if !dated {
            return (digits == text).then(|| digits.parse().ok().map(Self)).flatten();
        }
        let part = |from: usize, to: usize| digits.get(from..to).map_or(Ok(0), str::parse::<u64>);
        let (year, month, day) = (part(0, 4).ok()?, part(4, 6).ok()?, part(6, 8).ok()?);
        let (hour, minute, second) = (part(8, 10).ok()?, part(10, 12).ok()?, part(12, 14).ok()?);
        let right = (1970..=9999).contains(&year)
            && (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        right.then(|| Self(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second))
    }
}

impl UnixSeconds {
    /// `YYYYMMDDHHMMSS`, as signatures are written (RFC 4034 §3.2).
    #[must_use]
    pub fn stamp(self) -> String {
        self.to_string().chars().filter(char::is_ascii_digit).collect()
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    // The year begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shifted = self.0 / 86_400 + 719_468;
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let (year, month) = if month < 10 {
            (era * 400 + year, month + 3)
        } else {
            (era * 400 + year + 1, month - 9)
        };
        let (hour, minute, second) = (self.0 / 3_600 % 24, self.0 / 60 % 60, self.0 % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

/// How far an answer is proved (RFC 4035 §4.3), the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Signatures lead from the anchor to it.
    Secure,
    /// It is proved that a zone on the way has no keys that count.
    Insecure,
    /// It cannot be decided: something could not be fetched.
    Indeterminate,
    /// It should be signed, and what is there does not hold.
    Bogus,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secure => "secure",
            Self::Insecure => "insecure",
            Self::Indeterminate => "indeterminate",
            Self::Bogus => "bogus",
        })
    }
}

/// Validation budget of one reply.
///
/// A zone may hold keys of one number without end and signatures of each (KeyTrap, CVE-2023-50387),
/// and hashes that take long (CVE-2023-50868); each of these bounds one of the loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkLimits {
    /// Signatures computed for one reply. BIND stops at 16.
    pub validations: u32,
    /// Signatures of one set that are looked at. Unbound and hickory look at 8.
    pub signatures: u32,
    /// Keys of the same number and algorithm that are tried for one signature: two collide where
    /// a key is rolled with bad luck; hickory tries 2.
    pub keys: u32,
    /// Digests of keys computed for one DNSKEY set. Unbound gives up after 4 DS that do not match;
    /// a roll over of two algorithms with two digests each needs 8.
    pub digests: u32,
    /// Names hashed for one reply: all 34 labels of a reverse name of IPv6, and its wildcards.
    pub nsec3_hashes: u32,
    /// Additional rounds of a hash; above it a zone counts as insecure (RFC 9276 §3.2). Zones
    /// should have none; BIND 9.18 computes up to 150.
    pub nsec3_iterations: u16,
}

impl Default for WorkLimits {
    fn default() -> Self {
        Self {
            validations: 16,
            signatures: 8,
            keys: 2,
            digests: 8,
            nsec3_hashes: 72,
            nsec3_iterations: 50,
        }
    }
}

/// A limit of [`WorkLimits`] that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkLimit {
    /// [`WorkLimits::validations`].
    Validations,
    /// [`WorkLimits::signatures`].
    Signatures,
    /// [`WorkLimits::keys`].
    Keys,
    /// [`WorkLimits::digests`].
    Digests,
    /// [`WorkLimits::nsec3_hashes`].
    Nsec3Hashes,
}

impl WorkLimit {
    /// The limit reached, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Validations => "more signatures to compute for one reply than allowed",
            Self::Signatures => "more signatures over one set than are looked at",
            Self::Keys => "more keys of one number than are tried",
            Self::Digests => "more digests to compute for one set of keys than allowed",
            Self::Nsec3Hashes => "more names to hash for one reply than allowed",
        }
    }
}

/// The work done so far, for one reply and in all.
#[derive(Clone, Debug)]
pub struct Work {
    /// Validation budget of one reply.
    pub limits: WorkLimits,
    /// Signatures computed for this reply.
    pub validations: u32,
    /// Names hashed for this reply.
    pub hashes: u32,
    /// Digests of keys computed for this reply.
    pub digests: u32,
    /// Signatures computed in all.
    pub validations_all: u32,
    /// Signatures that need not be computed again.
    pub verified: Verified,
}

impl Work {
    /// Nothing done yet.
    #[must_use]
    pub fn new(limits: WorkLimits) -> Self {
        let verified = Verified::default();
        Self { limits, validations: 0, hashes: 0, digests: 0, validations_all: 0, verified }
    }

    /// The next reply begins.
    pub const fn next_reply(&mut self) {
        (self.validations, self.hashes, self.digests) = (0, 0, 0);
    }
}

/// The signature that a record is, if it is one.
#[must_use]
pub fn rrsig(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some(signature),
        _ => None,
    }
}

/// Types that exist to prove others, or to deny them.
#[must_use]
pub const fn proves(kind: RecordType) -> bool {
    matches!(kind, RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_700_000_000, "2023-11-14 22:13:20 UTC"),
            (4_107_542_399, "2100-02-28 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(UnixSeconds(seconds).to_string(), text);
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            assert_eq!(UnixSeconds::parse(&digits), Some(UnixSeconds(seconds)), "{text}");
        }
        assert_eq!(UnixSeconds::parse("2000-02-29"), Some(UnixSeconds(951_782_400)));
        assert_eq!(UnixSeconds::parse("1700000000"), Some(UnixSeconds(1_700_000_000)));
        for wrong in ["", "soon", "20231414221320", "2023-11", "-5", "12:30"] {
            assert_eq!(UnixSeconds::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn thirty_two_bits_mean_the_nearest_time() {
        let now = UnixSeconds(0x1_0000_0010);
        assert_eq!(now.nearest(0x20), UnixSeconds(0x1_0000_0020));
        assert_eq!(now.nearest(0xffff_fff0), UnixSeconds(0xffff_fff0));
        assert_eq!(UnixSeconds(5).nearest(0xffff_fff0), UnixSeconds(0));
    }
}
