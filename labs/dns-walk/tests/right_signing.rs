//! Which zones of a hierarchy are signed, how, and with what flaw; and their text for NSD.

use crate::hierarchy::Hierarchy;
use dns_walk::demo::{Denial, Flaw, SignPlan, Zone};
use hickory_proto::rr::RecordType;
use hickory_proto::serialize::binary::BinEncodable;
use std::collections::BTreeMap;
use std::fmt::Write;
use wirelab::measure::draw::keyed;

/// Whether zones are signed in this run.
pub(crate) fn wanted() -> bool {
    std::env::var_os("WIRELAB_DNS_SIGNED").is_some()
}

/// Every flaw that a zone's own content has. What a server leaves out, NSD would put in.
const FLAWS: [Flaw; 17] = [
    Flaw::BadSignature,
    Flaw::Expired,
    Flaw::NotYetValid,
    Flaw::WrongDs,
    Flaw::UnknownAlgorithm,
    Flaw::UnknownDigest,
    Flaw::KeysUnsigned,
    Flaw::KeyLeftOut,
    Flaw::KeyRevoked,
    Flaw::NotAZoneKey,
    Flaw::ForeignSigner,
    Flaw::OneDsWrong,
    Flaw::Sha1Ds,
    Flaw::Sha1DsRight,
    Flaw::OneDsUnknown,
    Flaw::KeysSignedByOther,
    Flaw::NoDs,
];

/// The signed zones of a hierarchy: none in one of three, most in the others.
pub(crate) fn plans(hierarchy: &Hierarchy) -> BTreeMap<String, SignPlan> {
    let stream = keyed(0x7369_676e, hierarchy.seed);
    let mut next = 0;
    let mut below = |end: u64| {
        next += 1;
        keyed(stream, next) % end
    };
    let mut plans = BTreeMap::new();
    if below(3) == 0 {
        return plans;
    }
    for zone in &hierarchy.zones {
        let (signed, flawed) = (below(6) > 0, below(6) == 0);
        let denial = match below(4) {
            0 | 1 => Denial::Nsec,
            kind => Denial::Nsec3 {
                // RFC 9276 §3.1: none; zones that were signed before it have some.
                iterations: if below(2) == 0 { 0 } else { 10 },
                salt: if below(2) == 0 { Vec::new() } else { vec![0xab, 0xcd] },
                opt_out: kind == 2,
            },
        };
        let drawn = usize::try_from(below(u64::try_from(FLAWS.len()).unwrap())).unwrap();
        let flaw = flawed.then(|| FLAWS[drawn]);
        if signed {
            plans.insert(zone.origin.clone(), SignPlan { denial, flaw });
        }
    }
    plans
}

/// The text of a zone for a real server: its lines, and what signing added (RFC 3597 §5).
pub(crate) fn text(lines: &[String], zone: &Zone, plan: Option<&SignPlan>) -> String {
    let mut text = lines.join("\n") + "\n";
    for record in zone.records() {
        let kind = record.record_type();
        if !matches!(
            kind,
            RecordType::DS
                | RecordType::DNSKEY
                | RecordType::RRSIG
                | RecordType::NSEC
                | RecordType::NSEC3
        ) {
            continue;
        }
        let data = record.data.to_bytes().unwrap();
        let (owner, ttl, length) = (record.name.to_ascii(), record.ttl, data.len());
        let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(text, "{owner} {ttl} TYPE{} \\# {length} {hex}", u16::from(kind));
    }
    if let Some(Denial::Nsec3 { iterations, salt, .. }) = plan.map(|plan| &plan.denial) {
        // Which NSEC3 records to use (RFC 5155 §4): a server's business alone.
        let salt: String = salt.iter().map(|byte| format!("{byte:02x}")).collect();
        let salt = if salt.is_empty() { "-" } else { &salt };
        let origin = zone.origin().to_ascii();
        let _ = writeln!(text, "{origin} 0 NSEC3PARAM 1 0 {iterations} {salt}");
    }
    text
}
