//! Immutable settings of a walk: how to walk, where to begin, the seed of its draws.

use super::WalkConfig;
use super::tasks::{Candidate, Order};
use crate::classify::may_ask;
use crate::event::AddressSource;
use crate::hints::Hints;
use hickory_proto::rr::{Name, RecordType};
use std::net::IpAddr;
use std::sync::Arc;
use wirelab::measure::draw::keyed;

/// The settings of a walk.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) config: WalkConfig,
    pub(super) hints: Arc<Hints>,
    pub(super) seed: u64,
}

impl Setup {
    /// Whether queries ask for signatures.
    pub(super) fn wants_proof(&self) -> bool {
        self.config.validate_at.is_some() && !self.hints.anchors.is_empty()
    }

    /// Whether servers at this address may be asked.
    pub(super) fn may_use(&self, address: IpAddr) -> bool {
        let family = if address.is_ipv4() { self.config.v4 } else { self.config.v6 };
        family && may_ask(address, self.config.public_only)
    }

    /// Types of address that this walk can use.
    pub(super) fn kinds(&self) -> impl Iterator<Item = RecordType> + use<> {
        let kinds = [(self.config.v4, RecordType::A), (self.config.v6, RecordType::AAAA)];
        kinds.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind)
    }

    /// The root servers named by the hints.
    pub(super) fn root_candidates(&self) -> Vec<Candidate> {
        let roots = self.hints.roots.iter().filter(|(_, address)| self.may_use(*address));
        let candidate = |(name, address): &(Name, IpAddr)| {
            Candidate::new(name.clone(), self.hints.endpoint(*address), AddressSource::Hints)
        };
        roots.map(candidate).collect()
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

    /// Order in which servers are tried, besides their measured speed.
    pub(super) fn order(&self) -> Order {
        let (tries_max, seed) = (self.config.limits.attempts, self.seed);
        Order { tries_max, seed, proof: self.wants_proof() }
    }

    /// Entropy for the ID and case bits of an attempt's query.
    pub(super) fn query_draw(&self, attempt: u32, step: u32) -> u64 {
        self.config.secret.map_or_else(
            || keyed(self.seed, u64::from(attempt) << 32 | u64::from(step)),
            |secret| secret.for_query(self.seed, attempt, step),
        )
    }
}
