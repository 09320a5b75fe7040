//! Asks other servers of a zone where what one of them gave does not hold.

use super::chain::Judging;
use super::event_log::{EventLog, SILENCE_PROVES};
use super::queries::Attempt;
use super::tasks::Task;
use super::{Phase, Walk};
use crate::classify::{Classified, RRset};
use crate::dnssec::Status;
use crate::dnssec::chain::{Claim, Next};
use crate::dnssec::link::{Link, LinkKind};
use crate::dnssec::reason::Reason;
use crate::event::{Class, Exchange, Purpose};
use crate::finding::Fault;
use crate::outcome::Outcome;
use crate::text::{Question, RecordText, kind_of};
use hickory_proto::rr::{Name, RecordType};
use std::net::SocketAddr;
use wirelab::measure::Instant;

/// Times that a walk asks elsewhere, at most: each of 13 servers once, for keys and for records.
const ROUNDS_MAX: u32 = 26;
/// Attempts without a reply after which a server is not asked for a better copy.
const SILENT_MAX: u32 = SILENCE_PROVES;

/// Data of one server, and the reason why it is bogus.
#[derive(Clone, Debug)]
struct Rejected {
    zone: String,
    server: Option<(String, SocketAddr)>,
    step: u32,
    subject: String,
    reason: Reason,
}

/// The answer as it came first.
#[derive(Debug)]
struct First {
    outcome: Outcome,
    answers: Vec<RecordText>,
    aliases: Vec<RecordText>,
    reason: Reason,
    subject: String,
}

/// The servers whose copies do not hold, and the answer that they gave.
#[derive(Debug, Default)]
pub(super) struct Retry {
    rejected: Vec<Rejected>,
    first: Option<Box<First>>,
    rounds: u32,
}

impl Retry {
    /// Whether a server of the zone gave something that does not hold.
    pub(super) fn distrusts(&self, zone: &str, address: SocketAddr) -> bool {
        self.rejected.iter().any(|rejected| {
            let at = rejected.server.as_ref().map(|(_, address)| *address);
            rejected.zone == zone && at == Some(address)
        })
    }
}

const fn is_conclusive(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answer | Outcome::NoData | Outcome::NxDomain)
}

impl Walk {
    /// How the user's question ends where asking elsewhere failed: with the first answer, whole,
    /// and as bogus as it was.
    pub(super) fn or_first(&mut self, ended: Outcome) -> Outcome {
        let Some(first) = self.retry.first.as_ref().filter(|_| !is_conclusive(&ended)) else {
            return ended;
        };
        if let Some(judging) = self.judging.as_mut() {
            judging.settle_for(first.reason.clone(), first.subject.clone());
        }
        self.log.answers.clone_from(&first.answers);
        self.log.aliases.clone_from(&first.aliases);
        first.outcome.clone()
    }

    /// What was judged is bogus for `reason`: fetches it from another server of its zone. False
    /// where there is none, or the budget is spent.
    pub(super) fn ask_elsewhere(&mut self, now: Instant, reason: &Reason) -> bool {
        let Some(judging) = self.judging.as_mut() else { return false };
        let Some(link) = judging.broken.take() else { return false };
        let over = self.log.queries >= self.setup.config.limits.queries;
        let Phase::Answered(outcome) = &self.phase else { return false };
        // What was bogus before has been mended by another server.
        let before = self.retry.first.as_ref().map(|first| first.subject.clone());
        if before != Some(judging.subject()) {
            self.retry.first = Some(Box::new(First {
                outcome: outcome.clone(),
                answers: self.log.answers.clone(),
                aliases: self.log.aliases.clone(),
                reason: reason.clone(),
                subject: judging.subject(),
            }));
        }
        self.retry.rounds += 1;
        if !self.reject(&link) || over || self.retry.rounds > ROUNDS_MAX {
            return false;
        }
        let zone =
            self.retry.rejected.last().map_or_else(|| link.zone.clone(), |last| last.zone.clone());
        if self.has_other_servers(now, &zone) {
            self.fetch_again(&link);
            return true;
        }
        link.link == LinkKind::Keys && self.fetch_ds_again(now, &link)
    }

    /// Notes the server that gave what `link` is about; false where it was noted before.
    fn reject(&mut self, link: &Link) -> bool {
        let step = link.step.unwrap_or(0);
        let by = self.log.answered_by.get(&step).cloned();
        let (zone, server) = match by {
            Some((zone, name, address)) => (zone, Some((name, address))),
            // Another walk fetched it.
            None => (link.zone.clone(), None),
        };
        let subject = link.subject.to_string();
        let again = self.retry.rejected.iter().any(|known| {
            known.server.is_some() && (&known.server, &known.subject) == (&server, &subject)
        });
        let reason = link.reason.clone();
        self.retry.rejected.push(Rejected { zone, server, step, subject, reason });
        !again
    }

    /// Whether a server of the zone is left whose copy may hold.
    fn has_other_servers(&mut self, now: Instant, zone: &str) -> bool {
        let Ok(name) = Name::from_ascii(zone) else { return false };
        let servers = self.servers_of(now, &name);
        let usable = |address| {
            self.known.servers.get(address).silent < SILENT_MAX
                && !self.retry.distrusts(zone, address)
        };
        servers.candidates.iter().any(|candidate| usable(candidate.address))
            || !servers.unresolved.is_empty()
    }

    /// Forgets what `link` is about, so that it is fetched from another server.
    fn fetch_again(&mut self, link: &Link) {
        let Some(judging) = self.judging.as_mut() else { return };
        match link.link {
            LinkKind::Keys | LinkKind::Ds => {
                if let Some(question) = question_of(link) {
                    self.known.cache.store_mut().forget(&question);
                }
                judging.chain.forget_failures();
            }
            LinkKind::Records | LinkKind::Absence => {
                self.known.cache.forget_step(link.step.unwrap_or(0));
                judging.restart();
                (self.check, self.phase) = (None, Phase::Answering);
                (self.log.answered_at, self.log.answers, self.log.aliases) =
                    (None, Vec::new(), Vec::new());
                let question = self.log.question.clone();
                self.tasks.push(Task::new(question, Purpose::Answer, None));
            }
        }
    }

    /// Every server of a zone has the same keys, and its DS records name others: the copy of the
    /// zone above may be the stale one.
    fn fetch_ds_again(&mut self, now: Instant, keys: &Link) -> bool {
        let Some(mut question) = question_of(keys) else { return false };
        question.kind = RecordType::DS;
        let held = self.known.cache.store().get(now, &question.name, RecordType::DS);
        let Some(step) = held.map(|held| held.step) else { return false };
        let Some((zone, name, address)) = self.log.answered_by.get(&step).cloned() else {
            return false;
        };
        if self.retry.distrusts(&zone, address) {
            return false;
        }
        let (subject, reason) = (question.text().to_string(), keys.reason.clone());
        let server = Some((name, address));
        self.retry.rejected.push(Rejected { zone: zone.clone(), server, step, subject, reason });
        if !self.has_other_servers(now, &zone) {
            self.retry.rejected.pop();
            return false;
        }
        // The keys may hold under other DS records.
        self.retry.rejected.retain(|known| known.subject != keys.subject.to_string());
        let Some(judging) = self.judging.as_mut() else { return false };
        self.known.cache.store_mut().forget(&question);
        judging.chain.forget_failures();
        true
    }

    /// Whether a probed server's answer to the user's question validates with the known keys.
    pub(super) fn judge_probe(&mut self, now: Instant, attempt: &Attempt, reading: &Classified) {
        let own = attempt.meant.kind == self.log.kind();
        let Some(judging) = self.judging.as_mut().filter(|_| own) else { return };
        let question = Question::new(attempt.meant.name.clone(), attempt.meant.kind);
        let evidence = match reading.class {
            Class::Answer => {
                let asked = |set: &&RRset| {
                    set.records[0].name == question.name
                        && set.records[0].record_type() == question.kind
                };
                let set = reading.kept.iter().find(asked);
                set.and_then(|set| reading.sections.of_set(&set.records))
            }
            Class::NoData => Some(reading.sections.of_absence(false)),
            Class::NxDomain => Some(reading.sections.of_absence(true)),
            _ => None,
        };
        let Some(evidence) = evidence else { return };
        let step = attempt.record.step;
        let claim = Claim { question, evidence, step };
        let judged = judging.chain.judge(now, &claim, self.known.cache.store());
        while judging.chain.poll_link().is_some() {}
        if let Next::Verdict(reason) = judged
            && reason.status() == Status::Bogus
            && judging.holds()
        {
            let subject = claim.question.text().to_string();
            let fault = Fault::ServerBogus { subject, reason: Box::new(reason) };
            let Exchange { zone, server, .. } = &attempt.record;
            let server = Some((server.name.clone(), server.address));
            self.log.findings.note(fault, zone, server, step);
        }
    }

    /// The judgement is over: names the servers whose copies do not hold, or says that all agree.
    /// The outcome, where it is that of the first answer after all.
    pub(super) fn conclude(&mut self) -> Option<Outcome> {
        let retry = std::mem::take(&mut self.retry);
        let (judging, first) = (self.judging.as_mut()?, *retry.first?);
        if judging.holds() {
            for rejected in retry.rejected {
                let Rejected { zone, server, step, subject, reason } = rejected;
                let fault = Fault::ServerBogus { subject, reason: Box::new(reason) };
                self.log.findings.note(fault, &zone, server, step);
            }
            return None;
        }
        note_bogus(&mut self.log, &retry.rejected, &first);
        let First { outcome, answers, aliases, reason, subject } = first;
        judging.settle_for(reason, subject);
        (self.log.answers, self.log.aliases) = (answers, aliases);
        Some(outcome)
    }
}

/// Notes that no server of the zone gave anything that holds.
fn note_bogus(log: &mut EventLog, rejected: &[Rejected], first: &First) {
    let same = |known: &&Rejected| known.reason == first.reason;
    let Some(at) = rejected.iter().find(same).or_else(|| rejected.last()) else { return };
    let mut asked: Vec<_> = rejected
        .iter()
        .filter(|other| other.zone == at.zone)
        .filter_map(|other| other.server.as_ref())
        .collect();
    asked.sort_unstable();
    asked.dedup();
    let servers = u32::try_from(asked.len()).expect("invariant: at most as many as rounds");
    let fault = Fault::AnswerBogus {
        subject: first.subject.clone(),
        reason: Box::new(at.reason.clone()),
        servers,
    };
    log.findings.note(fault, &at.zone, at.server.clone(), at.step);
}

/// The question whose answer a link is about.
fn question_of(link: &Link) -> Option<Question> {
    let name = Name::from_ascii(&link.subject.name).ok()?;
    Some(Question::new(name, kind_of(&link.subject.kind)?))
}

impl Judging {
    /// Whether what was judged so far holds, be it as unsigned.
    fn holds(&self) -> bool {
        let status = self.verdict.as_ref().map(|(reason, _)| reason.status());
        matches!(status, Some(Status::Secure | Status::Insecure)) && self.claims.is_empty()
    }

    /// The data being judged.
    fn subject(&self) -> String {
        self.claims.front().map(|claim| claim.question.text().to_string()).unwrap_or_default()
    }

    /// Forgets what the user's question rested on: it is asked again.
    fn restart(&mut self) {
        self.claims.clear();
        self.chain.forget_failures();
        (self.begun, self.verdict, self.wanted) = (false, None, None);
    }

    /// The verdict is this one, whatever came after.
    fn settle_for(&mut self, reason: Reason, subject: String) {
        self.claims.clear();
        (self.begun, self.verdict) = (true, Some((reason, subject)));
    }
}
