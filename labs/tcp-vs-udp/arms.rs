//! The arms of the comparison: a table with one row for each.
//!
//! Nothing outside this table names an arm to decide something: what differs between arms is a
//! field of [`Row`] or an answer of its [`Transport`].

use crate::transport::Transport;
use crate::transport::tcp::{Floor, Tcp};
use crate::transport::udp::Udp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use wirelab::bank::client::Delivery;
use wirelab::bank::server::Dedup;

/// One way of carrying the bank's requests: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Arm(&'static Row);

/// What an arm is.
#[derive(Debug)]
pub struct Row {
    /// What `--arms` takes and every report shows.
    pub name: &'static str,
    /// What it does, in one line for a legend.
    pub about: &'static str,
    /// What carries the requests, with its settings.
    pub transport: &'static dyn Transport,
    /// What the bank remembers of a request, so that a repeat is not applied again.
    pub dedup: Dedup,
    /// Whether it runs where `--arms` names none.
    pub default: bool,
    /// Whether the page shows the packets of one of its slow requests.
    pub ladder: bool,
    /// The side it can stand for in a verdict's sentence, and its rank there, 0 before 1.
    pub contender: Option<(Side, u8)>,
    /// How the page draws it.
    pub look: Look,
}

/// The two sides that a verdict compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// TCP.
    Tcp,
    /// UDP with retries.
    Udp,
}

/// How an arm is drawn.
#[derive(Debug)]
pub struct Look {
    /// Its colour, one of the names in the style of every page.
    pub colour: &'static str,
    /// The properties of its line besides the colour, as CSS has them.
    pub line: &'static str,
    /// The shape of its markers.
    pub marker: usize,
}

/// Every arm, in the order of the reports.
static TABLE: [Row; 7] = [
    Row {
        name: "tcp",
        about: "one TCP connection per client, kernel defaults",
        transport: &Tcp { nodelay: false, floor: Floor::Kernel, per_request: false },
        dedup: Dedup::Volatile,
        default: true,
        ladder: true,
        contender: Some((Side::Tcp, 0)),
        look: Look { colour: "blue", line: "", marker: 0 },
    },
    Row {
        name: "tcp-tuned",
        about: "TCP with NODELAY and a low retransmission-timeout floor",
        transport: &Tcp { nodelay: true, floor: Floor::Tuned, per_request: false },
        dedup: Dedup::Volatile,
        default: true,
        ladder: false,
        contender: Some((Side::Tcp, 1)),
        look: Look { colour: "sky", line: "stroke-dasharray: 9 4", marker: 1 },
    },
    Row {
        name: "tcp-nodelay",
        about: "TCP with NODELAY, kernel defaults otherwise",
        transport: &Tcp { nodelay: true, floor: Floor::Kernel, per_request: false },
        dedup: Dedup::Volatile,
        default: false,
        ladder: false,
        contender: Some((Side::Tcp, 2)),
        look: Look { colour: "blue", line: "stroke-dasharray: 5 2", marker: 5 },
    },
    Row {
        name: "tcp-reconnect",
        about: "a new TCP connection for every request",
        transport: &Tcp { nodelay: false, floor: Floor::Kernel, per_request: true },
        dedup: Dedup::Volatile,
        default: true,
        ladder: true,
        contender: None,
        look: Look { colour: "violet", line: "stroke-dasharray: 2 4", marker: 2 },
    },
    Row {
        name: "udp",
        about: "one datagram, never repeated (at most once)",
        transport: &Udp { delivery: Delivery::AtMostOnce },
        dedup: Dedup::Volatile,
        default: true,
        ladder: false,
        contender: None,
        look: Look {
            colour: "amber",
            line: "stroke-dasharray: 1 5; stroke-linecap: round",
            marker: 3,
        },
    },
    Row {
        name: "udp-retry",
        about: "repeated until answered, every copy applied (at least once)",
        transport: &Udp { delivery: Delivery::AtLeastOnce },
        dedup: Dedup::Off,
        default: true,
        ladder: false,
        contender: Some((Side::Udp, 1)),
        look: Look { colour: "pink", line: "stroke-dasharray: 12 4 2 4", marker: 4 },
    },
    Row {
        name: "udp-once",
        about: "repeated until answered, applied once (exactly once)",
        transport: &Udp { delivery: Delivery::ExactlyOnce },
        dedup: Dedup::Durable,
        default: true,
        ladder: true,
        contender: Some((Side::Udp, 0)),
        look: Look { colour: "orange", line: "", marker: 5 },
    },
];

/// The names of the table, in its order.
static NAMES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TABLE[at].name;
        at += 1;
    }
    names
};

impl Arm {
    /// Every arm, in the order of the reports.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(Self)
    }

    /// The arms that run where none is named.
    pub fn defaults() -> impl Iterator<Item = Self> {
        Self::all().filter(|arm| arm.0.default)
    }

    /// The arm of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|arm| arm.name() == name)
    }

    /// Every name, for a person to choose from.
    #[must_use]
    pub fn names() -> String {
        NAMES.join(", ")
    }

    /// The name that `--arms` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// What it does, in one line for a legend.
    #[must_use]
    pub const fn about(self) -> &'static str {
        self.0.about
    }

    /// What carries its requests.
    #[must_use]
    pub const fn transport(self) -> &'static dyn Transport {
        self.0.transport
    }

    /// Its row of the table.
    #[must_use]
    pub const fn row(self) -> &'static Row {
        self.0
    }

    /// Its name with the depth of a lane.
    #[must_use]
    pub fn at_depth(self, depth: u32) -> String {
        format!("{} depth {depth}", self.name())
    }

    /// Its place in the table.
    fn place(self) -> Option<usize> {
        NAMES.iter().position(|name| *name == self.name())
    }
}

impl PartialEq for Arm {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Arm {}

impl PartialOrd for Arm {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Arm {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl Hash for Arm {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl Serialize for Arm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Arm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| serde::de::Error::unknown_variant(&name, &NAMES))
    }
}
