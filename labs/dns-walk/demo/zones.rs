//! The zones of the demonstration, sound and broken, and the faults by name.

use super::{Authority, Denial, Flaw, Manner, SignPlan, Variant, Zone, ZoneError};
use crate::Name;
use std::net::{IpAddr, Ipv4Addr};

/// A fault of the broken hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedFault {
    /// Its name.
    pub name: &'static str,
    /// Question that meets it.
    pub ask: &'static str,
    /// The fault.
    pub what: &'static str,
    /// The code of the finding; absent if the walk copes.
    pub code: Option<&'static str>,
}

const fn fault(
    name: &'static str,
    ask: &'static str,
    what: &'static str,
    code: Option<&'static str>,
) -> NamedFault {
    NamedFault { name, ask, what, code }
}

/// Every fault of the broken hierarchy.
pub const FAULTS: [NamedFault; 34] = [
    fault(
        "dead",
        "www.igbank.com A",
        "ns2.igbank.com replies to nothing",
        Some("SERVER_UNRESPONSIVE"),
    ),
    fault(
        "refusing",
        "www.igbank.com A",
        "ns.hoster.net is delegated to and says REFUSED",
        Some("SERVER_REFUSES"),
    ),
    fault(
        "mismatch",
        "www.igbank.com A",
        "com. names ns.hoster.net, igbank.com. itself does not",
        Some("NS_NOT_IN_CHILD"),
    ),
    fault("truncated", "big.igbank.com TXT", "the answer does not fit a datagram", None),
    fault("alias-loop", "loop.igbank.com A", "three aliases lead in a circle", Some("ALIAS_LOOP")),
    fault(
        "glue-cycle",
        "www.cycle.com A",
        "the server of cycle.com is in cycle.net, and the other way round",
        Some("CYCLIC_DEPENDENCY"),
    ),
    fault(
        "no-glue",
        "www.noglue.com A",
        "no address came for a server inside its own zone",
        Some("GLUE_MISSING"),
    ),
    fault(
        "not-authoritative",
        "www.resolver.com A",
        "a resolver stands where a server should",
        Some("SERVER_NOT_AUTHORITATIVE"),
    ),
    fault(
        "upward",
        "www.upward.com A",
        "the server refers every query to the root",
        Some("SERVER_REFERS_AWAY"),
    ),
    fault(
        "lie",
        "www.liar.com A",
        "the server speaks of www.igbank.com, which is not its own",
        Some("OUT_OF_BAILIWICK"),
    ),
    fault("no-edns", "www.noedns.com A", "the server calls EDNS malformed", Some("SERVER_NO_EDNS")),
    fault(
        "babble",
        "www.babble.com A",
        "the server sends malformed messages",
        Some("SERVER_MALFORMED"),
    ),
    fault(
        "silent-zone",
        "www.silent.com A",
        "the only server replies to nothing",
        Some("SERVER_UNRESPONSIVE"),
    ),
    fault(
        "child-only",
        "www.extra.com A",
        "the zone names a server that com. does not",
        Some("NS_NOT_IN_PARENT"),
    ),
    fault(
        "old-copy",
        "www.stale.com A",
        "one of two servers holds an older copy of the zone",
        Some("SERIALS_DIFFER"),
    ),
    fault(
        "one-address",
        "www.single.com A",
        "two servers by name, one by address",
        Some("SINGLE_ADDRESS"),
    ),
    fault(
        "old-glue",
        "www.moved.com A",
        "com. has the former address of the zone's server",
        Some("GLUE_DIFFERS"),
    ),
    fault(
        "other-ttl",
        "www.brief.com A",
        "the zone and com. give its NS records different TTLs",
        Some("TTL_DIFFERS"),
    ),
    fault(
        "old-hints",
        "www.igbank.com A",
        "the hints have the former address of b.root",
        Some("HINTS_ADDRESSES_DIFFER"),
    ),
    fault(
        "half-signed",
        "www.halfsigned.com A",
        "one of two servers has signatures that expired in January 2024",
        Some("SERVER_BOGUS"),
    ),
    fault(
        "no-authority",
        "www.noaa.com A",
        "the server answers without authority (AA=0)",
        Some("ANSWER_NOT_AUTHORITATIVE"),
    ),
    fault(
        "no-cookie",
        "www.nocookie.com A",
        "the server calls cookies malformed",
        Some("SERVER_REJECTS_COOKIES"),
    ),
    fault(
        "drops-edns",
        "www.dropsedns.com A",
        "the server drops queries with EDNS",
        Some("ANSWERS_OTHERWISE"),
    ),
    fault(
        "drops-parts",
        "a.deep.dropsparts.com A",
        "the server drops queries for names without records",
        Some("ANSWERS_OTHERWISE"),
    ),
    fault(
        "tcp-only",
        "www.tcponly.com A",
        "the server takes no datagrams",
        Some("ANSWERS_OTHERWISE"),
    ),
    fault(
        "cuts-all",
        "www.cutsall.com A",
        "one of two servers cuts its answers short over TCP too",
        Some("TRUNCATES_OVER_TCP"),
    ),
    fault(
        "denies-parts",
        "a.deep.denies.com A",
        "the server denies a name that has names below it",
        Some("DENIES_NAME_ABOVE"),
    ),
    fault(
        "apex-alias",
        "apexalias.com A",
        "the zone's own name is an alias",
        Some("ALIAS_AT_APEX"),
    ),
    fault(
        "two-aliases",
        "two.twoaliases.com A",
        "one name has two aliases",
        Some("SEVERAL_ALIASES"),
    ),
    fault(
        "huge-ttl",
        "huge.hugettl.com A",
        "a record may be kept for 3000000000 seconds",
        Some("TTL_TOO_LARGE"),
    ),
    fault(
        "other-soa",
        "www.othersoa.com MX",
        "a denial has the SOA record of com.",
        Some("SOA_OF_OTHER_ZONE"),
    ),
    fault(
        "ns-alias",
        "www.nsalias.com A",
        "the zone's server is named by an alias",
        Some("NS_IS_ALIAS"),
    ),
    fault(
        "ns-address",
        "www.nsaddress.com A",
        "an NS record has an address for a name",
        Some("NS_IS_ADDRESS"),
    ),
    fault(
        "zero-glue",
        "www.zeroglue.com A",
        "com. gives 0.0.0.0 for one of the zone's servers",
        Some("ADDRESS_UNUSABLE"),
    ),
];

/// A zone of the broken hierarchy whose signatures have a flaw, and what a walk must say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureFault {
    /// The label of its zone below com.
    pub zone: &'static str,
    /// Question that meets it.
    pub ask: &'static str,
    /// The fault.
    pub what: &'static str,
    /// The status of the answer.
    pub status: &'static str,
    /// The code of the reason.
    pub why: &'static str,
    flaw: Flaw,
}

const fn flawed(
    zone: &'static str,
    ask: &'static str,
    what: &'static str,
    (status, why): (&'static str, &'static str),
    flaw: Flaw,
) -> SignatureFault {
    SignatureFault { zone, ask, what, status, why, flaw }
}

/// Every flaw of the signatures in the broken hierarchy.
pub const SIGNATURE_FAULTS: [SignatureFault; 10] = [
    flawed(
        "bogus",
        "www.bogus.com A",
        "a bit of the signature was changed",
        ("bogus", "signature_invalid"),
        Flaw::BadSignature,
    ),
    flawed(
        "expired",
        "www.expired.com A",
        "the signatures expired in January 2024",
        ("bogus", "signature_expired"),
        Flaw::Expired,
    ),
    flawed(
        "early",
        "www.early.com A",
        "the signatures are valid from 2042 only",
        ("bogus", "signature_not_yet_valid"),
        Flaw::NotYetValid,
    ),
    flawed(
        "wrongds",
        "www.wrongds.com A",
        "the DS record in com. is of another key",
        ("bogus", "ds_matches_no_key"),
        Flaw::WrongDs,
    ),
    flawed(
        "nokeys",
        "www.nokeys.com A",
        "the server gives no DNSKEY record out",
        ("bogus", "dnskey_missing"),
        Flaw::NoKeys,
    ),
    flawed(
        "stripped",
        "www.stripped.com A",
        "the server gives no signature out",
        ("bogus", "signature_missing"),
        Flaw::Stripped,
    ),
    flawed(
        "gap",
        "nowhere.gap.com A",
        "the NSEC records do not cover the name",
        ("bogus", "denial_insufficient"),
        Flaw::Gap,
    ),
    flawed(
        "rounds",
        "nowhere.rounds.com A",
        "the NSEC3 records have 500 additional iterations",
        ("insecure", "nsec3_iterations"),
        Flaw::Rounds,
    ),
    flawed(
        "newalg",
        "www.newalg.com A",
        "the DS record has an unassigned algorithm number",
        ("insecure", "algorithm_unsupported"),
        Flaw::UnknownAlgorithm,
    ),
    flawed(
        "newdigest",
        "www.newdigest.com A",
        "the DS record has an unassigned digest type",
        ("insecure", "digest_unsupported"),
        Flaw::UnknownDigest,
    ),
];

/// The zones that are signed rightly: net. with NSEC3 and opt-out, as the registries do.
fn sound_plans() -> Vec<(Name, SignPlan)> {
    let nsec3 = Denial::Nsec3 { iterations: 0, salt: Vec::new(), opt_out: true };
    vec![
        (Name::root(), SignPlan::SOUND),
        (name("com."), SignPlan::SOUND),
        (name("net."), SignPlan { denial: nsec3, flaw: None }),
        (name("igbank.com."), SignPlan::SOUND),
    ]
}

/// The zones with one flaw of their signatures each, served sound otherwise.
fn add_signature_faults(authority: &mut Authority) -> Result<Vec<(Name, SignPlan)>, ZoneError> {
    let mut plans = Vec::new();
    for (last, fault) in (1_u8..).zip(SIGNATURE_FAULTS) {
        let origin = format!("{}.com.", fault.zone);
        let address = ip(5, last);
        let text = SMALL
            .replace("SOA ns hostmaster", &format!("SOA ns.{origin} hostmaster.{origin}"))
            .replace("NS ns", &format!("NS ns.{origin}"))
            .replace("ADDRESS", &address.to_string());
        authority.add_zone(Zone::parse(&name(&origin), &text)?);
        authority.add_host(address, vec![name(&origin)], Manner::Sound);
        authority.delegate_to(&name(&origin), "ns", address);
        let denial = match fault.flaw {
            Flaw::Rounds => Denial::Nsec3 { iterations: 500, salt: vec![0xab], opt_out: false },
            _ => Denial::Nsec,
        };
        plans.push((name(&origin), SignPlan { denial, flaw: Some(fault.flaw) }));
    }
    Ok(plans)
}

const ROOT: &str = "
@ 86400 SOA a.root. hostmaster.root. 1 1800 900 604800 86400
@ 518400 NS a.root.
@ 518400 NS b.root.
a.root. 518400 A 127.53.0.1
b.root. 518400 A 127.53.0.2
com. 172800 NS a.gtld-servers.net.
com. 172800 NS b.gtld-servers.net.
net. 172800 NS a.gtld-servers.net.
net. 172800 NS b.gtld-servers.net.
a.gtld-servers.net. 172800 A 127.53.1.1
b.gtld-servers.net. 172800 A 127.53.1.2
";

const COM: &str = "
@ 900 SOA a.gtld-servers.net. hostmaster.gtld-servers.net. 1 1800 900 604800 900
@ 172800 NS a.gtld-servers.net.
@ 172800 NS b.gtld-servers.net.
igbank 172800 NS ns1.igbank.com.
igbank 172800 NS ns2.igbank.com.
ns1.igbank.com. 172800 A 127.53.2.1
ns2.igbank.com. 172800 A 127.53.2.2
";

const COM_BROKEN: &str = "
igbank 172800 NS ns.hoster.net.
cycle 172800 NS ns.cycle.net.
noglue 172800 NS ns.noglue.com.
resolver 172800 NS ns.resolver.com.
ns.resolver.com. 172800 A 127.53.4.1
upward 172800 NS ns.upward.com.
ns.upward.com. 172800 A 127.53.4.2
liar 172800 NS ns.liar.com.
ns.liar.com. 172800 A 127.53.4.3
noedns 172800 NS ns.noedns.com.
ns.noedns.com. 172800 A 127.53.4.4
babble 172800 NS ns.babble.com.
ns.babble.com. 172800 A 127.53.4.5
silent 172800 NS ns.silent.com.
ns.silent.com. 172800 A 127.53.4.6
extra 172800 NS ns.extra.com.
ns.extra.com. 172800 A 127.53.4.7
stale 172800 NS ns.stale.com.
stale 172800 NS ns2.stale.com.
ns.stale.com. 172800 A 127.53.4.8
ns2.stale.com. 172800 A 127.53.4.10
single 172800 NS ns.single.com.
single 172800 NS ns2.single.com.
ns.single.com. 172800 A 127.53.4.9
ns2.single.com. 172800 A 127.53.4.9
moved 172800 NS ns.moved.com.
ns.moved.com. 172800 A 127.53.4.13
brief 172800 NS ns.brief.com.
ns.brief.com. 172800 A 127.53.4.12
nsalias 172800 NS srv.igbank.com.
nsaddress 172800 NS 127.53.6.99.
zeroglue 172800 NS ns0.zeroglue.com.
ns0.zeroglue.com. 172800 A 0.0.0.0
";

const NET: &str = "
@ 900 SOA a.gtld-servers.net. hostmaster.gtld-servers.net. 1 1800 900 604800 900
@ 172800 NS a.gtld-servers.net.
@ 172800 NS b.gtld-servers.net.
a.gtld-servers.net. 172800 A 127.53.1.1
b.gtld-servers.net. 172800 A 127.53.1.2
hoster 172800 NS ns.hoster.net.
cdn 172800 NS ns.hoster.net.
ns.hoster.net. 172800 A 127.53.3.1
";

const NET_BROKEN: &str = "
cycle 172800 NS ns.cycle.com.
";

const IGBANK: &str = "
@ 3600 SOA ns1.igbank.com. hostmaster.igbank.com. 7 7200 900 1209600 300
@ 172800 NS ns1.igbank.com.
@ 172800 NS ns2.igbank.com.
@ 300 A 203.0.113.80
@ 300 MX 10 mail.igbank.com.
ns1 3600 A 127.53.2.1
ns2 3600 A 127.53.2.2
mail 300 A 203.0.113.25
login 300 A 203.0.113.81
login 300 AAAA 2001:db8:53::81
shop 300 CNAME edge.cdn.net.
*.branch 300 A 203.0.113.90
atm.lobby.deep 300 A 203.0.113.91
old 300 DNAME igbank.com.
";

const IGBANK_SOUND: &str = "
www 300 A 203.0.113.80
";

const IGBANK_BROKEN: &str = "
www 300 CNAME edge.cdn.net.
loop 300 CNAME loop2.igbank.com.
loop2 300 CNAME loop3.igbank.com.
loop3 300 CNAME loop.igbank.com.
srv 300 CNAME ns.hoster.net.
";

const HOSTER: &str = "
@ 3600 SOA ns.hoster.net. hostmaster.hoster.net. 3 7200 900 1209600 300
@ 172800 NS ns.hoster.net.
ns 3600 A 127.53.3.1
";

const CDN: &str = "
@ 3600 SOA ns.hoster.net. hostmaster.hoster.net. 5 7200 900 1209600 60
@ 172800 NS ns.hoster.net.
edge 60 A 203.0.113.99
";

/// A small zone with one server of its own.
const SMALL: &str = "
@ 3600 SOA ns hostmaster 1 7200 900 1209600 60
@ 172800 NS ns
ns 3600 A ADDRESS
www 300 A 203.0.113.100
";

/// Small zones with a second server, and the last byte of its address.
const SECOND: [(&str, u8); 2] = [("stale.com.", 10), ("single.com.", 9)];

/// Text records that together do not fit a datagram: 8 of 230 bytes.
const BIG_RECORDS: usize = 8;
const BIG_LENGTH: usize = 230;

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("invariant: all of them stand in this file");
    name.set_fqdn(true);
    name
}

fn ip(third: u8, fourth: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 53, third, fourth))
}

/// Where the hints of the broken hierarchy have the second server of the root.
const FORMER_B_ROOT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 53, 0, 3));

pub(super) fn build(variant: Variant, dual: bool) -> Result<Authority, ZoneError> {
    let broken = variant == Variant::Broken;
    let b_root = if broken { FORMER_B_ROOT } else { ip(0, 2) };
    let roots = vec![(name("a.root."), ip(0, 1)), (name("b.root."), b_root)];
    let mut authority = Authority::new(roots);
    let mut add = |origin: &str, text: &str| {
        Zone::parse(&name(origin), text).map(|zone| authority.add_zone(zone))
    };
    add(".", ROOT)?;
    let big: String = (0..BIG_RECORDS)
        .map(|number| format!("big 300 TXT {number}{}\n", "x".repeat(BIG_LENGTH)))
        .collect();
    if broken {
        add("com.", &(COM.to_owned() + COM_BROKEN))?;
        add("net.", &(NET.to_owned() + NET_BROKEN))?;
        add("igbank.com.", &(IGBANK.to_owned() + IGBANK_BROKEN + &big))?;
    } else {
        add("com.", COM)?;
        add("net.", NET)?;
        add("igbank.com.", &(IGBANK.to_owned() + IGBANK_SOUND + &big))?;
    }
    add("hoster.net.", HOSTER)?;
    add("cdn.net.", CDN)?;
    let registry = || vec![name("com."), name("net.")];
    let ns2 = if broken { Manner::Dead } else { Manner::Sound };
    authority.add_host(ip(0, 1), vec![Name::root()], Manner::Sound);
    authority.add_host(ip(0, 2), vec![Name::root()], Manner::Sound);
    authority.add_host(ip(1, 1), registry(), Manner::Sound);
    authority.add_host(ip(1, 2), registry(), Manner::Sound);
    authority.add_host(ip(2, 1), vec![name("igbank.com.")], Manner::Sound);
    authority.add_host(ip(2, 2), vec![name("igbank.com.")], ns2);
    authority.add_host(ip(3, 1), vec![name("hoster.net."), name("cdn.net.")], Manner::Sound);
    let mut plans = sound_plans();
    if broken {
        add_broken(&mut authority)?;
        plans.extend(add_signature_faults(&mut authority)?);
        plans.extend(super::cases::add(&mut authority)?);
    }
    if dual {
        authority.add_six();
    }
    authority.sign(&plans);
    Ok(authority)
}

/// The zones with one server that has one fault each.
fn add_broken(authority: &mut Authority) -> Result<(), ZoneError> {
    let manners = [
        ("resolver.com.", Manner::Resolver),
        ("upward.com.", Manner::RefersUp),
        ("liar.com.", Manner::Lies),
        ("noedns.com.", Manner::NoEdns),
        ("babble.com.", Manner::Babbles),
        ("silent.com.", Manner::Dead),
        ("extra.com.", Manner::Sound),
        ("stale.com.", Manner::Sound),
        ("single.com.", Manner::Sound),
        ("moved.com.", Manner::Sound),
        ("brief.com.", Manner::Sound),
    ];
    let lasts = (1..10).chain(11_u8..);
    for (last, (origin, manner)) in lasts.zip(manners) {
        let address = ip(4, last);
        let mut text = SMALL
            .replace("SOA ns hostmaster", &format!("SOA ns.{origin} hostmaster.{origin}"))
            .replace("NS ns", &format!("NS ns.{origin}"))
            .replace("ADDRESS", &address.to_string());
        if origin == "extra.com." {
            text += "@ 172800 NS ns2.extra.com.\n";
        }
        if let Some((_, second)) = SECOND.iter().find(|(of, _)| *of == origin) {
            text += &format!("@ 172800 NS ns2.{origin}\nns2 3600 A {}\n", ip(4, *second));
        }
        if origin == "brief.com." {
            text = text.replace("172800", "300");
        }
        authority.add_zone(Zone::parse(&name(origin), &text)?);
        authority.add_host(address, vec![name(origin)], manner);
    }
    // The server of moved.com. has not left its former address, which com. gives out, either.
    authority.add_host(ip(4, 13), vec![name("moved.com.")], Manner::Sound);
    // Nor has b.root left that of the hints.
    authority.add_host(FORMER_B_ROOT, vec![Name::root()], Manner::Sound);
    authority.add_host(ip(4, 10), vec![name("stale.com.")], Manner::Stale);
    Ok(())
}
