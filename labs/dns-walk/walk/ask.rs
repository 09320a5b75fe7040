//! Which zone to ask, which of its servers, and when to ask another one.
//!
//! The next server comes before the same server, so that one dead server never takes the time of
//! the whole walk.

use super::Walk;
use super::known::ZoneServers;
use super::queries::{Owner, Plan, carrier};
use super::tasks::{Ask, Candidate, Task};
use crate::event::{AddressSource, Class, Purpose, Qmin, Side, Transport, Way};
use crate::finding::Fault;
use crate::limits::Limit;
use crate::outcome::Outcome;
use crate::text::{Question, name_text, record_text};
use crate::trust::Rank;
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeSet;
use wirelab::measure::Instant;

/// Servers that one question excludes, at most: a registry's servers all say the same, and a name
/// whose servers have no address must not cost a query to each of them.
const EXCLUDED_MAX: usize = 3;

impl Walk {
    /// The top task has no step: the cache answers it, or a step begins.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.answer_special(now) || self.answer_from_cache(now) {
            return;
        }
        let Some(task) = self.tasks.top() else { return };
        let question = task.question.clone();
        let referred_to = task.referred_to.clone();
        // DS records lie above the cut (RFC 4035 §3.1.4.1).
        let below = question.kind == RecordType::DS && !question.name.is_root();
        let from = if below { question.name.base_name() } else { question.name.clone() };
        for zone in self.known.zones(now, &from) {
            let servers = self.servers_of(now, &zone);
            self.excluded.note(now, &self.setup, &self.known.cache, &zone);
            if servers.candidates.is_empty() && servers.unresolved.is_empty() {
                if referred_to.as_ref() == Some(&zone) {
                    if self.fall_back(now, &zone) || self.exclude_referrer(&zone) {
                        return;
                    }
                    let zone = name_text(&zone);
                    self.task_failed(now, Outcome::Unanswered { zone, any_reply: false });
                    return;
                }
                // Asking the zone above again may bring addresses.
                continue;
            }
            if self.ask_own_list(now, &zone) {
                return;
            }
            if zone.is_root() {
                let (setup, known, log) = (&self.setup, &self.known, &mut self.log);
                self.priming.begin(now, setup, known, log, &question);
            }
            self.begin_step(now, zone, servers);
            return;
        }
        let outcome = Outcome::Unanswered { zone: ".".to_owned(), any_reply: false };
        self.task_failed(now, outcome);
    }

    /// Puts the top task's question to the servers of a zone.
    fn begin_step(&mut self, now: Instant, zone: Name, servers: ZoneServers) {
        let Some(task) = self.tasks.top_mut() else { return };
        let qmin = self.setup.config.qmin;
        let mut sent = task.minimise(qmin, &zone);
        // What is known already needs no question.
        while sent != task.question && self.known.holds(now, &sent) {
            task.labels_sent = sent.name.iter().len();
            sent = task.minimise(qmin, &zone);
        }
        task.minimised += u32::from(sent != task.question);
        let ZoneServers { mut candidates, unresolved, .. } = servers;
        let zone_text = name_text(&zone);
        let distrusted = |candidate: &Candidate| {
            self.retry.distrusts(&zone_text, candidate.address)
                || task.excluded.contains(&candidate.name)
        };
        // A server with a stale copy of one thing is better than none.
        let others = !candidates.iter().all(distrusted) || !unresolved.is_empty();
        for candidate in &mut candidates {
            candidate.failed = task.excluded.contains(&candidate.name)
                || (others && self.retry.distrusts(&zone_text, candidate.address));
        }
        let step = self.log.next_step();
        task.ask = Some(Ask::new(step, zone, sent, candidates, unresolved, now));
    }

    /// Servers of a zone; those that cannot be found are noted.
    pub(super) fn servers_of(&mut self, now: Instant, zone: &Name) -> ZoneServers {
        let (setup, started) = (&self.setup, self.log.started);
        let mut servers = self.known.servers_of(now, setup, &self.tasks, zone, started);
        for fault in servers.faults.drain(..) {
            self.log.findings.note(fault, &name_text(zone), None, servers.named_at);
        }
        servers
    }

    /// Whether the cache ended the task or took it further.
    fn answer_from_cache(&mut self, now: Instant) -> bool {
        let Some(task) = self.tasks.top() else { return false };
        let question = task.question.clone();
        if matches!(task.purpose, Purpose::Chain { .. }) {
            // What the cache has came without its proof, or it would not be asked for; but another
            // walk may have fetched it while this one waited.
            let fetched = self.known.holds_proof(now, &question);
            if fetched {
                self.task_done(now, &Class::NoData, Vec::new());
            }
            return fetched;
        }
        let cached = |kind| self.known.cache.get(now, &question.name, kind, Rank::Answer);
        if let Some(entry) = cached(question.kind) {
            let (step, expires) = (entry.step, entry.expires);
            let answers = entry.records.iter().map(record_text).collect();
            self.note_cache_use(now, Class::Answer, step, expires);
            self.claim(now, &question.name, question.kind, false);
            self.task_done(now, &Class::Answer, answers);
            return true;
        }
        if let Some(absence) = self.known.cache.absence(now, &question) {
            let class = if absence.whole_name { Class::NxDomain } else { Class::NoData };
            self.note_cache_use(now, class.clone(), absence.step, absence.expires);
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
        self.note_cache_use(now, Class::Alias { to: name_text(&target) }, step, expires);
        self.claim(now, &question.name, RecordType::CNAME, false);
        self.follow(now, target, vec![record]);
        true
    }

    /// The user's question rests on this: it will be judged.
    pub(super) fn claim(&mut self, now: Instant, name: &Name, kind: RecordType, absent: bool) {
        let users_own = self.tasks.depth() == 1 && self.is_answering();
        if self.setup.wants_proof()
            && users_own
            && let Some(judging) = self.judging.as_mut()
        {
            judging.claim(now, self.known.cache.store(), name, kind, absent);
        }
    }

    /// Advances the top task: query a server, resolve an address or fail. False: wait.
    pub(super) fn next_attempt(&mut self, now: Instant) -> bool {
        let Some(task) = self.tasks.top_mut() else { return false };
        let Some(ask) = task.ask.as_mut() else { return true };
        if now < ask.next_at {
            return false;
        }
        let (step, limits) = (ask.step, &self.setup.config.limits);
        let again = ask.attempts < limits.step_attempts;
        let servers = &self.known.servers;
        let best = if again { ask.best(self.setup.order(), servers) } else { None };
        let fresh = best.is_some_and(|at| ask.candidates[at].tries == 0);
        let budget = &mut self.log.budget;
        if !fresh && let Some((name, kind)) = ask.next_unresolved(limits, budget) {
            let zone = ask.zone.clone();
            return self.walk_for(now, name, kind, &zone, step);
        }
        let refused = if best.is_none() && again { ask.next_refused() } else { None };
        let Some(at) = best.or(refused) else {
            if !again {
                budget.refuse(Limit::StepAttempts);
            }
            return self.step_failed(now);
        };
        let config = &self.setup.config;
        let state = servers.get(ask.candidates[at].address);
        let ways: Vec<Way> = [
            (ask.sent != task.question, Way::WholeName),
            (config.edns && !state.no_edns, Way::NoEdns),
            (!config.tcp && !state.tcp_only, Way::Tcp),
        ]
        .into_iter()
        .filter_map(|(of_use, way)| of_use.then_some(way))
        .collect();
        let way = if refused.is_some() { Some(Way::Tcp) } else { ask.next_way(at, &ways) };
        let candidate = &mut ask.candidates[at];
        candidate.tries += 1;
        ask.attempts += 1;
        budget.spend(Limit::Attempts, u64::from(candidate.tries));
        budget.spend(Limit::StepAttempts, u64::from(ask.attempts));
        let (transport, edns) = carrier(&self.setup, servers.get(candidate.address));
        let plan = Plan {
            owner: Owner::Step(step),
            step,
            number: ask.attempts,
            parent: task.parent,
            purpose: task.purpose.clone(),
            zone: ask.zone.clone(),
            sent: if way == Some(Way::WholeName) { &task.question } else { &ask.sent }.clone(),
            meant: task.question.clone(),
            server: candidate.shown(),
            transport: if way == Some(Way::Tcp) { Transport::Tcp } else { transport },
            edns: edns && way != Some(Way::NoEdns),
            way,
        };
        self.send_step(now, plan);
        false
    }

    /// Begins a sub-walk for a server's address. True: go on with it.
    pub(super) fn walk_for(
        &mut self,
        now: Instant,
        name: Name,
        kind: RecordType,
        zone: &Name,
        step: u32,
    ) -> bool {
        if self.known.has_failed(&name, kind) {
            return true;
        }
        let (limits, depth) = (&self.setup.config.limits, self.tasks.depth());
        self.log.budget.want(limits, Limit::Depth, depth);
        if depth > u64::from(limits.depth) {
            self.task_failed(now, Outcome::Limit { limit: Limit::Depth });
            return true;
        }
        let purpose = Purpose::Address { server: name_text(&name), zone: name_text(zone) };
        self.tasks.push(Task::new(Question::new(name, kind), purpose, Some(step)));
        true
    }

    /// A sub-walk has ended: its addresses go to the step or the check that waits for them.
    pub(super) fn address_found(&mut self, now: Instant, task: &Task) {
        let question = &task.question;
        let rank = Rank::NonAuthoritative;
        let entry = self.known.cache.get(now, &question.name, question.kind, rank);
        let step = entry.map_or(0, |entry| entry.step);
        let records = entry.iter().flat_map(|entry| entry.records.iter());
        let addresses = records.filter_map(|record| record.data.ip_addr());
        let name = &task.asked_first.name;
        if let (Purpose::Address { server, zone }, true) = (&task.purpose, *name != question.name) {
            let (subject, target) = (server.clone(), name_text(&question.name));
            let fault = Fault::NsIsAlias { subject, target };
            self.log.findings.note(fault, zone, None, task.parent.unwrap_or_default());
        }
        let found: Vec<Candidate> = addresses
            .filter(|address| self.setup.may_use(*address))
            .map(|address| {
                let source = AddressSource::Answer { step };
                Candidate::new(name.clone(), self.setup.hints.endpoint(address), source)
            })
            .collect();
        if found.is_empty() {
            self.known.note_failed(&task.asked_first);
        }
        if let Some(ask) = self.tasks.top_ask_mut() {
            if !found.is_empty() {
                // One family is enough to ask it.
                ask.unresolved.retain(|(waiting, _)| waiting != name);
            }
            let known: Vec<_> =
                ask.candidates.iter().map(|one| (one.name.clone(), one.address)).collect();
            let new =
                found.into_iter().filter(|one| !known.contains(&(one.name.clone(), one.address)));
            ask.candidates.extend(new);
            ask.next_at = ask.next_at.min(now);
        } else if let Some(check) = self.check.as_mut() {
            check.resolved(now, &self.setup, &mut self.log, found);
        }
    }

    /// No server of the zone helped.
    fn step_failed(&mut self, now: Instant) -> bool {
        let Some(task) = self.tasks.top_mut() else { return true };
        let Some(mut ask) = task.ask.take() else { return true };
        self.queries.close(now, &mut self.log, |owner| owner == Owner::Step(ask.step));
        // A server may be confused by a name that is not whole (RFC 9156 §2.3, relaxed).
        let minimised = ask.sent != task.question;
        if minimised && ask.any_reply && self.setup.config.qmin == Qmin::Relaxed {
            task.labels_sent = task.question.name.iter().len();
            return true;
        }
        let doubted = self.doubt_glue(&mut ask);
        let Some(task) = self.tasks.top_mut() else { return true };
        if doubted {
            ask.next_at = now;
            task.ask = Some(ask);
            return true;
        }
        if self.fall_back(now, &ask.zone) {
            return true;
        }
        if let Some(kept) = ask.last_resort.take() {
            return self.take_last_resort(now, *kept);
        }
        if ask.candidates.is_empty() && self.exclude_referrer(&ask.zone) {
            return true;
        }
        // Where every server is excluded, it is the zone below whose servers cannot be found.
        let dead_end = self.tasks.top_mut().and_then(|task| task.dead_end.take());
        let zone = name_text(&dead_end.filter(|_| ask.attempts == 0).unwrap_or(ask.zone));
        self.task_failed(now, Outcome::Unanswered { zone, any_reply: ask.any_reply });
        true
    }

    /// No server of the zone helped: for those outside the zone, whose addresses came with the
    /// referral, what their own zones say is looked up, once. Whether there are any.
    fn doubt_glue(&mut self, ask: &mut Ask) -> bool {
        let Some(task) = self.tasks.top_mut() else { return false };
        let from_glue = |candidate: &&Candidate| {
            matches!(candidate.source, AddressSource::Glue { .. })
                && !ask.zone.zone_of(&candidate.name)
        };
        let names: BTreeSet<Name> =
            ask.candidates.iter().filter(from_glue).map(|one| one.name.clone()).collect();
        let parent_alone = self.setup.config.side == Some(Side::Parent);
        if parent_alone || names.is_empty() || !task.glue_doubted.insert(ask.zone.clone()) {
            return false;
        }
        for (name, kind) in names.iter().flat_map(|name| self.setup.kinds().map(move |k| (name, k)))
        {
            ask.unresolved.push_back((name.clone(), kind));
        }
        true
    }

    /// No server of `zone` helped the top task: forgets the list that the zone gave itself, so
    /// that the zone above is asked again. A zone's own list outranks the one above (RFC 2181
    /// §5.4.1) and may yet be the worse. False where the list was not its own, or this was done
    /// before: the task has failed.
    fn fall_back(&mut self, now: Instant, zone: &Name) -> bool {
        let cache = &self.known.cache;
        let own = cache.get(now, zone, RecordType::NS, Rank::Authority).is_some();
        // Above the root there are the hints.
        let others = own
            && self.setup.config.side.is_none()
            && (!zone.is_root() || self.hints_have_others(now));
        let Some(task) = self.tasks.top_mut().filter(|_| others) else {
            return false;
        };
        if !task.fallen_back.insert(zone.clone()) {
            return false;
        }
        task.referred_to = None;
        self.known.cache.forget(zone, RecordType::NS);
        true
    }

    /// Whether the hints have an address of the root beside those in use.
    fn hints_have_others(&mut self, now: Instant) -> bool {
        let used = self.servers_of(now, &Name::root()).candidates;
        let is_used = |hint: &Candidate| used.iter().any(|used| used.address == hint.address);
        !self.setup.root_candidates().iter().all(is_used)
    }

    /// No server of `zone` has an address: the server that referred there is excluded, and others
    /// of the zone above are asked. One of them may serve `zone` itself, or know where its servers
    /// are. False where there was no referral, or enough are excluded: the task has failed.
    fn exclude_referrer(&mut self, zone: &Name) -> bool {
        let Some(task) = self.tasks.top_mut() else { return false };
        if task.referred_to.as_ref() != Some(zone) || task.excluded.len() >= EXCLUDED_MAX {
            return false;
        }
        let Some(referrer) = task.referred_by.take() else { return false };
        task.excluded.insert(referrer);
        (task.referred_to, task.dead_end) = (None, Some(zone.clone()));
        self.known.cache.forget(zone, RecordType::NS);
        true
    }
}
