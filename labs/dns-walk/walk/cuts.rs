//! The cuts between zones on the way: what the zone above says of a zone's servers, and the zone.
//!
//! It exists because the two drift apart, and nobody sees it until a server is taken down. It must
//! never compare what one side did not say.

use super::prime::addresses_of;
use super::{Attempt, Walk};
use crate::cache::Entry;
use crate::classify::{Reading, targets_of};
use crate::finding::Fault;
use crate::text::name_text;
use crate::trust::Rank;
use hickory_proto::rr::{Name, Record, RecordType};
use std::collections::BTreeSet;
use std::net::IpAddr;
use wirelab::measure::Instant;

/// The servers of a zone, as both sides name them.
#[derive(Clone, Debug, Default)]
pub(super) struct Delegation {
    pub(super) above: BTreeSet<Name>,
    /// What the zone itself said, and at which step; each server may differ.
    pub(super) own: BTreeSet<Name>,
    own_known: bool,
    /// The step of the referral.
    pub(super) step: u32,
}

impl Walk {
    /// Notes who serves a zone that the user's own question goes through.
    pub(super) fn note_delegation(&mut self, zone: &Name, servers: Vec<Name>, step: u32) {
        let delegation = self.delegations.entry(zone.clone()).or_default();
        delegation.above.extend(servers);
        delegation.step = step;
    }

    /// The zone of `delegations` that an NS record set of this owner speaks for.
    pub(super) fn note_own_servers(&mut self, zone: &Name, servers: Vec<Name>) {
        if let Some(delegation) = self.delegations.get_mut(zone) {
            delegation.own.extend(servers);
            delegation.own_known = true;
        }
    }

    /// Compares the names that both sides of each cut give.
    pub(super) fn compare_delegations(&mut self) {
        for (zone, delegation) in &self.delegations {
            let text = name_text(zone);
            if delegation.above.len() == 1 {
                self.book.findings.note(Fault::SingleServer, &text, None, delegation.step);
            }
            if !delegation.own_known {
                continue;
            }
            for name in delegation.above.difference(&delegation.own) {
                let fault = Fault::NsNotInChild { subject: name_text(name) };
                self.book.findings.note(fault, &text, None, delegation.step);
            }
            for name in delegation.own.difference(&delegation.above) {
                let fault = Fault::NsNotInParent { subject: name_text(name) };
                self.book.findings.note(fault, &text, None, delegation.step);
            }
        }
    }

    /// Compares what a reply says of a zone's own servers with what is known from elsewhere: from
    /// the zone above, or from the hints. To be called before the reply is learned over that.
    pub(super) fn compare_sides(&mut self, now: Instant, attempt: &Attempt, reading: &Reading) {
        let step = attempt.record.step;
        for set in &reading.kept {
            let (owner, kind) = (&set.records[0].name, set.records[0].record_type());
            if kind == RecordType::NS && set.rank >= Rank::Authority {
                self.compare_ttls(now, &set.records, step);
                if owner.is_root() && set.rank == Rank::Answer {
                    self.compare_hints(&set.records, &reading.kept, step);
                }
                for name in targets_of(&set.records) {
                    for kind in [RecordType::A, RecordType::AAAA] {
                        if let Some(own) = addresses_of(&reading.kept, &name, kind) {
                            self.compare_glue(now, owner, (&name, kind), own, step);
                        }
                    }
                }
            } else if kind.is_ip_addr()
                && set.rank == Rank::Answer
                && let Some(own) = addresses_of(&reading.kept, owner, kind)
            {
                self.compare_glue(now, &attempt.zone, (owner, kind), own, step);
            }
        }
    }

    fn compare_ttls(&mut self, now: Instant, own: &[Record], step: u32) {
        let zone = &own[0].name;
        let known = self.cache.get(now, zone, RecordType::NS, Rank::Referral);
        let from_above = |entry: &&Entry| entry.rank == Rank::Referral;
        let Some(above) = known.filter(from_above).filter(|_| self.delegations.contains_key(zone))
        else {
            return;
        };
        let ttl = |records: &[Record]| records.iter().map(|record| record.ttl).min();
        if let (Some(above_s), Some(own_s)) = (ttl(&above.records), ttl(own))
            && above_s != own_s
        {
            let fault = Fault::TtlDiffers { above_s, own_s };
            self.book.findings.note(fault, &name_text(zone), None, step);
        }
    }

    /// Compares a server's addresses of one family, sorted, as its own zone has them with its glue.
    /// Glue that is missing is no difference: a referral need not have had room for it.
    pub(super) fn compare_glue(
        &mut self,
        now: Instant,
        zone: &Name,
        of: (&Name, RecordType),
        own: Vec<IpAddr>,
        step: u32,
    ) {
        let Some(glue) = self.glue_from_above(now, zone, of) else { return };
        let mut above: Vec<IpAddr> =
            glue.records.iter().filter_map(|record| record.data.ip_addr()).collect();
        above.sort_unstable();
        if above != own {
            let fault = Fault::GlueDiffers { subject: name_text(of.0), above, own };
            self.book.findings.note(fault, &name_text(zone), None, step);
        }
    }

    /// The addresses of a server inside its zone that came with the referral to the zone.
    pub(super) fn glue_from_above(
        &self,
        now: Instant,
        zone: &Name,
        (server, kind): (&Name, RecordType),
    ) -> Option<&Entry> {
        let entry = self.cache.get(now, server, kind, Rank::Glue)?;
        let cut = self.delegations.get(zone).filter(|_| zone.zone_of(server))?;
        (entry.rank == Rank::Glue && entry.step == cut.step).then_some(entry)
    }
}
