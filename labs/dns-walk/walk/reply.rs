//! Handles arrivals: checks, classifies, caches and acts on them, in that order. A message that
//! answers no open query is counted and ignored.

use super::Walk;
use super::chain::keep_evidence;
use super::cuts::Beside;
use super::queries::{Attempt, AttemptId, Owner, Plan};
use super::tasks::{Ask, Denied};
use crate::classify;
use crate::classify::{Classified, Context, targets_of};
use crate::cookie::Cookie;
use crate::event::{Class, Dropped, Exchange, Learned, Purpose, Qmin, Stray, Transport, Way};
use crate::finding::Fault;
use crate::limits::Limit;
use crate::outcome::Outcome;
use crate::question::{self, Reply};
use crate::text::{Question, StrayReason, name_text, printable, record_text};
use crate::trust::{DropReason, Rank};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use std::net::SocketAddr;
use wirelab::measure::{Instant, nanos};

/// Silent attempts after which a server is asked in the way that works from then on.
const WAY_STAYS: u32 = 3;

impl Attempt {
    /// The reply, unless it brings back a cookie that was not sent.
    fn with_its_cookie(&self, reply: Reply) -> Result<Reply, StrayReason> {
        if let (Some(sent), Reply::Message(message)) = (&self.cookie, &reply) {
            match Cookie::of(message) {
                Some(Ok(came)) if sent.is_echoed_by(&came) => {}
                None => {}
                Some(_) => return Err(StrayReason::WrongCookie),
            }
        }
        Ok(reply)
    }
}

impl Walk {
    /// Bytes came to the socket of `via`: a datagram, or a whole message of a connection.
    pub fn handle_reply(&mut self, now: Instant, via: AttemptId, from: SocketAddr, bytes: &[u8]) {
        if self.is_done() {
            return;
        }
        let length = u32::try_from(bytes.len());
        let length = length.expect("invariant: a message is at most 65,535 bytes");
        let taken = self.check_reply(via, from, bytes).and_then(|reply| {
            let attempt = self.queries.take(via).ok_or(StrayReason::NothingOpen)?;
            Ok((reply, attempt))
        });
        let (reply, mut attempt) = match taken {
            Ok(taken) => taken,
            Err(why) => {
                self.note_elsewhere(via, from, why, bytes);
                let step = self.queries.get(via).map(|attempt| attempt.record.step);
                let stray = Stray { from, step, bytes: length, why, message: None };
                self.log.stray(now, &self.setup.config.limits, stray, bytes);
                return;
            }
        };
        let rtt = now.since(attempt.record.sent_ns);
        self.known.servers.replied(now, from, rtt);
        attempt.record.rtt_ns = Some(nanos(rtt));
        attempt.record.bytes_received = Some(length);
        self.log.keep_reply(&self.setup.config.limits, &mut attempt.record, bytes);
        match reply {
            Reply::Message(message) => self.handle_message(now, attempt, &message),
            Reply::CaseLost => {
                self.known.servers.entry(from).case_lost = true;
                self.retry(now, attempt, Class::CaseLost);
            }
            Reply::Malformed(why) => self.failed(now, attempt, Class::Malformed { why }),
        }
        self.advance(now);
    }

    /// The message, if it answers the query of `via` (RFC 5452 §9.1).
    fn check_reply(
        &self,
        via: AttemptId,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Result<Reply, StrayReason> {
        let attempt = self.queries.get(via).ok_or(StrayReason::NothingOpen)?;
        if attempt.to() != from {
            return Err(StrayReason::WrongAddress);
        }
        // Only capitals that were drawn prove something.
        let exact_case = attempt.is_udp() && self.setup.config.random_case;
        let reply = question::check(&attempt.query, bytes, exact_case)?;
        attempt.with_its_cookie(reply)
    }

    /// A reply from another address than the one asked, right in everything else, is the server's.
    fn note_elsewhere(&mut self, via: AttemptId, from: SocketAddr, why: StrayReason, bytes: &[u8]) {
        let Some(attempt) = self.queries.get(via) else { return };
        let fits = why == StrayReason::WrongAddress
            && question::check(&attempt.query, bytes, self.setup.config.random_case).is_ok();
        if fits {
            let Exchange { zone, server, step, .. } = &attempt.record;
            let server = Some((server.name.clone(), server.address));
            let fault = Fault::ReplyFromElsewhere { from };
            self.log.findings.note(fault, zone, server, *step);
        }
    }

    /// The network or the host said that nothing listens where `via` asked.
    pub fn handle_unreachable(&mut self, now: Instant, via: AttemptId, why: &str) {
        if self.is_done() {
            return;
        }
        let Some(attempt) = self.queries.take(via) else { return };
        self.known.servers.entry(attempt.to()).silent += 1;
        self.failed(now, attempt, Class::Unreachable { why: printable(why) });
        self.advance(now);
    }

    fn handle_message(&mut self, now: Instant, mut attempt: Attempt, message: &Message) {
        attempt.record.rcode = Some(question::rcode(message));
        attempt.record.flags = question::flags(message);
        attempt.record.edns = question::edns(message);
        if let Some(class) = self.take_cookie(&attempt, message) {
            self.retry(now, attempt, class);
            return;
        }
        let meta = &message.metadata;
        if meta.truncation && attempt.is_udp() {
            // A truncated reply is not used: the part cut off may matter.
            self.retry(now, attempt, Class::Truncated);
            return;
        }
        if meta.truncation && message.answers.is_empty() {
            let why = "cut short (TC) over TCP, without an answer".to_owned();
            self.failed(now, attempt, Class::Malformed { why });
            return;
        }
        let no_edns = matches!(
            meta.response_code,
            ResponseCode::FormErr
                | ResponseCode::NotImp
                | ResponseCode::BADVERS
                | ResponseCode::BADSIG
        );
        if no_edns && message.edns.is_some() && attempt.cookie.is_some() {
            // It knows EDNS, so it is the option that it does not like.
            self.known.servers.entry(attempt.to()).no_cookie = true;
            self.retry(now, attempt, Class::NoCookie);
            return;
        }
        if attempt.edns && no_edns {
            self.known.servers.entry(attempt.to()).no_edns = true;
            self.without_edns(now, attempt);
            return;
        }
        let context = Context {
            zone: &attempt.zone,
            asked: &attempt.sent,
            limits: &self.setup.config.limits,
            public_only: self.setup.config.public_only,
            proof: self.setup.wants_proof(),
        };
        let mut reading = classify::read(&context, message);
        let Exchange { zone, server, step, .. } = &attempt.record;
        for fault in reading.odd.drain(..) {
            let server = Some((server.name.clone(), server.address));
            self.log.findings.note(fault, zone, server, *step);
        }
        match attempt.owner {
            Owner::Probe(at) => self.probe_replied(now, at, attempt, &reading),
            Owner::Step(step) if reading.class.is_useful() => {
                // Without EDNS there are no signatures: another way may bring them.
                if attempt.way == Some(Way::NoEdns) && self.setup.wants_proof() {
                    let class = reading.class.clone();
                    self.keep_last_resort(step, &attempt, reading);
                    self.failed(now, attempt, class);
                } else {
                    self.useful(now, attempt, reading);
                }
            }
            Owner::Step(step) => {
                note_dropped(&mut attempt, &reading);
                let class = reading.class.clone();
                self.keep_last_resort(step, &attempt, reading);
                self.failed(now, attempt, class);
            }
        }
    }

    /// Keeps what a reply says for when no server gives anything better. No server of the root
    /// answers without authority: something on the way answers for it.
    fn keep_last_resort(&mut self, step: u32, attempt: &Attempt, mut reading: Classified) {
        let class = reading.last_resort.take();
        let usable = class.is_some() || reading.class.is_useful();
        let Some(ask) = self.ask_mut(step).filter(|ask| usable && !ask.zone.is_root()) else {
            return;
        };
        if ask.last_resort.is_none() {
            reading.last_resort = class;
            ask.last_resort = Some(Box::new((attempt.clone(), reading)));
        }
    }

    /// No server of the zone gave anything better than this: it is taken, and never as an answer
    /// from the cache. True: go on.
    pub(super) fn take_last_resort(&mut self, now: Instant, kept: (Attempt, Classified)) -> bool {
        let (attempt, mut reading) = kept;
        if let Some(class) = reading.last_resort.take() {
            reading.class = class;
            let subject = attempt.meant.text().to_string();
            let Exchange { zone, server, step, .. } = &attempt.record;
            let server = Some((server.name.clone(), server.address));
            self.log.findings.note(Fault::AnswerNotAuthoritative { subject }, zone, server, *step);
        } else {
            // Every attempt with EDNS failed.
            self.known.servers.entry(attempt.to()).no_edns = true;
            let silent = attempt.record.attempt.saturating_sub(1);
            self.note_otherwise(&attempt, Way::NoEdns, silent);
        }
        let (limits, step) = (self.setup.config.limits, attempt.record.step);
        reading.absent_ttl_s = None;
        if self.setup.wants_proof() {
            keep_evidence(self.known.cache.store_mut(), now, &limits, &attempt, &reading);
        }
        for kept in reading.kept.iter().filter(|kept| kept.solicited) {
            let (records, rank) = (kept.records.clone(), kept.rank.min(Rank::NonAuthoritative));
            // Where more is known already, that is used.
            let _ = self.known.cache.learn(now, &limits, records, rank, step);
        }
        let zone = attempt.record.zone.clone();
        let server = &attempt.record.server;
        self.log.answered_by.insert(step, (zone, server.name.clone(), server.address));
        let (minimised, labels_sent) = (is_minimised(&attempt), attempt.sent.name.iter().len());
        self.act(now, reading, minimised, labels_sent);
        true
    }

    /// A silent server replies over another transport: records it and continues there.
    fn note_way(&mut self, attempt: &Attempt) {
        let Some(way) = attempt.way else { return };
        let silent = self.queries.silent(attempt.record.step, attempt.to());
        let state = self.known.servers.entry(attempt.to());
        match way {
            Way::Tcp if silent >= WAY_STAYS => state.tcp_only = true,
            Way::NoEdns if silent >= WAY_STAYS => state.no_edns = true,
            _ => {}
        }
        self.note_otherwise(attempt, way, silent);
    }

    fn note_otherwise(&mut self, attempt: &Attempt, way: Way, silent: u32) {
        let Exchange { zone, server, step, .. } = &attempt.record;
        let server = Some((server.name.clone(), server.address));
        self.log.findings.note(Fault::AnswersOtherwise { way, silent }, zone, server, *step);
    }

    /// A name was denied, or one below it turns out to exist after all.
    fn note_denied(&mut self, place: usize, attempt: &Attempt, class: &Class) {
        let Some(task) = self.tasks.at_mut(place) else { return };
        let Exchange { zone, server, step, .. } = &attempt.record;
        if *class == Class::NxDomain {
            if is_minimised(attempt) {
                let server = (server.name.clone(), server.address);
                let (name, zone) = (attempt.sent.name.clone(), zone.clone());
                task.denied = Some(Denied { name, zone, server, step: *step });
            }
        } else if let Some(denied) = task.denied.take()
            && denied.name.zone_of(&attempt.sent.name)
        {
            let Denied { name, zone, server, step } = denied;
            let fault = Fault::DeniesNameAbove { name: name_text(&name) };
            self.log.findings.note(fault, &zone, Some(server), step);
        }
    }

    /// A server has replied about its own zone.
    fn probe_replied(
        &mut self,
        now: Instant,
        at: usize,
        mut attempt: Attempt,
        reading: &Classified,
    ) {
        note_dropped(&mut attempt, reading);
        if let Some(check) = self.check.as_mut() {
            let beside = Beside { now, cache: &self.known.cache, hints: &self.setup.hints };
            check.replied(at, beside, &mut self.cuts, &mut self.log, &attempt, reading);
        }
        self.judge_probe(now, &attempt, reading);
        attempt.record.class = reading.class.clone();
        self.log.ended(now, attempt.record);
        self.end_probe(now, at);
    }

    fn end_probe(&mut self, now: Instant, at: usize) {
        self.check.iter_mut().for_each(|check| check.finish(at));
        self.queries.close(now, &mut self.log, |owner| owner == Owner::Probe(at));
    }

    /// The server knows no EDNS. It is asked again without; where signatures are wanted, only after
    /// those that may have them, for what it sends without proof would pass for forged.
    fn without_edns(&mut self, now: Instant, mut attempt: Attempt) {
        let proof = self.setup.wants_proof();
        let ask = match attempt.owner {
            Owner::Step(step) if proof => self.ask_mut(step),
            _ => None,
        };
        let Some(ask) = ask else {
            self.retry(now, attempt, Class::NoEdns);
            return;
        };
        (ask.any_reply, ask.next_at) = (true, now);
        attempt.record.class = Class::NoEdns;
        self.log.ended(now, attempt.record);
    }

    /// Keeps the cookie that a server gave; what a reply is worth without one, where it gives one.
    ///
    /// Over TCP a reply needs no cookie to be believed (RFC 7873 §5.3).
    fn take_cookie(&mut self, attempt: &Attempt, message: &Message) -> Option<Class> {
        attempt.cookie?;
        let udp = attempt.is_udp();
        let state = self.known.servers.entry(attempt.to());
        let given = Cookie::of(message).and_then(Result::ok).filter(Cookie::has_server_part);
        let wants = message.metadata.response_code == ResponseCode::BADCOOKIE;
        match given {
            Some(cookie) => {
                state.cookie = Some(cookie);
                (udp && wants).then_some(Class::BadCookie)
            }
            None if udp && state.cookie.is_some() => Some(Class::CookieLost),
            // It gives none any more.
            None => {
                state.cookie = None;
                None
            }
        }
    }

    /// The same server is asked again, over a connection or without options.
    fn retry(&mut self, now: Instant, mut attempt: Attempt, class: Class) {
        let most = self.setup.config.limits.step_attempts;
        let spent = |ask: &mut Ask| ask.attempts >= most;
        if let Owner::Step(step) = attempt.owner
            && self.ask_mut(step).is_some_and(spent)
        {
            // Servers that reply late, all at once, would have each of them asked again.
            self.log.budget.refuse(Limit::StepAttempts);
            self.failed(now, attempt, class);
            return;
        }
        let mut plan = again(&attempt, &class);
        plan.edns &= !self.known.servers.get(attempt.to()).no_edns;
        attempt.record.class = class;
        self.log.ended(now, attempt.record);
        match attempt.owner {
            Owner::Probe(at) => self.send_probe(now, at, plan),
            Owner::Step(step) => {
                let Some(ask) = self.ask_mut(step) else { return };
                ask.attempts += 1;
                ask.any_reply = true;
                plan.number = ask.attempts;
                self.log.budget.spend(Limit::StepAttempts, u64::from(plan.number));
                self.send_step(now, plan);
            }
        }
    }

    /// The server cannot help: the step goes on with the next one, at once.
    fn failed(&mut self, now: Instant, mut attempt: Attempt, class: Class) {
        let replied = class.is_reply();
        let refused = matches!(class, Class::Unreachable { .. }) && attempt.is_udp();
        attempt.record.class = class;
        let (owner, address, way) = (attempt.owner, attempt.to(), attempt.way);
        self.log.ended(now, attempt.record);
        let step = match owner {
            Owner::Probe(at) => return self.end_probe(now, at),
            Owner::Step(step) => step,
        };
        let open = self.queries.is_waiting(owner);
        let Some(ask) = self.ask_mut(step) else { return };
        ask.any_reply |= replied;
        if way.is_some() {
            // The usual way may yet work.
            ask.next_at = now;
            return;
        }
        for candidate in ask.candidates.iter_mut().filter(|one| one.address == address) {
            candidate.refused = refused;
        }
        // With no other server left, another open attempt keeps its timer.
        if ask.give_up(address) || !open || !ask.unresolved.is_empty() {
            ask.next_at = now;
        }
    }

    /// A server of the root has said something useful about its servers.
    fn primed(&mut self, now: Instant, mut attempt: Attempt, reading: &Classified) {
        if reading.class != Class::Answer {
            // A root without servers is none; another of them may know better.
            self.failed(now, attempt, reading.class.clone());
            return;
        }
        self.learn(now, &mut attempt, reading, false);
        attempt.record.class = reading.class.clone();
        self.log.ended(now, attempt.record);
        self.end_prime(now);
    }

    /// The reply advances its task; tasks begun above it are dropped.
    fn useful(&mut self, now: Instant, mut attempt: Attempt, reading: Classified) {
        let step = attempt.record.step;
        if self.priming.ask_mut(step).is_some() {
            self.primed(now, attempt, &reading);
            return;
        }
        let Some(place) = self.tasks.place_of(step) else {
            attempt.record.class = Class::Overtaken;
            self.log.ended(now, attempt.record);
            return;
        };
        let users_own = place == 0 && self.is_answering();
        self.learn(now, &mut attempt, &reading, users_own);
        let minimised = is_minimised(&attempt);
        self.note_way(&attempt);
        self.note_denied(place, &attempt, &reading.class);
        self.note_wrong_side(place, &attempt);
        attempt.record.class = reading.class.clone();
        let from = attempt.to();
        self.log.ended(now, attempt.record);
        for above in self.tasks.cut_above(place) {
            self.queries.close(now, &mut self.log, |owner| owner == Owner::Step(above));
        }
        self.queries.close(now, &mut self.log, |owner| owner == Owner::Step(step));
        let labels_sent = attempt.sent.name.iter().len();
        if let Some(task) = self.tasks.top_mut().filter(|_| reading.cut.is_some()) {
            let asked = task.ask.iter().flat_map(|ask| &ask.candidates);
            let mut by = asked.filter(|candidate| candidate.address == from);
            task.referred_by = by.next().map(|candidate| candidate.name.clone());
        }
        self.act(now, reading, minimised, labels_sent);
    }

    /// Notes what the user's question rests on now, for the judgement.
    fn claim_all(&mut self, now: Instant, reading: &Classified, minimised: bool) {
        let absent = matches!(reading.class, Class::NoData | Class::NxDomain);
        let answers = matches!(reading.class, Class::Answer | Class::Alias { .. });
        let doubtful = reading.class == Class::NxDomain && self.setup.config.qmin == Qmin::Relaxed;
        let goes_on = reading.class != Class::NxDomain || doubtful;
        if !(absent || answers) || (minimised && goes_on) {
            return;
        }
        let Some(kind) = self.tasks.top().map(|task| task.question.kind) else { return };
        for alias in &reading.aliases {
            self.claim(now, &alias.name, alias.record_type(), false);
        }
        if absent {
            self.claim(now, &reading.end, kind, true);
        }
        for kept in reading.kept.iter().filter(|kept| kept.rank == Rank::Answer) {
            let first = &kept.records[0];
            // Signatures have none, nor has what a DNAME makes (RFC 6672 §5.3.1).
            let unsigned = match first.record_type() {
                RecordType::RRSIG => kind == RecordType::ANY,
                RecordType::CNAME => reading.aliases.iter().any(|alias| {
                    alias.record_type() == RecordType::DNAME && alias.name.zone_of(&first.name)
                }),
                _ => false,
            };
            let settled = unsigned || reading.aliases.contains(first);
            if reading.class == Class::Answer && !settled {
                self.claim(now, &first.name, first.record_type(), false);
            }
        }
    }

    /// Acts on a useful reply to the top task.
    fn act(&mut self, now: Instant, reading: Classified, minimised: bool, labels_sent: usize) {
        let limits = self.setup.config.limits;
        self.claim_all(now, &reading, minimised);
        let Some(task) = self.tasks.top_mut() else { return };
        match reading.class {
            Class::Referral { .. } => {
                task.ask = None;
                task.referrals += 1;
                task.referred_to = reading.cut;
                self.log.budget.want(&limits, Limit::Referrals, u64::from(task.referrals));
                if task.referrals > limits.referrals {
                    self.task_failed(now, Outcome::Limit { limit: Limit::Referrals });
                }
            }
            Class::NxDomain if minimised && self.setup.config.qmin == Qmin::Relaxed => {
                // Some servers deny names that exist only above others.
                task.ask = None;
                task.labels_sent = task.question.name.iter().len();
            }
            Class::Answer | Class::NoData | Class::Alias { .. } if minimised => {
                task.ask = None;
                task.labels_sent = labels_sent;
            }
            Class::Alias { .. } => {
                let by = reading.aliases.iter().map(record_text).collect();
                let through = reading.aliases.iter().skip(1).map(|alias| alias.name.clone());
                task.seen.extend(through);
                if let Some(target) = reading.target {
                    self.follow(now, target, by);
                }
            }
            class => {
                // Aliases inside the reply that holds the answer.
                task.aliases.extend(reading.aliases.iter().map(record_text));
                let kind = task.question.kind;
                let asked =
                    |record: &&Record| record.record_type() == kind || kind == RecordType::ANY;
                let answers: Vec<&Record> = reading
                    .kept
                    .iter()
                    .filter(|kept| kept.rank == Rank::Answer)
                    .flat_map(|kept| kept.records.iter().filter(asked))
                    .collect();
                if let Some(first) = answers.first() {
                    task.question.name = first.name.clone();
                }
                let answers = answers.into_iter().map(record_text).collect();
                self.task_done(now, &class, answers);
            }
        }
    }

    /// Learns what the reply says, and writes it into the record.
    fn learn(
        &mut self,
        now: Instant,
        attempt: &mut Attempt,
        reading: &Classified,
        users_own: bool,
    ) {
        note_dropped(attempt, reading);
        let beside = Beside { now, cache: &self.known.cache, hints: &self.setup.hints };
        self.cuts.compare_sides(beside, &mut self.log.findings, attempt, reading);
        let limits = self.setup.config.limits;
        let step = attempt.record.step;
        // Beside the record, only what was dropped is compared with it.
        let shown = !self.setup.config.summary_only || !attempt.record.dropped.is_empty();
        self.log.budget.want(&limits, Limit::Records, u64::from(reading.records));
        self.log.budget.want(&limits, Limit::Servers, u64::from(reading.servers));
        for kept in &reading.kept {
            let records = kept.records.clone();
            let (rank, owner) = (kept.rank, kept.records[0].name.clone());
            if kept.records[0].record_type() == RecordType::NS {
                let names = targets_of(&kept.records);
                match rank {
                    Rank::Referral if users_own => self.cuts.note_delegation(&owner, names, step),
                    Rank::Authority | Rank::Answer => self.cuts.note_own_servers(&owner, names),
                    _ => {}
                }
            }
            let side = self.known.of_other_side(now, self.setup.config.side, kept);
            let learned = match side {
                Ok(()) if !kept.solicited => Err(DropReason::Unsolicited),
                Ok(()) => self.known.cache.learn(now, &limits, records, rank, step),
                other => other,
            };
            match learned {
                Ok(()) if shown => attempt
                    .record
                    .learned
                    .extend(kept.records.iter().map(|r| Learned { record: record_text(r), rank })),
                Ok(()) => {}
                // Data already known is not refused for its rank.
                Err(DropReason::Outranked | DropReason::Unsolicited | DropReason::OtherSide)
                    if self.known.cache.has_all_of(now, &kept.records) => {}
                Err(why) => {
                    if why == DropReason::OverLimit {
                        self.log.budget.refuse(Limit::CacheEntries);
                    }
                    let dropped = |r| Dropped { record: record_text(r), why };
                    attempt.record.dropped.extend(kept.records.iter().map(dropped));
                }
            }
        }
        self.learn_absence(now, attempt, reading);
        if self.setup.wants_proof() {
            keep_evidence(self.known.cache.store_mut(), now, &limits, attempt, reading);
        }
    }

    /// Learns that something is not there. A minimised name that is denied may yet have names below
    /// it (RFC 9156 §2.3, relaxed); so may one that is denied to the chain of trust.
    fn learn_absence(&mut self, now: Instant, attempt: &Attempt, reading: &Classified) {
        let denied = reading.class == Class::NxDomain;
        let Exchange { sent, meant, purpose, step, .. } = &attempt.record;
        let part = sent.name.to_ascii_lowercase() != meant.name;
        let doubtful = denied && part && self.setup.config.qmin == Qmin::Relaxed;
        let Some(ttl_s) = reading.absent_ttl_s.filter(|_| !doubtful) else { return };
        let whole = denied && !matches!(purpose, Purpose::Chain { .. });
        let (name, kind) = (&attempt.sent.name, Some(attempt.sent.kind).filter(|_| !whole));
        let limits = &self.setup.config.limits;
        self.known.cache.learn_absence(now, limits, name, kind, ttl_s, *step);
        if let Some(soa) = &reading.absent_soa {
            self.known.cache.note_soa(name, kind, soa.clone());
        }
    }
}

/// The query of an attempt once more: over a connection where that helps.
fn again(attempt: &Attempt, class: &Class) -> Plan {
    let old = &attempt.record;
    // A server that wants another cookie each time is asked where none is needed.
    let had_one = attempt.cookie.is_some_and(|cookie| cookie.has_server_part());
    let tcp = matches!(class, Class::Truncated | Class::CaseLost | Class::CookieLost)
        || (*class == Class::BadCookie && had_one)
        || old.transport == Transport::Tcp;
    Plan {
        owner: attempt.owner,
        step: old.step,
        number: old.attempt + 1,
        parent: old.parent,
        purpose: old.purpose.clone(),
        zone: attempt.zone.clone(),
        sent: Question { name: attempt.sent.name.to_lowercase(), kind: attempt.sent.kind },
        meant: attempt.meant.clone(),
        server: old.server.clone(),
        transport: if tcp { Transport::Tcp } else { Transport::Udp },
        edns: attempt.edns,
        way: attempt.way,
    }
}

/// Whether a part of the name alone was sent, or another type.
fn is_minimised(attempt: &Attempt) -> bool {
    let Exchange { sent, meant, .. } = &attempt.record;
    sent.name.to_ascii_lowercase() != meant.name || sent.kind != meant.kind
}

/// Records the unused parts of the reply.
fn note_dropped(attempt: &mut Attempt, reading: &Classified) {
    let text = |(record, why): &(_, _)| Dropped { record: record_text(record), why: *why };
    attempt.record.dropped = reading.dropped.iter().map(text).collect();
}
