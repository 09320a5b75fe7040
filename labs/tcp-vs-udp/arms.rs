//! Arms under comparison, each a line `[NAME=]KIND[:key=value,…]`; the usual ones have names.
//!
//! A line is parsed once and kept for the life of the process, so that an arm is a small copy.

use crate::transport::Transport;
use crate::transport::tcp::Tcp;
use crate::transport::udp::Udp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::{LazyLock, Mutex, PoisonError};

/// A configuration under comparison.
#[derive(Clone, Copy, Debug)]
pub struct Arm(&'static Row);

/// An arm's settings and its place in reports.
#[derive(Debug)]
struct Row {
    line: String,
    name: String,
    about: String,
    transport: Box<dyn Transport>,
    place: usize,
}

/// Line style of an arm on the page.
#[derive(Debug)]
pub struct Look {
    /// Its colour, one of the names in the style of every page.
    pub colour: &'static str,
    /// CSS properties of its line, without the colour.
    pub line: &'static str,
    /// Marker shape.
    pub marker: usize,
}

/// The named arms, in report order: name, settings, description.
const NAMED: [(&str, &str, &str); 7] = [
    ("tcp", "tcp", "one TCP connection per client, kernel defaults"),
    (
        "tcp-tuned",
        "tcp:nodelay=on,rto_min=tuned",
        "TCP with NODELAY and a low retransmission-timeout floor",
    ),
    ("tcp-nodelay", "tcp:nodelay=on", "TCP with NODELAY, kernel defaults otherwise"),
    ("tcp-reconnect", "tcp:connect=request", "a new TCP connection for every request"),
    ("udp", "udp", "one datagram, never repeated (at most once)"),
    (
        "udp-retry",
        "udp:retry=rfc6298",
        "repeated until answered, every copy applied (at least once)",
    ),
    ("udp-once", "udp:delivery=once", "repeated until answered, applied once (exactly once)"),
];

/// A named arm that runs only on request.
const ON_REQUEST: &str = "tcp-nodelay";

/// Styles in order of appearance: the named arms first.
const LOOKS: [Look; 12] = [
    Look { colour: "blue", line: "", marker: 0 },
    Look { colour: "sky", line: "stroke-dasharray: 9 4", marker: 1 },
    Look { colour: "blue", line: "stroke-dasharray: 5 2", marker: 5 },
    Look { colour: "violet", line: "stroke-dasharray: 2 4", marker: 2 },
    Look { colour: "amber", line: "stroke-dasharray: 1 5; stroke-linecap: round", marker: 3 },
    Look { colour: "pink", line: "stroke-dasharray: 12 4 2 4", marker: 4 },
    Look { colour: "orange", line: "", marker: 5 },
    Look { colour: "violet", line: "", marker: 0 },
    Look { colour: "pink", line: "", marker: 1 },
    Look { colour: "amber", line: "", marker: 2 },
    Look { colour: "sky", line: "stroke-dasharray: 3 3", marker: 4 },
    Look { colour: "orange", line: "stroke-dasharray: 9 4", marker: 3 },
];

/// Maximum columns of a name: it heads the rows of a table.
const NAME_MAX: usize = 40;

/// Every line parsed so far, the named arms first.
static ROWS: LazyLock<Mutex<Vec<&'static Row>>> = LazyLock::new(|| {
    let row = |(place, (name, line, about)): (usize, &(&str, &str, &str))| {
        let transport = settings(line).expect("invariant: the named arms parse");
        let [line, name, about] = [name, name, about].map(|text| (*text).to_owned());
        &*Box::leak(Box::new(Row { line, name, about, transport, place }))
    };
    Mutex::new(NAMED.iter().enumerate().map(row).collect())
});

/// `KIND[:key=value,…]` as a transport.
fn settings(line: &str) -> Result<Box<dyn Transport>, String> {
    let (kind, keys) = line.split_once(':').unwrap_or((line, ""));
    let named = NAMED.iter().find(|(name, ..)| *name == kind);
    let Some((_, base, _)) = named else {
        return Err(format!("no kind {kind:?}: expected one of {}", Arm::names()));
    };
    let base = base.split_once(':').map_or("", |(_, keys)| keys);
    let pairs = base.split(',').chain(keys.split(',')).filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        pair.split_once('=').ok_or_else(|| format!("expected key=value, got {pair:?}"))
    });
    let pairs = pairs.collect::<Result<Vec<_>, _>>()?;
    if kind.starts_with("tcp") {
        Ok(Box::new(Tcp::with(&pairs)?))
    } else {
        Ok(Box::new(Udp::with(&pairs)?))
    }
}

impl Arm {
    /// Reads `[NAME=]KIND[:key=value,…]`.
    ///
    /// # Errors
    /// The expected form.
    pub fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim();
        let mut rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = rows.iter().find(|row| row.line == line) {
            return Ok(Self(row));
        }
        let head = line.find(':').unwrap_or(line.len());
        let (name, rest) = match line[..head].find('=') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, line),
        };
        let printable = name.chars().all(|c| c.is_ascii_graphic());
        if name.is_empty() || name.len() > NAME_MAX || !printable {
            return Err(format!(
                "{name:?}: expected a name of 1 to {NAME_MAX} ASCII characters without spaces"
            ));
        }
        let transport = settings(rest)?;
        let [line, name, about] = [line, name, rest].map(str::to_owned);
        let row = Row { line, name, about, transport, place: rows.len() };
        rows.push(Box::leak(Box::new(row)));
        Ok(Self(rows[rows.len() - 1]))
    }

    /// The named arms, in report order.
    pub fn all() -> impl Iterator<Item = Self> {
        let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
        rows[..NAMED.len()].iter().map(|row| Self(row)).collect::<Vec<_>>().into_iter()
    }

    /// The arms that run by default.
    pub fn defaults() -> impl Iterator<Item = Self> {
        Self::all().filter(|arm| arm.name() != ON_REQUEST)
    }

    /// The names of the named arms, for error messages.
    #[must_use]
    pub fn names() -> String {
        NAMED.map(|(name, ..)| name).join(", ")
    }

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        &self.0.name
    }

    /// The arm as typed.
    #[must_use]
    pub fn line(self) -> &'static str {
        &self.0.line
    }

    /// A one-line description for legends.
    #[must_use]
    pub fn about(self) -> &'static str {
        &self.0.about
    }

    /// Its transport.
    #[must_use]
    pub fn transport(self) -> &'static dyn Transport {
        self.0.transport.as_ref()
    }

    /// Its line style on the page.
    #[must_use]
    pub fn look(self) -> &'static Look {
        &LOOKS[self.0.place % LOOKS.len()]
    }

    /// Its CSS class.
    #[must_use]
    pub fn class(self) -> String {
        format!("arm-{}", self.0.place)
    }

    /// Its name with the depth of a lane.
    #[must_use]
    pub fn at_depth(self, depth: u32) -> String {
        format!("{} depth {depth}", self.name())
    }
}

impl PartialEq for Arm {
    fn eq(&self, other: &Self) -> bool {
        self.0.place == other.0.place
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
        self.0.place.cmp(&other.0.place)
    }
}

impl Hash for Arm {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.place.hash(state);
    }
}

impl Serialize for Arm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.line())
    }
}

impl<'de> Deserialize<'de> for Arm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&line).map_err(serde::de::Error::custom)
    }
}
