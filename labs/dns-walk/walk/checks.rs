//! After the answer, asks every server of the zones on the way.
//!
//! A walk that is lucky meets no broken server, and a person wants to know of them. The answer is
//! neither changed nor delayed.

use super::cuts::{Beside, Cuts, compare_glue};
use super::event_log::EventLog;
use super::known::Known;
use super::prime::addresses_of;
use super::queries::{Attempt, Owner, Plan, carrier};
use super::setup::Setup;
use super::tasks::Candidate;
use crate::classify::{Classified, targets_of};
use crate::event::{AddressSource, Class, Purpose};
use crate::finding::{Fault, Findings};
use crate::text::{Question, name_text, record_text};
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
    /// The probe of the same server that must have its reply before this one is sent.
    first: Option<usize>,
}

/// A server whose address is not known yet.
#[derive(Clone, Debug)]
pub(super) struct Unresolved {
    pub(super) zone: Name,
    pub(super) name: Name,
    pub(super) kind: RecordType,
    pub(super) parent: u32,
}

/// Distinct replies of servers, and the step that saw each first.
type Seen<T> = (u32, BTreeSet<T>);

/// All probes.
#[derive(Debug, Default)]
pub(super) struct Check {
    unresolved: VecDeque<Unresolved>,
    walking_for: Option<Unresolved>,
    probes: Vec<Probe>,
    /// Serials of each zone, and the step that saw the first.
    serials: BTreeMap<Name, Seen<u32>>,
    /// Answers of a zone's servers to the user's question.
    answers: BTreeMap<(Name, String), Seen<Vec<String>>>,
    /// Addresses of each zone's servers, and the names at each.
    places: BTreeMap<Name, BTreeMap<IpAddr, BTreeSet<Name>>>,
}

impl Check {
    /// Plans a probe of every server whose address is known. The root's own servers are `roots`,
    /// where the user wants them asked too.
    pub(super) fn new(
        now: Instant,
        setup: &Setup,
        known: &Known,
        cuts: &Cuts,
        log: &mut EventLog,
        roots: Option<Vec<Candidate>>,
    ) -> Self {
        let mut check = Self::default();
        let mut found = Vec::new();
        for (zone, delegation) in cuts.iter() {
            if zone.iter().len() < LABELS_MIN && !setup.config.all {
                continue;
            }
            let names: BTreeSet<&Name> = delegation.above.union(&delegation.own).collect();
            for name in names {
                let parent = delegation.step;
                let addresses = known.addresses(now, setup, name);
                if addresses.is_empty() && !zone.zone_of(name) {
                    let of_kind = |kind| {
                        let (zone, name) = (zone.clone(), name.clone());
                        Unresolved { zone, name, kind, parent }
                    };
                    check.unresolved.extend(setup.kinds().map(of_kind));
                }
                found.push((zone.clone(), parent, addresses));
            }
        }
        found.extend(roots.map(|roots| (Name::root(), 0, roots)));
        for (zone, parent, addresses) in found {
            check.add(now, setup, log, &zone, parent, addresses);
        }
        check
    }

    /// When the next probe has waited long enough.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.probes.iter().filter(|one| self.may_ask(one)).map(|probe| probe.next_at).min()
    }

    /// Whether a probe is open, and does not wait for another.
    fn may_ask(&self, probe: &Probe) -> bool {
        !probe.over && probe.first.is_none_or(|first| self.probes[first].over)
    }

    /// Whether every server has given all its replies, or none.
    pub(super) fn is_over(&self) -> bool {
        self.probes.iter().all(|probe| probe.over)
    }

    /// The next server to walk for.
    pub(super) fn next_unresolved(&mut self) -> Option<Unresolved> {
        self.walking_for = self.unresolved.pop_front();
        self.walking_for.clone()
    }

    /// The address of a server was looked for.
    pub(super) fn resolved(
        &mut self,
        now: Instant,
        setup: &Setup,
        log: &mut EventLog,
        found: Vec<Candidate>,
    ) {
        let Some(Unresolved { zone, parent, name, .. }) = self.walking_for.take() else { return };
        if !found.is_empty() {
            self.unresolved.retain(|other| other.name != name || other.zone != zone);
        }
        self.add(now, setup, log, &zone, parent, found);
    }

    fn add(
        &mut self,
        now: Instant,
        setup: &Setup,
        log: &mut EventLog,
        zone: &Name,
        parent: u32,
        found: Vec<Candidate>,
    ) {
        for mut server in found {
            server.source = match server.source {
                AddressSource::Hints => AddressSource::Earlier,
                other => other,
            };
            let places = self.places.entry(zone.clone()).or_default();
            places.entry(server.address.ip()).or_default().insert(server.name.clone());
            let at = self.probes.len();
            for (number, question) in probe_questions(setup, log, zone).into_iter().enumerate() {
                let (step, zone, server) = (log.next_step(), zone.clone(), server.clone());
                self.probes.push(Probe {
                    zone,
                    server,
                    question,
                    parent,
                    step,
                    next_at: now,
                    over: false,
                    first: (number > 0 && !setup.config.all).then_some(at),
                });
            }
        }
    }

    /// The probes whose time has come.
    pub(super) fn due(&self, now: Instant) -> Vec<usize> {
        let probes = self.probes.iter().enumerate();
        let due = probes.filter(|(_, probe)| self.may_ask(probe) && probe.next_at <= now);
        due.map(|(at, _)| at).collect()
    }

    /// The next query of a probe; none where it gives up.
    pub(super) fn plan(&mut self, at: usize, setup: &Setup, known: &Known) -> Option<Plan> {
        let probe = self.probes.get_mut(at)?;
        if probe.server.tries >= TRIES {
            probe.over = true;
            // A server that does not reply has nothing more to say.
            let rest = self.probes.iter_mut().filter(|other| other.first == Some(at));
            rest.for_each(|other| other.over = true);
            return None;
        }
        probe.server.tries += 1;
        let (transport, edns) = carrier(setup, known.servers.get(probe.server.address));
        Some(Plan {
            owner: Owner::Probe(at),
            step: probe.step,
            number: probe.server.tries,
            parent: Some(probe.parent).filter(|parent| *parent > 0),
            purpose: Purpose::Check { zone: name_text(&probe.zone) },
            zone: probe.zone.clone(),
            sent: probe.question.clone(),
            meant: probe.question.clone(),
            server: probe.server.shown(),
            transport,
            edns,
            way: None,
        })
    }

    /// A query of the probe is on its way.
    pub(super) fn wait(&mut self, at: usize, until: Instant) {
        if let Some(probe) = self.probes.get_mut(at) {
            probe.next_at = until;
        }
    }

    /// The query of the probe was not sent.
    pub(super) fn take_back(&mut self, at: usize, now: Instant) {
        if let Some(probe) = self.probes.get_mut(at) {
            probe.server.tries = probe.server.tries.saturating_sub(1);
            probe.next_at = now;
        }
    }

    /// The server has given all its replies.
    pub(super) fn finish(&mut self, at: usize) {
        if let Some(probe) = self.probes.get_mut(at) {
            probe.over = true;
        }
    }

    /// Notes what the survey shows of each zone as a whole.
    pub(super) fn compare_copies(&self, cuts: &Cuts, findings: &mut Findings) {
        for (zone, (step, serials)) in &self.serials {
            if let (Some(least), Some(most)) = (serials.first(), serials.last())
                && least != most
            {
                let fault = Fault::SerialsDiffer { least: *least, most: *most };
                findings.note(fault, &name_text(zone), None, *step);
            }
        }
        for ((zone, subject), (step, answers)) in &self.answers {
            if answers.len() > 1 {
                let answers = answers.iter().map(|answer| answer.join(", ")).collect();
                let fault = Fault::AnswersDiffer { subject: subject.clone(), answers };
                findings.note(fault, &name_text(zone), None, *step);
            }
        }
        for (zone, places) in &self.places {
            let names: BTreeSet<&Name> = places.values().flatten().collect();
            // One machine may have an address of each family.
            let of = |v4| places.keys().filter(|address| address.is_ipv4() == v4).count();
            let one_each = of(true) <= 1 && of(false) <= 1;
            let shared = places.values().any(|at| at.len() == names.len());
            if one_each && shared && names.len() > 1 {
                let step = cuts.step_of(zone);
                findings.note(Fault::SingleAddress, &name_text(zone), None, step);
            }
        }
    }

    /// Compares what a server says of its zone. Nothing of it is learned: the walk is over.
    pub(super) fn replied(
        &mut self,
        at: usize,
        beside: Beside<'_>,
        cuts: &mut Cuts,
        log: &mut EventLog,
        attempt: &Attempt,
        reading: &Classified,
    ) {
        cuts.compare_sides(beside, &mut log.findings, attempt, reading);
        self.compare_own_address(at, beside, cuts, log, attempt, reading);
        let own = reading.kept.iter().filter(|kept| {
            let first = &kept.records[0];
            first.record_type() == RecordType::NS
                && first.name == attempt.zone
                && kept.rank >= Rank::Authority
        });
        let names: Vec<Name> = own.flat_map(|kept| targets_of(&kept.records)).collect();
        let records = reading.kept.iter().flat_map(|kept| &kept.records);
        for record in records.filter(|record| record.name == attempt.zone) {
            if let RData::SOA(soa) = &record.data {
                let zone = self.serials.entry(attempt.zone.clone());
                zone.or_insert((attempt.record.step, BTreeSet::new())).1.insert(soa.serial);
            }
        }
        self.note_answer(log.kind(), attempt, reading);
        if reading.class == Class::Answer && attempt.sent.kind == RecordType::NS {
            cuts.note_own_servers(&attempt.zone, names);
        }
    }

    /// Notes what a server answers to the user's question, to compare it with what others do.
    fn note_answer(&mut self, kind: RecordType, attempt: &Attempt, reading: &Classified) {
        let answer = match &reading.class {
            _ if attempt.sent.kind != kind => return,
            Class::NoData => vec!["no such record".to_owned()],
            Class::NxDomain => vec!["no such name".to_owned()],
            Class::Answer | Class::Alias { .. } => {
                let sets = reading.kept.iter().filter(|set| set.rank == Rank::Answer);
                let records = sets.flat_map(|set| &set.records);
                let mut data: Vec<String> =
                    records.map(|record| record_text(record).data).collect();
                data.sort_unstable();
                data
            }
            _ => return,
        };
        let key = (attempt.zone.clone(), attempt.meant.text().to_string());
        let known = self.answers.entry(key);
        known.or_insert((attempt.record.step, BTreeSet::new())).1.insert(answer);
    }

    /// A server whose address came from the zone above is asked for it too, where it did not say
    /// it beside the list of servers. That it has none is an answer.
    fn compare_own_address(
        &mut self,
        at: usize,
        beside: Beside<'_>,
        cuts: &Cuts,
        log: &mut EventLog,
        attempt: &Attempt,
        reading: &Classified,
    ) {
        let (zone, name, kind) = (&attempt.zone, &attempt.sent.name, attempt.sent.kind);
        if reading.class == Class::NoData && kind.is_ip_addr() {
            let glue = cuts.glue_from_above(beside, zone, (name, kind));
            let step = attempt.record.step;
            compare_glue(&mut log.findings, glue, zone, name, Vec::new(), step);
        }
        if reading.class != Class::Answer || kind != RecordType::NS {
            return;
        }
        let Some(probe) = self.probes.get(at).cloned() else { return };
        for kind in [RecordType::A, RecordType::AAAA] {
            let server = &probe.server.name;
            let silent = addresses_of(&reading.kept, server, kind).is_none();
            if !silent || cuts.glue_from_above(beside, zone, (server, kind)).is_none() {
                continue;
            }
            let question = Question::new(server.clone(), kind);
            let step = log.next_step();
            if !self.probes.iter().any(|probe| probe.question == question) {
                let mut server = probe.server.clone();
                server.tries = 0;
                let next_at = beside.now;
                let (over, first) = (false, None);
                let probe = Probe { server, question, step, next_at, over, first, ..probe.clone() };
                self.probes.push(probe);
            }
        }
    }
}

/// What a server of the zone is asked: its own servers, what the user asked, and with `all` which
/// copy of the zone it holds.
fn probe_questions(setup: &Setup, log: &EventLog, zone: &Name) -> Vec<Question> {
    let mut questions = vec![Question::new(zone.clone(), RecordType::NS)];
    let ours = log.names().into_iter().filter(|name| zone.zone_of(name));
    let kind = log.kind();
    questions.extend(ours.map(|name| Question::new(name, kind)));
    if setup.config.all {
        questions.push(Question::new(zone.clone(), RecordType::SOA));
    }
    let mut seen = BTreeSet::new();
    questions.retain(|q| seen.insert((q.name.clone(), u16::from(q.kind))));
    questions
}
