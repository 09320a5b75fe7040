//! Why a datagram is not a sample: every reason has a name, a class and a section of an RFC.

use super::nts::NtsRefusal;
use super::packet::ReferenceId;
use super::timestamp::WallTime;
use std::net::SocketAddr;
use thiserror::Error;
use wirelab::measure::human;
use wirelab::wire::DecodeError;

/// Order in which a reply is judged; the first class that fails decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Its sender is unknown: counted, skipped, never the end of a query.
    Identity,
    /// The server wants to be asked less, or not at all.
    Kiss,
    /// The server's bytes are not a reply.
    Format,
    /// The server's values are implausible or unusable.
    Plausibility,
}

/// Nanoseconds as people read them.
fn time(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    format!("{sign}{}", human::latency(ns.unsigned_abs()))
}

/// How long after its request a late reply came.
fn late(after_ns: Option<i64>) -> String {
    after_ns.map_or_else(String::new, |ns| format!("{} later, ", time(ns)))
}

/// Why a datagram is not a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Fewer bytes than a header.
    #[error("{0}")]
    TooShort(DecodeError),
    /// From another host.
    #[error("from {got}, asked was {asked}")]
    Address {
        /// The server.
        asked: SocketAddr,
        /// The sender.
        got: SocketAddr,
    },
    /// From another port of the server's host.
    #[error("from port {got}, asked was port {asked}")]
    Port {
        /// The server's.
        asked: u16,
        /// The sender's.
        got: u16,
    },
    /// It names no request.
    #[error("the origin timestamp is zero: it answers no request")]
    NoOrigin,
    /// It names another request.
    #[error("the origin timestamp is {got:016x}, sent was {sent:016x}")]
    Origin {
        /// The transmit timestamp of the request.
        sent: u64,
        /// The origin timestamp of the reply.
        got: u64,
    },
    /// The request was answered already.
    #[error("the request was answered already")]
    Duplicate,
    /// The request was given up before this came.
    #[error("came {}after its request was given up", late(*.0))]
    Late(Option<i64>),
    /// A kiss-o'-death.
    #[error("kiss-o'-death {0}")]
    Kiss(Kiss),
    /// Not a server's packet.
    #[error("mode {0}, expected 4 (server)")]
    Mode(u8),
    /// A version whose header is another one.
    #[error("version {0}, expected 4 or 3")]
    Version(u8),
    /// The bytes after the header do not add up.
    #[error("{0}")]
    Tail(DecodeError),
    /// Four bytes after the header.
    #[error("a crypto-NAK: the server refuses a key, and the request had none")]
    CryptoNak,
    /// Stratum zero without a kiss code.
    #[error("stratum 0 with no kiss code")]
    StratumZero,
    /// The server says that it has no time.
    #[error("the leap indicator is 3: the server is not synchronized")]
    Unsynchronized,
    /// The server says that it has no time.
    #[error("stratum {0}: 16 and more mean not synchronized")]
    Stratum(u8),
    /// No receive timestamp.
    #[error("the receive timestamp is zero")]
    NoReceive,
    /// No transmit timestamp.
    #[error("the transmit timestamp is zero")]
    NoTransmit,
    /// The server says that it may be far from UTC.
    #[error("root delay / 2 + root dispersion = {}, which is 16 s or more", time(*.0))]
    RootDistance(i64),
    /// The server's clock was set after it sent this.
    #[error("the reference timestamp is {} after the transmit timestamp", time(*.0))]
    ReferenceAhead(i64),
    /// The server's clock cannot tell seconds apart.
    #[error("precision 2^{0} s: coarser than a second")]
    Precision(i8),
    /// Sent before it was received.
    #[error("T3 - T2 = {}: sent before the request was received", time(*.0))]
    Backwards(i64),
    /// Faster than light.
    #[error("delay = (T4 - T1) - (T3 - T2) = {} - {} = {}: negative",
        time(*round_trip_ns), time(*residence_ns), time(round_trip_ns - residence_ns))]
    NegativeDelay {
        /// T4 - T1.
        round_trip_ns: i64,
        /// T3 - T2.
        residence_ns: i64,
    },
    /// The server's clock is certainly wrong.
    #[error("the server's time, {0} s after 1970, is before this program was written")]
    BeforeFloor(i64),
    /// Beyond what times here can hold.
    #[error("the server's time is beyond the years 1677 to 2262")]
    OutOfRange,
    /// This host's clock was set between request and reply.
    #[error("this host's clock was set by {} between request and reply", time(*.0))]
    Stepped(i64),
    /// This host slept between request and reply.
    #[error("this host slept for {} between request and reply, uncounted by its clock", time(*.0))]
    Slept(i64),
    /// The local stamps are in no order.
    #[error("T4 is before T1 by {} on this host's own clocks", time(*.0))]
    LocalOrder(i64),
    /// It is not proved to be of the server, and was to be.
    #[error("{0}")]
    Nts(NtsRefusal),
}

impl Refusal {
    /// Name, class and violated rule.
    const fn entry(&self) -> (&'static str, Class, &'static str) {
        match self {
            Self::TooShort(_) => ("too_short", Class::Identity, "RFC 5905 §9.2"),
            Self::Address { .. } => ("address", Class::Identity, "RFC 4330 §5 (1)"),
            Self::Port { .. } => ("port", Class::Identity, "RFC 4330 §5 (2)"),
            Self::NoOrigin => ("no_origin", Class::Identity, "RFC 5905 §8, test 3"),
            Self::Origin { .. } => ("origin", Class::Identity, "RFC 5905 §8, test 2"),
            Self::Duplicate => ("duplicate", Class::Identity, "RFC 5905 §8, test 1"),
            Self::Late(_) => ("late", Class::Identity, "RFC 5905 §8"),
            Self::Kiss(_) => ("kiss", Class::Kiss, "RFC 5905 §7.4"),
            Self::Mode(_) => ("mode", Class::Format, "RFC 5905 §9.2, Figure 20"),
            Self::Version(_) => ("version", Class::Format, "RFC 4330 §5"),
            Self::CryptoNak => ("crypto_nak", Class::Format, "RFC 5905 §9.2"),
            Self::Tail(_) => ("tail", Class::Format, "RFC 7822 §3"),
            Self::StratumZero => ("stratum_zero", Class::Format, "RFC 5905 §7.4"),
            Self::Unsynchronized => ("unsynchronized", Class::Plausibility, "RFC 5905 §8, test 6"),
            Self::Stratum(_) => ("stratum", Class::Plausibility, "RFC 5905 §8, test 6"),
            Self::NoReceive => ("no_receive", Class::Plausibility, "RFC 5905 §8, test 3"),
            Self::NoTransmit => ("no_transmit", Class::Plausibility, "RFC 5905 §8, test 3"),
            Self::RootDistance(_) => ("root_distance", Class::Plausibility, "RFC 5905 §8, test 7"),
            Self::ReferenceAhead(_) => {
                ("reference_ahead", Class::Plausibility, "RFC 5905 §8, test 7")
            }
            Self::Precision(_) => ("precision", Class::Plausibility, "RFC 5905 §7.3"),
            Self::Backwards(_) => ("backwards", Class::Plausibility, "RFC 4330 §5"),
            Self::NegativeDelay { .. } => ("negative_delay", Class::Plausibility, "RFC 4330 §5"),
            Self::BeforeFloor(_) => ("before_floor", Class::Plausibility, "RFC 5905 §6"),
            Self::OutOfRange => ("out_of_range", Class::Plausibility, "RFC 5905 §6"),
            Self::Stepped(_) => ("stepped", Class::Plausibility, "RFC 5905 §8"),
            Self::LocalOrder(_) => ("local_order", Class::Plausibility, "RFC 5905 §8"),
            Self::Slept(_) => ("slept", Class::Plausibility, "RFC 5905 §8"),
            // A forger on the path may know our random bits.
            Self::Nts(refusal) => (refusal.name(), Class::Identity, refusal.section()),
        }
    }

    /// Its name in counters and JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.entry().0
    }

    /// The class, which decides what it means for the query.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.entry().1
    }

    /// The rule that it breaks.
    #[must_use]
    pub const fn section(&self) -> &'static str {
        self.entry().2
    }
}

/// Demand of a kiss-o'-death packet (RFC 5905 §7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Kiss {
    /// Ask less often.
    #[error("RATE: ask less often")]
    Rate,
    /// Ask no more.
    #[error("DENY: access denied, ask no more")]
    Deny,
    /// Ask no more.
    #[error("RSTR: access restricted, ask no more")]
    Restricted,
    /// For information, or not known here.
    #[error("{0}")]
    Other(ReferenceId),
}

impl Kiss {
    /// Kiss code of a packet of stratum 0; `None` if it is not text.
    #[must_use]
    pub fn of(code: ReferenceId) -> Option<Self> {
        match &code.0 {
            b"RATE" => Some(Self::Rate),
            b"DENY" => Some(Self::Deny),
            b"RSTR" => Some(Self::Restricted),
            _ => code.characters().map(|_| Self::Other(code)),
        }
    }
}

/// Reasons why a sample is less useful, though not wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// RFC 5905 would not select this server.
    #[error(
        "the server may be more than 1 s from UTC by its own claim (RFC 5905 §11.2.3, MAXDIST)"
    )]
    RootDistance,
    /// The server has not heard of its own source for long.
    #[error("the server's clock was last set more than 36 hours ago")]
    ReferenceOld,
    /// An NTP daemon would give up here.
    #[error("the clocks are more than 1000 s apart (RFC 5905 §7.3, PANICT)")]
    Panic,
    /// Accepted as RFC 5905 interoperates with it.
    #[error("the server replies in version 3 (RFC 1305)")]
    Version3,
    /// A leap second is near.
    #[error("the server announces a leap second: offsets across it differ by one second")]
    Leap,
}

/// The floor under which no server's time can be right: this program was written in 2026.
///
/// It serves eras as well: a host that wakes in 1970 still reads times until 2094 rightly.
pub const FLOOR: WallTime = WallTime::from_nanos(1_767_225_600_000_000_000);
