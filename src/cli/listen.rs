//! Addresses to listen on and clients to serve: loopback by default.

use super::error::Failure;
use super::exit::Exit;
use clap::Args;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// `--beyond-loopback`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Beyond {
    /// Listen on addresses that other hosts can reach
    #[arg(long)]
    pub beyond_loopback: bool,
}

impl Beyond {
    /// Fails for an address that other hosts can reach, without the flag. `risk` says what they
    /// could do; `typed` is the command, without the flag.
    pub fn check(self, at: &[SocketAddr], risk: &str, typed: &str) -> Result<(), Failure> {
        let inside = |address: &&SocketAddr| address.ip().to_canonical().is_loopback();
        match at.iter().find(|address| !inside(address)) {
            Some(address) if !self.beyond_loopback => {
                let what = format!("{address} can be reached from other hosts");
                Err(Failure::new(Exit::Usage, what)
                    .because(risk)
                    .or_type("if that is intended", format!("{typed} --beyond-loopback")))
            }
            _ => Ok(()),
        }
    }
}

/// `--allow`.
#[derive(Clone, Debug, Default, Args)]
pub struct Allow {
    /// Take requests from these addresses only, such as 192.0.2.0/24; may be repeated
    #[arg(long, value_name = "PREFIX")]
    pub allow: Vec<Prefix>,
}

impl Allow {
    /// Whether a client is served: always on loopback; elsewhere if a prefix contains it, if there
    /// are any.
    pub fn permits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        let listed = self.allow.iter().any(|prefix| prefix.contains(client));
        self.allow.is_empty() || listed || client.is_loopback()
    }
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    network: IpAddr,
    bits: u32,
}

/// The address as 128 bits, the first bit highest, and how many of them it has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

impl Prefix {
    /// The first `bits` of an address: the block that it belongs to.
    #[must_use]
    pub fn of(address: IpAddr, bits: u32) -> Self {
        Self { network: address.to_canonical(), bits }
    }

    /// Whether the address is one of them.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let ((network, length), (address, other)) = (bits(self.network), bits(address));
        let differ = network ^ address;
        length == other && differ.checked_shr(128 - self.bits).unwrap_or(0) == 0
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected an address or a prefix such as 192.0.2.0/24, got {text:?}");
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        let network: IpAddr = address.parse().map_err(|_| expected())?;
        let most = bits(network).1;
        let bits = if length.is_empty() { most } else { length.parse().map_err(|_| expected())? };
        if bits > most || text.ends_with('/') {
            return Err(format!("{}: at most {most} bits", expected()));
        }
        Ok(Self { network, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_the_addresses_that_begin_with_it() {
        for (prefix, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("198.51.100.7", "198.51.100.7", "198.51.100.6"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.9"),
        ] {
            let read: Prefix = prefix.parse().unwrap();
            let contains = |address: &str| read.contains(address.parse().unwrap());
            assert!(contains(inside) && !contains(outside), "{prefix}");
        }
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10/8", "::/129", "10.0.0.0/-1", "host"] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn clients_are_permitted_by_prefix_and_always_on_loopback() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let some = Allow { allow: vec!["192.0.2.0/24".parse().unwrap()] };
        for client in ["192.0.2.1", "::ffff:192.0.2.1", "127.0.0.1", "::1"] {
            assert!(some.permits(ip(client)), "{client}");
        }
        assert!(!some.permits(ip("198.51.100.1")));
        assert!(Allow::default().permits(ip("198.51.100.1")));
    }

    #[test]
    fn only_the_flag_opens_other_addresses() {
        let check = |at: &str, beyond_loopback| {
            let at = [at.parse().unwrap()];
            Beyond { beyond_loopback }.check(&at, "any client could ask", "lab serve")
        };
        assert!(check("127.0.0.1:53", false).is_ok() && check("[::1]:53", false).is_ok());
        assert!(check("0.0.0.0:53", true).is_ok());
        for open in ["0.0.0.0:53", "[::]:53", "192.0.2.1:53"] {
            let failure = check(open, false).unwrap_err();
            assert!(failure.what.contains("other hosts"), "{}", failure.what);
        }
    }
}
