//! Faults of the zones on the way, in the vocabulary of DNSViz and Zonemaster.

use super::dnssec::UnixSeconds;
use super::dnssec::reason::{Reason, algorithm_name};
use super::event::{Side, Way};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use wirelab::measure::human;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// It costs time, or makes the zone fragile.
    Warning,
    /// A name cannot be resolved, or a server of the zone does not serve it.
    Error,
}

/// A fault of a zone or a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Fault {
    /// No reply to any of several queries (DNSViz: SERVER_UNRESPONSIVE_UDP).
    ServerUnresponsive,
    /// No reply, but asked so rarely that the path may have lost the packets.
    ServerSilent {
        /// Queries that it was sent.
        queries: u32,
    },
    /// The network or its host said that it cannot be reached.
    ServerUnreachable {
        /// In the words of the system.
        why: String,
    },
    /// None of several servers can be reached: it is this host, or its network.
    NothingReachable {
        /// Servers that were asked.
        servers: u32,
        /// In the words of the system.
        why: String,
    },
    /// None of several servers replies: something may keep port 53 from this host.
    NothingReplies {
        /// Servers that were asked.
        servers: u32,
    },
    /// It answers datagrams and takes no connection (RFC 7766 §5 demands both).
    ServerNoTcp,
    /// Delegated, but it says REFUSED (DNSViz: INVALID_RCODE).
    ServerRefuses,
    /// Delegated, but it fails: SERVFAIL, NOTIMP, FORMERR or another code.
    ServerFails {
        /// The response code.
        rcode: String,
    },
    /// Delegated, but it answers without authority (AA=0).
    ServerNotAuthoritative,
    /// Delegated, but it refers to a zone above, to the side, or to the zone itself.
    ServerRefersAway {
        /// Where to.
        to: String,
    },
    /// It sends malformed messages (DNSViz: SERVER_INVALID_RESPONSE_UDP).
    ServerMalformed,
    /// It does not understand EDNS (RFC 6891 has been a standard since 2013).
    ServerNoEdns,
    /// It does not echo the name of the query.
    ServerChangesCase,
    /// It calls a query with a cookie malformed.
    ServerRejectsCookies {
        /// The response code.
        rcode: String,
    },
    /// It was silent when asked in the usual way, and answered in another.
    AnswersOtherwise {
        /// Which way works.
        way: Way,
        /// Queries in the usual way before it.
        silent: u32,
    },
    /// It denied a name below which there are names (RFC 8020 §2).
    DeniesNameAbove {
        /// The name that was denied.
        name: String,
    },
    /// It cuts its answers short over TCP too.
    TruncatesOverTcp,
    /// It answered without authority (AA=0), and no server of the zone gave a better answer.
    AnswerNotAuthoritative {
        /// The name and type.
        subject: String,
    },
    /// Its reply came from another address than the one that was asked.
    ReplyFromElsewhere {
        /// That address.
        from: SocketAddr,
    },
    /// The zone above names a server that the zone itself does not (DNSViz: NS_NAME_NOT_IN_CHILD).
    NsNotInChild {
        /// The server's name.
        subject: String,
    },
    /// The zone names a server that the zone above does not (DNSViz: NS_NAME_NOT_IN_PARENT).
    NsNotInParent {
        /// The server's name.
        subject: String,
    },
    /// The zone above has other addresses for a server than the zone itself (Zonemaster:
    /// IN_BAILIWICK_ADDR_MISMATCH).
    GlueDiffers {
        /// The server's name.
        subject: String,
        /// Its addresses of one family, as they came with the referral.
        above: Vec<IpAddr>,
        /// The same as the zone itself has them.
        own: Vec<IpAddr>,
    },
    /// The zone above gives its NS records another time to live than the zone itself.
    TtlDiffers {
        /// Seconds that the zone above gives them.
        above_s: u32,
        /// Seconds that the zone itself gives them.
        own_s: u32,
    },
    /// The hints name a server of the root that the root does not (RFC 9609 §1).
    HintsServerUnknown {
        /// The server's name.
        subject: String,
    },
    /// The root names a server that the hints do not.
    HintsServerMissing {
        /// The server's name.
        subject: String,
    },
    /// The hints have other addresses for a server of the root than the root.
    HintsAddressesDiffer {
        /// The server's name.
        subject: String,
        /// Its addresses of one family in the hints.
        hints: Vec<IpAddr>,
        /// The same as the root gave them.
        root: Vec<IpAddr>,
    },
    /// No address came for a server whose name lies in the zone itself (RFC 9471).
    GlueMissing {
        /// The server's name.
        subject: String,
    },
    /// The address of a server needs that address itself.
    CyclicDependency {
        /// The server's name.
        subject: String,
    },
    /// No address could be found for a server.
    ServerUnresolvable {
        /// The server's name.
        subject: String,
    },
    /// The zone's own name is an alias, beside its SOA and NS records (RFC 1034 §3.6.2).
    AliasAtApex,
    /// A name has several aliases (RFC 2181 §10.1).
    SeveralAliases {
        /// The name.
        name: String,
    },
    /// A server's name is an alias (RFC 2181 §10.3).
    NsIsAlias {
        /// The server's name.
        subject: String,
        /// Target of the alias.
        target: String,
    },
    /// An address stands where a server's name should.
    NsIsAddress {
        /// The name as it is given.
        subject: String,
    },
    /// The glue of a server is an address at which no server can be.
    AddressUnusable {
        /// The server's name.
        subject: String,
        /// The address.
        given: IpAddr,
    },
    /// A denial has the SOA record of a zone that the name is not in (RFC 2308 §2).
    SoaOfOtherZone {
        /// The owner of the record.
        subject: String,
    },
    /// A record may be kept for longer than 2^31-1 seconds, and so not at all (RFC 2181 §8).
    TtlTooLarge {
        /// Its name.
        name: String,
        /// The seconds.
        ttl_s: u32,
    },
    /// A reply holds more records than are read: what is shown is not all of it.
    RecordsCut {
        /// Records of the reply.
        held: u32,
        /// Records that are read.
        read: u32,
    },
    /// The aliases lead in a circle.
    AliasLoop {
        /// The name that came up twice.
        name: String,
    },
    /// A server spoke of names outside its zone; that was ignored.
    OutOfBailiwick {
        /// The first such name.
        name: String,
    },
    /// Servers of the zone hold different copies of it (Zonemaster: MULTIPLE_SOA_SERIALS).
    SerialsDiffer {
        /// The smallest serial seen.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// Servers of the zone answer the same question differently.
    AnswersDiffer {
        /// The name and type.
        subject: String,
        /// Each answer once.
        answers: Vec<String>,
    },
    /// What one side of the delegation says of the zone's servers leads nowhere; the other's works.
    SideFails {
        /// The side that is wrong.
        side: Side,
    },
    /// Several servers, all at one address: one failure takes the zone away.
    SingleAddress,
    /// The zone above names one server only: one failure takes the zone away.
    SingleServer,
    /// Replies came to no open query: a sign of forgery.
    StrayReplies,
    /// Several servers of the root answered as a resolver would, which none of them is: something
    /// on the way answers for them.
    RootIntercepted,
    /// The zone above has a DS record of a key that the zone has not (Zonemaster:
    /// DS02_NO_DNSKEY_FOR_DS).
    DsMatchesNoKey {
        /// The key's number.
        tag: u16,
    },
    /// A DS record has a digest that must not be used any more (RFC 8624 §3.3).
    DigestDeprecated {
        /// Its number.
        digest: u8,
    },
    /// A key is of an algorithm that should not be used any more (RFC 8624 §3.1, RFC 9905).
    AlgorithmDeprecated {
        /// Its number.
        algorithm: u8,
    },
    /// A signature ends within a day.
    SignatureExpiresSoon {
        /// The key's number.
        tag: u16,
        /// It counts until then.
        until: UnixSeconds,
    },
    /// What the server gave has no signature that holds, and what another one gave has.
    ServerBogus {
        /// The name and type.
        subject: String,
        /// Why it does not hold.
        reason: Box<Reason>,
    },
    /// The data is bogus from every server of the zone that answers.
    AnswerBogus {
        /// The name and type.
        subject: String,
        /// Why it does not hold.
        reason: Box<Reason>,
        /// Servers that gave it.
        servers: u32,
    },
    /// The zone's NSEC3 records have additional iterations (RFC 9276 §3.1).
    Nsec3Iterations {
        /// How many.
        iterations: u16,
    },
}

/// Description of a fault.
struct Description {
    severity: Severity,
    tags: &'static [&'static str],
    words: String,
    remedy: &'static str,
}

/// An error, by other tools' tags for it, its sentence and its remedy.
fn error(tags: &'static [&'static str], words: &str, remedy: &'static str) -> Description {
    Description { severity: Severity::Error, tags, words: words.to_owned(), remedy }
}

fn warning(tags: &'static [&'static str], words: &str, remedy: &'static str) -> Description {
    Description { severity: Severity::Warning, ..error(tags, words, remedy) }
}

fn notice(tags: &'static [&'static str], words: &str, remedy: &'static str) -> Description {
    Description { severity: Severity::Notice, ..error(tags, words, remedy) }
}

const LOAD: &str = "load the zone on that server, or take it out of the zone above";
const READ_LOG: &str = "read the log of that server";
const UPDATE: &str = "update the server, or the middlebox before it";
const SAME_NS: &str = "make the NS records of both zones the same";
const NEW_HINTS: &str = "take new hints: https://www.internic.net/domain/named.root, with --hints";

impl Fault {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.describe().severity
    }

    /// Tags of DNSViz and Zonemaster, if any.
    #[must_use]
    pub fn tags(&self) -> &'static [&'static str] {
        self.describe().tags
    }

    /// Observation in words, printed after the zone and the server.
    #[must_use]
    pub fn words(&self) -> String {
        self.describe().words
    }

    /// The remedy.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.describe().remedy
    }

    /// The faults of one server.
    fn describe(&self) -> Description {
        match self {
            Self::ServerUnresponsive => error(
                &["DNSViz:SERVER_UNRESPONSIVE_UDP", "Zonemaster:CN01_NO_RESPONSE_UDP"],
                "does not reply",
                "start the server, open its port 53, or take it out",
            ),
            Self::ServerSilent { queries } => {
                let times = human::times((*queries).into());
                let words = format!("did not reply (asked {times}; the path may have lost it)");
                warning(&[], &words, "ask again with --check")
            }
            Self::ServerUnreachable { why } => error(
                &["DNSViz:SERVER_UNRESPONSIVE_UDP", "Zonemaster:CN01_NO_RESPONSE_UDP"],
                &format!("cannot be reached: {why}"),
                "start the server, open its port 53, or take it out",
            ),
            Self::NothingReachable { servers, why } => error(
                &[],
                &format!("none of {servers} servers can be reached from this host: {why}"),
                "check this host's routes and its firewall",
            ),
            Self::NothingReplies { servers } => error(
                &[],
                &format!("none of {servers} servers replies: this network may block port 53"),
                "ask from another network, or check this one's firewall",
            ),
            Self::ServerNoTcp => warning(
                &["DNSViz:SERVER_UNRESPONSIVE_TCP", "Zonemaster:CN02_NO_RESPONSE_TCP"],
                "takes no TCP connection",
                "open TCP port 53 of that server",
            ),
            Self::ServerRefuses => {
                error(&["DNSViz:INVALID_RCODE"], "is delegated to, but refuses (REFUSED)", LOAD)
            }
            Self::ServerFails { rcode } => {
                let words = format!("is delegated to, but fails ({rcode})");
                error(&["DNSViz:INVALID_RCODE"], &words, READ_LOG)
            }
            Self::ServerNotAuthoritative => error(
                &["DNSViz:SERVER_NOT_AUTHORITATIVE", "Zonemaster:IS_NOT_AUTHORITATIVE"],
                "is delegated to, but not authoritative",
                LOAD,
            ),
            Self::ServerRefersAway { to } => {
                let words = format!("is delegated to, but refers to {to}");
                error(&["DNSViz:UPWARD_REFERRAL", "Zonemaster:UPWARD_REFERRAL"], &words, LOAD)
            }
            Self::ServerMalformed => error(
                &["DNSViz:SERVER_INVALID_RESPONSE_UDP"],
                "sends malformed DNS messages",
                READ_LOG,
            ),
            Self::ServerNoEdns => {
                notice(&["Zonemaster:NO_EDNS_SUPPORT"], "does not understand EDNS", UPDATE)
            }
            Self::ServerChangesCase => {
                notice(&["DNSViz:CASE_NOT_PRESERVED"], "changes the capitals of the name", UPDATE)
            }
            Self::OutOfBailiwick { name } => {
                let words = format!("speaks of {name}, which is outside its zone; ignored");
                warning(&[], &words, "take foreign names out of the zone")
            }
            _ => self.describe_way(),
        }
    }

    /// How a server wants to be asked, and how it answers.
    fn describe_way(&self) -> Description {
        match self {
            Self::ServerRejectsCookies { rcode } => warning(
                &["DNSViz:ERROR_WITH_EDNS_OPTION"],
                &format!("says {rcode} to a cookie, and is asked without (RFC 6891 §6.1.2)"),
                UPDATE,
            ),
            Self::AnswersOtherwise { way, silent } => {
                let (what, works, remedy) = match way {
                    Way::WholeName => (
                        "for a part of the name",
                        "the whole name",
                        "update the server: it drops names that have no records (RFC 9156 §2.3)",
                    ),
                    Way::NoEdns => ("with EDNS", "without", UPDATE),
                    Way::Tcp => ("over UDP", "over TCP", "open UDP port 53 of that server"),
                };
                let times = human::times((*silent).into());
                let lost = if *silent < 5 { "; the path may have lost them" } else { "" };
                let words =
                    format!("did not reply when asked {what} ({times}{lost}), and answers {works}");
                warning(&[], &words, remedy)
            }
            Self::DeniesNameAbove { name } => error(
                &["DNSViz:INCONSISTENT_NXDOMAIN_ANCESTOR"],
                &format!("denies {name} (NXDOMAIN), and a name below it exists"),
                "update the server: a name with names below it exists (RFC 8020 §2)",
            ),
            Self::TruncatesOverTcp => error(
                &["DNSViz:SERVER_INVALID_RESPONSE_TCP"],
                "cuts its answer short (TC) over TCP too",
                READ_LOG,
            ),
            Self::AnswerNotAuthoritative { subject } => error(
                &["DNSViz:SERVER_NOT_AUTHORITATIVE", "Zonemaster:IS_NOT_AUTHORITATIVE"],
                &format!("answered {subject} without AA; strict resolvers refuse it"),
                LOAD,
            ),
            Self::ReplyFromElsewhere { from } => error(
                &["Zonemaster:DIFFERENT_SOURCE_IP"],
                &format!("answered from {from}; resolvers ignore such replies (RFC 5452 §9.1)"),
                "let the server answer from the address that was asked",
            ),
            _ => self.describe_delegation(),
        }
    }

    /// The faults of a delegation.
    fn describe_delegation(&self) -> Description {
        match self {
            Self::NsNotInChild { subject } => {
                let words = format!("the zone above names {subject}, the zone itself does not");
                let tags = &["DNSViz:NS_NAME_NOT_IN_CHILD", "Zonemaster:EXTRA_NAME_PARENT"];
                warning(tags, &words, SAME_NS)
            }
            Self::NsNotInParent { subject } => {
                let words = format!("the zone names {subject}, the zone above does not");
                let tags = &["DNSViz:NS_NAME_NOT_IN_PARENT", "Zonemaster:EXTRA_NAME_CHILD"];
                warning(tags, &words, SAME_NS)
            }
            Self::GlueDiffers { subject, above, own } => {
                let (above, own) = (listed(above), listed(own));
                warning(
                    &["DNSViz:GLUE_MISMATCH", "Zonemaster:IN_BAILIWICK_ADDR_MISMATCH"],
                    &format!("for {subject} the zone above has {above}, the zone itself {own}"),
                    "give the zone above the addresses that the zone has (RFC 1034 §4.2.2)",
                )
            }
            Self::TtlDiffers { above_s, own_s } => notice(
                &[],
                &format!(
                    "its NS records may be kept for {above_s} s by the zone above, for {own_s} s \
                     by the zone itself; what the zone itself says counts (RFC 2181 §5.4.1)"
                ),
                "make both the same, so that a change of servers takes the time you expect",
            ),
            Self::GlueMissing { subject } => error(
                &["DNSViz:MISSING_GLUE_FOR_NS_NAME"],
                &format!(
                    "no usable address came with the referral for {subject}, which lies in the zone"
                ),
                "add the server's address to the zone above (RFC 9471)",
            ),
            Self::CyclicDependency { subject } => error(
                &[],
                &format!("to find the address of {subject} one needs that address: a circle"),
                "give one of the zones a server with an address",
            ),
            Self::ServerUnresolvable { subject } => error(
                &["DNSViz:NO_ADDRESS_FOR_NS_NAME", "Zonemaster:NO_RESOLUTION"],
                &format!("no address can be found for {subject}"),
                "give the server's name an address, or take it out",
            ),
            Self::SideFails { side: Side::Child } => error(
                &[],
                "its own list of servers leads nowhere, the one of the zone above works: the \
                 zone itself (the child side) is wrong",
                "make the zone's NS records those of the zone above, or mend the servers they name",
            ),
            Self::SideFails { side: Side::Parent } => error(
                &[],
                "the addresses that the zone above gives lead nowhere, those of the servers' own \
                 zone work: the zone above (the parent side) is wrong",
                "give the zone above the servers' present addresses",
            ),
            Self::SingleAddress => warning(
                &["Zonemaster:SAME_IP_ADDRESS"],
                "all of its servers are one address",
                "move one of the servers elsewhere (RFC 2182 §5)",
            ),
            Self::SingleServer => notice(
                &["Zonemaster:NOT_ENOUGH_NS_DEL"],
                "one server alone serves the zone",
                "add a second server elsewhere (RFC 2182 §5)",
            ),
            _ => self.describe_zone(),
        }
    }

    /// Faults of a zone's records.
    fn describe_records(&self) -> Option<Description> {
        Some(match self {
            Self::AliasAtApex => error(
                &[],
                "its own name is an alias (CNAME), which no other record may stand beside",
                "put the address itself there, or an HTTPS record (RFC 1034 §3.6.2, RFC 9460)",
            ),
            Self::SeveralAliases { name } => error(
                &[],
                &format!("{name} has several CNAME records; the first was followed"),
                "leave one of them (RFC 2181 §10.1)",
            ),
            Self::NsIsAlias { subject, target } => error(
                &["Zonemaster:NS_IS_CNAME"],
                &format!("the name of its server {subject} is an alias of {target}"),
                "name the server by a name with addresses (RFC 2181 §10.3)",
            ),
            Self::NsIsAddress { subject } => error(
                &[],
                &format!("an NS record has the address {subject} where a name should be"),
                "give the server a name (RFC 1035 §3.3.11)",
            ),
            Self::AddressUnusable { subject, given } => error(
                &["DNSViz:GLUE_PRIVATE_IP"],
                &format!("the zone above gives {given} for {subject}; it is not asked"),
                "give the zone above the server's public address",
            ),
            Self::SoaOfOtherZone { subject } => warning(
                &["DNSViz:SOA_NOT_OWNER_FOR_NODATA"],
                &format!("denies with the SOA record of {subject}, a zone the name is not in"),
                READ_LOG,
            ),
            Self::TtlTooLarge { name, ttl_s } => warning(
                &[],
                &format!("gives {name} a TTL of {ttl_s} s, which counts as 0 (RFC 2181 §8)"),
                "give it a TTL below 2147483648 s",
            ),
            Self::RecordsCut { held, read } => warning(
                &[],
                &format!("sent {held} records, of which {read} were read: there are more"),
                "spread them over several names",
            ),
            _ => return None,
        })
    }

    /// The faults of a zone's content, of the hints, and of the network.
    fn describe_zone(&self) -> Description {
        if let Some(description) = self.describe_records() {
            return description;
        }
        match self {
            Self::AliasLoop { name } => error(
                &[],
                &format!("the aliases lead back to {name}: a circle"),
                "let one of the aliases point to a name with records",
            ),
            Self::SerialsDiffer { least, most } => warning(
                &["Zonemaster:MULTIPLE_SOA_SERIALS"],
                &format!("its servers hold different copies: serials from {least} to {most}"),
                "check why the older server does not get the zone: transfers, NOTIFY, its log",
            ),
            Self::AnswersDiffer { subject, answers } => notice(
                &[],
                &format!("its servers answer {subject} differently: {}", answers.join(" or ")),
                "compare their serials; where the zone answers by asker, this is meant",
            ),
            Self::HintsServerUnknown { subject } => {
                let words = format!("the hints name {subject}, the root itself does not");
                warning(&[], &words, NEW_HINTS)
            }
            Self::HintsServerMissing { subject } => {
                let words = format!("the root names {subject}, the hints do not");
                notice(&[], &words, NEW_HINTS)
            }
            Self::HintsAddressesDiffer { subject, hints, root } => {
                let (hints, root) = (listed(hints), listed(root));
                let words = format!("for {subject} the hints have {hints}, the root itself {root}");
                warning(&[], &words, NEW_HINTS)
            }
            Self::RootIntercepted => error(
                &[],
                "its servers answer as a resolver would: something on the way answers for them",
                "ask from another network: this one keeps port 53 to itself",
            ),
            Self::StrayReplies => warning(
                &[],
                "replies came that answer no open query",
                "look at the strays: addresses, numbers and questions",
            ),
            _ => self.describe_signing(),
        }
    }

    /// The faults of a zone's signatures.
    fn describe_signing(&self) -> Description {
        match self {
            Self::DsMatchesNoKey { tag } => warning(
                &["Zonemaster:DS02_NO_DNSKEY_FOR_DS"],
                &format!("the zone above has a DS record of key {tag}, which the zone has not"),
                "take the DS record out of the zone above",
            ),
            Self::DigestDeprecated { digest } => warning(
                &["Zonemaster:DS01_DS_ALGO_DEPRECATED"],
                &format!("the zone above has a DS record with a digest of type {digest}, too weak"),
                "put a DS record with SHA-256 there (RFC 8624 §3.3)",
            ),
            Self::AlgorithmDeprecated { algorithm } => warning(
                &["Zonemaster:DS05_ALGO_DEPRECATED"],
                &format!("has a key of {}, too weak", algorithm_name(*algorithm)),
                "roll over to ECDSA or Ed25519 (RFC 8624 §3.1, RFC 6781 §4.1.4)",
            ),
            Self::SignatureExpiresSoon { tag, until } => warning(
                &["Zonemaster:REMAINING_SHORT"],
                &format!("a signature by key {tag} expires on {until}, within a day"),
                "check why re-signing is late",
            ),
            Self::Nsec3Iterations { iterations } => warning(
                &["Zonemaster:DS03_ILLEGAL_ITERATION_VALUE"],
                &format!("its NSEC3 records have {iterations} additional iterations"),
                "sign with no additional iterations (RFC 9276 §3.1)",
            ),
            Self::ServerBogus { subject, reason } => error(
                reason.tags(),
                &format!(
                    "gave {subject} as it does not hold: {}; another server has it right",
                    reason.words()
                ),
                "check why this server has an old copy of the zone: transfers, re-signing",
            ),
            Self::AnswerBogus { subject, reason, servers } => {
                let agree = match servers {
                    0 | 1 => "no other server answered".to_owned(),
                    servers => format!("all {servers} servers that answered agree"),
                };
                error(
                    reason.tags(),
                    &format!("{subject} is bogus: {}; {agree}", reason.words()),
                    "mend the zone's signatures; resolvers that validate answer SERVFAIL",
                )
            }
            _ => notice(&[], "", ""),
        }
    }
}

/// Addresses in a sentence.
fn listed(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

/// A fault, where it was found, and the step that saw it first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
    /// How bad.
    pub severity: Severity,
    /// Tags of other tools, as `DNSViz:TAG` or `Zonemaster:TAG`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The zone concerned.
    pub zone: String,
    /// The server concerned.
    pub server: Option<String>,
    /// Its address.
    pub address: Option<SocketAddr>,
    /// The step that saw it first.
    pub step: u32,
    /// How often it was seen.
    pub seen: u32,
}

/// Identity of a finding.
type Key = (String, Option<(String, SocketAddr)>, Fault);

/// Findings so far, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    found: BTreeMap<Key, Finding>,
}

impl Findings {
    pub(super) fn note(
        &mut self,
        fault: Fault,
        zone: &str,
        server: Option<(String, SocketAddr)>,
        step: u32,
    ) {
        let key = (zone.to_owned(), server, fault);
        let finding = self.found.entry(key).or_insert_with_key(|(zone, server, fault)| Finding {
            severity: fault.severity(),
            tags: fault.tags().iter().map(|tag| (*tag).to_owned()).collect(),
            fault: fault.clone(),
            zone: zone.clone(),
            server: server.as_ref().map(|(name, _)| name.clone()),
            address: server.as_ref().map(|(_, address)| *address),
            step,
            seen: 0,
        });
        finding.seen += 1;
    }

    /// All of them: the worst first, then in the order in which they were met.
    pub(super) fn list(&self) -> Vec<Finding> {
        let mut list: Vec<Finding> = self.found.values().cloned().collect();
        list.sort_by_key(|finding| (std::cmp::Reverse(finding.severity), finding.step));
        list
    }
}
