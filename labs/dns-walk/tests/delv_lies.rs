//! Replies of a real server, changed on the way and re-signed with the zone's own keys.

use crate::servers::{endpoint, exchange};
use dns_walk::dnssec::canon::{labels, signed_bytes};
use dns_walk::dnssec::key::Key;
use hickory_proto::dnssec::rdata::sig::SigInput;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, NSEC, NSEC3, RRSIG};
use hickory_proto::dnssec::{Algorithm, Nsec3HashAlgorithm, PublicKeyBuf};
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::{A, NULL};
use hickory_proto::rr::{Name, RData, Record, RecordType, SerialNumber};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wirelab::runtime::clock::utc_seconds;
use wirelab::wire::base32;

/// How long the real server may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest reply over UDP: what every query here allows.
const UDP_BYTES: usize = 1_200;
/// A day.
const DAY_S: u64 = 86_400;

/// A key that can sign: ECDSA on P-256 as dnssec-keygen made it.
pub(crate) struct Secret {
    pair: EcdsaKeyPair,
    public: Vec<u8>,
    flags: u16,
}

impl Secret {
    /// Reads the two files of a key.
    pub(crate) fn read(folder: &Path, key: &str) -> Self {
        let public = fs::read_to_string(folder.join(format!("{key}.key"))).unwrap();
        let line = public.lines().find(|line| line.contains("DNSKEY")).unwrap();
        let words: Vec<&str> =
            line.split_whitespace().skip_while(|word| *word != "DNSKEY").collect();
        assert_eq!(words[3], "13", "lies are signed with ECDSAP256SHA256");
        let (flags, public) = (words[1].parse().unwrap(), base64(&words[4..].concat()));
        let private = fs::read_to_string(folder.join(format!("{key}.private"))).unwrap();
        let private = private.lines().find_map(|line| line.strip_prefix("PrivateKey: ")).unwrap();
        // BIND leaves leading zeros out.
        let private = base64(private);
        let private = [vec![0; 32 - private.len()], private].concat();
        let point = [&[4], public.as_slice()].concat();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &private,
            &point,
            &SystemRandom::new(),
        );
        Self { pair: pair.unwrap(), public, flags }
    }

    /// The record with other flags.
    fn dnskey(&self, flags: u16) -> DNSKEY {
        let public = PublicKeyBuf::new(self.public.clone(), Algorithm::ECDSAP256SHA256);
        DNSKEY::with_flags(flags, public)
    }

    fn tag(&self) -> u16 {
        self.dnskey(self.flags).calculate_key_tag().unwrap()
    }
}

/// RFC 4648 §4.
fn base64(text: &str) -> Vec<u8> {
    let (mut out, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let value = alphabet.iter().position(|letter| *letter == byte).unwrap();
        held = held << 6 | u32::try_from(value).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    out
}

/// The keys of a zone.
pub(crate) struct Keys {
    pub(crate) zone: Name,
    pub(crate) ksk: Secret,
    pub(crate) zsk: Secret,
}

/// Records of one name and type, with their signatures.
#[derive(Default)]
struct Set {
    records: Vec<Record>,
    signatures: Vec<Record>,
}

/// A reply on its way.
pub(crate) struct Lie<'a> {
    message: &'a mut Message,
    own: &'a Keys,
    parent: &'a Keys,
}

/// A mutation of a reply.
pub(crate) type Liar = fn(&mut Lie<'_>);

fn rrsig(record: &Record) -> Option<&RRSIG> {
    dns_walk::dnssec::rrsig(record)
}

/// Signs a set; `change` has a last say in what the signature claims, and that is what is signed.
fn sign(
    zone: &Name,
    secret: &Secret,
    set: &[Record],
    change: impl FnOnce(&mut SigInput),
) -> Record {
    let at = |seconds: u64| SerialNumber::new(u32::try_from(seconds).unwrap());
    let now = utc_seconds();
    let own = labels(&set[0].name);
    let mut input = SigInput {
        type_covered: set[0].record_type(),
        algorithm: Algorithm::ECDSAP256SHA256,
        num_labels: own,
        original_ttl: set[0].ttl,
        sig_expiration: at(now + 20 * DAY_S),
        sig_inception: at(now - DAY_S),
        key_tag: secret.tag(),
        signer_name: zone.clone(),
    };
    change(&mut input);
    let claimed = input.num_labels;
    let honest = SigInput { num_labels: claimed.min(own), ..input.clone() };
    let mut bytes = signed_bytes(&honest, set).unwrap();
    // Kind, algorithm, labels (RFC 4034 §3.1).
    bytes[3] = claimed;
    let signature = secret.pair.sign(&SystemRandom::new(), &bytes).unwrap();
    let data = RRSIG::from_sig(input, signature.as_ref().to_vec());
    let data = RData::DNSSEC(DNSSECRData::RRSIG(data));
    Record::from_rdata(set[0].name.clone(), set[0].ttl, data)
}

impl Lie<'_> {
    /// Changes every set of a type.
    fn each(&mut self, kind: RecordType, change: impl Fn(&Keys, &Keys, &mut Set)) {
        for section in [&mut self.message.answers, &mut self.message.authorities] {
            let mut sets: BTreeMap<Name, Set> = BTreeMap::new();
            for record in std::mem::take(section) {
                let covers = rrsig(&record).map(|signature| signature.input().type_covered);
                if record.record_type() == kind {
                    sets.entry(record.name.clone()).or_default().records.push(record);
                } else if covers == Some(kind) {
                    sets.entry(record.name.clone()).or_default().signatures.push(record);
                } else {
                    section.push(record);
                }
            }
            for mut set in sets.into_values() {
                if !set.records.is_empty() {
                    change(self.own, self.parent, &mut set);
                }
                section.append(&mut set.records);
                section.append(&mut set.signatures);
            }
        }
    }

    /// Re-signs every set of a type.
    fn sign_anew(&mut self, kind: RecordType, change: fn(&Keys, &mut SigInput)) {
        self.each(kind, |own, _, set| {
            let made = sign(&own.zone, &own.zsk, &set.records, |input| change(own, input));
            set.signatures = vec![made];
        });
    }

    /// Changes the keys, and signs them with the key that signs keys, as it is then.
    fn keys(&mut self, change: fn(&Keys, &mut Vec<Record>), ksk_flags: u16) {
        self.each(RecordType::DNSKEY, |own, _, set| {
            change(own, &mut set.records);
            let tag = own.ksk.dnskey(ksk_flags).calculate_key_tag().unwrap();
            let made = sign(&own.zone, &own.ksk, &set.records, |input| input.key_tag = tag);
            set.signatures = vec![made];
        });
    }

    /// Signs everything but the keys with the key for records as it is with other flags.
    fn records_by(&mut self, flags: u16) {
        let kinds = [RecordType::A, RecordType::SOA, RecordType::NSEC];
        for kind in kinds {
            self.each(kind, |own, _, set| {
                let tag = own.zsk.dnskey(flags).calculate_key_tag().unwrap();
                let made = sign(&own.zone, &own.zsk, &set.records, |input| input.key_tag = tag);
                set.signatures = vec![made];
            });
        }
    }

    /// Leaves records and their signatures out.
    fn leave_out(&mut self, what: impl Fn(&Record) -> bool) {
        for section in [&mut self.message.answers, &mut self.message.authorities] {
            let gone: Vec<(Name, RecordType)> = section
                .iter()
                .filter(|record| rrsig(record).is_none() && what(record))
                .map(|record| (record.name.clone(), record.record_type()))
                .collect();
            section.retain(|record| {
                let kind = rrsig(record)
                    .map_or_else(|| record.record_type(), |one| one.input().type_covered);
                !gone.contains(&(record.name.clone(), kind))
            });
        }
    }

    /// Leaves signatures of the zone itself out.
    fn strip(&mut self, of: impl Fn(&RRSIG) -> bool) {
        let zone = &self.own.zone;
        for section in [&mut self.message.answers, &mut self.message.authorities] {
            section.retain(|record| {
                !rrsig(record).is_some_and(|one| one.input().signer_name == *zone && of(one))
            });
        }
    }

    /// Puts NSEC records, signed by a zone, in place of those that are there.
    fn nsec_instead(&mut self, of_parent: bool, make: fn(&Name) -> (Name, NSEC)) {
        if !self.message.authorities.iter().any(|one| one.record_type() == RecordType::NSEC) {
            return;
        }
        self.leave_out(|record| record.record_type() == RecordType::NSEC);
        let keys = if of_parent { self.parent } else { self.own };
        let (owner, nsec) = make(&self.own.zone);
        let record = Record::from_rdata(owner, 300, RData::DNSSEC(DNSSECRData::NSEC(nsec)));
        let made = sign(&keys.zone, &keys.zsk, std::slice::from_ref(&record), |_| ());
        self.message.authorities.extend([record, made]);
    }

    fn about(&self) -> (&Name, RecordType) {
        let query = &self.message.queries[0];
        (query.name(), query.query_type())
    }
}

fn below(zone: &Name, label: &str) -> Name {
    let mut name = zone.prepend_label(label).unwrap();
    name.set_fqdn(true);
    name
}

/// The records are not those that were signed.
pub(crate) fn altered(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |_, _, set| {
        set.records[0].data = RData::A(A::new(203, 0, 113, 1));
    });
}

/// One record of a set is left out.
pub(crate) fn incomplete(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |_, _, set| set.records.truncate(1));
}

/// A bit of the signature is changed.
pub(crate) fn flipped(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |_, _, set| {
        for record in &mut set.signatures {
            let signature = rrsig(record).unwrap();
            let mut bytes = signature.sig().to_vec();
            bytes[40] ^= 0x10;
            let made = RRSIG::from_sig(signature.input().clone(), bytes);
            record.data = RData::DNSSEC(DNSSECRData::RRSIG(made));
        }
    });
}

/// The signature is shorter than signatures of its algorithm are.
pub(crate) fn short(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |_, _, set| {
        for record in &mut set.signatures {
            let signature = rrsig(record).unwrap();
            let made = RRSIG::from_sig(signature.input().clone(), signature.sig()[..63].to_vec());
            record.data = RData::DNSSEC(DNSSECRData::RRSIG(made));
        }
    });
}

/// Nothing but new signatures by the same keys: the forger himself is right.
pub(crate) fn nothing(lie: &mut Lie<'_>) {
    for kind in [RecordType::A, RecordType::SOA, RecordType::NSEC, RecordType::NSEC3] {
        lie.sign_anew(kind, |_, _| ());
    }
    lie.keys(|_, _| (), 257);
}

/// Names are written in capitals, and times to live are made shorter: no lie at all.
pub(crate) fn capitals(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |_, _, set| {
        for record in set.records.iter_mut().chain(&mut set.signatures) {
            record.name = Name::from_ascii(record.name.to_ascii().to_uppercase()).unwrap();
            record.ttl = 7;
        }
    });
}

/// The zone above is named as the one that signed, and did.
pub(crate) fn by_parent(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |_, parent, set| {
        set.signatures = vec![sign(&parent.zone, &parent.zsk, &set.records, |_| ())];
    });
}

/// The zone's key signed, in the name of the zone above.
pub(crate) fn as_parent(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |own, parent, set| {
        set.signatures = vec![sign(&parent.zone, &own.zsk, &set.records, |_| ())];
    });
}

/// The zone's key signed, in the name of the owner, which is not a zone.
pub(crate) fn as_owner(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |own, _, set| {
        let owner = set.records[0].name.clone();
        set.signatures = vec![sign(&owner, &own.zsk, &set.records, |_| ())];
    });
}

/// The signature counts a label too many.
pub(crate) fn more_labels(lie: &mut Lie<'_>) {
    lie.sign_anew(RecordType::A, |_, input| input.num_labels += 1);
}

/// The signature counts a label too few: as if a wildcard had answered.
pub(crate) fn fewer_labels(lie: &mut Lie<'_>) {
    lie.sign_anew(RecordType::A, |_, input| input.num_labels -= 1);
}

/// The wildcard would be above the zone itself.
pub(crate) fn labels_above_zone(lie: &mut Lie<'_>) {
    lie.sign_anew(RecordType::A, |own, input| input.num_labels = labels(&own.zone) - 1);
}

/// The number of the key is wrong.
pub(crate) fn wrong_tag(lie: &mut Lie<'_>) {
    lie.sign_anew(RecordType::A, |_, input| input.key_tag ^= 1);
}

/// The algorithm is one that the key is not of.
pub(crate) fn wrong_algorithm(lie: &mut Lie<'_>) {
    lie.sign_anew(RecordType::A, |_, input| input.algorithm = Algorithm::ED25519);
}

/// The only signature is of an unassigned algorithm.
pub(crate) fn unknown_algorithm(lie: &mut Lie<'_>) {
    lie.sign_anew(RecordType::A, |_, input| input.algorithm = Algorithm::Unknown(200));
}

/// The signature is over another type.
pub(crate) fn other_type(lie: &mut Lie<'_>) {
    lie.sign_anew(RecordType::A, |_, input| input.type_covered = RecordType::AAAA);
}

/// The signature ends before it begins.
pub(crate) fn backwards(lie: &mut Lie<'_>) {
    lie.sign_anew(RecordType::A, |_, input| {
        std::mem::swap(&mut input.sig_inception, &mut input.sig_expiration);
    });
}

/// The time to live that was signed is not the one that is claimed.
pub(crate) fn other_ttl(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |own, _, set| {
        let made = sign(&own.zone, &own.zsk, &set.records, |_| ());
        let signature = rrsig(&made).unwrap();
        let input = SigInput { original_ttl: 86_400, ..signature.input().clone() };
        let data = RRSIG::from_sig(input, signature.sig().to_vec());
        let data = RData::DNSSEC(DNSSECRData::RRSIG(data));
        set.signatures = vec![Record::from_rdata(made.name.clone(), made.ttl, data)];
    });
}

/// Records live longer than was signed.
pub(crate) fn longer_ttl(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |_, _, set| {
        for record in set.records.iter_mut().chain(&mut set.signatures) {
            record.ttl = 400_000;
        }
    });
}

/// Signed by the key that should only sign keys: unusual, and right.
pub(crate) fn by_ksk(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |own, _, set| {
        set.signatures = vec![sign(&own.zone, &own.ksk, &set.records, |_| ())];
    });
}

/// Bad signatures of every kind stand before the good one.
pub(crate) fn bad_before_good(lie: &mut Lie<'_>) {
    lie.each(RecordType::A, |own, parent, set| {
        let made = |change: fn(&mut SigInput)| sign(&own.zone, &own.zsk, &set.records, change);
        let mut all = vec![
            sign(&parent.zone, &parent.zsk, &set.records, |_| ()),
            made(|input| input.key_tag ^= 1),
            made(|input| input.algorithm = Algorithm::Unknown(200)),
            made(|input| input.sig_expiration = input.sig_inception),
        ];
        all.append(&mut set.signatures);
        set.signatures = all;
    });
}

/// No signature at all is given out.
pub(crate) fn strip_all(lie: &mut Lie<'_>) {
    lie.strip(|_| true);
}

/// The signature over the answer is not given out.
pub(crate) fn strip_answer(lie: &mut Lie<'_>) {
    lie.strip(|signature| signature.input().type_covered == RecordType::A);
}

/// The signature over an alias is not given out.
pub(crate) fn strip_alias(lie: &mut Lie<'_>) {
    let kinds = [RecordType::CNAME, RecordType::DNAME];
    lie.strip(|signature| kinds.contains(&signature.input().type_covered));
}

/// The signatures over the proof of absence are not given out.
pub(crate) fn strip_denial(lie: &mut Lie<'_>) {
    let kinds = [RecordType::NSEC, RecordType::NSEC3];
    lie.strip(|signature| kinds.contains(&signature.input().type_covered));
}

/// The signature over the SOA record of an absence is not given out.
pub(crate) fn strip_soa(lie: &mut Lie<'_>) {
    lie.strip(|signature| signature.input().type_covered == RecordType::SOA);
}

/// Nothing proves an absence.
pub(crate) fn no_denial(lie: &mut Lie<'_>) {
    lie.leave_out(|one| matches!(one.record_type(), RecordType::NSEC | RecordType::NSEC3));
}

/// The DNSKEY records are not signed by the key that the DS record names.
pub(crate) fn keys_by_zsk(lie: &mut Lie<'_>) {
    lie.each(RecordType::DNSKEY, |own, _, set| {
        set.signatures = vec![sign(&own.zone, &own.zsk, &set.records, |_| ())];
    });
}

/// The DNSKEY records are not signed.
pub(crate) fn keys_unsigned(lie: &mut Lie<'_>) {
    lie.strip(|signature| signature.input().type_covered == RecordType::DNSKEY);
}

fn is_key(record: &Record, secret: &Secret) -> bool {
    Key::of(record).is_some_and(|key| key.tag == secret.tag())
}

/// The key that the DS record names is left out.
pub(crate) fn no_ksk(lie: &mut Lie<'_>) {
    lie.each(RecordType::DNSKEY, |own, _, set| {
        set.records.retain(|record| !is_key(record, &own.ksk));
        let zsk = sign(&own.zone, &own.zsk, &set.records, |_| ());
        let ksk = sign(&own.zone, &own.ksk, &set.records, |_| ());
        set.signatures = vec![zsk, ksk];
    });
}

/// The key that signs records is left out.
pub(crate) fn no_zsk(lie: &mut Lie<'_>) {
    lie.keys(|own, set| set.retain(|record| !is_key(record, &own.zsk)), 257);
}

fn with_flags(set: &mut [Record], secret: &Secret, flags: u16) {
    for record in set.iter_mut().filter(|record| is_key(record, secret)) {
        record.data = RData::DNSSEC(DNSSECRData::DNSKEY(secret.dnskey(flags)));
    }
}

/// The key that signs records has no flag of a zone's key.
pub(crate) fn zsk_no_zone_flag(lie: &mut Lie<'_>) {
    lie.keys(|own, set| with_flags(set, &own.zsk, 0), 257);
    lie.records_by(0);
}

/// The key that signs records is revoked.
pub(crate) fn zsk_revoked(lie: &mut Lie<'_>) {
    lie.keys(|own, set| with_flags(set, &own.zsk, 0x180), 257);
    lie.records_by(0x180);
}

/// The key that signs records has undefined flags: right.
pub(crate) fn zsk_more_flags(lie: &mut Lie<'_>) {
    lie.keys(|own, set| with_flags(set, &own.zsk, 0x8140), 257);
    lie.records_by(0x8140);
}

/// The DS record names the key as it is with other flags, and is signed.
fn ksk_with(lie: &mut Lie<'_>, flags: u16) {
    lie.each(RecordType::DNSKEY, |own, _, set| {
        with_flags(&mut set.records, &own.ksk, flags);
        let tag = own.ksk.dnskey(flags).calculate_key_tag().unwrap();
        let made = sign(&own.zone, &own.ksk, &set.records, |input| input.key_tag = tag);
        set.signatures = vec![made];
    });
    lie.each(RecordType::DS, |own, parent, set| {
        let key = own.ksk.dnskey(flags);
        let (tag, kind) = (key.calculate_key_tag().unwrap(), 2.into());
        let digest = key.to_digest(&own.zone, kind).unwrap().as_ref().to_vec();
        let ds = DS::new(tag, Algorithm::ECDSAP256SHA256, kind, digest);
        set.records[0].data = RData::DNSSEC(DNSSECRData::DS(ds));
        set.signatures = vec![sign(&parent.zone, &parent.zsk, &set.records, |_| ())];
    });
}

/// The key that the DS record names has no flag of a zone's key.
pub(crate) fn ksk_no_zone_flag(lie: &mut Lie<'_>) {
    ksk_with(lie, 1);
}

/// The key that the DS record names is revoked.
pub(crate) fn ksk_revoked(lie: &mut Lie<'_>) {
    ksk_with(lie, 0x181);
}

/// The key that the DS record names has no flag of a key that signs keys: right.
pub(crate) fn ksk_no_sep(lie: &mut Lie<'_>) {
    ksk_with(lie, 256);
}

/// The bytes of a key with another protocol.
fn of_protocol(secret: &Secret, protocol: u8) -> Vec<u8> {
    let [high, low] = secret.flags.to_be_bytes();
    [&[high, low, protocol, 13], secret.public.as_slice()].concat()
}

fn raw(bytes: Vec<u8>) -> RData {
    RData::Unknown { code: RecordType::DNSKEY, rdata: NULL::with(bytes) }
}

/// RFC 4034, appendix B.
fn tag_of(bytes: &[u8]) -> u16 {
    let part = |(at, byte): (usize, &u8)| u32::from(*byte) << (8 * (1 - at % 2));
    let sum: u32 = bytes.iter().enumerate().map(part).sum();
    u16::try_from((sum + (sum >> 16)) & 0xffff).unwrap()
}

/// The key that signs records has another protocol than 3.
pub(crate) fn zsk_protocol(lie: &mut Lie<'_>) {
    lie.keys(
        |own, set| {
            for record in set.iter_mut().filter(|record| is_key(record, &own.zsk)) {
                record.data = raw(of_protocol(&own.zsk, 2));
            }
        },
        257,
    );
    for kind in [RecordType::A, RecordType::SOA, RecordType::NSEC] {
        lie.sign_anew(kind, |own, input| input.key_tag = tag_of(&of_protocol(&own.zsk, 2)));
    }
}

/// A key of another protocol stands beside the right ones.
pub(crate) fn more_protocol(lie: &mut Lie<'_>) {
    lie.keys(
        |own, set| {
            let data = raw(of_protocol(&own.zsk, 2));
            set.push(Record::from_rdata(own.zone.clone(), set[0].ttl, data));
        },
        257,
    );
}

/// The digest of the DS record has a bit changed.
pub(crate) fn ds_digest(lie: &mut Lie<'_>) {
    lie.each(RecordType::DS, |_, parent, set| {
        for record in &mut set.records {
            let RData::DNSSEC(DNSSECRData::DS(ds)) = &record.data else { unreachable!() };
            let mut digest = ds.digest().to_vec();
            digest[0] ^= 1;
            let made = DS::new(ds.key_tag(), ds.algorithm(), ds.digest_type(), digest);
            record.data = RData::DNSSEC(DNSSECRData::DS(made));
        }
        set.signatures = vec![sign(&parent.zone, &parent.zsk, &set.records, |_| ())];
    });
}

/// The DS record is signed by the zone that it is about.
pub(crate) fn ds_by_child(lie: &mut Lie<'_>) {
    lie.each(RecordType::DS, |own, _, set| {
        set.signatures = vec![sign(&own.zone, &own.zsk, &set.records, |_| ())];
    });
}

/// The DS record is not signed.
pub(crate) fn ds_unsigned(lie: &mut Lie<'_>) {
    lie.each(RecordType::DS, |_, _, set| set.signatures.clear());
}

/// The zone above says nothing of DS records, nor of their absence.
pub(crate) fn ds_hidden(lie: &mut Lie<'_>) {
    lie.leave_out(|record| record.record_type() == RecordType::DS);
}

/// The absence of DS records is said with the record of the zone below, which has no say in it.
pub(crate) fn ds_denied_by_child(lie: &mut Lie<'_>) {
    let had = lie.message.all_sections().any(|record| record.record_type() == RecordType::DS);
    if !had {
        return;
    }
    lie.leave_out(|record| record.record_type() == RecordType::DS);
    let own = lie.own;
    let kinds = [RecordType::NS, RecordType::SOA, RecordType::RRSIG, RecordType::NSEC];
    let nsec = NSEC::new(below(&own.zone, "www"), kinds);
    let record = Record::from_rdata(own.zone.clone(), 300, RData::DNSSEC(DNSSECRData::NSEC(nsec)));
    let made = sign(&own.zone, &own.zsk, std::slice::from_ref(&record), |_| ());
    lie.message.authorities.extend([record, made]);
}

/// The NSEC record ends before the name.
pub(crate) fn nsec_gap(lie: &mut Lie<'_>) {
    lie.nsec_instead(false, |zone| {
        let kinds = [RecordType::NS, RecordType::SOA, RecordType::RRSIG, RecordType::NSEC];
        (zone.clone(), NSEC::new(below(zone, "a"), kinds))
    });
}

/// The NSEC record that rules the wildcard out is left out.
pub(crate) fn nsec_no_wildcard(lie: &mut Lie<'_>) {
    let zone = lie.own.zone.clone();
    lie.leave_out(|record| record.record_type() == RecordType::NSEC && record.name == zone);
}

/// The NSEC record that covers the name is left out.
pub(crate) fn nsec_no_cover(lie: &mut Lie<'_>) {
    let zone = lie.own.zone.clone();
    lie.leave_out(|record| record.record_type() == RecordType::NSEC && record.name != zone);
}

/// The NSEC record of the name says that the type is there.
pub(crate) fn nsec_lists_type(lie: &mut Lie<'_>) {
    let (_, asked) = lie.about();
    lie.each(RecordType::NSEC, |own, _, set| {
        let RData::DNSSEC(DNSSECRData::NSEC(nsec)) = &set.records[0].data else { unreachable!() };
        let kinds: Vec<RecordType> = nsec.type_bit_maps().chain([asked]).collect();
        let made = NSEC::new(nsec.next_domain_name().clone(), kinds);
        set.records[0].data = RData::DNSSEC(DNSSECRData::NSEC(made));
        set.signatures = vec![sign(&own.zone, &own.zsk, &set.records, |_| ())];
    });
}

/// The NSEC record of the name says that it is an alias.
pub(crate) fn nsec_lists_alias(lie: &mut Lie<'_>) {
    lie.each(RecordType::NSEC, |own, _, set| {
        let RData::DNSSEC(DNSSECRData::NSEC(nsec)) = &set.records[0].data else { unreachable!() };
        let kinds: Vec<RecordType> = nsec.type_bit_maps().chain([RecordType::CNAME]).collect();
        let made = NSEC::new(nsec.next_domain_name().clone(), kinds);
        set.records[0].data = RData::DNSSEC(DNSSECRData::NSEC(made));
        set.signatures = vec![sign(&own.zone, &own.zsk, &set.records, |_| ())];
    });
}

/// The proof is the zone above's, as it stands there: it must not speak of what lies below its cut.
pub(crate) fn nsec_of_parent(lie: &mut Lie<'_>) {
    lie.nsec_instead(true, |zone| {
        let kinds = [RecordType::NS, RecordType::DS, RecordType::RRSIG, RecordType::NSEC];
        let next = Name::from_ascii("zzz.broken.").unwrap();
        (zone.clone(), NSEC::new(next, kinds))
    });
}

/// The proof is a record that hands the names below it over to another zone, by this zone's key.
pub(crate) fn nsec_of_cut(lie: &mut Lie<'_>) {
    lie.nsec_instead(false, |zone| {
        let kinds = [RecordType::NS, RecordType::DS, RecordType::RRSIG, RecordType::NSEC];
        (below(zone, "www"), NSEC::new(zone.clone(), kinds))
    });
}

/// The same, and the zone below it is not signed.
pub(crate) fn nsec_of_open_cut(lie: &mut Lie<'_>) {
    lie.nsec_instead(false, |zone| {
        let kinds = [RecordType::NS, RecordType::RRSIG, RecordType::NSEC];
        (below(zone, "www"), NSEC::new(zone.clone(), kinds))
    });
}

/// The proof is of a name with a DNAME: below it are other names.
pub(crate) fn nsec_of_dname(lie: &mut Lie<'_>) {
    lie.nsec_instead(false, |zone| {
        let kinds = [RecordType::DNAME, RecordType::RRSIG, RecordType::NSEC];
        (below(zone, "www"), NSEC::new(zone.clone(), kinds))
    });
}

/// The NSEC record is what a wildcard made: signed for `*`, shown under another name.
pub(crate) fn nsec_of_wildcard(lie: &mut Lie<'_>) {
    lie.each(RecordType::NSEC, |own, _, set| {
        let few = labels(&own.zone);
        let made = |input: &mut SigInput| input.num_labels = few.min(input.num_labels);
        set.signatures = vec![sign(&own.zone, &own.zsk, &set.records, made)];
    });
}

/// Changes every NSEC3 record, and signs it.
fn nsec3(lie: &mut Lie<'_>, change: fn(&NSEC3) -> RData) {
    lie.each(RecordType::NSEC3, |own, _, set| {
        let RData::DNSSEC(DNSSECRData::NSEC3(old)) = &set.records[0].data else { unreachable!() };
        set.records[0].data = change(old);
        set.signatures = vec![sign(&own.zone, &own.zsk, &set.records, |_| ())];
    });
}

fn remade(old: &NSEC3, opt_out: bool, iterations: u16, salt: Vec<u8>) -> RData {
    let next = old.next_hashed_owner_name().to_vec();
    let hash = Nsec3HashAlgorithm::SHA1;
    let made = NSEC3::new(hash, opt_out, iterations, salt, next, old.type_bit_maps());
    RData::DNSSEC(DNSSECRData::NSEC3(made))
}

/// The salt is not the one that the names were hashed with.
pub(crate) fn nsec3_salt(lie: &mut Lie<'_>) {
    nsec3(lie, |old| remade(old, old.opt_out(), old.iterations(), vec![0xab, 0xcd]));
}

/// The rounds are not those that the names were hashed with.
pub(crate) fn nsec3_rounds(lie: &mut Lie<'_>) {
    nsec3(lie, |old| remade(old, old.opt_out(), old.iterations() + 1, old.salt().to_vec()));
}

/// The records claim opt-out, though the zone has none: that is no proof of absence any more.
pub(crate) fn nsec3_claims_opt_out(lie: &mut Lie<'_>) {
    nsec3(lie, |old| remade(old, true, old.iterations(), old.salt().to_vec()));
}

/// The hash is unassigned.
pub(crate) fn nsec3_hash(lie: &mut Lie<'_>) {
    nsec3(lie, |old| raw_nsec3(old, 2, 0));
}

/// The records have an undefined flag.
pub(crate) fn nsec3_flags(lie: &mut Lie<'_>) {
    nsec3(lie, |old| raw_nsec3(old, 1, 0x40));
}

fn raw_nsec3(old: &NSEC3, hash: u8, flags: u8) -> RData {
    use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
    let mut bytes = Vec::new();
    old.emit(&mut BinEncoder::new(&mut bytes)).unwrap();
    (bytes[0], bytes[1]) = (hash, flags);
    RData::Unknown { code: RecordType::NSEC3, rdata: NULL::with(bytes) }
}

/// The hash of a name as these zones make it.
fn hashed(zone: &Name, name: &Name, proof: &[Record]) -> Option<Name> {
    use dns_walk::dnssec::canon::name_bytes;
    let data = proof.iter().find_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) => Some(nsec3),
        _ => None,
    })?;
    let kind = hickory_proto::dnssec::DigestType::SHA1;
    let (salt, bytes) = (data.salt(), name_bytes(name));
    let rounds = data.iterations();
    let digest = hickory_proto::dnssec::crypto::Digest::iterated(salt, &bytes, kind, rounds);
    Some(below(zone, &base32::encode_hex(digest.unwrap().as_ref())))
}

/// The record of the closest name that exists is left out.
pub(crate) fn nsec3_no_encloser(lie: &mut Lie<'_>) {
    let zone = lie.own.zone.clone();
    let Some(owner) = hashed(&zone, &zone, &lie.message.authorities) else { return };
    lie.leave_out(|record| record.record_type() == RecordType::NSEC3 && record.name == owner);
}

/// The record that covers a name below the zone is left out, unless it proves that the zone exists.
fn nsec3_uncover(lie: &mut Lie<'_>, label: &str) {
    let zone = lie.own.zone.clone();
    let Some(apex) = hashed(&zone, &zone, &lie.message.authorities) else { return };
    let Some(name) = hashed(&zone, &below(&zone, label), &lie.message.authorities) else { return };
    let first = |name: &Name| name.iter().next().unwrap().to_ascii_lowercase();
    lie.leave_out(|record| {
        let RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) = &record.data else { return false };
        let next = base32::encode_hex(nsec3.next_hashed_owner_name()).into_bytes();
        let (owner, wanted) = (first(&record.name), first(&name));
        let ordered = owner < next;
        let (behind, before) = (owner < wanted, wanted < next);
        let covers = if ordered { behind && before } else { behind || before };
        covers && record.name != apex
    });
}

/// The record that covers the name asked for is left out.
pub(crate) fn nsec3_no_cover(lie: &mut Lie<'_>) {
    nsec3_uncover(lie, "nowhere");
}

/// The record that covers the wildcard is left out.
pub(crate) fn nsec3_no_wildcard(lie: &mut Lie<'_>) {
    nsec3_uncover(lie, "*");
}

/// A zone about which is lied: its keys, those of the zone above, the lie.
pub(crate) struct Told {
    pub(crate) own: Keys,
    pub(crate) parent: Arc<Keys>,
    pub(crate) liar: Liar,
}

/// Stands in front of a server, and lies about some zones.
pub(crate) fn stand(address: &str, behind: &'static str, told: &Arc<BTreeMap<Name, Told>>) {
    let udp = UdpSocket::bind(endpoint(address)).unwrap();
    let tcp = TcpListener::bind(endpoint(address)).unwrap();
    let of_udp = Arc::clone(told);
    // They end with the process: nothing waits for them.
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            if let Some(mut reply) = reply(&buffer[..length], behind, &of_udp) {
                if reply.len() > UDP_BYTES {
                    reply = cut(&reply);
                }
                udp.send_to(&reply, from).ok();
            }
        }
    });
    let of_tcp = Arc::clone(told);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = tcp.accept() {
            let told = Arc::clone(&of_tcp);
            std::thread::spawn(move || serve_stream(stream, behind, &told));
        }
    });
}

fn serve_stream(mut stream: TcpStream, behind: &str, told: &BTreeMap<Name, Told>) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query).ok()?;
        let reply = reply(&query, behind, told)?;
        let length = u16::try_from(reply.len()).ok()?;
        stream.write_all(&[&length.to_be_bytes(), reply.as_slice()].concat()).ok()?;
    }
}

/// The header and the question of a reply, with TC set.
fn cut(reply: &[u8]) -> Vec<u8> {
    let mut message = Message::from_vec(reply).unwrap();
    message.metadata.truncation = true;
    message.answers.clear();
    message.authorities.clear();
    message.additionals.clear();
    message.to_vec().unwrap()
}

fn reply(query: &[u8], behind: &str, told: &BTreeMap<Name, Told>) -> Option<Vec<u8>> {
    let raw = exchange(endpoint(behind), query, PATIENCE)?;
    let mut message = Message::from_vec(&raw).ok()?;
    let name = message.queries.first()?.name().clone();
    let zone = told.keys().find(|zone| zone.zone_of(&name));
    let Some(Told { own, parent, liar }) = zone.and_then(|zone| told.get(zone)) else {
        return Some(raw);
    };
    liar(&mut Lie { message: &mut message, own, parent });
    message.to_vec().ok()
}
