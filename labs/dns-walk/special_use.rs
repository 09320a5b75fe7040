//! Special-use domain names (RFC 6761, RFC 6303) and their local answers.

use super::text::Question;
use super::text::RecordText;
use hickory_proto::rr::{Name, RecordType};
use std::net::Ipv4Addr;

/// For how long the answers of `localhost` may be kept; Unbound says the same.
const LOCAL_TTL_S: u32 = 10_800;

/// A domain that is answered locally.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Special {
    /// The domain; it and everything below it.
    pub domain: String,
    /// The document that says so.
    pub document: &'static str,
    /// Purpose of the domain.
    pub why: &'static str,
}

const HERE: &str = "this machine itself";
const LINK: &str = "addresses of the local link";
const PRIVATE: &str = "addresses of private networks: only their owner can name them";
const UNASSIGNED: &str = "addresses that no host has";
const SAMPLES: &str = "addresses for examples";

/// The registry "Special-Use Domain Names" as far as it asks resolvers to answer themselves, and
/// the zones of RFC 6303 §4 for addresses; `N` is each of 16 to 31. `example` and its like are not
/// here: RFC 6761 §6.5 lets them be asked for.
const SPECIAL: [(&str, &str, &str); 20] = [
    ("localhost.", "RFC 6761 §6.3", HERE),
    ("invalid.", "RFC 6761 §6.4", "names that never exist"),
    ("test.", "RFC 6761 §6.2", "names for tests inside one network"),
    ("local.", "RFC 6762 §22.1", "names on the local link, found by multicast DNS"),
    ("onion.", "RFC 7686 §2", "names of Tor, which only Tor can find"),
    ("alt.", "RFC 9476 §3", "names of systems that are not DNS"),
    ("home.arpa.", "RFC 8375 §4", "names inside one home network"),
    ("service.arpa.", "RFC 9665 §9", "names of services on one link"),
    ("resolver.arpa.", "RFC 9462 §6.4", "questions to the resolver itself"),
    ("10.in-addr.arpa.", "RFC 6303 §4.1", PRIVATE),
    ("N.172.in-addr.arpa.", "RFC 6303 §4.1", PRIVATE),
    ("168.192.in-addr.arpa.", "RFC 6303 §4.1", PRIVATE),
    ("0.in-addr.arpa.", "RFC 6303 §4.2", UNASSIGNED),
    ("127.in-addr.arpa.", "RFC 6303 §4.2", HERE),
    ("254.169.in-addr.arpa.", "RFC 6303 §4.2", LINK),
    ("2.0.192.in-addr.arpa.", "RFC 6303 §4.2", SAMPLES),
    ("100.51.198.in-addr.arpa.", "RFC 6303 §4.2", SAMPLES),
    ("113.0.203.in-addr.arpa.", "RFC 6303 §4.2", SAMPLES),
    ("255.255.255.255.in-addr.arpa.", "RFC 6303 §4.2", UNASSIGNED),
    ("8.b.d.0.1.0.0.2.ip6.arpa.", "RFC 6303 §4.6", SAMPLES),
];

/// Domains under `ip6.arpa` by the first nibbles of the address, written as the address is.
const V6: [(&str, &str, &str, &str); 7] = [
    ("fd", "d.f.ip6.arpa.", "RFC 6303 §4.4", PRIVATE),
    ("fe8", "8.e.f.ip6.arpa.", "RFC 6303 §4.5", LINK),
    ("fe9", "9.e.f.ip6.arpa.", "RFC 6303 §4.5", LINK),
    ("fea", "a.e.f.ip6.arpa.", "RFC 6303 §4.5", LINK),
    ("feb", "b.e.f.ip6.arpa.", "RFC 6303 §4.5", LINK),
    ("00000000000000000000000000000000", "(the address ::)", "RFC 6303 §4.3", UNASSIGNED),
    ("00000000000000000000000000000001", "(the address ::1)", "RFC 6303 §4.3", HERE),
];

/// The special domain that a name lies in.
#[must_use]
pub fn find(name: &Name) -> Option<Special> {
    let labels: Vec<String> =
        name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
    let special = |domain: String, document, why| Special { domain, document, why };
    let inside = |pattern: &str| {
        let mut own = labels.iter().rev();
        let mut domain = Vec::new();
        for label in pattern.trim_end_matches('.').rsplit('.') {
            let private = |own: &String| own.parse().is_ok_and(|n: u8| (16..32).contains(&n));
            let fits = |own: &&String| *own == label || (label == "N" && private(own));
            domain.push(own.next().filter(fits)?.as_str());
        }
        domain.reverse();
        Some(domain.join(".") + ".")
    };
    let mut known = SPECIAL.iter();
    let found =
        known.find_map(|(domain, document, why)| Some(special(inside(domain)?, document, why)));
    found.or_else(|| {
        let [nibbles @ .., ip6, arpa] = labels.as_slice() else { return None };
        let address: String = nibbles.iter().rev().map(String::as_str).collect();
        let under = ip6 == "ip6" && arpa == "arpa";
        let mut known = V6.iter().filter(|(start, ..)| under && address.starts_with(start));
        known.next().map(|(_, domain, document, why)| special((*domain).to_owned(), document, why))
    })
}

/// Answer for a special-use name: its records, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecialAnswer {
    /// These records.
    Records(Vec<RecordText>),
    /// The name exists without such a record.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// Answer to `question`, whose name lies in `special`.
#[must_use]
pub fn answer(special: &Special, question: &Question) -> SpecialAnswer {
    let record = |data: String| {
        let name = super::text::name_text(&question.name);
        let kind = question.kind.to_string();
        SpecialAnswer::Records(vec![RecordText { name, kind, ttl_s: LOCAL_TTL_S, data }])
    };
    match (special.domain.as_str(), question.kind) {
        ("localhost.", RecordType::A) => record(Ipv4Addr::LOCALHOST.to_string()),
        ("localhost.", RecordType::AAAA) => record("::1".to_owned()),
        // An address record alone: the name exists.
        ("localhost.", _) => SpecialAnswer::NoData,
        ("127.in-addr.arpa.", RecordType::PTR) if question.name.iter().len() == 6 => {
            record("localhost.".to_owned())
        }
        ("(the address ::1)", RecordType::PTR) => record("localhost.".to_owned()),
        (domain, _) if Name::from_ascii(domain).is_ok_and(|apex| apex == question.name) => {
            SpecialAnswer::NoData
        }
        _ => SpecialAnswer::NxDomain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn found(text: &str) -> Option<String> {
        find(&Name::from_ascii(text).unwrap()).map(|special| special.domain)
    }

    #[test]
    fn names_are_found_by_whole_labels_and_in_any_capitals() {
        assert_eq!(found("Printer.LOCAL.").as_deref(), Some("local."));
        assert_eq!(found("local.").as_deref(), Some("local."));
        assert_eq!(found("mylocal."), None);
        assert_eq!(found("local.example."), None);
        assert_eq!(found("a.home.arpa.").as_deref(), Some("home.arpa."));
        for public in [".", "example.com.", "example.", "arpa.", "ipv4only.arpa.", "ip6.arpa."] {
            assert_eq!(found(public), None, "{public}");
        }
    }

    #[test]
    fn addresses_of_private_networks_are_not_the_roots_business() {
        for (address, special) in [
            ("10.1.2.3", true),
            ("172.15.0.1", false),
            ("172.16.0.1", true),
            ("172.31.255.255", true),
            ("172.32.0.1", false),
            ("192.168.1.1", true),
            ("192.169.1.1", false),
            ("127.0.0.1", true),
            ("169.254.0.9", true),
            ("192.0.2.1", true),
            ("8.8.8.8", false),
            ("::", true),
            ("::1", true),
            ("::2", false),
            ("fd53::1", true),
            ("fe80::1", true),
            ("febf::1", true),
            ("fec0::1", false),
            ("2001:db8::1", true),
            ("2001:500:2::c", false),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let name = Name::from(address);
            assert_eq!(find(&name).is_some(), special, "{address}");
        }
    }

    #[test]
    fn this_machine_has_a_name_and_an_address_and_nothing_else() {
        let said = |name: &str, kind| {
            let question = Question::new(Name::from_ascii(name).unwrap(), kind);
            answer(&find(&question.name).unwrap(), &question)
        };
        let data = |said| match said {
            SpecialAnswer::Records(records) => records[0].data.clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(data(said("localhost.", RecordType::A)), "127.0.0.1");
        assert_eq!(data(said("www.localhost.", RecordType::AAAA)), "::1");
        assert_eq!(said("localhost.", RecordType::MX), SpecialAnswer::NoData);
        assert_eq!(data(said("1.0.0.127.in-addr.arpa.", RecordType::PTR)), "localhost.");
        assert_eq!(said("0.127.in-addr.arpa.", RecordType::PTR), SpecialAnswer::NxDomain);
        assert_eq!(said("test.", RecordType::A), SpecialAnswer::NoData);
        assert_eq!(said("www.test.", RecordType::A), SpecialAnswer::NxDomain);
    }
}
