//! Every limit of a walk, with its name and where it comes from.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wirelab::measure::human::latency;

// Numbers of things in memory and limits convert into each other without loss.
const _: () = assert!(usize::BITS >= u32::BITS && usize::BITS <= u64::BITS);

/// A number of things in memory, to compare with a limit.
pub(crate) const fn counted(length: usize) -> u64 {
    length as u64
}

/// A limit as a number of things in memory.
pub(crate) const fn at_most(limit: u32) -> usize {
    limit as usize
}

/// Limits of one walk.
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
    /// Servers of one zone that are considered: the root has 13, and no zone needs more.
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
    /// Stray replies that are described; further ones are only counted.
    pub strays: u32,
    /// Entries of the cache: a walk that sends 100 queries learns at most 30 from each.
    pub cache_entries: u32,
    /// Longest time that a record is believed: 7 days (RFC 8767 §4).
    pub ttl_s: u32,
    /// Longest time that an absence is believed: 3 hours (RFC 2308 §5).
    pub negative_ttl_s: u32,
    /// The whole walk in nanoseconds: 20 s. A stub resolver gives up after 10 s to 30 s.
    pub time_ns: u64,
    /// Bytes of messages that are kept for the records: 1 MiB. 100 queries and their replies of
    /// 1,232 bytes are 130 kB; only replies over TCP can fill it. A message over it is left out.
    #[serde(default)]
    pub message_bytes: u32,
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
            message_bytes: 1 << 20,
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

/// A limit, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// [`Limits::queries`].
    Queries,
    /// [`Limits::time_ns`].
    Time,
    /// [`Limits::aliases`].
    Aliases,
    /// [`Limits::depth`].
    Depth,
    /// [`Limits::referrals`].
    Referrals,
    /// [`Limits::servers`].
    Servers,
    /// [`Limits::glueless`].
    Glueless,
    /// [`Limits::attempts`].
    Attempts,
    /// [`Limits::step_attempts`].
    StepAttempts,
    /// [`Limits::records`].
    Records,
    /// [`Limits::strays`].
    Strays,
    /// [`Limits::cache_entries`].
    CacheEntries,
    /// [`Limits::message_bytes`].
    MessageBytes,
}

impl Limit {
    /// Each of them, those that end a walk first.
    pub const ALL: [Self; 13] = [
        Self::Queries,
        Self::Time,
        Self::Aliases,
        Self::Depth,
        Self::Referrals,
        Self::Servers,
        Self::Glueless,
        Self::Attempts,
        Self::StepAttempts,
        Self::Records,
        Self::Strays,
        Self::CacheEntries,
        Self::MessageBytes,
    ];

    /// The limit reached, and its unit.
    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Queries => ("the budget of queries is spent", "queries"),
            Self::Time => ("the time for the whole walk is over", "of time"),
            Self::Aliases => ("too many aliases, one after another", "aliases of one question"),
            Self::Depth => ("too many sub-walks inside each other", "sub-walks inside each other"),
            Self::Referrals => ("too many referrals", "referrals of one question"),
            Self::Servers => ("a zone names too many servers", "servers named by one reply"),
            Self::Glueless => {
                ("too many servers came without an address", "addresses walked for in one step")
            }
            Self::Attempts => {
                ("a server was asked too often", "attempts at one server in one step")
            }
            Self::StepAttempts => {
                ("the servers of a zone were asked too often", "attempts in one step")
            }
            Self::Records => ("a reply holds too many records", "records in one reply"),
            Self::Strays => ("too many strays to describe", "strays"),
            Self::CacheEntries => ("the cache is full", "entries in the cache"),
            Self::MessageBytes => ("there are too many messages to keep", "bytes of messages kept"),
        }
    }

    /// The limit reached, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        self.texts().0
    }
}

impl Limits {
    /// How much a limit allows: a number, or nanoseconds of time.
    #[must_use]
    pub const fn allowed(&self, limit: Limit) -> u64 {
        let number = match limit {
            Limit::Time => return self.time_ns,
            Limit::Queries => self.queries,
            Limit::Aliases => self.aliases,
            Limit::Depth => self.depth,
            Limit::Referrals => self.referrals,
            Limit::Servers => self.servers,
            Limit::Glueless => self.glueless,
            Limit::Attempts => self.attempts,
            Limit::StepAttempts => self.step_attempts,
            Limit::Records => self.records,
            Limit::Strays => self.strays,
            Limit::CacheEntries => self.cache_entries,
            Limit::MessageBytes => self.message_bytes,
        };
        // A widening that `u64::from` cannot do in a constant function.
        number as u64
    }
}

/// Use of one limit by a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Which.
    pub limit: Limit,
    /// The most of it at any time: a number, or nanoseconds of time.
    pub spent: u64,
    /// How much was allowed.
    pub allowed: u64,
    /// Whether more was wanted, and refused.
    pub refused: bool,
}

impl Spent {
    /// `7 of 100 queries`.
    #[must_use]
    pub fn words(&self) -> String {
        let more = if self.refused { ", and more were refused" } else { "" };
        let (_, counted) = self.limit.texts();
        match self.limit {
            Limit::Time => {
                format!("{} of {} {counted}{more}", latency(self.spent), latency(self.allowed))
            }
            _ => format!("{} of {} {counted}{more}", self.spent, self.allowed),
        }
    }
}

/// Budget of a walk, counted as it goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget {
    most: BTreeMap<Limit, u64>,
    refused: BTreeSet<Limit>,
}

impl Budget {
    /// So much of a limit is spent at this moment.
    pub(super) fn spend(&mut self, limit: Limit, amount: u64) {
        let most = self.most.entry(limit).or_default();
        *most = amount.max(*most);
    }

    /// The same of something that may want more than it gets.
    pub(super) fn want(&mut self, limits: &Limits, limit: Limit, wanted: u64) {
        let allowed = limits.allowed(limit);
        self.spend(limit, wanted.min(allowed));
        if wanted > allowed {
            self.refuse(limit);
        }
    }

    /// More of a limit was wanted than there is.
    pub(super) fn refuse(&mut self, limit: Limit) {
        self.refused.insert(limit);
    }

    /// The whole account.
    pub(super) fn account(&self, limits: &Limits) -> Vec<Spent> {
        let spent = |limit| Spent {
            limit,
            spent: self.most.get(&limit).copied().unwrap_or_default(),
            allowed: limits.allowed(limit),
            refused: self.refused.contains(&limit),
        };
        Limit::ALL.into_iter().map(spent).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_names_every_limit_and_what_was_refused() {
        let limits = Limits::default();
        let mut budget = Budget::default();
        budget.spend(Limit::Queries, 7);
        budget.spend(Limit::Queries, 3);
        budget.want(&limits, Limit::Servers, 300);
        budget.spend(Limit::Time, 1_500_000_000);
        let account = budget.account(&limits);
        assert_eq!(account.len(), Limit::ALL.len());
        let words: Vec<String> = account.iter().map(Spent::words).collect();
        assert_eq!(words[0], "7 of 100 queries");
        assert_eq!(words[1], "1.50 s of 20.0 s of time");
        assert_eq!(words[5], "13 of 13 servers named by one reply, and more were refused");
        assert_eq!(words[11], "0 of 3000 entries in the cache");
    }
}
