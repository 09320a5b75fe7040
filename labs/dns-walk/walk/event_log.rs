//! The event log of a walk: its records, counts, findings and budget, and the summary.

use super::WalkConfig;
use crate::dname::moved;
use crate::event::{
    Class, Event, Exchange, Purpose, Record, Security, Skipped, Stray, Summary, Transport,
};
use crate::finding::{Fault, Findings};
use crate::limits::{Budget, Limit, Limits, counted};
use crate::message::{Messages, Octets};
use crate::outcome::Outcome;
use crate::text::{self, Asked, Question, RecordText, name_text};
use crate::trust::DropReason;
use hickory_proto::rr::{Name, RecordType};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use wirelab::measure::{Instant, nanos};

/// Attempts without a reply after which a server that never replied counts as dead: a path with
/// 10 % loss each way loses as many in a row once in 4,000.
pub(super) const SILENCE_PROVES: u32 = 5;

/// Servers of which none replies before the network is suspected instead of them.
const NETWORK_MIN: usize = 3;

/// Behaviour of a server in a walk.
#[derive(Clone, Debug, Default)]
struct Seen {
    replies: u32,
    silent: u32,
    /// The network or the host said why it cannot be reached.
    unreachable: Option<String>,
    first_step: u32,
    /// It answered without authority and offered recursion.
    as_resolver: bool,
    useful: bool,
}

/// How a walk ends, beside what the log knows.
pub(super) struct Ends {
    pub(super) outcome: Outcome,
    pub(super) security: Option<Security>,
    pub(super) excluded: Option<Skipped>,
}

/// The records of a walk, and what they add up to.
#[derive(Debug)]
pub(super) struct EventLog {
    pub(super) events: VecDeque<Record>,
    pub(super) findings: Findings,
    pub(super) started: Instant,
    pub(super) answered_at: Option<Instant>,
    pub(super) answers: Vec<RecordText>,
    pub(super) aliases: Vec<RecordText>,
    pub(super) queries: u32,
    pub(super) cache_hits: u32,
    pub(super) budget: Budget,
    pub(super) question: Question,
    /// The zone and the server of each step that a reply took further.
    pub(super) answered_by: BTreeMap<u32, (String, String, SocketAddr)>,
    steps: BTreeSet<u32>,
    pub(super) last_step: u32,
    /// Numbers of attempts are never used again, even where a query was withdrawn.
    last_attempt: u32,
    /// Of all records the summary alone is wanted.
    summary_only: bool,
    /// Bytes of messages that are kept; absent where none are wanted.
    kept: Option<u64>,
    best_path_ns: u64,
    retries: u32,
    unanswered: u32,
    strays: u32,
    bytes_sent: u64,
    bytes_received: u64,
    seen: BTreeMap<(String, String, SocketAddr), Seen>,
}

impl EventLog {
    pub(super) fn new(question: Question, now: Instant, config: &WalkConfig) -> Self {
        Self {
            events: VecDeque::new(),
            findings: Findings::default(),
            started: now,
            answered_at: None,
            answers: Vec::new(),
            aliases: Vec::new(),
            queries: 0,
            cache_hits: 0,
            budget: Budget::default(),
            question,
            answered_by: BTreeMap::new(),
            steps: BTreeSet::new(),
            last_step: 0,
            last_attempt: 0,
            summary_only: config.summary_only,
            kept: (config.messages && !config.summary_only).then_some(0),
            best_path_ns: 0,
            retries: 0,
            unanswered: 0,
            strays: 0,
            bytes_sent: 0,
            bytes_received: 0,
            seen: BTreeMap::new(),
        }
    }

    pub(super) fn record(&mut self, now: Instant, event: Event) {
        if !self.summary_only || matches!(event, Event::Summary(_)) {
            self.events.push_back(Record::new(now, event));
        }
    }

    /// The name that the user asked for, and those that aliases led to.
    pub(super) fn names(&self) -> Vec<Name> {
        let mut names = vec![self.question.name.to_lowercase()];
        for alias in &self.aliases {
            let Ok(target) = Name::from_ascii(&alias.data) else { continue };
            let next = match (alias.kind.as_str(), names.last(), Name::from_ascii(&alias.name)) {
                ("DNAME", Some(name), Ok(owner)) => moved(name, &owner, &target),
                _ => Some(target),
            };
            names.extend(next);
        }
        names
    }

    /// The type that the user asked for.
    pub(super) const fn kind(&self) -> RecordType {
        self.question.kind
    }

    /// The user's question.
    pub(super) fn question(&self) -> Asked {
        self.question.text()
    }

    /// The number of a new step, from 1.
    pub(super) const fn next_step(&mut self) -> u32 {
        self.last_step += 1;
        self.last_step
    }

    /// The number of a new attempt, from 1.
    pub(super) const fn next_attempt(&mut self) -> u32 {
        self.last_attempt += 1;
        self.last_attempt
    }

    /// A query goes out.
    pub(super) fn sent(&mut self, exchange: &Exchange) {
        self.queries += 1;
        self.retries += u32::from(exchange.attempt > 1);
        self.bytes_sent += u64::from(exchange.bytes_sent);
        if !matches!(exchange.purpose, Purpose::Check { .. } | Purpose::Prime) {
            self.steps.insert(exchange.step);
        }
    }

    /// The bytes of a message, where they are wanted and there is room.
    fn keep(&mut self, limits: &Limits, bytes: &[u8]) -> Option<Octets> {
        let wanted = self.kept? + counted(bytes.len());
        self.budget.want(limits, Limit::MessageBytes, wanted);
        if wanted > limits.allowed(Limit::MessageBytes) {
            return None;
        }
        self.kept = Some(wanted);
        Some(Octets::new(bytes.to_vec()))
    }

    /// Keeps a query, for its record.
    pub(super) fn keep_query(&mut self, limits: &Limits, bytes: &[u8]) -> Option<Box<Messages>> {
        self.keep(limits, bytes).map(|query| Box::new(Messages { query, reply: None }))
    }

    /// Keeps the reply beside its query.
    pub(super) fn keep_reply(&mut self, limits: &Limits, exchange: &mut Exchange, bytes: &[u8]) {
        if let Some(messages) = &mut exchange.messages {
            messages.reply = self.keep(limits, bytes);
        }
    }

    /// A query that was to go out did not.
    pub(super) fn withdrawn(&mut self, exchange: &Exchange) {
        if let (Some(kept), Some(messages)) = (&mut self.kept, &exchange.messages) {
            *kept -= counted(messages.query.bytes().len());
        }
        self.queries -= 1;
        self.retries -= u32::from(exchange.attempt > 1);
        self.bytes_sent -= u64::from(exchange.bytes_sent);
        if exchange.attempt == 1 {
            self.steps.remove(&exchange.step);
        }
    }

    /// Something arrived that answers nothing: described while `limits` allows, counted always.
    pub(super) fn stray(&mut self, now: Instant, limits: &Limits, mut stray: Stray, bytes: &[u8]) {
        self.strays += 1;
        self.budget.want(limits, Limit::Strays, u64::from(self.strays));
        let step = stray.step.unwrap_or_default();
        self.findings.note(Fault::StrayReplies, ".", None, step);
        if self.strays <= limits.strays {
            stray.message = self.keep(limits, bytes).map(Box::new);
            self.record(now, Event::Stray(stray));
        }
    }

    /// An exchange has ended: counts it, derives what it shows, and tells it.
    pub(super) fn ended(&mut self, now: Instant, exchange: Exchange) {
        let address = exchange.server.address;
        let key = (exchange.zone.clone(), exchange.server.name.clone(), address);
        if exchange.class.is_useful() {
            self.answered_by.insert(exchange.step, key.clone());
        }
        let seen = self.seen.entry(key).or_default();
        if seen.first_step == 0 {
            seen.first_step = exchange.step;
        }
        let no_way = seen.unreachable.is_some();
        self.bytes_received += u64::from(exchange.bytes_received.unwrap_or_default());
        if exchange.class.is_reply() {
            seen.replies += 1;
            seen.as_resolver |= exchange.class == Class::NotAuthoritative { recursion: true };
            seen.useful |= exchange.class.is_useful();
        } else {
            self.unanswered += 1;
            match &exchange.class {
                Class::Unreachable { why } => seen.unreachable = Some(why.clone()),
                class => seen.silent += u32::from(*class != Class::Overtaken),
            }
        }
        let waited = exchange.class.is_useful()
            || matches!(
                exchange.class,
                Class::Truncated
                    | Class::NoEdns
                    | Class::NoCookie
                    | Class::CaseLost
                    | Class::CookieLost
                    | Class::BadCookie
            );
        // Nothing waits for the root's own list.
        let waited = waited && exchange.purpose != Purpose::Prime;
        if waited && self.answered_at.is_none() {
            self.best_path_ns += exchange.rtt_ns.unwrap_or_default();
        }
        // A host without a UDP port lacks more than its TCP port.
        let fault = fault_of(&exchange).filter(|it| !no_way || *it != Fault::ServerNoTcp);
        if let Some(fault) = fault {
            let server = Some((exchange.server.name.clone(), address));
            self.findings.note(fault, &exchange.zone, server, exchange.step);
        }
        // What is named by another record of the reply is help, though not to be believed.
        let named = |name: &String| {
            let data = exchange.learned.iter().map(|learned| &learned.record.data);
            data.chain(exchange.dropped.iter().map(|d| &d.record.data)).any(|d| d.contains(name))
        };
        let lie = exchange.dropped.iter().find(|dropped| {
            dropped.why == DropReason::OutOfBailiwick && !named(&dropped.record.name)
        });
        if let Some(lie) = lie {
            let fault = Fault::OutOfBailiwick { name: lie.record.name.clone() };
            let server = Some((exchange.server.name.clone(), address));
            self.findings.note(fault, &exchange.zone, server, exchange.step);
        }
        self.record(now, Event::Exchange(Box::new(exchange)));
    }

    /// One server of the root that looks like a resolver is broken; several are not themselves.
    fn note_interception(&mut self) {
        let roots = || self.seen.iter().filter(|((zone, _, _), _)| zone == ".").map(|(_, s)| s);
        let as_resolver = roots().filter(|seen| seen.as_resolver).count();
        if as_resolver > 1 && !roots().any(|seen| seen.useful) {
            self.findings.note(Fault::RootIntercepted, ".", None, 1);
        }
    }

    /// Names the servers that never replied; where none of several did, what that means.
    fn note_silence(&mut self) {
        let never = |seen: &&Seen| seen.replies == 0;
        let all = self.seen.len() >= NETWORK_MIN && self.seen.values().all(|seen| never(&seen));
        if all && let Some(((zone, _, _), first)) = self.seen.iter().next() {
            let servers = u32::try_from(self.seen.len()).expect("invariant: a limit of 32 bits");
            let reason = self.seen.values().find_map(|seen| seen.unreachable.clone());
            let fault = match reason {
                Some(why) if self.seen.values().all(|seen| seen.unreachable.is_some()) => {
                    Fault::NothingReachable { servers, why }
                }
                _ => Fault::NothingReplies { servers },
            };
            self.findings.note(fault, zone, None, first.first_step);
            return;
        }
        for ((zone, name, address), seen) in self.seen.iter().filter(|(_, seen)| never(seen)) {
            let fault = match &seen.unreachable {
                Some(why) => Fault::ServerUnreachable { why: why.clone() },
                None if seen.silent >= SILENCE_PROVES => Fault::ServerUnresponsive,
                None if seen.silent == 0 => continue,
                None => Fault::ServerSilent { queries: seen.silent },
            };
            let server = Some((name.clone(), *address));
            self.findings.note(fault, zone, server, seen.first_step);
        }
    }

    /// Writes the summary.
    pub(super) fn summarize(&mut self, now: Instant, ends: Ends, limits: &Limits) {
        let Ends { outcome, security, excluded } = ends;
        self.note_silence();
        self.note_interception();
        self.budget.spend(Limit::Queries, u64::from(self.queries));
        self.budget.want(limits, Limit::Time, nanos(now.since(self.started)));
        let summary = Summary {
            unicode: text::unicode(&name_text(&self.question.name)),
            question: self.question.text(),
            outcome,
            aliases: std::mem::take(&mut self.aliases),
            answers: std::mem::take(&mut self.answers),
            elapsed_ns: nanos(self.answered_at.unwrap_or(now).since(self.started)),
            best_path_ns: self.best_path_ns,
            steps: u32::try_from(self.steps.len())
                .expect("invariant: a step has a number of 32 bits"),
            queries: self.queries,
            budget: limits.queries,
            retries: self.retries,
            unanswered: self.unanswered,
            cache_hits: self.cache_hits,
            strays: self.strays,
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            spent: self.budget.account(limits),
            findings: self.findings.list(),
            security,
            skipped: excluded,
        };
        self.record(now, Event::Summary(Box::new(summary)));
    }
}

/// Faults of the server that an exchange shows.
fn fault_of(exchange: &Exchange) -> Option<Fault> {
    let rcode = || exchange.rcode.clone().unwrap_or_default();
    Some(match &exchange.class {
        Class::Refused => Fault::ServerRefuses,
        Class::ServFail | Class::NotImp | Class::FormErr | Class::OtherCode => {
            Fault::ServerFails { rcode: rcode() }
        }
        Class::NotAuthoritative { .. } => Fault::ServerNotAuthoritative,
        Class::UpwardReferral { to } => Fault::ServerRefersAway { to: to.clone() },
        Class::SelfReferral => Fault::ServerRefersAway { to: exchange.zone.clone() },
        Class::Malformed { .. } if exchange.flags.iter().any(|flag| flag == "TC") => {
            Fault::TruncatesOverTcp
        }
        Class::Malformed { .. } => Fault::ServerMalformed,
        Class::NoCookie => Fault::ServerRejectsCookies { rcode: rcode() },
        Class::NoEdns => Fault::ServerNoEdns,
        Class::CaseLost => Fault::ServerChangesCase,
        Class::Unreachable { .. } if exchange.transport == Transport::Tcp => Fault::ServerNoTcp,
        _ => return None,
    })
}
