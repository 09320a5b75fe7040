//! The state machine of a walk: commands and bytes in, queries and records out.
//!
//! # Contract
//! [`Walk::new`] is the command. `handle_*` takes what the network and the clock bring; then drain
//! [`Walk::poll_transmit`], [`Walk::poll_release`] and [`Walk::poll_event`] until there is nothing
//! left, and call [`Walk::handle_timeout`] at [`Walk::poll_timeout`]. Every query wants a socket of
//! its own, so that a forger must guess the port again (RFC 5452 §9.2); replies are handed over
//! with the [`AttemptId`] of that socket.
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
mod known;
mod prime;
mod queries;
mod reply;
mod retry;
mod setup;
mod shared;
mod sides;
mod special_use;
mod tasks;

pub use queries::{AttemptId, Transmit};
pub use shared::Knowledge;

use super::cache::Cache;
use super::dnssec::UnixSeconds;
use super::entropy::Secret;
use super::event::{
    CacheUse, Class, Event, Purpose, Qmin, Record, Side, SkipReason, Start, VERSION,
};
use super::finding::Fault;
use super::hints::Hints;
use super::limits::{Limit, Limits, counted};
use super::outcome::Outcome;
use super::text::{Question, RecordText, name_text};
use chain::{JudgeNext, Judging};
use checks::Check;
use cuts::Cuts;
use event_log::{Ends, EventLog};
use excluded::Excluded;
use hickory_proto::rr::Name;
use known::Known;
use prime::{PrimeNext, Priming};
use queries::{Owner, Plan, Queries, Unsent};
use retry::Retry;
use setup::Setup;
use sides::Sides;
use std::sync::Arc;
use tasks::Tasks;
use wirelab::measure::Instant;

/// How to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkConfig {
    /// Its limits.
    pub limits: Limits,
    /// How much of a name servers are sent.
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
    /// Whether special-use names are answered locally (RFC 6761).
    pub special_names: bool,
    /// Whether only public addresses are asked.
    pub public_only: bool,
    /// Whether every server of the zones on the way is asked after the answer is known.
    pub check: bool,
    /// Whether the check asks every server of every zone, the root's too, the question itself.
    pub all: bool,
    /// The side of each delegation that is walked; absent for both, as resolvers do.
    pub side: Option<Side>,
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
            side: None,
            validate_at: None,
            summary_only: false,
            secret: None,
            messages: false,
        }
    }
}

/// How far a walk has come.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The user's question is open.
    Answering,
    /// It has this outcome; the check or the judgement continues.
    Answered(Outcome),
    /// The summary is written.
    Done,
}

/// A walk, from the question to its summary: the parts that own its data, and what leads from one
/// to the next.
#[derive(Debug)]
pub struct Walk {
    setup: Setup,
    phase: Phase,
    known: Known,
    tasks: Tasks,
    queries: Queries,
    log: EventLog,
    cuts: Cuts,
    sides: Sides,
    excluded: Excluded,
    priming: Priming,
    judging: Option<Judging>,
    retry: Retry,
    check: Option<Check>,
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
        walk.known.cache = cache;
        walk.start(now);
        walk
    }

    fn idle(
        config: WalkConfig,
        hints: Arc<Hints>,
        question: &Question,
        seed: u64,
        now: Instant,
    ) -> Self {
        let setup = Setup { config, hints, seed };
        Self {
            judging: Judging::new(&setup),
            setup,
            phase: Phase::Answering,
            known: Known::default(),
            tasks: Tasks::new(question.clone()),
            queries: Queries::default(),
            log: EventLog::new(question.clone(), now, &config),
            cuts: Cuts::default(),
            sides: Sides::default(),
            excluded: Excluded::default(),
            priming: Priming::default(),
            retry: Retry::default(),
            check: None,
        }
    }

    fn start(&mut self, now: Instant) {
        let start = Start {
            question: self.log.question(),
            seed: self.setup.seed,
            qmin: self.setup.config.qmin,
            limits: self.setup.config.limits,
            side: self.setup.config.side,
            cached: u32::try_from(self.known.cache.len())
                .expect("invariant: a cache has at most as many entries as a limit of 32 bits"),
        };
        self.log.record(now, Event::Start(start));
        self.advance(now);
    }

    /// A query to send, until there is none. One that was released before it was sent is not.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.queries.poll_transmit()
    }

    /// A socket that is no longer needed, until there is none.
    pub fn poll_release(&mut self) -> Option<AttemptId> {
        self.queries.poll_release()
    }

    /// A record of what happened, until there is none.
    pub fn poll_event(&mut self) -> Option<Record> {
        self.log.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); never once the walk is done.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_done() {
            return None;
        }
        let next = match (&self.check, self.tasks.top().and_then(|task| task.ask.as_ref())) {
            (_, Some(ask)) => Some(ask.next_at),
            (Some(check), None) => check.next_at(),
            (None, None) => None,
        };
        let next = next.into_iter().chain(self.priming.next_at()).min();
        let end = self.deadline();
        Some(next.map_or(end, |next| next.min(end)))
    }

    /// Whether the summary is written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Knowledge for the next walk.
    #[must_use]
    pub fn into_cache(self) -> Cache {
        self.known.cache
    }

    /// The time has come that [`poll_timeout`](Self::poll_timeout) gave.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.is_done() {
            return;
        }
        if now >= self.deadline() {
            self.log.budget.refuse(Limit::Time);
            self.end(now, Outcome::Limit { limit: Limit::Time });
            self.close(now);
            return;
        }
        self.queries.expire(now, &mut self.known.servers, |_| true);
        self.advance(now);
    }

    /// Cancels the walk at the user's request.
    pub fn cancel(&mut self, now: Instant) {
        if !self.is_done() {
            self.end(now, Outcome::Interrupted);
            self.close(now);
        }
    }

    /// Goes on until a reply or the time must come.
    fn advance(&mut self, now: Instant) {
        while !self.is_done() {
            let goes_on = match self.tasks.top() {
                Some(task) if task.ask.is_none() => {
                    self.begin(now);
                    true
                }
                Some(_) => self.next_attempt(now),
                None => self.advance_chain(now) || self.advance_check(now),
            };
            // The user's question goes out first.
            if !goes_on && !self.advance_prime(now) {
                return;
            }
        }
    }

    /// Goes on with the judgement; false where it is done or was not wanted.
    fn advance_chain(&mut self, now: Instant) -> bool {
        let wanted = self.setup.wants_proof();
        let Some(judging) = self.judging.as_mut().filter(|_| wanted) else { return false };
        match judging.advance(now, self.known.cache.store(), &mut self.log) {
            JudgeNext::Done => {
                if let Some(outcome) = self.conclude() {
                    self.phase = Phase::Answered(outcome);
                }
                return false;
            }
            JudgeNext::Bogus(reason) => {
                if !self.ask_elsewhere(now, &reason)
                    && let Some(judging) = self.judging.as_mut()
                {
                    judging.settle(reason, &mut self.log);
                }
            }
            JudgeNext::Again => {}
            JudgeNext::Fetch(task) => self.tasks.push(*task),
        }
        true
    }

    /// Goes on with the check; false: wait.
    fn advance_check(&mut self, now: Instant) -> bool {
        let Some(check) = self.check.as_mut() else {
            self.close(now);
            return false;
        };
        if let Some(next) = check.next_unresolved() {
            return self.walk_for(now, next.name, next.kind, &next.zone, next.parent);
        }
        for at in check.due(now) {
            let check = self.check.as_mut();
            match check.and_then(|check| check.plan(at, &self.setup, &self.known)) {
                Some(plan) => self.send_probe(now, at, plan),
                None => self.queries.close(now, &mut self.log, |owner| owner == Owner::Probe(at)),
            }
            if self.is_done() {
                return false;
            }
        }
        // A check is of the hints too.
        if self.check.as_ref().is_none_or(Check::is_over) && !self.priming.is_open() {
            self.close(now);
        }
        false
    }

    /// Asks for the root's own list, where it is time. True: that is over.
    fn advance_prime(&mut self, now: Instant) -> bool {
        match self.priming.next(now, &self.setup, &self.known, self.log.queries) {
            PrimeNext::Wait => false,
            PrimeNext::Send(plan) => {
                self.send_step(now, *plan);
                false
            }
            PrimeNext::GiveUp => {
                self.end_prime(now);
                true
            }
        }
    }

    fn end_prime(&mut self, now: Instant) {
        let Some(ended) = self.priming.end() else { return };
        self.queries.close(now, &mut self.log, |owner| owner == ended);
    }

    /// Sends a query; the time until which to wait for its reply, or none where the walk ended.
    fn send(&mut self, now: Instant, plan: Plan) -> Option<Instant> {
        let sent = self.queries.send(now, plan, &self.setup, &self.known.servers, &mut self.log);
        match sent {
            Ok(due) => return Some(due),
            Err(Unsent::OverBudget) if self.phase != Phase::Answering => self.close(now),
            Err(Unsent::OverBudget) => self.end(now, Outcome::Limit { limit: Limit::Queries }),
            Err(Unsent::Unencodable(zone)) => {
                let zone = name_text(&zone);
                self.end(now, Outcome::Unanswered { zone, any_reply: true });
            }
        }
        None
    }

    /// Sends a query of a step, which then waits for its reply.
    fn send_step(&mut self, now: Instant, plan: Plan) {
        let step = plan.step;
        if let Some(due) = self.send(now, plan)
            && let Some(ask) = self.ask_mut(step)
        {
            ask.next_at = due;
        }
    }

    /// Sends a query of a probe, which then waits for its reply.
    fn send_probe(&mut self, now: Instant, at: usize, plan: Plan) {
        if let (Some(due), Some(check)) = (self.send(now, plan), self.check.as_mut()) {
            check.wait(at, due);
        }
    }

    /// The step of that number, if it goes on.
    fn ask_mut(&mut self, step: u32) -> Option<&mut tasks::Ask> {
        self.tasks.ask_mut(step).or_else(|| self.priming.ask_mut(step))
    }

    /// The top task has its answer: the one below continues, or the walk ends.
    fn task_done(&mut self, now: Instant, class: &Class, answers: Vec<RecordText>) {
        let Some(task) = self.tasks.pop() else { return };
        match &task.purpose {
            Purpose::Address { .. } => return self.address_found(now, &task),
            Purpose::Chain { .. } => return self.note_fetched(now, &task.asked_first, None),
            Purpose::OwnServers { .. } => return self.own_list_asked(now, &task.asked_first),
            _ => {}
        }
        self.log.answers = answers;
        self.log.aliases = task.aliases;
        let outcome = match class {
            Class::NxDomain => Outcome::NxDomain,
            Class::NoData => Outcome::NoData,
            _ => Outcome::Answer,
        };
        self.end(now, outcome);
    }

    /// The task ends without an answer.
    fn task_failed(&mut self, now: Instant, outcome: Outcome) {
        let Some(task) = self.tasks.pop() else { return };
        match &task.purpose {
            Purpose::Chain { .. } => self.note_fetched(now, &task.asked_first, Some(&outcome)),
            Purpose::OwnServers { .. } => self.own_list_asked(now, &task.asked_first),
            Purpose::Address { server, zone } => {
                self.known.note_failed(&task.asked_first);
                let fault = Fault::ServerUnresolvable { subject: server.clone() };
                let step = task.parent.unwrap_or_default();
                self.log.findings.note(fault, zone, None, step);
            }
            _ => {
                self.log.aliases = task.aliases;
                self.end(now, outcome);
            }
        }
    }

    fn note_fetched(&mut self, now: Instant, question: &Question, outcome: Option<&Outcome>) {
        let limits = &self.setup.config.limits;
        chain::note_fetched(&mut self.known, now, limits, question, outcome);
    }

    /// The user's question has ended: the checks follow, or the summary.
    fn end(&mut self, now: Instant, outcome: Outcome) {
        if self.phase != Phase::Answering {
            return;
        }
        self.tasks.clear();
        let prime = self.priming.owner();
        self.queries.close(now, &mut self.log, |owner| Some(owner) != prime);
        self.log.answered_at = Some(now);
        let outcome = self.or_first(outcome);
        let stopped = matches!(outcome, Outcome::Interrupted | Outcome::Limit { .. });
        self.phase = Phase::Answered(outcome);
        if (self.setup.config.check || self.setup.config.all) && !stopped {
            self.begin_check(now);
        } else if stopped || !self.setup.wants_proof() {
            self.close(now);
        }
    }

    fn begin_check(&mut self, now: Instant) {
        let roots = self.setup.config.all.then(|| self.servers_of(now, &Name::root()).candidates);
        let (setup, known, log) = (&self.setup, &self.known, &mut self.log);
        self.check = Some(Check::new(now, setup, known, &self.cuts, log, roots));
        // The caller goes on with `advance`.
    }

    /// Writes the summary; nothing follows.
    fn close(&mut self, now: Instant) {
        let outcome = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Done => return,
            Phase::Answering => Outcome::Interrupted,
            Phase::Answered(outcome) => outcome,
        };
        let outcome = self.conclude().unwrap_or(outcome);
        self.tasks.clear();
        self.queries.close(now, &mut self.log, |_| true);
        if self.priming.is_open() {
            self.priming.abandon();
        }
        self.cuts.compare(&mut self.log.findings);
        if let Some(check) = &self.check {
            check.compare_copies(&self.cuts, &mut self.log.findings);
        }
        let judging = self.judging.as_ref();
        let security = judging.map(|judging| judging.security(&self.setup, &self.log));
        self.log.budget.spend(Limit::CacheEntries, counted(self.known.cache.len()));
        let excluded = self.excluded.count(self.setup.config.left_out);
        let ends = Ends { outcome, security, excluded };
        self.log.summarize(now, ends, &self.setup.config.limits);
    }

    /// Notes a question that the cache answered.
    fn note_cache_use(&mut self, now: Instant, class: Class, learned_at: u32, expires: Instant) {
        let Some(task) = self.tasks.top() else { return };
        let used = CacheUse {
            parent: task.parent,
            purpose: task.purpose.clone(),
            meant: task.question.text(),
            class,
            learned_at,
            ttl_left_s: u32::try_from(expires.since(now).as_secs())
                .expect("invariant: a time to live has 32 bits"),
        };
        self.log.cache_hits += 1;
        self.log.record(now, Event::Cache(used));
    }

    /// Follows an alias of the top task.
    fn follow(&mut self, now: Instant, target: Name, by: Vec<RecordText>) {
        let Some(task) = self.tasks.top_mut() else { return };
        if matches!(task.purpose, Purpose::Chain { .. }) {
            // What stands there is judged as it is.
            self.task_done(now, &Class::NoData, Vec::new());
            return;
        }
        task.aliases.extend(by);
        let zone = name_text(&task.question.name);
        let step = task.ask.take().map_or(0, |ask| ask.step);
        if task.seen.contains(&target) {
            let name = name_text(&target);
            let fault = Fault::AliasLoop { name: name.clone() };
            self.log.findings.note(fault, &zone, None, step);
            self.task_failed(now, Outcome::AliasLoop { at: name });
            return;
        }
        let (limits, aliases) = (&self.setup.config.limits, counted(task.seen.len()));
        self.log.budget.want(limits, Limit::Aliases, aliases);
        if aliases > u64::from(limits.aliases) {
            self.task_failed(now, Outcome::Limit { limit: Limit::Aliases });
            return;
        }
        if task.purpose == Purpose::Answer || matches!(task.purpose, Purpose::Alias { .. }) {
            task.purpose = Purpose::Alias { of: zone };
            task.parent = Some(step).filter(|step| *step > 0).or(task.parent);
        }
        task.rename(target);
    }
}

impl Record {
    fn new(now: Instant, event: Event) -> Self {
        Self { v: VERSION, t_ns: now, event }
    }
}
