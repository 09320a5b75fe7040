//! The table of the arms under comparison.
//!
//! No code outside this table tests for an arm by name: arms differ in fields of [`Row`] and in
//! their [`Transport`].

use crate::transport::Transport;
use crate::transport::tcp::{Floor, Tcp};
use crate::transport::udp::Udp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use wirelab::bank::client::Delivery;
use wirelab::bank::server::Dedup;

/// A configuration under comparison: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Arm(&'static Row);

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    /// Its name for `--arms` and in reports.
    pub name: &'static str,
    /// A one-line description for legends.
    pub about: &'static str,
    /// The transport and its settings.
    pub transport: &'static dyn Transport,
    /// Duplicate detection by the bank.
    pub dedup: Dedup,
    /// Whether it runs by default.
    pub default: bool,
    /// Whether the page shows a packet ladder of one of its slow requests.
    pub ladder: bool,
    /// The side it represents in a verdict, and its rank there, 0 before 1.
    pub contender: Option<(Side, u8)>,
    /// Its line style on the page.
    pub look: Look,
}

/// The two sides of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// TCP.
    Tcp,
    /// UDP with retries.
    Udp,
}

/// Line style of an arm.
#[derive(Debug)]
pub struct Look {
    /// Its colour, one of the names in the style of every page.
    pub colour: &'static str,
    /// CSS properties of its line, without the colour.
    pub line: &'static str,
    /// Marker shape.
    pub marker: usize,
}

/// All arms, in report order.
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

/// The names, in table order.
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
    /// All arms, in report order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(Self)
    }

    /// The arms that run by default.
    pub fn defaults() -> impl Iterator<Item = Self> {
        Self::all().filter(|arm| arm.0.default)
    }

    /// The arm with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|arm| arm.name() == name)
    }

    /// All names, for error messages.
    #[must_use]
    pub fn names() -> String {
        NAMES.join(", ")
    }

    /// Its name for `--arms`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }

    /// A one-line description for legends.
    #[must_use]
    pub const fn about(self) -> &'static str {
        self.0.about
    }

    /// Its transport.
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

    /// Its index in the table.
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
