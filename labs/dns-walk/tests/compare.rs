//! A walk beside resolvers that lie in every way, all of them on loopback: each lie is found, named
//! with its likely cause, and written down as the schemas say.

use dns_walk::report::{events_schema, result_schema};
use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsOption;
use hickory_proto::rr::rdata::{A, CNAME, MX, NS, NULL, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use wirelab_tests::lab::{Lab, Output};

/// How often the liar looks whether it may go.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A resolver that says what a test tells it to; its thread ends with it.
struct Liar {
    at: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    fn new(lie: impl Fn(&mut Message) + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LOOK_EVERY)).unwrap();
        let at = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !seen.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let query = Message::from_vec(&buffer[..length]).unwrap();
                assert!(query.metadata.recursion_desired, "a resolver is asked for recursion");
                let mut reply = Message::response(query.metadata.id, OpCode::Query);
                reply.queries.clone_from(&query.queries);
                reply.metadata.recursion_desired = true;
                reply.metadata.recursion_available = true;
                reply.set_edns(Edns::new());
                lie(&mut reply);
                socket.send_to(&reply.to_vec().unwrap(), from).unwrap();
            }
        });
        Self { at, stop, thread: Some(thread) }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the liar met what it did not expect");
        }
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// Adds an address of the name that was asked for.
fn address(reply: &mut Message, ttl: u32, [a, b, c, d]: [u8; 4]) {
    let data = RData::A(A(Ipv4Addr::new(a, b, c, d)));
    let record = Record::from_rdata(reply.queries[0].name.clone(), ttl, data);
    reply.add_answer(record);
}

fn denial(reply: &mut Message, zone: &str) {
    reply.metadata.response_code = ResponseCode::NXDomain;
    let soa = SOA::new(name("a."), name("b."), 1, 2, 3, 4, 5);
    reply.add_authority(Record::from_rdata(name(zone), 60, RData::SOA(soa)));
}

fn extended(reply: &mut Message, code: u16) {
    let data = [&code.to_be_bytes()[..], b"as told"].concat();
    reply.edns.as_mut().unwrap().options_mut().insert(EdnsOption::Unknown(15, data));
}

fn servfail(reply: &mut Message) {
    reply.metadata.response_code = ResponseCode::ServFail;
}

type Lie = fn(&mut Message);

/// Fields and causes of differences.
type Found = [(&'static str, &'static str)];

/// Question, resolver's reply and expected finding.
const LIES: [(&str, Lie, &Found); 20] = [
    (
        "www.igbank.com --demo",
        |reply| {
            reply.metadata.authentic_data = true;
            address(reply, 120, [203, 0, 113, 80]);
        },
        &[],
    ),
    (
        "www.old.igbank.com --demo --no-dnssec",
        |reply| {
            let target = name("igbank.com.").to_bytes().unwrap();
            let code = RecordType::DNAME;
            let data = RData::Unknown { code, rdata: NULL::with(target) };
            reply.add_answer(Record::from_rdata(name("old.igbank.com."), 60, data));
            let data = RData::CNAME(CNAME(name("www.igbank.com.")));
            reply.add_answer(Record::from_rdata(name("www.old.igbank.com."), 60, data));
            let data = RData::A(A(Ipv4Addr::new(203, 0, 113, 80)));
            reply.add_answer(Record::from_rdata(name("www.igbank.com."), 60, data));
        },
        // No lie: the second alias is made of the first.
        &[],
    ),
    (
        "www.igbank.com --demo",
        |reply| address(reply, 20, [198, 51, 100, 7]),
        &[("answers", "location"), ("proof", "validation")],
    ),
    (
        "www.igbank.com --demo --no-dnssec",
        |reply| address(reply, 300, [10, 0, 0, 7]),
        &[("answers", "split_horizon")],
    ),
    (
        "www.igbank.com --demo --no-dnssec",
        |reply| address(reply, 300, [0, 0, 0, 0]),
        &[("answers", "filtered")],
    ),
    (
        "www.igbank.com --demo --no-dnssec",
        |reply| {
            reply.metadata.authoritative = true;
            address(reply, 300, [198, 51, 100, 7]);
        },
        &[("answers", "split_horizon")],
    ),
    (
        "igbank.com MX --demo --no-dnssec",
        |reply| {
            let data = RData::MX(MX::new(10, name("old-mail.igbank.com.")));
            reply.add_answer(Record::from_rdata(name("igbank.com."), 40, data));
        },
        &[("answers", "stale")],
    ),
    (
        "www.igbank.com --demo --no-dnssec",
        |reply| reply.metadata.response_code = ResponseCode::NXDomain,
        &[("outcome", "filtered")],
    ),
    (
        "www.igbank.com --demo --no-dnssec",
        |reply| denial(reply, "rpz.example."),
        &[("outcome", "filtered")],
    ),
    (
        "www.igbank.com --demo --no-dnssec",
        |reply| denial(reply, "igbank.com."),
        &[("outcome", "stale")],
    ),
    (
        "www.igbank.com --demo --no-dnssec",
        |reply| {
            denial(reply, "igbank.com.");
            extended(reply, 15);
        },
        &[("outcome", "filtered")],
    ),
    (
        "www.igbank.com --demo --no-dnssec",
        |reply| {
            address(reply, 30, [198, 51, 100, 7]);
            extended(reply, 3);
        },
        &[("answers", "stale")],
    ),
    (
        "www.igbank.com --demo",
        |reply| {
            servfail(reply);
            extended(reply, 7);
        },
        &[("outcome", "validation")],
    ),
    ("www.igbank.com --demo", servfail, &[("outcome", "failed")]),
    ("www.expired.com --demo broken", servfail, &[("outcome", "validation")]),
    (
        "www.expired.com --demo broken",
        |reply| address(reply, 300, [203, 0, 113, 100]),
        &[("proof", "validation")],
    ),
    (
        "www.igbank.com --demo --no-dnssec",
        |reply| address(reply, 86_400, [203, 0, 113, 80]),
        &[("ttl", "stale")],
    ),
    (
        "www.igbank.com --demo",
        |reply| reply.metadata.response_code = ResponseCode::Refused,
        &[("outcome", "refused")],
    ),
    (
        "nowhere.igbank.com --demo",
        |reply| address(reply, 300, [10, 0, 0, 7]),
        &[("outcome", "split_horizon")],
    ),
    (
        "www.igbank.com --demo",
        |reply| {
            let data = RData::NS(NS(name("ns.elsewhere.example.")));
            reply.add_authority(Record::from_rdata(name("com."), 300, data));
        },
        &[("outcome", "failed")],
    ),
];

/// Runs a comparison; its record.
fn compared(lab: &Lab, args: &str) -> Value {
    let out = lab.run(&format!("{args} --seed 1 --no-report --events -"));
    let last = out.stdout.lines().last().unwrap_or_else(|| panic!("{args}: {}", out.stderr));
    let record: Value = serde_json::from_str(last).unwrap();
    assert_eq!(record["type"], "comparison", "{args}: {last}");
    record
}

fn found(record: &Value) -> Vec<(&str, &str)> {
    let differences = record["differences"].as_array().unwrap().iter();
    differences.map(|d| (d["field"].as_str().unwrap(), d["cause"].as_str().unwrap())).collect()
}

#[test]
fn every_lie_of_a_server_is_found_with_its_likely_cause() {
    let lab = Lab::new("dns-walk");
    let schema: Value = serde_json::from_str(events_schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for (at, (ask, lie, wanted)) in LIES.into_iter().enumerate() {
        let liar = Liar::new(lie);
        let record = compared(&lab, &format!("{ask} @{}", liar.at));
        assert_eq!(found(&record), wanted, "lie {at}: {record:#}");
        assert_eq!(record["opinion"]["address"], liar.at.to_string());
        let faults: Vec<String> = schema.iter_errors(&record).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "lie {at}: {faults:?}");
    }
}

#[test]
fn the_systems_resolver_is_compared_by_a_file_of_the_tests_own() {
    let lab = Lab::new("dns-walk");
    std::fs::write(lab.folder.join("resolv.conf"), "search example\nnameserver 127.0.0.1\n")
        .unwrap();
    for (at, (lie, wanted)) in [
        ((|reply| address(reply, 120, [203, 0, 113, 80])) as Lie, &[][..]),
        (|reply| address(reply, 120, [192, 168, 1, 1]), &[("answers", "split_horizon")]),
        (|reply| denial(reply, "rpz.example."), &[("outcome", "filtered")]),
        (|reply| denial(reply, "igbank.com."), &[("outcome", "stale")]),
        (servfail, &[("outcome", "failed")]),
    ]
    .into_iter()
    .enumerate()
    {
        let liar = Liar::new(lie);
        let port = liar.at.port();
        let args = format!(
            "www.igbank.com --demo --compare --resolv-conf resolv.conf --resolver-port {port}"
        );
        let record = compared(&lab, &args);
        assert_eq!(found(&record), wanted, "lie {at}: {record:#}");
        assert_eq!(record["opinion"]["servers"][0], liar.at.to_string());
        assert_eq!(record["opinion"]["authentic"], Value::Null, "it was not asked for AD");
    }
}

#[test]
fn a_comparison_is_told_to_people_and_left_in_files() {
    let lab = Lab::new("dns-walk");
    let liar = Liar::new(|reply| address(reply, 300, [10, 0, 0, 7]));
    let args = format!("www.igbank.com --demo --no-dnssec --seed 1 --out run @{}", liar.at);
    let out = lab.run(&args);
    assert_eq!(out.code, 0, "the exit code is the walk's: {}", out.stderr);
    for part in [
        &format!("compared with @{}: 1 difference", liar.at),
        "answers   walk      A 203.0.113.80",
        "resolver  A 10.0.0.7",
        "likely    split horizon",
    ] {
        assert!(out.stdout.contains(part), "expected {part:?} in\n{}", out.stdout);
    }
    let text = std::fs::read_to_string(lab.folder.join("run/result.json")).unwrap();
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found(&result["comparisons"][0]), [("answers", "split_horizon")]);
    let schema = jsonschema::validator_for(&result_schema().unwrap()).unwrap();
    let faults: Vec<String> = schema.iter_errors(&result).map(|e| e.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    let page = std::fs::read_to_string(lab.folder.join("run/report.html")).unwrap();
    assert!(page.contains("Beside resolvers") && page.contains("split horizon"));
    let again = lab.run("show run");
    assert!(again.stdout.contains("likely    split horizon"), "{}", again.stdout);
    // No listener there is a difference too, and no fault of the walk.
    drop(liar);
    let out: Output = lab.run("www.igbank.com --demo --no-report --seed 1 @127.53.254.1:9");
    assert_eq!(out.code, 0);
    assert!(out.stdout.contains("nothing listens there"), "{}", out.stdout);
}

#[test]
fn what_cannot_be_compared_is_said_before_anything_is_sent() {
    let lab = Lab::new("dns-walk");
    std::fs::write(lab.folder.join("empty"), "# none\n").unwrap();
    for (args, part) in [
        ("www.igbank.com --demo @nowhere", "@ADDRESS"),
        ("www.igbank.com --demo --sim @127.0.0.1:9", "real sockets"),
        ("www.igbank.com --demo --sim --compare", "--compare"),
        ("www.igbank.com --demo --compare --resolv-conf none", "none"),
        ("www.igbank.com --demo --compare --resolv-conf empty", "empty"),
        ("- --demo --compare --resolv-conf empty", "--compare is for one walk"),
    ] {
        let out = lab.run(args);
        assert_eq!(out.code, 2, "{args}: {}", out.stderr);
        assert!(out.stderr.contains(part), "{args}: expected {part:?} in {}", out.stderr);
        assert!(out.stdout.is_empty(), "{args}: {}", out.stdout);
    }
}
