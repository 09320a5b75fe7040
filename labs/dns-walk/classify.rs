//! Classifies a reply to a question: its class, the records to accept, those to drop and why.

use super::cache::TTL_MAX_S;
use super::dnssec::evidence::Sections;
use super::dnssec::proves;
use super::event::Class;
use super::finding::Fault;
use super::limits::{Limits, at_most};
use super::text::{Question, name_text};
use super::trust::{DropReason, Rank};
use crate::dname::synthesize;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Records of one name and type, and how far to believe them.
#[derive(Clone, Debug)]
pub struct RRset {
    /// The records, never none.
    pub records: Vec<Record>,
    /// How far.
    pub rank: Rank,
    /// Whether it may be learned: servers of a zone are, from referrals and answers to NS questions
    /// alone (CVE-2025-11411); what a server says of them unasked is compared, and not used.
    pub solicited: bool,
}

/// A classified reply.
#[derive(Clone, Debug)]
pub struct Classified {
    /// In one word.
    pub class: Class,
    /// Records to accept.
    pub kept: Vec<RRset>,
    /// Records to drop, with reasons.
    pub dropped: Vec<(Record, DropReason)>,
    /// What it would be if the server had authority for it (AA=0): the last resort of a step.
    pub last_resort: Option<Class>,
    /// Faults of its records.
    pub odd: Vec<Fault>,
    /// Aliases that it followed, in order.
    pub aliases: Vec<Record>,
    /// The name to go on with after an alias.
    pub target: Option<Name>,
    /// The zone below that others serve.
    pub cut: Option<Name>,
    /// For how many seconds an absence may be believed.
    pub absent_ttl_s: Option<u32>,
    /// The record that says so.
    pub absent_soa: Option<Record>,
    /// The name at the end of the aliases that it followed.
    pub end: Name,
    /// Its proof, if requested.
    pub sections: Sections,
    /// Records that it holds.
    pub records: u32,
    /// The most servers that it names for one zone.
    pub servers: u32,
}

/// The context in which a reply is read.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The zone whose server replied.
    pub zone: &'a Name,
    /// The question as it was sent.
    pub asked: &'a Question,
    /// How much of the reply is looked at.
    pub limits: &'a Limits,
    /// Whether addresses outside the public Internet are dropped.
    pub public_only: bool,
    /// Whether signatures were asked for.
    pub proof: bool,
}

/// Reads a reply.
#[must_use]
pub fn read(context: &Context<'_>, message: &Message) -> Classified {
    let mut reader = Reader::new(context);
    let mut answers = reader.sift(&message.answers);
    let mut authorities = reader.sift(&message.authorities);
    let mut additionals = reader.sift(&message.additionals);
    reader.set_aside(&mut answers, &mut authorities, &mut additionals);
    let code = message.metadata.response_code;
    let class = match code {
        ResponseCode::NoError | ResponseCode::NXDomain => {
            reader.sections(message, answers, authorities, additionals)
        }
        ResponseCode::Refused => Class::Refused,
        ResponseCode::ServFail => Class::ServFail,
        ResponseCode::NotImp => Class::NotImp,
        ResponseCode::FormErr => Class::FormErr,
        _ => Class::OtherCode,
    };
    reader.note_odd(message);
    reader.finish(class, message)
}

struct Reader<'a> {
    context: &'a Context<'a>,
    reading: Classified,
}

impl<'a> Reader<'a> {
    fn new(context: &'a Context<'a>) -> Self {
        let reading = Classified {
            class: Class::OtherCode,
            kept: Vec::new(),
            dropped: Vec::new(),
            last_resort: None,
            odd: Vec::new(),
            aliases: Vec::new(),
            target: None,
            cut: None,
            absent_ttl_s: None,
            absent_soa: None,
            end: Name::new(),
            sections: Sections { answers: Vec::new(), authorities: Vec::new() },
            records: 0,
            servers: 0,
        };
        Self { context, reading }
    }

    /// The records that the zone may speak of.
    fn sift(&mut self, records: &[Record]) -> Vec<Record> {
        let mut good = Vec::new();
        for record in records {
            self.reading.records += 1;
            if self.reading.records > self.context.limits.records {
                self.drop(record.clone(), DropReason::OverLimit);
            } else if record.dns_class != DNSClass::IN {
                self.drop(record.clone(), DropReason::NotInternet);
            } else if !self.context.zone.zone_of(&record.name) {
                self.drop(record.clone(), DropReason::OutOfBailiwick);
            } else {
                good.push(record.clone());
            }
        }
        good
    }

    /// Puts aside what proves other records, where it was asked for.
    fn set_aside(
        &mut self,
        answers: &mut Vec<Record>,
        authorities: &mut Vec<Record>,
        additionals: &mut Vec<Record>,
    ) {
        let asked = self.context.asked.kind;
        let set_aside = |record: &Record| {
            let kind = record.record_type();
            kind != asked && asked != RecordType::ANY && proves(kind)
        };
        if self.context.proof {
            self.reading.sections.authorities.clone_from(authorities);
            self.reading.sections.answers = answers.clone();
            take(answers, set_aside);
            take(authorities, |record| set_aside(record) || record.record_type() == RecordType::DS);
            take(additionals, set_aside);
        }
    }

    /// Notes records that should not be as they are.
    fn note_odd(&mut self, message: &Message) {
        let Context { zone, limits, .. } = *self.context;
        let mut odd = Vec::new();
        if self.reading.records > limits.records {
            let (held, read) = (self.reading.records, limits.records);
            odd.push(Fault::RecordsCut { held, read });
        }
        for record in message.answers.iter().filter(|record| record.ttl > TTL_MAX_S) {
            let (name, ttl_s) = (name_text(&record.name), record.ttl);
            odd.push(Fault::TtlTooLarge { name, ttl_s });
        }
        let cname = |record: &&Record| record.record_type() == RecordType::CNAME;
        for alias in &self.reading.aliases {
            if cname(&alias) && alias.name == *zone {
                odd.push(Fault::AliasAtApex);
            }
            let same = message.answers.iter().filter(cname).filter(|one| one.name == alias.name);
            if cname(&alias) && same.clone().any(|one| one.data != alias.data) {
                odd.push(Fault::SeveralAliases { name: name_text(&alias.name) });
            }
        }
        let soa = message.authorities.iter().find(|one| one.record_type() == RecordType::SOA);
        if let Some(soa) = soa.filter(|_| message.answers.is_empty())
            && !(zone.zone_of(&soa.name) && soa.name.zone_of(&self.context.asked.name))
        {
            odd.push(Fault::SoaOfOtherZone { subject: name_text(&soa.name) });
        }
        for (record, _) in
            self.reading.dropped.iter().filter(|(_, why)| *why == DropReason::NotPublic)
        {
            if let Some(given) = record.data.ip_addr() {
                let subject = name_text(&record.name);
                odd.push(Fault::AddressUnusable { subject, given });
            }
        }
        odd.dedup();
        self.reading.odd = odd;
    }

    /// Notes a record that is not believed; of a flood only the first ones are shown.
    fn drop(&mut self, record: Record, why: DropReason) {
        let most = at_most(self.context.limits.records);
        if self.reading.dropped.len() < most {
            self.reading.dropped.push((record, why));
        }
    }

    fn keep(&mut self, records: Vec<Record>, rank: Rank) {
        if !records.is_empty() {
            self.reading.kept.push(RRset { records, rank, solicited: true });
        }
    }

    fn finish(mut self, mut class: Class, message: &Message) -> Classified {
        let meta = &message.metadata;
        let referral = matches!(class, Class::Referral { .. });
        if class.is_useful() && !referral && !meta.authoritative {
            let recursion = meta.recursion_available;
            let without = std::mem::replace(&mut class, Class::NotAuthoritative { recursion });
            self.reading.last_resort = Some(without);
        } else if !class.is_useful() {
            self.reading.kept.clear();
        }
        self.reading.class = class;
        self.reading
    }

    fn sections(
        &mut self,
        message: &Message,
        mut answers: Vec<Record>,
        authorities: Vec<Record>,
        additionals: Vec<Record>,
    ) -> Class {
        let meta = &message.metadata;
        let not_authoritative = Class::NotAuthoritative { recursion: meta.recursion_available };
        let end = match self.follow(&mut answers) {
            Ok(end) => end,
            Err(why) => return Class::Malformed { why },
        };
        self.reading.end = end.clone();
        let asked = self.context.asked;
        let found: Vec<Record> = take(&mut answers, |record| {
            record.name == end
                && (record.record_type() == asked.kind || asked.kind == RecordType::ANY)
        });
        for record in answers {
            self.drop(record, DropReason::NotAskedFor);
        }
        let any = !found.is_empty() || !self.reading.aliases.is_empty();
        if any {
            for alias in self.reading.aliases.clone() {
                self.keep(vec![alias], Rank::Answer);
            }
            let class = if found.is_empty() {
                self.reading.target = Some(end.clone());
                Class::Alias { to: name_text(&end) }
            } else {
                Class::Answer
            };
            // The zone's list of its own servers comes with their addresses.
            let own = asked.kind == RecordType::NS && end == *self.context.zone;
            let servers = if own { targets_of(&found) } else { Vec::new() };
            for set in by_kind(found) {
                self.keep(set, Rank::Answer);
            }
            self.own_servers(&servers, authorities, additionals);
            return class;
        }
        if meta.response_code == ResponseCode::NXDomain || has(&authorities, RecordType::SOA) {
            return self.absence(message, authorities, additionals);
        }
        if has(&authorities, RecordType::NS) {
            return self.referral(meta.authoritative, authorities, additionals);
        }
        // No SOA: not as RFC 2308 §2.2 wants it, but a server of the zone may leave it out.
        if meta.authoritative {
            return Class::NoData;
        }
        // What was sifted out may have been all there was.
        let away = message.authorities.iter().find(|record| {
            record.record_type() == RecordType::NS && !self.context.zone.zone_of(&record.name)
        });
        away.map_or(not_authoritative, |ns| Class::UpwardReferral { to: name_text(&ns.name) })
    }

    /// Follows the aliases that the reply itself holds; the answer is the name at their end.
    fn follow(&mut self, answers: &mut Vec<Record>) -> Result<Name, String> {
        let asked = self.context.asked;
        let mut name = asked.name.clone();
        if matches!(asked.kind, RecordType::CNAME | RecordType::ANY) {
            self.take_dname_of(&name, answers);
            return Ok(name);
        }
        let mut seen = vec![name.clone()];
        while !answers.is_empty() {
            let exact =
                |record: &Record| record.name == name && record.record_type() == RecordType::CNAME;
            let above = |record: &Record| {
                record.record_type() == RecordType::DNAME
                    && record.name.zone_of(&name)
                    && record.name != name
            };
            // A DNAME overrides the CNAME that a server makes of it (RFC 6672 §3.1).
            let Some(at) =
                answers.iter().position(above).or_else(|| answers.iter().position(exact))
            else {
                break;
            };
            let record = answers.remove(at);
            let next = if let RData::CNAME(target) = &record.data {
                target.0.clone()
            } else {
                let made = take(answers, |record| {
                    record.name == name && record.record_type() == RecordType::CNAME
                });
                drop(made);
                synthesize(&name, &record)?
            };
            self.reading.aliases.push(record);
            let circle = seen.contains(&next);
            name = next;
            if circle {
                break;
            }
            seen.push(name.clone());
        }
        Ok(name)
    }

    /// The DNAME that the CNAME of this name was made of is part of the answer: it is what has a
    /// signature (RFC 6672 §5.3.1).
    fn take_dname_of(&mut self, name: &Name, answers: &mut Vec<Record>) {
        let made = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *name => Some(target.0.clone()),
            _ => None,
        });
        let Some(made) = made else { return };
        let is_source = |record: &Record| {
            record.record_type() == RecordType::DNAME
                && record.name.zone_of(name)
                && record.name != *name
                && synthesize(name, record).is_ok_and(|target| target == made)
        };
        if let Some(at) = answers.iter().position(is_source) {
            self.reading.aliases.push(answers.remove(at));
        }
    }

    /// A zone's own NS data beside an answer that names `targets`.
    fn own_servers(
        &mut self,
        targets: &[Name],
        mut authorities: Vec<Record>,
        mut additionals: Vec<Record>,
    ) {
        let glue = take(&mut additionals, |record| targets.contains(&record.name));
        self.glue(targets, glue);
        let servers = take(&mut authorities, |record| record.record_type() == RecordType::NS);
        let asked = self.reading.kept.len();
        let mut named = Vec::new();
        for set in by_name(servers) {
            if set[0].name.zone_of(&self.context.asked.name) {
                named.extend(self.keep_servers(set, Rank::Authority));
            } else {
                set.into_iter().for_each(|record| self.drop(record, DropReason::NotAskedFor));
            }
        }
        // The server's own SOA is no news.
        for record in authorities.into_iter().filter(|r| r.record_type() != RecordType::SOA) {
            self.drop(record, DropReason::NotAskedFor);
        }
        self.glue(&named, additionals);
        self.reading.kept[asked..].iter_mut().for_each(|set| set.solicited = false);
    }

    fn absence(
        &mut self,
        message: &Message,
        mut authorities: Vec<Record>,
        additionals: Vec<Record>,
    ) -> Class {
        let asked = self.context.asked;
        let soa = take(&mut authorities, |record| {
            record.record_type() == RecordType::SOA && record.name.zone_of(&asked.name)
        });
        if let Some(RData::SOA(data)) = soa.first().map(|record| &record.data) {
            // RFC 2308 §5: the lesser of both.
            self.reading.absent_ttl_s = Some(data.minimum.min(soa[0].ttl));
            self.reading.absent_soa = soa.first().cloned();
        }
        self.own_servers(&[], authorities, additionals);
        if message.metadata.response_code == ResponseCode::NXDomain {
            Class::NxDomain
        } else {
            Class::NoData
        }
    }

    fn referral(
        &mut self,
        authoritative: bool,
        mut authorities: Vec<Record>,
        additionals: Vec<Record>,
    ) -> Class {
        let (zone, asked) = (self.context.zone, self.context.asked);
        let servers = take(&mut authorities, |record| record.record_type() == RecordType::NS);
        authorities.into_iter().for_each(|record| self.drop(record, DropReason::NotAskedFor));
        let mut sets = by_name(servers);
        let closer = |set: &Vec<Record>| set[0].name != *zone && set[0].name.zone_of(&asked.name);
        let Some(at) = sets.iter().position(closer) else {
            let own = sets.iter().any(|set| set[0].name == *zone);
            return match (own, authoritative) {
                // NODATA of type 3, with the zone's own servers and no SOA (RFC 2308 §2.2).
                (true, true) => {
                    self.own_servers(&[], sets.swap_remove(0), additionals);
                    Class::NoData
                }
                (true, false) => Class::SelfReferral,
                (false, _) => {
                    let to = sets.first().map(|set| name_text(&set[0].name));
                    Class::UpwardReferral { to: to.unwrap_or_default() }
                }
            };
        };
        let set = sets.swap_remove(at);
        for record in sets.into_iter().flatten() {
            self.drop(record, DropReason::NotAskedFor);
        }
        let cut = set[0].name.clone();
        let kept = self.keep_servers(set, Rank::Referral);
        let with_address = self.glue(&kept, additionals);
        let class = Class::Referral {
            to: name_text(&cut),
            servers: u32::try_from(kept.len()).expect("invariant: a limit of 32 bits"),
            with_address,
        };
        self.reading.cut = Some(cut);
        class
    }

    /// Keeps the servers of a zone up to the limit; their names.
    fn keep_servers(&mut self, mut set: Vec<Record>, rank: Rank) -> Vec<Name> {
        let most = at_most(self.context.limits.servers);
        let named = u32::try_from(set.len()).expect("invariant: a message has at most 65,535");
        self.reading.servers = self.reading.servers.max(named);
        for record in set.split_off(most.min(set.len())) {
            self.drop(record, DropReason::OverLimit);
        }
        let names = targets_of(&set);
        self.keep(set, rank);
        names
    }

    /// Keeps the addresses of these servers; how many of them have one.
    fn glue(&mut self, servers: &[Name], additionals: Vec<Record>) -> u32 {
        let mut with_address = 0;
        let (wanted, rest): (Vec<Record>, Vec<Record>) =
            additionals.into_iter().partition(|record| {
                servers.contains(&record.name) && record.record_type().is_ip_addr()
            });
        rest.into_iter().for_each(|record| self.drop(record, DropReason::NotAskedFor));
        for set in by_name(wanted) {
            let mut usable = false;
            for set in by_kind(set) {
                let (good, bad): (Vec<Record>, Vec<Record>) = set.into_iter().partition(|record| {
                    record.data.ip_addr().is_some_and(|address| self.may_ask(address))
                });
                bad.into_iter().for_each(|record| self.drop(record, DropReason::NotPublic));
                usable |= !good.is_empty();
                self.keep(good, Rank::Glue);
            }
            with_address += u32::from(usable);
        }
        with_address
    }

    fn may_ask(&self, address: IpAddr) -> bool {
        may_ask(address, self.context.public_only)
    }
}

/// Whether a server's address may be asked at all: a zone must not aim a walk at the user's own
/// network (RFC 6890).
#[must_use]
pub fn may_ask(address: IpAddr, public_only: bool) -> bool {
    if address.is_unspecified() || address.is_multicast() {
        return false;
    }
    let public = match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let zero_or_reserved = a == 0 || a >= 240;
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || shared
                || zero_or_reserved)
        }
        IpAddr::V6(v6) => {
            let [first, ..] = v6.segments();
            // Global unicast is 2000::/3; what embeds an address of IPv4 is not asked.
            first & 0xe000 == 0x2000
        }
    };
    public || !public_only
}

fn has(records: &[Record], kind: RecordType) -> bool {
    records.iter().any(|record| record.record_type() == kind)
}

/// Takes the records that `wanted` is true of out of `from`.
fn take(from: &mut Vec<Record>, wanted: impl Fn(&Record) -> bool) -> Vec<Record> {
    let (taken, rest) = std::mem::take(from).into_iter().partition(|record| wanted(record));
    *from = rest;
    taken
}

/// The servers that NS records name.
pub(super) fn targets_of(servers: &[Record]) -> Vec<Name> {
    let target = |record: &Record| match &record.data {
        RData::NS(target) => Some(target.0.clone()),
        _ => None,
    };
    servers.iter().filter_map(target).collect()
}

fn by_name(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut sets: BTreeMap<Name, Vec<Record>> = BTreeMap::new();
    for record in records {
        sets.entry(record.name.clone()).or_default().push(record);
    }
    sets.into_values().collect()
}

fn by_kind(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut sets: BTreeMap<u16, Vec<Record>> = BTreeMap::new();
    for record in records {
        sets.entry(u16::from(record.record_type())).or_default().push(record);
    }
    sets.into_values().collect()
}
