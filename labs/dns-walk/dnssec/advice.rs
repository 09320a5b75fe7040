//! Warnings about links of the chain that hold now but will break or need repair.

use super::UnixSeconds;
use super::keys::DsVerdict;
use super::link::Link;
use super::verify::SignatureVerdict;
use crate::finding::Fault;
use crate::text::name_text;
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::rr::{Name, RData, Record};

/// A signature that ends sooner may end while records of a usual time to live, a day, still lie in
/// caches: it should have been replaced before (RFC 6781 §4.4.2.1).
const SOON_S: u64 = 86_400;
/// Algorithms that must not be used to sign, or are not recommended for age: RSA with MD5, DSA, RSA
/// with SHA-1, GOST (RFC 8624 §3.1, RFC 9905, RFC 9906).
const ALGORITHMS: [u8; 6] = [1, 3, 5, 6, 7, 12];
/// Digests that must not be used in DS records: SHA-1, GOST (RFC 8624 §3.3).
const DIGESTS: [u8; 2] = [1, 3];

/// Warnings of a link at a given time, about its zone.
#[must_use]
pub fn of_link(link: &Link, at: UnixSeconds) -> Vec<Fault> {
    let mut faults = Vec::new();
    // What is trusted to begin with may name keys that are not in use yet, or no longer.
    let root = link.zone == name_text(&Name::root());
    for ds in link.ds.iter().filter(|_| !root) {
        if ds.verdict == DsVerdict::MatchesNone {
            faults.push(Fault::DsMatchesNoKey { tag: ds.tag });
        }
        if DIGESTS.contains(&ds.digest) {
            faults.push(Fault::DigestDeprecated { digest: ds.digest });
        }
    }
    for key in &link.keys {
        if ALGORITHMS.contains(&key.algorithm) {
            faults.push(Fault::AlgorithmDeprecated { algorithm: key.algorithm });
        }
    }
    for signature in &link.signatures {
        let left_s = signature.expiration.0.saturating_sub(at.0);
        if signature.verdict == SignatureVerdict::Valid && left_s < SOON_S {
            let (tag, until) = (signature.tag, signature.expiration);
            faults.push(Fault::SignatureExpiresSoon { tag, until });
        }
    }
    faults.dedup();
    faults
}

/// The zones whose NSEC3 records have additional iterations (RFC 9276 §3.1).
#[must_use]
pub fn of_proof(proof: &[Record]) -> Vec<(Name, Fault)> {
    let mut faults: Vec<(Name, Fault)> = Vec::new();
    for record in proof {
        if let RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) = &record.data
            && nsec3.iterations() > 0
        {
            let fault = Fault::Nsec3Iterations { iterations: nsec3.iterations() };
            faults.push((record.name.base_name(), fault));
        }
    }
    faults.dedup();
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecordType;
    use crate::dnssec::Status;
    use crate::dnssec::keys::{DsSeen, KeySeen};
    use crate::dnssec::link::LinkKind;
    use crate::dnssec::reason::Reason;
    use crate::text::Question;

    fn link(zone: &str, digest: u8, verdict: DsVerdict, algorithm: u8) -> Link {
        let name = Name::from_ascii(zone).unwrap();
        Link {
            step: Some(1),
            link: LinkKind::Keys,
            subject: Question::new(name, RecordType::DNSKEY).text(),
            zone: zone.to_owned(),
            status: Status::Secure,
            reason: Reason::NotKept,
            ds: vec![DsSeen { tag: 7, algorithm, digest, verdict }],
            keys: vec![KeySeen { tag: 7, algorithm, flags: 257 }],
            signatures: Vec::new(),
        }
    }

    #[test]
    fn what_is_outdated_is_said_and_nothing_else() {
        let at = UnixSeconds(1_735_689_600);
        let of =
            |zone, digest, verdict, algorithm| of_link(&link(zone, digest, verdict, algorithm), at);
        assert_eq!(of("a.", 2, DsVerdict::Matches, 13), []);
        assert_eq!(
            of("a.", 1, DsVerdict::Matches, 7),
            [Fault::DigestDeprecated { digest: 1 }, Fault::AlgorithmDeprecated { algorithm: 7 }]
        );
        assert_eq!(of("a.", 2, DsVerdict::MatchesNone, 8), [Fault::DsMatchesNoKey { tag: 7 }]);
        assert_eq!(of(".", 2, DsVerdict::MatchesNone, 8), [], "an anchor kept for the next key");
    }
}
