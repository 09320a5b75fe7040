//! The validator under any RRSIG, DNSKEY, DS, NSEC and NSEC3 records, some validly signed.
//!
//! It stays within its limits, and calls nothing secure that the zone's keys did not sign.
#![no_main]

use dns_walk::dnssec::anchor::Anchors;
use dns_walk::dnssec::canon::{labels, name_bytes, signed_bytes};
use dns_walk::dnssec::chain::{Chain, Claim, Next};
use dns_walk::dnssec::denial::Proofs;
use dns_walk::dnssec::evidence::{Evidence, Store};
use dns_walk::dnssec::key::Key;
use dns_walk::dnssec::keys::{self, Trusted};
use dns_walk::dnssec::verify::{Against, check};
use dns_walk::dnssec::{UnixSeconds, Work, WorkLimits, rrsig};
use dns_walk::limits::Limits;
use dns_walk::text::Question;
use dns_walk::tolerant;
use dns_walk::{Name, RecordType};
use hickory_proto::dnssec::rdata::sig::SigInput;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_proto::dnssec::{Algorithm, PublicKeyBuf};
use hickory_proto::rr::{RData, Record, SerialNumber};
use libfuzzer_sys::fuzz_target;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::collections::BTreeMap;
use wirelab::measure::Instant;

/// The validation time.
const AT: UnixSeconds = UnixSeconds(1_735_689_600);
/// Owner names: the zone, below it, below a cut, and outside.
const NAMES: [&str; 8] = ["z.", "a.z.", "*.z.", "x.a.z.", "sub.z.", "x.sub.z.", "*.a.z.", "other."];
const KINDS: [RecordType; 10] = [
    RecordType::RRSIG,
    RecordType::DNSKEY,
    RecordType::DS,
    RecordType::NSEC,
    RecordType::NSEC3,
    RecordType::A,
    RecordType::CNAME,
    RecordType::SOA,
    RecordType::NS,
    RecordType::DNAME,
];
/// Records per input: more than any limit of the validator.
const RECORDS: usize = 64;
/// Maximum queries per validation: a DS and a DNSKEY set for each label of a name here.
const NEEDS: usize = 16;

type Sets = BTreeMap<(Name, u16), Vec<Record>>;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// A record with any bytes, as in a reply.
fn record(owner: &Name, kind: RecordType, data: &[u8]) -> Option<Record> {
    let mut reply = vec![0, 7, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    reply.extend(name_bytes(owner));
    reply.extend(u16::from(kind).to_be_bytes());
    reply.extend([0, 1, 0, 0, 1, 0]);
    reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    reply.extend(data);
    tolerant::decode(&reply).ok()?.answers.pop()
}

/// A valid signature by the key of `zone`.
fn sign(zone: &Name, pair: &Ed25519KeyPair, key: &Key, set: &[Record]) -> Option<Record> {
    let at = |seconds: u64| SerialNumber::new(seconds as u32);
    let input = SigInput {
        type_covered: set[0].record_type(),
        algorithm: Algorithm::ED25519,
        num_labels: labels(&set[0].name),
        original_ttl: set[0].ttl,
        sig_expiration: at(AT.0 + 86_400),
        sig_inception: at(AT.0 - 86_400),
        key_tag: key.tag,
        signer_name: zone.clone(),
    };
    let bytes = signed_bytes(&input, set)?;
    let signature = pair.sign(&bytes).as_ref().to_vec();
    let data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
    Some(Record::from_rdata(set[0].name.clone(), set[0].ttl, data))
}

/// RRsets and signatures of the input, with valid ones at its choice.
fn read(mut rest: &[u8], zone: &Name, pair: &Ed25519KeyPair, key: &Key) -> (Sets, Vec<Record>) {
    let mut sets = Sets::new();
    let (mut signatures, mut signed) = (Vec::new(), Vec::new());
    for _ in 0..RECORDS {
        let Some((&[owner, kind, size], tail)) = rest.split_first_chunk::<3>() else { break };
        let (data, tail) = tail.split_at(usize::from(size).min(tail.len()));
        rest = tail;
        let at = name(NAMES[usize::from(owner) % NAMES.len()]);
        let Some(made) = record(&at, KINDS[usize::from(kind) % KINDS.len()], data) else {
            continue;
        };
        if rrsig(&made).is_some() {
            signatures.push(made);
            continue;
        }
        let place = (made.name.clone(), u16::from(made.record_type()));
        if owner & 0x80 != 0 {
            signed.push(place.clone());
        }
        sets.entry(place).or_default().push(made);
    }
    for place in signed {
        signatures.extend(sets.get(&place).and_then(|set| sign(zone, pair, key, set)));
    }
    (sets, signatures)
}

fn within(work: &Work) {
    assert!(work.validations <= work.limits.validations);
    assert!(work.hashes <= work.limits.nsec3_hashes);
    assert!(work.digests <= work.limits.digests);
}

/// Every check by itself.
fn apart(against: &Against<'_>, sets: &Sets, signatures: &[Record]) {
    let mut work = Work::new(WorkLimits::default());
    let (mut proof, mut trusted) = (signatures.to_vec(), Vec::new());
    for set in sets.values() {
        let checked = check(against, set, signatures, &mut work);
        within(&work);
        let ours = |one: &&Record| rrsig(one).unwrap().input().signer_name == *against.zone;
        assert!(!checked.is_secure() || signatures.iter().any(|one| ours(&one)));
        proof.extend(set.iter().cloned());
        trusted.extend(set.iter().filter_map(|one| match &one.data {
            RData::DNSSEC(DNSSECRData::DS(ds)) => Some(Trusted::Digest(ds.clone())),
            _ => None,
        }));
    }
    for text in NAMES.map(name) {
        work.next_reply();
        let mut proofs = Proofs::gather(against, &proof, &mut work);
        let any = proof.iter().any(|one| {
            matches!(one.record_type(), RecordType::NSEC | RecordType::NSEC3)
                && one.name.num_labels() < 100
        });
        let told = [
            proofs.no_name(&text, &mut work).is_ok(),
            proofs.no_type(&text, RecordType::TXT, &mut work).is_ok(),
            proofs.no_type(&text, RecordType::DS, &mut work).is_ok(),
            proofs.no_ds(&text, &mut work).is_ok(),
            proofs.no_closer(&text, 1, &mut work).is_ok(),
        ];
        assert!(any || told == [false; 5], "nothing was denied by nothing");
        within(&work);
    }
    for ((zone, kind), set) in sets {
        if *kind != u16::from(RecordType::DNSKEY) || trusted.is_empty() {
            continue;
        }
        if let Ok(usable) = keys::usable(zone, &trusted) {
            work.next_reply();
            let _ = keys::judge(zone, usable, set, signatures, AT, &mut work);
            within(&work);
        }
    }
}

/// A whole chain, with all its queries.
fn together(question: Question, anchors: Anchors, keys: Vec<Record>, sets: &Sets, rest: &[Record]) {
    let (now, limits) = (Instant::ZERO, Limits::default());
    let mut store = Store::default();
    let mut proof: Vec<Record> = rest.to_vec();
    let denies = |one: &&Record| matches!(one.record_type(), RecordType::NSEC | RecordType::NSEC3);
    proof.extend(sets.values().flatten().filter(denies).cloned());
    let evidence = |question: &Question| {
        let place = (question.name.clone(), u16::from(question.kind));
        match sets.get(&place) {
            _ if question.name == name("z.") && question.kind == RecordType::DNSKEY => {
                let (set, signatures) = (vec![keys[0].clone()], vec![keys[1].clone()]);
                Evidence::Records { set, signatures, proof: Vec::new() }
            }
            Some(set) => {
                let signatures = rest.iter().filter(|one| one.name == question.name).cloned();
                let signatures = signatures.collect();
                Evidence::Records { set: set.clone(), signatures, proof: proof.clone() }
            }
            None if proof.is_empty() => Evidence::Failed { because: "nothing came".to_owned() },
            None => Evidence::Absence { whole_name: proof.len() % 2 == 0, proof: proof.clone() },
        }
    };
    let claim = Claim { evidence: evidence(&question), question, step: 1 };
    let most = WorkLimits::default().validations;
    let mut chain = Chain::new(anchors, AT, WorkLimits::default());
    for turn in 0..=NEEDS {
        assert!(turn < NEEDS, "it asks without end");
        let before = chain.computed();
        let next = chain.judge(now, &claim, &store);
        // Replies per turn: two for each label of the name, and the claim itself.
        let replies = 2 * (u32::from(claim.question.name.num_labels()) + 1) + 1;
        assert!(chain.computed() - before <= most * replies);
        while chain.poll_link().is_some() {}
        match next {
            Next::Verdict(_) => return,
            Next::Need(question) => {
                let about = (&question.name, Some(question.kind));
                store.keep(now, &limits, about, evidence(&question), 2);
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[asked, kind], rest)) = data.split_first_chunk::<2>() else { return };
    let zone = name("z.");
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let public = PublicKeyBuf::new(pair.public_key().as_ref().to_vec(), Algorithm::ED25519);
    let dnskey = DNSKEY::with_flags(257, public);
    let key = Key { tag: dnskey.calculate_key_tag().unwrap(), dnskey: dnskey.clone() };
    let set = [Record::from_rdata(zone.clone(), 256, RData::DNSSEC(DNSSECRData::DNSKEY(dnskey)))];
    let signature = sign(&zone, &pair, &key, &set).unwrap();
    let (sets, signatures) = read(rest, &zone, &pair, &key);
    let keys = [key.clone()];
    apart(&Against { zone: &zone, keys: &keys, at: AT }, &sets, &signatures);
    let mut anchors = Anchors::default();
    anchors.add(zone, Trusted::Key(Box::new(key)));
    let [one] = set;
    let asked = name(NAMES[usize::from(asked) % NAMES.len()]);
    let question = Question::new(asked, KINDS[usize::from(kind) % KINDS.len()]);
    together(question, anchors, vec![one, signature], &sets, &signatures);
});
