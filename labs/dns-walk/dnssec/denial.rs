//! Proofs that something is not there: NSEC (RFC 4034 §4, RFC 4035 §5.4) and NSEC3 (RFC 5155 §8).

use super::reason::{Missing, ProofKind, Reason};
use super::verify::{Against, SignatureSeen, check};
use super::{Work, WorkLimit};
use crate::text::name_text;
use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC, NSEC3};
use hickory_proto::dnssec::{DigestType, crypto::Digest};
use hickory_proto::rr::{Name, RData, Record, RecordType, RecordTypeSet};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use wirelab::wire::base32;

/// Bytes of a hashed name (RFC 5155 §3: SHA-1 is the only hash).
const HASH: usize = 20;
type Hash = [u8; HASH];

/// Verified records of absence of one reply.
#[derive(Debug)]
pub struct Proofs<'a> {
    zone: &'a Name,
    nsec: Vec<(Name, NSEC)>,
    nsec3: Vec<(Hash, NSEC3)>,
    /// Why a set could not be used, where one could not.
    failed: Option<Reason>,
    hashed: BTreeMap<Name, Hash>,
    /// Every signature that was looked at.
    pub signatures: Vec<SignatureSeen>,
}

/// Proofs by the zone above that there is no DS record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDs {
    /// A zone begins here, and it is not signed; or one may, by opt-out.
    Unsigned(ProofKind),
    /// No zone begins here.
    NotACut(ProofKind),
}

/// The types that one record of absence lists.
fn types_deny(types: &RecordTypeSet, kind: RecordType, root: bool) -> bool {
    let has = |kind| types.contains(kind);
    // An alias would have been the answer.
    let there = match kind {
        // The record of absence and its signature are at every name.
        RecordType::ANY => types.iter().any(|one| !is_of_proof(one)),
        kind => has(kind) || has(RecordType::CNAME),
    };
    let side_is_wrong = if kind == RecordType::DS {
        has(RecordType::SOA) && !root
    } else {
        has(RecordType::NS) && !has(RecordType::SOA)
    };
    !there && !side_is_wrong
}

const fn is_of_proof(kind: RecordType) -> bool {
    matches!(kind, RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3)
}

/// Whether names below the owner are another zone's or another name's (RFC 6840 §4.1, RFC 5155
/// §8.3): the record must not deny them.
fn hands_over(types: &RecordTypeSet) -> bool {
    types.contains(RecordType::DNAME)
        || (types.contains(RecordType::NS) && !types.contains(RecordType::SOA))
}

fn below(name: &Name, zone: &Name) -> bool {
    zone.zone_of(name) && zone != name
}

fn wildcard_of(encloser: &Name) -> Option<Name> {
    let mut name = encloser.prepend_label("*").ok()?;
    name.set_fqdn(true);
    Some(name)
}

impl<'a> Proofs<'a> {
    /// Checks the NSEC and NSEC3 records among `records`, and keeps those that hold.
    #[must_use]
    pub fn gather(against: &Against<'a>, records: &[Record], work: &mut Work) -> Self {
        let mut proofs = Self {
            zone: against.zone,
            nsec: Vec::new(),
            nsec3: Vec::new(),
            failed: None,
            hashed: BTreeMap::new(),
            signatures: Vec::new(),
        };
        let mut sets: BTreeMap<(Name, u16), Vec<Record>> = BTreeMap::new();
        for record in records {
            if matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3) {
                let key = (record.name.clone(), u16::from(record.record_type()));
                sets.entry(key).or_default().push(record.clone());
            }
        }
        for ((owner, _), set) in sets {
            let checked = check(against, &set, records, work);
            proofs.signatures.extend(checked.signatures.iter().cloned());
            if !checked.is_secure() {
                proofs.failed.get_or_insert(checked.reason);
                continue;
            }
            // What a wildcard made proves nothing, however well it is signed: it is as if missing.
            if checked.wildcard.is_some() {
                continue;
            }
            for record in set {
                proofs.keep(&owner, record);
            }
        }
        proofs
    }

    fn keep(&mut self, owner: &Name, record: Record) {
        match record.data {
            RData::DNSSEC(DNSSECRData::NSEC(nsec)) => self.nsec.push((owner.clone(), nsec)),
            RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) if owner.base_name() == *self.zone => {
                let hash = owner.iter().next().and_then(base32::decode_hex);
                let Some(hash) = hash.and_then(|hash| Hash::try_from(hash).ok()) else { return };
                // All of one zone hash alike (RFC 5155 §8.2); the first decides.
                let like = self.nsec3.first().is_none_or(|(_, first)| {
                    first.iterations() == nsec3.iterations() && first.salt() == nsec3.salt()
                });
                if like {
                    self.nsec3.push((hash, nsec3));
                }
            }
            _ => {}
        }
    }

    /// Why nothing can be proved, where nothing can.
    fn usable(&self, name: &Name, work: &Work) -> Result<(), Reason> {
        if self.nsec.is_empty()
            && let Some((_, first)) = self.nsec3.first()
            && first.iterations() > work.limits.nsec3_iterations
        {
            let (iterations, most) = (first.iterations(), work.limits.nsec3_iterations);
            return Err(Reason::Nsec3Iterations { iterations, most });
        }
        if self.nsec.is_empty() && self.nsec3.is_empty() {
            let none = || Reason::DenialMissing { name: name_text(name) };
            return Err(self.failed.clone().unwrap_or_else(none));
        }
        Ok(())
    }

    /// Verdict if the records do not suffice.
    fn lacks(&self, name: &Name, missing: Missing) -> Reason {
        // One that could not be used may have been the one that is missing.
        let none = || Reason::DenialInsufficient { name: name_text(name), missing };
        self.failed.clone().unwrap_or_else(none)
    }

    /// That the name does not exist.
    ///
    /// # Errors
    /// Why that is not proved.
    pub fn no_name(&mut self, name: &Name, work: &mut Work) -> Result<ProofKind, Reason> {
        self.usable(name, work)?;
        if !self.nsec.is_empty() {
            let Some(encloser) = self.nsec_encloser(name) else {
                return Err(self.lacks(name, Missing::Name));
            };
            let wildcard = wildcard_of(&encloser);
            return match wildcard.and_then(|wildcard| self.nsec_encloser(&wildcard)) {
                Some(_) => Ok(ProofKind::Nsec),
                None => Err(self.lacks(name, Missing::Wildcard)),
            };
        }
        let (encloser, proof) = self.nsec3_encloser(name, work)?;
        let wildcard = wildcard_of(&encloser);
        match wildcard {
            Some(wildcard) if self.nsec3_covering(&wildcard, work)?.is_some() => Ok(proof),
            _ => Err(self.lacks(name, Missing::Wildcard)),
        }
    }

    /// That the name has no record of the type.
    ///
    /// # Errors
    /// Why that is not proved.
    pub fn no_type(
        &mut self,
        name: &Name,
        kind: RecordType,
        work: &mut Work,
    ) -> Result<ProofKind, Reason> {
        self.usable(name, work)?;
        let root = name.is_root();
        if !self.nsec.is_empty() {
            if let Some((_, nsec)) = self.nsec.iter().find(|(owner, _)| owner == name) {
                let denied = types_deny(nsec.type_set(), kind, root);
                let lacks = || self.lacks(name, Missing::Type);
                return denied.then_some(ProofKind::Nsec).ok_or_else(lacks);
            }
            if self.nsec_between(name) {
                return Ok(ProofKind::Nsec);
            }
            let Some(encloser) = self.nsec_encloser(name) else {
                return Err(self.lacks(name, Missing::Name));
            };
            let wildcard = wildcard_of(&encloser);
            let denied = self.nsec.iter().any(|(owner, nsec)| {
                Some(owner) == wildcard.as_ref() && types_deny(nsec.type_set(), kind, false)
            });
            let lacks = || self.lacks(name, Missing::Wildcard);
            return denied.then_some(ProofKind::Nsec).ok_or_else(lacks);
        }
        if let Some(nsec3) = self.nsec3_matching(name, work)? {
            let denied = types_deny(nsec3.type_set(), kind, root);
            let lacks = || self.lacks(name, Missing::Type);
            return denied.then_some(ProofKind::Nsec3).ok_or_else(lacks);
        }
        let (encloser, proof) = self.nsec3_encloser(name, work)?;
        // An unsigned delegation may have been left out: what is below it proves nothing (RFC 5155
        // §9.2).
        if proof == ProofKind::Nsec3OptOut {
            return Ok(proof);
        }
        let Some(wildcard) = wildcard_of(&encloser) else {
            return Err(self.lacks(name, Missing::Wildcard));
        };
        let found = self.nsec3_matching(&wildcard, work)?;
        if found.is_some_and(|nsec3| types_deny(nsec3.type_set(), kind, false)) {
            return Ok(proof);
        }
        Err(self.lacks(name, Missing::Wildcard))
    }

    /// That the zone above has no DS record of the name, and whether a zone begins there.
    ///
    /// # Errors
    /// Why that is not proved.
    pub fn no_ds(&mut self, name: &Name, work: &mut Work) -> Result<NoDs, Reason> {
        self.usable(name, work)?;
        let judge = |types: &RecordTypeSet, proof| {
            let there = types.contains(RecordType::DS) || types.contains(RecordType::SOA);
            let cut = types.contains(RecordType::NS);
            let no = if cut { NoDs::Unsigned(proof) } else { NoDs::NotACut(proof) };
            (!there).then_some(no)
        };
        if !self.nsec.is_empty() {
            if let Some((_, nsec)) = self.nsec.iter().find(|(owner, _)| owner == name) {
                let proved = judge(nsec.type_set(), ProofKind::Nsec);
                return proved.ok_or_else(|| self.lacks(name, Missing::Type));
            }
            let covered = self.nsec_between(name) || self.nsec_encloser(name).is_some();
            let proved = covered.then_some(NoDs::NotACut(ProofKind::Nsec));
            return proved.ok_or_else(|| self.lacks(name, Missing::Name));
        }
        if let Some(nsec3) = self.nsec3_matching(name, work)? {
            let proved = judge(nsec3.type_set(), ProofKind::Nsec3);
            return proved.ok_or_else(|| self.lacks(name, Missing::Type));
        }
        match self.nsec3_encloser(name, work)? {
            // RFC 5155 §8.6: an unsigned delegation may have been left out.
            (_, ProofKind::Nsec3OptOut) => Ok(NoDs::Unsigned(ProofKind::Nsec3OptOut)),
            (_, proof) => Ok(NoDs::NotACut(proof)),
        }
    }

    /// That nothing stands between the name and the wildcard of `labels` labels that answered for
    /// it (RFC 4035 §5.3.4, RFC 5155 §8.8).
    ///
    /// # Errors
    /// Why that is not proved.
    pub fn no_closer(
        &mut self,
        name: &Name,
        labels: u8,
        work: &mut Work,
    ) -> Result<ProofKind, Reason> {
        self.usable(name, work)?;
        let next_closer = name.trim_to(usize::from(labels) + 1);
        if !self.nsec.is_empty() {
            let proved = self.nsec_encloser(&next_closer).map(|_| ProofKind::Nsec);
            return proved.ok_or_else(|| self.lacks(name, Missing::NoCloserMatch));
        }
        match self.nsec3_covering(&next_closer, work)? {
            Some(nsec3) if nsec3.opt_out() => Ok(ProofKind::Nsec3OptOut),
            Some(_) => Ok(ProofKind::Nsec3),
            None => Err(self.lacks(name, Missing::NoCloserMatch)),
        }
    }

    /// The NSEC record between whose names this one would stand, if it may deny it.
    fn nsec_covering(&self, name: &Name) -> Option<&(Name, NSEC)> {
        self.nsec.iter().find(|(owner, nsec)| {
            let handed = below(name, owner) && hands_over(nsec.type_set());
            !handed
                && self.zone.zone_of(name)
                && covers(owner.cmp(name), name.cmp(nsec.next_domain_name()), owner, nsec)
        })
    }

    /// The name exists only because of names below it: an empty non-terminal.
    fn nsec_between(&self, name: &Name) -> bool {
        self.nsec_covering(name).is_some_and(|(_, nsec)| below(nsec.next_domain_name(), name))
    }

    /// The closest name above this one that exists, if it is proved that this one does not.
    fn nsec_encloser(&self, name: &Name) -> Option<Name> {
        let (owner, nsec) = self.nsec_covering(name)?;
        if below(nsec.next_domain_name(), name) {
            return None;
        }
        let common = |other: &Name| {
            let pairs = name.iter().rev().zip(other.iter().rev());
            pairs.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
        };
        Some(name.trim_to(common(owner).max(common(nsec.next_domain_name()))))
    }

    /// The hash of a name, as this zone makes it.
    fn hash(&mut self, name: &Name, work: &mut Work) -> Result<Option<Hash>, Reason> {
        if let Some(known) = self.hashed.get(name) {
            return Ok(Some(*known));
        }
        let Some((_, first)) = self.nsec3.first() else { return Ok(None) };
        if work.hashes >= work.limits.nsec3_hashes {
            return Err(Reason::WorkLimit { limit: WorkLimit::Nsec3Hashes });
        }
        work.hashes += 1;
        let bytes = super::canon::name_bytes(name);
        let (salt, iterations) = (first.salt(), first.iterations());
        let digest = Digest::iterated(salt, &bytes, DigestType::SHA1, iterations).ok();
        let hash = digest.and_then(|digest| Hash::try_from(digest.as_ref()).ok());
        if let Some(hash) = hash {
            self.hashed.insert(name.clone(), hash);
        }
        Ok(hash)
    }

    fn nsec3_matching(&mut self, name: &Name, work: &mut Work) -> Result<Option<&NSEC3>, Reason> {
        let Some(hash) = self.hash(name, work)? else { return Ok(None) };
        Ok(self.nsec3.iter().find(|(owner, _)| *owner == hash).map(|(_, nsec3)| nsec3))
    }

    fn nsec3_covering(&mut self, name: &Name, work: &mut Work) -> Result<Option<&NSEC3>, Reason> {
        let Some(hash) = self.hash(name, work)? else { return Ok(None) };
        let covering = self.nsec3.iter().find(|(owner, nsec3)| {
            let next = nsec3.next_hashed_owner_name();
            in_circle(
                owner.as_slice().cmp(&hash),
                hash.as_slice().cmp(next),
                owner.as_slice() < next,
            )
        });
        Ok(covering.map(|(_, nsec3)| nsec3))
    }

    /// The closest name that exists above one that does not, and whether opt-out leaves room
    /// (RFC 5155 §8.3).
    fn nsec3_encloser(
        &mut self,
        name: &Name,
        work: &mut Work,
    ) -> Result<(Name, ProofKind), Reason> {
        let lowest = self.zone.iter().len();
        for labels in (lowest..name.iter().len()).rev() {
            let candidate = name.trim_to(labels);
            let handed = match self.nsec3_matching(&candidate, work)? {
                None => continue,
                Some(found) => hands_over(found.type_set()),
            };
            if handed {
                return Err(self.lacks(name, Missing::ClosestEncloser));
            }
            let next_closer = name.trim_to(labels + 1);
            let opt_out = self.nsec3_covering(&next_closer, work)?.map(NSEC3::opt_out);
            return match opt_out {
                Some(true) => Ok((candidate, ProofKind::Nsec3OptOut)),
                Some(false) => Ok((candidate, ProofKind::Nsec3)),
                None => Err(self.lacks(name, Missing::Name)),
            };
        }
        Err(self.lacks(name, Missing::ClosestEncloser))
    }
}

/// Whether an NSEC record covers a name, given how its owner and its next name compare with it.
fn covers(owner_to: Ordering, to_next: Ordering, owner: &Name, nsec: &NSEC) -> bool {
    in_circle(owner_to, to_next, owner < nsec.next_domain_name())
}

/// Whether a thing stands behind an owner and before the next one, on a circle that closes where
/// the next one is not behind the owner.
fn in_circle(owner_to: Ordering, to_next: Ordering, ordered: bool) -> bool {
    let (behind, before) = (owner_to == Ordering::Less, to_next == Ordering::Less);
    if ordered { behind && before } else { (behind || before) && owner_to != Ordering::Equal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard() {
        // RFC 5155, appendix A.
        let name = Name::from_ascii("a.example.").unwrap();
        let bytes = crate::dnssec::canon::name_bytes(&name);
        let salt = [0xaa, 0xbb, 0xcc, 0xdd];
        let digest = Digest::iterated(&salt, &bytes, DigestType::SHA1, 12).unwrap();
        let label = base32::encode_hex(digest.as_ref());
        assert_eq!(label, "35mthgpgcu1qg68fab165klnsnk3dpvl");
        assert_eq!(base32::decode_hex(label.as_bytes()).unwrap(), digest.as_ref());
    }

    #[test]
    fn a_circle_closes_behind_its_last_name() {
        use Ordering::{Equal, Greater, Less};
        assert!(in_circle(Less, Less, true));
        assert!(!in_circle(Less, Greater, true));
        assert!(in_circle(Less, Greater, false), "behind the last");
        assert!(in_circle(Greater, Less, false), "before the first");
        assert!(!in_circle(Equal, Equal, false), "the only name itself");
        assert!(in_circle(Less, Greater, false), "everything but the only name");
    }
}
