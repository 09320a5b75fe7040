//! Which clients are answered, and how often: prefixes, and a rate of replies over UDP.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use wirelab::cli::listen::Allow;
use wirelab::measure::Instant;

/// Clients that share a rate: an IPv4 /24 or an IPv6 /56, as BIND's and Unbound's defaults.
const BLOCK_V4: u32 = 24;
const BLOCK_V6: u32 = 56;

/// The first address of a client's block.
fn block(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() >> (32 - BLOCK_V4) << (32 - BLOCK_V4)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> (128 - BLOCK_V6) << (128 - BLOCK_V6)).into()),
    }
}

/// Replies that a block saves up while it asks nothing.
const BURST: Duration = Duration::from_secs(1);
/// Blocks known at once, at most: 64 bytes each.
const BLOCKS_MAX: usize = 50_000;

/// Decision about a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Answer it.
    Yes,
    /// Answer with TC: a client asks again over TCP, the victim of a forged address does not.
    Truncated,
    /// Answer REFUSED: the client is in none of the prefixes.
    Refused,
    /// Do not answer.
    No,
}

/// A block's rate.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// When its rate allows one more reply without a burst.
    next: Instant,
    /// Queries beyond the rate.
    over: u64,
}

/// The rule for clients; those of this machine are always answered.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    allow: Allow,
    /// Replies per second and block over UDP; `None` does not limit them.
    per_second: Option<u32>,
    blocks: HashMap<IpAddr, Block>,
}

impl Admission {
    /// Answers the clients that `allow` permits, over UDP at most this often.
    #[must_use]
    pub fn new(allow: Allow, per_second: u32) -> Self {
        Self { allow, per_second: Some(per_second.max(1)), blocks: HashMap::new() }
    }

    /// Whether a client may connect.
    #[must_use]
    pub fn permits(&self, client: IpAddr) -> bool {
        self.allow.permits(client)
    }

    /// Counts a datagram of a client.
    pub fn datagram(&mut self, now: Instant, client: IpAddr) -> Admitted {
        let client = client.to_canonical();
        if client.is_loopback() {
            return Admitted::Yes;
        }
        let permitted = self.allow.permits(client);
        match self.count(now, client) {
            Admitted::Yes | Admitted::Truncated if !permitted => Admitted::Refused,
            admitted => admitted,
        }
    }

    /// The rate alone: of the queries beyond it every second gets TC.
    fn count(&mut self, now: Instant, client: IpAddr) -> Admitted {
        let Some(per_second) = self.per_second else { return Admitted::Yes };
        let interval = Duration::from_secs(1) / per_second;
        if self.blocks.len() >= BLOCKS_MAX {
            self.blocks.retain(|_, block| block.next > now);
            if self.blocks.len() >= BLOCKS_MAX {
                // A flood of forged addresses must not lock the others out.
                self.blocks.clear();
            }
        }
        let fresh = Block { next: now, over: 0 };
        let block = self.blocks.entry(block(client)).or_insert(fresh);
        let next = block.next.max(now) + interval;
        if next <= now + BURST.max(interval) {
            block.next = next;
            return Admitted::Yes;
        }
        block.over += 1;
        if block.over.is_multiple_of(2) { Admitted::Truncated } else { Admitted::No }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_block_has_its_rate_and_one_second_of_burst() {
        let mut admission = Admission::new(Allow::default(), 100);
        let mut seen = [0_u32; 3];
        // 1000 queries a second for ten seconds, from two addresses of one block.
        for ms in 0..10_000 {
            let client = ip(["192.0.2.1", "192.0.2.200"][usize::from(ms % 2 == 0)]);
            match admission.datagram(at(ms), client) {
                Admitted::Yes => seen[0] += 1,
                Admitted::Truncated => seen[1] += 1,
                Admitted::No => seen[2] += 1,
                Admitted::Refused => panic!("every client is permitted"),
            }
        }
        assert!((1_095..=1_105).contains(&seen[0]), "a second of burst, ten of rate: {seen:?}");
        assert!(seen[1].abs_diff(seen[2]) <= 1, "half of the others may come over TCP: {seen:?}");
        // Its neighbour and this machine are another matter.
        assert_eq!(admission.datagram(at(10_000), ip("192.0.3.1")), Admitted::Yes);
        for _ in 0..1_000 {
            assert_eq!(admission.datagram(at(10_000), ip("127.0.0.1")), Admitted::Yes);
        }
    }

    #[test]
    fn clients_outside_the_prefixes_are_refused_at_the_same_rate() {
        let allow = Allow { allow: vec!["2001:db8::/32".parse().unwrap()] };
        let mut admission = Admission::new(allow, 2);
        let mut ask = |client: &str| admission.datagram(at(0), ip(client));
        assert_eq!(ask("2001:db8::1"), Admitted::Yes);
        let refused: Vec<Admitted> = (0..6).map(|_| ask("198.51.100.1")).collect();
        assert_eq!(refused.iter().filter(|one| **one == Admitted::Yes).count(), 0);
        assert!(refused.contains(&Admitted::Refused) && refused.contains(&Admitted::No));
        assert!(!admission.permits(ip("198.51.100.1")) && admission.permits(ip("::1")));
    }

    #[test]
    fn forged_addresses_fill_no_memory() {
        let mut admission = Admission::new(Allow::default(), 1);
        for number in 0..200_000_u32 {
            let client = IpAddr::from((number << 8).to_be_bytes());
            admission.datagram(at(0), client);
            assert!(admission.blocks.len() <= BLOCKS_MAX);
        }
    }
}
