//! Names above a name, and names that a DNAME makes of others (RFC 6672).

use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

/// The name and every name above it, the root last.
pub(crate) fn ancestors(name: &Name) -> impl Iterator<Item = Name> + use<> {
    let mut next = Some(name.clone());
    std::iter::from_fn(move || {
        let name = next.take()?;
        next = (!name.is_root()).then(|| name.base_name());
        Some(name)
    })
}

/// The name with the owner of the DNAME replaced by its target (RFC 6672 §2.2).
pub(crate) fn synthesize(name: &Name, dname: &Record) -> Result<Name, String> {
    let target = dname_target(dname).ok_or("a DNAME record without a target")?;
    moved(name, &dname.name, &target)
        .ok_or_else(|| "DNAME substitution would exceed 255 octets (YXDOMAIN)".to_owned())
}

/// The name with `owner` at its end replaced by `target`; nothing where that is too long.
pub(crate) fn moved(name: &Name, owner: &Name, target: &Name) -> Option<Name> {
    let kept = name.iter().len().checked_sub(owner.iter().len())?;
    let labels = name.iter().take(kept).chain(target.iter());
    let mut made = Name::from_labels(labels).ok()?;
    made.set_fqdn(true);
    Some(made)
}

/// The target of a DNAME, which `hickory-proto` hands over as bytes.
#[must_use]
pub fn dname_target(record: &Record) -> Option<Name> {
    let RData::Unknown { code: RecordType::DNAME, rdata } = &record.data else { return None };
    Name::read(&mut BinDecoder::new(&rdata.anything)).ok()
}
