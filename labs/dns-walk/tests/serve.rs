//! dns-walk serve: what real clients get over UDP and TCP, what it costs at most, how it ends.
#![expect(clippy::print_stdout, reason = "a skipped test says why; --show-output shows it")]

use dns_walk::batch::{BatchConfig, BatchResolver};
use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, JUDGED, SIGNATURE_FAULTS, Variant};
use dns_walk::dnssec::{Status, UnixSeconds};
use dns_walk::event::{Event, Transport};
use dns_walk::question;
use dns_walk::resolver::admission::Admitted;
use dns_walk::resolver::{Client, FAILURE_KEPT, Resolver, Served};
use dns_walk::walk::WalkConfig;
use dns_walk::{Name, RecordType};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab_tests::lab::{Lab, Output};

/// A reply of our own making comes within this, or something is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A query as `dig` sends it, before a test bends it.
fn query(text: &str) -> Message {
    let (name, kind) = text.split_once(' ').unwrap_or((text, "A"));
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind.parse().unwrap()));
    message.set_edns(Edns::new().set_max_payload(1232).clone());
    message
}

fn codes(reply: &Message) -> Vec<u16> {
    let edns = question::edns(reply);
    edns.into_iter().flat_map(|edns| edns.errors).map(|error| error.code).collect()
}

/// A resolver in the broken hierarchy in virtual time, with no loss and no delay.
struct Room {
    authority: Authority,
    resolver: Resolver,
    now: Instant,
    sent: u64,
}

impl Room {
    fn new(change: impl FnOnce(&mut BatchConfig)) -> Self {
        let authority = Authority::demo(Variant::Broken).unwrap();
        let usual = BatchConfig::default();
        let walk = WalkConfig {
            validate_at: Some(JUDGED),
            special_names: false,
            public_only: false,
            v6: false,
            ..usual.walk
        };
        let mut config = BatchConfig { walk, ..usual };
        change(&mut config);
        let fleet = BatchResolver::new(config, authority.hints(5300), 9, Cache::default());
        let resolver = Resolver::new(fleet, config.in_flight);
        Self { authority, resolver, now: Instant::ZERO, sent: 0 }
    }

    /// Hands over queries at once and plays the servers until all is answered.
    fn ask(&mut self, transport: Transport, queries: &[Message]) -> Vec<Message> {
        let mut replies = vec![None; queries.len()];
        for (at, query) in (0_u64..).zip(queries) {
            let bytes = query.to_vec().unwrap();
            self.resolver.handle_query(self.now, Client(at), transport, &bytes);
        }
        loop {
            self.resolver.settle(self.now);
            while let Some(reply) = self.resolver.poll_reply() {
                let at = usize::try_from(reply.client.0).unwrap();
                assert!(replies[at].is_none(), "two replies to one query");
                replies[at] = Some(Message::from_vec(&reply.bytes).unwrap());
            }
            if self.resolver.is_idle() {
                return replies.into_iter().map(|reply| reply.expect("a reply")).collect();
            }
            let fleet = self.resolver.fleet_mut();
            while fleet.poll_release().is_some() {}
            let mut any = false;
            while let Some(query) = fleet.poll_transmit() {
                self.sent += 1;
                let to = query.to;
                if let Some(reply) = self.authority.reply(to.ip(), query.transport, &query.bytes) {
                    any = true;
                    fleet.handle_reply(self.now, query.query, to, &reply);
                }
            }
            if !any && let Some(at) = fleet.poll_timeout() {
                self.now = self.now.max(at);
                fleet.handle_timeout(self.now);
            }
        }
    }

    fn one(&mut self, query: Message) -> Message {
        self.ask(Transport::Udp, &[query]).remove(0)
    }

    fn served(&self) -> Served {
        self.resolver.served()
    }
}

#[test]
fn every_flawed_signature_is_told_as_it_is_judged() {
    let mut room = Room::new(|_| {});
    for fault in &SIGNATURE_FAULTS {
        let mut asked = query(fault.ask);
        let reply = room.one(asked.clone());
        let bogus = fault.status == "bogus";
        let code = reply.metadata.response_code;
        assert_eq!(code == ResponseCode::ServFail, bogus, "{}: {code}", fault.zone);
        assert!(!reply.metadata.authentic_data, "{}", fault.zone);
        if bogus {
            assert!(reply.answers.is_empty() && !codes(&reply).is_empty(), "{}", fault.zone);
        }
        // A client that validates itself gets the data and the extended error.
        asked.metadata.checking_disabled = true;
        let reply = room.one(asked);
        assert_ne!(reply.metadata.response_code, ResponseCode::ServFail, "{}", fault.zone);
        assert!(reply.metadata.checking_disabled && !reply.metadata.authentic_data);
        assert_eq!(codes(&reply).is_empty(), !bogus && codes(&reply).is_empty(), "{}", fault.zone);
    }
    let served = room.served();
    assert_eq!(served.authentic, 0);
    assert!(served.bogus >= 5, "{served:?}");
}

#[test]
fn proof_is_said_to_those_who_ask_for_it() {
    let mut room = Room::new(|_| {});
    let plain = room.one(query("mail.igbank.com"));
    assert!(!plain.metadata.authentic_data, "neither AD nor DO was set");
    assert!(plain.answers.iter().all(|record| record.record_type() == RecordType::A));
    let mut asked = query("mail.igbank.com");
    asked.metadata.authentic_data = true;
    let reply = room.one(asked);
    assert!(reply.metadata.authentic_data && reply.metadata.recursion_available);
    assert_eq!(reply.answers.len(), plain.answers.len(), "AD asks for the bit alone");
    let mut asked = query("mail.igbank.com");
    asked.edns.as_mut().unwrap().set_dnssec_ok(true);
    let reply = room.one(asked);
    assert!(reply.metadata.authentic_data && reply.edns.unwrap().flags().dnssec_ok);
    assert!(reply.answers.iter().any(|record| record.record_type() == RecordType::RRSIG));
    for (name, code) in [("nowhere.igbank.com", 3), ("www.igbank.com AAAA", 0)] {
        let mut asked = query(name);
        asked.metadata.authentic_data = true;
        let reply = room.one(asked);
        assert_eq!(u16::from(reply.metadata.response_code), code, "{name}");
        let soa = |record: &hickory_proto::rr::Record| record.record_type() == RecordType::SOA;
        assert!(reply.authorities.iter().all(soa), "{name}: {reply}");
    }
    let mut wild = query("lisbon.branch.igbank.com");
    wild.edns.as_mut().unwrap().set_dnssec_ok(true);
    let reply = room.one(wild);
    let nsec = reply.authorities.iter().any(|record| record.record_type() == RecordType::NSEC);
    assert!(nsec && reply.metadata.authentic_data, "a wildcard comes with its proof: {reply}");
}

/// Status and signatures computed of the walks since the last call.
fn proofs(room: &mut Room) -> Vec<(Status, u32)> {
    let records = std::iter::from_fn(|| room.resolver.poll_record());
    let ends = records.filter_map(|(_, record)| match record.event {
        Event::Summary(end) => end.security,
        _ => None,
    });
    ends.map(|security| (security.status, security.signatures_computed)).collect()
}

#[test]
fn a_cached_answer_computes_no_signature_and_still_expires() {
    let mut room = Room::new(|config| config.walk.summary_only = false);
    let mut asked = query("mail.igbank.com");
    asked.metadata.authentic_data = true;
    assert!(room.one(asked.clone()).metadata.authentic_data);
    let first = proofs(&mut room);
    assert!(first.len() == 1 && first[0].0 == Status::Secure && first[0].1 >= 4, "{first:?}");
    assert!(room.one(asked.clone()).metadata.authentic_data);
    assert_eq!(proofs(&mut room), [(Status::Secure, 0)], "the same records, proved before");
    // Another name of the zone: the chain down to it is known, its own signature is not.
    room.one(query("big.igbank.com TXT"));
    assert_eq!(proofs(&mut room), [(Status::Secure, 1)]);
    // In 2050 the same signatures have expired.
    room.resolver.judge_at(UnixSeconds(2_524_608_000));
    assert_eq!(room.one(asked).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(proofs(&mut room)[0].0, Status::Bogus);
}

#[test]
fn clients_that_are_not_to_be_answered_get_a_short_reply_or_none() {
    let mut room = Room::new(|_| {});
    let bytes = query("big.igbank.com TXT").to_vec().unwrap();
    let mut turn_down = |why| {
        let follows = room.resolver.turn_down(Client(7), why, &bytes);
        let reply = room.resolver.poll_reply();
        assert_eq!(follows, reply.is_some());
        reply.map(|reply| Message::from_vec(&reply.bytes).unwrap())
    };
    let short = turn_down(Admitted::Truncated).unwrap();
    assert!(short.metadata.truncation && short.answers.is_empty() && short.queries.len() == 1);
    let refused = turn_down(Admitted::Refused).unwrap();
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    assert!(!refused.metadata.truncation && codes(&refused) == [18], "prohibited");
    assert!(turn_down(Admitted::No).is_none());
    let served = room.served();
    assert_eq!((served.refused, served.rate_limited, room.sent), (1, 2, 0), "and no walk");
}

#[test]
fn the_demonstration_knows_version_0_of_edns_only() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let server = "127.53.2.1".parse().unwrap();
    let mut asked = query("www.igbank.com");
    for (version, code, answers) in [(0, 0, true), (1, 16, false)] {
        asked.edns.as_mut().unwrap().set_version(version);
        let bytes = asked.to_vec().unwrap();
        let reply = authority.reply(server, Transport::Udp, &bytes).unwrap();
        let reply = Message::from_vec(&reply).unwrap();
        assert_eq!(u16::from(reply.metadata.response_code), code, "version {version}");
        assert_eq!(!reply.answers.is_empty(), answers);
    }
}

#[test]
fn a_long_answer_is_cut_over_udp_and_whole_over_tcp() {
    let mut room = Room::new(|_| {});
    let long = query("big.igbank.com TXT");
    let cut = room.one(long.clone());
    assert!(cut.metadata.truncation && cut.answers.is_empty(), "{cut}");
    let whole = room.ask(Transport::Tcp, &[long]).remove(0);
    assert!(!whole.metadata.truncation && !whole.answers.is_empty());
    assert_eq!(room.served().truncated, 1);
    // Without EDNS 512 bytes count, whatever was said.
    let mut plain = query("www.igbank.com");
    plain.edns = None;
    let reply = room.one(plain);
    assert!(reply.edns.is_none() && reply.to_vec().unwrap().len() <= 512);
}

#[test]
fn a_failure_is_told_again_and_the_servers_are_left_alone() {
    let mut room = Room::new(|_| {});
    let reply = room.one(query("www.silent.com"));
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(codes(&reply), [22], "no reachable authority");
    let sent = room.sent;
    let again = room.one(query("www.silent.com"));
    assert_eq!((codes(&again), room.sent), (vec![22], sent), "RFC 9520");
    assert_eq!(room.served().failed_before, 1);
    room.now += FAILURE_KEPT;
    room.one(query("www.silent.com"));
    assert!(room.sent > sent, "a cached failure expires");
    let circle = room.one(query("loop.igbank.com"));
    assert_eq!(circle.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn one_question_of_many_clients_is_one_walk() {
    let mut alone = Room::new(|_| {});
    alone.one(query("www.igbank.com"));
    let mut room = Room::new(|_| {});
    let asked = vec![query("www.igbank.com"); 50];
    for reply in room.ask(Transport::Udp, &asked) {
        assert_eq!(reply.answers.len(), 2, "{reply}");
    }
    assert_eq!(room.sent, alone.sent);
    // What is known needs no walk, and its time runs out.
    room.now += Duration::from_secs(10);
    let later = room.one(query("www.igbank.com"));
    assert_eq!(room.sent, alone.sent);
    assert!(later.answers.iter().all(|record| [290, 50].contains(&record.ttl)), "{later}");
    // Chains of different names meet at the same keys; those are fetched once.
    let names = ["mail.igbank.com", "ns1.igbank.com", "igbank.com MX", "nowhere.igbank.com"];
    let mut together = Room::new(|_| {});
    together.ask(Transport::Udp, &names.map(query));
    assert!(together.sent < 2 * alone.sent, "{} queries, alone {}", together.sent, alone.sent);
}

#[test]
fn special_names_are_answered_without_a_packet() {
    let mut room = Room::new(|config| config.walk.special_names = true);
    let reply = room.one(query("db.localhost"));
    assert_eq!(reply.answers[0].data.to_string(), "127.0.0.1");
    let reply = room.one(query("1.0.0.127.in-addr.arpa PTR"));
    assert_eq!(reply.answers[0].data.to_string(), "localhost.");
    let reply = room.one(query("printer.local AAAA"));
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(room.sent, 0);
}

#[test]
fn too_many_questions_are_refused_not_queued() {
    let mut room = Room::new(|config| config.in_flight = 2);
    let asked = ["www.igbank.com", "mail.igbank.com", "ns1.igbank.com"].map(query);
    let replies = room.ask(Transport::Udp, &asked);
    let codes: Vec<ResponseCode> = replies.iter().map(|r| r.metadata.response_code).collect();
    assert_eq!(codes, [ResponseCode::NoError, ResponseCode::NoError, ResponseCode::ServFail]);
    assert_eq!(room.served().over_limit, 1);
}

/// `dns-walk serve` at a free port.
struct Server {
    lab: Lab,
    child: Child,
    at: SocketAddr,
}

impl Server {
    fn start(args: &str) -> Self {
        let lab = Lab::new("dns-walk");
        let mut command = lab.command(&format!("serve --listen 127.0.0.1:0 --seed 1 {args}"));
        let errors = std::fs::File::create(lab.folder.join("stderr")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let at = line.trim().strip_prefix("listening ").expect(&line).parse().unwrap();
        Self { lab, child, at }
    }

    /// `dig` at the server, its words split at spaces.
    fn dig(&self, words: &str) -> String {
        let mut command = Command::new("dig");
        command.args([format!("@{}", self.at.ip()), "-p".to_owned(), self.at.port().to_string()]);
        command.args(["+tries=1", "+time=15"]).args(words.split_whitespace());
        let out = Output::of(&mut command);
        assert_eq!(out.code, 0, "dig {words}: {}{}", out.stdout, out.stderr);
        out.stdout
    }

    /// Ctrl-C; what it says at its end.
    fn stop(mut self) -> String {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        std::fs::read_to_string(self.lab.folder.join("stderr")).unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed(program: &str) -> bool {
    let found =
        Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        println!("skipped: {program} is not installed, dns-walk serve was not asked by it");
    }
    found.is_ok()
}

#[test]
fn dig_gets_what_a_resolver_should_say() {
    if !installed("dig") {
        return;
    }
    let server = Server::start("--demo broken");
    for (words, parts) in [
        ("www.igbank.com", &["status: NOERROR", "flags: qr rd ra;", "203.0.113.99"][..]),
        ("+tcp WWW.igbank.com", &["(TCP)", "WWW.igbank.com.", "203.0.113.99"]),
        ("mail.igbank.com", &["flags: qr rd ra ad;"]),
        ("+noadflag mail.igbank.com", &["flags: qr rd ra;"]),
        ("+dnssec mail.igbank.com", &["flags: qr rd ra ad;", "flags: do;", "RRSIG"]),
        ("big.igbank.com TXT", &["Truncated, retrying in TCP mode", "(TCP)", "status: NOERROR"]),
        ("+ignore big.igbank.com TXT", &["flags: qr tc rd ra", "ANSWER: 0"]),
        ("nowhere.igbank.com", &["status: NXDOMAIN", "SOA"]),
        ("www.igbank.com AAAA", &["status: NOERROR", "edge.cdn.net.", "SOA"]),
        ("www.expired.com", &["status: SERVFAIL", "EDE: 7 (Signature Expired)", "2024-01-31"]),
        ("+cd www.expired.com", &["status: NOERROR", "rd ra cd;", "203.0.113.100"]),
        ("www.silent.com", &["status: SERVFAIL", "EDE: 22 (No Reachable Authority)"]),
        ("+norec www.igbank.com", &["status: REFUSED", "EDE: 20 (Not Authoritative)"]),
        ("igbank.com ANY +notcp", &["HINFO", "\"RFC8482\" \"\""]),
        ("+edns=1 +noednsneg igbank.com", &["status: BADVERS"]),
        ("-c CH version.bind TXT", &["status: REFUSED"]),
        ("+opcode=4 igbank.com", &["status: NOTIMP"]),
        ("+noedns www.igbank.com", &["203.0.113.99", "ADDITIONAL: 0"]),
        ("+header-only", &["status: FORMERR"]),
        ("www.old.igbank.com", &["DNAME", "www.old.igbank.com.", "203.0.113.99"]),
    ] {
        let said = server.dig(words);
        for part in parts {
            assert!(said.contains(part), "dig {words}: expected {part:?} in\n{said}");
        }
    }
    let end = server.stop();
    assert!(end.contains("over UDP, 2 over TCP"), "{end}");
}

#[test]
fn a_load_of_dnsperf_loses_nothing() {
    if !installed("dnsperf") {
        return;
    }
    let server = Server::start("--demo");
    let names = "www.igbank.com A\nmail.igbank.com A\nnowhere.igbank.com A\nigbank.com MX\n";
    let file = server.lab.folder.join("names");
    std::fs::write(&file, names).unwrap();
    for mode in ["udp", "tcp"] {
        let mut command = Command::new("dnsperf");
        command.args(["-s", &server.at.ip().to_string(), "-p", &server.at.port().to_string()]);
        command.args(["-m", mode, "-n", "250", "-c", "4", "-q", "50", "-d"]).arg(&file);
        let out = Output::of(&mut command);
        let said = format!("{mode}:\n{}{}", out.stdout, out.stderr);
        assert!(said.contains("Queries lost:         0 (0.00%)"), "{said}");
        assert!(said.contains("NOERROR 750 (75.00%), NXDOMAIN 250 (25.00%)"), "{said}");
    }
    let end = server.stop();
    assert!(end.contains("1,000 questions over UDP, 1,000 over TCP"), "{end}");
}

/// The line of the root's key in hints of the demonstration.
fn root_key(hints: &str) -> &str {
    hints.lines().find(|line| line.contains(" DS ")).expect("the demonstration is signed")
}

/// Starts `dns-walk serve-demo` with these words; its hints, and what it says to type.
fn serve_demo(lab: &Lab, words: &str) -> (Child, String, String) {
    let errors = std::fs::File::create(lab.folder.join("said")).unwrap();
    let mut command = lab.command(&format!("serve-demo {words}"));
    let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut hints = String::new();
    while !hints.contains(" DS ") {
        assert_ne!(out.read_line(&mut hints).unwrap(), 0, "{hints}");
    }
    let said = std::fs::read_to_string(lab.folder.join("said")).unwrap();
    (child, hints, said)
}

#[test]
fn validating_clients_prove_what_they_are_told() {
    if !installed("delv") || !installed("unbound-host") {
        return;
    }
    let lab = Lab::new("dns-walk");
    let (mut demo, hints, _) = serve_demo(&lab, "sound");
    std::fs::write(lab.folder.join("hints"), &hints).unwrap();
    let file = lab.folder.join("hints").display().to_string();
    let server = Server::start(&format!("--hints {file}"));
    let (key, port) = (root_key(&hints), server.at.port().to_string());
    let words: Vec<&str> = key.split_whitespace().skip_while(|word| *word != "DS").collect();
    let [_, tag, algorithm, digest_type, digest] = words[..] else { panic!("{key}") };
    let anchors =
        format!("trust-anchors {{ . initial-ds {tag} {algorithm} {digest_type} \"{digest}\"; }};");
    std::fs::write(lab.folder.join("anchors"), anchors).unwrap();
    let configuration = format!(
        "server:\n  trust-anchor: \"{key}\"\n  do-not-query-localhost: no\n  \
         module-config: \"validator iterator\"\n\
         forward-zone:\n  name: \".\"\n  forward-addr: 127.0.0.1@{port}\n"
    );
    std::fs::write(lab.folder.join("unbound.conf"), configuration).unwrap();
    // An answer, a wildcard, no such record, no such name, an alias of a whole domain.
    for name in [
        "mail.igbank.com A",
        "lisbon.branch.igbank.com A",
        "igbank.com AAAA",
        "nowhere.igbank.com A",
        "www.old.igbank.com A",
    ] {
        let (asked, kind) = name.split_once(' ').unwrap();
        let mut delv = Command::new("delv");
        delv.args(["@127.0.0.1", "-p", &port, "+root=.", "-a"]).arg(lab.folder.join("anchors"));
        let out = Output::of(delv.args([asked, kind]));
        let said = out.stdout + &out.stderr;
        assert!(said.contains("fully validated"), "delv {name}: {said}");
        let mut unbound = Command::new("unbound-host");
        unbound.arg("-C").arg(lab.folder.join("unbound.conf"));
        let out = Output::of(unbound.args(["-v", "-t", kind, asked]));
        assert!(out.stdout.contains("(secure)"), "unbound-host {name}: {}", out.stdout);
        assert!(!out.stdout.contains("BOGUS"), "unbound-host {name}: {}", out.stdout);
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
}

#[test]
fn the_demo_says_what_to_type_and_that_works() {
    let lab = Lab::new("dns-walk");
    let help = lab.run("serve-demo --help");
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("broken"), "{}", help.stdout);
    for variant in ["sound", "broken"] {
        let (mut demo, hints, said) = serve_demo(&lab, variant);
        assert!(hints.starts_with("$PORT "), "{hints}");
        let commands = said.lines().filter_map(|line| line.strip_prefix("dns-walk:   "));
        let mut ran = 0;
        for command in commands {
            let command = command.split("    ").next().unwrap();
            let mut words = command.split_whitespace();
            let program = words.next().unwrap();
            if ["dig", "drill"].contains(&program) && installed(program) {
                let out = Output::of(Command::new(program).args(words));
                assert!(out.stdout.contains("NOERROR"), "{command}: {}{}", out.stdout, out.stderr);
                assert!(out.stdout.contains(" aa"), "{command}: {}", out.stdout);
                ran += 1;
            }
        }
        assert!(ran >= 2 || !installed("dig"), "{said}");
        demo.kill().unwrap();
        demo.wait().unwrap();
    }
    assert_eq!(lab.run("serve-demo best").code, 2);
    assert_eq!(lab.run("--demo serve-demo").code, 2);
}

fn send(stream: &mut TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, message].concat()).unwrap();
}

fn receive(stream: &mut TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    Message::from_vec(&bytes).unwrap()
}

#[test]
fn a_connection_carries_many_questions_and_ends_when_it_only_costs() {
    let server = Server::start("--demo --connections 3 --idle 1s");
    let mut stream = server.connect();
    for id in 0..200 {
        let mut asked = query(["www.igbank.com", "mail.igbank.com"][usize::from(id % 2)]);
        asked.metadata.id = id;
        send(&mut stream, &asked.to_vec().unwrap());
    }
    let mut ids: Vec<u16> = (0..200).map(|_| receive(&mut stream).metadata.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<u16>>(), "each question has its own answer");
    // A client that has said all it has to say still hears the answer.
    let mut half = server.connect();
    send(&mut half, &query("igbank.com MX").to_vec().unwrap());
    half.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(receive(&mut half).answers.len(), 1);
    assert_eq!(half.read(&mut [0; 1]).unwrap(), 0, "and the end");
    // One that drips bytes is closed all the same, and so is one that babbles.
    let mut drip = server.connect();
    drip.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let closed = [0_u8, 40].into_iter().chain(std::iter::repeat_n(0, 38)).any(|byte| {
        let gone = |error: std::io::Error| error.kind() != std::io::ErrorKind::WouldBlock;
        drip.write_all(&[byte]).is_err() || drip.read(&mut [0; 1]).map_or_else(gone, |_| true)
    });
    assert!(closed, "a connection that never asks a whole question");
    let mut babble = server.connect();
    send(&mut babble, &[0xff; 30]);
    assert!(babble.read(&mut [0; 1]).is_ok_and(|count| count == 0), "what is no query ends it");
    // The fourth connection is one too many.
    let held = [server.connect(), server.connect(), server.connect()];
    let mut fourth = server.connect();
    let _ = fourth.write_all(&[0, 1]);
    assert!(!fourth.read(&mut [0; 1]).is_ok_and(|count| count > 0));
    drop(held);
}

/// A client that sends and reads without a pause, on a connection of its own, until it is cut off.
fn greedy(server: &Server) -> [std::thread::JoinHandle<()>; 2] {
    let bytes = query("www.igbank.com").to_vec().unwrap();
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let burst = [&length, bytes.as_slice()].concat().repeat(1_000);
    let mut writer = server.connect();
    let mut reader = writer.try_clone().unwrap();
    let sends = std::thread::spawn(move || while writer.write_all(&burst).is_ok() {});
    let reads = std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while reader.read(&mut buffer).is_ok_and(|count| count > 0) {}
    });
    [sends, reads]
}

/// Others are answered beside one that always has another question, and so are signals.
#[test]
fn a_greedy_client_starves_neither_others_nor_signals() {
    for signal in ["INT", "TERM"] {
        let mut server = Server::start("--demo");
        let greedy = greedy(&server);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(server.at).unwrap();
        let mut stream = server.connect();
        for id in 0..100 {
            let mut asked = query(["www.igbank.com", "mail.igbank.com"][usize::from(id % 2)]);
            asked.metadata.id = id;
            let asked = asked.to_vec().unwrap();
            socket.send(&asked).unwrap();
            send(&mut stream, &asked);
            let mut buffer = [0; 1500];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(Message::from_vec(&buffer[..length]).unwrap().metadata.id, id);
            assert_eq!(receive(&mut stream).metadata.id, id);
        }
        let pid = server.child.id().to_string();
        let flag = format!("-{signal}");
        assert!(Command::new("kill").args([&flag, &pid]).status().unwrap().success());
        let ended = server.child.wait().unwrap();
        assert!(ended.code().is_some(), "{signal}: {ended}");
        greedy.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// Leaves a process this many descriptors beyond those that it has open.
fn leave_descriptors(child: &Child, spare: usize) {
    let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
    let mut limit = Command::new("prlimit");
    limit.args(["--pid", &child.id().to_string(), &format!("--nofile={}", open + spare)]);
    assert!(limit.status().unwrap().success());
}

/// More clients than descriptors connect, then all but the last leave: that one is answered,
/// though no other comes after it.
fn assert_the_last_client_is_served(child: &Child, at: SocketAddr, asked: &Message) {
    let connect = || {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let bytes = asked.to_vec().unwrap();
    let exchange = |stream: &mut TcpStream| {
        send(stream, &bytes);
        receive(stream);
    };
    // A server that answers has opened all descriptors of its own.
    let mut first = connect();
    exchange(&mut first);
    leave_descriptors(child, 6);
    let held: Vec<TcpStream> = (0..20).map(|_| connect()).collect();
    let mut last = connect();
    send(&mut last, &bytes);
    // By now it has tried to accept them all.
    exchange(&mut first);
    drop(held);
    assert_eq!(receive(&mut last).metadata.id, asked.metadata.id);
}

#[test]
fn clients_that_waited_for_a_descriptor_are_served_when_others_leave() {
    let server = Server::start("--demo");
    // Refused at once: a walk would need descriptors of its own.
    let mut asked = query("www.igbank.com");
    asked.metadata.recursion_desired = false;
    assert_the_last_client_is_served(&server.child, server.at, &asked);
    let lab = Lab::new("dns-walk");
    let (mut demo, _, said) = serve_demo(&lab, "sound");
    let port = said.split(" -p ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let at = SocketAddr::from(([127, 53, 2, 1], port));
    assert_the_last_client_is_served(&demo, at, &query("www.igbank.com"));
    demo.kill().unwrap();
    demo.wait().unwrap();
}

#[test]
fn what_is_no_query_gets_nothing_and_hurts_nobody() {
    let server = Server::start("--demo");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(server.at).unwrap();
    let mut reply = query("www.igbank.com");
    reply.metadata.message_type = MessageType::Response;
    for bytes in [&b""[..], &[0; 11], &[0xff; 600], &reply.to_vec().unwrap()] {
        socket.send(bytes).unwrap();
    }
    socket.send(&[1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 63]).unwrap();
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer).unwrap();
    let error = [1, 2, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(buffer[..length], error, "FORMERR to what has a number, and to nothing before it");
    socket.send(&query("www.igbank.com").to_vec().unwrap()).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(Message::from_vec(&buffer[..length]).unwrap().answers.len(), 1);
    let end = server.stop();
    assert!(end.contains("4 datagrams were no query"), "{end}");
}

/// Serves 10.9.9.1 to itself: `$0` is the lab, `$1` the prefix.
const BEYOND: &str = "\
set -e
ip link set lo up
ip addr add 10.9.9.1/32 dev lo
\"$0\" serve --demo --listen 10.9.9.1:5399 --beyond-loopback --allow $1 > out 2> errors & pid=$!
until grep -q listening out; do kill -0 $pid; sleep 0.05; done
dig @10.9.9.1 -p 5399 +tries=1 www.igbank.com
dig @10.9.9.1 -p 5399 +tries=1 +tcp mail.igbank.com || echo no connection
kill $pid
wait $pid
";

/// In a network namespace of its own: clients beyond loopback, of the prefix and of no prefix.
#[test]
fn beyond_loopback_only_clients_of_a_prefix_are_served() {
    if !["dig", "unshare", "ip"].iter().all(|program| installed(program)) {
        return;
    }
    for (prefix, status, connects) in
        [("10.0.0.0/8", "NOERROR", true), ("192.0.2.0/24", "REFUSED", false)]
    {
        let lab = Lab::new("dns-walk");
        let mut command = Command::new("unshare");
        command.args(["-rn", "sh", "-c", BEYOND]).arg(wirelab_tests::lab::binary("dns-walk"));
        let out = Output::of(command.arg(prefix).current_dir(&lab.folder));
        if out.stderr.contains("unshare failed") {
            println!("skipped: no network namespace for clients beyond loopback: {}", out.stderr);
            return;
        }
        assert_eq!(out.code, 0, "{prefix}: {}{}", out.stdout, out.stderr);
        assert!(out.stdout.contains(&format!("status: {status}")), "{prefix}: {}", out.stdout);
        assert_eq!(!out.stdout.contains("no connection"), connects, "{prefix}: {}", out.stdout);
    }
}

#[test]
fn it_listens_on_loopback_unless_told_and_says_what_is_wrong() {
    let lab = Lab::new("dns-walk");
    let out = lab.run("serve --demo --listen 0.0.0.0:0");
    assert_eq!(out.code, 2);
    assert!(out.stderr.contains("--beyond-loopback"), "{}", out.stderr);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let out = lab.run(&format!("serve --demo --listen {}", taken.local_addr().unwrap()));
    assert_eq!(out.code, 5, "{}", out.stderr);
    assert!(out.stderr.contains("free"), "{}", out.stderr);
    assert_eq!(lab.run("serve --demo best").code, 2);
    let help = lab.run("serve --help");
    assert_eq!(help.code, 0);
    assert!(help.stdout.starts_with("Examples:"), "{}", help.stdout);
}
