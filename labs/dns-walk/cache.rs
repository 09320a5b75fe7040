//! The cache: records with their step, lifetime and trust rank.

use super::dnssec::evidence::Store;
use super::limits::{Limits, at_most};
use super::question::NAME_MAX;
use super::text::Question;
use super::trust::{DropReason, Rank};
use hickory_proto::rr::{Name, Record, RecordType};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;
use wirelab::measure::Instant;

/// A record that may not be kept may yet be used by the walk that learned it (RFC 1035 §3.2.1: "the
/// transaction in progress"); a walk seldom takes longer than this.
const TTL_FLOOR_S: u32 = 5;

/// Seconds of a TTL; more counts as none (RFC 2181 §8).
pub(super) const TTL_MAX_S: u32 = (1 << 31) - 1;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The name itself does not exist (else: it has no such record).
    pub whole_name: bool,
    /// The step that learned it.
    pub step: u32,
    /// It is believed until then.
    pub expires: Instant,
    /// The SOA record that set the lifetime (RFC 2308 §5); clients get the same.
    pub soa: Option<Arc<Record>>,
}

/// Cached data of one name.
#[derive(Clone, Debug, Default)]
struct Node {
    /// By type.
    sets: Vec<(u16, Entry)>,
    /// By type; none where the whole name is not there.
    absences: Vec<(Option<u16>, Absence)>,
}

impl Node {
    fn set(&self, kind: RecordType) -> Option<&Entry> {
        let kind = u16::from(kind);
        self.sets.iter().find(|(known, _)| *known == kind).map(|(_, entry)| entry)
    }

    fn absence(&self, kind: Option<u16>) -> Option<Absence> {
        self.absences.iter().find(|(known, _)| *known == kind).map(|(_, absence)| absence.clone())
    }

    const fn len(&self) -> usize {
        self.sets.len() + self.absences.len()
    }
}

/// Everything known.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    /// By [`Key`]: a name is looked up a dozen times in a walk, and names that are compared label
    /// by label in a tree cost more than the rest of it.
    nodes: HashMap<Box<[u8]>, Node, Seeded>,
    /// Entries of all nodes.
    count: usize,
    /// Its proof.
    store: Store,
}

impl Cache {
    /// The same with the hash of that seed: a client that makes up names must not be able to make
    /// them collide.
    #[must_use]
    pub fn keyed(self, seed: u64) -> Self {
        let mut nodes = HashMap::with_hasher(Seeded(seed));
        nodes.extend(self.nodes);
        Self { nodes, ..self }
    }

    /// Proof of the cached data.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    pub(super) const fn store_mut(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Entries of all sorts, expired ones included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Learns the records of one name and type; the least of their TTLs counts (RFC 2181 §5.2).
    ///
    /// # Errors
    /// Fails if the cached data ranks higher, or the cache is full.
    pub fn learn(
        &mut self,
        now: Instant,
        limits: &Limits,
        records: Vec<Record>,
        rank: Rank,
        step: u32,
    ) -> Result<(), DropReason> {
        let Some(first) = records.first() else { return Ok(()) };
        let (key, kind) = (Key::of(&first.name), first.record_type());
        let kept_s = |record: &Record| Some(record.ttl).filter(|ttl| *ttl <= TTL_MAX_S);
        let least = records.iter().map(|record| kept_s(record).unwrap_or(0)).min().unwrap_or(0);
        let ttl_s = least.clamp(TTL_FLOOR_S, limits.ttl_s.max(TTL_FLOOR_S));
        let mut expires = now + Duration::from_secs(u64::from(ttl_s));
        let known = self.nodes.get(key.bytes()).and_then(|node| node.set(kind));
        if let Some(known) = known.filter(|known| known.expires > now) {
            if known.rank > rank {
                return Err(DropReason::Outranked);
            }
            // What a zone says of its own servers must not outlive the delegation (the ghost
            // domains of Jiang et al., NDSS 2012).
            if kind == RecordType::NS && known.rank < rank {
                expires = expires.min(known.expires);
            }
        } else {
            self.make_room(now, limits)?;
        }
        let entry = Entry { records, rank, step, learned: now, expires };
        let kind = u16::from(kind);
        let node = self.nodes.entry(key.bytes().into()).or_default();
        match node.sets.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, known)) => *known = entry,
            None => {
                node.sets.push((kind, entry));
                self.count += 1;
            }
        }
        Ok(())
    }

    /// Whether these records of one name and type are known already, whatever their TTLs.
    #[must_use]
    pub fn has_all_of(&self, now: Instant, records: &[Record]) -> bool {
        let known = records
            .first()
            .and_then(|first| self.get(now, &first.name, first.record_type(), Rank::Glue));
        known.is_some_and(|known| {
            let is_known = |record: &Record| known.records.iter().any(|k| k.data == record.data);
            known.records.len() == records.len() && records.iter().all(is_known)
        })
    }

    /// Forgets the records of a name and type.
    pub(super) fn forget(&mut self, name: &Name, kind: RecordType) {
        let Some(node) = self.nodes.get_mut(Key::of(name).bytes()) else { return };
        let before = node.len();
        node.sets.retain(|(known, _)| *known != u16::from(kind));
        self.count -= before - node.len();
    }

    /// Forgets the answers and absences that a step learned, and what proves them.
    pub(super) fn forget_step(&mut self, step: u32) {
        let ns = u16::from(RecordType::NS);
        let stays = |kind, entry: &Entry| entry.step != step || kind == ns;
        self.retain(stays, |absence| absence.step != step);
        self.store.forget_step(step);
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
        let absence = Absence { whole_name: kind.is_none(), step, expires: now + ttl, soa: None };
        let kind = kind.map(u16::from);
        let node = self.nodes.entry(Key::of(name).bytes().into()).or_default();
        match node.absences.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, known)) => *known = absence,
            None => {
                node.absences.push((kind, absence));
                self.count += 1;
            }
        }
    }

    /// Notes the SOA record that came with an absence just learned.
    pub fn note_soa(&mut self, name: &Name, kind: Option<RecordType>, soa: Record) {
        let Some(node) = self.nodes.get_mut(Key::of(name).bytes()) else { return };
        let kind = kind.map(u16::from);
        if let Some((_, absence)) = node.absences.iter_mut().find(|(known, _)| *known == kind) {
            absence.soa = Some(Arc::new(soa));
        }
    }

    fn make_room(&mut self, now: Instant, limits: &Limits) -> Result<(), DropReason> {
        let most = at_most(limits.cache_entries);
        if self.len() >= most {
            self.forget_expired(now);
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
        self.forget_expired(now);
        let half = most / 2;
        if self.len() > half {
            self.retain(
                |kind, entry| kind == u16::from(RecordType::NS) || entry.rank < Rank::Answer,
                |_| false,
            );
        }
        if self.len() > half {
            let mut ends = Vec::with_capacity(self.len());
            let end_of = |_, entry: &Entry| {
                ends.push(entry.expires);
                true
            };
            self.retain(end_of, |_| true);
            let at = ends.len() - half;
            let (_, last, _) = ends.select_nth_unstable(at);
            let last = *last;
            self.retain(|_, entry| entry.expires > last, |_| true);
        }
    }

    fn forget_expired(&mut self, now: Instant) {
        self.retain(|_, entry| entry.expires > now, |absence| absence.expires > now);
    }

    /// Keeps of all that is known what these are true of.
    fn retain(
        &mut self,
        mut set: impl FnMut(u16, &Entry) -> bool,
        absence: impl Fn(&Absence) -> bool,
    ) {
        let mut count = 0;
        self.nodes.retain(|_, node| {
            node.sets.retain(|(kind, entry)| set(*kind, entry));
            node.absences.retain(|(_, known)| absence(known));
            count += node.len();
            node.len() > 0
        });
        self.count = count;
    }

    /// The records of a name and type that are believed at least as far as `rank`.
    #[must_use]
    pub fn get(&self, now: Instant, name: &Name, kind: RecordType, rank: Rank) -> Option<&Entry> {
        let entry = self.nodes.get(Key::of(name).bytes())?.set(kind)?;
        (entry.expires > now && entry.rank >= rank).then_some(entry)
    }

    /// Whether the question is known to have no answer. Below a name that does not exist there is
    /// nothing (RFC 8020).
    #[must_use]
    pub fn absence(&self, now: Instant, question: &Question) -> Option<Absence> {
        let key = Key::of(&question.name);
        let kind = Some(u16::from(question.kind));
        let exact = self.nodes.get(key.bytes()).and_then(|node| node.absence(kind));
        let mut above = key.upwards().filter_map(|bytes| self.nodes.get(bytes)?.absence(None));
        exact.or_else(|| above.next()).filter(|absence| absence.expires > now)
    }

    /// The zones above `name` whose servers are known, the deepest first.
    #[must_use]
    pub fn cuts(&self, now: Instant, name: &Name) -> Vec<(Name, &Entry)> {
        let live = |entry: &&Entry| entry.expires > now && entry.rank >= Rank::Referral;
        let labels = (0..=name.iter().len()).rev();
        let zone = |(bytes, labels): (&[u8], usize)| {
            let entry = self.nodes.get(bytes)?.set(RecordType::NS).filter(live)?;
            Some((name.trim_to(labels), entry))
        };
        Key::of(name).upwards().zip(labels).filter_map(zone).collect()
    }
}

/// A name as it goes over the wire, in small letters and without the root's empty label: those of
/// the names above it are its ends.
struct Key {
    bytes: [u8; NAME_MAX],
    length: usize,
}

impl Key {
    fn of(name: &Name) -> Self {
        let mut key = Self { bytes: [0; NAME_MAX], length: 0 };
        for label in name.iter() {
            let end = key.length + 1 + label.len();
            // A name that is longer cannot be made.
            let Some(place) = key.bytes.get_mut(key.length..end) else { break };
            let (length, letters) = place.split_at_mut(1);
            length[0] = u8::try_from(label.len()).expect("invariant: a label has 63 bytes at most");
            letters.copy_from_slice(label);
            letters.make_ascii_lowercase();
            key.length = end;
        }
        key
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// The name and every name above it, the root last.
    fn upwards(&self) -> impl Iterator<Item = &[u8]> {
        let mut next = Some(self.bytes());
        std::iter::from_fn(move || {
            let bytes = next.take()?;
            next = bytes.first().and_then(|length| bytes.get(1 + usize::from(*length)..));
            Some(bytes)
        })
    }
}

/// A hash that is repeatable by its seed and unpredictable without it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seeded(pub(super) u64);

impl BuildHasher for Seeded {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
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
        let says_the_same = |last| cache.has_all_of(at(2), &address("ns.example.", 60, last));
        assert!(says_the_same(2) && !says_the_same(3), "the second answer is what is known");
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
