//! Addresses of servers that a walk leaves out, because this host or its user has no use for them.
//!
//! It exists so that a walk over one family says what it did not try. It must never count what
//! would have been left out anyhow.

use super::Walk;
use crate::classify::{may_ask, targets_of};
use crate::event::{Family, Skipped};
use crate::trust::Rank;
use hickory_proto::rr::{Name, RecordType};
use std::net::IpAddr;
use wirelab::measure::Instant;

impl Walk {
    /// Notes the addresses of a zone's servers that are of the other family.
    pub(super) fn note_skipped(&mut self, now: Instant, zone: &Name) {
        let kind = match (self.config.v4, self.config.v6) {
            (true, false) => RecordType::AAAA,
            (false, _) => RecordType::A,
            (true, true) => return,
        };
        let mut found: Vec<IpAddr> = Vec::new();
        if let Some(entry) = self.cache.get(now, zone, RecordType::NS, Rank::Referral) {
            for name in targets_of(&entry.records) {
                let known = self.cache.get(now, &name, kind, Rank::Glue);
                let records = known.into_iter().flat_map(|entry| &entry.records);
                found.extend(records.filter_map(|record| record.data.ip_addr()));
            }
        } else if zone.is_root() {
            let of_kind = |ip: &IpAddr| ip.is_ipv4() == (kind == RecordType::A);
            let hints = self.hints.roots.iter().map(|(_, address)| *address);
            found.extend(hints.filter(of_kind));
        }
        for address in found {
            if may_ask(address, self.config.public_only) && !self.skipped.contains(&address) {
                self.skipped.push(address);
            }
        }
    }

    /// What was left out, for the summary.
    pub(super) fn count_skipped(&self) -> Option<Skipped> {
        let family = if self.skipped.first()?.is_ipv4() { Family::IPv4 } else { Family::IPv6 };
        let addresses = u32::try_from(self.skipped.len()).unwrap_or(u32::MAX);
        Some(Skipped { family, addresses, why: self.config.left_out })
    }
}
