//! The cuts between zones on the way: what the zone above says of a zone's servers, and the zone.

use super::prime::{addresses_of, compare_hints};
use super::queries::Attempt;
use crate::cache::{Cache, Entry};
use crate::classify::{Classified, targets_of};
use crate::finding::{Fault, Findings};
use crate::hints::Hints;
use crate::text::name_text;
use crate::trust::Rank;
use hickory_proto::rr::{Name, Record, RecordType};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use wirelab::measure::Instant;

/// The servers of a zone, as both sides name them.
#[derive(Clone, Debug, Default)]
pub(super) struct Delegation {
    pub(super) above: BTreeSet<Name>,
    /// Servers by the zone's own NS records; its servers may differ.
    pub(super) own: BTreeSet<Name>,
    own_known: bool,
    /// The step of the referral.
    pub(super) step: u32,
}

/// Addresses known elsewhere of the servers that a reply names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beside<'a> {
    pub(super) now: Instant,
    pub(super) cache: &'a Cache,
    pub(super) hints: &'a Hints,
}

/// The zones that the user's own question went through.
#[derive(Clone, Debug, Default)]
pub(super) struct Cuts(BTreeMap<Name, Delegation>);

impl Cuts {
    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Delegation)> {
        self.0.iter()
    }

    /// The step of the referral to a zone; 0 where there was none.
    pub(super) fn step_of(&self, zone: &Name) -> u32 {
        self.0.get(zone).map_or(0, |delegation| delegation.step)
    }

    /// Notes which servers a zone that the user's own question goes through has.
    pub(super) fn note_delegation(&mut self, zone: &Name, servers: Vec<Name>, step: u32) {
        let delegation = self.0.entry(zone.clone()).or_default();
        delegation.above.extend(servers);
        delegation.step = step;
    }

    /// Notes what a zone on the way says of its own servers.
    pub(super) fn note_own_servers(&mut self, zone: &Name, servers: Vec<Name>) {
        if let Some(delegation) = self.0.get_mut(zone) {
            delegation.own.extend(servers);
            delegation.own_known = true;
        }
    }

    /// Compares the names that both sides of each cut give.
    pub(super) fn compare(&self, findings: &mut Findings) {
        for (zone, delegation) in &self.0 {
            let text = name_text(zone);
            if delegation.above.len() == 1 {
                findings.note(Fault::SingleServer, &text, None, delegation.step);
            }
            if !delegation.own_known {
                continue;
            }
            for name in delegation.above.difference(&delegation.own) {
                let fault = Fault::NsNotInChild { subject: name_text(name) };
                findings.note(fault, &text, None, delegation.step);
            }
            for name in delegation.own.difference(&delegation.above) {
                let fault = Fault::NsNotInParent { subject: name_text(name) };
                findings.note(fault, &text, None, delegation.step);
            }
        }
    }

    /// Compares what a reply says of a zone's own servers with what is known from elsewhere: from
    /// the zone above, or from the hints. To be called before the reply is learned over that.
    pub(super) fn compare_sides(
        &self,
        beside: Beside<'_>,
        findings: &mut Findings,
        attempt: &Attempt,
        reading: &Classified,
    ) {
        let step = attempt.record.step;
        for set in &reading.kept {
            let (owner, kind) = (&set.records[0].name, set.records[0].record_type());
            if kind == RecordType::NS && set.rank >= Rank::Authority {
                self.compare_ttls(beside, findings, &set.records, step);
                if owner.is_root() && set.rank == Rank::Answer {
                    let faults = compare_hints(beside.hints, &set.records, &reading.kept);
                    faults.into_iter().for_each(|fault| findings.note(fault, ".", None, step));
                }
                for name in targets_of(&set.records) {
                    for kind in [RecordType::A, RecordType::AAAA] {
                        if let Some(own) = addresses_of(&reading.kept, &name, kind) {
                            let glue = self.glue_from_above(beside, owner, (&name, kind));
                            compare_glue(findings, glue, owner, &name, own, step);
                        }
                    }
                }
            } else if kind.is_ip_addr()
                && set.rank == Rank::Answer
                && let Some(own) = addresses_of(&reading.kept, owner, kind)
            {
                let glue = self.glue_from_above(beside, &attempt.zone, (owner, kind));
                compare_glue(findings, glue, &attempt.zone, owner, own, step);
            }
        }
    }

    fn compare_ttls(&self, beside: Beside<'_>, findings: &mut Findings, own: &[Record], step: u32) {
        let zone = &own[0].name;
        let known = beside.cache.get(beside.now, zone, RecordType::NS, Rank::Referral);
        let from_above = |entry: &&Entry| entry.rank == Rank::Referral;
        let Some(above) = known.filter(from_above).filter(|_| self.0.contains_key(zone)) else {
            return;
        };
        let ttl = |records: &[Record]| records.iter().map(|record| record.ttl).min();
        if let (Some(above_s), Some(own_s)) = (ttl(&above.records), ttl(own))
            && above_s != own_s
        {
            let fault = Fault::TtlDiffers { above_s, own_s };
            findings.note(fault, &name_text(zone), None, step);
        }
    }

    /// The addresses of a server inside its zone that came with the referral to the zone.
    pub(super) fn glue_from_above<'a>(
        &self,
        beside: Beside<'a>,
        zone: &Name,
        (server, kind): (&Name, RecordType),
    ) -> Option<&'a Entry> {
        let entry = beside.cache.get(beside.now, server, kind, Rank::Glue)?;
        let cut = self.0.get(zone).filter(|_| zone.zone_of(server))?;
        (entry.rank == Rank::Glue && entry.step == cut.step).then_some(entry)
    }
}

/// Compares a server's addresses of one family, sorted, as its own zone has them with its glue.
/// Missing glue is not a difference: the referral may have had no room for it.
pub(super) fn compare_glue(
    findings: &mut Findings,
    glue: Option<&Entry>,
    zone: &Name,
    server: &Name,
    own: Vec<IpAddr>,
    step: u32,
) {
    let Some(glue) = glue else { return };
    let mut above: Vec<IpAddr> =
        glue.records.iter().filter_map(|record| record.data.ip_addr()).collect();
    above.sort_unstable();
    if above != own {
        let fault = Fault::GlueDiffers { subject: name_text(server), above, own };
        findings.note(fault, &name_text(zone), None, step);
    }
}
