//! DNS cookies (RFC 7873, RFC 9018): a word that only the server that was asked has seen.
//!
//! A walk of the demonstration repeats by its seed, and so do its cookies; beyond that they come of
//! a secret.

use super::entropy::Secret;
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use std::net::{IpAddr, SocketAddr};
use wirelab::measure::draw::keyed;

/// Code of the option (RFC 7873 §4).
pub const OPTION: u16 = 10;
/// Bytes of the client's part.
pub const CLIENT_LEN: usize = 8;
/// Fewest bytes of the server's part, where there is one.
pub const SERVER_LEN_MIN: usize = 8;
/// Most bytes of the server's part.
pub const SERVER_LEN_MAX: usize = 32;
/// Keeps this draw apart from the other draws of a walk.
const SALT: u64 = 0x636f_6f6b_6965;

/// The client's part, and the server's once it gave one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    client: [u8; CLIENT_LEN],
    server: [u8; SERVER_LEN_MAX],
    server_len: usize,
}

/// A cookie option that is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadCookie;

impl Cookie {
    /// The cookie of a walk for a server that has given none: another one for every server, so that
    /// servers cannot compare (RFC 9018 §3).
    #[must_use]
    pub fn first(seed: u64, secret: Option<&Secret>, server: SocketAddr) -> Self {
        let draw =
            secret.map_or_else(|| Self::seeded(seed, server), |secret| secret.for_cookie(server));
        let client = draw.to_be_bytes();
        Self { client, server: [0; SERVER_LEN_MAX], server_len: 0 }
    }

    fn seeded(seed: u64, server: SocketAddr) -> u64 {
        let bits = match server.ip() {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h] = address.segments().map(u64::from);
                keyed(a << 48 | b << 32 | c << 16 | d, e << 48 | f << 32 | g << 16 | h)
            }
        };
        keyed(keyed(seed, SALT), bits ^ u64::from(server.port()) << 48)
    }

    /// The option's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        [&self.client, &self.server[..self.server_len]].concat()
    }

    /// Reads the option's bytes: 8, or 16 to 40 (RFC 7873 §4).
    ///
    /// # Errors
    /// Fails for lengths other than 8 and 16 to 40 bytes.
    pub fn read(bytes: &[u8]) -> Result<Self, BadCookie> {
        let (client, server) = bytes.split_first_chunk::<CLIENT_LEN>().ok_or(BadCookie)?;
        if !server.is_empty() && !(SERVER_LEN_MIN..=SERVER_LEN_MAX).contains(&server.len()) {
            return Err(BadCookie);
        }
        let mut padded = [0; SERVER_LEN_MAX];
        padded[..server.len()].copy_from_slice(server);
        Ok(Self { client: *client, server: padded, server_len: server.len() })
    }

    /// The option of a message, if it has one.
    #[must_use]
    pub fn of(message: &Message) -> Option<Result<Self, BadCookie>> {
        match message.edns.as_ref()?.option(EdnsCode::Cookie)? {
            EdnsOption::Unknown(OPTION, bytes) => Some(Self::read(bytes)),
            _ => None,
        }
    }

    /// Whether the server gave its part.
    #[must_use]
    pub const fn has_server_part(&self) -> bool {
        self.server_len > 0
    }

    /// Whether a reply brings back what a query with this cookie held.
    #[must_use]
    pub fn is_echoed_by(&self, reply: &Self) -> bool {
        self.client == reply.client
    }

    /// The cookie with a server part from `secret`; not a MAC, so for the demonstration only.
    #[must_use]
    pub fn answered(&self, secret: u64) -> Self {
        let made = keyed(secret, u64::from_be_bytes(self.client)).to_be_bytes();
        let mut server = [0; SERVER_LEN_MAX];
        server[..SERVER_LEN_MIN].copy_from_slice(&made);
        Self { client: self.client, server, server_len: SERVER_LEN_MIN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lengths_of_the_document_are_cookies() {
        for length in 0..60 {
            let bytes: Vec<u8> = (0..length).collect();
            let right = length == 8 || (16..=40).contains(&length);
            let read = Cookie::read(&bytes);
            assert_eq!(read.is_ok(), right, "{length} bytes");
            read.into_iter().for_each(|cookie| assert_eq!(cookie.bytes(), bytes));
        }
    }

    #[test]
    fn every_server_is_told_another() {
        let servers = ["192.0.2.1:53", "192.0.2.2:53", "192.0.2.1:54", "[2001:db8::1]:53"];
        let secret = Secret::new([1; 32]);
        for secret in [None, Some(&secret)] {
            let first = |seed, at: &str| Cookie::first(seed, secret, at.parse().unwrap());
            let made: std::collections::BTreeSet<Vec<u8>> =
                servers.iter().map(|at| first(1, at).bytes()).collect();
            assert_eq!(made.len(), servers.len());
            // Where there is a secret, the seed counts for nothing.
            assert_eq!(first(1, servers[0]) == first(2, servers[0]), secret.is_some());
        }
    }
}
