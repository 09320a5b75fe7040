//! After the answer: the chain of trust, with the walk's own questions where something is missing.
//!
//! Signatures are judged within the walk's budget, every fetch on record. The answer stays.

use super::event_log::EventLog;
use super::known::Known;
use super::queries::Attempt;
use super::setup::Setup;
use super::tasks::Task;
use crate::classify::Classified;
use crate::dnssec::advice;
use crate::dnssec::chain::{Chain, Claim, Next};
use crate::dnssec::evidence::{Evidence, Store};
use crate::dnssec::link::Link;
use crate::dnssec::reason::Reason;
use crate::dnssec::{Status, UnixSeconds, WorkLimits};
use crate::event::{Class, Event, Purpose, Security};
use crate::limits::Limits;
use crate::outcome::Outcome;
use crate::text::{Question, name_text};
use crate::trust::Rank;
use hickory_proto::rr::{Name, RecordType};
use std::collections::VecDeque;
use wirelab::measure::Instant;

/// The judgement of a walk, while it goes on.
#[derive(Debug)]
pub(super) struct Judging {
    pub(super) chain: Chain,
    at: UnixSeconds,
    pub(super) claims: VecDeque<Claim>,
    pub(super) begun: bool,
    links: u32,
    pub(super) verdict: Option<(Reason, String)>,
    /// The last item fetched, and the queries sent by then.
    pub(super) wanted: Option<(Question, u32)>,
    /// The first link that does not hold, until it is fetched from another server.
    pub(super) broken: Option<Link>,
}

impl Judging {
    /// The worst of two reasons counts; of equals the first.
    fn add(&mut self, reason: Reason, subject: String) {
        let worse = self.verdict.as_ref().is_none_or(|(known, _)| reason.status() > known.status());
        if worse {
            self.verdict = Some((reason, subject));
        }
    }
}

/// The next step of a judgement.
pub(super) enum JudgeNext {
    /// Nothing: it is done.
    Done,
    /// The data does not validate as this server gave it; see [`Judging::settle`].
    Bogus(Reason),
    /// Another step.
    Again,
    /// It needs the answer of a question.
    Fetch(Box<Task>),
}

impl Judging {
    /// Begins to keep what a judgement needs, where the user wants one and trusts something.
    pub(super) fn new(setup: &Setup) -> Option<Self> {
        let at = setup.config.validate_at?;
        let chain = Chain::new(setup.hints.anchors.clone(), at, WorkLimits::default());
        Some(Self {
            chain,
            at,
            claims: VecDeque::new(),
            begun: false,
            links: 0,
            verdict: None,
            wanted: None,
            broken: None,
        })
    }

    /// The user's question rests on this: it will be judged.
    pub(super) fn claim(
        &mut self,
        now: Instant,
        store: &Store,
        name: &Name,
        kind: RecordType,
        absent: bool,
    ) {
        let question = Question::new(name.clone(), kind);
        let held = store.get(now, name, kind).map(|held| (name.clone(), held));
        let above = || store.absence(now, &question, true).filter(|_| absent);
        let claim = match held.or_else(above) {
            Some((name, held)) => Claim {
                question: Question::new(name, kind),
                evidence: held.evidence.clone(),
                step: held.step,
            },
            None => {
                let because = "it was learned without its signatures".to_owned();
                Claim { question, evidence: Evidence::Failed { because }, step: 0 }
            }
        };
        self.claims.push_back(claim);
    }

    /// Goes on with the judgement.
    pub(super) fn advance(&mut self, now: Instant, store: &Store, log: &mut EventLog) -> JudgeNext {
        self.begun = true;
        let Some(claim) = self.claims.front().cloned() else { return JudgeNext::Done };
        let next = self.chain.judge(now, &claim, store);
        while let Some(link) = self.chain.poll_link() {
            self.links += 1;
            for fault in advice::of_link(&link, self.at) {
                log.findings.note(fault, &link.zone, None, link.step.unwrap_or(0));
            }
            if link.status == Status::Bogus && self.broken.is_none() {
                self.broken = Some(link.clone());
            }
            log.record(now, Event::Chain(Box::new(link)));
        }
        match next {
            Next::Verdict(reason) if reason.status() == Status::Bogus => {
                return JudgeNext::Bogus(reason);
            }
            Next::Verdict(reason) => self.settle(reason, log),
            // It was there, and is of no use: it would be wanted again and again.
            Next::Need(question)
                if self.wanted.as_ref() == Some(&(question.clone(), log.queries)) =>
            {
                self.claims.pop_front();
                let because = format!("{} brought nothing to go on with", question.text());
                self.add(Reason::NotFinished { because }, claim.question.text().to_string());
            }
            Next::Need(question) => {
                self.wanted = Some((question.clone(), log.queries));
                let zone = name_text(&question.name);
                let parent = Some(claim.step).filter(|step| *step > 0);
                let task = Task::new(question, Purpose::Chain { zone }, parent);
                return JudgeNext::Fetch(Box::new(task));
            }
        }
        JudgeNext::Again
    }

    /// The claim that is judged has this verdict; the next one follows.
    pub(super) fn settle(&mut self, reason: Reason, log: &mut EventLog) {
        let Some(claim) = self.claims.pop_front() else { return };
        for (zone, fault) in advice::of_proof(claim.evidence.proof()) {
            log.findings.note(fault, &name_text(&zone), None, claim.step);
        }
        self.add(reason, claim.question.text().to_string());
    }

    /// The result of the judgement, for the summary.
    pub(super) fn security(&self, setup: &Setup, log: &EventLog) -> Security {
        let question = log.question().to_string();
        let (reason, subject) = if setup.hints.anchors.is_empty() {
            (Reason::NoAnchor, question)
        } else if self.begun && self.claims.is_empty() {
            let none = || {
                let because = "there was no answer to judge".to_owned();
                (Reason::NotFinished { because }, question)
            };
            self.verdict.clone().unwrap_or_else(none)
        } else {
            let because = if log.queries >= setup.config.limits.queries {
                "the budget of queries is spent".to_owned()
            } else {
                "the walk ended first".to_owned()
            };
            match self.verdict.clone() {
                Some(known) if known.0.status() == Status::Bogus => known,
                _ => (Reason::NotFinished { because }, question),
            }
        };
        Security {
            status: reason.status(),
            extended_error: reason.extended_error(),
            words: reason.words(),
            reason,
            subject,
            at: self.at,
            links: self.links,
            signatures_computed: self.chain.computed(),
        }
    }
}

/// Keeps what a useful reply brings for the judgement.
pub(super) fn keep_evidence(
    store: &mut Store,
    now: Instant,
    limits: &Limits,
    attempt: &Attempt,
    reading: &Classified,
) {
    let (sections, step) = (&reading.sections, attempt.record.step);
    for kept in reading.kept.iter().filter(|kept| kept.rank == Rank::Answer) {
        if let Some(evidence) = sections.of_set(&kept.records) {
            let first = &kept.records[0];
            let about = (&first.name, Some(first.record_type()));
            store.keep(now, limits, about, evidence, step);
        }
    }
    let asked = &attempt.sent;
    match &reading.class {
        Class::NxDomain | Class::NoData => {
            let whole = reading.class == Class::NxDomain;
            let name = reading.aliases.last().map_or(&asked.name, |_| &reading.end);
            let about = (name, Some(asked.kind).filter(|_| !whole));
            store.keep(now, limits, about, sections.of_absence(whole), step);
        }
        Class::Referral { .. } => {
            let Some(cut) = &reading.cut else { return };
            let ttl_s = reading.kept.first().map_or(0, |kept| kept.records[0].ttl);
            store.note_cut(now, limits, cut, &attempt.zone, ttl_s);
            if let Some(evidence) = sections.of_cut(cut) {
                let about = (cut, Some(RecordType::DS));
                store.keep(now, limits, about, evidence, step);
            }
        }
        _ => {}
    }
}

/// A question of the chain has ended; where it brought nothing that is kept, it failed.
pub(super) fn note_fetched(
    known: &mut Known,
    now: Instant,
    limits: &Limits,
    question: &Question,
    outcome: Option<&Outcome>,
) {
    if known.holds_proof(now, question) {
        return;
    }
    let because = match outcome {
        Some(Outcome::Unanswered { zone, any_reply: false }) => {
            format!("no server of {zone} could be reached")
        }
        Some(Outcome::Unanswered { zone, .. }) => format!("no server of {zone} answered it"),
        Some(Outcome::Limit { limit }) => limit.words().to_owned(),
        _ => "the reply does not concern it".to_owned(),
    };
    let about = (&question.name, Some(question.kind));
    known.cache.store_mut().keep(now, limits, about, Evidence::Failed { because }, 0);
}
