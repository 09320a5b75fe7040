//! The machine that walks: commands and bytes in, queries and records out.
//!
//! It exists so that one set of rules runs on sockets and in virtual time. It must never send
//! without a reason that its records give, nor more than its budget.
//!
//! # Contract
//! [`Walk::new`] is the command. `handle_*` takes what the network and the clock bring; then drain
//! [`Walk::poll_transmit`], [`Walk::poll_release`] and [`Walk::poll_event`] until there is nothing
//! left, and call [`Walk::handle_timeout`] at [`Walk::poll_timeout`]. Every query wants a socket of
//! its own, so that a forger must guess the port anew (RFC 5452 §9.2); replies are handed over with
//! the [`AttemptId`] of that socket.
//!
//! # How it walks (RFC 1034 §5.3.3)
//! Questions lie on a stack of tasks: the user's own at the bottom, above it the address of a
//! server that some task below needs. The top task puts its question to the servers of the deepest
//! zone that is known: that is a *step*; each query of it is an *attempt*. A reply that helps ends
//! the step, for whichever task it comes; one that does not sends the step to the next server.
//! Beside the first question to the root goes one for the root's own list of servers, which nothing
//! waits for.

mod ask;
mod chain;
mod checks;
mod cuts;
mod event_log;
mod excluded;
mod fallback;
mod prime;
mod reply;
mod shared;
mod special_use;

pub use shared::Knowledge;

use super::cache::Cache;
use super::cookie::Cookie;
use super::dnssec::UnixSeconds;
use super::entropy::Secret;
use super::event::{
    AddressSource, CacheUse, Class, Event, Exchange, Purpose, Qmin, Record, SkipReason, Start,
    Transport, VERSION,
};
use super::finding::Fault;
use super::hints::Hints;
use super::limits::{Limit, Limits};
use super::outcome::Outcome;
use super::servers::Servers;
use super::text::RecordText;
use super::text::{Question, name_text};
use checks::Check;
use cuts::Delegation;
use event_log::{Book, Ends};
use hickory_proto::rr::{Name, RecordType};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use wirelab::measure::Instant;

/// How to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkConfig {
    /// What it may spend.
    pub limits: Limits,
    /// How much of a name servers are told.
    pub qmin: Qmin,
    /// Whether servers are asked over IPv4.
    pub v4: bool,
    /// Whether servers are asked over IPv6.
    pub v6: bool,
    /// Why a family is left out, where one is.
    pub left_out: SkipReason,
    /// Whether queries have random capitals.
    pub random_case: bool,
    /// Whether queries carry EDNS.
    pub edns: bool,
    /// Whether queries carry cookies (RFC 7873); never without EDNS.
    pub cookies: bool,
    /// Whether every query goes over TCP.
    pub tcp: bool,
    /// Whether the root is asked for its own list of servers beside the first question (RFC 9609).
    pub prime: bool,
    /// Whether names that are not for the public DNS are answered without asking anybody.
    pub special_names: bool,
    /// Whether only public addresses are asked.
    pub public_only: bool,
    /// Whether every server of the zones on the way is asked after the answer is known.
    pub check: bool,
    /// Whether the check asks every server of every zone, the root's too, the question itself.
    pub all: bool,
    /// The time to judge signatures at; absent where they are not to be judged.
    pub validate_at: Option<UnixSeconds>,
    /// Whether the summary is the only record: a walk among thousands need not tell its steps.
    pub summary_only: bool,
    /// What numbers, capitals and cookies are drawn from; where there is none, from the seed, so
    /// that a walk of the demonstration repeats to the bit.
    pub secret: Option<Secret>,
    /// Whether records hold the messages themselves.
    pub messages: bool,
}

impl Default for WalkConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            qmin: Qmin::default(),
            v4: true,
            v6: true,
            left_out: SkipReason::default(),
            random_case: true,
            edns: true,
            cookies: true,
            tcp: false,
            prime: true,
            special_names: true,
            public_only: true,
            check: false,
            all: false,
            validate_at: None,
            summary_only: false,
            secret: None,
            messages: false,
        }
    }
}

/// One query, and the socket that waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u32);

/// A query to send, from a socket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The name of its socket.
    pub attempt: AttemptId,
    /// Where to.
    pub to: SocketAddr,
    /// Over what.
    pub transport: Transport,
    /// The message, without the length that TCP puts before it.
    pub bytes: Vec<u8>,
}

/// Who sent an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The step of a task.
    Step(u32),
    /// A probe of the check after the answer.
    Probe(usize),
}

/// A query that waits for its reply.
#[derive(Clone, Debug)]
struct Attempt {
    owner: Owner,
    /// The record of it, complete but for the reply.
    record: Exchange,
    query: Vec<u8>,
    sent: Question,
    zone: Name,
    edns: bool,
    cookie: Option<Cookie>,
    due: Instant,
    overdue: bool,
}

impl Attempt {
    /// Marks the query as overdue once its time is up; a late reply still counts.
    fn expire(&mut self, now: Instant, servers: &mut Servers) {
        if !self.overdue && self.due <= now {
            self.overdue = true;
            servers.overdue(self.record.server.address, self.record.sent_ns);
        }
    }
}

/// A server that a step may ask.
#[derive(Clone, Debug)]
struct Candidate {
    name: Name,
    address: SocketAddr,
    source: AddressSource,
    tries: u32,
    /// It replied and cannot help.
    useless: bool,
}

/// A question put to a zone.
#[derive(Clone, Debug)]
struct Ask {
    step: u32,
    zone: Name,
    sent: Question,
    candidates: Vec<Candidate>,
    /// Servers without an address, and the type of address to walk for.
    unresolved: VecDeque<(Name, RecordType)>,
    /// Servers whose address was walked for.
    walked_for: BTreeSet<Name>,
    attempts: u32,
    any_reply: bool,
    /// When somebody else is asked.
    next_at: Instant,
}

/// A question to be answered.
#[derive(Clone, Debug)]
struct Task {
    parent: Option<u32>,
    purpose: Purpose,
    asked_first: Question,
    question: Question,
    /// Names that aliases led through.
    seen: Vec<Name>,
    aliases: Vec<RecordText>,
    referrals: u32,
    /// The zone that the last referral led to.
    referred_to: Option<Name>,
    /// Who referred there.
    referred_by: Option<Name>,
    /// Zones whose own list of servers was given up.
    retreated: BTreeSet<Name>,
    /// Servers that referred to nobody who has an address.
    passed_over: BTreeSet<Name>,
    /// The zone that they referred to.
    stranded: Option<Name>,
    /// Labels of the name that the servers of the zone have been told already.
    told: usize,
    /// Minimised questions so far.
    minimised: u32,
    ask: Option<Ask>,
}

impl Task {
    fn new(question: Question, purpose: Purpose, parent: Option<u32>) -> Self {
        Self {
            parent,
            purpose,
            seen: vec![question.name.clone()],
            asked_first: question.clone(),
            question,
            aliases: Vec::new(),
            referrals: 0,
            referred_to: None,
            referred_by: None,
            retreated: BTreeSet::new(),
            passed_over: BTreeSet::new(),
            stranded: None,
            told: 0,
            minimised: 0,
            ask: None,
        }
    }
}

/// A walk, from the question to its summary.
#[derive(Debug)]
pub struct Walk {
    config: WalkConfig,
    hints: Arc<Hints>,
    seed: u64,
    cache: Cache,
    servers: Servers,
    stack: Vec<Task>,
    /// Boxed: a node of the tree has room for eleven, and most walks have one.
    attempts: BTreeMap<AttemptId, Box<Attempt>>,
    /// Questions about servers' addresses that have failed (RFC 9520: failures are kept).
    failed: BTreeSet<(Name, u16)>,
    /// Zones that the user's own question went through.
    delegations: BTreeMap<Name, Delegation>,
    /// Addresses that were left out for their family.
    skipped: Vec<IpAddr>,
    /// The question for the root's own servers, while it is open; boxed, for most walks have none.
    prime: Option<Box<Ask>>,
    /// When that was last begun; walks that share what they know share this.
    primed_at: Option<Instant>,
    check: Option<Check>,
    judging: Option<chain::Judging>,
    /// How the user's question ended, once it has.
    outcome: Option<Outcome>,
    done: bool,
    book: Book,
    transmits: VecDeque<Transmit>,
    released: VecDeque<AttemptId>,
}

impl Walk {
    /// Begins to walk for `question`; `cache` is what earlier walks learned.
    #[must_use]
    pub fn new(
        config: WalkConfig,
        hints: impl Into<Arc<Hints>>,
        question: Question,
        seed: u64,
        cache: Cache,
        now: Instant,
    ) -> Self {
        let mut walk = Self::idle(config, hints.into(), &question, seed, now);
        walk.cache = cache;
        walk.start(&question, now);
        walk
    }

    fn idle(
        config: WalkConfig,
        hints: Arc<Hints>,
        question: &Question,
        seed: u64,
        now: Instant,
    ) -> Self {
        let judging = Self::judging(config.validate_at, &hints.anchors);
        Self {
            config,
            judging,
            hints,
            seed,
            servers: Servers::default(),
            stack: vec![Task::new(question.clone(), Purpose::Answer, None)],
            attempts: BTreeMap::new(),
            failed: BTreeSet::new(),
            delegations: BTreeMap::new(),
            skipped: Vec::new(),
            prime: None,
            primed_at: None,
            check: None,
            outcome: None,
            done: false,
            book: Book::new(question.text(), now, &config),
            transmits: VecDeque::new(),
            released: VecDeque::new(),
            cache: Cache::default(),
        }
    }

    fn start(&mut self, question: &Question, now: Instant) {
        let start = Start {
            question: question.text(),
            seed: self.seed,
            qmin: self.config.qmin,
            limits: self.config.limits,
            cached: u32::try_from(self.cache.len()).unwrap_or(u32::MAX),
        };
        self.book.tell(now, Event::Start(start));
        self.advance(now);
    }

    /// A query to send, until there is none. One that was released before it was sent is not.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        loop {
            let transmit = self.transmits.pop_front()?;
            if self.is_open(transmit.attempt) {
                return Some(transmit);
            }
        }
    }

    /// A socket that is needed no more, until there is none.
    pub fn poll_release(&mut self) -> Option<AttemptId> {
        self.released.pop_front()
    }

    /// A record of what happened, until there is none.
    pub fn poll_event(&mut self) -> Option<Record> {
        self.book.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); never once the walk is done.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.done {
            return None;
        }
        let next = match (&self.check, self.stack.last().and_then(|task| task.ask.as_ref())) {
            (_, Some(ask)) => Some(ask.next_at),
            (Some(check), None) => check.next_at(),
            (None, None) => None,
        };
        let prime = self.prime.as_ref().map(|ask| ask.next_at);
        let next = next.into_iter().chain(prime).min();
        let end = self.book.started + self.config.limits.time();
        Some(next.map_or(end, |next| next.min(end)))
    }

    /// Whether the summary has been told.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.done
    }

    /// What was learned, for the next walk.
    #[must_use]
    pub fn into_cache(self) -> Cache {
        self.cache
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) said.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.done {
            return;
        }
        if now >= self.book.started + self.config.limits.time() {
            self.book.purse.refuse(Limit::Time);
            self.end(now, Outcome::Limit { limit: Limit::Time });
            self.close(now);
            return;
        }
        for attempt in self.attempts.values_mut() {
            attempt.expire(now, &mut self.servers);
        }
        self.advance(now);
    }

    /// The user does not want to wait any longer.
    pub fn cancel(&mut self, now: Instant) {
        if !self.done {
            self.end(now, Outcome::Interrupted);
            self.close(now);
        }
    }

    /// Goes on until somebody else must act.
    fn advance(&mut self, now: Instant) {
        while !self.done {
            let goes_on = match self.stack.last() {
                Some(task) if task.ask.is_none() => {
                    self.begin(now);
                    true
                }
                Some(_) => self.next_attempt(now),
                None => self.advance_chain(now) || self.advance_check(now),
            };
            // The user's question goes out first.
            if !goes_on && !self.prime_on(now) {
                return;
            }
        }
    }

    /// The top task has its answer: the one below goes on, or the walk is at its end.
    fn task_done(&mut self, now: Instant, class: &Class, answers: Vec<RecordText>) {
        let Some(task) = self.stack.pop() else { return };
        if matches!(task.purpose, Purpose::Address { .. }) {
            self.address_found(now, &task);
            return;
        }
        if matches!(task.purpose, Purpose::Chain { .. }) {
            self.chain_task_over(now, &task, None);
            return;
        }
        self.book.answers = answers;
        self.book.aliases = task.aliases;
        let outcome = match class {
            Class::NxDomain => Outcome::NxDomain,
            Class::NoData => Outcome::NoData,
            _ => Outcome::Answer,
        };
        self.end(now, outcome);
    }

    /// The task ends without an answer.
    fn task_failed(&mut self, now: Instant, outcome: Outcome) {
        let Some(task) = self.stack.pop() else { return };
        if matches!(task.purpose, Purpose::Chain { .. }) {
            self.chain_task_over(now, &task, Some(&outcome));
            return;
        }
        let Purpose::Address { server, zone } = &task.purpose else {
            self.book.aliases = task.aliases;
            self.end(now, outcome);
            return;
        };
        let first = &task.asked_first;
        self.failed.insert((first.name.clone(), u16::from(first.kind)));
        let fault = Fault::ServerUnresolvable { subject: server.clone() };
        let step = task.parent.unwrap_or_default();
        self.book.findings.note(fault, zone, None, step);
    }

    /// The user's question has ended: the checks follow, or the summary.
    fn end(&mut self, now: Instant, outcome: Outcome) {
        if self.outcome.is_some() {
            return;
        }
        self.stack.clear();
        let prime = self.prime.as_ref().map(|ask| Owner::Step(ask.step));
        self.close_attempts(now, |attempt| Some(attempt.owner) != prime);
        self.book.answered_at = Some(now);
        let stopped = matches!(outcome, Outcome::Interrupted | Outcome::Limit { .. });
        self.outcome = Some(outcome);
        if (self.config.check || self.config.all) && !stopped {
            self.begin_check(now);
        } else if stopped || !self.wants_proof() {
            self.close(now);
        }
    }

    /// Tells the summary; nothing follows.
    fn close(&mut self, now: Instant) {
        if self.done {
            return;
        }
        self.stack.clear();
        self.close_attempts(now, |_| true);
        if self.prime.take().is_some() {
            // Others have not primed, and may.
            self.primed_at = None;
        }
        self.compare_delegations();
        self.compare_copies();
        let outcome = self.outcome.clone().unwrap_or(Outcome::Interrupted);
        let security = self.security();
        let known = u64::try_from(self.cache.len()).unwrap_or(u64::MAX);
        self.book.purse.spend(Limit::CacheEntries, known);
        let ends = Ends { outcome, security, skipped: self.count_skipped() };
        self.book.summarize(now, ends, &self.config.limits);
        self.done = true;
    }

    /// Notes a question that the cache answered.
    fn tell_cache(&mut self, now: Instant, class: Class, learned_at: u32, expires: Instant) {
        let Some(task) = self.stack.last() else { return };
        let used = CacheUse {
            parent: task.parent,
            purpose: task.purpose.clone(),
            meant: task.question.text(),
            class,
            learned_at,
            ttl_left_s: u32::try_from(expires.since(now).as_secs()).unwrap_or(u32::MAX),
        };
        self.book.cache_hits += 1;
        self.book.tell(now, Event::Cache(used));
    }

    /// Follows an alias of the top task; false where that ended the task.
    fn follow(&mut self, now: Instant, target: Name, by: Vec<RecordText>) -> bool {
        let limits = self.config.limits;
        if matches!(self.stack.last().map(|task| &task.purpose), Some(Purpose::Chain { .. })) {
            // What stands there is judged as it is.
            self.task_done(now, &Class::NoData, Vec::new());
            return false;
        }
        let Some(task) = self.stack.last_mut() else { return false };
        task.aliases.extend(by);
        let zone = name_text(&task.question.name);
        let step = task.ask.take().map_or(0, |ask| ask.step);
        if task.seen.contains(&target) {
            let name = name_text(&target);
            self.book.findings.note(Fault::AliasLoop { name: name.clone() }, &zone, None, step);
            self.task_failed(now, Outcome::AliasLoop { at: name });
            return false;
        }
        let aliases = u64::try_from(task.seen.len()).unwrap_or(u64::MAX);
        self.book.purse.want(&limits, Limit::Aliases, aliases);
        if aliases > u64::from(limits.aliases) {
            self.task_failed(now, Outcome::Limit { limit: Limit::Aliases });
            return false;
        }
        if task.purpose == Purpose::Answer || matches!(task.purpose, Purpose::Alias { .. }) {
            task.purpose = Purpose::Alias { of: zone };
            task.parent = Some(step).filter(|step| *step > 0).or(task.parent);
        }
        task.seen.push(target.clone());
        task.question.name = target;
        (task.told, task.minimised, task.referred_to) = (0, 0, None);
        (task.referred_by, task.stranded) = (None, None);
        true
    }
}

impl Record {
    fn new(now: Instant, event: Event) -> Self {
        Self { v: VERSION, t_ns: now, event }
    }
}
