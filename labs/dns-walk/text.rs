//! Questions, names and records as text: how records, reports and messages show them.

use super::message;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde::{Deserialize, Serialize};
use std::fmt;
use wirelab::report::escape::is_hidden;

/// A question: a name and a type, class IN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Asked {
    /// The name, with its final dot, in ASCII.
    pub name: String,
    /// The type, as in `A`.
    #[serde(rename = "type")]
    pub kind: String,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.kind)
    }
}

/// A record as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordText {
    /// Its owner.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds that it may be kept.
    pub ttl_s: u32,
    /// Its data in zone-file form; control characters are written `\DDD`.
    pub data: String,
}

impl fmt::Display for RecordText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.name, self.ttl_s, self.kind, self.data)
    }
}

/// An extended error (RFC 8914).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedError {
    /// The code.
    pub code: u16,
    /// Extra text of the server.
    pub text: String,
}

/// The EDNS part of a reply (RFC 6891).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdnsSeen {
    /// Largest datagram that the server takes.
    pub payload: u16,
    /// Its version.
    pub version: u8,
    /// DNSSEC wanted.
    pub dnssec_ok: bool,
    /// Extended errors (RFC 8914).
    pub errors: Vec<ExtendedError>,
    /// Whether it brought a server's cookie (RFC 7873).
    pub cookie: bool,
}

/// Why something that arrived answers nothing (RFC 5452 §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrayReason {
    /// Its socket waits for nothing any more.
    NothingOpen,
    /// It came from another address or port than was asked.
    WrongAddress,
    /// Shorter than a header, or a question itself.
    NotAReply,
    /// Another number than the query's.
    WrongId,
    /// Another question than the query's.
    WrongQuestion,
    /// Another cookie than the query's (RFC 7873 §5.3).
    WrongCookie,
}

impl StrayReason {
    /// The reason in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NothingOpen => "nothing is open there",
            Self::WrongAddress => "from an address that was not asked",
            Self::NotAReply => "not a reply",
            Self::WrongId => "with another number than the query's",
            Self::WrongQuestion => "to another question",
            Self::WrongCookie => "with another cookie than the query's",
        }
    }
}

/// A name and a type; class IN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name, absolute.
    pub name: Name,
    /// The type.
    pub kind: RecordType,
}

impl Question {
    /// A question; the name is made absolute.
    #[must_use]
    pub fn new(mut name: Name, kind: RecordType) -> Self {
        name.set_fqdn(true);
        Self { name, kind }
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> Asked {
        Asked { name: name_text(&self.name), kind: kind_text(self.kind) }
    }
}

/// A name in ASCII with its final dot and in small letters: how records and messages show it.
#[must_use]
pub fn name_text(name: &Name) -> String {
    name.to_lowercase().to_ascii()
}

/// The name as people write it, where that is not ASCII: `bücher.example.` of
/// `xn--bcher-kva.example.`; absent too where a label breaks the rules of UTS 46.
#[must_use]
pub fn unicode(name: &str) -> Option<String> {
    let shown = Name::from_ascii(name).ok()?.to_utf8();
    (!shown.is_ascii()).then(|| printable(&shown))
}

/// A type by its name, or as `TYPE65280` (RFC 3597 §5).
#[must_use]
pub fn kind_text(kind: RecordType) -> String {
    match kind {
        RecordType::Unknown(number) => message::kind_text(number),
        known => known.to_string(),
    }
}

/// The type that a text names, in whatever capitals.
#[must_use]
pub fn kind_of(text: &str) -> Option<RecordType> {
    let upper = text.to_ascii_uppercase();
    upper.parse().ok().or_else(|| message::kind_named(&upper).map(RecordType::from))
}

/// A record as text that is safe to print.
#[must_use]
pub fn record_text(record: &Record) -> RecordText {
    use RecordType as T;
    let kind = u16::from(record.record_type());
    // As a zone file has it (RFC 1035 §5.1), so that it can be pasted into one.
    let mut data = match (&record.data, crate::dnssec::canon::data_bytes(record)) {
        (RData::Unknown { rdata, .. }, None) => message::plain_text(kind, &rdata.anything),
        (_, Some(bytes)) => message::plain_text(kind, &bytes),
        (data, None) => data.to_string(),
    };
    // Only names and numbers: their capitals may be the echo of ours.
    if matches!(
        record.record_type(),
        T::NS | T::CNAME | T::PTR | T::MX | T::SRV | T::SOA | T::DNAME
    ) {
        data.make_ascii_lowercase();
    }
    RecordText {
        name: name_text(&record.name),
        kind: kind_text(record.record_type()),
        ttl_s: record.ttl,
        data: printable(&data),
    }
}

/// The text without anything that a terminal would obey or that is not seen: control characters
/// become `\DDD`, as do the octets of marks of direction and the like.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.push_str(&format!("\\{:03}", u32::from(c)));
        } else if is_hidden(c) {
            let mut room = [0; 4];
            let octets = c.encode_utf8(&mut room).bytes();
            out.extend(octets.map(|octet| format!("\\{octet:03}")));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shown_as_a_zone_file_has_them() {
        use hickory_proto::rr::rdata::TXT;
        let name = Name::from_ascii("mail.example.").unwrap();
        let shown = |texts: &[&[u8]]| {
            let data = RData::TXT(TXT::from_bytes(texts.to_vec()));
            record_text(&Record::from_rdata(name.clone(), 60, data)).data
        };
        assert_eq!(shown(&[b"v=spf1 -all"]), r#""v=spf1 -all""#);
        assert_eq!(shown(&[b"one", b"", b"two words"]), r#""one" "" "two words""#);
        assert_eq!(shown(&[b"a\"b\\c;d\x1b\xff"]), r#""a\"b\\c;d\027\255""#);
    }

    #[test]
    fn a_name_is_shown_as_people_write_it_where_the_rules_allow() {
        assert_eq!(unicode("xn--bcher-kva.example.").as_deref(), Some("bücher.example."));
        assert_eq!(unicode("www.example."), None);
        // No such code, a code for what is ASCII, a change of direction within a label.
        for wrong in ["xn--a.example.", "xn--www-.example.", "xn--a-0hc2e.example."] {
            assert_eq!(unicode(wrong), None, "{wrong}");
        }
    }
}
