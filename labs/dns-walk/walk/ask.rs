//! Which zone to ask, whom of its servers, and when to ask somebody else.
//!
//! It exists so that one dead server never eats the walk: the next server comes before the same
//! server. It must never ask beyond the budget.

use super::{Ask, Attempt, AttemptId, Candidate, Owner, Task, Transmit, Walk};
use crate::classify::{may_ask, targets_of};
use crate::cookie::Cookie;
use crate::event::{AddressSource, Class, Exchange, Purpose, Qmin, Server, Transport};
use crate::finding::Fault;
use crate::limits::{Limit, Limits, Purse};
use crate::outcome::Outcome;
use crate::question::{self};
use crate::servers::{PATIENCE_FIRST, PATIENCE_TCP, Servers};
use crate::text::{self, Asked};
use crate::text::{Question, name_text, record_text};
use crate::trust::Rank;
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use wirelab::measure::draw::keyed;
use wirelab::measure::{Instant, nanos};

/// Minimised questions of one name, at most (RFC 9156 §2.3: MAX_MINIMISE_COUNT).
const MINIMISE_MAX: u32 = 10;
/// The first of them add one label each (RFC 9156 §2.3: MINIMISE_ONE_LAB).
const MINIMISE_ONE_LABEL: u32 = 4;

impl Ask {
    /// The next server to walk for, of as many as the limits allow. A server that has no address of
    /// one family is asked for the other, and is still one server.
    fn next_unresolved(
        &mut self,
        limits: &Limits,
        purse: &mut Purse,
    ) -> Option<(Name, RecordType)> {
        let most = usize::try_from(limits.glueless).unwrap_or(usize::MAX);
        let full = self.walked_for.len() >= most;
        let may = |(name, _): &(Name, RecordType)| !full || self.walked_for.contains(name);
        let Some(at) = self.unresolved.iter().position(may) else {
            if !self.unresolved.is_empty() {
                purse.refuse(Limit::Glueless);
            }
            return None;
        };
        let (name, kind) = self.unresolved.remove(at)?;
        self.walked_for.insert(name.clone());
        let walked_for = u64::try_from(self.walked_for.len()).unwrap_or(u64::MAX);
        purse.spend(Limit::Glueless, walked_for);
        Some((name, kind))
    }
}

/// A query about to be made: whom, what, how.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) owner: Owner,
    pub(super) step: u32,
    pub(super) number: u32,
    pub(super) parent: Option<u32>,
    pub(super) purpose: Purpose,
    pub(super) zone: Name,
    pub(super) sent: Question,
    pub(super) meant: Question,
    pub(super) server: Server,
    pub(super) transport: Transport,
    pub(super) edns: bool,
}

impl Walk {
    /// The top task has no step: the cache answers it, or a step begins.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.answer_special(now) || self.answer_from_cache(now) {
            return;
        }
        let Some(task) = self.stack.last() else { return };
        let question = task.question.clone();
        let referred_to = task.referred_to.clone();
        // DS records lie above the cut (RFC 4035 §3.1.4.1).
        let below = question.kind == RecordType::DS && !question.name.is_root();
        let from = if below { question.name.base_name() } else { question.name.clone() };
        for zone in self.known_zones(now, &from) {
            let (mut candidates, unresolved) = self.servers_of(now, &zone);
            self.note_skipped(now, &zone);
            if candidates.is_empty() && unresolved.is_empty() {
                if referred_to.as_ref() == Some(&zone) {
                    if self.retreat(now, &zone) || self.pass_over(&zone) {
                        return;
                    }
                    let zone = name_text(&zone);
                    self.task_failed(now, Outcome::Unanswered { zone, any_reply: false });
                    return;
                }
                // Asking the zone above again may bring addresses.
                continue;
            }
            if zone.is_root() {
                self.begin_prime(now, &question);
            }
            let sent = self.minimise(now, &zone, &question);
            let step = self.book.next_step();
            let Some(task) = self.stack.last_mut() else { return };
            if sent != question {
                task.minimised += 1;
            }
            for candidate in &mut candidates {
                candidate.useless = task.passed_over.contains(&candidate.name);
            }
            task.ask = Some(Ask {
                step,
                zone,
                sent,
                candidates,
                unresolved,
                walked_for: BTreeSet::new(),
                attempts: 0,
                any_reply: false,
                next_at: now,
            });
            return;
        }
        let outcome = Outcome::Unanswered { zone: ".".to_owned(), any_reply: false };
        self.task_failed(now, outcome);
    }

    /// Zones whose servers are known, the deepest first, the root from the hints at the end.
    fn known_zones(&self, now: Instant, name: &Name) -> Vec<Name> {
        let mut zones: Vec<Name> =
            self.cache.cuts(now, name).into_iter().map(|(zone, _)| zone).collect();
        if zones.last().is_none_or(|zone| !zone.is_root()) {
            zones.push(Name::root());
        }
        zones
    }

    /// Whether the cache ended the task or took it further.
    fn answer_from_cache(&mut self, now: Instant) -> bool {
        let Some(task) = self.stack.last() else { return false };
        if matches!(task.purpose, Purpose::Chain { .. }) {
            // What the cache has came without its proof, or it would not be asked for; but another
            // walk may have fetched it while this one waited.
            let question = task.question.clone();
            let fetched = self.holds_proof(now, &question);
            if fetched {
                self.task_done(now, &Class::NoData, Vec::new());
            }
            return fetched;
        }
        let question = task.question.clone();
        let cached = |kind| self.cache.get(now, &question.name, kind, Rank::Answer);
        if let Some(entry) = cached(question.kind) {
            let (step, expires) = (entry.step, entry.expires);
            let answers = entry.records.iter().map(record_text).collect();
            self.tell_cache(now, Class::Answer, step, expires);
            self.claim(now, &question.name, question.kind, false);
            self.task_done(now, &Class::Answer, answers);
            return true;
        }
        if let Some(absence) = self.cache.absence(now, &question) {
            let class = if absence.whole_name { Class::NxDomain } else { Class::NoData };
            self.tell_cache(now, class.clone(), absence.step, absence.expires);
            self.claim(now, &question.name, question.kind, true);
            self.task_done(now, &class, Vec::new());
            return true;
        }
        if question.kind == RecordType::CNAME {
            return false;
        }
        let alias = cached(RecordType::CNAME).and_then(|entry| {
            let record = entry.records.first()?;
            let RData::CNAME(target) = &record.data else { return None };
            Some((target.0.clone(), record_text(record), entry.step, entry.expires))
        });
        let Some((target, record, step, expires)) = alias else { return false };
        self.tell_cache(now, Class::Alias { to: name_text(&target) }, step, expires);
        self.claim(now, &question.name, RecordType::CNAME, false);
        self.follow(now, target, vec![record]);
        true
    }

    /// Servers of a zone with an address, and those for whose address one must walk.
    pub(super) fn servers_of(
        &mut self,
        now: Instant,
        zone: &Name,
    ) -> (Vec<Candidate>, VecDeque<(Name, RecordType)>) {
        let entry = self.cache.get(now, zone, RecordType::NS, Rank::Referral);
        let Some(entry) = entry else { return (self.root_candidates(), VecDeque::new()) };
        let names = targets_of(&entry.records);
        let (step, fresh) = (entry.step, entry.learned >= self.book.started);
        let mut candidates = Vec::new();
        let mut unresolved = VecDeque::new();
        for name in names {
            let mut known = self.addresses(now, &name);
            if zone.is_root() {
                self.add_hinted(&name, &mut known);
            }
            if known.is_empty() && !self.has_address(now, &name) {
                if let Some(fault) = self.hopeless(zone, &name) {
                    // Glue that has merely expired is no fault.
                    if fresh {
                        self.book.findings.note(fault, &name_text(zone), None, step);
                    }
                } else {
                    unresolved.extend(self.kinds().map(|kind| (name.clone(), kind)));
                }
            }
            candidates.extend(known);
        }
        let failed =
            |item: &(Name, RecordType)| self.failed.contains(&(item.0.clone(), u16::from(item.1)));
        unresolved.retain(|item| !failed(item));
        // Addresses of the wanted kind first, for every server.
        unresolved.make_contiguous().sort_by_key(|(_, kind)| u16::from(*kind));
        if zone.is_root() && candidates.is_empty() {
            // The root's own names are nothing that one could walk for.
            return (self.root_candidates(), VecDeque::new());
        }
        (candidates, unresolved)
    }

    pub(super) fn root_candidates(&self) -> Vec<Candidate> {
        let wanted = |address: &IpAddr| self.wanted(*address);
        let roots = self.hints.roots.iter().filter(|(_, address)| wanted(address));
        let candidate = |(name, address): &(Name, IpAddr)| Candidate {
            name: name.clone(),
            address: self.hints.endpoint(*address),
            source: AddressSource::Hints,
            tries: 0,
            useless: false,
        };
        roots.map(candidate).collect()
    }

    fn wanted(&self, address: IpAddr) -> bool {
        let family = if address.is_ipv4() { self.config.v4 } else { self.config.v6 };
        family && may_ask(address, self.config.public_only)
    }

    /// Types of address that this walk can use.
    pub(super) fn kinds(&self) -> impl Iterator<Item = RecordType> + use<> {
        let kinds = [(self.config.v4, RecordType::A), (self.config.v6, RecordType::AAAA)];
        kinds.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind)
    }

    /// What is known of a server's addresses, whatever its rank: it is used for asking alone.
    pub(super) fn addresses(&self, now: Instant, name: &Name) -> Vec<Candidate> {
        let mut found = Vec::new();
        for kind in self.kinds() {
            let Some(entry) = self.cache.get(now, name, kind, Rank::Glue) else { continue };
            let step = entry.step;
            let source = match entry.rank {
                Rank::Glue => AddressSource::Glue { step },
                _ => AddressSource::Answer { step },
            };
            let addresses = entry.records.iter().filter_map(|record| record.data.ip_addr());
            for address in addresses.filter(|address| self.wanted(*address)) {
                let address = self.hints.endpoint(address);
                let (name, source) = (name.clone(), source.clone());
                found.push(Candidate { name, address, source, tries: 0, useless: false });
            }
        }
        found
    }

    /// Whether any address is known, be it of a family that this walk does not use.
    fn has_address(&self, now: Instant, name: &Name) -> bool {
        let known = |kind| self.cache.get(now, name, kind, Rank::Glue).is_some();
        known(RecordType::A) || known(RecordType::AAAA)
    }

    /// Why there is no use in walking for this server's address.
    fn hopeless(&self, zone: &Name, name: &Name) -> Option<Fault> {
        let subject = name_text(name);
        if zone.zone_of(name) && !zone.is_root() {
            return Some(Fault::GlueMissing { subject });
        }
        let waits = |task: &Task| match &task.purpose {
            Purpose::Address { server, .. } => *server == subject,
            _ => false,
        };
        self.stack.iter().any(waits).then_some(Fault::CyclicDependency { subject })
    }

    /// What the servers of `zone` are told of the question (RFC 9156 §2.3), past what is known.
    fn minimise(&mut self, now: Instant, zone: &Name, question: &Question) -> Question {
        loop {
            let sent = self.minimised(zone, question);
            if sent == *question || !self.holds(now, &sent) {
                return sent;
            }
            let Some(task) = self.stack.last_mut() else { return sent };
            task.told = sent.name.iter().len();
        }
    }

    /// Whether a reply to this minimised question is known, and that there is no cut at its name.
    pub(super) fn holds(&self, now: Instant, sent: &Question) -> bool {
        let known = |kind| self.cache.get(now, &sent.name, kind, Rank::Answer).is_some();
        known(sent.kind)
            || known(RecordType::CNAME)
            || self.cache.absence(now, sent).is_some_and(|absence| !absence.whole_name)
    }

    fn minimised(&self, zone: &Name, question: &Question) -> Question {
        let Some(task) = self.stack.last() else { return question.clone() };
        let all = question.name.iter().len();
        let told = task.told.max(zone.iter().len());
        let left = all.saturating_sub(told);
        if self.config.qmin == Qmin::Off || left <= 1 || task.minimised >= MINIMISE_MAX {
            return question.clone();
        }
        let add = if task.minimised < MINIMISE_ONE_LABEL {
            1
        } else {
            let rounds = usize::try_from(MINIMISE_MAX - task.minimised).unwrap_or(1);
            left.div_ceil(rounds)
        };
        if add >= left {
            return question.clone();
        }
        // A is what most questions are for, so it stands out least.
        Question::new(question.name.trim_to(told + add), RecordType::A)
    }

    /// The top task's step asks a server, walks for an address, waits, or fails. False: wait.
    pub(super) fn next_attempt(&mut self, now: Instant) -> bool {
        let (seed, proof) = (self.seed, self.wants_proof());
        let Some(task) = self.stack.last_mut() else { return false };
        let (parent, purpose) = (task.parent, task.purpose.clone());
        let meant = task.question.clone();
        let Some(ask) = task.ask.as_mut() else { return true };
        if now < ask.next_at {
            return false;
        }
        let step = ask.step;
        let limit = self.config.limits.attempts;
        let servers = &self.servers;
        let again = ask.attempts < self.config.limits.step_attempts;
        let order = Order { tries_max: limit, seed, proof };
        let best = if again { ask.best(order, servers) } else { None };
        let fresh = best.is_some_and(|at| ask.candidates[at].tries == 0);
        let purse = &mut self.book.purse;
        if !fresh && let Some((name, kind)) = ask.next_unresolved(&self.config.limits, purse) {
            let zone = name_text(&ask.zone);
            return self.walk_for(now, name, kind, zone, step);
        }
        let Some(at) = best else {
            if !again {
                purse.refuse(Limit::StepAttempts);
            }
            return self.step_failed(now);
        };
        let candidate = &mut ask.candidates[at];
        candidate.tries += 1;
        ask.attempts += 1;
        purse.spend(Limit::Attempts, u64::from(candidate.tries));
        purse.spend(Limit::StepAttempts, u64::from(ask.attempts));
        let server = Server {
            name: name_text(&candidate.name),
            address: candidate.address,
            source: candidate.source.clone(),
        };
        let state = self.servers.get(candidate.address);
        let tcp = self.config.tcp || state.case_lost;
        let plan = Plan {
            owner: Owner::Step(step),
            step,
            number: ask.attempts,
            parent,
            purpose,
            zone: ask.zone.clone(),
            sent: ask.sent.clone(),
            meant,
            server,
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            edns: self.config.edns && !state.no_edns,
        };
        if let Some(due) = self.send(now, plan)
            && let Some(ask) = self.stack.last_mut().and_then(|task| task.ask.as_mut())
        {
            ask.next_at = due;
        }
        false
    }

    /// Sends a query; the time until which to wait for its reply, or none where the walk ended.
    pub(super) fn send(&mut self, now: Instant, plan: Plan) -> Option<Instant> {
        if self.book.queries >= self.config.limits.queries {
            let limit = Limit::Queries;
            self.book.purse.refuse(limit);
            if self.outcome.is_some() {
                self.close(now);
            } else {
                self.end(now, Outcome::Limit { limit });
            }
            return None;
        }
        let id = AttemptId(self.book.next_attempt());
        let draw = self.query_draw(id, plan.step);
        let [a, b, ..] = draw.to_le_bytes();
        let mut sent = plan.sent.clone();
        // A connection needs no further proof.
        if self.config.random_case && plan.transport == Transport::Udp {
            sent.name = question::random_case(&sent.name, draw);
        }
        let to = plan.server.address;
        let first = || Cookie::first(self.seed, self.config.secret.as_ref(), to);
        let given = || self.servers.get(to).cookie.unwrap_or_else(first);
        let cookie = (self.config.cookies && plan.edns).then(given);
        let (number, proof) = (u16::from_le_bytes([a, b]), self.wants_proof());
        let Some(query) = question::encode(number, &sent, plan.edns, proof, cookie.as_ref()) else {
            // Only a name that came from the network could fail to be encoded again.
            self.end(now, Outcome::Unanswered { zone: name_text(&plan.zone), any_reply: true });
            return None;
        };
        let patience = patience(&self.servers, plan.owner, plan.transport, to);
        let mut record = Exchange {
            step: plan.step,
            parent: plan.parent,
            purpose: plan.purpose,
            zone: name_text(&plan.zone),
            sent: Asked { name: sent.name.to_ascii(), kind: text::kind_text(sent.kind) },
            meant: plan.meant.text(),
            server: plan.server,
            transport: plan.transport,
            attempt: plan.number,
            sent_ns: now,
            rtt_ns: None,
            patience_ns: nanos(patience),
            bytes_sent: u32::try_from(query.len()).unwrap_or(u32::MAX),
            bytes_received: None,
            rcode: None,
            flags: Vec::new(),
            edns: None,
            class: Class::NoReply,
            learned: Vec::new(),
            dropped: Vec::new(),
            messages: None,
        };
        record.messages = self.book.keep_query(&self.config.limits, &query);
        self.book.sent(&record);
        let bytes = query.clone();
        self.transmits.push_back(Transmit { attempt: id, to, transport: plan.transport, bytes });
        let due = now + patience;
        let (owner, zone, edns) = (plan.owner, plan.zone, plan.edns);
        let attempt =
            Attempt { owner, record, query, sent, zone, edns, cookie, due, overdue: false };
        self.attempts.insert(id, Box::new(attempt));
        Some(due)
    }

    /// What the number and the capitals of a query are made of.
    fn query_draw(&self, id: AttemptId, step: u32) -> u64 {
        self.config.secret.map_or_else(
            || keyed(self.seed, u64::from(id.0) << 32 | u64::from(step)),
            |secret| secret.for_query(self.seed, id.0, step),
        )
    }

    /// Begins a sub-walk for a server's address. True: go on with it.
    pub(super) fn walk_for(
        &mut self,
        now: Instant,
        name: Name,
        kind: RecordType,
        zone: String,
        step: u32,
    ) -> bool {
        if self.failed.contains(&(name.clone(), u16::from(kind))) {
            return true;
        }
        let depth = u64::try_from(self.stack.len()).unwrap_or(u64::MAX);
        self.book.purse.want(&self.config.limits, Limit::Depth, depth);
        if depth > u64::from(self.config.limits.depth) {
            self.task_failed(now, Outcome::Limit { limit: Limit::Depth });
            return true;
        }
        let purpose = Purpose::Address { server: name_text(&name), zone };
        self.stack.push(Task::new(Question::new(name, kind), purpose, Some(step)));
        true
    }

    /// A sub-walk has ended: its addresses go to whoever waits for them.
    pub(super) fn address_found(&mut self, now: Instant, task: &Task) {
        let rank = Rank::Answer;
        let question = &task.question;
        let entry = self.cache.get(now, &question.name, question.kind, rank);
        let step = entry.map_or(0, |entry| entry.step);
        let addresses: Vec<SocketAddr> = entry
            .iter()
            .flat_map(|entry| entry.records.iter())
            .filter_map(|record| record.data.ip_addr())
            .filter(|address| self.wanted(*address))
            .map(|address| self.hints.endpoint(address))
            .collect();
        if addresses.is_empty() {
            let first = &task.asked_first;
            self.failed.insert((first.name.clone(), u16::from(first.kind)));
        }
        let name = task.asked_first.name.clone();
        let candidate = |address| Candidate {
            name: name.clone(),
            address,
            source: AddressSource::Answer { step },
            tries: 0,
            useless: false,
        };
        let found: Vec<Candidate> = addresses.into_iter().map(candidate).collect();
        match self.stack.last_mut().and_then(|task| task.ask.as_mut()) {
            Some(ask) => {
                if !found.is_empty() {
                    // One family is enough to ask it.
                    ask.unresolved.retain(|(waiting, _)| *waiting != name);
                }
                ask.candidates.extend(found);
                ask.next_at = ask.next_at.min(now);
            }
            None => self.probe_found(now, found),
        }
    }

    /// No server of the zone helped.
    fn step_failed(&mut self, now: Instant) -> bool {
        let Some(task) = self.stack.last_mut() else { return true };
        let Some(ask) = task.ask.take() else { return true };
        self.close_attempts(now, |attempt| attempt.owner == Owner::Step(ask.step));
        let Some(task) = self.stack.last_mut() else { return true };
        // A server may be confused by a name that is not whole (RFC 9156 §2.3, relaxed).
        let minimised = ask.sent != task.question;
        if minimised && ask.any_reply && self.config.qmin == Qmin::Relaxed {
            task.told = task.question.name.iter().len();
            return true;
        }
        if self.retreat(now, &ask.zone) || (ask.candidates.is_empty() && self.pass_over(&ask.zone))
        {
            return true;
        }
        // Where everybody was passed over, it is the zone below that nobody leads to.
        let stranded = self.stack.last_mut().and_then(|task| task.stranded.take());
        let zone = name_text(&stranded.filter(|_| ask.attempts == 0).unwrap_or(ask.zone));
        self.task_failed(now, Outcome::Unanswered { zone, any_reply: ask.any_reply });
        true
    }

    /// Ends attempts without a reply, and their sockets.
    pub(super) fn close_attempts(&mut self, now: Instant, which: impl Fn(&Attempt) -> bool) {
        let ids: Vec<AttemptId> =
            self.attempts.iter().filter(|(_, a)| which(a)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(mut attempt) = self.attempts.remove(&id) else { continue };
            let late = attempt.overdue || attempt.due <= now;
            attempt.record.class = if late { Class::NoReply } else { Class::Overtaken };
            self.released.push_back(id);
            self.book.ended(now, attempt.record);
        }
    }
}

/// What decides between servers, besides what is known of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    /// Attempts at one server, at most.
    pub(super) tries_max: u32,
    pub(super) seed: u64,
    /// Whether signatures are wanted: no server sends them without EDNS (RFC 3225 §3).
    pub(super) proof: bool,
}

impl Ask {
    /// The server to ask next: the least asked, then the fastest, then by draw. Where signatures
    /// are wanted, one that knows no EDNS counts as asked once more than it was.
    pub(super) fn best(&self, by: Order, servers: &Servers) -> Option<usize> {
        let usable = |(_, candidate): &(usize, &Candidate)| {
            !candidate.useless && candidate.tries < by.tries_max
        };
        let order = |(_, candidate): &(usize, &Candidate)| {
            let draw = keyed(by.seed ^ u64::from(self.step), address_key(candidate.address));
            let unsigned = by.proof && servers.get(candidate.address).no_edns;
            let tries = candidate.tries + u32::from(unsigned);
            (tries, servers.cost_ns(candidate.address), draw)
        };
        self.candidates.iter().enumerate().filter(usable).min_by_key(order).map(|(at, _)| at)
    }
}

/// How long to wait for a reply to a query.
pub(super) fn patience(
    servers: &Servers,
    owner: Owner,
    transport: Transport,
    to: SocketAddr,
) -> Duration {
    match transport {
        // A probe need not save packets: loss is what it must see through.
        Transport::Udp if matches!(owner, Owner::Probe(_)) => {
            servers.patience(to).min(PATIENCE_FIRST)
        }
        Transport::Udp => servers.patience(to),
        Transport::Tcp => PATIENCE_TCP,
    }
}

/// A number for an address, to order equals by draw.
fn address_key(address: SocketAddr) -> u64 {
    let ip = match address.ip() {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => {
            let parts = v6.segments().into_iter().map(u64::from);
            parts.fold(0_u64, |key, part| key.rotate_left(13) ^ part)
        }
    };
    ip << 16 ^ u64::from(address.port())
}
