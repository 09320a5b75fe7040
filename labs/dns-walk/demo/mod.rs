//! A hierarchy of zones and their servers without sockets: root, com, net, igbank.com.
//!
//! Three referrals lead to `www.igbank.com`. The broken hierarchy has a zone for every named fault.

mod cases;
mod sign;
mod zone;
mod zones;

use super::cookie::{self, Cookie};
use super::dnssec::keys::Trusted;
use super::event::Transport;
use super::hints::Hints;
use super::question::UDP_PAYLOAD;
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, NS};
use hickory_proto::rr::{Name, RData, Record, RecordType};
pub use sign::{Denial, EXPIRATION, Flaw, INCEPTION, JUDGED, SignPlan, ds_records};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;
pub use zone::{Zone, ZoneError};
pub use zones::{FAULTS, NamedFault, SIGNATURE_FAULTS, SignatureFault};

/// Largest reply without EDNS (RFC 1035 §4.2.1).
const PLAIN_PAYLOAD: usize = 512;
/// The secret of its cookies: fixed, because its clients are on this machine.
const COOKIE_SECRET: u64 = 7873;

/// Seconds that a delegation may be kept: two days, as the registries have it.
const DELEGATION_TTL_S: u32 = 172_800;

/// Aliases that a server follows in its own zones; a name that grows ends there.
const ALIASES_MAX: usize = 8;

/// Addresses of the demonstration's servers.
const FOUR: [u8; 2] = [127, 53];
/// The same over IPv6, out of the addresses that everybody may use for himself (RFC 4193).
const SIX: u16 = 0xfd53;

/// The address of IPv6 beside one of IPv4.
fn six(v4: Ipv4Addr) -> Ipv6Addr {
    let [_, _, third, fourth] = v4.octets().map(u16::from);
    Ipv6Addr::new(SIX, 0, 0, 0, 0, 0, third, fourth)
}

/// Whether an address is one of the demonstration's own over IPv6.
#[must_use]
pub fn is_demo_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[0] == SIX)
}

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As the standards say.
    Sound,
    /// It never replies.
    Dead,
    /// It answers without authority and offers recursion, as a resolver would.
    Resolver,
    /// It refers every query to the root.
    RefersUp,
    /// It calls every query with EDNS malformed.
    NoEdns,
    /// It adds an address for a name that is not its own.
    Lies,
    /// It holds an older copy of its zones.
    Stale,
    /// It sends malformed messages.
    Babbles,
    /// It knows of its zones and could not load them.
    Fails,
    /// Its signatures have expired.
    Expired,
    /// It returns neither signatures nor proofs.
    Stripped,
    /// It returns no keys.
    Keyless,
    /// It answers without authority, and offers no recursion.
    NoAuthority,
    /// It calls every query with a cookie malformed, with EDNS in its reply.
    RejectsCookies,
    /// It drops queries with EDNS.
    DropsEdns,
    /// It drops queries for names that have no records of their own.
    DropsParts,
    /// It denies names that have no records of their own, whatever lies below them.
    DeniesParts,
    /// It takes no datagrams.
    TcpOnly,
    /// It cuts every reply short, over TCP too.
    CutsAll,
    /// Its denials have the SOA record of the zone above.
    OtherSoa,
}

/// A server: the zones it has loaded, and its manner.
#[derive(Clone, Debug)]
struct Host {
    zones: Vec<Name>,
    manner: Manner,
}

/// Which hierarchy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Variant {
    /// Everything is as it should be.
    #[default]
    Sound,
    /// With every fault of [`FAULTS`].
    Broken,
}

/// All servers of a hierarchy.
#[derive(Clone, Debug)]
pub struct Authority {
    hosts: BTreeMap<IpAddr, Host>,
    zones: BTreeMap<Name, Zone>,
    roots: Vec<(Name, IpAddr)>,
}

impl Authority {
    /// The hierarchy of the demonstration.
    ///
    /// # Errors
    /// Fails if a line of its zones is wrong, which a test rules out.
    pub fn demo(variant: Variant) -> Result<Self, ZoneError> {
        zones::build(variant, false)
    }

    /// The same, with an address of IPv6 beside each of IPv4: fd53::2:1 beside 127.53.2.1.
    ///
    /// # Errors
    /// Fails if a line of its zones is wrong, which a test rules out.
    pub fn demo_dual(variant: Variant) -> Result<Self, ZoneError> {
        zones::build(variant, true)
    }

    /// Gives every server an address of IPv6 too, and every record of its address a twin.
    fn add_six(&mut self) {
        let twin = |address: IpAddr| match address {
            IpAddr::V4(v4) => six(v4),
            IpAddr::V6(v6) => v6,
        };
        let hosts = self.hosts.clone();
        self.hosts.extend(hosts.into_iter().map(|(at, host)| (IpAddr::V6(twin(at)), host)));
        let roots = self.roots.clone();
        self.roots.extend(roots.into_iter().map(|(name, at)| (name, IpAddr::V6(twin(at)))));
        for zone in self.zones.values_mut() {
            zone.add_six();
        }
    }

    /// Servers without any: add them.
    #[must_use]
    pub const fn new(roots: Vec<(Name, IpAddr)>) -> Self {
        Self { hosts: BTreeMap::new(), zones: BTreeMap::new(), roots }
    }

    /// Adds a zone.
    pub fn add_zone(&mut self, zone: Zone) {
        self.zones.insert(zone.origin().clone(), zone);
    }

    /// A zone.
    #[must_use]
    pub fn zone(&self, origin: &Name) -> Option<&Zone> {
        self.zones.get(origin)
    }

    /// Adds a server for these zones.
    pub fn add_host(&mut self, address: IpAddr, zones: Vec<Name>, manner: Manner) {
        self.hosts.insert(address, Host { zones, manner });
    }

    /// Adds a sound server of every zone.
    pub fn add_host_of_all(&mut self, address: IpAddr) {
        let zones = self.zones.keys().cloned().collect();
        self.add_host(address, zones, Manner::Sound);
    }

    /// Removes the servers whose address is not `wanted`.
    pub fn keep_hosts(&mut self, wanted: impl Fn(IpAddr) -> bool) {
        self.hosts.retain(|address, _| wanted(*address));
    }

    /// Addresses of all servers, the dead ones included.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'_> {
        self.hosts.keys().copied()
    }

    /// Where a walk of this hierarchy begins, with every server at `port`.
    #[must_use]
    pub fn hints(&self, port: u16) -> Hints {
        let mut hints = Hints::new(self.roots.clone(), port);
        let root = self.zones.get(&Name::root()).filter(|zone| zone.signed.is_some());
        for ds in root.map(|_| ds_records(&Name::root(), None)).into_iter().flatten() {
            if let RData::DNSSEC(DNSSECRData::DS(ds)) = ds.data {
                hints.anchors.add(Name::root(), Trusted::Digest(ds));
            }
        }
        hints
    }

    /// Delegates `zone` in the zone above it to the server `label` inside it.
    pub fn delegate_to(&mut self, zone: &Name, label: &str, address: IpAddr) {
        let above = zone.base_name();
        let Some(parent) = self.zones.get_mut(&above) else { return };
        let Ok(mut server) = zone.prepend_label(label) else { return };
        server.set_fqdn(true);
        let ns = RData::NS(NS(server.clone()));
        parent.insert(Record::from_rdata(zone.clone(), DELEGATION_TTL_S, ns));
        let data = match address {
            IpAddr::V4(v4) => RData::A(A(v4)),
            IpAddr::V6(v6) => RData::AAAA(hickory_proto::rr::rdata::AAAA(v6)),
        };
        parent.insert(Record::from_rdata(server, DELEGATION_TTL_S, data));
    }

    /// Signs zones, each as its plan says, and adds their DS records to the zones above.
    pub fn sign(&mut self, plans: &[(Name, SignPlan)]) {
        for (zone, plan) in plans {
            let above = |other: &&mut Zone| other.origin().zone_of(zone) && other.origin() != zone;
            let parents = self.zones.values_mut().filter(above);
            if let Some(parent) = parents.max_by_key(|other| other.origin().iter().len()) {
                ds_records(zone, plan.flaw).into_iter().for_each(|ds| parent.insert(ds));
            }
        }
        for (name, plan) in plans {
            if let Some(zone) = self.zones.remove(name) {
                self.zones.insert(name.clone(), zone.signed(plan));
            }
        }
    }

    /// The reply of the server at `to`; `None` if it stays silent.
    #[must_use]
    pub fn reply(&self, to: IpAddr, transport: Transport, query: &[u8]) -> Option<Vec<u8>> {
        let host = self.hosts.get(&to)?;
        let query = Message::from_vec(query).ok()?;
        let silent = match host.manner {
            Manner::Dead => true,
            Manner::DropsEdns => query.edns.is_some(),
            Manner::TcpOnly => transport == Transport::Udp,
            _ => false,
        };
        if query.metadata.message_type != MessageType::Query || silent {
            return None;
        }
        let mut reply = Message::response(query.metadata.id, OpCode::Query);
        reply.queries.clone_from(&query.queries);
        if host.manner == Manner::Babbles {
            let mut bytes = reply.to_vec().ok()?;
            // A name that claims more bytes than there are.
            bytes.get_mut(7).into_iter().for_each(|count| *count = 1);
            bytes.push(63);
            return Some(bytes);
        }
        let payload = match &query.edns {
            Some(_) if host.manner == Manner::NoEdns => {
                reply.metadata.response_code = ResponseCode::FormErr;
                return reply.to_vec().ok();
            }
            Some(edns) => {
                let mut options = Edns::new();
                options.set_max_payload(UDP_PAYLOAD);
                options.set_dnssec_ok(edns.flags().dnssec_ok);
                if let Some(Ok(cookie)) = Cookie::of(&query) {
                    let cookie = cookie.answered(COOKIE_SECRET).bytes();
                    options.options_mut().insert(EdnsOption::Unknown(cookie::OPTION, cookie));
                }
                reply.set_edns(options);
                usize::from(edns.max_payload().min(UDP_PAYLOAD))
            }
            None => PLAIN_PAYLOAD,
        };
        if host.manner == Manner::RejectsCookies && Cookie::of(&query).is_some() {
            reply.metadata.response_code = ResponseCode::FormErr;
            return reply.to_vec().ok();
        }
        self.answer(host, &query, &mut reply);
        if host.manner == Manner::DropsParts && is_part(&reply) {
            return None;
        }
        let bytes = reply.to_vec().ok()?;
        let payload = if host.manner == Manner::CutsAll { 0 } else { payload };
        let transport = if host.manner == Manner::CutsAll { Transport::Udp } else { transport };
        if transport == Transport::Udp && bytes.len() > payload {
            for section in [&mut reply.answers, &mut reply.authorities, &mut reply.additionals] {
                section.clear();
            }
            reply.metadata.truncation = true;
            return reply.to_vec().ok();
        }
        Some(bytes)
    }

    /// RFC 1034 §4.3.2, step 2: the server's nearest zone above a name.
    ///
    /// DS lies above the cut; a server of the child alone says that it has none (RFC 4035
    /// §3.1.4.1).
    fn nearest(&self, host: &Host, name: &Name, kind: RecordType) -> Option<&Zone> {
        let own = host.zones.iter().filter(|zone| zone.zone_of(name));
        let above_cut = |zone: &Name| kind != RecordType::DS || zone != name || zone.is_root();
        let nearest = own.max_by_key(|zone| (above_cut(zone), zone.iter().len()))?;
        self.zones.get(nearest)
    }

    fn answer(&self, host: &Host, query: &Message, reply: &mut Message) {
        let [question] = query.queries.as_slice() else {
            reply.metadata.response_code = ResponseCode::FormErr;
            return;
        };
        if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return bad_version(reply);
        }
        if host.manner == Manner::RefersUp {
            let data = self.roots.iter().map(|(name, _)| RData::NS(NS(name.clone())));
            reply.add_authorities(data.map(|data| Record::from_rdata(Name::root(), 3600, data)));
            return;
        }
        let zone = self.nearest(host, &question.name, question.query_type);
        let Some(zone) = zone else {
            reply.metadata.response_code = ResponseCode::Refused;
            return;
        };
        if host.manner == Manner::Fails {
            reply.metadata.response_code = ResponseCode::ServFail;
            return;
        }
        let prove = sign::wanted(query) && zone.signed.is_some();
        let mut target = zone.answer(&question.name, question.query_type, reply);
        // RFC 1034 §4.3.2, step 3a: an alias starts again, in whatever zone the server has; but a
        // proof is one zone's.
        for _ in 0..ALIASES_MAX {
            let Some(name) = target.take() else { break };
            let next = self.nearest(host, &name, question.query_type);
            if let Some(next) = next.filter(|next| !prove || ptr::eq(*next, zone)) {
                target = next.answer(&name, question.query_type, reply);
            }
        }
        if prove {
            zone.prove(&question.name, question.query_type, reply);
        }
        match host.manner {
            Manner::Resolver => {
                reply.metadata.authoritative = false;
                reply.metadata.recursion_available = true;
            }
            Manner::Stale => {
                let sections = reply.answers.iter_mut().chain(&mut reply.authorities);
                for record in sections {
                    if let RData::SOA(soa) = &mut record.data {
                        soa.serial = soa.serial.saturating_sub(1);
                    }
                }
            }
            Manner::NoAuthority => reply.metadata.authoritative = false,
            Manner::DeniesParts if is_part(reply) => {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            Manner::OtherSoa => {
                for record in reply.authorities.iter_mut().filter(|one| is_soa(one)) {
                    record.name = record.name.base_name();
                }
            }
            Manner::Expired => sign::expire(reply),
            Manner::Stripped => sign::strip(reply),
            Manner::Keyless if question.query_type == RecordType::DNSKEY => reply.answers.clear(),
            Manner::Lies => {
                let lie = RData::A(A(Ipv4Addr::new(203, 0, 113, 66)));
                if let Ok(victim) = Name::from_ascii("www.igbank.com.") {
                    reply.add_answer(Record::from_rdata(victim, 86_400, lie));
                }
            }
            _ => {}
        }
    }
}

fn is_soa(record: &Record) -> bool {
    record.record_type() == RecordType::SOA
}

/// Whether a reply is NODATA.
fn is_part(reply: &Message) -> bool {
    reply.metadata.response_code == ResponseCode::NoError
        && reply.answers.is_empty()
        && reply.authorities.iter().any(is_soa)
}

/// An EDNS version that is not served (RFC 6891 §6.1.3); the code's high bits stand in EDNS.
fn bad_version(reply: &mut Message) {
    reply.metadata.response_code = ResponseCode::BADVERS;
    if let Some(edns) = &mut reply.edns {
        edns.set_rcode_high(ResponseCode::BADVERS.high());
    }
}
