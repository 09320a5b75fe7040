//! Where a walk begins: the servers of the root, and the ports to ask at.

use super::dnssec::anchor::Anchors;
use hickory_proto::rr::Name;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use thiserror::Error;
use wirelab::wire::foreign::shape;

/// The port of DNS (RFC 1035 §4.2).
pub const PORT: u16 = 53;

/// The root's servers, and ports that differ from the usual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hints {
    /// Names and addresses of the root's servers.
    pub roots: Vec<(Name, IpAddr)>,
    /// The port of every address that has none of its own.
    pub port: u16,
    /// Ports of single addresses.
    pub ports: BTreeMap<IpAddr, u16>,
    /// The keys that are trusted to begin with.
    pub anchors: Anchors,
}

/// Why a hints file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HintsError {
    /// A line says something else.
    #[error("line {line}: expected {expected}, got {got:?}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// The expected form.
        expected: &'static str,
        /// The text found.
        got: String,
    },
    /// No address at all.
    #[error("expected at least one line such as `a.root. A 127.0.0.1:5300`, got none")]
    Empty,
}

/// Address records of the root's servers as IANA publishes them (named.root, 2023-11-27 and since).
const ROOT: [(&str, &str, &str); 13] = [
    ("a.root-servers.net.", "198.41.0.4", "2001:503:ba3e::2:30"),
    ("b.root-servers.net.", "170.247.170.2", "2801:1b8:10::b"),
    ("c.root-servers.net.", "192.33.4.12", "2001:500:2::c"),
    ("d.root-servers.net.", "199.7.91.13", "2001:500:2d::d"),
    ("e.root-servers.net.", "192.203.230.10", "2001:500:a8::e"),
    ("f.root-servers.net.", "192.5.5.241", "2001:500:2f::f"),
    ("g.root-servers.net.", "192.112.36.4", "2001:500:12::d0d"),
    ("h.root-servers.net.", "198.97.190.53", "2001:500:1::53"),
    ("i.root-servers.net.", "192.36.148.17", "2001:7fe::53"),
    ("j.root-servers.net.", "192.58.128.30", "2001:503:c27::2:30"),
    ("k.root-servers.net.", "193.0.14.129", "2001:7fd::1"),
    ("l.root-servers.net.", "199.7.83.42", "2001:500:9f::42"),
    ("m.root-servers.net.", "202.12.27.33", "2001:dc3::35"),
];

impl Default for Hints {
    /// The root of the Internet.
    fn default() -> Self {
        let both = |(name, v4, v6): &(&str, &str, &str)| {
            let name = Name::from_ascii(name).expect("invariant: a table of this file");
            [v4, v6].map(|text| text.parse().ok().map(|address| (name.clone(), address)))
        };
        let roots = ROOT.iter().flat_map(both).flatten().collect();
        Self { roots, port: PORT, ports: BTreeMap::new(), anchors: Anchors::root() }
    }
}

impl Hints {
    /// Hints with these servers, all at `port`.
    #[must_use]
    pub fn new(roots: Vec<(Name, IpAddr)>, port: u16) -> Self {
        Self { roots, port, ports: BTreeMap::new(), anchors: Anchors::default() }
    }

    /// Reads `named.root`, or a file like it.
    ///
    /// A line is `NAME [TTL] [IN] A|AAAA ADDRESS`, where the address may have a port of its own
    /// (`127.0.0.2:5302`, `[::1]:5302`). `$PORT N` gives the port of all that have none,
    /// `$PORT ADDRESS N` that of an address below the root. NS records of the root are read over:
    /// who has an address there serves the root.
    ///
    /// # Errors
    /// Fails if a line is something else, or there is no address.
    pub fn parse(text: &str, port: u16) -> Result<Self, HintsError> {
        let mut hints = Self::new(Vec::new(), port);
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> =
                line.split(';').next().unwrap_or_default().split_whitespace().collect();
            hints.line(index + 1, line, &words)?;
        }
        if hints.roots.is_empty() { Err(HintsError::Empty) } else { Ok(hints) }
    }

    fn line(&mut self, line: usize, text: &str, words: &[&str]) -> Result<(), HintsError> {
        let error = |expected| HintsError::Line { line, expected, got: shape(text) };
        match words {
            [] => {}
            ["$PORT", port] => {
                self.port = port.parse().map_err(|_| error("$PORT and a number below 65536"))?;
            }
            ["$PORT", address, port] => {
                let expected = "$PORT, an address and a number below 65536";
                let address = address.parse().map_err(|_| error(expected))?;
                self.ports.insert(address, port.parse().map_err(|_| error(expected))?);
            }
            words if Anchors::is_anchor(words) => {
                let expected = "a trust anchor such as . DS 20326 8 2 E06D...";
                let line = Anchors::line(&words.join(" ")).map_err(|_| error(expected))?;
                self.anchors.add(line.0, line.1);
            }
            [.., kind, _] if kind.eq_ignore_ascii_case("NS") => {}
            [name, .., kind, address]
                if kind.eq_ignore_ascii_case("A") || kind.eq_ignore_ascii_case("AAAA") =>
            {
                let mut name = Name::from_ascii(name).map_err(|_| error("a server's name"))?;
                name.set_fqdn(true);
                let address = if let Ok(with_port) = address.parse::<SocketAddr>() {
                    self.ports.insert(with_port.ip(), with_port.port());
                    with_port.ip()
                } else {
                    address.parse().map_err(|_| error("an address, or an address with a port"))?
                };
                self.roots.push((name, address));
            }
            _ => return Err(error("NAME A ADDRESS, NAME AAAA ADDRESS, or $PORT")),
        }
        Ok(())
    }

    /// A file that [`parse`](Self::parse) reads back.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = format!("$PORT {}\n", self.port);
        for (address, port) in &self.ports {
            out += &format!("$PORT {address} {port}\n");
        }
        for (name, address) in &self.roots {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            out += &format!("{} {kind} {address}\n", name.to_ascii());
        }
        out + &self.anchors.text()
    }

    /// Where to ask the server with this address.
    #[must_use]
    pub fn endpoint(&self, address: IpAddr) -> SocketAddr {
        SocketAddr::new(address, self.ports.get(&address).copied().unwrap_or(self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_root_has_both_addresses_of_all_thirteen() {
        let hints = Hints::default();
        assert_eq!(hints.roots.len(), 26);
        assert_eq!(hints.roots.iter().filter(|(_, ip)| ip.is_ipv6()).count(), 13);
        assert!(hints.roots.iter().all(|(name, _)| name.is_fqdn() && !name.is_root()));
    }

    #[test]
    fn a_file_gives_ports_to_all_or_to_one() {
        let text = "; comment\n.  3600 IN NS a.root.\na.root. 3600 IN A 127.0.0.1 ; end\n\
            b.root A 127.0.0.2:5302\n$PORT 5301\n$PORT 127.0.0.9 5309\n";
        let hints = Hints::parse(text, PORT).unwrap();
        let at = |text: &str| hints.endpoint(text.parse().unwrap()).port();
        assert_eq!(hints.roots.len(), 2);
        assert_eq!((at("127.0.0.1"), at("127.0.0.2"), at("127.0.0.9")), (5301, 5302, 5309));
        assert_eq!(Hints::parse(&hints.text(), PORT), Ok(hints));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, part) in [
            ("a.root A nowhere", "line 1: expected an address"),
            ("\na.root MX 1", "line 2: expected NAME A ADDRESS"),
            ("$PORT 99999", "line 1: expected $PORT and a number"),
            ("; nothing", "at least one line"),
        ] {
            let error = Hints::parse(text, PORT).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
