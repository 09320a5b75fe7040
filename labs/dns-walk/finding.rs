//! What is wrong with the zones on the way, in the vocabulary of DNSViz and Zonemaster.
//!
//! It exists so that a person learns which zone to mend, and how. It must never blame a server for
//! what the path may have done: a finding says what was seen, by whom, at which step.

use super::dnssec::UnixSeconds;
use super::dnssec::reason::algorithm_name;
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

/// What was found.
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
    /// What it sends is no message (DNSViz: SERVER_INVALID_RESPONSE_UDP).
    ServerMalformed,
    /// It does not understand EDNS (RFC 6891 has been a standard since 2013).
    ServerNoEdns,
    /// It does not send the name back as it was asked.
    ServerChangesCase,
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
    /// Several servers, all at one address: one failure takes the zone away.
    SingleAddress,
    /// The zone above names one server only: one failure takes the zone away.
    SingleServer,
    /// Replies came that nobody asked for: somebody may be forging.
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
    /// The zone's NSEC3 records want additional rounds of the hash (RFC 9276 §3.1).
    Nsec3Iterations {
        /// How many.
        iterations: u16,
    },
}

impl Fault {
    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        match self {
            Self::ServerUnresponsive
            | Self::ServerRefuses
            | Self::ServerFails { .. }
            | Self::ServerNotAuthoritative
            | Self::ServerRefersAway { .. }
            | Self::ServerMalformed
            | Self::GlueMissing { .. }
            | Self::CyclicDependency { .. }
            | Self::ServerUnresolvable { .. }
            | Self::RootIntercepted
            | Self::AliasLoop { .. } => Severity::Error,
            Self::NsNotInChild { .. }
            | Self::NsNotInParent { .. }
            | Self::OutOfBailiwick { .. }
            | Self::ServerSilent { .. }
            | Self::SerialsDiffer { .. }
            | Self::SingleAddress
            | Self::ServerNoTcp
            | Self::DsMatchesNoKey { .. }
            | Self::DigestDeprecated { .. }
            | Self::AlgorithmDeprecated { .. }
            | Self::SignatureExpiresSoon { .. }
            | Self::Nsec3Iterations { .. }
            | Self::GlueDiffers { .. }
            | Self::HintsServerUnknown { .. }
            | Self::HintsAddressesDiffer { .. }
            | Self::StrayReplies => Severity::Warning,
            Self::ServerNoEdns
            | Self::ServerChangesCase
            | Self::TtlDiffers { .. }
            | Self::HintsServerMissing { .. }
            | Self::SingleServer => Severity::Notice,
        }
    }

    /// What was seen, in words; the zone and the server stand before it.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::ServerUnresponsive => "does not reply".to_owned(),
            Self::ServerSilent { queries } => {
                format!(
                    "did not reply (asked {}; the path may have lost it)",
                    human::times((*queries).into())
                )
            }
            Self::ServerNoTcp => "takes no TCP connection".to_owned(),
            Self::ServerRefuses => "is delegated to, but refuses (REFUSED)".to_owned(),
            Self::ServerFails { rcode } => format!("is delegated to, but fails ({rcode})"),
            Self::ServerNotAuthoritative => "is delegated to, but not authoritative".to_owned(),
            Self::ServerRefersAway { to } => format!("is delegated to, but refers to {to}"),
            Self::ServerMalformed => "sends what is no DNS message".to_owned(),
            Self::ServerNoEdns => "does not understand EDNS".to_owned(),
            Self::ServerChangesCase => "changes the capitals of the name".to_owned(),
            Self::NsNotInChild { subject } => {
                format!("the zone above names {subject}, the zone itself does not")
            }
            Self::NsNotInParent { subject } => {
                format!("the zone names {subject}, the zone above does not")
            }
            Self::GlueMissing { subject } => {
                format!("no address came with the referral for {subject}, which lies in the zone")
            }
            Self::CyclicDependency { subject } => {
                format!("to find the address of {subject} one needs that address: a circle")
            }
            Self::ServerUnresolvable { subject } => {
                format!("no address can be found for {subject}")
            }
            Self::AliasLoop { name } => format!("the aliases lead back to {name}: a circle"),
            Self::OutOfBailiwick { name } => {
                format!("speaks of {name}, which is outside its zone; ignored")
            }
            Self::SerialsDiffer { least, most } => {
                format!("its servers hold different copies: serials from {least} to {most}")
            }
            Self::SingleAddress => "all of its servers are one address".to_owned(),
            Self::SingleServer => "one server alone serves the zone".to_owned(),
            Self::StrayReplies => "replies came that nobody asked for".to_owned(),
            Self::RootIntercepted => {
                "its servers answer as a resolver would: something on the way answers for them"
                    .to_owned()
            }
            _ => self.words_of_two_sides(),
        }
    }

    /// What two sides say differently of the same servers.
    fn words_of_two_sides(&self) -> String {
        match self {
            Self::GlueDiffers { subject, above, own } => {
                let (above, own) = (listed(above), listed(own));
                format!("for {subject} the zone above has {above}, the zone itself {own}")
            }
            Self::TtlDiffers { above_s, own_s } => format!(
                "its NS records may be kept for {above_s} s by the zone above, for {own_s} s by \
                 the zone itself; what the zone itself says counts (RFC 2181 §5.4.1)"
            ),
            Self::HintsServerUnknown { subject } => {
                format!("the hints name {subject}, the root itself does not")
            }
            Self::HintsServerMissing { subject } => {
                format!("the root names {subject}, the hints do not")
            }
            Self::HintsAddressesDiffer { subject, hints, root } => {
                let (hints, root) = (listed(hints), listed(root));
                format!("for {subject} the hints have {hints}, the root itself {root}")
            }
            _ => self.words_of_signing(),
        }
    }

    fn words_of_signing(&self) -> String {
        match self {
            Self::DsMatchesNoKey { tag } => {
                format!("the zone above has a DS record of key {tag}, which the zone has not")
            }
            Self::DigestDeprecated { digest } => {
                format!("the zone above has a DS record with a digest of type {digest}, too weak")
            }
            Self::AlgorithmDeprecated { algorithm } => {
                format!("has a key of {}, too weak", algorithm_name(*algorithm))
            }
            Self::SignatureExpiresSoon { tag, until } => {
                format!("a signature by key {tag} expires on {until}, within a day")
            }
            Self::Nsec3Iterations { iterations } => {
                format!("its NSEC3 records want {iterations} additional rounds of the hash")
            }
            _ => String::new(),
        }
    }

    /// What mends it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::ServerUnresponsive => "start the server, open its port 53, or take it out",
            Self::ServerSilent { .. } => "ask again with --check",
            Self::ServerNoTcp => "open TCP port 53 of that server",
            Self::ServerRefuses | Self::ServerNotAuthoritative | Self::ServerRefersAway { .. } => {
                "load the zone on that server, or take it out of the zone above"
            }
            Self::ServerFails { .. } | Self::ServerMalformed => "read the log of that server",
            Self::ServerNoEdns | Self::ServerChangesCase => {
                "update the server, or the middlebox before it"
            }
            Self::NsNotInChild { .. } | Self::NsNotInParent { .. } => {
                "make the NS records of both zones the same"
            }
            Self::GlueDiffers { .. } => {
                "give the zone above the addresses that the zone has (RFC 1034 §4.2.2)"
            }
            Self::TtlDiffers { .. } => {
                "make both the same, so that a change of servers takes the time you expect"
            }
            Self::HintsServerUnknown { .. }
            | Self::HintsServerMissing { .. }
            | Self::HintsAddressesDiffer { .. } => {
                "take new hints: https://www.internic.net/domain/named.root, with --hints"
            }
            Self::GlueMissing { .. } => "add the server's address to the zone above (RFC 9471)",
            Self::CyclicDependency { .. } => "give one of the zones a server with an address",
            Self::ServerUnresolvable { .. } => "give the server's name an address, or take it out",
            Self::AliasLoop { .. } => "let one of the aliases point to a name with records",
            Self::OutOfBailiwick { .. } => "take foreign names out of the zone",
            Self::SerialsDiffer { .. } => {
                "look why the older server does not get the zone: transfers, NOTIFY, its log"
            }
            Self::SingleAddress => "move one of the servers elsewhere (RFC 2182 §5)",
            Self::SingleServer => "add a second server elsewhere (RFC 2182 §5)",
            Self::RootIntercepted => "ask from another network: this one keeps port 53 to itself",
            Self::DsMatchesNoKey { .. } => "take the DS record out of the zone above",
            Self::DigestDeprecated { .. } => "put a DS record with SHA-256 there (RFC 8624 §3.3)",
            Self::AlgorithmDeprecated { .. } => {
                "roll over to ECDSA or Ed25519 (RFC 8624 §3.1, RFC 6781 §4.1.4)"
            }
            Self::SignatureExpiresSoon { .. } => "look why the zone is not signed anew in time",
            Self::Nsec3Iterations { .. } => "sign with no additional rounds (RFC 9276 §3.1)",
            Self::StrayReplies => "look at the strays: addresses, numbers and questions",
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

/// What tells one finding from another.
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
