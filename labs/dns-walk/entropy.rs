//! The source of unpredictable query IDs, case bits and cookies.
//!
//! Not the seed: a server could find a short seed by trying, and so predict the queries to other
//! servers (RFC 5452 §4.5, RFC 7873 §4.1). The secret is never shown, stored or used in two runs.
//!
//! Draws are HMAC-SHA-256 (RFC 2104) of what is drawn for: one draw tells nothing of another.

use ring::hmac;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Bytes of a secret: as many as the hash gives (RFC 2104 §3).
pub const SECRET_LEN: usize = 32;

/// The key of all draws of one run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret([u8; SECRET_LEN]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// A secret of bytes that the system drew.
    #[must_use]
    pub const fn new(bytes: [u8; SECRET_LEN]) -> Self {
        Self(bytes)
    }

    /// For the number and the capitals of one query of one walk.
    #[must_use]
    pub fn for_query(&self, walk: u64, attempt: u32, step: u32) -> u64 {
        self.draw("query", &[&walk.to_be_bytes(), &attempt.to_be_bytes(), &step.to_be_bytes()])
    }

    /// For the cookie of one server.
    #[must_use]
    pub fn for_cookie(&self, server: SocketAddr) -> u64 {
        let port = server.port().to_be_bytes();
        match server.ip() {
            IpAddr::V4(address) => self.draw("cookie", &[&address.octets(), &port]),
            IpAddr::V6(address) => self.draw("cookie", &[&address.octets(), &port]),
        }
    }

    /// For the order of tables that names from the network are kept in.
    #[must_use]
    pub fn for_tables(&self) -> u64 {
        self.draw("tables", &[])
    }

    fn draw(&self, what: &str, parts: &[&[u8]]) -> u64 {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        mac.update(what.as_bytes());
        parts.iter().for_each(|part| mac.update(part));
        let tag = mac.sign();
        tag.as_ref().iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn draws_are_those_of_the_standard_and_differ_by_all_that_they_are_for() {
        let secret = Secret::new([0x0b; SECRET_LEN]);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[0x0b; SECRET_LEN]);
        let tag = hmac::sign(&key, b"query\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03");
        assert_eq!(secret.for_query(1, 2, 3).to_be_bytes(), tag.as_ref()[..8]);
        let at = |text: &str| secret.for_cookie(text.parse().unwrap());
        let other = Secret::new([0x0c; SECRET_LEN]);
        let draws = BTreeSet::from([
            secret.for_query(1, 2, 3),
            secret.for_query(2, 2, 3),
            secret.for_query(1, 3, 3),
            secret.for_query(1, 2, 4),
            other.for_query(1, 2, 3),
            at("192.0.2.1:53"),
            at("192.0.2.2:53"),
            at("192.0.2.1:54"),
            at("[2001:db8::1]:53"),
            secret.for_tables(),
        ]);
        assert_eq!(draws.len(), 10);
    }

    #[test]
    fn it_is_never_shown() {
        assert_eq!(format!("{:?}", Secret::new([7; SECRET_LEN])), "Secret(..)");
    }
}
