//! Validation work that hostile zones can cause: counted, never timed.
//!
//! Keys of one number without end (KeyTrap, CVE-2023-50387), hashes that take long
//! (CVE-2023-50868), huge key sets, many DS records. It must never accept more work than the limit
//! that has a name, nor an answer for it.

use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, EXPIRATION, INCEPTION, JUDGED, Variant};
use dns_walk::dnssec::canon::{labels, name_bytes, signed_bytes};
use dns_walk::dnssec::denial::Proofs;
use dns_walk::dnssec::key::Key;
use dns_walk::dnssec::keys::{self, Trusted};
use dns_walk::dnssec::reason::Reason;
use dns_walk::dnssec::verify::{Against, check};
use dns_walk::dnssec::{Status, Work, WorkLimit, WorkLimits};
use dns_walk::event::{Event, Transport};
use dns_walk::sim::run;
use dns_walk::text::Question;
use dns_walk::walk::{Walk, WalkConfig};
use hickory_proto::dnssec::crypto::Digest;
use hickory_proto::dnssec::rdata::sig::SigInput;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC3, RRSIG};
use hickory_proto::dnssec::{Algorithm, DigestType, Nsec3HashAlgorithm, PublicKeyBuf};
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType, SerialNumber};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::net::SocketAddr;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::path::LinkPlan;
use wirelab::wire::base32;

/// Flags of the key that signs keys, and of the one that signs records (RFC 4034 §2.1.1).
const KSK: u16 = 257;
const ZSK: u16 = 256;
/// More of everything than any limit allows.
const MANY: usize = 200;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// A key of the demonstration: it comes from the zone's name.
fn pair(zone: &Name, role: &str) -> Ed25519KeyPair {
    let seed = [b"wirelab demo ", role.as_bytes(), b" ", &name_bytes(zone)].concat();
    let seed = Digest::new(&seed, DigestType::SHA256).unwrap();
    Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).unwrap()
}

fn key_of(public: Vec<u8>, flags: u16) -> Key {
    let dnskey = DNSKEY::with_flags(flags, PublicKeyBuf::new(public, Algorithm::ED25519));
    Key { tag: dnskey.calculate_key_tag().unwrap(), dnskey }
}

fn key(pair: &Ed25519KeyPair, flags: u16) -> Key {
    key_of(pair.public_key().as_ref().to_vec(), flags)
}

/// Other keys with the number of this one: the number is a sum, so words may change places.
fn colliding(key: &Key, count: usize) -> Vec<Key> {
    use hickory_proto::dnssec::PublicKey;
    let public = key.dnskey.public_key().public_bytes();
    let words: Vec<[u8; 2]> = public.chunks(2).map(|pair| [pair[0], pair[1]]).collect();
    let all = words.len();
    let places = (1..all).flat_map(|by| (0..all).map(move |from| (by, from)));
    let mut made: Vec<Key> = Vec::new();
    for (by, from) in places {
        let mut other = words.clone();
        other.rotate_left(by);
        other.swap(from, (from + 3) % all);
        let other = key_of(other.concat(), key.dnskey.flags());
        assert_eq!(other.tag, key.tag);
        if other != *key && !made.contains(&other) {
            made.push(other);
        }
        if made.len() == count {
            return made;
        }
    }
    panic!("only {} keys of one number", made.len());
}

fn record(owner: &Name, data: DNSSECRData) -> Record {
    Record::from_rdata(owner.clone(), 300, RData::DNSSEC(data))
}

fn sign(zone: &Name, pair: &Ed25519KeyPair, tag: u16, set: &[Record]) -> Record {
    let at = |seconds: u64| SerialNumber::new(u32::try_from(seconds).unwrap());
    let input = SigInput {
        type_covered: set[0].record_type(),
        algorithm: Algorithm::ED25519,
        num_labels: labels(&set[0].name),
        original_ttl: set[0].ttl,
        sig_expiration: at(EXPIRATION.0),
        sig_inception: at(INCEPTION.0),
        key_tag: tag,
        signer_name: zone.clone(),
    };
    let bytes = signed_bytes(&input, set).unwrap();
    let signature = pair.sign(&bytes).as_ref().to_vec();
    record(&set[0].name, DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)))
}

/// Signatures by a key that do not hold, each another one.
fn bad_signatures(good: &Record, count: usize) -> Vec<Record> {
    let signature = dns_walk::dnssec::rrsig(good).unwrap();
    let made = |number: usize| {
        let mut bytes = signature.sig().to_vec();
        bytes[number % 32] ^= 1 << (number / 32 % 8);
        let made = RRSIG::from_sig(signature.input().clone(), bytes);
        record(&good.name, DNSSECRData::RRSIG(made))
    };
    (0..count).map(made).collect()
}

fn addresses(owner: &Name) -> Vec<Record> {
    vec![Record::from_rdata(owner.clone(), 300, RData::A(A::new(192, 0, 2, 1)))]
}

#[test]
fn keys_times_signatures_are_bounded() {
    let zone = name("trap.example.");
    let zsk = pair(&zone, "zsk");
    let right = key(&zsk, ZSK);
    let mut keys = colliding(&right, MANY);
    keys.push(right.clone());
    let set = addresses(&name("www.trap.example."));
    let good = sign(&zone, &zsk, right.tag, &set);
    let limits = WorkLimits::default();
    let mut work = Work::new(limits);
    let against = Against { zone: &zone, keys: &keys, at: JUDGED };
    let checked = check(&against, &set, &bad_signatures(&good, MANY), &mut work);
    assert!(work.validations <= limits.validations);
    assert_eq!(work.validations, limits.signatures * limits.keys, "no fewer are tried");
    assert_eq!(checked.signatures.len(), usize::try_from(limits.signatures).unwrap());
    assert_eq!(checked.reason, Reason::WorkLimit { limit: WorkLimit::Keys });
    assert_eq!(checked.reason.status(), Status::Indeterminate);
    assert_eq!(checked.reason.words(), "given up: more keys of one number than are tried");
    // The right key is the last of its number: that is too late, and no reason to trust.
    work.next_reply();
    assert!(!check(&against, &set, std::slice::from_ref(&good), &mut work).is_secure());
    assert_eq!(work.validations, limits.keys);
    // Where it is one of two, as after a roll over with bad luck, it is found.
    work.next_reply();
    let two = [keys[0].clone(), right];
    let against = Against { keys: &two, ..against };
    assert!(check(&against, &set, &[good], &mut work).is_secure());
    assert_eq!(work.validations, 2);
}

#[test]
fn signatures_without_end_are_not_looked_at() {
    let zone = name("trap.example.");
    let zsk = pair(&zone, "zsk");
    let right = [key(&zsk, ZSK)];
    let set = addresses(&name("www.trap.example."));
    let good = sign(&zone, &zsk, right[0].tag, &set);
    let mut signatures = bad_signatures(&good, MANY);
    signatures.push(good);
    let limits = WorkLimits::default();
    let mut work = Work::new(limits);
    let against = Against { zone: &zone, keys: &right, at: JUDGED };
    let checked = check(&against, &set, &signatures, &mut work);
    assert_eq!(work.validations, limits.signatures);
    assert!(!checked.is_secure(), "the good one is behind too many");
    // Sets of one reply share what the reply may cost.
    for _ in 0..5 {
        let checked = check(&against, &set, &signatures, &mut work);
        assert!(!checked.is_secure());
    }
    assert_eq!(work.validations, limits.validations);
    let last = check(&against, &set, &signatures, &mut work).reason;
    assert_eq!(last, Reason::WorkLimit { limit: WorkLimit::Validations });
    assert_eq!(last.words(), "given up: more signatures to compute for one reply than allowed");
}

#[test]
fn digests_of_keys_are_bounded() {
    let zone = name("trap.example.");
    let ksk = pair(&zone, "ksk");
    let right = key(&ksk, KSK);
    let all = colliding(&right, MANY);
    let set = |keys: &[Key]| -> Vec<Record> {
        keys.iter().map(|key| record(&zone, DNSSECRData::DNSKEY(key.dnskey.clone()))).collect()
    };
    let wrong = |number: usize| {
        let digest = vec![u8::try_from(number % 256).unwrap(); 32];
        Trusted::Digest(DS::new(right.tag, Algorithm::ED25519, DigestType::SHA256, digest))
    };
    let limits = WorkLimits::default();
    // One DS record and many keys, many DS records and one key, many of both.
    for (ds, keys) in [(1, &all[..]), (MANY, &all[..1]), (MANY, &all[..])] {
        let trusted: Vec<Trusted> = (0..ds).map(wrong).collect();
        let usable = keys::usable(&zone, &trusted).unwrap();
        let records = set(keys);
        let signature = sign(&zone, &ksk, right.tag, &records);
        let signatures = bad_signatures(&signature, MANY);
        let mut work = Work::new(limits);
        let checked = keys::judge(&zone, usable, &records, &signatures, JUDGED, &mut work);
        assert_eq!(work.digests, limits.digests, "{ds} DS records, {} keys", keys.len());
        assert_eq!(work.validations, 0, "no key was found that is trusted");
        assert_eq!(checked.reason, Reason::WorkLimit { limit: WorkLimit::Digests });
        let words = checked.reason.words();
        assert_eq!(words, "given up: more digests to compute for one set of keys than allowed");
    }
    // A huge set with the right key in it costs one digest and one signature.
    let mut many = all;
    many.retain(|key| key.tag != right.tag);
    many.extend((0..MANY).map(|number| {
        let mut public = vec![0; 32];
        public[0] = u8::try_from(number).unwrap();
        key_of(public, ZSK)
    }));
    many.push(right.clone());
    let records = set(&many);
    let digest = right.dnskey.to_digest(&zone, DigestType::SHA256).unwrap().as_ref().to_vec();
    let ds = DS::new(right.tag, Algorithm::ED25519, DigestType::SHA256, digest);
    let usable = keys::usable(&zone, &[Trusted::Digest(ds)]).unwrap();
    let signature = sign(&zone, &ksk, right.tag, &records);
    let mut work = Work::new(limits);
    let checked = keys::judge(&zone, usable, &records, &[signature], JUDGED, &mut work);
    assert_eq!(checked.reason.status(), Status::Secure);
    assert_eq!((work.digests, work.validations), (1, 1));
}

/// A signed NSEC3 record of a zone that covers nothing that is asked for.
fn nsec3(zone: &Name, iterations: u16) -> Vec<Record> {
    let zsk = pair(zone, "zsk");
    let (owner, next) = ([0; 20], vec![0; 19].into_iter().chain([1]).collect());
    let kinds = [RecordType::A];
    let salt = vec![0xaa; 255];
    let data = NSEC3::new(Nsec3HashAlgorithm::SHA1, false, iterations, salt, next, kinds);
    let mut owner = zone.prepend_label(base32::encode_hex(&owner)).unwrap();
    owner.set_fqdn(true);
    let set = [record(&owner, DNSSECRData::NSEC3(data))];
    let signature = sign(zone, &zsk, key(&zsk, ZSK).tag, &set);
    let [one] = set;
    vec![one, signature]
}

#[test]
fn names_to_hash_are_bounded() {
    let zone = name("trap.");
    let keys = [key(&pair(&zone, "zsk"), ZSK)];
    let against = Against { zone: &zone, keys: &keys, at: JUDGED };
    let limits = WorkLimits::default();
    // As deep as a name can be (RFC 1035 §2.3.4).
    let deep = name(&("a.".repeat(124) + "trap."));
    let mut work = Work::new(limits);
    let mut proofs = Proofs::gather(&against, &nsec3(&zone, limits.nsec3_iterations), &mut work);
    let told = proofs.no_name(&deep, &mut work).unwrap_err();
    assert_eq!(told, Reason::WorkLimit { limit: WorkLimit::Nsec3Hashes });
    assert_eq!(told.words(), "given up: more names to hash for one reply than allowed");
    assert_eq!(work.hashes, limits.nsec3_hashes);
    // Every other question of the same reply costs nothing more.
    proofs.no_type(&deep, RecordType::TXT, &mut work).unwrap_err();
    proofs.no_ds(&deep, &mut work).unwrap_err();
    proofs.no_closer(&deep, 1, &mut work).unwrap_err();
    assert_eq!(work.hashes, limits.nsec3_hashes);
    // A reverse name of IPv6 with its wildcards is not too deep.
    work.next_reply();
    let reverse = name(&("0.".repeat(32) + "ip6.trap."));
    let mut proofs = Proofs::gather(&against, &nsec3(&zone, 0), &mut work);
    let told = proofs.no_name(&reverse, &mut work).unwrap_err();
    assert!(matches!(told, Reason::DenialInsufficient { .. }), "{}", told.words());
    assert!(work.hashes < limits.nsec3_hashes);
}

#[test]
fn rounds_above_the_limit_are_not_begun() {
    let zone = name("trap.");
    let keys = [key(&pair(&zone, "zsk"), ZSK)];
    let against = Against { zone: &zone, keys: &keys, at: JUDGED };
    let limits = WorkLimits::default();
    for rounds in [limits.nsec3_iterations + 1, 2_500, u16::MAX] {
        let mut work = Work::new(limits);
        let mut proofs = Proofs::gather(&against, &nsec3(&zone, rounds), &mut work);
        let told = proofs.no_name(&name("www.trap."), &mut work).unwrap_err();
        let most = limits.nsec3_iterations;
        assert_eq!(told, Reason::Nsec3Iterations { iterations: rounds, most });
        assert_eq!((told.status(), work.hashes), (Status::Insecure, 0));
    }
}

/// Makes replies about igbank.com. a trap: keys of one number, and signatures of that number.
fn trap(query: &[u8], reply: Vec<u8>) -> Vec<u8> {
    let zone = name("igbank.com.");
    let (zsk, ksk) = (pair(&zone, "zsk"), pair(&zone, "ksk"));
    let right = key(&zsk, ZSK);
    let asked = Message::from_vec(query).unwrap().queries[0].clone();
    let mut message = Message::from_vec(&reply).unwrap();
    if *asked.name() == zone && asked.query_type() == RecordType::DNSKEY {
        let is_key = |one: &Record| one.record_type() == RecordType::DNSKEY;
        let old: Vec<Record> = message.answers.iter().filter(|one| is_key(one)).cloned().collect();
        let mut set: Vec<Record> = colliding(&right, MANY)
            .into_iter()
            .map(|key| {
                let data = RData::DNSSEC(DNSSECRData::DNSKEY(key.dnskey));
                Record::from_rdata(zone.clone(), old[0].ttl, data)
            })
            .collect();
        set.extend(old);
        let signature = sign(&zone, &ksk, key(&ksk, KSK).tag, &set);
        set.push(signature);
        message.answers = set;
    } else if asked.name().num_labels() == 3 && asked.query_type() == RecordType::A {
        let signed = message.answers.iter().find(|one| dns_walk::dnssec::rrsig(one).is_some());
        let Some(signed) = signed.cloned() else { return reply };
        let plain = |one: &Record| one.record_type() == RecordType::A;
        message.answers.retain(plain);
        message.answers.extend(bad_signatures(&signed, MANY));
    }
    message.to_vec().unwrap()
}

#[test]
fn a_walk_into_the_trap_comes_out_of_it() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let limits = WorkLimits::default();
    let config = WalkConfig {
        public_only: false,
        validate_at: Some(JUDGED),
        tcp: true,
        ..WalkConfig::default()
    };
    let mut responder = |to: SocketAddr, transport: Transport, query: &[u8]| {
        authority.reply(to.ip(), transport, query).map(|reply| trap(query, reply))
    };
    let asked = Question::new(name("www.igbank.com."), RecordType::A);
    let (hints, start, link) = (authority.hints(5300), Instant::ZERO, LinkPlan::default());
    let walk = Walk::new(config, hints, asked, 7, Cache::default(), start);
    let (records, _) = run(walk, start, &mut responder, &link, Duration::from_millis(1), 7);
    let Some(Event::Summary(summary)) = records.last().map(|record| record.event.clone()) else {
        panic!("no summary");
    };
    let security = summary.security.unwrap();
    assert_eq!(security.status, Status::Indeterminate, "{}", security.words);
    assert_eq!(security.reason, Reason::WorkLimit { limit: WorkLimit::Keys });
    // The sound part of the chain costs a signature or two a link.
    let trapped = limits.signatures * limits.keys;
    assert!(security.signatures_computed >= trapped, "{}", security.signatures_computed);
    assert!(security.signatures_computed <= trapped + 2 * security.links);
    assert!(summary.queries <= summary.budget);
}
