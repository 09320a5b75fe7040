//! Messages as JSON (RFC 8427): beside kdig's, read back byte for byte, broken ones, and where
//! walks keep them.

use super::walk::{PORT, config, question, walk_at, walk_with};
use dns_walk::demo::{Authority, FAULTS, Variant};
use dns_walk::event::{Class, Event, Exchange, Transport};
use dns_walk::limits::Limit;
use dns_walk::message::Octets;
use dns_walk::question::encode;
use dns_walk::report::read_events;
use dns_walk::text::StrayReason;
use dns_walk::walk::WalkConfig;
use hickory_proto::op::Message;
use proptest::prelude::*;
use serde_json::{Map, Value};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc;
use wirelab::measure::Ppm;
use wirelab::wire::hex;
use wirelab_tests::lab::{Lab, Output};
use wirelab_tests::page::tool;

/// Bytes of a header.
const HEADER: usize = 12;

fn json(bytes: &[u8]) -> Value {
    serde_json::to_value(Octets::new(bytes.to_vec())).unwrap()
}

/// A name as bytes; labels between dots, without escapes.
fn wire(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

fn record(owner: &[u8], kind: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut out = owner.to_vec();
    out.extend(kind.to_be_bytes());
    out.extend(class.to_be_bytes());
    out.extend(ttl.to_be_bytes());
    out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    out.extend_from_slice(data);
    out
}

/// A reply to `query` with these answers; its question is kept, its options are not.
fn reply_with(query: &[u8], answers: &[Vec<u8>]) -> Vec<u8> {
    let name = query[HEADER..].iter().position(|byte| *byte == 0).unwrap();
    let mut reply = query[..HEADER + name + 5].to_vec();
    reply[2] |= 0x84;
    reply[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    reply[7] = u8::try_from(answers.len()).unwrap();
    answers.iter().for_each(|answer| reply.extend(answer));
    reply
}

#[test]
fn a_message_by_hand() {
    let mut bytes = b"\x12\x34\x85\x80\x00\x01\x00\x02\x00\x00\x00\x01".to_vec();
    bytes.extend(b"\x03wWw\x02ex\x00\x00\x01\x00\x01");
    // An owner that is a pointer, and a target that ends in one.
    bytes.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x01\x2c\x00\x04\x01e\xc0\x10");
    bytes.extend(b"\x03e.\"\x02ex\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x63");
    bytes.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00");
    let expected = serde_json::json!({
        "ID": 0x1234, "QR": 1, "Opcode": 0, "AA": 1, "TC": 0, "RD": 1, "RA": 1, "AD": 0, "CD": 0,
        "RCODE": 0, "QDCOUNT": 1, "ANCOUNT": 2, "NSCOUNT": 0, "ARCOUNT": 1,
        "QNAME": "wWw.ex.", "QTYPE": 1, "QTYPEname": "A", "QCLASS": 1, "QCLASSname": "IN",
        "questionRRs": [
            {"NAME": "wWw.ex.", "TYPE": 1, "TYPEname": "A", "CLASS": 1, "CLASSname": "IN"}
        ],
        "answerRRs": [
            {"NAME": "wWw.ex.", "TYPE": 5, "TYPEname": "CNAME", "CLASS": 1, "CLASSname": "IN",
             "TTL": 300, "rdataCNAME": "e.ex.", "RDLENGTH": 6, "RDATAHEX": "016502657800"},
            {"NAME": r#"e\.\".ex."#, "TYPE": 1, "TYPEname": "A", "CLASS": 1, "CLASSname": "IN",
             "TTL": 60, "rdataA": "203.0.113.99", "RDLENGTH": 4, "RDATAHEX": "CB007163"}
        ],
        "authorityRRs": [],
        "additionalRRs": [
            {"NAME": ".", "TYPE": 41, "TYPEname": "OPT", "CLASS": 1232, "TTL": 0x8000,
             "RDLENGTH": 0, "RDATAHEX": ""}
        ],
        "messageOctetsHEX": hex::compact(&bytes).to_uppercase(),
    });
    assert_eq!(json(&bytes), expected);
}

#[test]
fn a_broken_message_is_shown_as_far_as_it_goes() {
    let query = encode(7, &question("www.example"), false, false, None).unwrap();
    let a = record(&wire("www.example"), 1, 1, 60, &[192, 0, 2, 1]);
    let whole = reply_with(&query, &[a.clone(), a]);
    for (bytes, records, comment) in [
        (whole.clone(), 2, None),
        (whole[..whole.len() - 1].to_vec(), 1, Some("RDLENGTH needs 4 bytes, 3 are left")),
        (whole[..HEADER + 3].to_vec(), 0, Some("a label needs 3 bytes, 2 are left")),
        (whole[..5].to_vec(), 0, Some("the header needs 12 bytes, 5 are left")),
        ([&whole[..], &[1, 2]].concat(), 2, Some("2 bytes are left")),
        (Vec::new(), 0, Some("the header needs 12 bytes, 0 are left")),
    ] {
        let shown = json(&bytes);
        assert_eq!(shown["answerRRs"].as_array().unwrap().len(), records, "{shown}");
        assert_eq!(shown["ID"].is_null(), bytes.len() < HEADER, "{shown}");
        match (shown["comment"].as_str(), comment) {
            (None, None) => {}
            (Some(got), Some(part)) => assert!(got.contains(part), "{got}"),
            (got, _) => panic!("expected {comment:?}, got {got:?}"),
        }
        assert_eq!(serde_json::from_value::<Octets>(shown).unwrap().bytes(), bytes);
    }
    // A name that points at itself, and one that points forward.
    for to in [12, 40] {
        let mut looped = whole.clone();
        looped.splice(HEADER..HEADER + 2, [0xc0, to]);
        assert!(json(&looped)["comment"].as_str().unwrap().contains("an earlier byte"));
    }
}

#[test]
fn a_message_of_very_many_records_shows_the_first_ones_and_says_so() {
    let query = encode(7, &question("x"), false, false, None).unwrap();
    let mut reply = reply_with(&query, &[]);
    reply[6..8].copy_from_slice(&5_000_u16.to_be_bytes());
    for _ in 0..5_000 {
        reply.extend(record(&[0], 1, 1, 60, &[]));
    }
    let shown = json(&reply);
    assert_eq!(shown["answerRRs"].as_array().unwrap().len(), 512);
    assert_eq!(shown["comment"], "512 of 5000 records are shown");
    assert_eq!(serde_json::from_value::<Octets>(shown).unwrap().bytes(), reply);
}

/// A name of the JSON as bytes again.
fn name_bytes(text: &str) -> Vec<u8> {
    let (mut out, mut label, mut rest) = (Vec::new(), Vec::new(), text.as_bytes());
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, rest) {
            (b'.', _) => {
                out.push(u8::try_from(label.len()).unwrap());
                out.append(&mut label);
            }
            (b'\\', [a @ b'0'..=b'9', b, c, ..]) => {
                let digits = [*a, *b, *c];
                label.push(std::str::from_utf8(&digits).unwrap().parse().unwrap());
                rest = &rest[3..];
            }
            (b'\\', [escaped, ..]) => {
                label.push(*escaped);
                rest = &rest[1..];
            }
            (plain, _) => label.push(*plain),
        }
    }
    if text != "." {
        out.push(0);
    }
    out
}

/// The message of the JSON's members, without a look at `messageOctetsHEX`.
fn rebuilt(json: &Value) -> Vec<u8> {
    let number = |of: &Value, key: &str| of[key].as_u64().unwrap();
    let short = |of: &Value, key: &str| u16::try_from(number(of, key)).unwrap();
    let mut flags = 0;
    for (key, shift) in [
        ("QR", 15),
        ("Opcode", 11),
        ("AA", 10),
        ("TC", 9),
        ("RD", 8),
        ("RA", 7),
        ("AD", 5),
        ("CD", 4),
        ("RCODE", 0),
    ] {
        flags |= short(json, key) << shift;
    }
    let mut out = Vec::new();
    for word in [short(json, "ID"), flags] {
        out.extend(word.to_be_bytes());
    }
    for key in ["QDCOUNT", "ANCOUNT", "NSCOUNT", "ARCOUNT"] {
        out.extend(short(json, key).to_be_bytes());
    }
    for question in json["questionRRs"].as_array().unwrap() {
        out.extend(name_bytes(question["NAME"].as_str().unwrap()));
        out.extend(short(question, "TYPE").to_be_bytes());
        out.extend(short(question, "CLASS").to_be_bytes());
    }
    for section in ["answerRRs", "authorityRRs", "additionalRRs"] {
        for rr in json[section].as_array().unwrap() {
            let owner = name_bytes(rr["NAME"].as_str().unwrap());
            let data = hex::parse(rr["RDATAHEX"].as_str().unwrap()).unwrap();
            assert_eq!(number(rr, "RDLENGTH"), u64::try_from(data.len()).unwrap());
            let ttl = u32::try_from(number(rr, "TTL")).unwrap();
            out.extend(record(&owner, short(rr, "TYPE"), short(rr, "CLASS"), ttl, &data));
        }
    }
    out
}

/// Some data for every kind of layout, right and wrong.
fn samples() -> Vec<(u16, Vec<u8>)> {
    let name = wire("t.example");
    let cat = |parts: &[&[u8]]| parts.concat();
    let rrsig = cat(&[
        &[0, 1, 13, 2, 0, 0, 14, 16, 0x69, 0, 0, 0, 0x68, 0xff, 0xff, 0xff, 0x12, 0x34],
        &name,
        &[7; 64],
    ]);
    vec![
        (1, vec![192, 0, 2, 1]),
        (2, name.clone()),
        (6, cat(&[&name, &wire("h\"m.example"), &[0, 0, 0, 1, 0, 0, 0, 2], &[0xff; 12]])),
        (12, wire("a$b.c@d.(e);")),
        (13, b"\x03a b\x02\"\\".to_vec()),
        (15, cat(&[&[0, 10], &name])),
        (16, b"\x05h\xc3\xa9l\x7f\x00\x03a b".to_vec()),
        (17, cat(&[&name, &[0]])),
        (18, cat(&[&[0, 1], &name])),
        (28, [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].to_vec()),
        (28, [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1]].concat()),
        (33, cat(&[&[0, 1, 0, 2, 0x14, 0xe9], &name])),
        (35, cat(&[&[0, 1, 0, 2], b"\x01S\x07SIP+D2U\x00", &name])),
        (39, name.clone()),
        (43, cat(&[&[0x12, 0x34, 13, 2], &[9; 32]])),
        (44, cat(&[&[4, 2], &[8; 32]])),
        (46, rrsig),
        (47, cat(&[&name, b"\x00\x06\x40\x01\x00\x00\x00\x03\x01\x01\x40"])),
        (48, cat(&[&[1, 1, 3, 13], &[5; 64]])),
        (50, cat(&[&[1, 1, 0, 0, 2, 0xab, 0xcd, 20], &[3; 20], b"\x00\x01\x62"])),
        (50, cat(&[&[1, 0, 0, 5, 0, 20], &[3; 20]])),
        (51, vec![1, 0, 0, 0, 0]),
        (52, cat(&[&[3, 1, 1], &[2; 32]])),
        (53, cat(&[&[3, 1, 1], &[2; 32]])),
        (59, cat(&[&[0x12, 0x34, 13, 2], &[9; 32]])),
        (60, cat(&[&[1, 1, 3, 13], &[5; 64]])),
        (61, vec![1, 2, 3, 4, 5]),
        (62, vec![0, 0, 0, 9, 0, 3, 0, 1, 0x62]),
        (63, cat(&[&[0, 0, 0, 9, 1, 1], &[4; 48]])),
        (99, b"\x06v=spf1".to_vec()),
        (256, b"\x00\x01\x00\x02https://e.example/".to_vec()),
        (257, b"\x00\x05issueca.example".to_vec()),
        (257, b"\x80\x05iodefmailto:a@b".to_vec()),
        (65, cat(&[&[0, 1, 0], b"\x00\x01\x00\x03\x02h2"])),
        (65_280, vec![1, 2, 3]),
        (65_280, vec![]),
    ]
}

/// Names as messages have them.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let label = proptest::collection::vec(any::<u8>(), 1..12);
    proptest::collection::vec(label, 0..4).prop_map(|labels| {
        let mut out = Vec::new();
        for label in labels {
            out.push(u8::try_from(label.len()).unwrap());
            out.extend(label);
        }
        out.push(0);
        out
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_members_alone_give_the_bytes_back(
        head in any::<[u8; 4]>(),
        questions in proptest::collection::vec((any_name(), any::<u16>(), any::<u16>()), 0..3),
        records in proptest::collection::vec(
            (any_name(), 0..36_usize, any::<u16>(), any::<u32>(), 0..3_usize), 0..12),
    ) {
        let samples = samples();
        let mut sections: [Vec<u8>; 3] = Default::default();
        let mut counts = [0_u16; 3];
        for (owner, sample, class, ttl, section) in records {
            let (kind, data) = &samples[sample];
            sections[section].extend(record(&owner, *kind, class, ttl, data));
            counts[section] += 1;
        }
        let mut bytes = head.to_vec();
        bytes[3] &= 0b1011_1111; // RFC 8427 has no member for the reserved bit.
        bytes.extend(u16::try_from(questions.len()).unwrap().to_be_bytes());
        counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
        for (name, kind, class) in questions {
            bytes.extend(name);
            bytes.extend(kind.to_be_bytes());
            bytes.extend(class.to_be_bytes());
        }
        sections.iter().for_each(|section| bytes.extend(section));
        let shown = json(&bytes);
        prop_assert_eq!(&shown["comment"], &Value::Null);
        prop_assert_eq!(rebuilt(&shown), bytes);
    }

    #[test]
    fn any_bytes_are_shown_and_read_back(
        start in proptest::collection::vec(any::<u8>(), 0..200),
        damage in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6),
        fault in 0..FAULTS.len(),
    ) {
        let query = encode(9, &question(FAULTS[fault].ask), true, true, None).unwrap();
        let authority = Authority::demo(Variant::Broken).unwrap();
        let root = IpAddr::from([127, 53, 0, 1]);
        let mut reply = authority.reply(root, Transport::Udp, &query).unwrap();
        for (at, with) in damage {
            let length = reply.len();
            reply[usize::from(at) % length] ^= with;
        }
        for bytes in [start, reply] {
            let text = serde_json::to_string(&Octets::new(bytes.clone())).unwrap();
            let again: Octets = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(again.bytes(), &bytes[..]);
        }
    }
}

/// Compressed replies of the demonstration mean the same once their names are whole.
#[test]
fn a_compressed_message_rebuilt_from_its_members_means_the_same() {
    let authority = Authority::demo(Variant::Broken).unwrap();
    let mut seen = 0;
    for asked in FAULTS.map(|fault| fault.ask) {
        for server in ["127.53.0.1", "127.53.1.1", "127.53.2.1", "127.53.3.1"] {
            let query = encode(9, &question(asked), true, true, None).unwrap();
            let server: IpAddr = server.parse().unwrap();
            let Some(reply) = authority.reply(server, Transport::Tcp, &query) else { continue };
            let Ok(decoded) = Message::from_vec(&reply) else { continue };
            let again = Message::from_vec(&rebuilt(&json(&reply))).unwrap();
            assert_eq!(again, decoded, "{asked} at {server}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} replies");
}

/// Answers each query as told, for as long as queries come; the bytes of each reply.
fn answering(
    mut answer: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static,
) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let reply = answer(&buffer[..length]);
            if tell.send(reply.clone()).is_err() || socket.send_to(&reply, from).is_err() {
                break;
            }
        }
    });
    (at, told)
}

/// Ours without what kdig leaves out: the question's second form, the bytes, empty parts, and from
/// Knot DNS 3.3 on the OPT record, which it shows in a form of its own.
fn as_kdig(ours: &Value, theirs: &Map<String, Value>) -> Map<String, Value> {
    let options = |rr: &Value| rr["TYPE"] == 41;
    let listed = theirs.get("additionalRRs").and_then(Value::as_array);
    let with_options = listed.is_some_and(|records| records.iter().any(options));
    let mut ours = ours.as_object().unwrap().clone();
    ours.remove("questionRRs");
    ours.remove("messageOctetsHEX");
    let is_empty = |value: &Value| value == "" || value == &Value::Array(Vec::new());
    for section in ["answerRRs", "authorityRRs", "additionalRRs"] {
        let records = ours[section].as_array_mut().unwrap();
        records.retain(|rr| with_options || !options(rr));
        for rr in records {
            rr.as_object_mut().unwrap().retain(|_, value| !is_empty(value));
        }
    }
    ours.retain(|_, value| !is_empty(value));
    ours
}

/// kdig's without what is its own: dates, the length, options read apart, `TYPE65280`.
fn of_kdig(mut kdig: Map<String, Value>) -> Map<String, Value> {
    for key in ["dateString", "dateSeconds", "msgLength", "EDNS"] {
        kdig.remove(key);
    }
    let unnamed = |key: &str, value: &Value| {
        let text = value.as_str().unwrap_or_default();
        key.ends_with("name") && (text.starts_with("TYPE") || text.starts_with("CLASS"))
    };
    kdig.retain(|key, value| !unnamed(key, value));
    for section in ["answerRRs", "authorityRRs", "additionalRRs"] {
        let Some(records) = kdig.get_mut(section).and_then(Value::as_array_mut) else { continue };
        for rr in records {
            rr.as_object_mut().unwrap().retain(|key, value| !unnamed(key, value));
        }
    }
    kdig
}

fn kdig(program: &std::path::Path, at: SocketAddr, asked: &str) -> Map<String, Value> {
    let mut command = Command::new(program);
    command.arg(format!("@{}", at.ip())).args(["-p", &at.port().to_string()]);
    command.args(asked.split_whitespace());
    command.args(["+json", "+dnssec", "+bufsize=4096", "+ignore", "+retry=0", "+time=20"]);
    let out = Output::of(&mut command);
    assert_eq!(out.code, 0, "{asked}: {}{}", out.stdout, out.stderr);
    let shown: Value = serde_json::from_str(&out.stdout).unwrap_or_else(|error| {
        panic!("{asked}: {error}: {}", out.stdout);
    });
    shown.as_object().unwrap().clone()
}

#[test]
fn replies_of_the_demonstration_read_as_kdig_reads_them() {
    let Some(program) = tool(&["kdig"], "replies as JSON beside kdig's") else { return };
    for server in ["127.53.0.1", "127.53.1.1", "127.53.2.1"] {
        let server: IpAddr = server.parse().unwrap();
        let authority = Authority::demo(Variant::Broken).unwrap();
        let (at, told) = answering(move |query| {
            authority.reply(server, Transport::Udp, query).unwrap_or_else(|| query.to_vec())
        });
        for asked in [
            "www.igbank.com A",
            "igbank.com MX",
            "igbank.com SOA",
            "igbank.com TXT",
            "igbank.com DNSKEY",
            "igbank.com DS",
            "com DS",
            ". NS",
            ". DNSKEY",
            "com NS",
            "nowhere.igbank.com A",
            "login.igbank.com AAAA",
            "nowhere A",
            "net DS",
        ] {
            let theirs = of_kdig(kdig(&program, at, asked));
            let reply = told.recv().unwrap();
            assert_eq!(as_kdig(&json(&reply), &theirs), theirs, "{asked} at {server}");
        }
    }
}

#[test]
fn data_of_every_type_reads_as_kdig_reads_it() {
    let Some(program) = tool(&["kdig"], "record data as text beside kdig's") else { return };
    for (kind, data) in samples() {
        let owner = wire("o.example");
        let rr = record(&owner, kind, 1, 300, &data);
        let (at, told) = answering(move |query| reply_with(query, std::slice::from_ref(&rr)));
        let mut theirs = of_kdig(kdig(&program, at, &format!("o.example TYPE{kind}")));
        let mut ours = as_kdig(&json(&told.recv().unwrap()), &theirs);
        let key = |sections: &mut Map<String, Value>| {
            let record = sections["answerRRs"][0].as_object_mut().unwrap();
            let key = record.keys().find(|key| key.starts_with("rdata")).cloned();
            let text = key.as_ref().and_then(|key| record.remove(key));
            (key, text.map(|text| text.as_str().unwrap().to_owned()))
        };
        let (our_key, our_text) = key(&mut ours);
        let (their_key, their_text) = key(&mut theirs);
        assert_eq!(ours, theirs, "type {kind}");
        // It ends some texts with a space.
        let their_text = their_text.map(|text| text.trim_end().to_owned());
        if our_text.is_some() {
            assert_eq!((our_key, our_text), (their_key, their_text), "type {kind}");
        }
    }
}

fn messages(exchange: &Exchange) -> Option<(&[u8], Option<&[u8]>)> {
    let messages = exchange.messages.as_ref()?;
    Some((messages.query.bytes(), messages.reply.as_ref().map(Octets::bytes)))
}

#[test]
fn a_walk_keeps_its_messages_where_that_is_wanted() {
    let authority = Authority::demo(Variant::Broken).unwrap();
    let kept = WalkConfig { messages: true, ..config() };
    let ended = walk_at(&authority, "www.igbank.com", kept, Ppm::ZERO, 7);
    for exchange in ended.exchanges() {
        let (query, reply) = messages(exchange).unwrap();
        assert_eq!(query.len(), usize::try_from(exchange.bytes_sent).unwrap());
        let length = exchange.bytes_received.map(|bytes| usize::try_from(bytes).unwrap());
        assert_eq!(reply.map(<[u8]>::len), length);
        let sent = Message::from_vec(query).unwrap();
        assert_eq!(sent.queries[0].name().to_ascii(), exchange.sent.name);
    }
    let bytes = ended.summary.bytes_sent + ended.summary.bytes_received;
    let spent = |limit| *ended.summary.spent.iter().find(|spent| spent.limit == limit).unwrap();
    assert_eq!(spent(Limit::MessageBytes).spent, bytes);
    let without = walk_at(&authority, "www.igbank.com", config(), Ppm::ZERO, 7);
    assert!(without.exchanges().all(|exchange| exchange.messages.is_none()));
}

#[test]
fn messages_are_kept_up_to_a_limit_and_the_summary_says_so() {
    let authority = Authority::demo(Variant::Broken).unwrap();
    let mut kept = WalkConfig { messages: true, ..config() };
    kept.limits.message_bytes = 300;
    let ended = walk_at(&authority, "www.igbank.com", kept, Ppm::ZERO, 7);
    let sizes = ended.exchanges().filter_map(messages);
    let sum: usize = sizes.map(|(q, r)| q.len() + r.map_or(0, <[u8]>::len)).sum();
    assert!((1..=300).contains(&sum), "{sum}");
    let spent = ended.summary.spent.iter().find(|spent| spent.limit == Limit::MessageBytes);
    assert!(spent.unwrap().refused, "{spent:?}");
}

#[test]
fn what_cannot_be_read_and_what_was_not_asked_for_is_kept_too() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let mut turn = 0;
    let mut responder = |to: SocketAddr, transport: Transport, query: &[u8]| {
        let mut reply = authority.reply(to.ip(), transport, query)?;
        turn += 1;
        match turn {
            1 => reply.truncate(reply.len() - 3),
            2 => reply[0] ^= 1,
            _ => {}
        }
        Some(reply)
    };
    let kept = WalkConfig { messages: true, ..config() };
    let hints = authority.hints(PORT);
    let ended = walk_with(hints, &mut responder, "www.igbank.com", kept, Ppm::ZERO, 7);
    let malformed = ended.exchanges().find(|x| matches!(x.class, Class::Malformed { .. })).unwrap();
    let shown = json(messages(malformed).unwrap().1.unwrap());
    assert!(shown["comment"].as_str().unwrap().starts_with("not read to its end"), "{shown}");
    let stray = ended.records.iter().find_map(|record| match &record.event {
        Event::Stray(stray) => Some(stray),
        _ => None,
    });
    let stray = stray.unwrap();
    assert_eq!(stray.why, StrayReason::WrongId);
    let bytes = stray.message.as_ref().unwrap().bytes();
    assert_eq!(bytes.len(), usize::try_from(stray.bytes).unwrap());
}

#[test]
fn the_lab_writes_messages_for_one_walk_and_for_a_list_where_told() {
    let lab = Lab::new("dns-walk");
    let quick = "www.igbank.com --demo --sim --seed 1";
    let of = |text: &str| -> Vec<Value> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|record| record["type"] == "exchange").collect()
    };
    for (args, has) in [
        (format!("{quick} --events -"), true),
        (format!("{quick} --events - --no-messages"), false),
        ("- --demo --seed 1 --events -".to_owned(), false),
        ("- --demo --seed 1 --events - --messages".to_owned(), true),
    ] {
        let names = lab.folder.join("names");
        std::fs::write(&names, "www.igbank.com\n").unwrap();
        let mut command = lab.command(&args);
        command.stdin(std::fs::File::open(&names).unwrap());
        let out = Output::of(&mut command);
        assert_eq!(out.code, 0, "{args}: {}", out.stderr);
        let exchanges = of(&out.stdout);
        assert!(!exchanges.is_empty(), "{args}");
        for exchange in exchanges {
            let reply = &exchange["messages"]["responseMessage"];
            assert_eq!(reply["QR"] == 1, has, "{args}: {exchange}");
        }
    }
    let out = lab.run(&format!("{quick} --out run"));
    assert_eq!(out.code, 0, "{}", out.stderr);
    let file = lab.folder.join("run/events.ndjson");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("\"rdataA\":\"203.0.113.80\""), "{text}");
    let whole = lab.run("show run --json").stdout;
    assert_eq!(whole, lab.run(&format!("{quick} --json")).stdout);
    let bare = lab.run("show run --json --no-messages").stdout;
    assert!(whole.len() > bare.len() && !bare.contains("queryMessage"), "{bare}");
}

#[test]
fn a_file_from_before_messages_were_kept_is_read() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/broken.ndjson");
    let old = std::fs::read_to_string(file).unwrap().replace(",\"message_bytes\":1048576", "");
    assert!(!old.contains("messages\":{"));
    let walks = read_events(&old).unwrap();
    assert_eq!(walks.len(), 1);
}
