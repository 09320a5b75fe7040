//! One zone, and the replies of its server (RFC 1034 §4.3.2).

use super::sign::Signed;
use super::{FOUR, six};
use crate::dname::dname_target;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NULL};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use std::collections::BTreeMap;
use std::str::FromStr;
use thiserror::Error;

/// Why a line is not a record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("zone {zone}, line {line}: expected OWNER TTL TYPE DATA, got {got:?}: {why}")]
pub struct ZoneError {
    /// Which zone.
    pub zone: String,
    /// Which line, from 1.
    pub line: usize,
    /// The text found.
    pub got: String,
    /// Its fault.
    pub why: String,
}

/// The records of one zone.
#[derive(Clone, Debug)]
pub struct Zone {
    pub(super) origin: Name,
    pub(super) nodes: BTreeMap<Name, BTreeMap<u16, Vec<Record>>>,
    /// Signatures and keys, if the zone is signed.
    pub(super) signed: Option<Box<Signed>>,
}

impl Zone {
    /// Reads lines `OWNER TTL TYPE DATA`; `@` is the zone itself, other owners are absolute or
    /// relative to it.
    ///
    /// # Errors
    /// Fails if a line is not a record.
    pub fn parse(origin: &Name, text: &str) -> Result<Self, ZoneError> {
        let mut zone = Self { origin: origin.clone(), nodes: BTreeMap::new(), signed: None };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(';') {
                continue;
            }
            let record = zone.line(line).map_err(|why| ZoneError {
                zone: origin.to_ascii(),
                line: index + 1,
                got: line.to_owned(),
                why,
            })?;
            zone.insert(record);
        }
        Ok(zone)
    }

    fn line(&self, line: &str) -> Result<Record, String> {
        let mut words = line.splitn(4, ' ').map(str::trim);
        let mut word = || words.next().ok_or_else(|| "too few words".to_owned());
        let (owner, ttl, kind, data) = (word()?, word()?, word()?, word()?);
        let owner = if owner == "@" {
            self.origin.clone()
        } else {
            Name::parse(owner, Some(&self.origin)).map_err(|error| error.to_string())?
        };
        let ttl = ttl.parse().map_err(|_| format!("{ttl:?} is no TTL"))?;
        let kind = RecordType::from_str(kind).or_else(|error| match kind {
            "DNAME" => Ok(RecordType::DNAME),
            _ => Err(error.to_string()),
        })?;
        let data = if kind == RecordType::DNAME {
            let target = Name::from_ascii(data).map_err(|error| error.to_string())?;
            let bytes = target.to_bytes().map_err(|error| error.to_string())?;
            RData::Unknown { code: kind, rdata: NULL::with(bytes) }
        } else {
            RData::try_from_str(kind, data).map_err(|error| error.to_string())?
        };
        Ok(Record::from_rdata(owner, ttl, data))
    }

    /// Adds a record.
    pub fn insert(&mut self, record: Record) {
        let node = self.nodes.entry(record.name.clone()).or_default();
        node.entry(u16::from(record.record_type())).or_default().push(record);
    }

    /// Adds the IPv6 twin of every address of the demonstration's servers.
    pub(super) fn add_six(&mut self) {
        let twin = |record: &Record| match record.data {
            RData::A(A(v4)) if v4.octets()[..2] == FOUR => {
                let data = RData::AAAA(AAAA(six(v4)));
                Some(Record::from_rdata(record.name.clone(), record.ttl, data))
            }
            _ => None,
        };
        let twins: Vec<Record> = self.records().filter_map(twin).collect();
        twins.into_iter().for_each(|record| self.insert(record));
    }

    /// The name of the zone.
    #[must_use]
    pub const fn origin(&self) -> &Name {
        &self.origin
    }

    /// Every record, and what signing added, as a transfer of the zone would give them.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        let own = self.nodes.values().flat_map(BTreeMap::values).flatten();
        own.chain(self.signed.iter().flat_map(|signed| signed.records()))
    }

    pub(super) fn get(&self, name: &Name, kind: RecordType) -> Option<&Vec<Record>> {
        self.nodes.get(name)?.get(&u16::from(kind))
    }

    /// Writes what the zone says of a name and type into `reply`, after what other zones of the
    /// same server said; the name that an alias leads to.
    pub(super) fn answer(
        &self,
        name: &Name,
        kind: RecordType,
        reply: &mut Message,
    ) -> Option<Name> {
        let after_alias = !reply.answers.is_empty();
        reply.metadata.authoritative = true;
        if let Some(cut) = self.cut(name, kind) {
            // After an alias the answer so far is the server's own.
            reply.metadata.authoritative = after_alias;
            self.refer(&cut, reply);
            return None;
        }
        match self.find(name, kind) {
            Found::Records(records) => {
                reply.add_answers(renamed(&records, name));
                self.say_own_servers(name, kind, reply);
            }
            Found::Alias(records, target) => {
                let circle = records.iter().any(|record| {
                    record.record_type() == RecordType::CNAME && reply.answers.contains(record)
                });
                if !circle {
                    reply.add_answers(records);
                    return Some(target);
                }
            }
            Found::TooLong(dname) => {
                // RFC 6672 §2.2: the name with its new end would not be a name.
                reply.add_answer(dname);
                reply.metadata.response_code = ResponseCode::YXDomain;
            }
            Found::NoData => self.deny(ResponseCode::NoError, reply),
            Found::Nothing => self.deny(ResponseCode::NXDomain, reply),
        }
        None
    }

    /// The cut nearest the top of the zone on the way to `name`.
    fn cut(&self, name: &Name, kind: RecordType) -> Option<Name> {
        let above = self.origin.iter().len();
        let labels = (above + 1)..=name.iter().len();
        labels.map(|count| name.trim_to(count)).find(|cut| {
            let of_the_parent = kind == RecordType::DS && cut == name;
            self.get(cut, RecordType::NS).is_some() && !of_the_parent
        })
    }

    fn refer(&self, cut: &Name, reply: &mut Message) {
        for server in self.get(cut, RecordType::NS).into_iter().flatten() {
            reply.add_authority(server.clone());
            self.add_addresses(server, reply);
        }
    }

    /// The addresses of the server that an NS record names, as far as the zone has them.
    fn add_addresses(&self, server: &Record, reply: &mut Message) {
        if let RData::NS(target) = &server.data {
            for kind in [RecordType::A, RecordType::AAAA] {
                reply.add_additionals(self.address(&target.0, kind));
            }
        }
    }

    /// The addresses of a server's name, including wildcard expansions.
    fn address(&self, name: &Name, kind: RecordType) -> Vec<Record> {
        let exists = |name: &Name| self.nodes.keys().any(|node| name.zone_of(node));
        let mut closest = name.clone();
        while self.origin.zone_of(&closest) && !exists(&closest) {
            closest = closest.base_name();
        }
        if closest == *name || !self.origin.zone_of(&closest) {
            return self.get(name, kind).cloned().unwrap_or_default();
        }
        let wildcard = closest.prepend_label("*").ok();
        let records = wildcard.and_then(|wildcard| self.get(&wildcard, kind));
        records.map(|records| renamed(records, name)).unwrap_or_default()
    }

    fn find(&self, name: &Name, kind: RecordType) -> Found {
        if self.nodes.contains_key(name) {
            return self.at_node(name, name, kind);
        }
        let below = |node: &&Name| name.zone_of(node);
        if self.nodes.keys().any(|node| below(&node)) {
            return Found::NoData;
        }
        // Upwards to the closest name that exists (RFC 4592 §3.3.1).
        let mut closest = name.base_name();
        while self.origin.zone_of(&closest) {
            if let Some(target) = self.get(&closest, RecordType::DNAME).and_then(|set| set.first())
            {
                return self.moved(name, target).unwrap_or_else(|| Found::TooLong(target.clone()));
            }
            if let Ok(wildcard) = closest.prepend_label("*")
                && self.nodes.contains_key(&wildcard)
            {
                return self.at_node(&wildcard, name, kind);
            }
            let exists = self.nodes.keys().any(|node| closest.zone_of(node));
            if exists || closest.is_root() {
                break;
            }
            closest = closest.base_name();
        }
        // A DNAME applies to every name below it.
        let mut above = closest;
        while self.origin.zone_of(&above) && !above.is_root() {
            if let Some(target) = self.get(&above, RecordType::DNAME).and_then(|set| set.first()) {
                return self.moved(name, target).unwrap_or_else(|| Found::TooLong(target.clone()));
            }
            above = above.base_name();
        }
        Found::Nothing
    }

    fn at_node(&self, node: &Name, name: &Name, kind: RecordType) -> Found {
        if let Some(records) = self.get(node, kind) {
            return Found::Records(records.clone());
        }
        let all = match kind {
            RecordType::ANY => {
                self.nodes.get(node).into_iter().flat_map(BTreeMap::values).collect()
            }
            RecordType::RRSIG => {
                self.signed.iter().flat_map(|signed| signed.signatures_of(node)).collect()
            }
            _ => Vec::new(),
        };
        if !all.is_empty() {
            return Found::Records(all.into_iter().flatten().cloned().collect());
        }
        if let Some(alias) = self.get(node, RecordType::CNAME)
            && let Some(RData::CNAME(target)) = alias.first().map(|record| &record.data)
        {
            return Found::Alias(renamed(alias, name), target.0.clone());
        }
        Found::NoData
    }

    /// The DNAME and the CNAME that it makes of `name` (RFC 6672 §3.1).
    fn moved(&self, name: &Name, dname: &Record) -> Option<Found> {
        let base = dname_target(dname)?;
        let kept = name.iter().len() - dname.name.iter().len();
        let labels = name.iter().take(kept).chain(base.iter());
        let mut target = Name::from_labels(labels).ok()?;
        target.set_fqdn(true);
        let data = RData::CNAME(CNAME(target.clone()));
        let made = Record::from_rdata(name.clone(), dname.ttl, data);
        Some(Found::Alias(vec![dname.clone(), made], target))
    }

    /// The zone's own servers beside an answer, as many servers add them; beside the list of them
    /// their addresses (RFC 1035 §3.3.11, RFC 9609 §4.2).
    fn say_own_servers(&self, name: &Name, kind: RecordType, reply: &mut Message) {
        let servers = self.get(&self.origin, RecordType::NS).into_iter().flatten();
        if kind == RecordType::NS && *name == self.origin {
            for server in servers {
                self.add_addresses(server, reply);
            }
            return;
        }
        reply.add_authorities(servers.cloned());
    }

    fn deny(&self, code: ResponseCode, reply: &mut Message) {
        reply.metadata.response_code = code;
        for soa in self.get(&self.origin, RecordType::SOA).into_iter().flatten() {
            let mut soa = soa.clone();
            if let RData::SOA(data) = &soa.data {
                // RFC 2308 §3: for how long the absence may be believed.
                soa.ttl = soa.ttl.min(data.minimum);
            }
            reply.add_authority(soa);
        }
    }
}

/// Records of a zone for a name.
enum Found {
    Records(Vec<Record>),
    Alias(Vec<Record>, Name),
    /// A DNAME whose target does not fit.
    TooLong(Record),
    NoData,
    Nothing,
}

/// The records with another owner: what a wildcard makes of them.
pub(super) fn renamed(records: &[Record], owner: &Name) -> Vec<Record> {
    let rename = |record: &Record| {
        let mut record = record.clone();
        record.name = owner.clone();
        record
    };
    records.iter().map(rename).collect()
}
