//! From the anchor to the answer, cut by cut (RFC 4035 §5).

use super::anchor::Anchors;
use super::denial::{NoDs, Proofs};
use super::evidence::{Evidence, Held, Store};
use super::key::Key;
use super::keys::{self, DsSeen, DsVerdict, Trusted};
use super::reason::{ProofKind, Reason};
use super::verify::{Against, Checked, SignatureSeen, check};
use super::{Status, UnixSeconds, Work, WorkLimits, rrsig};
use crate::dnssec::link::{Link, LinkKind};
use crate::text::{Question, name_text};
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wirelab::measure::Instant;

/// Something that the user's question rests on: an alias, the answer, or its absence.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The name and type that it is about.
    pub question: Question,
    /// The data and its proof.
    pub evidence: Evidence,
    /// The step that brought it.
    pub step: u32,
}

/// The next step.
#[derive(Clone, Debug)]
pub enum Next {
    /// The answer to this is needed first.
    Need(Question),
    /// The claim is judged.
    Verdict(Reason),
}

/// Whether a zone's keys are known.
#[derive(Clone, Debug)]
enum Trust {
    Keys(Vec<Key>),
    Not(Reason),
}

/// Where the way down ended.
struct Place {
    zone: Name,
    /// The zone above it.
    above: Name,
    trust: Trust,
}

/// The judgement of one walk.
#[derive(Debug)]
pub struct Chain {
    anchors: Anchors,
    at: UnixSeconds,
    work: Work,
    zones: BTreeMap<Name, Trust>,
    not_cuts: BTreeSet<Name>,
    /// Zones whose referral may have skipped a cut: zones in between come first.
    doubted: BTreeSet<Name>,
    links: VecDeque<Link>,
}

impl Chain {
    /// Begins to judge at a time, with what is trusted.
    #[must_use]
    pub fn new(anchors: Anchors, at: UnixSeconds, limits: WorkLimits) -> Self {
        Self {
            anchors,
            at,
            work: Work::new(limits),
            zones: BTreeMap::new(),
            not_cuts: BTreeSet::new(),
            doubted: BTreeSet::new(),
            links: VecDeque::new(),
        }
    }

    /// A link that was judged, until there is none.
    pub fn poll_link(&mut self) -> Option<Link> {
        self.links.pop_front()
    }

    /// Forgets every zone whose keys are not trusted: what failed is fetched again.
    pub fn forget_failures(&mut self) {
        self.zones.retain(|_, trust| matches!(trust, Trust::Keys(_)));
        self.doubted.clear();
    }

    /// Signatures computed so far.
    #[must_use]
    pub const fn computed(&self) -> u32 {
        self.work.validations_all
    }

    /// Judges a claim by the evidence held, or names the item needed first.
    pub fn judge(&mut self, now: Instant, claim: &Claim, store: &Store) -> Next {
        self.work.verified = store.verified().clone();
        let name = &claim.question.name;
        let signer = signer_of(claim);
        // Unsigned, it may lie in an unsigned zone anywhere down to its own name.
        let lowest = lowest_zone(&claim.question);
        let target = match &signer {
            None => lowest.clone(),
            Some(signer) => {
                let deeper = store.deepest_cut(now, signer, &lowest);
                deeper.unwrap_or_else(|| signer.clone())
            }
        };
        let place = match self.go_down(now, &target, store) {
            Ok(place) => place,
            Err(need) => return Next::Need(need),
        };
        let guessed = store.deepest_cut(now, &place.above, &place.zone).is_none();
        let step = Some(claim.step);
        let mut link = Link::new(step, LinkKind::Records, &claim.question, &place.zone);
        link.reason = match (place.trust, signer) {
            // No referral led to a zone there: what is missing is the signature.
            (Trust::Not(reason), None) if reason.status() == Status::Bogus && guessed => {
                link.zone = name_text(&place.above);
                Reason::SignatureMissing { zone: name_text(&place.above) }
            }
            (Trust::Not(reason), _) => reason,
            (Trust::Keys(_), Some(signer)) if signer != place.zone => {
                let zone = name_text(&place.zone);
                Reason::SignerNotZone { signer: name_text(&signer), zone }
            }
            (Trust::Keys(keys), _) => {
                let against = Against { zone: &place.zone, keys: &keys, at: self.at };
                self.work.next_reply();
                weigh(&against, name, claim, &mut self.work, &mut link.signatures)
            }
        };
        if matches!(claim.evidence, Evidence::Absence { .. }) {
            link.link = LinkKind::Absence;
        }
        link.status = link.reason.status();
        let reason = link.reason.clone();
        self.links.push_back(link);
        Next::Verdict(reason)
    }

    /// Goes down from the anchor towards `target`: as far as there are signed zones.
    fn go_down(&mut self, now: Instant, target: &Name, store: &Store) -> Result<Place, Question> {
        let Some((zone, anchors)) = self.anchors.above(target) else {
            let root = Name::root();
            let trust = Trust::Not(Reason::NoAnchor);
            return Ok(Place { zone: root.clone(), above: root, trust });
        };
        let (mut zone, anchors) = (zone.clone(), anchors.to_vec());
        if !self.zones.contains_key(&zone) {
            let trust = self.keys_of(now, &zone, &anchors, store)?;
            self.zones.insert(zone.clone(), trust);
        }
        let (mut above, mut told) = (zone.clone(), zone.iter().len());
        loop {
            let trust = self.zones.get(&zone).cloned();
            let trust = trust.unwrap_or(Trust::Not(Reason::NoAnchor));
            let Trust::Keys(keys) = &trust else { return Ok(Place { zone, above, trust }) };
            let known = store.cut_towards(now, &zone, target);
            let usable = |cut: &Name| !self.not_cuts.contains(cut) && !self.doubted.contains(cut);
            let next = match known.filter(usable) {
                Some(cut) => cut,
                None if told >= target.iter().len() => return Ok(Place { zone, above, trust }),
                None => target.trim_to(told + 1),
            };
            told = next.iter().len();
            if self.not_cuts.contains(&next) {
                continue;
            }
            if !self.zones.contains_key(&next) {
                let keys = keys.clone();
                let links = self.links.len();
                match self.step_down(now, &zone, &keys, &next, store)? {
                    Some(Trust::Not(reason))
                        if reason.status() == Status::Bogus && self.leaves_out(&zone, &next) =>
                    {
                        // A server of several zones refers to the deepest of them at once.
                        self.links.truncate(links);
                        self.doubted.insert(next);
                        told = zone.iter().len();
                    }
                    Some(trust) => {
                        self.zones.insert(next.clone(), trust);
                        above = std::mem::replace(&mut zone, next);
                    }
                    None => drop(self.not_cuts.insert(next)),
                }
                continue;
            }
            above = std::mem::replace(&mut zone, next);
        }
    }

    /// Whether a zone may begin between these two that was not looked for.
    fn leaves_out(&self, zone: &Name, below: &Name) -> bool {
        let mut between = zone.iter().len() + 1..below.iter().len();
        between.any(|labels| !self.not_cuts.contains(&below.trim_to(labels)))
    }

    /// The trust in the zone `next` by the zone above it; none where no zone begins there.
    fn step_down(
        &mut self,
        now: Instant,
        zone: &Name,
        keys: &[Key],
        next: &Name,
        store: &Store,
    ) -> Result<Option<Trust>, Question> {
        let question = Question::new(next.clone(), RecordType::DS);
        let alias = || store.get(now, next, RecordType::CNAME);
        let Some(held) = store.get(now, next, RecordType::DS).or_else(alias) else {
            return Err(question);
        };
        let against = Against { zone, keys, at: self.at };
        self.work.next_reply();
        let mut link = link_of(held, LinkKind::Ds, &question, zone);
        let mut trusted = Vec::new();
        let mut cut = true;
        link.reason = match &held.evidence {
            Evidence::Failed { because } => failed(&question, because),
            Evidence::Records { set, signatures, .. } => {
                let checked = check(&against, set, signatures, &mut self.work);
                link.signatures.clone_from(&checked.signatures);
                cut = set[0].record_type() == RecordType::DS || !checked.is_secure();
                trusted = set.iter().filter_map(ds_of).collect();
                let Checked { reason, wildcard, .. } = checked;
                // A zone cannot begin at a wildcard's name (RFC 4592 §4.6).
                match wildcard.filter(|_| cut) {
                    None => reason,
                    Some(_) => Reason::DsMatchesNoKey { zone: name_text(next), tags: Vec::new() },
                }
            }
            Evidence::Absence { proof, .. } => {
                let mut proofs = Proofs::gather(&against, proof, &mut self.work);
                link.signatures = std::mem::take(&mut proofs.signatures);
                match proofs.no_ds(next, &mut self.work) {
                    Ok(NoDs::Unsigned(proof)) => Reason::NoDs { zone: name_text(next), proof },
                    Ok(NoDs::NotACut(proof)) => {
                        cut = false;
                        Reason::Denied { proof }
                    }
                    Err(reason) => reason,
                }
            }
        };
        if link.reason.status() == Status::Secure && cut {
            match self.keys_of(now, next, &trusted, store) {
                Ok(trust) => {
                    // The DS records stand before the keys.
                    link.status = Status::Secure;
                    let at = self.links.len().saturating_sub(1);
                    self.links.insert(at, link);
                    return Ok(Some(trust));
                }
                Err(need) => return Err(need),
            }
        }
        link.status = link.reason.status();
        let reason = link.reason.clone();
        self.links.push_back(link);
        Ok(cut.then_some(Trust::Not(reason)))
    }

    /// The keys of a zone, by what is trusted from above.
    fn keys_of(
        &mut self,
        now: Instant,
        zone: &Name,
        trusted: &[Trusted],
        store: &Store,
    ) -> Result<Trust, Question> {
        let question = Question::new(zone.clone(), RecordType::DNSKEY);
        let usable = match keys::usable(zone, trusted) {
            Ok(usable) => usable,
            Err(reason) => {
                // Nothing needs to be fetched: it counts as unsigned.
                let mut link = Link::new(None, LinkKind::Keys, &question, zone);
                link.ds = trusted.iter().map(unsupported).collect();
                return Ok(self.not_trusted(link, reason));
            }
        };
        let Some(held) = store.get(now, zone, RecordType::DNSKEY) else { return Err(question) };
        let mut link = link_of(held, LinkKind::Keys, &question, zone);
        self.work.next_reply();
        match &held.evidence {
            Evidence::Failed { because } => {
                let reason = failed(&question, because);
                Ok(self.not_trusted(link, reason))
            }
            Evidence::Absence { .. } => {
                let reason = Reason::DnskeyMissing { zone: name_text(zone) };
                Ok(self.not_trusted(link, reason))
            }
            Evidence::Records { set, signatures, .. } => {
                let work = &mut self.work;
                let checked = keys::judge(zone, usable, set, signatures, self.at, work);
                (link.ds, link.keys) = (checked.ds, checked.seen);
                link.signatures = checked.signatures;
                if checked.reason.status() != Status::Secure {
                    return Ok(self.not_trusted(link, checked.reason));
                }
                (link.status, link.reason) = (Status::Secure, checked.reason);
                self.links.push_back(link);
                Ok(Trust::Keys(checked.keys))
            }
        }
    }

    fn not_trusted(&mut self, mut link: Link, reason: Reason) -> Trust {
        (link.status, link.reason) = (reason.status(), reason.clone());
        self.links.push_back(link);
        Trust::Not(reason)
    }
}

/// A link that held evidence is judged for.
fn link_of(held: &Held, kind: LinkKind, question: &Question, zone: &Name) -> Link {
    let failed = matches!(held.evidence, Evidence::Failed { .. });
    Link::new((!failed).then_some(held.step), kind, question, zone)
}

fn failed(question: &Question, because: &str) -> Reason {
    let because = because.to_owned();
    Reason::FetchFailed { question: question.text().to_string(), because }
}

fn unsupported(trusted: &Trusted) -> DsSeen {
    let (tag, algorithm) = (trusted.tag(), u8::from(trusted.algorithm()));
    DsSeen { tag, algorithm, digest: trusted.digest(), verdict: DsVerdict::Unsupported }
}

fn ds_of(record: &Record) -> Option<Trusted> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::DS(ds)) => Some(Trusted::Digest(ds.clone())),
        _ => None,
    }
}

/// The deepest zone that a name and type can be of: DS records are the parent's.
fn lowest_zone(question: &Question) -> Name {
    if question.kind == RecordType::DS && !question.name.is_root() {
        question.name.base_name()
    } else {
        question.name.clone()
    }
}

/// The zone that is said to have signed a claim: of several the deepest that may speak of it.
fn signer_of(claim: &Claim) -> Option<Name> {
    let records = match &claim.evidence {
        Evidence::Records { signatures, .. } => signatures,
        Evidence::Absence { proof, .. } => proof,
        Evidence::Failed { .. } => return None,
    };
    let lowest = lowest_zone(&claim.question);
    let absent = matches!(claim.evidence, Evidence::Absence { .. });
    let counts = |kind| !absent || matches!(kind, RecordType::NSEC | RecordType::NSEC3);
    let signers = records
        .iter()
        .filter_map(rrsig)
        .filter(|signature| counts(signature.input().type_covered))
        .map(|signature| &signature.input().signer_name)
        .filter(|signer| signer.zone_of(&lowest));
    signers.max_by_key(|signer| signer.iter().len()).cloned()
}

/// Judges a claim by the keys of its zone.
fn weigh(
    against: &Against<'_>,
    name: &Name,
    claim: &Claim,
    work: &mut Work,
    seen: &mut Vec<SignatureSeen>,
) -> Reason {
    match &claim.evidence {
        Evidence::Failed { because } => failed(&claim.question, because),
        Evidence::Records { .. } if claim.question.kind == RecordType::RRSIG => Reason::NotSignable,
        Evidence::Records { set, signatures, proof } => {
            let checked = check(against, set, signatures, work);
            *seen = checked.signatures;
            let Some(labels) = checked.wildcard else { return checked.reason };
            let mut proofs = Proofs::gather(against, proof, work);
            seen.append(&mut proofs.signatures);
            match proofs.no_closer(name, labels, work) {
                Ok(ProofKind::Nsec3OptOut) => Reason::OptOut,
                Ok(_) => checked.reason,
                Err(reason) => reason,
            }
        }
        Evidence::Absence { whole_name, proof } => {
            let mut proofs = Proofs::gather(against, proof, work);
            *seen = std::mem::take(&mut proofs.signatures);
            // Every signed name has some, and a server may keep them to itself.
            let of_signatures = !whole_name && claim.question.kind == RecordType::RRSIG;
            let proved = if *whole_name {
                proofs.no_name(name, work)
            } else {
                proofs.no_type(name, claim.question.kind, work)
            };
            match proved.and_then(|kind| soa_holds(against, proof, work, seen).map(|()| kind)) {
                Ok(ProofKind::Nsec3OptOut) => Reason::OptOut,
                Ok(proof) => Reason::Denied { proof },
                Err(Reason::DenialInsufficient { .. }) if of_signatures => Reason::NotSignable,
                Err(reason) => reason,
            }
        }
    }
}

/// Whether the SOA record beside a proof of absence is signed too: it says for how long the absence
/// may be believed (RFC 2308 §5), and is part of what was answered (RFC 4035 §3.2.3).
fn soa_holds(
    against: &Against<'_>,
    proof: &[Record],
    work: &mut Work,
    seen: &mut Vec<SignatureSeen>,
) -> Result<(), Reason> {
    let is_soa = |one: &&Record| one.record_type() == RecordType::SOA && one.name == *against.zone;
    let soa: Vec<Record> = proof.iter().filter(is_soa).cloned().collect();
    if soa.is_empty() {
        return Ok(());
    }
    let checked = check(against, &soa, proof, work);
    let holds = checked.is_secure();
    seen.extend(checked.signatures);
    if holds { Ok(()) } else { Err(checked.reason) }
}
