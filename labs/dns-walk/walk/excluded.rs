//! Addresses of servers that a walk leaves out, because this host or its user has no use for them.
//!
//! A walk over one family says what it did not try. What would have been left out anyhow does not
//! count.

use super::setup::Setup;
use crate::cache::Cache;
use crate::classify::{may_ask, targets_of};
use crate::event::{Family, SkipReason, Skipped};
use crate::trust::Rank;
use hickory_proto::rr::{Name, RecordType};
use std::net::IpAddr;
use wirelab::measure::Instant;

/// Addresses of the family that a walk does not use, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Excluded(Vec<IpAddr>);

impl Excluded {
    /// Notes the addresses of a zone's servers that are of the other family.
    pub(super) fn note(&mut self, now: Instant, setup: &Setup, cache: &Cache, zone: &Name) {
        let kind = match (setup.config.v4, setup.config.v6) {
            (true, false) => RecordType::AAAA,
            (false, _) => RecordType::A,
            (true, true) => return,
        };
        let mut found: Vec<IpAddr> = Vec::new();
        if let Some(entry) = cache.get(now, zone, RecordType::NS, Rank::Referral) {
            for name in targets_of(&entry.records) {
                let known = cache.get(now, &name, kind, Rank::Glue);
                let records = known.into_iter().flat_map(|entry| &entry.records);
                found.extend(records.filter_map(|record| record.data.ip_addr()));
            }
        } else if zone.is_root() {
            let of_kind = |ip: &IpAddr| ip.is_ipv4() == (kind == RecordType::A);
            let hints = setup.hints.roots.iter().map(|(_, address)| *address);
            found.extend(hints.filter(of_kind));
        }
        for address in found {
            if may_ask(address, setup.config.public_only) && !self.0.contains(&address) {
                self.0.push(address);
            }
        }
    }

    /// Excluded servers, for the summary.
    pub(super) fn count(&self, why: SkipReason) -> Option<Skipped> {
        let family = if self.0.first()?.is_ipv4() { Family::IPv4 } else { Family::IPv6 };
        let addresses = u32::try_from(self.0.len());
        let addresses = addresses.expect("invariant: every query brings a few at most");
        Some(Skipped { family, addresses, why })
    }
}
