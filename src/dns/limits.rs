//! Every limit of a walk, with its name and where it comes from.
//!
//! It exists so that no zone, however made, can make a walk send more than its budget.
//! It must never be raised in silence: the summary of a walk says which limits it ran under.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What one walk may spend.
///
/// Every value bounds one loop or one queue. The budget of queries bounds them all together: the
/// attacks that multiply (NXNSAttack: glueless servers; CAMP: aliases times servers times retries)
/// stay below each single limit and meet this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Queries of the whole walk, retries and sub-walks included. BIND stops at 200, Unbound's
    /// quota is 200, Knot Resolver's 100: a walk with every usual fault needs fewer than 40.
    pub queries: u32,
    /// Aliases of one question, one after another: 11, as BIND and Unbound.
    pub aliases: u32,
    /// Sub-walks inside each other: a server's address that needs a server's address, and so on.
    /// BIND allows 7.
    pub depth: u32,
    /// Referrals of one question: a name has at most 127 labels, real ones fewer than 10;
    /// reverse names of IPv6 have 34.
    pub referrals: u32,
    /// Servers of one zone that are considered: the root has 13, and nobody needs more.
    pub servers: u32,
    /// Servers without an address whose address is walked for, per zone and question. The
    /// MaxFetch(k) of the NXNSAttack paper (arXiv 2005.09107), as BIND at depth 0.
    pub glueless: u32,
    /// Attempts at one server for one question: at 10 % loss each way all of 5 fail once in 4,000.
    pub attempts: u32,
    /// Attempts of one step, at all servers of the zone: each of 13 once, and three again.
    pub step_attempts: u32,
    /// Records of one reply that are looked at: a message of 64 KiB holds at most 5,957 of the
    /// smallest size, a referral of 13 servers with both addresses 39.
    pub records: u32,
    /// Replies nobody asked for that are described; further ones are counted only.
    pub strays: u32,
    /// Entries of the cache: a walk that sends 100 queries learns at most 30 from each.
    pub cache_entries: u32,
    /// Longest time that a record is believed: 7 days (RFC 8767 §4).
    pub ttl_s: u32,
    /// Longest time that an absence is believed: 3 hours (RFC 2308 §5).
    pub negative_ttl_s: u32,
    /// The whole walk in nanoseconds: 20 s. A stub resolver gives up after 10 s to 30 s.
    pub time_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queries: 100,
            aliases: 11,
            depth: 7,
            referrals: 40,
            servers: 13,
            glueless: 3,
            attempts: 5,
            step_attempts: 16,
            records: 512,
            strays: 20,
            cache_entries: 3_000,
            ttl_s: 7 * 86_400,
            negative_ttl_s: 3 * 3_600,
            time_ns: 20_000_000_000,
        }
    }
}

impl Limits {
    /// The longest time that a walk takes.
    #[must_use]
    pub const fn time(&self) -> Duration {
        Duration::from_nanos(self.time_ns)
    }
}

/// A limit that ended a walk or a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// [`Limits::queries`].
    Queries,
    /// [`Limits::aliases`].
    Aliases,
    /// [`Limits::depth`].
    Depth,
    /// [`Limits::referrals`].
    Referrals,
    /// [`Limits::time_ns`].
    Time,
}

impl Limit {
    /// What was reached, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Queries => "the budget of queries is spent",
            Self::Aliases => "too many aliases, one after another",
            Self::Depth => "too many sub-walks inside each other",
            Self::Referrals => "too many referrals",
            Self::Time => "the time for the whole walk is over",
        }
    }
}
