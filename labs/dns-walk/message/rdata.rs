//! The data of a record: its bytes without pointers, and as a zone file has them.

use super::fields;
use super::read::{Cursor, name_text, push_escaped};
use crate::dnssec::UnixSeconds;
use crate::limits::at_most;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use wirelab::wire::{DecodeError, base32, hex};

/// A piece of a record's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// A name; it may be compressed.
    Name,
    /// A number of so many bytes.
    Number(usize),
    /// Seconds since 1970, written as a date (RFC 4034 §3.2).
    Time,
    /// The type of a record.
    Kind,
    V4,
    V6,
    /// A length in one byte, and bytes in hex; `-` for none (RFC 5155 §3.3).
    Salt,
    /// A length in one byte, and bytes in base 32 (RFC 5155 §3.3).
    Hash,
    /// A length in one byte, and text.
    Text,
    /// Such texts to the end, one at least.
    Texts,
    /// A length in one byte, and a word without quotes (RFC 8659 §4.1.1).
    Word,
    /// Text to the end.
    LastText,
    /// Bytes to the end, in hex.
    Hex,
    /// Bytes to the end, in base 64.
    Base64,
    /// Types of records to the end (RFC 4034 §4.1.2).
    Kinds,
    /// So many bytes in hex, with hyphens (RFC 7043).
    Eui(usize),
    /// A place on earth (RFC 1876 §2).
    Place,
    /// Prefixes of addresses to the end (RFC 3123 §4).
    Prefixes,
    /// Parameters of a service to the end (RFC 9460 §2.2).
    Parameters,
}

/// Types with the name and the pieces of their data. What is absent stands as bytes alone.
const LAYOUTS: [(u16, &str, &[Piece]); 43] = {
    use Piece::*;
    const BYTE: Piece = Number(1);
    const SHORT: Piece = Number(2);
    const LONG: Piece = Number(4);
    [
        (1, "A", &[V4]),
        (2, "NS", &[Name]),
        (5, "CNAME", &[Name]),
        (6, "SOA", &[Name, Name, LONG, LONG, LONG, LONG, LONG]),
        (12, "PTR", &[Name]),
        (13, "HINFO", &[Text, Text]),
        (15, "MX", &[SHORT, Name]),
        (16, "TXT", &[Texts]),
        (17, "RP", &[Name, Name]),
        (18, "AFSDB", &[SHORT, Name]),
        (25, "KEY", &[SHORT, BYTE, BYTE, Base64]),
        (28, "AAAA", &[V6]),
        (29, "LOC", &[Place]),
        (33, "SRV", &[SHORT, SHORT, SHORT, Name]),
        (35, "NAPTR", &[SHORT, SHORT, Text, Text, Text, Name]),
        (36, "KX", &[SHORT, Name]),
        (37, "CERT", &[SHORT, SHORT, BYTE, Base64]),
        (39, "DNAME", &[Name]),
        (42, "APL", &[Prefixes]),
        (43, "DS", &[SHORT, BYTE, BYTE, Hex]),
        (44, "SSHFP", &[BYTE, BYTE, Hex]),
        (46, "RRSIG", &[Kind, BYTE, BYTE, LONG, Time, Time, SHORT, Name, Base64]),
        (47, "NSEC", &[Name, Kinds]),
        (48, "DNSKEY", &[SHORT, BYTE, BYTE, Base64]),
        (49, "DHCID", &[Base64]),
        (50, "NSEC3", &[BYTE, BYTE, SHORT, Salt, Hash, Kinds]),
        (51, "NSEC3PARAM", &[BYTE, BYTE, SHORT, Salt]),
        (52, "TLSA", &[BYTE, BYTE, BYTE, Hex]),
        (53, "SMIMEA", &[BYTE, BYTE, BYTE, Hex]),
        (59, "CDS", &[SHORT, BYTE, BYTE, Hex]),
        (60, "CDNSKEY", &[SHORT, BYTE, BYTE, Base64]),
        (61, "OPENPGPKEY", &[Base64]),
        (62, "CSYNC", &[LONG, SHORT, Kinds]),
        (63, "ZONEMD", &[LONG, BYTE, BYTE, Hex]),
        (64, "SVCB", &[SHORT, Name, Parameters]),
        (65, "HTTPS", &[SHORT, Name, Parameters]),
        (99, "SPF", &[Texts]),
        (105, "L32", &[SHORT, V4]),
        (107, "LP", &[SHORT, Name]),
        (108, "EUI48", &[Eui(6)]),
        (109, "EUI64", &[Eui(8)]),
        (256, "URI", &[SHORT, SHORT, LastText]),
        (257, "CAA", &[BYTE, Word, LastText]),
    ]
};

/// Further types that have a name.
const NAMES: [(u16, &str); 5] =
    [(10, "NULL"), (24, "SIG"), (41, "OPT"), (45, "IPSECKEY"), (255, "ANY")];

/// The name of a type, where it has one here.
pub(super) fn kind_name(kind: u16) -> Option<&'static str> {
    let known = LAYOUTS.iter().map(|(number, name, _)| (number, name));
    let more = NAMES.iter().map(|(number, name)| (number, name));
    known.chain(more).find(|(number, _)| **number == kind).map(|(_, name)| *name)
}

/// The name of a type, or `TYPE65280` (RFC 3597 §5).
#[must_use]
pub fn kind_text(kind: u16) -> String {
    kind_name(kind).map_or_else(|| format!("TYPE{kind}"), ToOwned::to_owned)
}

/// The type of a name, or of `TYPE65280`; in whatever capitals.
#[must_use]
pub fn kind_named(name: &str) -> Option<u16> {
    let upper = name.to_ascii_uppercase();
    if let Some(number) = upper.strip_prefix("TYPE") {
        return number.parse().ok();
    }
    let known = LAYOUTS.iter().map(|(number, name, _)| (*number, *name));
    known.chain(NAMES).find(|(_, name)| *name == upper).map(|(number, _)| number)
}

/// Data without pointers as a zone file has them: `\# 3 010203` where nothing more is known of
/// their type (RFC 3597 §5).
#[must_use]
pub fn plain_text(kind: u16, data: &[u8]) -> String {
    let text = read(data, kind, 0..data.len()).text;
    text.unwrap_or_else(|| {
        let hex = hex::compact(data).to_uppercase();
        format!("\\# {} {hex}", data.len()).trim_end().to_owned()
    })
}

/// The data of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Data {
    /// Without pointers.
    pub(super) bytes: Vec<u8>,
    /// As a zone file has it; absent for types without a layout, and for what breaks it.
    pub(super) text: Option<String>,
}

/// Reads the data at `part` of a message.
pub(super) fn read(message: &[u8], kind: u16, part: Range<usize>) -> Data {
    let raw = message.get(part.clone()).unwrap_or_default();
    let layout = LAYOUTS.iter().find(|(number, _, _)| *number == kind);
    let read = layout.and_then(|(_, _, pieces)| {
        let mut reader = Reader { cursor: Cursor::new(message, part), bytes: Vec::new() };
        let texts = pieces.iter().map(|piece| reader.piece(*piece).ok().flatten());
        let texts = texts.collect::<Option<Vec<String>>>()?;
        reader.cursor.rest().is_empty().then_some((reader.bytes, texts))
    });
    match read {
        // A list of types may be empty, and so may a key.
        Some((bytes, texts)) => Data { bytes, text: Some(texts.join(" ").trim_end().to_owned()) },
        None => Data { bytes: raw.to_vec(), text: None },
    }
}

/// Reads pieces one after the other, and keeps their bytes without pointers.
struct Reader<'a> {
    cursor: Cursor<'a>,
    bytes: Vec<u8>,
}

impl Reader<'_> {
    /// A piece as text; nothing where its bytes mean nothing.
    fn piece(&mut self, piece: Piece) -> Result<Option<String>, DecodeError> {
        Ok(Some(match piece {
            Piece::Name => {
                let name = self.cursor.name()?;
                self.bytes.extend_from_slice(&name);
                name_text(&name)
            }
            Piece::Number(bytes) => self.number(bytes)?.to_string(),
            Piece::Kind => kind_text(u16::try_from(self.number(2)?).expect("invariant: two bytes")),
            Piece::Time => UnixSeconds(u64::from(self.number(4)?)).stamp(),
            Piece::V4 => Ipv4Addr::from(self.number(4)?).to_string(),
            Piece::V6 => {
                let Ok(address) = <[u8; 16]>::try_from(self.take(16)?) else { return Ok(None) };
                Ipv6Addr::from(address).to_string()
            }
            Piece::Salt => match self.counted()? {
                [] => "-".to_owned(),
                salt => hex::compact(salt).to_uppercase(),
            },
            Piece::Hash => match self.counted()? {
                [] => return Ok(None),
                hash => base32::encode_hex(hash),
            },
            Piece::Text => quoted(self.counted()?),
            Piece::Texts => {
                let mut texts = vec![quoted(self.counted()?)];
                while !self.cursor.rest().is_empty() {
                    texts.push(quoted(self.counted()?));
                }
                texts.join(" ")
            }
            Piece::Word => {
                let word = self.counted()?;
                if word.is_empty() || !word.iter().all(u8::is_ascii_alphanumeric) {
                    return Ok(None);
                }
                String::from_utf8_lossy(word).into_owned()
            }
            Piece::LastText => quoted(self.last()?),
            Piece::Hex => hex::compact(self.last()?).to_uppercase(),
            Piece::Base64 => base64(self.last()?),
            Piece::Kinds => return Ok(kinds(self.last()?)),
            Piece::Eui(bytes) => {
                let pairs = self.take(bytes)?.iter().map(|byte| format!("{byte:02x}"));
                pairs.collect::<Vec<_>>().join("-")
            }
            Piece::Place => return Ok(fields::place(self.last()?)),
            Piece::Prefixes => return Ok(fields::prefixes(self.last()?)),
            Piece::Parameters => return Ok(fields::parameters(self.last()?)),
        }))
    }

    fn take(&mut self, bytes: usize) -> Result<&[u8], DecodeError> {
        let taken = self.cursor.take(bytes, "the data of a record")?;
        self.bytes.extend_from_slice(taken);
        Ok(taken)
    }

    fn number(&mut self, bytes: usize) -> Result<u32, DecodeError> {
        let number = self.cursor.clone().number(bytes, "a number")?;
        self.take(bytes)?;
        Ok(number)
    }

    /// So many bytes as the first one says.
    fn counted(&mut self) -> Result<&[u8], DecodeError> {
        let length = self.take(1)?[0];
        self.take(usize::from(length))
    }

    fn last(&mut self) -> Result<&[u8], DecodeError> {
        self.take(self.cursor.rest().len())
    }
}

/// A text in quotes.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let mut text = "\"".to_owned();
    bytes.iter().for_each(|byte| push_escaped(&mut text, *byte, br#""\"#));
    text.push('"');
    text
}

/// Bytes of a window of a bitmap (RFC 4034 §4.1.2).
const WINDOW_MAX: usize = 32;

/// Types of a bitmap; nothing where that is broken, or has zeros that the same types need not
/// (RFC 4034 §4.1.2).
fn kinds(mut bitmap: &[u8]) -> Option<String> {
    let mut kinds = Vec::new();
    let mut before = None;
    while let Some((window, rest)) = bitmap.split_first() {
        let (length, rest) = rest.split_first()?;
        let (bits, rest) = rest.split_at_checked(usize::from(*length))?;
        let in_order = before.replace(*window).is_none_or(|before| before < *window);
        if bits.len() > WINDOW_MAX || bits.last().is_none_or(|last| *last == 0) || !in_order {
            return None;
        }
        for (at, byte) in (0_u16..).zip(bits) {
            let set = (0..8).filter(|bit| byte & (0x80 >> bit) != 0);
            let low = |bit: u16| u16::from(*window) << 8 | (8 * at + bit) & 0xff;
            kinds.extend(set.map(|bit| kind_text(low(bit))));
        }
        bitmap = rest;
    }
    Some(kinds.join(" "))
}

/// Bytes in base 64 (RFC 4648 §4).
pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for digit in 0..4 {
            let value = at_most(bits >> (18 - 6 * digit) & 0x3f);
            text.push(if digit <= chunk.len() { char::from(DIGITS[value]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: u16, data: &[u8]) -> Option<String> {
        read(data, kind, 0..data.len()).text
    }

    #[test]
    fn base_64_is_that_of_rfc_4648() {
        let words = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, word) in words.into_iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), word);
        }
    }

    #[test]
    fn data_read_as_in_a_zone_file_or_not_at_all() {
        assert_eq!(text(1, &[192, 0, 2, 1]).as_deref(), Some("192.0.2.1"));
        assert_eq!(text(1, &[192, 0, 2]), None);
        assert_eq!(text(1, &[192, 0, 2, 1, 0]), None);
        assert_eq!(text(16, b"\x03a\"\xff\x00").as_deref(), Some(r#""a\"\255" """#));
        assert_eq!(text(16, b""), None);
        assert_eq!(text(257, b"\x00\x05issueca.test").as_deref(), Some(r#"0 issue "ca.test""#));
        assert_eq!(text(257, b"\x00\x05is\"ueca.test"), None);
        // RFC 4034 §4.3: its own example.
        let nsec = b"\x04host\x07example\x03com\x00\x00\x06\x40\x01\x00\x00\x00\x03\
            \x04\x1b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
            \x00\x00\x00\x00\x00\x00\x00\x00\x20";
        let shown = "host.example.com. A MX RRSIG NSEC TYPE1234";
        assert_eq!(text(47, nsec).as_deref(), Some(shown));
        assert_eq!(text(47, &nsec[..nsec.len() - 1]), None);
        assert_eq!(text(65280, &[1]), None);
        assert_eq!(read(&[1], 65280, 0..1).bytes, [1]);
    }

    #[test]
    fn every_type_with_a_layout_is_named_once() {
        let all = LAYOUTS.iter().map(|(kind, ..)| *kind).chain(NAMES.iter().map(|(kind, _)| *kind));
        let kinds: std::collections::BTreeSet<u16> = all.collect();
        assert_eq!(kinds.len(), LAYOUTS.len() + NAMES.len());
    }
}
