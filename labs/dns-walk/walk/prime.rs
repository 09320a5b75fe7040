//! Beside the first question: the root's own list of its servers (priming, RFC 9609).
//!
//! It exists because hints grow old, and the root knows best who serves it. It must never delay the
//! user's question, nor end a walk: where it fails, the walk goes on with the hints.

use super::ask::{Order, Plan};
use super::{Ask, Attempt, AttemptId, Candidate, Owner, Walk};
use crate::classify::{Kept, Reading, targets_of};
use crate::event::{Class, Purpose, Server, Transport};
use crate::finding::Fault;
use crate::text::{Question, name_text};
use crate::trust::Rank;
use hickory_proto::rr::{Name, Record, RecordType};
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;
use wirelab::measure::Instant;

/// Attempts in all, each at another server where there are several: three are all lost on a path
/// with 10 % loss each way once in 145 walks, and what is missed then is a look at the hints.
const TRIES: u32 = 3;
/// After an attempt that brought nothing, walks that share what they know go on with the hints for
/// so long before one of them tries again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

impl Walk {
    /// The walk is about to ask the root for `question`: the root is asked for its own list too,
    /// where that is neither known nor asked for already.
    pub(super) fn begin_prime(&mut self, now: Instant, question: &Question) {
        let sent = Question::new(Name::root(), RecordType::NS);
        let lately = self.primed_at.is_some_and(|at| now < at + AGAIN_AFTER);
        if !self.config.prime || lately || *question == sent || self.knows_root(now) {
            return;
        }
        self.primed_at = Some(now);
        let ask = Ask {
            step: self.book.next_step(),
            zone: Name::root(),
            sent,
            candidates: self.root_candidates(),
            unresolved: VecDeque::new(),
            walked_for: BTreeSet::new(),
            attempts: 0,
            any_reply: false,
            next_at: now,
        };
        self.prime = Some(Box::new(ask));
    }

    fn knows_root(&self, now: Instant) -> bool {
        self.cache.get(now, &Name::root(), RecordType::NS, Rank::Authority).is_some()
    }

    /// Asks a server of the root for the list, where it is time; gives up after a few. True: it is
    /// over.
    pub(super) fn prime_on(&mut self, now: Instant) -> bool {
        let known = self.knows_root(now);
        let limits = self.config.limits;
        let (tries_max, seed, proof) = (limits.attempts, self.seed, self.wants_proof());
        let order = Order { tries_max, seed, proof };
        let Some(ask) = self.prime.as_mut().filter(|ask| ask.next_at <= now) else {
            return false;
        };
        // The last query of the budget is the user's.
        let may = ask.attempts < TRIES && self.book.queries + 1 < limits.queries && !known;
        let best = ask.best(order, &self.servers);
        let Some(at) = best.filter(|_| may) else {
            self.end_prime(now);
            return true;
        };
        ask.attempts += 1;
        let candidate = &mut ask.candidates[at];
        candidate.tries += 1;
        let state = self.servers.get(candidate.address);
        let tcp = self.config.tcp || state.case_lost;
        let plan = Plan {
            owner: Owner::Step(ask.step),
            step: ask.step,
            number: ask.attempts,
            parent: None,
            purpose: Purpose::Prime,
            zone: ask.zone.clone(),
            sent: ask.sent.clone(),
            meant: ask.sent.clone(),
            server: Server {
                name: name_text(&candidate.name),
                address: candidate.address,
                source: candidate.source.clone(),
            },
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            edns: self.config.edns && !state.no_edns,
        };
        let due = self.send(now, plan);
        if let (Some(due), Some(ask)) = (due, self.prime.as_mut()) {
            ask.next_at = due;
        }
        false
    }

    /// Whether a query asks for the root's own list.
    #[must_use]
    pub fn is_prime(&self, id: AttemptId) -> bool {
        self.attempts.get(&id).is_some_and(|attempt| attempt.record.purpose == Purpose::Prime)
    }

    /// The query for the root's own list would have to wait for others, and with it the walk: it is
    /// taken back, and left to a later walk.
    pub fn forgo_prime(&mut self, id: AttemptId) {
        if let Some(attempt) = self.attempts.remove(&id) {
            self.book.withdrawn(&attempt.record);
        }
        (self.prime, self.primed_at) = (None, None);
    }

    /// A server of the root has said something useful about its servers.
    pub(super) fn primed(&mut self, now: Instant, mut attempt: Attempt, reading: &Reading) {
        if reading.class != Class::Answer {
            // A root without servers is none; another of them may know better.
            self.useless(now, attempt, reading.class.clone());
            return;
        }
        self.learn(now, &mut attempt, reading, false);
        self.keep_evidence(now, &attempt, reading);
        attempt.record.class = reading.class.clone();
        self.book.ended(now, attempt.record);
        self.end_prime(now);
    }

    fn end_prime(&mut self, now: Instant) {
        let Some(ask) = self.prime.take() else { return };
        self.close_attempts(now, |attempt| attempt.owner == Owner::Step(ask.step));
    }

    /// Adds the addresses of a server of the root that the hints have, of each family of which the
    /// root said nothing: its reply need not have had room for all (RFC 9609 §4.2).
    pub(super) fn add_hinted(&self, name: &Name, known: &mut Vec<Candidate>) {
        let said = |v4: bool| known.iter().any(|candidate| candidate.address.is_ipv4() == v4);
        let said = [said(false), said(true)];
        let hinted = self.root_candidates().into_iter().filter(|candidate| {
            candidate.name == *name && !said[usize::from(candidate.address.is_ipv4())]
        });
        known.extend(hinted);
    }

    /// Whether the hints have an address of the root beside those in use.
    pub(super) fn hints_have_others(&mut self, now: Instant) -> bool {
        let (used, _) = self.servers_of(now, &Name::root());
        let is_used = |hint: &Candidate| used.iter().any(|used| used.address == hint.address);
        !self.root_candidates().iter().all(is_used)
    }

    /// Compares the root's own list, and the addresses beside it, with the hints.
    ///
    /// A family that the hints leave out as a whole is left out by choice.
    pub(super) fn compare_hints(&mut self, list: &[Record], kept: &[Kept], step: u32) {
        let named: BTreeSet<Name> = targets_of(list).into_iter().collect();
        let hinted: BTreeSet<Name> =
            self.hints.roots.iter().map(|(name, _)| name.clone()).collect();
        let mut faults: Vec<Fault> = Vec::new();
        let unknown = hinted.difference(&named).map(name_text);
        faults.extend(unknown.map(|subject| Fault::HintsServerUnknown { subject }));
        let missing = named.difference(&hinted).map(name_text);
        faults.extend(missing.map(|subject| Fault::HintsServerMissing { subject }));
        for kind in [RecordType::A, RecordType::AAAA] {
            let of_kind = |ip: &IpAddr| ip.is_ipv4() == (kind == RecordType::A);
            if !self.hints.roots.iter().any(|(_, ip)| of_kind(ip)) {
                continue;
            }
            for name in named.intersection(&hinted) {
                let Some(root) = addresses_of(kept, name, kind) else { continue };
                let own = self.hints.roots.iter().filter(|(of, ip)| of == name && of_kind(ip));
                let mut hints: Vec<IpAddr> = own.map(|(_, ip)| *ip).collect();
                hints.sort_unstable();
                if hints != root {
                    let subject = name_text(name);
                    faults.push(Fault::HintsAddressesDiffer { subject, hints, root });
                }
            }
        }
        for fault in faults {
            self.book.findings.note(fault, ".", None, step);
        }
    }
}

/// The addresses that a reply has for a name, in order; none where it says nothing of them.
pub(super) fn addresses_of(kept: &[Kept], name: &Name, kind: RecordType) -> Option<Vec<IpAddr>> {
    let is_set = |kept: &&Kept| {
        let first = &kept.records[0];
        first.name == *name && first.record_type() == kind
    };
    let set = kept.iter().find(is_set)?;
    let mut addresses: Vec<IpAddr> =
        set.records.iter().filter_map(|record| record.data.ip_addr()).collect();
    addresses.sort_unstable();
    Some(addresses)
}
