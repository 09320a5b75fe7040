//! The events of a walk, in order: one serializable record each.

use super::dnssec::reason::Reason;
use super::dnssec::{Status, UnixSeconds};
use super::limits::{Limits, Spent};
use super::message::{Messages, Octets};
use crate::outcome::Outcome;
use crate::text::{Asked, EdnsSeen, RecordText, StrayReason};
use crate::trust::{DropReason, Rank};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use wirelab::measure::Instant;

/// The version of every record; it changes when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

/// One line of `events.ndjson`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`VERSION`].
    pub v: u32,
    /// When, nanoseconds since the run began.
    pub t_ns: Instant,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum Event {
    /// The walk began.
    #[serde(rename = "start")]
    Start(Start),
    /// A query and its result.
    #[serde(rename = "exchange")]
    Exchange(Box<Exchange>),
    /// A question was answered from the cache.
    #[serde(rename = "cache")]
    Cache(CacheUse),
    /// A link of the chain of trust was judged.
    #[serde(rename = "chain")]
    Chain(Box<super::dnssec::link::Link>),
    /// A special-use name was answered locally (RFC 6761).
    #[serde(rename = "local")]
    Local(LocalAnswer),
    /// Something arrived that answers no open query.
    #[serde(rename = "stray")]
    Stray(Stray),
    /// The last record of the walk itself.
    #[serde(rename = "summary")]
    Summary(Box<Summary>),
    /// A resolver's reply to the same question, after the walk.
    #[serde(rename = "comparison")]
    Comparison(Box<super::comparison::Comparison>),
}

/// How a walk began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The user's question.
    pub question: Asked,
    /// Seed of every draw.
    pub seed: u64,
    /// How names are minimised.
    pub qmin: Qmin,
    /// Limits of the walk.
    pub limits: Limits,
    /// Records that an earlier walk left in the cache.
    pub cached: u32,
    /// The side of each delegation that is walked; absent for both, as resolvers do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
}

/// A side of a delegation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The servers that the zone above names, at the addresses that it gives.
    Parent,
    /// The servers that each zone names itself, at the addresses that it gives.
    Child,
}

/// How much of a name servers above its zone are sent (RFC 9156).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Qmin {
    /// The whole name to every server, as `dig`.
    Off,
    /// One more label at a time; the whole name to a server that mishandles it.
    #[default]
    Relaxed,
    /// One label more at a time, and an error is an error.
    Strict,
}

/// Why a question was asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "snake_case")]
pub enum Purpose {
    /// The user asked it.
    Answer,
    /// A name turned out to be an alias of this one.
    Alias {
        /// The name that led here.
        of: String,
    },
    /// A server's address came with no referral.
    Address {
        /// The server's name.
        server: String,
        /// The zone that it serves.
        zone: String,
    },
    /// The chain of trust needs it: the keys of a zone, or what the zone above says of them.
    Chain {
        /// The zone.
        zone: String,
    },
    /// The answer is known; this probes a server of a zone on the way.
    Check {
        /// The zone.
        zone: String,
    },
    /// The child's side alone is walked: which servers does the zone itself name, and where?
    OwnServers {
        /// The zone.
        zone: String,
    },
    /// The walk began with hints; this asks the root which servers it has (RFC 9609).
    Prime,
}

/// Where a server's address came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum AddressSource {
    /// The list of root servers that the walk began with.
    Hints,
    /// The referral brought it (RFC 1034 §4.2.1).
    Glue {
        /// The step of that referral.
        step: u32,
    },
    /// An authoritative answer of this or an earlier walk.
    Answer {
        /// The step of that answer.
        step: u32,
    },
    /// The zone above names it and the user checks it.
    Earlier,
}

/// A server as it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its name, as the zone above gives it.
    pub name: String,
    /// Address and port.
    pub address: SocketAddr,
    /// Where the address came from.
    #[serde(flatten)]
    pub source: AddressSource,
}

/// Transport of a query.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// One datagram each way.
    #[default]
    Udp,
    /// A connection, two bytes of length before each message (RFC 7766).
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

/// Another way to ask a server that stays silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The whole name instead of a part of it (RFC 9156 §2.3).
    WholeName,
    /// Without EDNS (RFC 6891 §6.2.2).
    NoEdns,
    /// Over TCP (RFC 7766 §5).
    Tcp,
}

/// Class of a reply, or that none came. The words avoid "lame", which RFC 9499 calls
/// ambiguous.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Class {
    /// Authoritative, with the records asked for.
    Answer,
    /// Authoritative: the name is another name for this one.
    Alias {
        /// The name to go on with.
        to: String,
    },
    /// The zone is cut here: others serve what is below.
    Referral {
        /// The zone that the others serve.
        to: String,
        /// Servers named.
        servers: u32,
        /// Servers whose address came along.
        with_address: u32,
    },
    /// Authoritative: the name exists and has no such record (RFC 2308 §2.2).
    NoData,
    /// Authoritative: the name does not exist, nor anything below it (RFC 8020).
    NxDomain,
    /// The reply was cut short; the same server is asked over TCP (RFC 7766 §5).
    Truncated,
    /// The server does not understand the options; it is asked again without (RFC 6891 §7).
    NoEdns,
    /// The server calls an option malformed; it is asked again without cookie (RFC 7873 §5.4).
    NoCookie,
    /// The server will not answer for this zone.
    Refused,
    /// The server failed.
    ServFail,
    /// The server cannot do this.
    NotImp,
    /// The server calls the query malformed.
    FormErr,
    /// Another response code.
    OtherCode,
    /// An answer, but not of this server's own (AA=0).
    NotAuthoritative {
        /// Whether it offers recursion: it is a resolver, not a server of the zone.
        recursion: bool,
    },
    /// A referral to the zone asked itself: the server does not have it.
    SelfReferral,
    /// A referral away from the name: to a zone above, or to the side.
    UpwardReferral {
        /// Where to.
        to: String,
    },
    /// Not a message.
    Malformed {
        /// Its fault.
        why: String,
    },
    /// The name came back with other capitals, so it may be forged; asked again over TCP.
    CaseLost,
    /// It lacks the cookie that this server gives, so it may be forged; asked again over TCP.
    CookieLost,
    /// The server wants its newest cookie; asked again with it.
    BadCookie,
    /// Nothing came within the patience of this attempt, nor later before the step ended.
    NoReply,
    /// Another server answered first; this one was still within its time.
    Overtaken,
    /// The network or the host reported that nothing listens there.
    Unreachable {
        /// In the words of the system.
        why: String,
    },
}

impl Class {
    /// Whether the reply took the walk further.
    #[must_use]
    pub const fn is_useful(&self) -> bool {
        matches!(
            self,
            Self::Answer
                | Self::Alias { .. }
                | Self::Referral { .. }
                | Self::NoData
                | Self::NxDomain
        )
    }

    /// Whether anything came back at all.
    #[must_use]
    pub const fn is_reply(&self) -> bool {
        !matches!(self, Self::NoReply | Self::Overtaken | Self::Unreachable { .. })
    }
}

/// A record that was learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learned {
    /// The record.
    #[serde(flatten)]
    pub record: RecordText,
    /// How far it is believed.
    pub rank: Rank,
}

/// A record that was not learned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The record.
    #[serde(flatten)]
    pub record: RecordText,
    /// Why.
    pub why: DropReason,
}

/// A query and its result, complete in itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// A question put to a zone; attempts at its servers share the number.
    pub step: u32,
    /// The step that needed this one.
    pub parent: Option<u32>,
    /// Why it was asked.
    pub purpose: Purpose,
    /// The zone whose servers were asked.
    pub zone: String,
    /// The question as sent: minimised, with random case bits.
    pub sent: Asked,
    /// The question as it was meant.
    pub meant: Asked,
    /// The server asked.
    pub server: Server,
    /// Its transport.
    pub transport: Transport,
    /// Which attempt of the step, from 1.
    pub attempt: u32,
    /// When it was sent.
    pub sent_ns: Instant,
    /// How long the reply took.
    pub rtt_ns: Option<u64>,
    /// How long the walk waits before it asks another server.
    pub patience_ns: u64,
    /// Bytes of the query.
    pub bytes_sent: u32,
    /// Bytes of the reply.
    pub bytes_received: Option<u32>,
    /// The response code.
    pub rcode: Option<String>,
    /// The flags of the reply.
    pub flags: Vec<String>,
    /// EDNS of the reply.
    pub edns: Option<EdnsSeen>,
    /// Class of the reply, or none.
    pub class: Class,
    /// Records learned.
    pub learned: Vec<Learned>,
    /// Records ignored, with reasons.
    pub dropped: Vec<Dropped>,
    /// The messages themselves, where they are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Box<Messages>>,
}

/// A question that the cache answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheUse {
    /// The step that needed it.
    pub parent: Option<u32>,
    /// Why it was asked.
    pub purpose: Purpose,
    /// The question.
    pub meant: Asked,
    /// Answer of the cache.
    pub class: Class,
    /// The step that learned it.
    pub learned_at: u32,
    /// Seconds for which it is believed yet.
    pub ttl_left_s: u32,
}

/// A question that no server is asked, because a document keeps its name from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAnswer {
    /// The step that needed it.
    pub parent: Option<u32>,
    /// Why it was asked.
    pub purpose: Purpose,
    /// The question.
    pub meant: Asked,
    /// The reply: an answer, no such record, no such name.
    pub class: Class,
    /// The domain that the name lies in.
    pub domain: String,
    /// The document that keeps it from the network.
    pub document: String,
    /// Purpose of the domain.
    pub why: String,
}

/// Something that arrived and answers nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stray {
    /// The sender, as far as an address tells.
    pub from: SocketAddr,
    /// The step whose socket it came to, if that is open.
    pub step: Option<u32>,
    /// Its length.
    pub bytes: u32,
    /// Why it answers nothing.
    pub why: StrayReason,
    /// The message, if messages are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Box<Octets>>,
}

/// The end of a walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The user's question.
    pub question: Asked,
    /// Its name as people write it, where that is not ASCII (RFC 5890 §2.3.2.1).
    pub unicode: Option<String>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The aliases that led to the answer, in order.
    pub aliases: Vec<RecordText>,
    /// The records asked for.
    pub answers: Vec<RecordText>,
    /// From the beginning to the answer, without the checks after it.
    pub elapsed_ns: u64,
    /// Round trips that the answer had to wait for, added up: what the walk takes where every
    /// server answers the first time.
    pub best_path_ns: u64,
    /// Steps that led to the answer or to a server's address.
    pub steps: u32,
    /// Queries sent, checks included.
    pub queries: u32,
    /// Of [`Limits::queries`].
    pub budget: u32,
    /// Queries that repeat a question of the same step.
    pub retries: u32,
    /// Attempts without a reply.
    pub unanswered: u32,
    /// Questions that the cache answered.
    pub cache_hits: u32,
    /// Things that arrived and answered nothing.
    pub strays: u32,
    /// Bytes of all queries.
    pub bytes_sent: u64,
    /// Bytes of all replies.
    pub bytes_received: u64,
    /// Use of every limit.
    pub spent: Vec<Spent>,
    /// Faults of the zones on the way.
    pub findings: Vec<super::finding::Finding>,
    /// How far the answer is proved; absent where that was not asked for.
    pub security: Option<Security>,
    /// Addresses of servers that were left out for their family; a walk of an earlier version did
    /// not count them.
    #[serde(default)]
    pub skipped: Option<Skipped>,
}

/// Addresses of servers that were left out for their family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The family.
    pub family: Family,
    /// Number of distinct addresses.
    pub addresses: u32,
    /// Why.
    pub why: SkipReason,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Of four bytes (RFC 791).
    IPv4,
    /// Of sixteen bytes (RFC 8200).
    IPv6,
}

/// Why a family of addresses is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The user wants the other one.
    #[default]
    NotWanted,
    /// This host has no way to such addresses.
    NoRoute,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = if self.addresses == 1 { "address" } else { "addresses" };
        let why = match (self.why, self.family) {
            (SkipReason::NoRoute, _) => "no route",
            (SkipReason::NotWanted, Family::IPv4) => "IPv6 only, as told",
            (SkipReason::NotWanted, Family::IPv6) => "IPv4 only, as told",
        };
        write!(f, "{} {addresses} of {:?}: {why}", self.addresses, self.family)
    }
}

/// How far the answer is proved: the worst of all that it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// In one word.
    pub status: Status,
    /// Why.
    #[serde(flatten)]
    pub reason: Reason,
    /// Why, in a sentence.
    pub words: String,
    /// The question whose answer decided it.
    pub subject: String,
    /// The extended error that a resolver would give (RFC 8914).
    pub extended_error: Option<u16>,
    /// The time at which signatures were judged.
    pub at: UnixSeconds,
    /// Links of the chain that were judged.
    pub links: u32,
    /// Signatures that were computed.
    pub signatures_computed: u32,
}
