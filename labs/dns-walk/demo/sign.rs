//! Signs the zones of the demonstration, correctly or with one named flaw.
//!
//! Keys are derived from the zone's name and signatures are Ed25519, so that a zone has the same
//! bytes on every machine; such keys protect nothing.

use super::zone::{Zone, renamed};
use crate::dnssec::canon::{labels, name_bytes, signed_bytes};
use crate::dnssec::key::Key;
use crate::dnssec::{UnixSeconds, proves};
use hickory_proto::dnssec::crypto::Digest;
use hickory_proto::dnssec::rdata::sig::SigInput;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, NSEC3, RRSIG};
use hickory_proto::dnssec::{Algorithm, DigestType, Nsec3HashAlgorithm, PublicKeyBuf};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, SerialNumber};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::{BTreeMap, BTreeSet};
use wirelab::wire::base32;

/// The signatures of the demonstration count from the first day of 2024,
pub const INCEPTION: UnixSeconds = UnixSeconds(1_704_067_200);
/// for twenty years: 32 bits of seconds span 136 years, 68 each way.
pub const EXPIRATION: UnixSeconds = UnixSeconds(2_335_219_200);
/// A day in between, for walks that must not depend on the clock: the first of 2025.
pub const JUDGED: UnixSeconds = UnixSeconds(1_735_689_600);
/// Seconds that keys and their digests may be kept.
const KEY_TTL_S: u32 = 3_600;
/// Seconds that proofs of absence may be kept.
const DENIAL_TTL_S: u32 = 300;

/// How absences are proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Names in order.
    Nsec,
    /// Hashed names in order.
    Nsec3 {
        /// Additional rounds.
        iterations: u16,
        /// The salt.
        salt: Vec<u8>,
        /// Whether unsigned delegations are left out.
        opt_out: bool,
    },
}

/// A fault of a zone's signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// The signatures over its records have a bit changed.
    BadSignature,
    /// They expired in 2024.
    Expired,
    /// They count from 2043.
    NotYetValid,
    /// The DS record above is of another key.
    WrongDs,
    /// Its server returns no keys.
    NoKeys,
    /// Its server returns no signatures.
    Stripped,
    /// Its NSEC records leave names out that do not exist.
    Gap,
    /// Its NSEC3 records ask for more iterations than validators accept.
    Rounds,
    /// The DS record above has an unassigned algorithm number.
    UnknownAlgorithm,
    /// The DS record above has an unassigned digest type.
    UnknownDigest,
    /// The keys are not signed by the key that the DS record names.
    KeysUnsigned,
    /// The key that signs the records is not in the set of keys.
    KeyLeftOut,
    /// The key that the DS record names is revoked.
    KeyRevoked,
    /// The key that signs the records has no flag of a zone's key.
    NotAZoneKey,
    /// The signatures name the zone above as their signer.
    ForeignSigner,
    /// The proofs of absence lack the wildcard's part.
    NoWildcardProof,
    /// The proofs of absence list every type.
    EveryType,
    /// The signatures are right, the records were changed afterwards.
    Altered,
    /// The signatures count one label more than the names have.
    Labels,
    /// One DS record is of another key, a second one is right.
    OneDsWrong,
    /// The DS record has a SHA-1 digest.
    Sha1Ds,
    /// A wrong DS record with SHA-256 beside a right one with SHA-1.
    Sha1DsRight,
    /// One DS record is of an unknown algorithm, a second one is right.
    OneDsUnknown,
    /// The keys are signed by the key that signs records alone.
    KeysSignedByOther,
    /// The DS record is missing above, and that is proved.
    NoDs,
}

/// How a zone is signed.
#[derive(Clone, Debug)]
pub struct SignPlan {
    /// How absences are proved.
    pub denial: Denial,
    /// The fault.
    pub flaw: Option<Flaw>,
}

impl SignPlan {
    /// With NSEC, and nothing wrong.
    pub const SOUND: Self = Self { denial: Denial::Nsec, flaw: None };
}

/// Signatures and keys of a zone.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    plan: SignPlan,
    /// Signatures by owner and type covered.
    signatures: BTreeMap<(Name, u16), Vec<Record>>,
    /// The record of absence of each owner.
    nsec: BTreeMap<Name, Record>,
    /// The same by hash.
    nsec3: BTreeMap<Vec<u8>, Record>,
}

/// The key of a zone for a role.
fn key_pair(zone: &Name, role: &str) -> Option<Ed25519KeyPair> {
    let seed = [b"wirelab demo ", role.as_bytes(), b" ", &name_bytes(zone)].concat();
    let seed = Digest::new(&seed, DigestType::SHA256).ok()?;
    Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).ok()
}

fn dnskey(pair: &Ed25519KeyPair, flags: u16) -> Key {
    let public = PublicKeyBuf::new(pair.public_key().as_ref().to_vec(), Algorithm::ED25519);
    let dnskey = DNSKEY::with_flags(flags, public);
    let tag = dnskey.calculate_key_tag().expect("invariant: a key of 32 bytes can be encoded");
    Key { tag, dnskey }
}

/// A key that signs, with the record that names it.
struct Signer {
    pair: Ed25519KeyPair,
    key: Key,
}

impl Signer {
    fn new(zone: &Name, role: &str, flags: u16) -> Option<Self> {
        let pair = key_pair(zone, role)?;
        let key = dnskey(&pair, flags);
        Some(Self { pair, key })
    }
}

/// Flags of the key that signs keys, and of the one that signs records (RFC 4034 §2.1.1).
const KSK: u16 = 257;
const ZSK: u16 = 256;
/// The flag of a revoked key (RFC 5011 §3).
const REVOKED: u16 = 0x80;

fn ksk(zone: &Name, flaw: Option<Flaw>) -> Option<Signer> {
    let revoked = if flaw == Some(Flaw::KeyRevoked) { REVOKED } else { 0 };
    Signer::new(zone, "ksk", KSK | revoked)
}

/// The DS records of a zone that is signed so, as the zone above should have them.
#[must_use]
pub fn ds_records(zone: &Name, flaw: Option<Flaw>) -> Vec<Record> {
    let Some(signer) = ksk(zone, flaw) else { return Vec::new() };
    let (right, tag) = (&signer.key.dnskey, signer.key.tag);
    let other = Signer::new(zone, "other", KSK);
    let digest = |key: &DNSKEY, kind| {
        let digest = key.to_digest(zone, kind).expect("invariant: SHA-1 and SHA-256 are known");
        digest.as_ref().to_vec()
    };
    let ds = |tag, algorithm, kind, bytes| DS::new(tag, algorithm, kind, bytes);
    let sha256 = || digest(right, DigestType::SHA256);
    let sound = || ds(tag, Algorithm::ED25519, DigestType::SHA256, sha256());
    let wrong = || {
        let bytes = other.as_ref().map(|other| digest(&other.key.dnskey, DigestType::SHA256));
        ds(tag, Algorithm::ED25519, DigestType::SHA256, bytes.unwrap_or_default())
    };
    let sha1 = || ds(tag, Algorithm::ED25519, DigestType::SHA1, digest(right, DigestType::SHA1));
    let unknown = || ds(tag, Algorithm::Unknown(253), DigestType::SHA256, sha256());
    let all = match flaw {
        Some(Flaw::NoDs) => Vec::new(),
        Some(Flaw::WrongDs) => vec![wrong()],
        Some(Flaw::OneDsWrong) => vec![wrong(), sound()],
        Some(Flaw::UnknownAlgorithm) => vec![unknown()],
        Some(Flaw::OneDsUnknown) => vec![unknown(), sound()],
        Some(Flaw::UnknownDigest) => {
            vec![ds(tag, Algorithm::ED25519, DigestType::Unknown(250), sha256())]
        }
        Some(Flaw::Sha1Ds) => vec![sha1()],
        Some(Flaw::Sha1DsRight) => vec![wrong(), sha1()],
        _ => vec![sound()],
    };
    let record =
        |ds| Record::from_rdata(zone.clone(), KEY_TTL_S, RData::DNSSEC(DNSSECRData::DS(ds)));
    all.into_iter().map(record).collect()
}

/// Signs a set; `None` if it is empty.
fn sign(signer: &Signer, zone: &Name, set: &[Record], flaw: Option<Flaw>) -> Option<Record> {
    let first = set.first()?;
    let (from, until) = match flaw {
        Some(Flaw::Expired) => (INCEPTION, UnixSeconds(INCEPTION.0 + 30 * 86_400)),
        Some(Flaw::NotYetValid) => (UnixSeconds(EXPIRATION.0 - 365 * 86_400), EXPIRATION),
        _ => (INCEPTION, EXPIRATION),
    };
    let serial = |at: UnixSeconds| {
        SerialNumber::new(u32::try_from(at.0).expect("invariant: the dates are before 2106"))
    };
    let more = u8::from(flaw == Some(Flaw::Labels));
    let foreign = flaw == Some(Flaw::ForeignSigner);
    let mut input = SigInput {
        type_covered: first.record_type(),
        algorithm: Algorithm::ED25519,
        num_labels: labels(&first.name),
        original_ttl: first.ttl,
        sig_expiration: serial(until),
        sig_inception: serial(from),
        key_tag: signer.key.tag,
        signer_name: if foreign { zone.base_name() } else { zone.clone() },
    };
    let bytes = signed_bytes(&input, set)?;
    input.num_labels += more;
    let mut signature = signer.pair.sign(&bytes).as_ref().to_vec();
    if flaw == Some(Flaw::BadSignature) {
        signature.iter_mut().take(1).for_each(|byte| *byte ^= 1);
    }
    let data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
    Some(Record::from_rdata(first.name.clone(), first.ttl, data))
}

/// Gives the signatures of a reply the dates of those that expired in January 2024.
pub(super) fn expire(reply: &mut Message) {
    let sections = reply.answers.iter_mut().chain(&mut reply.authorities);
    for record in sections {
        if let RData::DNSSEC(DNSSECRData::RRSIG(signature)) = &record.data {
            let mut input = signature.input().clone();
            let until = INCEPTION.0 + 30 * 86_400;
            let until = u32::try_from(until).expect("invariant: the dates are before 2106");
            input.sig_expiration = SerialNumber::new(until);
            let signature = RRSIG::from_sig(input, signature.sig().to_vec());
            record.data = RData::DNSSEC(DNSSECRData::RRSIG(signature));
        }
    }
}

/// Takes signatures and proofs out of a reply.
pub(super) fn strip(reply: &mut Message) {
    reply.answers.retain(|record| !proves(record.record_type()));
    reply.authorities.retain(|record| !proves(record.record_type()));
}

impl Zone {
    /// Signs the zone; to be called once, or signatures would be signed too.
    #[must_use]
    pub fn signed(mut self, plan: &SignPlan) -> Self {
        let zone = self.origin.clone();
        let flaw = plan.flaw;
        let zsk_flags = if flaw == Some(Flaw::NotAZoneKey) { 0 } else { ZSK };
        let (Some(ksk), Some(zsk)) = (ksk(&zone, flaw), Signer::new(&zone, "zsk", zsk_flags))
        else {
            return self;
        };
        for key in [Some(&ksk), Some(&zsk).filter(|_| flaw != Some(Flaw::KeyLeftOut))] {
            let Some(key) = key else { continue };
            let data = RData::DNSSEC(DNSSECRData::DNSKEY(key.key.dnskey.clone()));
            self.insert(Record::from_rdata(zone.clone(), KEY_TTL_S, data));
        }
        let mut signed = Signed {
            plan: plan.clone(),
            signatures: BTreeMap::new(),
            nsec: BTreeMap::new(),
            nsec3: BTreeMap::new(),
        };
        match &plan.denial {
            Denial::Nsec => signed.nsec = self.make_nsec(flaw),
            Denial::Nsec3 { iterations, salt, opt_out } => {
                signed.nsec3 = self.make_nsec3(*iterations, salt, *opt_out);
            }
        }
        let mut sets: Vec<Vec<Record>> = Vec::new();
        for (name, node) in &self.nodes {
            let own = |kind: &u16| self.signs(name, RecordType::from(*kind));
            sets.extend(node.iter().filter(|(kind, _)| own(kind)).map(|(_, set)| set.clone()));
        }
        sets.extend(signed.nsec.values().chain(signed.nsec3.values()).map(|one| vec![one.clone()]));
        for set in sets {
            let kind = set[0].record_type();
            let made = if kind == RecordType::DNSKEY {
                // Flaws of this set are made on purpose, one by one.
                let by = if flaw == Some(Flaw::KeysSignedByOther) { &zsk } else { &ksk };
                sign(by, &zone, &set, None).filter(|_| flaw != Some(Flaw::KeysUnsigned))
            } else {
                sign(&zsk, &zone, &set, flaw)
            };
            let key = (set[0].name.clone(), u16::from(kind));
            signed.signatures.entry(key).or_default().extend(made);
        }
        if flaw == Some(Flaw::Altered) {
            self.alter();
        }
        self.signed = Some(Box::new(signed));
        self
    }

    /// Changes the addresses of the zone by one.
    fn alter(&mut self) {
        let sets = self.nodes.values_mut().flat_map(BTreeMap::values_mut).flatten();
        for record in sets {
            if let RData::A(address) = &mut record.data {
                let [a, b, c, d] = address.octets();
                *address = hickory_proto::rr::rdata::A::new(a, b, c, d ^ 1);
            }
        }
    }

    /// Whether this zone is not the one that speaks of a name: it lies at or below a cut.
    fn at_cut(&self, name: &Name) -> Option<Name> {
        let above = self.origin.iter().len();
        let mut names = ((above + 1)..=name.iter().len()).map(|count| name.trim_to(count));
        names.find(|cut| self.get(cut, RecordType::NS).is_some())
    }

    /// Whether a set is signed: not glue, nor the NS records of another zone (RFC 4035 §2.2).
    fn signs(&self, name: &Name, kind: RecordType) -> bool {
        match self.at_cut(name) {
            None => true,
            Some(cut) => cut == *name && kind == RecordType::DS,
        }
    }

    /// Names that have a record of absence, and their types.
    fn owners(&self) -> BTreeMap<Name, Vec<RecordType>> {
        let mut owners = BTreeMap::new();
        for (name, node) in &self.nodes {
            let cut = self.at_cut(name);
            if cut.as_ref().is_some_and(|cut| cut != name) {
                continue;
            }
            let kinds = node.keys().map(|kind| RecordType::from(*kind));
            let kept = kinds
                .filter(|kind| cut.is_none() || matches!(kind, RecordType::NS | RecordType::DS));
            owners.insert(name.clone(), kept.collect());
        }
        owners
    }

    fn make_nsec(&self, flaw: Option<Flaw>) -> BTreeMap<Name, Record> {
        let owners = self.owners();
        let nexts = owners.keys().skip(1).chain(owners.keys().take(1)).cloned();
        let mut made = BTreeMap::new();
        for ((owner, kinds), mut next) in owners.iter().zip(nexts) {
            let mut kinds = kinds.clone();
            kinds.extend([RecordType::RRSIG, RecordType::NSEC]);
            if flaw == Some(Flaw::EveryType) {
                kinds.extend([RecordType::A, RecordType::AAAA, RecordType::MX, RecordType::TXT]);
            }
            if flaw == Some(Flaw::Gap)
                && let Ok(soon) = owner.prepend_label("0")
            {
                next = soon;
            }
            let data = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new(next, kinds)));
            made.insert(owner.clone(), Record::from_rdata(owner.clone(), DENIAL_TTL_S, data));
        }
        made
    }

    fn make_nsec3(&self, iterations: u16, salt: &[u8], opt_out: bool) -> BTreeMap<Vec<u8>, Record> {
        let mut owners = self.owners();
        if opt_out {
            let unsigned = |name: &Name, kinds: &[RecordType]| {
                *name != self.origin
                    && kinds.contains(&RecordType::NS)
                    && !kinds.contains(&RecordType::DS)
            };
            owners.retain(|name, kinds| !unsigned(name, kinds));
        }
        // Empty non-terminals have one too (RFC 5155 §7.1).
        let own = self.origin.iter().len();
        for name in owners.keys().cloned().collect::<Vec<_>>() {
            for count in own..name.iter().len() {
                owners.entry(name.trim_to(count)).or_default();
            }
        }
        let hashed: BTreeMap<Vec<u8>, Vec<RecordType>> = owners
            .into_iter()
            .map(|(name, kinds)| (hash(&name, salt, iterations), kinds))
            .collect();
        let nexts = hashed.keys().skip(1).chain(hashed.keys().take(1)).cloned();
        let mut made = BTreeMap::new();
        for ((hash, kinds), next) in hashed.iter().zip(nexts) {
            let mut kinds = kinds.clone();
            let bare = kinds == [RecordType::NS] || kinds.is_empty();
            kinds.extend(Some(RecordType::RRSIG).filter(|_| !bare));
            let algorithm = Nsec3HashAlgorithm::SHA1;
            let data = NSEC3::new(algorithm, opt_out, iterations, salt.to_vec(), next, kinds);
            let data = RData::DNSSEC(DNSSECRData::NSEC3(data));
            let Ok(owner) = self.origin.prepend_label(base32::encode_hex(hash)) else { continue };
            made.insert(hash.clone(), Record::from_rdata(owner, DENIAL_TTL_S, data));
        }
        made
    }

    /// Adds what proves a reply: signatures, DS records, proofs of absence (RFC 4035 §3.1).
    pub(super) fn prove(&self, asked: &Name, kind: RecordType, reply: &mut Message) {
        let Some(signed) = &self.signed else { return };
        if signed.plan.flaw == Some(Flaw::NoKeys) && kind == RecordType::DNSKEY {
            reply.answers.clear();
            let soa = self.get(&self.origin, RecordType::SOA);
            reply.authorities = soa.into_iter().flatten().cloned().collect();
        }
        let mut proofs: BTreeSet<Proof> = BTreeSet::new();
        let mut name = asked.clone();
        for alias in reply.answers.clone() {
            if let RData::CNAME(target) = &alias.data
                && alias.name == name
                && kind != RecordType::CNAME
            {
                name = target.0.clone();
            }
        }
        let answers = self.with_signatures(signed, &reply.answers, &mut proofs);
        let referral =
            |record: &&Record| record.record_type() == RecordType::NS && record.name != self.origin;
        let cut = reply.authorities.iter().find(referral).map(|record| record.name.clone());
        if let Some(cut) = &cut {
            let ds = self.get(cut, RecordType::DS).cloned().unwrap_or_default();
            if ds.is_empty() {
                proofs.insert(Proof::Type(cut.clone()));
            }
            reply.authorities.extend(ds);
        }
        let mut authorities = self.with_signatures(signed, &reply.authorities, &mut proofs);
        let soa = |record: &Record| record.record_type() == RecordType::SOA;
        if cut.is_none() && reply.authorities.iter().any(soa) {
            proofs.insert(match reply.metadata.response_code {
                ResponseCode::NXDomain => Proof::Name(name),
                _ => Proof::Type(name),
            });
        }
        for proof in proofs {
            for record in self.proof(signed, &proof) {
                if !authorities.contains(&record) {
                    let more = signed.over(&record.name, record.record_type());
                    authorities.push(record);
                    authorities.extend(more);
                }
            }
        }
        (reply.answers, reply.authorities) = (answers, authorities);
        if signed.plan.flaw == Some(Flaw::Stripped) && kind != RecordType::DNSKEY {
            strip(reply);
        }
    }

    /// The records, each set followed by its signatures; notes which wildcards need a proof.
    fn with_signatures(
        &self,
        signed: &Signed,
        records: &[Record],
        proofs: &mut BTreeSet<Proof>,
    ) -> Vec<Record> {
        let mut out = records.to_vec();
        let mut done: BTreeSet<(Name, u16)> = BTreeSet::new();
        for record in records {
            let kind = u16::from(record.record_type());
            if !done.insert((record.name.clone(), kind)) {
                continue;
            }
            let mut own = signed.over(&record.name, record.record_type());
            // A signature's TTL is that of what it covers, in a denial too (RFC 4034 §3).
            own.iter_mut().for_each(|signature| signature.ttl = record.ttl);
            if !own.is_empty() || self.nodes.contains_key(&record.name) {
                out.extend(own);
                continue;
            }
            // What a wildcard made is signed as the wildcard.
            let encloser = self.closest_encloser(&record.name);
            let made =
                encloser.prepend_label("*").map(|star| signed.over(&star, record.record_type()));
            let made = made.unwrap_or_default();
            if !made.is_empty() {
                let next_closer = record.name.trim_to(encloser.iter().len() + 1);
                proofs.insert(Proof::Closer(next_closer));
                out.extend(renamed(&made, &record.name));
            }
        }
        out
    }

    /// The closest name at or above this one that exists in the zone.
    fn closest_encloser(&self, name: &Name) -> Name {
        let exists = |name: &Name| self.nodes.keys().any(|node| name.zone_of(node));
        let own = self.origin.iter().len();
        let mut names = (own..name.iter().len()).rev().map(|count| name.trim_to(count));
        names.find(exists).unwrap_or_else(|| self.origin.clone())
    }

    /// The records that make a proof.
    fn proof(&self, signed: &Signed, proof: &Proof) -> Vec<Record> {
        let exists = |name: &Name| self.nodes.keys().any(|node| name.zone_of(node));
        let wildcards = signed.plan.flaw != Some(Flaw::NoWildcardProof);
        let mut out = Vec::new();
        let mut at = |record: Option<&Record>| out.extend(record.cloned());
        match proof {
            Proof::Closer(name) if wildcards => at(signed.covering(name)),
            Proof::Closer(_) => {}
            Proof::Type(name) if exists(name) => {
                let exact = signed.matching(name);
                at(exact.or_else(|| signed.covering(name)));
                // With opt-out the cut itself may have none.
                if exact.is_none() && signed.nsec.is_empty() {
                    let encloser = signed.hashed_encloser(name, &self.origin);
                    at(signed.matching(&encloser));
                    at(signed.covering(&name.trim_to(encloser.iter().len() + 1)));
                }
            }
            Proof::Type(name) | Proof::Name(name) => {
                let encloser = self.closest_encloser(name);
                at(signed.covering(&name.trim_to(encloser.iter().len() + 1)));
                if signed.nsec.is_empty() {
                    at(signed.matching(&encloser));
                }
                if let Ok(star) = encloser.prepend_label("*")
                    && wildcards
                {
                    at(signed.matching(&star).or_else(|| signed.covering(&star)));
                }
            }
        }
        out
    }
}

/// Absences that a reply must prove.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    /// Nothing stands between a wildcard and the name it answers for.
    Closer(Name),
    /// The name has no such type.
    Type(Name),
    /// The name is not there.
    Name(Name),
}

fn hash(name: &Name, salt: &[u8], iterations: u16) -> Vec<u8> {
    let digest = Digest::iterated(salt, &name_bytes(name), DigestType::SHA1, iterations);
    digest.expect("invariant: SHA-1 is known").as_ref().to_vec()
}

impl Signed {
    /// Signatures and records of absence.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        let absence = self.nsec.values().chain(self.nsec3.values());
        self.signatures.values().flatten().chain(absence)
    }

    /// The signatures of each type of a name.
    pub(super) fn signatures_of(&self, name: &Name) -> impl Iterator<Item = &Vec<Record>> {
        let own = (name.clone(), 0)..=(name.clone(), u16::MAX);
        self.signatures.range(own).map(|(_, signatures)| signatures)
    }

    fn over(&self, name: &Name, kind: RecordType) -> Vec<Record> {
        self.signatures.get(&(name.clone(), u16::from(kind))).cloned().unwrap_or_default()
    }

    fn hash(&self, name: &Name) -> Vec<u8> {
        match &self.plan.denial {
            Denial::Nsec => Vec::new(),
            Denial::Nsec3 { iterations, salt, .. } => hash(name, salt, *iterations),
        }
    }

    /// The record of absence of the name itself.
    fn matching(&self, name: &Name) -> Option<&Record> {
        self.nsec.get(name).or_else(|| self.nsec3.get(&self.hash(name)))
    }

    /// The record between whose names the name would stand.
    fn covering(&self, name: &Name) -> Option<&Record> {
        let before = self.nsec.range(..name.clone()).next_back();
        let before = before.or_else(|| self.nsec.last_key_value()).map(|(_, record)| record);
        before.or_else(|| {
            let hash = self.hash(name);
            let before = self.nsec3.range(..hash).next_back();
            before.or_else(|| self.nsec3.last_key_value()).map(|(_, record)| record)
        })
    }

    /// The closest name above that has a record by hash.
    fn hashed_encloser(&self, name: &Name, origin: &Name) -> Name {
        let own = origin.iter().len();
        let mut names = (own..name.iter().len()).rev().map(|count| name.trim_to(count));
        names.find(|name| self.matching(name).is_some()).unwrap_or_else(|| origin.clone())
    }
}

/// Whether the query has DO (RFC 3225).
pub(super) fn wanted(query: &Message) -> bool {
    query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok)
}
