//! How fast each server is, and what it cannot do.

use super::cookie::Cookie;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use wirelab::measure::{Instant, nanos};

/// Patience with a server never asked, at first. Knot Resolver waits 400 ms, Unbound 376 ms.
pub const PATIENCE_FIRST: Duration = Duration::from_millis(400);
/// The same once this walk has seen round trips: four times the slowest, but at least this. A
/// server that is merely far away answers late and is still heard; the price is one query.
pub const PATIENCE_UNKNOWN_MIN: Duration = Duration::from_millis(150);
/// Patience with a server whose round trips are known, at least: a busy host may take 50 ms.
pub const PATIENCE_MIN: Duration = Duration::from_millis(50);
/// Patience with any server: a round trip by satellite takes 600 ms.
pub const PATIENCE_MAX: Duration = Duration::from_millis(1600);
/// Patience with a connection: three packets more than a datagram needs, each of which the kernel
/// repeats after a second (RFC 6298 §2).
pub const PATIENCE_TCP: Duration = Duration::from_millis(2500);

/// Measurements of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerState {
    /// Smoothed round trip and its variation, nanoseconds (RFC 6298 §2).
    rtt: Option<(u64, u64)>,
    /// Attempts without a reply since the last reply.
    pub silent: u32,
    /// When the last reply came.
    replied: Option<Instant>,
    /// It did not understand EDNS.
    pub no_edns: bool,
    /// It calls cookies malformed.
    pub no_cookie: bool,
    /// It answers over TCP alone.
    pub tcp_only: bool,
    /// It does not send names back as they were asked; only a connection proves its replies.
    pub case_lost: bool,
    /// The cookie that it gave.
    pub cookie: Option<Cookie>,
}

/// All servers that a walk has asked.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    known: BTreeMap<SocketAddr, ServerState>,
    slowest_ns: u64,
}

impl Servers {
    /// Measurements of a server.
    #[must_use]
    pub fn get(&self, address: SocketAddr) -> ServerState {
        self.known.get(&address).copied().unwrap_or_default()
    }

    /// Measurements of a server, mutable.
    pub fn entry(&mut self, address: SocketAddr) -> &mut ServerState {
        self.known.entry(address).or_default()
    }

    /// Forgets every server where more than `most` are known: each is soon known again.
    pub fn shed(&mut self, most: usize) {
        if self.known.len() > most {
            self.known.clear();
        }
    }

    /// A query sent then has waited long enough. Where the server has replied since, to any query,
    /// the query or its reply was lost, and nothing is held against the server.
    pub fn overdue(&mut self, address: SocketAddr, sent: Instant) {
        let server = self.known.entry(address).or_default();
        if server.replied.is_none_or(|replied| replied <= sent) {
            server.silent = server.silent.saturating_add(1);
        }
    }

    /// A reply came after `rtt`.
    pub fn replied(&mut self, now: Instant, address: SocketAddr, rtt: Duration) {
        let sample = nanos(rtt);
        self.slowest_ns = self.slowest_ns.max(sample);
        let server = self.known.entry(address).or_default();
        (server.silent, server.replied) = (0, Some(now));
        server.rtt = Some(match server.rtt {
            None => (sample, sample / 2),
            // RFC 6298 §2.3: beta is 1/4, alpha 1/8.
            Some((srtt, var)) => {
                let var = (3 * var + srtt.abs_diff(sample)) / 4;
                ((7 * srtt + sample) / 8, var)
            }
        });
    }

    /// How long to wait for this server before another is asked too.
    #[must_use]
    pub fn patience(&self, address: SocketAddr) -> Duration {
        let server = self.get(address);
        let base = match server.rtt {
            Some((srtt, var)) => Duration::from_nanos(srtt + 4 * var).max(PATIENCE_MIN),
            None if self.slowest_ns == 0 => PATIENCE_FIRST,
            None => {
                let guess = Duration::from_nanos(4 * self.slowest_ns);
                guess.clamp(PATIENCE_UNKNOWN_MIN, PATIENCE_FIRST)
            }
        };
        // One silence is a lost packet; from the second on back off (RFC 6298 §5.5).
        (base * (1 << server.silent.saturating_sub(1).min(5))).min(PATIENCE_MAX)
    }

    /// Which of two servers to ask first: the smaller value. A server never asked counts as fast,
    /// so that each gets its turn; one that was silent waits behind all others.
    #[must_use]
    pub fn cost_ns(&self, address: SocketAddr) -> u64 {
        let server = self.get(address);
        let expected = server.rtt.map_or(0, |(srtt, _)| srtt);
        expected + u64::from(server.silent) * nanos(PATIENCE_FIRST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_server_that_has_replied_since_is_not_silent() {
        let mut servers = Servers::default();
        let a = "192.0.2.1:53".parse().unwrap();
        servers.overdue(a, at(0));
        assert_eq!(servers.get(a).silent, 1);
        servers.replied(at(20), a, Duration::from_millis(5));
        servers.overdue(a, at(10));
        assert_eq!(servers.get(a).silent, 0, "it replied at 20 ms");
        servers.overdue(a, at(21));
        servers.overdue(a, at(22));
        assert_eq!(servers.get(a).silent, 2);
    }

    #[test]
    fn patience_is_short_with_the_unknown_and_backs_off_from_the_silent() {
        let mut servers = Servers::default();
        let [a, b] = ["192.0.2.1:53", "192.0.2.2:53"].map(|text| text.parse().unwrap());
        assert_eq!(servers.patience(a), PATIENCE_FIRST);
        servers.replied(at(60), a, Duration::from_millis(60));
        assert_eq!(servers.patience(a), Duration::from_millis(180));
        assert_eq!(servers.patience(b), Duration::from_millis(240));
        assert!(servers.cost_ns(b) < servers.cost_ns(a));
        servers.entry(b).silent = 1;
        assert_eq!(servers.patience(b), Duration::from_millis(240));
        servers.entry(b).silent = 2;
        assert_eq!(servers.patience(b), Duration::from_millis(480));
        assert!(servers.cost_ns(b) > servers.cost_ns(a));
        servers.entry(b).silent = u32::MAX;
        assert_eq!(servers.patience(b), PATIENCE_MAX);
        servers.replied(at(70), b, Duration::from_micros(30));
        assert_eq!(servers.patience(b), PATIENCE_MIN);
    }
}
