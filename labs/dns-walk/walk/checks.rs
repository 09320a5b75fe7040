//! After the answer: every server of the zones on the way is asked what it says itself.
//!
//! It exists because a walk that is lucky meets no broken server, and a person wants to know of
//! them. It must never change the answer, nor delay it.

use super::ask::Plan;
use super::prime::addresses_of;
use super::{Attempt, Candidate, Owner, Walk};
use crate::classify::{Reading, targets_of};
use crate::event::{AddressSource, Class, Purpose, Server, Transport};
use crate::finding::Fault;
use crate::text::{Question, name_text};
use crate::trust::Rank;
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use wirelab::measure::Instant;

/// Attempts at one server: at 10 % loss each way all of them fail once in 4,000.
const TRIES: u32 = 5;
/// Zones with fewer labels are the root's and the registries': many servers, not the user's.
const LABELS_MIN: usize = 2;

/// A server that is asked for the NS records of its zone.
#[derive(Clone, Debug)]
struct Probe {
    zone: Name,
    server: Candidate,
    question: Question,
    parent: u32,
    step: u32,
    next_at: Instant,
    over: bool,
}

/// A server whose address is not known yet.
#[derive(Clone, Debug)]
struct Unresolved {
    zone: Name,
    name: Name,
    kind: RecordType,
    parent: u32,
}

/// All probes.
#[derive(Debug, Default)]
pub(super) struct Check {
    unresolved: VecDeque<Unresolved>,
    walking_for: Option<Unresolved>,
    probes: Vec<Probe>,
    /// Serials of each zone, and the step that saw the first.
    serials: BTreeMap<Name, (u32, BTreeSet<u32>)>,
    /// Addresses of each zone's servers, and the names at each.
    places: BTreeMap<Name, BTreeMap<IpAddr, BTreeSet<Name>>>,
}

impl Check {
    /// When the next probe has waited long enough.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.probes.iter().filter(|probe| !probe.over).map(|probe| probe.next_at).min()
    }
}

impl Walk {
    pub(super) fn begin_check(&mut self, now: Instant) {
        let mut check = Check::default();
        let mut known = Vec::new();
        for (zone, delegation) in &self.delegations {
            if zone.iter().len() < LABELS_MIN && !self.config.all {
                continue;
            }
            let names: BTreeSet<&Name> = delegation.above.union(&delegation.own).collect();
            for name in names {
                let parent = delegation.step;
                let found = self.addresses(now, name);
                if found.is_empty() && !zone.zone_of(name) {
                    let all = self.kinds().map(|kind| (zone.clone(), name.clone(), kind));
                    check.unresolved.extend(all.map(|(zone, name, kind)| Unresolved {
                        zone,
                        name,
                        kind,
                        parent,
                    }));
                }
                known.push((zone.clone(), parent, found));
            }
        }
        if self.config.all {
            known.push((Name::root(), 0, self.servers_of(now, &Name::root()).0));
        }
        self.check = Some(check);
        for (zone, parent, found) in known {
            self.add_probes(now, &zone, parent, found);
        }
        // Whoever called goes on with `advance`.
    }

    fn add_probes(&mut self, now: Instant, zone: &Name, parent: u32, found: Vec<Candidate>) {
        for mut server in found {
            server.source = match server.source {
                AddressSource::Hints => AddressSource::Earlier,
                other => other,
            };
            if let Some(check) = self.check.as_mut() {
                let places = check.places.entry(zone.clone()).or_default();
                let names = places.entry(server.address.ip()).or_default();
                names.insert(server.name.clone());
            }
            for question in self.probe_questions(zone) {
                let step = self.book.next_step();
                let (zone, server) = (zone.clone(), server.clone());
                let probe =
                    Probe { zone, server, question, parent, step, next_at: now, over: false };
                self.check.iter_mut().for_each(|check| check.probes.push(probe.clone()));
            }
        }
    }

    /// What a server of the zone is asked: its own servers, and with `all` what the user asked and
    /// which copy of the zone it holds.
    fn probe_questions(&self, zone: &Name) -> Vec<Question> {
        let mut questions = vec![Question::new(zone.clone(), RecordType::NS)];
        if self.config.all {
            let ours = self.book.names().into_iter().filter(|name| zone.zone_of(name));
            let kind = self.book.kind();
            questions.extend(ours.map(|name| Question::new(name, kind)));
            questions.push(Question::new(zone.clone(), RecordType::SOA));
            let mut seen = BTreeSet::new();
            questions.retain(|q| seen.insert((q.name.clone(), u16::from(q.kind))));
        }
        questions
    }

    /// Notes what the survey shows of each zone as a whole.
    pub(super) fn compare_copies(&mut self) {
        let Some(check) = self.check.as_ref() else { return };
        for (zone, (step, serials)) in &check.serials {
            if let (Some(least), Some(most)) = (serials.first(), serials.last())
                && least != most
            {
                let fault = Fault::SerialsDiffer { least: *least, most: *most };
                self.book.findings.note(fault, &name_text(zone), None, *step);
            }
        }
        for (zone, places) in &check.places {
            let names: BTreeSet<&Name> = places.values().flatten().collect();
            // One machine may have an address of each family.
            let of = |v4| places.keys().filter(|address| address.is_ipv4() == v4).count();
            let one_each = of(true) <= 1 && of(false) <= 1;
            let shared = places.values().any(|at| at.len() == names.len());
            if one_each && shared && names.len() > 1 {
                let step = self.delegations.get(zone).map_or(0, |delegation| delegation.step);
                self.book.findings.note(Fault::SingleAddress, &name_text(zone), None, step);
            }
        }
    }

    /// Goes on with the check; false: wait.
    pub(super) fn advance_check(&mut self, now: Instant) -> bool {
        let Some(check) = self.check.as_mut() else {
            self.close(now);
            return false;
        };
        check.walking_for = None;
        if let Some(next) = check.unresolved.pop_front() {
            let (name, kind, parent) = (next.name.clone(), next.kind, next.parent);
            let zone = name_text(&next.zone);
            check.walking_for = Some(next);
            return self.walk_for(now, name, kind, zone, parent);
        }
        let due: Vec<usize> = (0..check.probes.len())
            .filter(|at| !check.probes[*at].over && check.probes[*at].next_at <= now)
            .collect();
        for at in due {
            self.probe(now, at);
            if self.done {
                return false;
            }
        }
        let over = self.check.as_ref().is_none_or(|c| c.probes.iter().all(|probe| probe.over));
        // Who checks wants to know of the hints too.
        if over && self.prime.is_none() {
            self.close(now);
        }
        false
    }

    fn probe(&mut self, now: Instant, at: usize) {
        let Some(probe) = self.check.as_mut().and_then(|check| check.probes.get_mut(at)) else {
            return;
        };
        if probe.server.tries >= TRIES {
            probe.over = true;
            self.close_attempts(now, |attempt| attempt.owner == Owner::Probe(at));
            return;
        }
        probe.server.tries += 1;
        let question = probe.question.clone();
        let state = self.servers.get(probe.server.address);
        let tcp = self.config.tcp || state.case_lost;
        let plan = Plan {
            owner: Owner::Probe(at),
            step: probe.step,
            number: probe.server.tries,
            parent: Some(probe.parent).filter(|parent| *parent > 0),
            purpose: Purpose::Check { zone: name_text(&probe.zone) },
            zone: probe.zone.clone(),
            sent: question.clone(),
            meant: question,
            server: Server {
                name: name_text(&probe.server.name),
                address: probe.server.address,
                source: probe.server.source.clone(),
            },
            transport: if tcp { Transport::Tcp } else { Transport::Udp },
            edns: self.config.edns && !state.no_edns,
        };
        if let Some(due) = self.send(now, plan) {
            self.probe_waits(at, due);
        }
    }

    pub(super) fn probe_waits(&mut self, at: usize, until: Instant) {
        if let Some(probe) = self.check.as_mut().and_then(|check| check.probes.get_mut(at)) {
            probe.next_at = until;
        }
    }

    /// The probe was not sent.
    pub(super) fn probe_withdrawn(&mut self, at: usize, now: Instant) {
        if let Some(probe) = self.check.as_mut().and_then(|check| check.probes.get_mut(at)) {
            probe.server.tries = probe.server.tries.saturating_sub(1);
            probe.next_at = now;
        }
    }

    /// The server has said what it will.
    pub(super) fn probe_over(&mut self, now: Instant, at: usize) {
        if let Some(probe) = self.check.as_mut().and_then(|check| check.probes.get_mut(at)) {
            probe.over = true;
        }
        self.close_attempts(now, |attempt| attempt.owner == Owner::Probe(at));
    }

    pub(super) fn probe_replied(
        &mut self,
        now: Instant,
        at: usize,
        mut attempt: Attempt,
        reading: &Reading,
    ) {
        // What it says of the zone's servers is compared, not learned: the walk is over.
        super::reply::note_dropped(&mut attempt, reading);
        self.compare_sides(now, &attempt, reading);
        self.compare_own_address(now, at, &attempt, reading);
        let own = reading.kept.iter().filter(|kept| {
            let first = &kept.records[0];
            first.record_type() == RecordType::NS
                && first.name == attempt.zone
                && kept.rank >= Rank::Authority
        });
        let names: Vec<Name> = own.flat_map(|kept| targets_of(&kept.records)).collect();
        let told = reading.kept.iter().flat_map(|kept| &kept.records);
        for record in told.filter(|record| record.name == attempt.zone) {
            if let (RData::SOA(soa), Some(check)) = (&record.data, self.check.as_mut()) {
                let step = attempt.record.step;
                let zone = check.serials.entry(attempt.zone.clone());
                zone.or_insert((step, BTreeSet::new())).1.insert(soa.serial);
            }
        }
        if reading.class == Class::Answer && attempt.sent.kind == RecordType::NS {
            self.note_own_servers(&attempt.zone, names);
        }
        attempt.record.class = reading.class.clone();
        self.book.ended(now, attempt.record);
        self.probe_over(now, at);
    }

    /// A server whose address came from the zone above is asked for it too, where it did not say
    /// it beside the list of servers. That it has none is an answer.
    fn compare_own_address(
        &mut self,
        now: Instant,
        at: usize,
        attempt: &Attempt,
        reading: &Reading,
    ) {
        let (name, kind) = (&attempt.sent.name, attempt.sent.kind);
        if reading.class == Class::NoData && kind.is_ip_addr() {
            let step = attempt.record.step;
            self.compare_glue(now, &attempt.zone, (name, kind), Vec::new(), step);
        }
        if reading.class != Class::Answer || kind != RecordType::NS {
            return;
        }
        let known = |kind| {
            let probe = self.check.as_ref()?.probes.get(at)?;
            let server = &probe.server.name;
            let silent = addresses_of(&reading.kept, server, kind).is_none();
            let glue = self.glue_from_above(now, &attempt.zone, (server, kind)).is_some();
            (silent && glue).then(|| (probe.clone(), Question::new(server.clone(), kind)))
        };
        let wanted = [RecordType::A, RecordType::AAAA].map(known);
        for (probe, question) in wanted.into_iter().flatten() {
            let step = self.book.next_step();
            let Some(check) = self.check.as_mut() else { return };
            if !check.probes.iter().any(|probe| probe.question == question) {
                let mut server = probe.server.clone();
                server.tries = 0;
                check.probes.push(Probe { server, question, step, next_at: now, ..probe });
            }
        }
    }

    /// The address of a server was found for the check.
    pub(super) fn probe_found(&mut self, now: Instant, found: Vec<Candidate>) {
        let walked = self.check.as_mut().and_then(|check| check.walking_for.take());
        if let Some(Unresolved { zone, parent, name, .. }) = walked {
            if let Some(check) = self.check.as_mut().filter(|_| !found.is_empty()) {
                check.unresolved.retain(|other| other.name != name || other.zone != zone);
            }
            self.add_probes(now, &zone, parent, found);
        }
    }
}
