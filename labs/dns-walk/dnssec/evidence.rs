//! Evidence from replies: RRsets with their signatures, absences with their proofs.

use super::verified::Verified;
use super::{proves, rrsig};
use crate::dname::ancestors;
use crate::limits::{Limits, at_most};
use crate::text::Question;
use hickory_proto::rr::{Name, Record, RecordType};
use std::collections::BTreeMap;
use std::time::Duration;
use wirelab::measure::Instant;

/// Data of a reply for a name and type, with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Records.
    Records {
        /// Of one name and type.
        set: Vec<Record>,
        /// Signatures over them.
        signatures: Vec<Record>,
        /// NSEC and NSEC3 records and their signatures: a wildcard needs them.
        proof: Vec<Record>,
    },
    /// That there are none.
    Absence {
        /// The whole name is not there.
        whole_name: bool,
        /// SOA, NSEC and NSEC3 records and their signatures.
        proof: Vec<Record>,
    },
    /// The question could not be answered.
    Failed {
        /// In words.
        because: String,
    },
}

impl Evidence {
    /// The records that prove an absence, or that a wildcard applies.
    #[must_use]
    pub fn proof(&self) -> &[Record] {
        match self {
            Self::Records { proof, .. } | Self::Absence { proof, .. } => proof,
            Self::Failed { .. } => &[],
        }
    }
}

/// Evidence, and where it comes from.
#[derive(Clone, Debug)]
pub struct Held {
    /// What.
    pub evidence: Evidence,
    /// The step that learned it.
    pub step: u32,
    /// It is kept until then.
    pub expires: Instant,
}

/// The sections of a reply that prove something, as far as the server may speak of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    /// Signatures of the answer section.
    pub answers: Vec<Record>,
    /// The authority section: SOA, DS, NSEC, NSEC3 and signatures.
    pub authorities: Vec<Record>,
}

impl Sections {
    /// Signatures over the set of this name and type, wherever they stand.
    fn over(&self, name: &Name, kind: RecordType) -> Vec<Record> {
        let fits = |record: &&Record| {
            record.name == *name
                && rrsig(record).is_some_and(|signature| signature.input().type_covered == kind)
        };
        self.answers.iter().chain(&self.authorities).filter(fits).cloned().collect()
    }

    /// Everything that can prove an absence.
    fn proof(&self) -> Vec<Record> {
        let soa = |record: &&Record| record.record_type() == RecordType::SOA;
        let fits = |record: &&Record| proves(record.record_type()) || soa(record);
        self.authorities.iter().filter(fits).cloned().collect()
    }

    /// Evidence of a set that the reply holds.
    #[must_use]
    pub fn of_set(&self, set: &[Record]) -> Option<Evidence> {
        let first = set.first()?;
        let signatures = self.over(&first.name, first.record_type());
        Some(Evidence::Records { set: set.to_vec(), signatures, proof: self.proof() })
    }

    /// Evidence of an absence.
    #[must_use]
    pub fn of_absence(&self, whole_name: bool) -> Evidence {
        Evidence::Absence { whole_name, proof: self.proof() }
    }

    /// DS data of a referral for the zone that it leads to, if any.
    #[must_use]
    pub fn of_cut(&self, cut: &Name) -> Option<Evidence> {
        let is_ds =
            |record: &&Record| record.record_type() == RecordType::DS && record.name == *cut;
        let set: Vec<Record> = self.authorities.iter().filter(is_ds).cloned().collect();
        if !set.is_empty() {
            return self.of_set(&set);
        }
        let proof = self.proof();
        let any = proof
            .iter()
            .any(|record| matches!(record.record_type(), RecordType::NSEC | RecordType::NSEC3));
        any.then_some(Evidence::Absence { whole_name: false, proof })
    }
}

/// Everything held.
#[derive(Clone, Debug, Default)]
pub struct Store {
    held: BTreeMap<(Name, Option<u16>), Held>,
    /// Zones, and the zone above that referred to them.
    cuts: BTreeMap<Name, (Name, Instant)>,
    verified: Verified,
}

impl Store {
    /// Cached verifications of the evidence held.
    #[must_use]
    pub const fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Keeps what a reply says of a name and type; no type where the whole name is not there.
    pub fn keep(
        &mut self,
        now: Instant,
        limits: &Limits,
        about: (&Name, Option<RecordType>),
        evidence: Evidence,
        step: u32,
    ) {
        let most = at_most(limits.cache_entries);
        if self.held.len() >= most {
            self.held.retain(|_, held| held.expires > now);
        }
        if self.held.len() >= most {
            return;
        }
        let least = match &evidence {
            Evidence::Records { set, .. } => set.iter().map(|record| record.ttl).min(),
            Evidence::Absence { proof, .. } => proof.iter().map(|record| record.ttl).min(),
            Evidence::Failed { .. } => None,
        };
        let expires = now + kept_for(limits, least.unwrap_or(0));
        let (name, kind) = about;
        self.held.insert((name.clone(), kind.map(u16::from)), Held { evidence, step, expires });
    }

    /// Notes that the servers of `above` referred to those of `cut`, for so many seconds.
    pub fn note_cut(
        &mut self,
        now: Instant,
        limits: &Limits,
        cut: &Name,
        above: &Name,
        ttl_s: u32,
    ) {
        let most = at_most(limits.cache_entries);
        if self.cuts.len() >= most {
            self.cuts.retain(|_, (_, expires)| *expires > now);
        }
        if self.cuts.len() < most || self.cuts.contains_key(cut) {
            let expires = now + kept_for(limits, ttl_s);
            self.cuts.insert(cut.clone(), (above.clone(), expires));
        }
    }

    /// Removes the evidence for a name and type.
    pub fn forget(&mut self, question: &Question) {
        let kind = Some(u16::from(question.kind));
        self.held
            .retain(|(name, held), _| *name != question.name || (*held != kind && held.is_some()));
    }

    /// Forgets what a step learned.
    pub fn forget_step(&mut self, step: u32) {
        self.held.retain(|_, held| held.step != step);
    }

    /// Evidence for a name and type; absence of the name counts.
    #[must_use]
    pub fn get(&self, now: Instant, name: &Name, kind: RecordType) -> Option<&Held> {
        let at = |kind| self.at(now, name, kind);
        at(Some(u16::from(kind))).or_else(|| at(None))
    }

    fn at(&self, now: Instant, name: &Name, kind: Option<u16>) -> Option<&Held> {
        self.held.get(&(name.clone(), kind)).filter(|held| held.expires > now)
    }

    /// Evidence of absence for a question: of the type, or of a name above.
    #[must_use]
    pub fn absence(
        &self,
        now: Instant,
        question: &Question,
        whole_name: bool,
    ) -> Option<(Name, &Held)> {
        let name = &question.name;
        if !whole_name {
            let held = self.at(now, name, Some(u16::from(question.kind)))?;
            return Some((name.clone(), held));
        }
        ancestors(name).find_map(|name| Some((name.clone(), self.at(now, &name, None)?)))
    }

    /// The next zone below `zone` on the way to `name` that a referral led to.
    #[must_use]
    pub fn cut_towards(&self, now: Instant, zone: &Name, name: &Name) -> Option<Name> {
        let live = |cut: &Name| {
            let known = self.cuts.get(cut).filter(|(_, expires)| *expires > now);
            known.is_some_and(|(above, _)| above == zone)
        };
        let below = |cut: &Name| zone.zone_of(cut) && cut != zone;
        ancestors(name).filter(below).find(live)
    }

    /// The deepest zone strictly below `zone`, at or above `name`, that a referral led to.
    #[must_use]
    pub fn deepest_cut(&self, now: Instant, zone: &Name, name: &Name) -> Option<Name> {
        let live = |cut: &Name| self.cuts.get(cut).is_some_and(|(_, expires)| *expires > now);
        ancestors(name).find(|cut| cut != zone && zone.zone_of(cut) && live(cut))
    }
}

/// How long something is kept. The walk that learned it may use it in any case, as with the cache;
/// it takes no longer than its own limit.
fn kept_for(limits: &Limits, ttl_s: u32) -> Duration {
    let floor_s = limits.time().as_secs() + 1;
    Duration::from_secs(u64::from(ttl_s.min(limits.ttl_s)).max(floor_s))
}
