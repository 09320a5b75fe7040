//! A key of a zone.

use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData};
use hickory_proto::dnssec::{Algorithm, PublicKey};
use hickory_proto::rr::{RData, Record};
use std::ops::RangeInclusive;

/// Sizes of RSA keys that `ring` checks. RFC 5702 §2.1 allows 512 to 4096 bits; the
/// shortest can be factored in a day.
const RSA_BITS: RangeInclusive<u32> = 1_024..=8_192;

/// A key and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The number (RFC 4034, appendix B).
    pub tag: u16,
    /// The record.
    pub dnskey: DNSKEY,
}

impl Key {
    /// A key of a record, if it is one.
    #[must_use]
    pub fn of(record: &Record) -> Option<Self> {
        let RData::DNSSEC(DNSSECRData::DNSKEY(dnskey)) = &record.data else { return None };
        Some(Self { tag: dnskey.calculate_key_tag().ok()?, dnskey: dnskey.clone() })
    }

    /// Its algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.dnskey.public_key().algorithm()
    }

    /// Bits of its modulus, where it is an RSA key of a size that is not checked.
    #[must_use]
    pub fn unchecked_bits(&self) -> Option<u32> {
        use Algorithm as A;
        #[expect(deprecated, reason = "zones still have keys of these algorithms")]
        let rsa = [A::RSASHA1, A::RSASHA1NSEC3SHA1, A::RSASHA256, A::RSASHA512];
        if !rsa.contains(&self.algorithm()) {
            return None;
        }
        // RFC 3110 §2: the length of the exponent in one byte, or in two behind a zero.
        let modulus = match self.dnskey.public_key().public_bytes() {
            [0, high, low, rest @ ..] => rest.get(usize::from(*high) << 8 | usize::from(*low)..),
            [length, rest @ ..] => rest.get(usize::from(*length)..),
            [] => None,
        };
        let modulus = modulus.unwrap_or_default();
        let zeros = modulus.first().map_or(0, |byte| byte.leading_zeros());
        let bits =
            u32::try_from(modulus.len()).expect("invariant: a record has at most 65,535 bytes");
        let bits = bits * 8 - zeros;
        (!RSA_BITS.contains(&bits)).then_some(bits)
    }

    /// Whether it may sign a zone: the flag of zone keys is set, and it is not revoked
    /// (RFC 4034 §2.1.1, RFC 5011 §2.1).
    #[must_use]
    pub fn signs_zones(&self) -> bool {
        self.dnskey.zone_key() && !self.dnskey.revoke()
    }
}
