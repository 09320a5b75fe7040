//! Messages as they were on the wire, and as JSON (RFC 8427).

mod fields;
mod rdata;
mod read;

use super::limits::{Limits, at_most};
pub use rdata::{kind_named, kind_text, plain_text};
use read::{Head, Parts, Row};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use wirelab::wire::hex;

/// A query and its reply (RFC 8427 §3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// As it was sent, without the length that TCP puts before it.
    #[serde(rename = "queryMessage")]
    pub query: Octets,
    /// As it came, if it did.
    #[serde(rename = "responseMessage", default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Octets>,
}

/// The bytes of a message, whole or broken.
///
/// As JSON it has the members of RFC 8427 §2: the header's where there is one, the question, the
/// sections as far as they can be read, and `messageOctetsHEX`, which is everything. Flags are 0
/// and 1, as in the RFC's own examples and in `kdig +json`. Names in `RDATAHEX` have no pointers,
/// so a record can be read alone; `RDLENGTH` is the length of that. `comment` says why a message
/// was not read to its end.
#[derive(Clone, PartialEq, Eq)]
pub struct Octets(Vec<u8>);

impl Octets {
    /// These bytes.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Octets({})", hex::compact(&self.0))
    }
}

/// RFC 8427 §2.1.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    header: Option<HeaderShown>,
    #[serde(flatten)]
    question: Option<QuestionShown>,
    #[serde(rename = "questionRRs")]
    questions: Vec<HeadShown>,
    #[serde(rename = "answerRRs")]
    answers: Vec<RecordShown>,
    #[serde(rename = "authorityRRs")]
    authorities: Vec<RecordShown>,
    #[serde(rename = "additionalRRs")]
    additionals: Vec<RecordShown>,
    #[serde(rename = "messageOctetsHEX")]
    octets: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct HeaderShown {
    id: u16,
    qr: u16,
    #[serde(rename = "Opcode")]
    opcode: u16,
    aa: u16,
    tc: u16,
    rd: u16,
    ra: u16,
    ad: u16,
    cd: u16,
    rcode: u16,
    qdcount: u16,
    ancount: u16,
    nscount: u16,
    arcount: u16,
}

/// The only question of a message.
#[derive(Serialize)]
struct QuestionShown {
    #[serde(rename = "QNAME")]
    name: String,
    #[serde(rename = "QTYPE")]
    kind: u16,
    #[serde(rename = "QTYPEname", skip_serializing_if = "Option::is_none")]
    kind_name: Option<&'static str>,
    #[serde(rename = "QCLASS")]
    class: u16,
    #[serde(rename = "QCLASSname", skip_serializing_if = "Option::is_none")]
    class_name: Option<&'static str>,
}

/// RFC 8427 §2.2, as much of it as a question has.
#[derive(Serialize)]
struct HeadShown {
    #[serde(rename = "NAME")]
    name: String,
    #[serde(rename = "TYPE")]
    kind: u16,
    #[serde(rename = "TYPEname", skip_serializing_if = "Option::is_none")]
    kind_name: Option<&'static str>,
    #[serde(rename = "CLASS")]
    class: u16,
    #[serde(rename = "CLASSname", skip_serializing_if = "Option::is_none")]
    class_name: Option<&'static str>,
}

/// RFC 8427 §2.2.
#[derive(Serialize)]
struct RecordShown {
    #[serde(flatten)]
    head: HeadShown,
    #[serde(rename = "TTL")]
    ttl: u32,
    /// RFC 8427 §2.3: `rdataA` and its like.
    #[serde(flatten)]
    text: BTreeMap<String, String>,
    #[serde(rename = "RDLENGTH")]
    length: usize,
    #[serde(rename = "RDATAHEX")]
    data: String,
}

/// Its class means something else (RFC 6891 §6.1.2).
const OPT: u16 = 41;

const fn class_name(class: u16) -> Option<&'static str> {
    match class {
        1 => Some("IN"),
        3 => Some("CH"),
        4 => Some("HS"),
        254 => Some("NONE"),
        255 => Some("ANY"),
        _ => None,
    }
}

impl From<Head> for HeadShown {
    fn from(Head { name, kind, class }: Head) -> Self {
        let class_name = if kind == OPT { None } else { class_name(class) };
        Self { name, kind, kind_name: rdata::kind_name(kind), class, class_name }
    }
}

impl RecordShown {
    fn new(message: &[u8], row: Row) -> Self {
        let data = rdata::read(message, row.head.kind, row.data);
        let head = HeadShown::from(row.head);
        let key = format!("rdata{}", head.kind_name.unwrap_or_default());
        Self {
            head,
            ttl: row.ttl,
            text: data.text.map(|text| (key, text)).into_iter().collect(),
            length: data.bytes.len(),
            data: hex::compact(&data.bytes).to_uppercase(),
        }
    }
}

impl From<read::Header> for HeaderShown {
    fn from(header: read::Header) -> Self {
        let bits = |shift: u32, mask: u16| header.flags >> shift & mask;
        let [qdcount, ancount, nscount, arcount] = header.counts;
        Self {
            id: header.id,
            qr: bits(15, 1),
            opcode: bits(11, 15),
            aa: bits(10, 1),
            tc: bits(9, 1),
            rd: bits(8, 1),
            ra: bits(7, 1),
            ad: bits(5, 1),
            cd: bits(4, 1),
            rcode: bits(0, 15),
            qdcount,
            ancount,
            nscount,
            arcount,
        }
    }
}

impl Shown {
    fn of(message: &[u8]) -> Self {
        let most = at_most(Limits::default().records);
        let parts = Parts::of(message, most);
        let claimed: usize =
            parts.header.map_or(0, |h| h.counts[1..].iter().map(|n| usize::from(*n)).sum());
        let comment = match &parts.broken {
            Some(error) => Some(format!("not read to its end: {error}")),
            None if parts.records() < claimed => {
                Some(format!("{} of {claimed} records are shown", parts.records()))
            }
            None => None,
        };
        let question = match parts.questions.as_slice() {
            [one] => {
                let HeadShown { name, kind, kind_name, class, class_name } = one.clone().into();
                Some(QuestionShown { name, kind, kind_name, class, class_name })
            }
            _ => None,
        };
        let [answers, authorities, additionals] = parts.sections.map(|rows| {
            rows.into_iter().map(|row| RecordShown::new(message, row)).collect::<Vec<_>>()
        });
        Self {
            header: parts.header.map(HeaderShown::from),
            question,
            questions: parts.questions.into_iter().map(HeadShown::from).collect(),
            answers,
            authorities,
            additionals,
            octets: hex::compact(message).to_uppercase(),
            comment,
        }
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown::of(&self.0).serialize(serializer)
    }
}

/// The one member that is read back.
#[derive(Deserialize)]
struct RRset {
    #[serde(rename = "messageOctetsHEX")]
    octets: String,
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kept = RRset::deserialize(deserializer)?;
        let bytes = hex::parse(&kept.octets);
        bytes.map(Self).ok_or_else(|| D::Error::custom("messageOctetsHEX: expected hex digits"))
    }
}
