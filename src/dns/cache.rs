//! What is known, since which step, for how long, and how far it is believed.
//!
//! It exists so that a walk asks nothing twice, and can say where each thing it knows comes from.
//! It must never give an address that came with a referral as an answer.

use super::dnssec::evidence::Store;
use super::event::{DropReason, Rank};
use super::limits::Limits;
use super::question::Question;
use crate::measure::Instant;
use hickory_proto::rr::{Name, Record, RecordType};
use std::collections::BTreeMap;
use std::time::Duration;

/// A record that may not be kept may yet be used by the walk that learned it (RFC 1035 §3.2.1: "the
/// transaction in progress"); a walk seldom takes longer than this.
const TTL_FLOOR_S: u32 = 5;

/// Records of one name and type.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The records, never none.
    pub records: Vec<Record>,
    /// How far they are believed.
    pub rank: Rank,
    /// The step that learned them.
    pub step: u32,
    /// When they were learned.
    pub learned: Instant,
    /// They are believed until then.
    pub expires: Instant,
}

/// That something is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The name itself does not exist (else: it has no such record).
    pub whole_name: bool,
    /// The step that learned it.
    pub step: u32,
    /// It is believed until then.
    pub expires: Instant,
}

/// Everything known.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    entries: BTreeMap<(Name, u16), Entry>,
    absences: BTreeMap<(Name, Option<u16>), Absence>,
    /// What proves it.
    store: Store,
}

impl Cache {
    /// What proves what is known.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    pub(super) const fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Entries of all sorts, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() + self.absences.len()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Learns the records of one name and type; the least of their TTLs counts (RFC 2181 §5.2).
    ///
    /// # Errors
    /// Where what is known is to be believed more, or there is no room.
    pub fn learn(
        &mut self,
        now: Instant,
        limits: &Limits,
        records: Vec<Record>,
        rank: Rank,
        step: u32,
    ) -> Result<(), DropReason> {
        let Some(first) = records.first() else { return Ok(()) };
        let key = (first.name.clone(), u16::from(first.record_type()));
        let least = records.iter().map(|record| record.ttl).min().unwrap_or(0);
        let ttl_s = least.clamp(TTL_FLOOR_S, limits.ttl_s.max(TTL_FLOOR_S));
        let mut expires = now + Duration::from_secs(u64::from(ttl_s));
        if let Some(known) = self.entries.get(&key).filter(|known| known.expires > now) {
            if known.rank > rank {
                return Err(DropReason::Outranked);
            }
            // What a zone says of its own servers must not outlive the delegation (the ghost
            // domains of Jiang et al., NDSS 2012).
            if first.record_type() == RecordType::NS && known.rank < rank {
                expires = expires.min(known.expires);
            }
        } else {
            self.make_room(now, limits)?;
        }
        self.entries.insert(key, Entry { records, rank, step, learned: now, expires });
        Ok(())
    }

    /// Learns that something is not there; `kind` is absent where the whole name is.
    pub fn learn_absence(
        &mut self,
        now: Instant,
        limits: &Limits,
        name: &Name,
        kind: Option<RecordType>,
        ttl_s: u32,
        step: u32,
    ) {
        if self.make_room(now, limits).is_err() {
            return;
        }
        let ttl = Duration::from_secs(u64::from(ttl_s.min(limits.negative_ttl_s)));
        let absence = Absence { whole_name: kind.is_none(), step, expires: now + ttl };
        self.absences.insert((name.clone(), kind.map(u16::from)), absence);
    }

    fn make_room(&mut self, now: Instant, limits: &Limits) -> Result<(), DropReason> {
        let most = usize::try_from(limits.cache_entries).unwrap_or(usize::MAX);
        if self.len() >= most {
            self.entries.retain(|_, entry| entry.expires > now);
            self.absences.retain(|_, absence| absence.expires > now);
        }
        if self.len() >= most { Err(DropReason::OverLimit) } else { Ok(()) }
    }

    /// Makes room where less than an eighth of `most` is free: what has expired goes, then answers,
    /// then what expires first. Servers of zones stay longest: every name below needs them.
    pub fn shed(&mut self, now: Instant, most: usize) {
        let full = most - most / 8;
        if self.len() < full {
            return;
        }
        self.entries.retain(|_, entry| entry.expires > now);
        self.absences.retain(|_, absence| absence.expires > now);
        let half = most / 2;
        if self.len() > half {
            self.absences.clear();
            self.entries.retain(|(_, kind), entry| {
                *kind == u16::from(RecordType::NS) || entry.rank < Rank::Answer
            });
        }
        if self.len() > half {
            let mut ends: Vec<Instant> = self.entries.values().map(|entry| entry.expires).collect();
            let at = ends.len() - half;
            let (_, last, _) = ends.select_nth_unstable(at);
            let last = *last;
            self.entries.retain(|_, entry| entry.expires > last);
        }
    }

    /// The records of a name and type that are believed at least as far as `rank`.
    #[must_use]
    pub fn get(&self, now: Instant, name: &Name, kind: RecordType, rank: Rank) -> Option<&Entry> {
        let entry = self.entries.get(&(name.clone(), u16::from(kind)))?;
        (entry.expires > now && entry.rank >= rank).then_some(entry)
    }

    /// Whether the question is known to have no answer. Below a name that does not exist there is
    /// nothing (RFC 8020).
    #[must_use]
    pub fn absence(&self, now: Instant, question: &Question) -> Option<Absence> {
        let known = |name: &Name, kind| self.absences.get(&(name.clone(), kind)).copied();
        let exact = known(&question.name, Some(u16::from(question.kind)));
        let above = || ancestors(&question.name).find_map(|name| known(&name, None));
        exact.or_else(above).filter(|absence| absence.expires > now)
    }

    /// The zones above `name` whose servers are known, the deepest first.
    #[must_use]
    pub fn cuts(&self, now: Instant, name: &Name) -> Vec<(Name, &Entry)> {
        let live = |entry: &&Entry| entry.expires > now && entry.rank >= Rank::Referral;
        let mut cuts = Vec::new();
        for zone in ancestors(name) {
            let key = (zone, u16::from(RecordType::NS));
            if let Some(entry) = self.entries.get(&key).filter(live) {
                cuts.push((key.0, entry));
            }
        }
        cuts
    }
}

/// The name and every name above it, the root last.
pub(super) fn ancestors(name: &Name) -> impl Iterator<Item = Name> + use<> {
    let mut next = Some(name.clone());
    std::iter::from_fn(move || {
        let name = next.take()?;
        next = (!name.is_root()).then(|| name.base_name());
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::RData;
    use hickory_proto::rr::rdata::{A, NS};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn address(text: &str, ttl: u32, last: u8) -> Vec<Record> {
        vec![Record::from_rdata(name(text), ttl, RData::A(A::new(192, 0, 2, last)))]
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn glue_gives_way_to_an_answer_and_is_never_one() {
        let (mut cache, limits) = (Cache::default(), Limits::default());
        let ns = name("ns.example.");
        cache.learn(at(0), &limits, address("ns.example.", 60, 1), Rank::Glue, 1).unwrap();
        assert!(cache.get(at(1), &ns, RecordType::A, Rank::Answer).is_none());
        cache.learn(at(1), &limits, address("NS.example.", 10, 2), Rank::Answer, 2).unwrap();
        let outranked = cache.learn(at(2), &limits, address("ns.example.", 60, 3), Rank::Glue, 3);
        assert_eq!(outranked, Err(DropReason::Outranked));
        assert_eq!(cache.get(at(2), &ns, RecordType::A, Rank::Glue).unwrap().step, 2);
        // The answer has expired: glue is welcome again.
        cache.learn(at(11), &limits, address("ns.example.", 60, 3), Rank::Glue, 4).unwrap();
        assert_eq!(cache.get(at(70), &ns, RecordType::A, Rank::Glue).unwrap().step, 4);
        assert!(cache.get(at(71), &ns, RecordType::A, Rank::Glue).is_none());
    }

    #[test]
    fn a_zone_cannot_outlive_its_delegation() {
        let (mut cache, limits) = (Cache::default(), Limits::default());
        let servers = |ttl| {
            let ns = NS(name("ns.example."));
            vec![Record::from_rdata(name("example."), ttl, RData::NS(ns))]
        };
        cache.learn(at(0), &limits, servers(100), Rank::Referral, 1).unwrap();
        cache.learn(at(90), &limits, servers(1000), Rank::Authority, 2).unwrap();
        assert_eq!(cache.cuts(at(99), &name("a.b.example.")).len(), 1);
        assert_eq!(cache.cuts(at(100), &name("a.b.example.")).len(), 0);
    }

    #[test]
    fn below_a_name_that_is_not_there_is_nothing() {
        let (mut cache, limits) = (Cache::default(), Limits::default());
        cache.learn_absence(at(0), &limits, &name("no.example."), None, 30, 5);
        let a = |text: &str| Question::new(name(text), RecordType::A);
        assert!(cache.absence(at(29), &a("deep.no.example.")).unwrap().whole_name);
        assert_eq!(cache.absence(at(30), &a("deep.no.example.")), None);
        assert_eq!(cache.absence(at(0), &a("example.")), None);
        let kind = Some(RecordType::MX);
        cache.learn_absence(at(0), &limits, &name("example."), kind, u32::MAX, 6);
        let mx = Question::new(name("example."), RecordType::MX);
        assert!(cache.absence(at(10_799), &mx).is_some());
        assert!(cache.absence(at(10_800), &mx).is_none(), "three hours at most");
    }

    #[test]
    fn a_full_cache_learns_nothing_until_something_expires() {
        let limits = Limits { cache_entries: 2, ..Limits::default() };
        let mut cache = Cache::default();
        cache.learn(at(0), &limits, address("a.", 5, 1), Rank::Answer, 1).unwrap();
        cache.learn(at(0), &limits, address("b.", 50, 1), Rank::Answer, 1).unwrap();
        let full = cache.learn(at(1), &limits, address("c.", 5, 1), Rank::Answer, 1);
        assert_eq!(full, Err(DropReason::OverLimit));
        cache.learn(at(6), &limits, address("c.", 5, 1), Rank::Answer, 1).unwrap();
        assert_eq!(cache.len(), 2);
    }
}
