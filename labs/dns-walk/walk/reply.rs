//! What to make of something that arrived.
//!
//! It exists so that every reply is checked, read, learned from and acted on in that order. It must
//! never act on what does not answer an open query.

use super::ask::Plan;
use super::{Attempt, AttemptId, Owner, Walk};
use crate::classify;
use crate::classify::{Context, Reading, targets_of};
use crate::cookie::Cookie;
use crate::event::{Class, Dropped, Learned, Qmin, Stray, Transport};
use crate::limits::Limit;
use crate::outcome::Outcome;
use crate::question::{self, Reply};
use crate::text::{self, StrayReason};
use crate::text::{printable, record_text};
use crate::trust::{DropReason, Rank};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use std::net::SocketAddr;
use wirelab::measure::{Instant, nanos};

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
        if self.done {
            return;
        }
        let checked = match self.attempts.get(&via) {
            None => Err(StrayReason::NothingOpen),
            Some(attempt) if attempt.record.server.address != from => {
                Err(StrayReason::WrongAddress)
            }
            Some(attempt) => {
                // Only capitals that were drawn prove something.
                let udp = attempt.record.transport == Transport::Udp;
                question::check(&attempt.query, bytes, udp && self.config.random_case)
                    .and_then(|reply| attempt.with_its_cookie(reply))
            }
        };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let reply = match checked {
            Ok(reply) => reply,
            Err(why) => {
                let step = self.attempts.get(&via).map(|attempt| attempt.record.step);
                let stray = Stray { from, step, bytes: length, why, message: None };
                self.book.stray(now, &self.config.limits, stray, bytes);
                return;
            }
        };
        let Some(attempt) = self.attempts.remove(&via) else { return };
        let mut attempt = *attempt;
        self.released.push_back(via);
        let rtt = now.since(attempt.record.sent_ns);
        self.servers.replied(now, from, rtt);
        attempt.record.rtt_ns = Some(nanos(rtt));
        attempt.record.bytes_received = Some(length);
        self.book.keep_reply(&self.config.limits, &mut attempt.record, bytes);
        match reply {
            Reply::Message(message) => self.handle_message(now, attempt, &message),
            Reply::CaseLost => {
                self.servers.entry(from).case_lost = true;
                self.retry(now, attempt, Class::CaseLost);
            }
            Reply::Malformed(why) => self.useless(now, attempt, Class::Malformed { why }),
        }
        self.advance(now);
    }

    /// The network or the host said that nobody listens where `via` asked.
    pub fn handle_unreachable(&mut self, now: Instant, via: AttemptId, why: &str) {
        if self.done {
            return;
        }
        let Some(attempt) = self.attempts.remove(&via) else { return };
        self.released.push_back(via);
        self.servers.entry(attempt.record.server.address).silent += 1;
        self.useless(now, *attempt, Class::Unreachable { why: printable(why) });
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
        let udp = attempt.record.transport == Transport::Udp;
        if meta.truncation && udp {
            // What was cut may be what matters: nothing of it is used.
            self.retry(now, attempt, Class::Truncated);
            return;
        }
        let no_edns = match meta.response_code {
            ResponseCode::FormErr | ResponseCode::NotImp => message.edns.is_none(),
            ResponseCode::BADVERS | ResponseCode::BADSIG => true,
            _ => false,
        };
        if attempt.edns && no_edns {
            self.servers.entry(attempt.record.server.address).no_edns = true;
            self.without_edns(now, attempt);
            return;
        }
        let context = Context {
            zone: &attempt.zone,
            asked: &attempt.sent,
            limits: &self.config.limits,
            public_only: self.config.public_only,
            proof: self.wants_proof(),
        };
        let reading = classify::read(&context, message);
        match attempt.owner {
            Owner::Probe(index) => self.probe_replied(now, index, attempt, &reading),
            Owner::Step(_) if reading.class.is_useful() => self.useful(now, attempt, reading),
            Owner::Step(_) => {
                note_dropped(&mut attempt, &reading);
                self.useless(now, attempt, reading.class);
            }
        }
    }

    /// The server knows no EDNS. It is asked again without; where signatures are wanted, only after
    /// those that may have them, for what it sends without proof would pass for forged.
    fn without_edns(&mut self, now: Instant, mut attempt: Attempt) {
        let proof = self.wants_proof();
        let Some(ask) = self.ask_mut(attempt.owner).filter(|_| proof) else {
            self.retry(now, attempt, Class::NoEdns);
            return;
        };
        (ask.any_reply, ask.next_at) = (true, now);
        attempt.record.class = Class::NoEdns;
        self.book.ended(now, attempt.record);
    }

    /// Keeps the cookie that a server gave; what a reply is worth without one, where it gives one.
    ///
    /// Over TCP a reply needs no cookie to be believed (RFC 7873 §5.3).
    fn take_cookie(&mut self, attempt: &Attempt, message: &Message) -> Option<Class> {
        attempt.cookie?;
        let udp = attempt.record.transport == Transport::Udp;
        let state = self.servers.entry(attempt.record.server.address);
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
        let most = self.config.limits.step_attempts;
        if self.ask_mut(attempt.owner).is_some_and(|ask| ask.attempts >= most) {
            // Servers that reply late, all at once, would have each of them asked again.
            self.book.purse.refuse(Limit::StepAttempts);
            self.useless(now, attempt, class);
            return;
        }
        let old = &attempt.record;
        let state = self.servers.get(old.server.address);
        // A server that wants another cookie each time is asked where none is needed.
        let had_one = attempt.cookie.is_some_and(|cookie| cookie.has_server_part());
        let tcp = matches!(class, Class::Truncated | Class::CaseLost | Class::CookieLost)
            || (class == Class::BadCookie && had_one)
            || old.transport == Transport::Tcp;
        let mut plan = Plan {
            owner: attempt.owner,
            step: old.step,
            number: old.attempt + 1,
            parent: old.parent,
            purpose: old.purpose.clone(),
            zone: attempt.zone.clone(),
            sent: text::Question {
                name: attempt.sent.name.to_lowercase(),
                kind: attempt.sent.kind,
            },
            meant: text::Question {
                name: Name::from_ascii(&old.meant.name).unwrap_or_default(),
                kind: text::kind_of(&old.meant.kind).unwrap_or(attempt.sent.kind),
            },
            server: old.server.clone(),
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            edns: attempt.edns && !state.no_edns,
        };
        attempt.record.class = class;
        let Attempt { owner, record, .. } = attempt;
        self.book.ended(now, record);
        let step = plan.step;
        if let Some(ask) = self.ask_mut(owner) {
            ask.attempts += 1;
            ask.any_reply = true;
            plan.number = ask.attempts;
            self.book.purse.spend(Limit::StepAttempts, u64::from(plan.number));
        } else if matches!(owner, Owner::Step(_)) {
            return;
        }
        let due = self.send(now, plan);
        if let (Some(due), Some(ask)) = (due, self.ask_mut(Owner::Step(step))) {
            ask.next_at = due;
        }
        if let (Some(due), Owner::Probe(index)) = (due, owner) {
            self.probe_waits(index, due);
        }
    }

    /// The step that sent an attempt, if it goes on.
    pub(super) fn ask_mut(&mut self, owner: Owner) -> Option<&mut super::Ask> {
        let Owner::Step(step) = owner else { return None };
        let tasks = self.stack.iter_mut().filter_map(|task| task.ask.as_mut());
        tasks.chain(self.prime.as_deref_mut()).find(|ask| ask.step == step)
    }

    /// The server cannot help: the step goes on with the next one, at once.
    pub(super) fn useless(&mut self, now: Instant, mut attempt: Attempt, class: Class) {
        let replied = class.is_reply();
        attempt.record.class = class;
        let Attempt { owner, record, .. } = attempt;
        let address = record.server.address;
        self.book.ended(now, record);
        if let Owner::Probe(index) = owner {
            self.probe_over(now, index);
            return;
        }
        let open = self.attempts.values().any(|other| other.owner == owner && !other.overdue);
        let Some(ask) = self.ask_mut(owner) else { return };
        ask.any_reply |= replied;
        for candidate in ask.candidates.iter_mut().filter(|c| c.address == address) {
            candidate.useless = true;
        }
        // Where another attempt is open and nobody is left, it keeps its time.
        let left = ask.candidates.iter().any(|candidate| !candidate.useless);
        if left || !open || !ask.unresolved.is_empty() {
            ask.next_at = now;
        }
    }

    /// The reply takes its task further; whatever was begun above the task is not needed now.
    fn useful(&mut self, now: Instant, mut attempt: Attempt, reading: Reading) {
        let step = attempt.record.step;
        if self.prime.as_ref().is_some_and(|ask| ask.step == step) {
            self.primed(now, attempt, &reading);
            return;
        }
        let owns = |task: &super::Task| task.ask.as_ref().is_some_and(|ask| ask.step == step);
        let Some(at) = self.stack.iter().position(owns) else {
            attempt.record.class = Class::Overtaken;
            self.book.ended(now, attempt.record);
            return;
        };
        let users_own = at == 0 && self.outcome.is_none();
        self.learn(now, &mut attempt, &reading, users_own);
        self.keep_evidence(now, &attempt, &reading);
        let minimised = attempt.record.sent.name.to_ascii_lowercase() != attempt.record.meant.name
            || attempt.record.sent.kind != attempt.record.meant.kind;
        attempt.record.class = reading.class.clone();
        let from = attempt.record.server.address;
        self.book.ended(now, attempt.record);
        while self.stack.len() > at + 1 {
            let above = self.stack.pop().and_then(|task| task.ask).map(|ask| ask.step);
            self.close_attempts(now, |open| above.is_some_and(|s| open.owner == Owner::Step(s)));
        }
        self.close_attempts(now, |open| open.owner == Owner::Step(step));
        let told = attempt.sent.name.iter().len();
        if let Some(task) = self.stack.last_mut().filter(|_| reading.cut.is_some()) {
            let asked = task.ask.iter().flat_map(|ask| &ask.candidates);
            let mut by = asked.filter(|candidate| candidate.address == from);
            task.referred_by = by.next().map(|candidate| candidate.name.clone());
        }
        self.act(now, reading, minimised, told);
    }

    /// Notes what the user's question rests on now, for the judgement.
    fn claim_all(&mut self, now: Instant, reading: &Reading, minimised: bool) {
        let absent = matches!(reading.class, Class::NoData | Class::NxDomain);
        let answers = matches!(reading.class, Class::Answer | Class::Alias { .. });
        let doubtful = reading.class == Class::NxDomain && self.config.qmin == Qmin::Relaxed;
        let goes_on = reading.class != Class::NxDomain || doubtful;
        if !(absent || answers) || (minimised && goes_on) {
            return;
        }
        let Some(kind) = self.stack.last().map(|task| task.question.kind) else { return };
        for alias in &reading.aliases {
            self.claim(now, &alias.name, alias.record_type(), false);
        }
        if absent {
            self.claim(now, &reading.end, kind, true);
        }
        for kept in reading.kept.iter().filter(|kept| kept.rank == Rank::Answer) {
            let first = &kept.records[0];
            if reading.class == Class::Answer && !reading.aliases.contains(first) {
                self.claim(now, &first.name, first.record_type(), false);
            }
        }
    }

    /// Acts on a useful reply to the top task.
    fn act(&mut self, now: Instant, reading: Reading, minimised: bool, told: usize) {
        let limits = self.config.limits;
        self.claim_all(now, &reading, minimised);
        let Some(task) = self.stack.last_mut() else { return };
        match reading.class {
            Class::Referral { .. } => {
                task.ask = None;
                task.referrals += 1;
                task.referred_to = reading.cut;
                self.book.purse.want(&limits, Limit::Referrals, u64::from(task.referrals));
                if task.referrals > limits.referrals {
                    self.task_failed(now, Outcome::Limit { limit: Limit::Referrals });
                }
            }
            Class::NxDomain if minimised && self.config.qmin == Qmin::Relaxed => {
                // Some servers deny names that exist only above others.
                task.ask = None;
                task.told = task.question.name.iter().len();
            }
            Class::Answer | Class::NoData | Class::Alias { .. } if minimised => {
                task.ask = None;
                task.told = told;
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
    pub(super) fn learn(
        &mut self,
        now: Instant,
        attempt: &mut Attempt,
        reading: &Reading,
        users_own: bool,
    ) {
        note_dropped(attempt, reading);
        self.compare_sides(now, attempt, reading);
        let limits = self.config.limits;
        let step = attempt.record.step;
        // Beside the record, only what was dropped is compared with it.
        let told = !self.config.summary_only || !attempt.record.dropped.is_empty();
        self.book.purse.want(&limits, Limit::Records, u64::from(reading.records));
        self.book.purse.want(&limits, Limit::Servers, u64::from(reading.servers));
        for kept in &reading.kept {
            let records = kept.records.clone();
            let (rank, owner) = (kept.rank, kept.records[0].name.clone());
            if kept.records[0].record_type() == RecordType::NS {
                let names = targets_of(&kept.records);
                match rank {
                    Rank::Referral if users_own => self.note_delegation(&owner, names, step),
                    Rank::Authority | Rank::Answer => self.note_own_servers(&owner, names),
                    _ => {}
                }
            }
            match self.cache.learn(now, &limits, records, rank, step) {
                Ok(()) if told => attempt
                    .record
                    .learned
                    .extend(kept.records.iter().map(|r| Learned { record: record_text(r), rank })),
                Ok(()) => {}
                // What says nothing new is no worse for its rank.
                Err(DropReason::Outranked) if self.cache.has_all_of(now, &kept.records) => {}
                Err(why) => {
                    if why == DropReason::OverLimit {
                        self.book.purse.refuse(Limit::CacheEntries);
                    }
                    let dropped = |r| Dropped { record: record_text(r), why };
                    attempt.record.dropped.extend(kept.records.iter().map(dropped));
                }
            }
        }
        let asked = &attempt.sent;
        // A minimised name that is denied may yet have names below it (RFC 9156 §2.3, relaxed).
        let doubtful = reading.class == Class::NxDomain
            && attempt.record.sent.name.to_ascii_lowercase() != attempt.record.meant.name
            && self.config.qmin == Qmin::Relaxed;
        if let Some(ttl_s) = reading.absent_ttl_s.filter(|_| !doubtful) {
            let kind = match reading.class {
                Class::NxDomain => None,
                _ => Some(asked.kind),
            };
            self.cache.learn_absence(now, &limits, &asked.name, kind, ttl_s, step);
            if let Some(soa) = &reading.absent_soa {
                self.cache.note_soa(&asked.name, kind, soa.clone());
            }
        }
    }
}

pub(super) fn note_dropped(attempt: &mut Attempt, reading: &Reading) {
    let text = |(record, why): &(_, _)| Dropped { record: record_text(record), why: *why };
    attempt.record.dropped = reading.dropped.iter().map(text).collect();
}
