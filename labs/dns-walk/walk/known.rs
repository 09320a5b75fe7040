//! Knowledge of a running walk: records, speeds of servers, failed questions.

use super::setup::Setup;
use super::tasks::{Candidate, Tasks};
use crate::cache::Cache;
use crate::classify::targets_of;
use crate::event::AddressSource;
use crate::finding::Fault;
use crate::servers::Servers;
use crate::text::{Question, name_text};
use crate::trust::Rank;
use hickory_proto::rr::{Name, RecordType};
use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use wirelab::measure::Instant;

/// Records, servers, failures.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) cache: Cache,
    pub(super) servers: Servers,
    /// Questions about servers' addresses that have failed (RFC 9520: failures are kept).
    failed: BTreeSet<(Name, u16)>,
}

/// The servers of a zone.
#[derive(Debug, Default)]
pub(super) struct ZoneServers {
    pub(super) candidates: Vec<Candidate>,
    /// Servers without an address, and the type of address to walk for.
    pub(super) unresolved: VecDeque<(Name, RecordType)>,
    /// Why there is no use in walking for the address of others, and the step that named them.
    pub(super) faults: Vec<Fault>,
    pub(super) named_at: u32,
}

impl Known {
    /// Records that there is no address of this type.
    pub(super) fn note_failed(&mut self, question: &Question) {
        self.failed.insert((question.name.clone(), u16::from(question.kind)));
    }

    /// Whether there is no address of this type.
    pub(super) fn has_failed(&self, name: &Name, kind: RecordType) -> bool {
        self.failed.contains(&(name.clone(), u16::from(kind)))
    }

    /// Known addresses of a server, of any rank: used to send queries only.
    pub(super) fn addresses(&self, now: Instant, setup: &Setup, name: &Name) -> Vec<Candidate> {
        let mut found = Vec::new();
        for kind in setup.kinds() {
            let Some(entry) = self.cache.get(now, name, kind, Rank::Glue) else { continue };
            let step = entry.step;
            let source = match entry.rank {
                Rank::Glue => AddressSource::Glue { step },
                _ => AddressSource::Answer { step },
            };
            let addresses = entry.records.iter().filter_map(|record| record.data.ip_addr());
            for address in addresses.filter(|address| setup.may_use(*address)) {
                let endpoint = setup.hints.endpoint(address);
                found.push(Candidate::new(name.clone(), endpoint, source.clone()));
            }
        }
        found
    }

    /// Whether any address is known, be it of a family that this walk does not use.
    fn has_address(&self, now: Instant, name: &Name) -> bool {
        let known = |kind| self.cache.get(now, name, kind, Rank::Glue).is_some();
        known(RecordType::A) || known(RecordType::AAAA)
    }

    /// Whether the root's own list of servers is known.
    pub(super) fn has_root_list(&self, now: Instant) -> bool {
        self.cache.get(now, &Name::root(), RecordType::NS, Rank::Authority).is_some()
    }

    /// Zones whose servers are known, the deepest first, the root from the hints at the end.
    pub(super) fn zones(&self, now: Instant, name: &Name) -> Vec<Name> {
        let mut zones: Vec<Name> =
            self.cache.cuts(now, name).into_iter().map(|(zone, _)| zone).collect();
        if zones.last().is_none_or(|zone| !zone.is_root()) {
            zones.push(Name::root());
        }
        zones
    }

    /// Servers of a zone with an address, and those for whose address one must walk. Glue that was
    /// known before `started` may have expired since, which is no fault.
    pub(super) fn servers_of(
        &self,
        now: Instant,
        setup: &Setup,
        tasks: &Tasks,
        zone: &Name,
        started: Instant,
    ) -> ZoneServers {
        let hinted = || ZoneServers { candidates: setup.root_candidates(), ..Default::default() };
        let entry = self.cache.get(now, zone, RecordType::NS, Rank::Referral);
        let Some(entry) = entry else { return hinted() };
        let mut servers = ZoneServers { named_at: entry.step, ..Default::default() };
        for name in targets_of(&entry.records) {
            let mut known = self.addresses(now, setup, &name);
            if zone.is_root() {
                setup.add_hinted(&name, &mut known);
            }
            if known.is_empty() && !self.has_address(now, &name) {
                match hopeless(tasks, zone, &name) {
                    Some(fault) if entry.learned >= started => servers.faults.push(fault),
                    Some(_) => {}
                    None => {
                        let kinds = setup.kinds().filter(|kind| !self.has_failed(&name, *kind));
                        servers.unresolved.extend(kinds.map(|kind| (name.clone(), kind)));
                    }
                }
            }
            servers.candidates.extend(known);
        }
        // Addresses of the wanted kind first, for every server.
        servers.unresolved.make_contiguous().sort_by_key(|(_, kind)| u16::from(*kind));
        if zone.is_root() && servers.candidates.is_empty() {
            // The root's own names are nothing that one could walk for.
            let (faults, named_at) = (servers.faults, servers.named_at);
            return ZoneServers { faults, named_at, ..hinted() };
        }
        servers
    }

    /// Whether a reply to this minimised question is known, and that there is no cut at its name.
    pub(super) fn holds(&self, now: Instant, sent: &Question) -> bool {
        let known = |kind| self.cache.get(now, &sent.name, kind, Rank::Answer).is_some();
        known(sent.kind)
            || known(RecordType::CNAME)
            || self.cache.absence(now, sent).is_some_and(|absence| !absence.whole_name)
    }

    /// Whether what the chain looks for is kept: else it would ask without end. In the place of DS
    /// records an alias will do; where keys should be it is nothing.
    pub(super) fn holds_proof(&self, now: Instant, question: &Question) -> bool {
        let held = |kind| self.cache.store().get(now, &question.name, kind).is_some();
        held(question.kind) || (question.kind == RecordType::DS && held(RecordType::CNAME))
    }

    /// Whether the answer of a question is known, or that there is none.
    pub(super) fn holds_answer(&self, now: Instant, question: &Question) -> bool {
        let answered = |kind| self.cache.get(now, &question.name, kind, Rank::Answer).is_some();
        answered(question.kind)
            || answered(RecordType::CNAME)
            || self.cache.absence(now, question).is_some()
    }
}

/// Why there is no use in walking for this server's address.
fn hopeless(tasks: &Tasks, zone: &Name, name: &Name) -> Option<Fault> {
    let subject = name_text(name);
    if subject.trim_end_matches('.').parse::<Ipv4Addr>().is_ok() {
        return Some(Fault::NsIsAddress { subject });
    }
    if zone.zone_of(name) && !zone.is_root() {
        return Some(Fault::GlueMissing { subject });
    }
    tasks.waits_for(&subject).then_some(Fault::CyclicDependency { subject })
}
