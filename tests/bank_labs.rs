//! `bank-tcp` and `bank-udp` from the command line: servers, calls, loads, hostile and slow peers.
//! Waits poll a line or a state; none sleeps for a fixed time.
#![expect(clippy::print_stdout, reason = "a skipped test says why; --show-output shows it")]

use bytes::BytesMut;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use wirelab::bank::codec::{
    Body, Hello, Message, Welcome, encode_hello, encode_request, encode_welcome,
};
use wirelab::bank::frame::{Header, Kind, MAX_FRAME, checksum};
use wirelab::bank::message::{AccountId, Amount, Refusal, Request};
use wirelab_tests::bank::{Bank, HUNG, signal};
use wirelab_tests::lab::Lab;

const LABS: [&str; 2] = ["bank-tcp", "bank-udp"];
/// Maximum polls for an expected state; each takes a process.
const POLLS_MAX: usize = 2_000;

fn hello() -> BytesMut {
    let mut bytes = BytesMut::new();
    let (max_frame, nonce) = (u32::try_from(MAX_FRAME).unwrap(), 0xfeed);
    let hello = Hello { min_version: 1, max_version: 1, max_frame, nonce, features: 0 };
    encode_hello(&mut bytes, 0, &hello);
    bytes
}

fn request(client: u64, seq: u64, request: &Request) -> BytesMut {
    let mut bytes = BytesMut::new();
    let op = request.operation() as u8;
    let header = Header { op, client, seq, attempt: 1, ..Header::of(Kind::Request) };
    encode_request(&mut bytes, &header, request, 0);
    bytes
}

/// The frame with some bytes changed and the checksum fixed up.
fn changed(mut bytes: BytesMut, change: impl Fn(&mut [u8])) -> BytesMut {
    change(&mut bytes);
    let sum = checksum(&bytes).to_le_bytes();
    bytes[4..8].copy_from_slice(&sum);
    bytes
}

fn read_frame(stream: &mut TcpStream) -> Message {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).unwrap();
    let length = u32::from_le_bytes([frame[0], frame[1], frame[2], frame[3]]);
    frame.resize(4 + length as usize, 0);
    stream.read_exact(&mut frame[4..]).unwrap();
    Message::decode(&frame).unwrap()
}

/// Whether the server closed the connection; discards pending input.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn every_operation_is_answered_on_both_carriers() {
    for name in LABS {
        let bank = Bank::start(name, "");
        let says = |what: &str, words: &str| {
            let out = bank.call(what);
            assert_eq!(out.code, 0, "{name} {what}: {}", out.stderr);
            assert!(out.stdout.contains(words), "{name} {what}: {}", out.stdout);
        };
        says("deposit 1 12.34", "12.34 is in account 1, which now holds 1012.34");
        says("transfer 1 2 5", "5.00 moved from account 1 to account 2");
        says("balance 2", "Account 2 holds 1005.00.");
        says("statement 1", "came in                 12.34");
        says("transactions 1", "-5.00           1007.34  account 2");
        says("address 3", "3 Loss Lane");
        says("-v balance 1", "round trip");
        assert!(bank.call("-v balance 1").stderr.contains("<-- 64 bytes: RESPONSE balance"));
        let report = bank.stop();
        assert_eq!(report["counters"]["accepted"]["deposit"], 1, "{report}");
        assert_eq!(report["books"]["entries"], 2);
    }
}

#[test]
fn pages_are_followed_to_the_end_and_not_beyond_the_limit() {
    for name in LABS {
        let bank = Bank::start(name, "--accounts 2");
        let load = format!("load --server {} --accounts 2 --ops 150 --only deposit", bank.address);
        assert_eq!(bank.lab.run(&load).code, 0);
        let entries = |what: &str| {
            let answer = bank.ask(what);
            let pages = answer["pages"].as_u64().unwrap();
            (answer["reply"]["entries"].as_array().unwrap().len(), pages)
        };
        let (first, pages) = entries("transactions 1");
        let (second, _) = entries("transactions 2");
        assert_eq!(first + second, 150, "{name}");
        // A datagram holds about thirty entries, a frame thousands.
        assert_eq!(pages > 1, name == "bank-udp", "{name}: {pages} pages");
        assert_eq!(entries("transactions 1 --limit 40").0, 40.min(first));
        assert_eq!(entries("transactions 1 --from 151").0, 0);
        bank.stop();
    }
}

#[test]
fn refusals_exit_with_1_and_advise() {
    for name in LABS {
        let bank = Bank::start(name, "--accounts 3");
        for (what, reason, remedy) in [
            ("transfer 1 2 1000.01", "insufficient_funds", "ask for its balance"),
            ("transfer 1 1 1", "same_account", "name two accounts"),
            ("balance 4", "unknown_account", "accounts are numbered from 1"),
            ("balance 0", "unknown_account", "accounts are numbered from 1"),
        ] {
            let out = bank.call(what);
            assert_eq!((out.code, out.stdout.as_str()), (1, ""), "{name} {what}: {}", out.stderr);
            let said = out.stderr.contains(reason) && out.stderr.contains(remedy);
            assert!(said, "{name} {what}: {}", out.stderr);
            let out = bank.call(&format!("--json {what}"));
            let document: Value = serde_json::from_str(&out.stdout).unwrap();
            assert_eq!((out.code, &document["outcome"]), (1, &"refused".into()), "{document}");
        }
        let report = bank.stop();
        assert_eq!(report["counters"]["refused"]["unknown_account"], 4, "{report}");
        assert_eq!(report["books"]["entries"], 0);
    }
}

#[test]
fn the_same_seed_and_request_is_done_once() {
    for name in LABS {
        let bank = Bank::start(name, "");
        let first = bank.ask("--seed 7 deposit 1 5");
        let again = bank.ask("--seed 7 deposit 1 5");
        assert_eq!(first["reply"], again["reply"], "{name}");
        let other = bank.call("--seed 7 deposit 1 6");
        assert_eq!(other.code, 1, "{}", other.stderr);
        assert!(other.stderr.contains("key_reused"), "{}", other.stderr);
        assert_eq!(bank.balance(1), 100_500);
        assert_eq!(bank.stop()["counters"]["duplicates"], 1);
    }
    let bank = Bank::start("bank-tcp", "--dedup off");
    bank.ask("--seed 7 deposit 1 5");
    bank.ask("--seed 7 deposit 1 5");
    assert_eq!(bank.balance(1), 101_000);
    assert_eq!(bank.stop()["books"]["keys_applied_twice"], 1);
}

/// The remedy of an unknown outcome, typed after the bank has forgotten the client.
#[test]
fn a_forgotten_lease_leaves_the_outcome_unknown_and_applies_nothing() {
    for name in LABS {
        let bank = Bank::start(name, "");
        let first = bank.ask("--seed 42 deposit 1 12.34");
        let again =
            format!("--seed 42 --lease {} deposit 1 12.34", first["lease"].as_str().unwrap());
        assert_eq!(bank.ask(&again)["reply"], first["reply"], "{name}: the same key");
        bank.stop();
        let bank = Bank::start(name, "--seed 2");
        let out = bank.call(&again);
        assert_eq!(out.code, 3, "{name}: {}{}", out.stdout, out.stderr);
        assert!(out.stderr.contains("the bank has forgotten the lease"), "{}", out.stderr);
        assert_eq!(bank.balance(1), 100_000, "{name}");
        bank.stop();
    }
}

#[test]
fn welcome_announces_what_the_store_keeps() {
    for (flags, dedup) in [("", 1), ("--dedup volatile", 1), ("--dedup off", 0)] {
        let bank = Bank::start("bank-udp", flags);
        let socket = bank.datagrams();
        socket.send(&hello()).unwrap();
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).unwrap();
        let Body::Welcome(Ok(welcome)) = Message::decode(&buffer[..length]).unwrap().body else {
            panic!("no lease");
        };
        assert_eq!(welcome.dedup, dedup, "{flags}");
        assert_ne!(welcome.epoch, 0, "{flags}: a memory store forgets");
    }
}

#[test]
fn each_delivery_is_a_choice_on_datagrams() {
    let bank = Bank::start("bank-udp", "");
    for delivery in ["at-most-once", "at-least-once", "exactly-once"] {
        let answer = bank.ask(&format!("--delivery {delivery} deposit 1 1"));
        assert_eq!(answer["delivery"], delivery.replace('-', "_"));
    }
    assert_eq!(bank.balance(1), 100_300);
    bank.stop();
}

/// `-v` logs frames, connections and datagrams to stderr and leaves stdout unchanged.
#[test]
fn verbosity_says_what_is_done() {
    for (name, part) in [("bank-tcp", "saying HELLO"), ("bank-udp", "saying HELLO")] {
        let bank = Bank::start(name, "");
        let at = format!("--server {}", bank.address);
        let [plain, once] = ["", "-v"].map(|v| bank.lab.run(&format!("load {at} --ops 20 {v}")));
        assert_eq!((plain.code, once.code), (0, 0), "{}", once.stderr);
        assert!(once.stderr.contains("clients ask"), "{}", once.stderr);
        assert!(once.stderr.lines().count() > plain.stderr.lines().count(), "{}", once.stderr);
        let call = bank.call("-v --seed 5 balance 1");
        assert!(call.stderr.contains(part) && call.stderr.contains("-->"), "{}", call.stderr);
    }
    for (name, part) in [("bank-tcp", "accepted a connection"), ("bank-udp", "in reply")] {
        let lab = Lab::new(name);
        let mut serve = lab.command("serve --listen 127.0.0.1:0 --json -v");
        let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let address = listening["address"].as_str().unwrap();
        let asked = lab.run(&format!("call --server {address} balance 1"));
        signal("TERM", &child);
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        assert_eq!(asked.code, 0, "{}", asked.stderr);
        assert!(said.contains(part), "{name}: {said}");
    }
}

#[test]
fn a_host_needs_no_port_and_a_port_no_host() {
    for name in LABS {
        let lab = Lab::new(name);
        // The default port is used, whether or not a bank listens there.
        for (server, asked) in [
            ("127.0.0.1", "127.0.0.1:7411"),
            ("::1", "[::1]:7411"),
            ("[::1]", "[::1]:7411"),
            (":1", "127.0.0.1:1"),
            ("1", "127.0.0.1:1"),
        ] {
            let args = format!("call --json --deadline 2s --server {server} balance 1");
            let out = lab.run(&args);
            let document: Value = serde_json::from_str(&out.stdout).unwrap();
            assert_eq!(document["server"], asked, "{args}: {}", out.stderr);
        }
        let local = lab.run("call --json --deadline 2s --server localhost balance 1");
        let document: Value = serde_json::from_str(&local.stdout).unwrap();
        assert!(document["server"].as_str().unwrap().ends_with(":7411"), "{}", local.stdout);
        let bank = Bank::from(Lab::new(name), lab.command("serve --listen 0 --json"));
        assert!(bank.address.starts_with("127.0.0.1:"), "{}", bank.address);
    }
}

#[test]
fn resource_shortage_is_not_reported_as_a_bug() {
    for name in LABS {
        let lab = Lab::new(name);
        let bank = Bank::start(name, "");
        let at = format!("--server {}", bank.address);
        for (args, before, after, part) in [
            (format!("call {at} balance 1"), "", "> /dev/full", "cannot write to standard output"),
            (format!("load {at} --ops 50"), "", "> /dev/full", "cannot write to standard output"),
            (format!("load {at} --ops 50 --clients 64"), "ulimit -n 16;", "", "ulimit -n 4096"),
            (format!("call {at} balance 1"), "ulimit -n 4;", "", "ulimit -n 4096"),
            ("serve --listen 0".to_owned(), "ulimit -n 4;", "", "ulimit -n 4096"),
        ] {
            let out = lab.shell(&args, before, after);
            assert_eq!(out.code, 4, "{name} {args}: {}{}", out.stdout, out.stderr);
            assert!(out.stderr.contains(part), "{name} {args}: {}", out.stderr);
        }
    }
}

#[test]
fn mistakes_show_what_to_type() {
    for name in LABS {
        let lab = Lab::new(name);
        for (args, code, words) in [
            ("call deposit 1 1.234", 2, "at most two digits"),
            ("call deposit 1 0", 2, "above 0"),
            ("call deposit 1 -5", 2, "not negative"),
            ("call deposit 1 1,50", 2, "such as 12.34"),
            ("call deposit 1 99999999999999999.99", 2, "the largest amount"),
            ("call deposit one 1", 2, "'one'"),
            ("call withdraw 1 1", 2, "withdraw"),
            ("call --server nowhere balance 1", 2, "HOST:PORT"),
            ("call --deadline 5 balance 1", 2, "did you mean 5s?"),
            ("call --deadline -5s balance 1", 2, "it cannot be negative"),
            ("call balance -1", 2, "expected a whole number"),
            ("call transfer 1 -2 5.00", 2, "expected a whole number"),
            ("call withdraw 1 1", 2, "transfer FROM TO AMOUNT takes money out"),
            ("call withdraw 1 1", 2, "expected one of balance, deposit, transfer, statement"),
            ("call balanse 1", 2, "'balance'"),
            ("balance 1", 2, "call balance"),
            ("load --only withdraw", 2, "takes money out"),
            ("load --for -1", 2, "it cannot be negative"),
            ("load --for 5", 2, "did you mean 5s?"),
            ("load --ops 4k", 2, "did you mean 4000?"),
            ("load --ops abc", 2, "from 1 up to 5000000"),
            ("load --seed abc", 2, "expected a whole number"),
            ("load --rate 20Mbps", 2, "lossy-path limits bit rates"),
            ("load --latency 40ms", 2, "lossy-path --delay 40ms"),
            ("load --jitter 5ms", 2, "lossy-path --delay normal"),
            ("load --bandwidth 20Mbit", 2, "requests per second"),
            ("serve --lease 10", 2, "did you mean 10min?"),
            ("serve --listen here:there", 2, "HOST:PORT"),
            ("load --for 0", 2, "above 0"),
            ("serve --lissen 127.0.0.1:0", 2, "--listen"),
            ("serve --accounts 0", 2, "accounts"),
            ("load --depth 0", 2, "depth"),
            ("load --rate 5 --depth 1", 2, "cannot be used with"),
            ("load --only dance", 2, "expected one of balance"),
            ("--generate html", 2, "completions:SHELL"),
            // Port 1 is reserved, so there is no listener.
            ("call --server 127.0.0.1:1 balance 1", 5, "serve --listen 127.0.0.1:1"),
            ("load --server 127.0.0.1:1 --for 20s", 5, "serve --listen 127.0.0.1:1"),
            ("serve --beyond-loopback --listen 192.0.2.1:7411", 5, "no such address"),
        ] {
            let out = lab.run(args);
            assert_eq!(out.code, code, "{name} {args}: {}{}", out.stdout, out.stderr);
            assert!(out.stderr.contains(words), "{name} {args}: {}", out.stderr);
        }
        let out = lab.run("call --json --server 127.0.0.1:1 balance 1");
        let document: Value = serde_json::from_str(&out.stdout).unwrap();
        assert_eq!((out.code, &document["outcome"]), (5, &"not_asked".into()));
    }
}

#[test]
fn a_port_in_use_is_named() {
    for name in LABS {
        let bank = Bank::start(name, "");
        let out = bank.lab.run(&format!("serve --listen {}", bank.address));
        assert_eq!(out.code, 5, "{}", out.stderr);
        let helps = out.stderr.contains("another program") && out.stderr.contains("127.0.0.1:0");
        assert!(helps, "{}", out.stderr);
        bank.stop();
    }
}

#[test]
fn a_server_of_another_protocol_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        is_closed(&mut stream)
    });
    let out = Lab::new("bank-tcp").run(&format!("call --server {address} deposit 1 1"));
    assert_eq!(out.code, 5, "{}", out.stderr);
    assert!(out.stderr.contains("not the bank's protocol"), "{}", out.stderr);
    assert!(server.join().unwrap());
}

#[test]
fn no_answer_is_unknown_and_says_how_to_ask_again() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(HUNG)).unwrap();
    let address = socket.local_addr().unwrap();
    // It welcomes every client and answers no request.
    let server = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        let (_, from) = socket.recv_from(&mut buffer).unwrap();
        let mut bytes = BytesMut::new();
        let welcome = Welcome {
            version: 1,
            dedup: 2,
            window: 512,
            max_frame: 65_536,
            lease_ms: 600_000,
            epoch: 7,
            features: 0,
        };
        encode_welcome(&mut bytes, 9, &welcome);
        socket.send_to(&bytes, from).unwrap();
        // Kept until it has been asked, so that the port stays open.
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        (length, socket)
    });
    let lab = Lab::new("bank-udp");
    let out =
        lab.run(&format!("call --server {address} --deadline 1500ms --seed 5 deposit 1 12.34"));
    assert_eq!((out.code, out.stdout.as_str()), (3, ""), "{}", out.stderr);
    for words in [
        "unknown",
        "0000000000000009/1",
        "deposit 1 12.34 --seed 5 --lease 0000000000000009",
        "may have",
    ] {
        assert!(out.stderr.contains(words), "{}", out.stderr);
    }
    assert!(server.join().unwrap().0 > 0);
}

#[test]
fn loads_name_their_loop_and_the_ledgers_agree() {
    for name in LABS {
        let bank = Bank::start(name, "");
        let load = |flags: &str| {
            let args = format!("load --server {} --json --seed 3 {flags}", bank.address);
            let out = bank.lab.run(&args);
            assert_eq!(out.code, 0, "{name} {flags}: {}{}", out.stdout, out.stderr);
            serde_json::from_str::<Value>(&out.stdout).unwrap()
        };
        let closed = load("--clients 4 --depth 8 --ops 2000 --only deposit");
        assert_eq!((&closed["loop"], &closed["done"]), (&"closed".into(), &2_000.into()));
        assert_eq!(closed["latency_counts_from"], "actual_start");
        let open = load("--rate 2000 --ops 400 --only deposit");
        assert_eq!((&open["loop"], &open["done"]), (&"open".into(), &400.into()));
        assert_eq!(open["latency_counts_from"], "intended_start");
        assert!(open["latency"]["p99"]["value_ns"].as_u64().unwrap() > 0);
        assert_eq!(open["seed"], 3);
        assert_eq!(bank.ask("balance 1")["outcome"], "done");
        let mixed = load("--for 200ms");
        assert!(mixed["done"].as_u64().unwrap() > 0, "{mixed}");
        assert_eq!(mixed["unknown"], 0);
        let words = bank.lab.run(&format!("load --server {} --ops 50", bank.address)).stdout;
        assert!(words.contains("p99.9") && words.contains("closed loop"), "{words}");
        let report = bank.stop();
        assert_eq!(report["books"]["keys_applied_twice"], 0);
    }
}

/// Starts a load of deposits and waits until the first are in the ledger.
fn begin_deposits(bank: &Bank) -> Child {
    let args = format!(
        "load --server {} --json --accounts 2 --clients 4 --only deposit --for 60s --deadline 2s",
        bank.address
    );
    let mut command = bank.lab.command(&args);
    let load = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let begun = (0..POLLS_MAX).any(|_| bank.balance(1) > 100_000);
    assert!(begun, "the load puts nothing in");
    load
}

fn end_of(mut load: Child) -> (i32, Value) {
    let mut text = String::new();
    load.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    (load.wait().unwrap().code().unwrap(), serde_json::from_str(&text).unwrap())
}

#[test]
fn ctrl_c_prints_what_was_measured_so_far() {
    for name in LABS {
        let bank = Bank::start(name, "--accounts 2");
        let load = begin_deposits(&bank);
        signal("INT", &load);
        let (code, document) = end_of(load);
        assert_eq!((code, &document["ended"]), (130, &"interrupted".into()), "{document}");
        assert!(document["done"].as_u64().unwrap() > 0);
        assert_eq!(document["unknown"], 4, "one request of each client was in flight: {document}");
        bank.stop();
    }
}

#[test]
fn a_server_that_stops_under_load_loses_no_acknowledged_deposit() {
    for name in LABS {
        let bank = Bank::start(name, "--accounts 2");
        let load = begin_deposits(&bank);
        let report = bank.stop();
        let (code, document) = end_of(load);
        assert_eq!((code, &document["ended"]), (5, &"server_lost".into()), "{document}");
        let entries = report["books"]["entries"].as_u64().unwrap();
        let done = document["done"].as_u64().unwrap();
        // Deposits in flight when the load ended are unknown.
        let open = document["unknown"].as_u64().unwrap();
        assert!(done <= entries && entries <= done + open, "{name}: {entries} {document}");
    }
}

#[test]
fn hostile_bytes_on_a_stream_get_a_typed_reply_or_the_close() {
    let bank = Bank::start("bank-tcp", "");
    let mut corrupted = hello();
    corrupted[50] ^= 1;
    let oversize = [0xff_u8, 0xff, 0xff, 0x7f];
    let foreign_magic = changed(hello(), |bytes| bytes[8] = b'X');
    for garbage in [&corrupted[..], &oversize, &foreign_magic, b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = bank.connect();
        stream.write_all(garbage).unwrap();
        assert!(is_closed(&mut stream));
    }
    // Cut off in the middle: there is no peer left to answer.
    bank.connect().write_all(&hello()[..20]).unwrap();
    let mut stream = bank.connect();
    stream.write_all(&changed(hello(), |bytes| bytes[10] = 9)).unwrap();
    let answer = read_frame(&mut stream);
    let versions = Refusal::UnsupportedVersion { min: 1, max: 1 };
    assert_eq!(answer.body, Body::Welcome(Err(versions)));
    // The connection still accepts a supported version.
    stream.write_all(&hello()).unwrap();
    let lease = read_frame(&mut stream).header.client;
    let balance = request(lease, 1, &Request::Balance { account: AccountId(1) });
    stream.write_all(&changed(balance, |bytes| bytes[12] = 99)).unwrap();
    assert_refused(&read_frame(&mut stream), Refusal::UnsupportedOperation);
    let report = bank.stop();
    let counters = &report["counters"];
    assert_eq!(counters["discarded"]["checksum"], 1, "{report}");
    assert_eq!(counters["discarded"]["magic"], 1, "{report}");
    assert_eq!(counters["discarded"]["length"], 2, "{report}");
    assert_eq!(counters["refused"]["unsupported_version"], 1, "{report}");
    assert_eq!(counters["refused"]["unsupported_operation"], 1, "{report}");
    assert_eq!(report["sockets"]["closed_violation"], 4, "{report}");
}

fn assert_refused(message: &Message, refusal: Refusal) {
    use wirelab::bank::codec::Answer;
    assert_eq!(message.body, Body::Response(Answer::Refused(refusal)));
}

#[test]
fn hostile_datagrams_get_a_typed_reply_or_silence() {
    let bank = Bank::start("bank-udp", "");
    let socket = bank.datagrams();
    let mut corrupted = hello();
    corrupted[50] ^= 1;
    let mut wrong_length = hello();
    wrong_length[0] += 1;
    let oversize = vec![0; 3_000];
    for garbage in [&corrupted[..], &wrong_length, &hello()[..20], &oversize, b""] {
        socket.send(garbage).unwrap();
    }
    let mut buffer = [0; 2048];
    let mut answer = |datagram: &[u8]| {
        socket.send(datagram).unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        assert!(length <= datagram.len(), "an answer is no longer than what asked");
        Message::decode(&buffer[..length]).unwrap()
    };
    // The first answer is to the first datagram that needs one: the others got none.
    let foreign = answer(&changed(hello(), |bytes| bytes[10] = 9));
    assert_eq!(foreign.body, Body::Welcome(Err(Refusal::UnsupportedVersion { min: 1, max: 1 })));
    let lease = answer(&hello()).header.client;
    let address = Request::Address { account: AccountId(1) };
    let unknown = changed(request(lease, 1, &address), |bytes| bytes[12] = 99);
    assert_refused(&answer(&unknown), Refusal::UnsupportedOperation);
    let report = bank.stop();
    let discarded = &report["counters"]["discarded"];
    assert_eq!(discarded["checksum"], 1, "{report}");
    assert_eq!(discarded["length"], 2, "{report}");
    assert_eq!(discarded["too_short"], 2, "{report}");
    assert_eq!(report["counters"]["datagrams"], 8, "{report}");
}

/// The server is stopped while a request waits in its socket for longer than its deadline.
#[test]
fn a_deadline_counts_while_the_datagram_waits_in_the_kernel() {
    let bank = Bank::start("bank-udp", "");
    let socket = bank.datagrams();
    let mut buffer = [0; 2048];
    socket.send(&hello()).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    let client = Message::decode(&buffer[..length]).unwrap().header.client;
    let deposit = Request::Deposit { account: AccountId(1), amount: Amount::new(1).unwrap() };
    let mut bytes = BytesMut::new();
    let op = deposit.operation() as u8;
    let header =
        Header { op, client, seq: 1, attempt: 1, deadline_us: 50_000, ..Header::of(Kind::Request) };
    encode_request(&mut bytes, &header, &deposit, 0);
    signal("STOP", &bank.child);
    socket.send(&bytes).unwrap();
    // A stopped server sends nothing: this waits for four times the deadline.
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(socket.recv(&mut buffer).is_err());
    signal("CONT", &bank.child);
    socket.set_read_timeout(Some(HUNG)).unwrap();
    let length = socket.recv(&mut buffer).unwrap();
    assert_refused(&Message::decode(&buffer[..length]).unwrap(), Refusal::DeadlinePassed);
    assert_eq!(bank.balance(1), 100_000);
    bank.stop();
}

#[test]
fn slow_clients_are_closed_while_others_are_served() {
    let deadlines = "--hello-deadline 1s --frame-deadline 1s --idle-timeout 2s";
    let bank = Bank::start("bank-tcp", deadlines);
    let mut silent = bank.connect();
    // A HELLO, then half a request.
    let mut half = bank.connect();
    half.write_all(&hello()).unwrap();
    let lease = read_frame(&mut half).header.client;
    let balance = request(lease, 1, &Request::Balance { account: AccountId(1) });
    half.write_all(&balance[..30]).unwrap();
    // One byte at a time, for as long as the server accepts them.
    let mut dripping = bank.connect();
    let drip = std::thread::spawn(move || {
        let endless = [0x00, 0x0f, 0x00, 0x00].into_iter().chain(std::iter::repeat(0));
        dripping.set_nodelay(true).unwrap();
        dripping.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut closed = false;
        for byte in endless.take(4_000) {
            let ended =
                |error: &std::io::Error| !matches!(error.kind(), std::io::ErrorKind::WouldBlock);
            closed = dripping.write_all(&[byte]).is_err()
                || matches!(dripping.read(&mut [0; 1]), Ok(0))
                || dripping.peek(&mut [0; 1]).is_err_and(|error| ended(&error));
            if closed {
                break;
            }
        }
        closed
    });
    for _ in 0..5 {
        assert_eq!(bank.balance(1), 100_000);
    }
    assert!(is_closed(&mut silent));
    assert!(is_closed(&mut half));
    assert!(drip.join().unwrap(), "no frame takes 4,000 turns of 5 ms");
    let report = bank.stop();
    // The slow writer hits the HELLO or the frame deadline, whichever is checked first.
    let sockets = &report["sockets"];
    let closed = |what: &str| sockets[what].as_u64().unwrap();
    assert_eq!(closed("closed_no_hello") + closed("closed_slow_frame"), 3, "{report}");
}

#[test]
fn a_client_that_reads_late_gets_every_reply() {
    let bank = Bank::start("bank-tcp", "--accounts 2");
    let load = format!("load --server {} --accounts 2 --ops 1000 --only deposit", bank.address);
    assert_eq!(bank.lab.run(&load).code, 0);
    let mut stream = bank.connect();
    stream.write_all(&hello()).unwrap();
    let lease = read_frame(&mut stream).header.client;
    // Replies of some 16 kB each, far beyond any socket or session buffer.
    let page = Request::Transactions { account: AccountId(1), from_entry: 0, limit: 0 };
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for seq in 1..=2_000 {
            writer.write_all(&request(lease, seq, &page)).unwrap();
        }
    });
    // The bank answers others while this client does not read.
    assert!(bank.balance(1) > 100_000);
    for seq in 1..=2_000 {
        assert_eq!(read_frame(&mut stream).header.seq, seq);
    }
    writing.join().unwrap();
    bank.stop();
}

#[test]
fn a_client_that_never_reads_is_closed() {
    let bank = Bank::start("bank-tcp", "--accounts 2 --idle-timeout 1500ms");
    let load = format!("load --server {} --accounts 2 --ops 1000 --only deposit", bank.address);
    assert_eq!(bank.lab.run(&load).code, 0);
    let mut stream = bank.connect();
    stream.write_all(&hello()).unwrap();
    let lease = read_frame(&mut stream).header.client;
    let page = Request::Transactions { account: AccountId(1), from_entry: 0, limit: 0 };
    stream.set_write_timeout(Some(HUNG)).unwrap();
    // Writing fails once the buffers are full and the connection is closed.
    let cut_off = (1..=10_000_000)
        .find_map(|seq| stream.write_all(&request(lease, seq, &page)).err())
        .expect("no server takes ten million requests unread");
    assert_ne!(cut_off.kind(), std::io::ErrorKind::WouldBlock, "it hung");
    let report = bank.stop();
    assert_eq!(report["sockets"]["closed_unread"], 1, "{report}");
}

#[test]
fn a_client_without_a_place_gets_the_reason_until_one_is_free() {
    let bank = Bank::start("bank-tcp", "--max-connections 1");
    let refused = (0..POLLS_MAX).any(|_| {
        let _held = bank.connect();
        let out = bank.call("balance 1");
        out.code == 1 && out.stderr.contains("the bank takes no client: busy")
    });
    assert!(refused);
    // A connection that says nothing soon loses its place.
    let _silent = bank.connect();
    assert!((0..POLLS_MAX).any(|_| bank.call("balance 1").code == 0));
    let report = bank.stop();
    assert!(report["sockets"]["turned_away"].as_u64().unwrap() >= 1, "{report}");
    assert!(report["sockets"]["evicted"].as_u64().unwrap() >= 1, "{report}");
}

#[test]
fn a_datagram_client_without_a_lease_gets_the_reason() {
    let bank = Bank::start("bank-udp", "--max-clients 1");
    assert_eq!(bank.call("--seed 1 balance 1").code, 0);
    let out = bank.call("--seed 2 --deadline 300ms balance 1");
    assert_eq!(out.code, 1, "{}", out.stderr);
    assert!(out.stderr.contains("the bank takes no client: busy"), "{}", out.stderr);
    bank.stop();
}

/// A server under a lower limit on descriptors lowers its own.
fn limited(descriptors: u32) -> Bank {
    let lab = Lab::new("bank-tcp");
    let serve = lab.command("serve --listen 127.0.0.1:0 --json");
    let mut limited = Command::new("sh");
    let line = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    limited.args(["-c", &line]).arg(serve.get_program()).args(serve.get_args());
    Bank::from(lab, limited)
}

#[test]
fn silent_connections_give_way_where_descriptors_are_few() {
    let bank = limited(32);
    let held: Vec<TcpStream> = (0..40).map(|_| bank.connect()).collect();
    assert!((0..POLLS_MAX).any(|_| bank.call("balance 1").code == 0), "forty silent clients");
    let report = bank.stop();
    assert_eq!(report["sockets"]["accept_failures"], 0, "{report}");
    drop(held);
}

#[test]
fn accepting_resumes_after_descriptors_ran_out() {
    let bank = Bank::start("bank-tcp", "");
    let lower = format!("prlimit --pid {} --nofile=12:", bank.child.id());
    match Command::new("sh").args(["-c", &lower]).status() {
        Ok(status) if status.success() => {}
        _ => return println!("skipped: descriptors that run out, because there is no prlimit(1)"),
    }
    let held: Vec<TcpStream> = (0..40).map(|_| bank.connect()).collect();
    assert!((0..POLLS_MAX).any(|_| bank.call("balance 1").code == 0), "forty silent clients");
    drop(held);
    assert!((0..POLLS_MAX).any(|_| bank.call("balance 1").code == 0));
    assert!(bank.stop()["sockets"]["accept_failures"].as_u64().unwrap() >= 1);
}

/// A client that pipelines requests and reads replies as fast as it can, until it is cut off.
fn greedy(bank: &Bank) -> std::thread::JoinHandle<u64> {
    let mut stream = bank.connect();
    stream.write_all(&hello()).unwrap();
    let lease = read_frame(&mut stream).header.client;
    let mut writer = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        for seq in 1.. {
            let balance = Request::Balance { account: AccountId(1) };
            if writer.write_all(&request_acked(lease, seq, &balance)).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        let mut got = 0;
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            got += length as u64;
        }
        got
    })
}

/// A request that acknowledges all before it.
fn request_acked(client: u64, seq: u64, request: &Request) -> BytesMut {
    let mut bytes = BytesMut::new();
    let op = request.operation() as u8;
    let header =
        Header { op, client, seq, ack_upto: seq - 1, attempt: 1, ..Header::of(Kind::Request) };
    encode_request(&mut bytes, &header, request, 0);
    bytes
}

#[test]
fn a_greedy_stream_takes_no_answer_from_another() {
    for name in ["INT", "TERM"] {
        let bank = Bank::start("bank-tcp", "");
        let greedy = greedy(&bank);
        let load = format!("load --server {} --json --clients 1 --ops 200", bank.address);
        let out = bank.lab.run(&load);
        let document: Value = serde_json::from_str(&out.stdout).unwrap();
        assert_eq!((&document["done"], &document["unknown"]), (&200.into(), &0.into()));
        // `stop` waits for the exit, with the greedy client still sending.
        bank.stop_by(name);
        assert!(greedy.join().unwrap() > 64 * 200, "it was no load");
    }
}

#[test]
fn greedy_datagrams_take_no_answer_from_another() {
    let bank = Bank::start("bank-udp", "");
    let mut other = bank.lab.command(&format!(
        "load --server {} --json --clients 8 --depth 64 --for 60s --only balance",
        bank.address
    ));
    let mut other = other.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let load = format!("load --server {} --json --clients 1 --ops 200", bank.address);
    let out = bank.lab.run(&load);
    let document: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!((&document["done"], &document["unknown"]), (&200.into(), &0.into()), "{document}");
    bank.stop_by("TERM");
    other.kill().unwrap();
    other.wait().unwrap();
}

/// Two servers that were given no seed, and one that was.
#[test]
fn leases_are_unpredictable_unless_a_seed_is_given() {
    let lease = |flags: &str| {
        let lab = Lab::new("bank-udp");
        let serve = lab.command(&format!("serve --listen 127.0.0.1:0 --json {flags}"));
        let bank = Bank::from(lab, serve);
        bank.ask("--seed 1 balance 1")["lease"].as_str().unwrap().to_owned()
    };
    assert_ne!(lease(""), lease(""));
    assert_eq!(lease("--seed 5"), lease("--seed 5"));
    let lab = Lab::new("bank-udp");
    let mut serve = lab.command("serve --listen 127.0.0.1:0 --seed 5");
    let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    while !said.contains("Ctrl-C") {
        assert!(out.read_line(&mut said).unwrap() > 0, "{said}");
    }
    signal("TERM", &child);
    child.wait().unwrap();
    assert!(said.contains("seed 5: any client can predict the leases"), "{said}");
}

#[test]
fn hundreds_of_half_open_clients_do_not_hold_up_another() {
    let bank = Bank::start("bank-tcp", "--max-connections 2000");
    let mut held: Vec<TcpStream> = (0..400).map(|_| bank.connect()).collect();
    for stream in held.iter_mut().step_by(2) {
        stream.write_all(&hello()[..10]).unwrap();
    }
    let load = bank.lab.run(&format!("load --server {} --ops 2000 --json", bank.address));
    let document: Value = serde_json::from_str(&load.stdout).unwrap();
    assert_eq!((load.code, &document["unknown"]), (0, &0.into()), "{document}");
    let report = bank.stop();
    assert_eq!(report["sockets"]["turned_away"], 0, "{report}");
    drop(held);
}

#[test]
fn a_client_in_another_language_reads_its_deposit_back() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/bank_client.py");
    for (name, carrier) in [("bank-tcp", "tcp"), ("bank-udp", "udp")] {
        let bank = Bank::start(name, "");
        let (host, port) = bank.address.split_once(':').unwrap();
        let peer =
            Command::new("python3").args([script, carrier, host, port, "1234", "2"]).output();
        let Ok(peer) = peer else {
            return println!("skipped: this machine has no python3");
        };
        let said = String::from_utf8_lossy(&peer.stdout);
        assert!(peer.status.success(), "{name}: {said}");
        assert_eq!(bank.balance(2), 101_234, "{name}: {said}");
        bank.stop();
    }
}

#[test]
fn a_terminal_gets_colour_unless_disabled() {
    let lab = Lab::new("bank-tcp");
    let program = lab.command("").get_program().to_string_lossy().into_owned();
    // `script` gives the lab a terminal.
    let run = |no_color: &str| {
        let typed = format!("{program} call --server 127.0.0.1:1 balance 1");
        let mut script = Command::new("script");
        script.args(["-qec", &typed, "/dev/null"]).env("NO_COLOR", no_color).env("TERM", "xterm");
        script.stdin(Stdio::null()).output()
    };
    let (Ok(colour), Ok(plain)) = (run(""), run("1")) else {
        return println!("skipped: this machine has no script(1)");
    };
    let (colour, plain) =
        (String::from_utf8_lossy(&colour.stdout), String::from_utf8_lossy(&plain.stdout));
    assert!(colour.contains("\x1b[1;31mbank-tcp:") && plain.contains("bank-tcp:"), "{colour}");
    assert!(!plain.contains('\x1b') && !plain.contains("panicked"), "{plain}");
}

/// The examples of a help text: the text after the name of the lab, before the remark.
fn examples(lab: &Lab, name: &str) -> Vec<String> {
    let help = lab.run("--help").stdout;
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    let commands = lines.take_while(|line| !line.trim().is_empty()).filter_map(|line| {
        let command = line.trim_start().strip_prefix(name)?;
        Some(command.split("   ").next().unwrap_or(command).trim().to_owned())
    });
    commands.collect()
}

#[test]
fn help_leads_with_examples_that_work() {
    for name in LABS {
        let bank = Bank::start(name, "");
        let examples = examples(&bank.lab, name);
        assert!(examples.len() >= 6, "{examples:?}");
        assert!(examples.iter().any(|example| example == "serve"));
        for example in examples.iter().filter(|example| *example != "serve") {
            let (what, rest) = example.split_once(' ').unwrap();
            let out = bank.lab.run(&format!("{what} --server {} {rest}", bank.address));
            assert_eq!(out.code, 0, "{name} {example}: {}", out.stderr);
        }
        let help = bank.lab.run("help exit-codes").stdout;
        assert!(help.contains("Exit codes:") && help.contains("130"), "{help}");
        for what in ["completions:bash", "completions:zsh", "man"] {
            let out = bank.lab.run(&format!("--generate {what}"));
            assert_eq!(out.code, 0, "{what}: {}", out.stderr);
            assert!(out.stdout.contains("serve"), "{what}");
        }
        bank.stop();
    }
}

#[test]
fn serve_reports_its_address_and_totals() {
    for name in LABS {
        let lab = Lab::new(name);
        let refused = lab.run("serve --listen 0.0.0.0:0");
        assert_eq!(refused.code, 2, "{name}: {}", refused.stdout);
        assert!(refused.stderr.contains("0.0.0.0:0 --beyond-loopback"), "{}", refused.stderr);
        let mut serve = lab.command("serve --listen 0.0.0.0:0 --beyond-loopback");
        let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("Ctrl-C") {
            assert!(out.read_line(&mut said).unwrap() > 0, "{said}");
        }
        let command = said.lines().find_map(|line| line.split_once("terminal:")).unwrap().1.trim();
        let typed = command.strip_prefix(name).unwrap();
        assert_eq!(lab.run(typed).code, 0, "{typed}");
        signal("INT", &child);
        let mut report = String::new();
        out.read_to_string(&mut report).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let tells = report.contains("1 deposit") && report.contains("balanced");
        assert!(tells, "{report}");
        let mut warned = String::new();
        child.stderr.take().unwrap().read_to_string(&mut warned).unwrap();
        assert!(warned.contains("no authentication"), "{warned}");
    }
}
