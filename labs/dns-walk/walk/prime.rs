//! Beside the first question: the root's own list of its servers (priming, RFC 9609).
//!
//! Hints grow old, and the root knows best which servers it has. Priming never delays the user's
//! question, nor ends a walk: where it fails, the walk goes on with the hints.

use super::event_log::EventLog;
use super::known::Known;
use super::queries::{Owner, Plan, carrier};
use super::setup::Setup;
use super::tasks::Ask;
use crate::classify::{RRset, targets_of};
use crate::event::Purpose;
use crate::finding::Fault;
use crate::hints::Hints;
use crate::text::{Question, name_text};
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

/// The question for the root's own list.
#[derive(Debug, Default)]
pub(super) struct Priming {
    /// Its step, while it is open; boxed, for most walks have none.
    ask: Option<Box<Ask>>,
    /// When it was last begun; walks that share what they know share this.
    pub(super) begun_at: Option<Instant>,
}

/// The next step of priming.
pub(super) enum PrimeNext {
    /// Nothing yet.
    Wait,
    /// It sends a query.
    Send(Box<Plan>),
    /// It gives up.
    GiveUp,
}

impl Priming {
    /// The walk is about to ask the root for `question`: the root is asked for its own list too,
    /// where that is neither known nor asked for already.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        setup: &Setup,
        known: &Known,
        log: &mut EventLog,
        question: &Question,
    ) {
        let sent = Question::new(Name::root(), RecordType::NS);
        let lately = self.begun_at.is_some_and(|at| now < at + AGAIN_AFTER);
        if !setup.config.prime || lately || *question == sent || known.has_root_list(now) {
            return;
        }
        self.begun_at = Some(now);
        let (step, candidates) = (log.next_step(), setup.root_candidates());
        let ask = Ask::new(step, Name::root(), sent, candidates, VecDeque::new(), now);
        self.ask = Some(Box::new(ask));
    }

    /// Whether it waits for a reply.
    pub(super) const fn is_open(&self) -> bool {
        self.ask.is_some()
    }

    /// When another server is asked.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.ask.as_ref().map(|ask| ask.next_at)
    }

    /// The owner of its queries.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.ask.as_ref().map(|ask| Owner::Step(ask.step))
    }

    /// Its step, if that is the number.
    pub(super) fn ask_mut(&mut self, step: u32) -> Option<&mut Ask> {
        self.ask.as_deref_mut().filter(|ask| ask.step == step)
    }

    /// Asks a server of the root for the list, where it is time; gives up after a few.
    pub(super) fn next(
        &mut self,
        now: Instant,
        setup: &Setup,
        known: &Known,
        queries: u32,
    ) -> PrimeNext {
        let Some(ask) = self.ask.as_mut().filter(|ask| ask.next_at <= now) else {
            return PrimeNext::Wait;
        };
        // The last query of the budget is the user's.
        let may = ask.attempts < TRIES
            && queries + 1 < setup.config.limits.queries
            && !known.has_root_list(now);
        let best = ask.best(setup.order(), &known.servers);
        let Some(at) = best.filter(|_| may) else { return PrimeNext::GiveUp };
        ask.attempts += 1;
        let candidate = &mut ask.candidates[at];
        candidate.tries += 1;
        let (transport, edns) = carrier(setup, known.servers.get(candidate.address));
        let plan = Plan {
            owner: Owner::Step(ask.step),
            step: ask.step,
            number: ask.attempts,
            parent: None,
            purpose: Purpose::Prime,
            zone: ask.zone.clone(),
            sent: ask.sent.clone(),
            meant: ask.sent.clone(),
            server: candidate.shown(),
            transport,
            edns,
            way: None,
        };
        PrimeNext::Send(Box::new(plan))
    }

    /// It is over; what its open queries belong to.
    pub(super) fn end(&mut self) -> Option<Owner> {
        let owner = self.owner();
        self.ask = None;
        owner
    }

    /// Priming was stopped; other walks may still do it.
    pub(super) fn abandon(&mut self) {
        (self.ask, self.begun_at) = (None, None);
    }
}

/// Compares the root's own list, and the addresses beside it, with the hints.
///
/// A family that the hints leave out as a whole is left out by choice.
pub(super) fn compare_hints(hints: &Hints, list: &[Record], kept: &[RRset]) -> Vec<Fault> {
    let named: BTreeSet<Name> = targets_of(list).into_iter().collect();
    let hinted: BTreeSet<Name> = hints.roots.iter().map(|(name, _)| name.clone()).collect();
    let mut faults: Vec<Fault> = Vec::new();
    let unknown = hinted.difference(&named).map(name_text);
    faults.extend(unknown.map(|subject| Fault::HintsServerUnknown { subject }));
    let missing = named.difference(&hinted).map(name_text);
    faults.extend(missing.map(|subject| Fault::HintsServerMissing { subject }));
    for kind in [RecordType::A, RecordType::AAAA] {
        let of_kind = |ip: &IpAddr| ip.is_ipv4() == (kind == RecordType::A);
        if !hints.roots.iter().any(|(_, ip)| of_kind(ip)) {
            continue;
        }
        for name in named.intersection(&hinted) {
            let Some(root) = addresses_of(kept, name, kind) else { continue };
            let own = hints.roots.iter().filter(|(of, ip)| of == name && of_kind(ip));
            let mut listed: Vec<IpAddr> = own.map(|(_, ip)| *ip).collect();
            listed.sort_unstable();
            if listed != root {
                let subject = name_text(name);
                faults.push(Fault::HintsAddressesDiffer { subject, hints: listed, root });
            }
        }
    }
    faults
}

/// The addresses of a name in a reply, in order; empty if it has none.
pub(super) fn addresses_of(kept: &[RRset], name: &Name, kind: RecordType) -> Option<Vec<IpAddr>> {
    let is_set = |kept: &&RRset| {
        let first = &kept.records[0];
        first.name == *name && first.record_type() == kind
    };
    let set = kept.iter().find(is_set)?;
    let mut addresses: Vec<IpAddr> =
        set.records.iter().filter_map(|record| record.data.ip_addr()).collect();
    addresses.sort_unstable();
    Some(addresses)
}
