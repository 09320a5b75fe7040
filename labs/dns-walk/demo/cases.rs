//! Zones whose servers have faults that a patient walk gets past, and still names.

use super::{Authority, Denial, Manner, SignPlan, Zone, ZoneError};
use crate::Name;
use std::net::{IpAddr, Ipv4Addr};

/// A zone below com., and its servers.
struct Case {
    /// Its label.
    zone: &'static str,
    /// How each of its servers behaves; the first is ns, the second ns2.
    servers: &'static [Manner],
    signed: bool,
    /// Records besides those of every small zone.
    more: &'static str,
}

const fn case(zone: &'static str, servers: &'static [Manner]) -> Case {
    Case { zone, servers, signed: false, more: "" }
}

const fn signed(zone: &'static str, servers: &'static [Manner]) -> Case {
    Case { zone, servers, signed: true, more: "" }
}

/// Every case, in the order of the addresses of their servers.
const CASES: [Case; 14] = [
    signed("halfsigned", &[Manner::Sound, Manner::Expired]),
    case("noaa", &[Manner::NoAuthority]),
    case("nocookie", &[Manner::RejectsCookies]),
    case("dropsedns", &[Manner::DropsEdns]),
    Case { more: "a.deep 300 A 203.0.113.101\n", ..case("dropsparts", &[Manner::DropsParts]) },
    case("tcponly", &[Manner::TcpOnly]),
    case("cutsall", &[Manner::CutsAll, Manner::Sound]),
    Case { more: "a.deep 300 A 203.0.113.101\n", ..case("denies", &[Manner::DeniesParts]) },
    Case { more: "@ 300 CNAME www.igbank.com.\n", ..case("apexalias", &[Manner::Sound]) },
    Case {
        more: "two 300 CNAME www.igbank.com.\ntwo 300 CNAME mail.igbank.com.\n",
        ..case("twoaliases", &[Manner::Sound])
    },
    Case { more: "huge 3000000000 A 203.0.113.101\n", ..case("hugettl", &[Manner::Sound]) },
    case("othersoa", &[Manner::OtherSoa]),
    case("nsaddress", &[Manner::Sound]),
    case("zeroglue", &[Manner::Sound]),
];

/// Adds the zones of every case; how those that are signed are.
pub(super) fn add(authority: &mut Authority) -> Result<Vec<(Name, SignPlan)>, ZoneError> {
    let mut plans = Vec::new();
    let mut last = 0;
    for case in &CASES {
        let text = format!("{}.com.", case.zone);
        let origin = Name::from_ascii(&text).expect("invariant: a table of this file");
        let mut zone = format!(
            "@ 3600 SOA ns.{text} hostmaster.{text} 1 7200 900 1209600 60\n\
             www 300 A 203.0.113.100\n{}",
            case.more
        );
        for (server, manner) in ["ns", "ns2"].into_iter().zip(case.servers) {
            last += 1;
            let address = IpAddr::V4(Ipv4Addr::new(127, 53, 6, last));
            zone += &format!("@ 172800 NS {server}.{text}\n{server} 3600 A {address}\n");
            authority.add_host(address, vec![origin.clone()], *manner);
            authority.delegate_to(&origin, server, address);
        }
        authority.add_zone(Zone::parse(&origin, &zone)?);
        if case.signed {
            plans.push((origin, SignPlan { denial: Denial::Nsec, flaw: None }));
        }
    }
    add_served_by_alias(authority)?;
    Ok(plans)
}

/// Adds a zone whose server is named by an alias, srv.igbank.com, of ns.hoster.net.
fn add_served_by_alias(authority: &mut Authority) -> Result<(), ZoneError> {
    let name = |text: &str| Name::from_ascii(text).expect("invariant: a name of this file");
    let text = "@ 3600 SOA srv.igbank.com. h.nsalias.com. 1 7200 900 1209600 60\n\
                @ 172800 NS srv.igbank.com.\nwww 300 A 203.0.113.100\n";
    authority.add_zone(Zone::parse(&name("nsalias.com."), text)?);
    let zones = ["hoster.net.", "cdn.net.", "nsalias.com."].map(name).to_vec();
    let address = IpAddr::V4(Ipv4Addr::new(127, 53, 3, 1));
    authority.add_host(address, zones, Manner::Sound);
    Ok(())
}
