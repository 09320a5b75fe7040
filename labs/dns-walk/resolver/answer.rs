//! The reply to a client, from a walk that has ended.

use super::encode::{Extended, encode};
use super::request::Request;
use crate::batch::BatchResolver;
use crate::cache::Cache;
use crate::dname::synthesize;
use crate::dnssec::evidence::{Evidence, Held};
use crate::dnssec::reason::Reason;
use crate::dnssec::{Status, rrsig};
use crate::event::Summary;
use crate::outcome::Outcome;
use crate::special_use;
use crate::text::RecordText;
use crate::text::{Question, printable};
use crate::trust::Rank;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{CNAME, PTR};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;
use wirelab::measure::Instant;

/// The reply to a request, as bytes, and its code.
#[must_use]
pub(super) fn reply(
    now: Instant,
    request: &Request,
    summary: &Summary,
    fleet: &BatchResolver,
) -> (ResponseCode, Vec<u8>) {
    let error = error_of(summary);
    let head = &request.head;
    // A local answer has no signatures.
    let special_names = fleet.walk_config().special_names;
    let special = special_names && special_use::find(&request.question.name).is_some();
    if refused(request, summary, special) {
        return (ResponseCode::ServFail, fail(request, error.as_ref()));
    }
    let secure = summary.security.as_ref().is_some_and(|s| s.status == Status::Secure);
    let mut told = Told {
        now,
        cache: fleet.cache(),
        proofs: head.dnssec_ok,
        answers: vec![],
        authorities: vec![],
    };
    let code = match summary.outcome {
        Outcome::Answer => ResponseCode::NoError,
        Outcome::NxDomain => ResponseCode::NXDomain,
        _ => ResponseCode::NoError,
    };
    let complete = told.collect(&request.question, summary);
    if !complete {
        let gone = Extended::new(0, "what was found did not fit into the cache");
        return (ResponseCode::ServFail, fail(request, Some(&gone)));
    }
    let Told { answers, authorities, .. } = told;
    let bytes = encode(head, code, secure, &answers, &authorities, error.as_ref());
    (code, bytes)
}

/// SERVFAIL with its reason.
#[must_use]
pub(super) fn fail(request: &Request, error: Option<&Extended>) -> Vec<u8> {
    encode(&request.head, ResponseCode::ServFail, false, &[], &[], error)
}

/// Whether the walk brought nothing that this client may be given.
fn refused(request: &Request, summary: &Summary, special: bool) -> bool {
    match summary.outcome {
        Outcome::Answer | Outcome::NoData | Outcome::NxDomain => {}
        _ => return true,
    }
    let Some(security) = &summary.security else { return false };
    let doubtful = !special
        && match security.status {
            Status::Secure | Status::Insecure => false,
            Status::Bogus => true,
            // Where nothing is trusted nothing is judged (RFC 4035 §4.3); where the judgement could
            // not be finished, what should be signed may be forged.
            Status::Indeterminate => {
                !matches!(security.reason, Reason::NoAnchor | Reason::NotSignable)
            }
        };
    doubtful && !request.checking_disabled
}

/// Whether what came is signed wrongly.
pub(super) fn is_bogus(summary: &Summary) -> bool {
    summary.security.as_ref().is_some_and(|security| security.status == Status::Bogus)
}

/// Why, in the codes of RFC 8914.
pub(super) fn error_of(summary: &Summary) -> Option<Extended> {
    match &summary.outcome {
        Outcome::Answer | Outcome::NoData | Outcome::NxDomain => {
            let security = summary.security.as_ref()?;
            let code = security.extended_error?;
            let judged_so = matches!(security.reason, Reason::NoAnchor | Reason::NotSignable);
            let text = format!("{}: {}", printable(&security.subject), printable(&security.words));
            (!judged_so).then(|| Extended::new(code, text))
        }
        // 22: no reachable authority.
        Outcome::Unanswered { zone, any_reply: false } => {
            Some(Extended::new(22, format!("no server of {zone} could be reached")))
        }
        Outcome::Unanswered { zone, .. } => {
            Some(Extended::new(22, format!("no server of {zone} gave an answer")))
        }
        Outcome::AliasLoop { at } => {
            Some(Extended::new(0, format!("the aliases lead in a circle at {at}")))
        }
        Outcome::Limit { limit } => Some(Extended::new(0, limit.words())),
        // 14: not ready.
        Outcome::Interrupted => Some(Extended::new(14, "the server is stopping")),
    }
}

/// Records gathered for a reply.
struct Told<'a> {
    now: Instant,
    cache: &'a Cache,
    /// Signatures and proofs are wanted (RFC 4035 §3.2.1).
    proofs: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
}

impl Told<'_> {
    /// Gathers aliases and answers, or the absence; whether all is there.
    fn collect(&mut self, question: &Question, summary: &Summary) -> bool {
        let mut name = question.name.clone();
        for alias in &summary.aliases {
            let Some(next) = self.alias(&name, alias) else { return false };
            name = next;
        }
        if summary.outcome == Outcome::Answer {
            return self.set(&name, question.kind).is_some() || self.special(&name, summary);
        }
        self.absence(&Question::new(name, question.kind));
        true
    }

    /// Adds the local answer to a special-use name, if it is one; whether it was.
    fn special(&mut self, name: &Name, summary: &Summary) -> bool {
        let data = |text: &RecordText| match text.kind.as_str() {
            "A" | "AAAA" => text.data.parse::<IpAddr>().ok().map(RData::from),
            "PTR" => Name::from_ascii(&text.data).ok().map(|target| RData::PTR(PTR(target))),
            _ => None,
        };
        let record = |text: &RecordText| {
            data(text).map(|data| Record::from_rdata(name.clone(), text.ttl_s, data))
        };
        let known = special_use::find(name).is_some();
        self.answers.extend(summary.answers.iter().filter(|_| known).filter_map(record));
        known
    }

    /// Adds an alias; the name that it leads to.
    fn alias(&mut self, name: &Name, alias: &RecordText) -> Option<Name> {
        if alias.kind != "DNAME" {
            let first = self.set(name, RecordType::CNAME)?;
            let RData::CNAME(target) = first.data else { return None };
            return Some(target.0);
        }
        let owner = Name::from_ascii(&alias.name).ok()?;
        let dname = self.set(&owner, RecordType::DNAME)?;
        let target = synthesize(name, &dname).ok()?;
        // For those who know no DNAME (RFC 6672 §3.1); it is not signed itself.
        let data = RData::CNAME(CNAME(target.clone()));
        self.answers.push(Record::from_rdata(name.clone(), dname.ttl, data));
        Some(target)
    }

    /// Adds a set with what proves it; its first record.
    fn set(&mut self, name: &Name, kind: RecordType) -> Option<Record> {
        let entry = self.cache.get(self.now, name, kind, Rank::Answer)?;
        let left = seconds_left(self.now, entry.expires);
        // In the client's capitals: those that are known may be the echo of ours.
        let named = |record: &Record| {
            let mut record = aged(record, left);
            record.name = name.clone();
            record
        };
        let records = entry.records.iter().map(named);
        let first = self.answers.len();
        self.answers.extend(records);
        let held = self.cache.store().get(self.now, name, kind).filter(|_| self.proofs);
        if let Some(Held { evidence: Evidence::Records { signatures, proof, .. }, .. }) = held {
            self.answers.extend(signatures.iter().map(named));
            // Where it was made of a wildcard: that the name itself is not there.
            let labels = usize::from(name.num_labels());
            let wild = |record: &Record| {
                rrsig(record).is_some_and(|s| usize::from(s.input().num_labels) < labels)
            };
            if signatures.iter().any(wild) {
                let kept = proof.iter().filter(|record| denies(record));
                self.authorities.extend(kept.map(|record| aged(record, left)));
            }
        }
        self.answers.get(first).cloned()
    }

    /// Adds what says for how long the absence may be believed, and what proves it.
    fn absence(&mut self, question: &Question) {
        let Some(absence) = self.cache.absence(self.now, question) else { return };
        let left = seconds_left(self.now, absence.expires);
        let whole = absence.whole_name;
        let held = self.cache.store().absence(self.now, question, whole);
        let held = held.map(|(_, held)| &held.evidence).filter(|_| self.proofs);
        if let Some(Evidence::Absence { proof, .. }) = held {
            self.authorities.extend(proof.iter().map(|record| aged(record, left)));
        }
        let has_soa = self.authorities.iter().any(|r| r.record_type() == RecordType::SOA);
        if let Some(soa) = absence.soa.filter(|_| !has_soa) {
            self.authorities.push(aged(&soa, left));
        }
    }
}

/// A record with the time that it has left.
fn aged(record: &Record, left_s: u32) -> Record {
    let mut record = record.clone();
    record.ttl = record.ttl.min(left_s);
    record
}

/// Whole seconds, rounded up: what has just been learned keeps its time.
fn seconds_left(now: Instant, expires: Instant) -> u32 {
    let left = expires.since(now);
    let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    u32::try_from(whole).expect("invariant: a time to live has 32 bits")
}

/// Whether it says that a name is not there, or signs that.
fn denies(record: &Record) -> bool {
    let kind = rrsig(record).map_or_else(|| record.record_type(), |s| s.input().type_covered);
    matches!(kind, RecordType::NSEC | RecordType::NSEC3)
}
