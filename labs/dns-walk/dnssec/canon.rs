//! The one form of names, data and sets that signatures are made over (RFC 4034 §6).

use hickory_proto::dnssec::rdata::sig::SigInput;
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

/// A name in small letters, uncompressed.
#[must_use]
pub fn name_bytes(name: &Name) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    for label in name.iter() {
        bytes.push(u8::try_from(label.len()).expect("invariant: a label has 63 bytes at most"));
        bytes.extend(label.to_ascii_lowercase());
    }
    bytes.push(0);
    bytes
}

/// The data of a record: names in small letters where RFC 4034 §6.2 and RFC 6840 §5.1 say so.
#[must_use]
pub fn data_bytes(record: &Record) -> Option<Vec<u8>> {
    if let Some(target) = crate::dname::dname_target(record) {
        return Some(name_bytes(&target));
    }
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_canonical_form(true);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    record.data.emit(&mut encoder).ok()?;
    Some(bytes)
}

/// Labels as a signature counts them: without a leading `*` (RFC 4034 §3.1.3).
#[must_use]
pub fn labels(name: &Name) -> u8 {
    let all = name.iter().len() - usize::from(name.is_wildcard());
    u8::try_from(all).expect("invariant: a name has at most 127 labels")
}

/// The bytes that a signature is made over: its own fields, then the set (RFC 4034 §3.1.8.1).
///
/// None where the data cannot be written, or the signature names more labels than the name has.
#[must_use]
pub fn signed_bytes(input: &SigInput, set: &[Record]) -> Option<Vec<u8>> {
    let first = set.first()?;
    let kind = u16::from(input.type_covered).to_be_bytes();
    let mut out = Vec::with_capacity(512);
    out.extend(kind);
    out.extend([u8::from(input.algorithm), input.num_labels]);
    out.extend(input.original_ttl.to_be_bytes());
    out.extend(input.sig_expiration.get().to_be_bytes());
    out.extend(input.sig_inception.get().to_be_bytes());
    out.extend(input.key_tag.to_be_bytes());
    out.extend(name_bytes(&input.signer_name));
    let owner = signed_owner(&first.name, input.num_labels)?;
    let mut all: Vec<Vec<u8>> = set.iter().map(data_bytes).collect::<Option<_>>()?;
    // In order, each once (RFC 4034 §6.3).
    all.sort_unstable();
    all.dedup();
    for data in all {
        out.extend(&owner);
        out.extend(kind);
        out.extend(u16::from(first.dns_class).to_be_bytes());
        out.extend(input.original_ttl.to_be_bytes());
        out.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

/// The owner as it was signed: a wildcard where the signature counts fewer labels
/// (RFC 4035 §5.3.2).
fn signed_owner(owner: &Name, signed: u8) -> Option<Vec<u8>> {
    let have = labels(owner);
    if signed > have {
        return None;
    }
    if signed == have {
        return Some(name_bytes(owner));
    }
    let mut bytes = vec![1, b'*'];
    bytes.extend(name_bytes(&owner.trim_to(usize::from(signed))));
    Some(bytes)
}

/// Whether records of this type stand above a zone's cut rather than below it.
#[must_use]
pub const fn of_the_parent(kind: RecordType) -> bool {
    matches!(kind, RecordType::DS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        let mut name = Name::from_ascii(text).unwrap();
        name.set_fqdn(true);
        name
    }

    #[test]
    fn names_are_in_the_order_of_the_standard() {
        // RFC 4034 §6.1.
        let mut labels: Vec<Vec<&[u8]>> = vec![
            vec![b"example"],
            vec![b"a", b"example"],
            vec![b"yljkjljk", b"a", b"example"],
            vec![b"Z", b"a", b"example"],
            vec![b"zABC", b"a", b"EXAMPLE"],
            vec![b"z", b"example"],
            vec![b"\x01", b"z", b"example"],
            vec![b"*", b"z", b"example"],
            vec![b"\xc8", b"z", b"example"],
        ];
        let make = |labels: &Vec<&[u8]>| {
            let mut name = Name::from_labels(labels.clone()).unwrap();
            name.set_fqdn(true);
            name
        };
        let right: Vec<Name> = labels.iter().map(make).collect();
        labels.reverse();
        let mut sorted: Vec<Name> = labels.iter().map(make).collect();
        sorted.sort();
        assert_eq!(sorted, right);
    }

    #[test]
    fn labels_are_counted_without_the_star() {
        assert_eq!(
            (labels(&name("*.a.b.")), labels(&name("x.a.b.")), labels(&name("."))),
            (2, 3, 0)
        );
        assert_eq!(signed_owner(&name("X.y.A.b."), 2).unwrap(), b"\x01*\x01a\x01b\x00");
        assert_eq!(signed_owner(&name("*.A.b."), 2).unwrap(), b"\x01*\x01a\x01b\x00");
        assert_eq!(signed_owner(&name("a.b."), 3), None);
    }
}
