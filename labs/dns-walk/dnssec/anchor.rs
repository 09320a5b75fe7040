//! Trust anchors: the root's keys, or those of a file.

use super::keys::Trusted;

use super::key::Key;
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::txt::trust_anchor::{Entry, Parser};
use std::collections::BTreeMap;
use thiserror::Error;
use wirelab::wire::foreign::shape;

/// Keys that are trusted, by zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors(BTreeMap<Name, Vec<Trusted>>);

/// Why a line of a file is no anchor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: expected {expected}, got {got:?}")]
pub struct AnchorError {
    /// Which, from 1.
    pub line: usize,
    /// The expected form.
    pub expected: String,
    /// The shape of the line.
    pub got: String,
}

/// The root's keys as IANA publishes them (root-anchors.xml): KSK-2017 and KSK-2024.
const ROOT: &str = "\
. DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
";

impl Anchors {
    /// The root of the Internet.
    #[must_use]
    pub fn root() -> Self {
        Self::parse(ROOT).expect("invariant: a test reads it")
    }

    /// Reads DS and DNSKEY records as zone files have them, one a line; `;` begins a comment.
    ///
    /// # Errors
    /// Fails if a line is something else, or there is none.
    pub fn parse(text: &str) -> Result<Self, AnchorError> {
        let mut anchors = Self::default();
        // Parentheses join lines (RFC 1035 §5.1), as `dig +multi` prints them.
        let (mut joined, mut open) = (String::new(), false);
        for (index, whole) in text.lines().enumerate() {
            let line = whole.split(';').next().unwrap_or_default();
            open = (open || line.contains('(')) && !line.contains(')');
            joined = format!("{joined} {}", line.replace(['(', ')'], " "));
            if open {
                continue;
            }
            let line = std::mem::take(&mut joined);
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let error =
                |expected: String| AnchorError { line: index + 1, expected, got: shape(line) };
            let (zone, trusted) = Self::line(line).map_err(error)?;
            anchors.add(zone, trusted);
        }
        if anchors.is_empty() {
            let expected = "at least one line such as `. DS 20326 8 2 E06D…`".to_owned();
            return Err(AnchorError { line: text.lines().count(), expected, got: String::new() });
        }
        Ok(anchors)
    }

    /// Whether a line of another file holds an anchor: a DS or DNSKEY record.
    #[must_use]
    pub fn is_anchor(words: &[&str]) -> bool {
        let is = |word: &&str, kind: &str| word.eq_ignore_ascii_case(kind);
        words.iter().skip(1).take(3).any(|word| is(word, "DS") || is(word, "DNSKEY"))
    }

    /// Reads one line.
    ///
    /// # Errors
    /// The expected form.
    pub fn line(line: &str) -> Result<(Name, Trusted), String> {
        let expected = || "ZONE DS TAG ALGORITHM TYPE DIGEST, or ZONE DNSKEY 257 3 ALGORITHM KEY";
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| {
            word.eq_ignore_ascii_case("DS") || word.eq_ignore_ascii_case("DNSKEY")
        });
        let (Some(at), Some(zone)) = (at.filter(|at| *at > 0), words.first()) else {
            return Err(expected().to_owned());
        };
        let mut zone = Name::from_ascii(zone).map_err(|_| "a zone".to_owned())?;
        zone.set_fqdn(true);
        if words[at].eq_ignore_ascii_case("DS") {
            let data = RData::try_from_str(RecordType::DS, &words[at + 1..].join(" "));
            match data {
                Ok(RData::DNSSEC(DNSSECRData::DS(ds))) => Ok((zone, Trusted::Digest(ds))),
                Ok(_) => Err(expected().to_owned()),
                Err(_) => Err(expected().to_owned()),
            }
        } else {
            let text = format!(". 0 IN DNSKEY {}\n", words[at + 1..].join(" "));
            let entries = Parser::new(&text).parse();
            let entries = entries.map_err(|_| expected().to_owned())?;
            let key = entries.into_iter().next().and_then(|entry| match entry {
                Entry::DNSKEY(record) => {
                    let data = RData::DNSSEC(DNSSECRData::DNSKEY(record.data().clone()));
                    Key::of(&Record::from_rdata(Name::root(), 0, data))
                }
                _ => None,
            });
            let key = key.ok_or_else(|| expected().to_owned())?;
            Ok((zone, Trusted::Key(Box::new(key))))
        }
    }

    /// Trusts one more.
    pub fn add(&mut self, zone: Name, trusted: Trusted) {
        self.0.entry(zone).or_default().push(trusted);
    }

    /// Whether nothing is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The deepest zone at or above `name` that is trusted, and what is trusted of it.
    #[must_use]
    pub fn above(&self, name: &Name) -> Option<(&Name, &[Trusted])> {
        let above = self.0.iter().filter(|(zone, _)| zone.zone_of(name));
        above.max_by_key(|(zone, _)| zone.iter().len()).map(|(zone, all)| (zone, all.as_slice()))
    }

    /// A file that [`parse`](Self::parse) reads back; keys are written as their DS record.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (zone, all) in &self.0 {
            for trusted in all {
                if let Trusted::Digest(ds) = trusted {
                    out += &format!("{} DS {ds}\n", zone.to_ascii());
                } else if let Trusted::Key(key) = trusted {
                    let dnskey = &key.dnskey;
                    out += &format!("{} DNSKEY {dnskey}\n", zone.to_ascii());
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::dnssec::rdata::DNSKEY;
    use hickory_proto::dnssec::{PublicKey, PublicKeyBuf, TrustAnchors};

    #[test]
    fn the_built_in_digests_are_those_of_the_two_root_keys() {
        let anchors = Anchors::root();
        let (zone, trusted) =
            anchors.above(&Name::from_ascii("www.example.com.").unwrap()).unwrap();
        assert!(zone.is_root());
        assert_eq!(trusted.iter().map(Trusted::tag).collect::<Vec<_>>(), [20326, 38696]);
        let keys = TrustAnchors::default();
        for (at, trusted) in trusted.iter().enumerate() {
            let key = keys.get(at).unwrap();
            let key = PublicKeyBuf::new(key.public_bytes().to_vec(), key.algorithm());
            let dnskey = DNSKEY::with_flags(257, key);
            let Trusted::Digest(ds) = trusted else { panic!("a digest") };
            assert!(ds.covers(&Name::root(), &dnskey).unwrap(), "{}", ds.key_tag());
        }
    }

    #[test]
    fn a_file_may_hold_digests_and_keys() {
        let text = "; mine\n. 3600 IN DNSKEY 257 3 15 \
            AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\
            example. IN DS 7 15 2 00FF ; end\n";
        let anchors = Anchors::parse(text).unwrap();
        let at = |text: &str| anchors.above(&Name::from_ascii(text).unwrap()).unwrap().0.to_ascii();
        assert_eq!((at("a.example.").as_str(), at("a.other.").as_str()), ("example.", "."));
        let multi = ". 3600 IN DNSKEY 257 3 15 (\n    AAECAwQFBgcICQoLDA0ODxAR\n    \
            EhMUFRYXGBkaGxwdHh8= ) ; KSK; alg = ED25519 ; key id = 9\n\
            example. IN DS ( 7 15 2\n 00FF )\n";
        assert_eq!(Anchors::parse(multi), Ok(anchors.clone()), "as dig +multi prints it");
        assert_eq!(Anchors::parse(&anchors.text()), Ok(anchors));
        for (text, part) in [
            ("", "at least one line"),
            ("\n. DS 1 2", "line 2: expected ZONE DS"),
            (". DNSKEY 257 3 15 &&&", "line 1: expected ZONE DS"),
            (". A 192.0.2.1", "line 1: expected ZONE DS"),
        ] {
            let error = Anchors::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
