//! After the answer: the chain of trust, with the walk's own questions where something is missing.
//!
//! It exists so that signatures are judged within the walk's budget, every fetch on record. It must
//! never change the answer, nor send beyond what the walk may.

use super::{Attempt, Task, Walk};
use crate::classify::Reading;
use crate::dnssec::advice;
use crate::dnssec::chain::{Chain, Claim, Next};
use crate::dnssec::evidence::Evidence;
use crate::dnssec::reason::Reason;
use crate::dnssec::{Status, UnixSeconds, WorkLimits};
use crate::event::{Class, Event, Purpose, Security};
use crate::outcome::Outcome;
use crate::text::{Question, name_text};
use crate::trust::Rank;
use hickory_proto::rr::{Name, RecordType};
use std::collections::VecDeque;
use wirelab::measure::Instant;

/// The judgement of a walk, while it goes on.
#[derive(Debug)]
pub(super) struct Judging {
    chain: Chain,
    at: UnixSeconds,
    claims: VecDeque<Claim>,
    begun: bool,
    links: u32,
    verdict: Option<(Reason, String)>,
    /// What was wanted last, and the queries sent by then.
    wanted: Option<(Question, u32)>,
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

impl Walk {
    /// Begins to keep what a judgement needs, where the user wants one and trusts something.
    pub(super) fn judging(
        at: Option<UnixSeconds>,
        anchors: &crate::dnssec::anchor::Anchors,
    ) -> Option<Judging> {
        let at = at?;
        let chain = Chain::new(anchors.clone(), at, WorkLimits::default());
        let (claims, verdict) = (VecDeque::new(), None);
        Some(Judging { chain, at, claims, begun: false, links: 0, verdict, wanted: None })
    }

    /// Whether queries ask for signatures.
    pub(super) fn wants_proof(&self) -> bool {
        self.judging.is_some() && !self.hints.anchors.is_empty()
    }

    /// Keeps what a useful reply brings for the judgement.
    pub(super) fn keep_evidence(&mut self, now: Instant, attempt: &Attempt, reading: &Reading) {
        if !self.wants_proof() {
            return;
        }
        let limits = self.config.limits;
        let (sections, step) = (&reading.sections, attempt.record.step);
        let store = self.cache.store_mut();
        for kept in reading.kept.iter().filter(|kept| kept.rank == Rank::Answer) {
            if let Some(evidence) = sections.of_set(&kept.records) {
                let first = &kept.records[0];
                let about = (&first.name, Some(first.record_type()));
                store.keep(now, &limits, about, evidence, step);
            }
        }
        let asked = &attempt.sent;
        match &reading.class {
            Class::NxDomain | Class::NoData => {
                let whole = reading.class == Class::NxDomain;
                let name = reading.aliases.last().map_or(&asked.name, |_| &reading.end);
                let about = (name, Some(asked.kind).filter(|_| !whole));
                store.keep(now, &limits, about, sections.of_absence(whole), step);
            }
            Class::Referral { .. } => {
                let Some(cut) = &reading.cut else { return };
                let ttl_s = reading.kept.first().map_or(0, |kept| kept.records[0].ttl);
                store.note_cut(now, &limits, cut, &attempt.zone, ttl_s);
                if let Some(evidence) = sections.of_cut(cut) {
                    let about = (cut, Some(RecordType::DS));
                    store.keep(now, &limits, about, evidence, step);
                }
            }
            _ => {}
        }
    }

    /// The user's question rests on this: it will be judged.
    pub(super) fn claim(&mut self, now: Instant, name: &Name, kind: RecordType, absent: bool) {
        if !self.wants_proof() || self.stack.len() != 1 || self.outcome.is_some() {
            return;
        }
        let question = Question::new(name.clone(), kind);
        let store = self.cache.store();
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
        if let Some(judging) = self.judging.as_mut() {
            judging.claims.push_back(claim);
        }
    }

    /// Goes on with the judgement; false where it is done or was not wanted.
    pub(super) fn advance_chain(&mut self, now: Instant) -> bool {
        let wanted = self.wants_proof();
        let Some(judging) = self.judging.as_mut().filter(|_| wanted) else { return false };
        judging.begun = true;
        let Some(claim) = judging.claims.front().cloned() else { return false };
        let next = judging.chain.judge(now, &claim, self.cache.store());
        while let Some(link) = judging.chain.poll_link() {
            judging.links += 1;
            for fault in advice::of_link(&link, judging.at) {
                self.book.findings.note(fault, &link.zone, None, link.step.unwrap_or(0));
            }
            self.book.tell(now, Event::Chain(Box::new(link)));
        }
        match next {
            Next::Verdict(reason) => {
                judging.claims.pop_front();
                for (zone, fault) in advice::of_proof(claim.evidence.proof()) {
                    self.book.findings.note(fault, &name_text(&zone), None, claim.step);
                }
                judging.add(reason, claim.question.text().to_string());
            }
            // It was there, and is of no use: it would be wanted for ever.
            Next::Need(question)
                if judging.wanted.as_ref() == Some(&(question.clone(), self.book.queries)) =>
            {
                judging.claims.pop_front();
                let because = format!("{} brought nothing to go on with", question.text());
                judging.add(Reason::NotFinished { because }, claim.question.text().to_string());
            }
            Next::Need(question) => {
                judging.wanted = Some((question.clone(), self.book.queries));
                let zone = name_text(&question.name);
                let purpose = Purpose::Chain { zone };
                let parent = Some(claim.step).filter(|step| *step > 0);
                self.stack.push(Task::new(question, purpose, parent));
            }
        }
        true
    }

    /// A question of the chain has ended; where it brought nothing that is kept, it failed.
    pub(super) fn chain_task_over(&mut self, now: Instant, task: &Task, outcome: Option<&Outcome>) {
        let question = &task.asked_first;
        if self.holds_proof(now, question) {
            return;
        }
        let because = match outcome {
            Some(Outcome::Unanswered { zone, any_reply: false }) => {
                format!("no server of {zone} could be reached")
            }
            Some(Outcome::Unanswered { zone, .. }) => format!("no server of {zone} answered it"),
            Some(Outcome::Limit { limit }) => limit.words().to_owned(),
            _ => "the reply has nothing to do with it".to_owned(),
        };
        let limits = self.config.limits;
        let about = (&question.name, Some(question.kind));
        let failed = Evidence::Failed { because };
        self.cache.store_mut().keep(now, &limits, about, failed, 0);
    }

    /// Whether what the chain looks for is kept: else it would ask for ever. In the place of DS
    /// records an alias will do; where keys should be it is nothing.
    pub(super) fn holds_proof(&self, now: Instant, question: &Question) -> bool {
        let held = |kind| self.cache.store().get(now, &question.name, kind).is_some();
        held(question.kind) || (question.kind == RecordType::DS && held(RecordType::CNAME))
    }

    /// What the judgement came to, for the summary.
    pub(super) fn security(&mut self) -> Option<Security> {
        let judging = self.judging.as_mut()?;
        let question = self.book.question().to_string();
        let (reason, subject) = if self.hints.anchors.is_empty() {
            (Reason::NoAnchor, question)
        } else if judging.begun && judging.claims.is_empty() {
            let none = || {
                let because = "there was no answer to judge".to_owned();
                (Reason::NotFinished { because }, question)
            };
            judging.verdict.clone().unwrap_or_else(none)
        } else {
            let because = if self.book.queries >= self.config.limits.queries {
                "the budget of queries is spent".to_owned()
            } else {
                "the walk ended first".to_owned()
            };
            let unfinished = (Reason::NotFinished { because }, question);
            match judging.verdict.clone() {
                Some(known) if known.0.status() == Status::Bogus => known,
                _ => unfinished,
            }
        };
        Some(Security {
            status: reason.status(),
            extended_error: reason.extended_error(),
            words: reason.words(),
            reason,
            subject,
            at: judging.at,
            links: judging.links,
            signatures_computed: judging.chain.computed(),
        })
    }
}
