//! Authenticated time: replies without proof, with another's proof, or with a spoiled one.
//!
//! None may stand in for the server's own, and none may end a query that the good one saves; real
//! chronyd is the other side of the rest.
#![expect(clippy::print_stdout, reason = "a skipped test says why; --show-output shows it")]

use clock_offset::client::{Client, ClientConfig, Ended, Event, FRUITLESS_KEYS_MAX, NtsCounts};
use clock_offset::driver::ke::KeyServer;
use clock_offset::nts::aead::{Key, Keys};
use clock_offset::nts::field::{AUTHENTICATOR, COOKIE, UNIQUE_ID, authenticate, push};
use clock_offset::nts::record::Response;
use clock_offset::nts::server::{Authenticity, Master};
use clock_offset::nts::session::{REQUEST_MAX, Session};
use clock_offset::packet::{HEADER_LEN, Header, Leap, Packet, ReferenceId};
use clock_offset::sample::{Arrival, TimePair};
use clock_offset::server::{ServerConfig, reply};
use clock_offset::timestamp::WallTime;
use serde_json::Value;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::measure::draw::keyed;
use wirelab_tests::lab::{Lab, new_folder};

const WAY: Duration = Duration::from_millis(5);

fn server() -> SocketAddr {
    "192.0.2.1:123".parse().unwrap()
}

fn clocks(at: Instant) -> TimePair {
    let start = WallTime::from_nanos(1_795_000_000_000_000_000);
    TimePair {
        wall: start.plus(i64::try_from(at.as_nanos()).unwrap()),
        at,
        width_ns: 60,
        slept_ns: 0,
    }
}

fn keys() -> Keys {
    Keys { c2s: Key::new([1; 32]), s2c: Key::new([2; 32]) }
}

/// Bytes that differ at every call.
fn draw(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut count = 0;
    move |bytes| {
        for byte in bytes {
            count += 1;
            *byte = keyed(seed, count).to_be_bytes()[0];
        }
    }
}

/// A client with keys, and the server that it shares them with.
struct Bench {
    client: Client,
    master: Master,
    now: Instant,
    request: u32,
    bytes: Vec<u8>,
}

impl Bench {
    fn new(requests: u32) -> Self {
        let master = Master::new([9; 32]);
        let request = clock_offset::nts::record::request();
        let response = master.establish(&request, &keys(), 123, &mut draw(1));
        let session = Session::new(keys(), Response::read(&response).unwrap().cookies);
        let config = ClientConfig { requests: Some(requests), ..ClientConfig::default() };
        let now = Instant::from_nanos(1_000_000_000);
        let client = Client::new(server(), config, now).authenticated(session);
        let mut bench = Self { client, master, now, request: 0, bytes: Vec::new() };
        assert!(bench.ask());
        bench
    }

    /// The next request, if one is sent.
    fn ask(&mut self) -> bool {
        let seed = u64::from(self.request) + 77;
        let Some(sent) = self.client.poll_transmit(self.now, seed) else { return false };
        self.client.handle_sent(sent.request, 40_000, clocks(self.now));
        (self.request, self.bytes) = (sent.request, sent.bytes);
        true
    }

    fn header(&self) -> [u8; HEADER_LEN] {
        let t2 = clocks(self.now + WAY).wall;
        let config = ServerConfig { stratum: 2, precision_log2_s: -25, ..ServerConfig::default() };
        reply(&config, &self.bytes, t2, t2.plus(20_000)).unwrap()
    }

    /// Reply of the honest server.
    fn honest(&self, seed: u64) -> Vec<u8> {
        let Ok(Authenticity::Proved(asked)) = self.master.judge(&self.bytes) else {
            panic!("the server does not believe an honest request")
        };
        let bytes = self.master.prove(&asked, &self.header(), &mut draw(seed));
        assert!(bytes.len() <= self.bytes.len(), "more bytes than were asked with");
        bytes
    }

    fn receive(&mut self, bytes: &[u8]) {
        let at = self.now + 2 * WAY;
        let arrival = Arrival { user: clocks(at), kernel: None };
        self.client.handle_datagram(at, self.request, server(), bytes, &arrival);
    }

    /// Names of refusals, and how many samples.
    fn told(&mut self) -> (Vec<&'static str>, usize) {
        let (mut refused, mut samples) = (Vec::new(), 0);
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Refused { refusal, .. } => {
                    assert!(refusal.section().starts_with("RFC "), "{refusal}");
                    refused.push(refusal.name());
                }
                Event::Sample(sample) => {
                    assert!(sample.record.authenticated);
                    samples += 1;
                }
                _ => {}
            }
        }
        (refused, samples)
    }

    fn nts(&self) -> NtsCounts {
        self.client.counts().nts.unwrap()
    }

    /// The unique identifier that the reply must have.
    fn unique_id(&self) -> Vec<u8> {
        self.bytes[HEADER_LEN + 4..HEADER_LEN + 36].to_vec()
    }

    /// The header with a unique identifier, before an authenticator.
    fn begun(&self, id: &[u8]) -> Vec<u8> {
        let mut out = self.header().to_vec();
        push(&mut out, UNIQUE_ID, id);
        out
    }
}

/// A kiss with this code and the identifier of the request, without proof.
fn kiss(bench: &Bench, code: [u8; 4]) -> Vec<u8> {
    let header = Packet::open(&bench.header()).unwrap().header;
    let header = Header {
        stratum: 0,
        reference_id: ReferenceId(code),
        leap: Leap::Unsynchronized,
        ..header
    };
    let mut out = header.encode().to_vec();
    push(&mut out, UNIQUE_ID, &bench.unique_id());
    out
}

/// A bad reply: what it is, its bytes, its reason.
type Bad = (&'static str, Vec<u8>, &'static str);

fn bad_replies(bench: &Bench) -> Vec<Bad> {
    let honest = bench.honest(5);
    let id = bench.unique_id();
    let with = |id: &[u8], key: &Key| {
        let mut out = bench.begun(id);
        authenticate(&mut out, key, &[3; 16], &[]);
        out
    };
    let flipped = |at: usize| {
        let mut bytes = honest.clone();
        bytes[at] ^= 1;
        bytes
    };
    let authenticator = |value: &[u8]| {
        let mut out = bench.begun(&id);
        push(&mut out, AUTHENTICATOR, value);
        out
    };
    let mut late = bench.begun(&id);
    late.truncate(HEADER_LEN);
    authenticate(&mut late, &keys().s2c, &[3; 16], &[]);
    push(&mut late, UNIQUE_ID, &id);
    let mut twice = bench.begun(&id);
    push(&mut twice, UNIQUE_ID, &id);
    authenticate(&mut twice, &keys().s2c, &[3; 16], &[]);
    let mut encrypted = bench.begun(&id);
    authenticate(&mut encrypted, &keys().s2c, &[3; 16], &[1, 4, 0, 99]);
    let mut unencrypted = bench.begun(&id);
    push(&mut unencrypted, COOKIE, &[7; 96]);
    vec![
        ("no extension field", bench.header().to_vec(), "nts_no_unique_id"),
        ("the authenticator stripped", bench.begun(&id), "nts_no_authenticator"),
        ("a cookie in the clear instead", unencrypted, "nts_no_authenticator"),
        ("another unique identifier", with(&[8; 32], &keys().s2c), "nts_unique_id"),
        ("a shorter unique identifier", with(&id[..28], &keys().s2c), "nts_unique_id"),
        ("the identifier twice", twice, "nts_unique_id"),
        ("the identifier after the proof", late, "nts_no_unique_id"),
        ("the client's own key", with(&id, &keys().c2s), "nts_forged"),
        ("another key", with(&id, &Key::new([4; 32])), "nts_forged"),
        ("a changed root delay", flipped(5), "nts_forged"),
        ("a changed T2", flipped(39), "nts_forged"),
        ("a changed T3", flipped(47), "nts_forged"),
        ("a changed nonce", flipped(HEADER_LEN + 36 + 8), "nts_forged"),
        ("a changed tag", flipped(HEADER_LEN + 36 + 24), "nts_forged"),
        ("a changed cookie", flipped(honest.len() - 1), "nts_forged"),
        ("no nonce", authenticator(&[0; 28]), "nts_authenticator"),
        ("a nonce beyond the end", authenticator(&[255; 28]), "nts_authenticator"),
        ("fields that do not add up", [bench.begun(&id), vec![0; 30]].concat(), "nts_fields"),
        ("encrypted bytes that are no field", encrypted, "nts_encrypted"),
        ("RATE without proof", kiss(bench, *b"RATE"), "nts_no_authenticator"),
        ("DENY without proof", kiss(bench, *b"DENY"), "nts_no_authenticator"),
        ("a NAK", kiss(bench, *b"NTSN"), "nts_nak"),
        ("our own request", bench.bytes.clone(), "no_origin"),
    ]
}

#[test]
fn nothing_unproved_stands_in_for_what_is_proved() {
    let count = bad_replies(&Bench::new(1)).len();
    assert!(count >= 20, "{count}");
    for index in 0..count {
        let mut bench = Bench::new(1);
        let (what, bytes, reason) = bad_replies(&bench).swap_remove(index);
        bench.receive(&bytes);
        assert_eq!(bench.told(), (vec![reason], 0), "{what}");
        assert_eq!(bench.nts().proved, 0, "{what}");
        assert!(!bench.client.is_ended(), "{what} must not end the query");
        let good = bench.honest(5);
        bench.receive(&good);
        assert_eq!(bench.told(), (vec![], 1), "{what}, then the good one");
        let ended = bench.client.is_ended();
        assert!(ended, "{what}");
    }
}

#[test]
fn a_replay_of_another_request_is_of_no_use() {
    let mut bench = Bench::new(3);
    let first = bench.honest(5);
    bench.receive(&first);
    bench.receive(&first);
    assert_eq!(bench.told(), (vec!["duplicate"], 1));
    // Its cookies came once.
    assert_eq!((bench.nts().proved, bench.nts().cookies_received), (1, 1));
    bench.now += Duration::from_secs(2);
    assert!(bench.ask());
    // Bit by bit the old reply, with the new origin: who copies the origin breaks the proof.
    let mut replayed = first.clone();
    replayed[24..32].copy_from_slice(&bench.bytes[40..48]);
    bench.receive(&first);
    bench.receive(&replayed);
    assert_eq!(bench.told(), (vec!["origin", "nts_unique_id"], 0));
    replayed[HEADER_LEN + 4..HEADER_LEN + 36].copy_from_slice(&bench.unique_id());
    bench.receive(&replayed);
    assert_eq!(bench.told(), (vec!["nts_forged"], 0));
}

#[test]
fn no_cookie_is_sent_twice_and_lost_ones_are_asked_for_again() {
    let mut bench = Bench::new(40);
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..40_u64 {
        let packet = Packet::open(&bench.bytes).unwrap();
        let fields = packet.fields().unwrap();
        let cookie = fields.iter().find(|field| field.kind == COOKIE).unwrap().value.to_vec();
        assert!(seen.insert(cookie), "request {number} has a cookie that was sent before");
        assert!(bench.bytes.len() <= REQUEST_MAX);
        // Three of four are lost.
        if number % 4 == 3 {
            let good = bench.honest(number + 100);
            bench.receive(&good);
            assert_eq!(bench.nts().cookies_left, 8, "placeholders bring back what was lost");
        }
        bench.now += Duration::from_secs(64);
        bench.client.handle_timeout(bench.now);
        assert_eq!(bench.ask(), number < 39, "{number}");
    }
    assert_eq!(bench.nts().key_exchanges, 1);
}

#[test]
fn without_cookies_nothing_is_sent_until_there_are_new_keys() {
    let mut bench = Bench::new(20);
    for _ in 0..7 {
        bench.now += Duration::from_secs(64);
        bench.client.handle_timeout(bench.now);
        assert!(bench.ask());
    }
    bench.now += Duration::from_secs(64);
    bench.client.handle_timeout(bench.now);
    assert!(!bench.ask() && !bench.ask() && !bench.client.is_ended());
    let asked = std::iter::from_fn(|| bench.client.poll_event());
    assert_eq!(asked.filter(|event| *event == Event::KeysNeeded).count(), 1);
    assert_eq!(bench.client.poll_timeout(), None, "only keys end the wait");
    let mut without = Bench { client: std::mem::replace(&mut bench.client, other()), ..bench };
    without.client.handle_keys(without.now, None);
    let ended: Vec<_> = std::iter::from_fn(|| without.client.poll_event()).collect();
    assert_eq!(ended.last(), Some(&Event::Ended(Ended::NoKeys)));
}

/// Any client.
fn other() -> Client {
    Client::new(server(), ClientConfig::default(), Instant::ZERO)
}

#[test]
fn a_nak_brings_new_keys_only_where_no_good_reply_follows() {
    let wants_keys = |good: bool| {
        let mut bench = Bench::new(3);
        let nak = kiss(&bench, *b"NTSN");
        bench.receive(&nak);
        if good {
            let honest = bench.honest(5);
            bench.receive(&honest);
        }
        bench.now += Duration::from_secs(2);
        let sent = bench.ask();
        let mut events = std::iter::from_fn(|| bench.client.poll_event());
        (sent, events.any(|event| event == Event::KeysNeeded))
    };
    assert_eq!(wants_keys(true), (true, false));
    assert_eq!(wants_keys(false), (false, true));
    // The server of the demonstration says NAK to cookies of another master.
    let bench = Bench::new(1);
    let Ok(Authenticity::Refused(nak)) = Master::new([10; 32]).judge(&bench.bytes) else {
        panic!("a foreign cookie was accepted")
    };
    let mut bench = bench;
    bench.receive(&nak);
    assert_eq!(bench.told(), (vec!["nts_nak"], 0));
}

/// Asks until the client ends or has asked so often; every request gets a NAK, but the `good`-th.
/// Gives how often keys were agreed on, and the end.
fn under_naks(asked: u32, good: Option<u32>) -> (u32, Option<Ended>) {
    let mut bench = Bench::new(100);
    for number in 1..=asked {
        if good == Some(number) {
            let honest = bench.honest(u64::from(number));
            bench.receive(&honest);
        } else {
            let nak = kiss(&bench, *b"NTSN");
            bench.receive(&nak);
        }
        bench.now += Duration::from_secs(70);
        bench.client.handle_timeout(bench.now);
        if bench.ask() {
            continue;
        }
        let mut ended = None;
        while let Some(event) = bench.client.poll_event() {
            match event {
                Event::Ended(why) => ended = Some(why),
                Event::KeysNeeded => {
                    let request = clock_offset::nts::record::request();
                    let seed = 1_000 + u64::from(number);
                    let response = bench.master.establish(&request, &keys(), 123, &mut draw(seed));
                    let cookies = Response::read(&response).unwrap().cookies;
                    bench.client.handle_keys(bench.now, Some(Session::new(keys(), cookies)));
                }
                _ => {}
            }
        }
        if ended.is_some() {
            return (bench.nts().key_exchanges, ended);
        }
        assert!(bench.ask());
    }
    (bench.nts().key_exchanges, None)
}

#[test]
fn a_server_that_refuses_its_own_cookies_for_ever_is_given_up() {
    let given_up = (FRUITLESS_KEYS_MAX, Some(Ended::KeysOfNoUse));
    assert_eq!(under_naks(50, None), given_up);
    // One proved reply shows that keys are of use.
    let (exchanges, ended) = under_naks(50, Some(3));
    assert_eq!(ended, Some(Ended::KeysOfNoUse));
    assert!(exchanges > FRUITLESS_KEYS_MAX, "{exchanges}");
    assert_eq!(under_naks(2, None), (3, None));
}

#[test]
fn the_demonstration_proves_every_reply() {
    let lab = Lab::new("clock-offset");
    let out = lab.run("--demo --nts --seed 3 --json");
    assert_eq!(out.code, 0, "{}{}", out.stdout, out.stderr);
    let found: Value = serde_json::from_str(&out.stdout).unwrap();
    let counts = &found["servers"][0]["counts"];
    assert_eq!(counts["nts"]["proved"], counts["samples"], "{counts}");
    assert_eq!(found["checked"]["inside"], true, "{}", found["checked"]);
    assert_eq!(found["servers"][0]["samples"][0]["authenticated"], true);
    let schema = serde_json::from_str(clock_offset::report::text::schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> =
        schema.iter_errors(&found).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(faults, Vec::<String>::new());
    let text = lab.run("--demo --nts --explain --requests 2").stdout;
    assert!(text.contains("(NTS, RFC 8915); 2 had it; keys agreed once"), "{text}");
    assert!(text.contains("no reply was refused"), "{text}");
}

/// chronyd as an NTS server, with a certificate of an authority of its own.
struct Chronyd {
    child: Child,
    folder: PathBuf,
    ke_port: u16,
    ntp_port: u16,
}

/// Two names that a certificate may have, each reached on loopback.
const HOSTS: [&str; 2] = ["127.0.0.1", "[::1]"];

impl Chronyd {
    /// `None` where there is none, which is said.
    fn start() -> Option<Self> {
        if !Path::new("/usr/sbin/chronyd").exists() {
            println!("skipped: chronyd is not installed, NTS was held against ourselves alone");
            return None;
        }
        let folder = new_folder("nts");
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(folder.join("cert.pem"), pem("CERTIFICATE", made.cert.der())).unwrap();
        let key = made.signing_key.serialize_der();
        std::fs::write(folder.join("key.pem"), pem("PRIVATE KEY", &key)).unwrap();
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ntp_port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let ke_port = free().port();
        let child = Self::spawn(&folder, ke_port, ntp_port);
        Some(Self { child, folder, ke_port, ntp_port })
    }

    fn spawn(folder: &Path, ke_port: u16, ntp_port: u16) -> Child {
        let shown = folder.display();
        let config = format!(
            "port {ntp_port}\nntsport {ke_port}\nbindaddress 127.0.0.1\nbindaddress ::1\nallow\n\
             local stratum 5\ncmdport 0\nbindcmdaddress /\npidfile {shown}/pid\nntsprocesses 1\n\
             ntsservercert {shown}/cert.pem\nntsserverkey {shown}/key.pem\n"
        );
        let file = folder.join("chrony.conf");
        std::fs::write(&file, config).unwrap();
        let user = Command::new("id").arg("-un").output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap();
        Command::new("/usr/sbin/chronyd")
            .args(["-x", "-d", "-U", "-u", user.trim(), "-f"])
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap()
    }

    /// Asked until it has keys: it takes a moment to start.
    fn ask(&mut self, lab: &Lab, host: &str, flags: &str) -> Value {
        // Each attempt waits for a connection to be refused, or for keys.
        const ATTEMPTS: usize = 300;
        let ca = self.folder.join("cert.pem");
        let args = format!("nts://{host}:{} --nts-ca {} {flags}", self.ke_port, ca.display());
        for _ in 0..ATTEMPTS {
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap();
                panic!("chronyd ended, {status}: {log}");
            }
            let out = lab.run(&format!("{args} --interval 50ms --json"));
            if out.code != 5 {
                return serde_json::from_str(&out.stdout).unwrap();
            }
        }
        panic!("chronyd on port {} never gave keys", self.ke_port);
    }

    fn end(&mut self) {
        let kill = format!("kill -TERM {}", self.child.id());
        Command::new("sh").args(["-c", &kill]).status().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Chronyd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

/// RFC 7468, by hand: the certificate maker is built without it.
fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for part in line.chunks(3) {
            let bits = part.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
            let bits = bits << (8 * (3 - part.len()));
            for place in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
                text.push(if place > part.len() { '=' } else { char::from(digit) });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[test]
fn a_real_chronyd_gives_keys_and_proves_its_time() {
    let lab = Lab::new("clock-offset");
    let Some(mut chronyd) = Chronyd::start() else { return };
    for host in HOSTS {
        if host == "[::1]" && UdpSocket::bind("[::1]:0").is_err() {
            println!("skipped: this machine has no IPv6 on loopback");
            continue;
        }
        let found = chronyd.ask(&lab, host, "");
        assert_eq!(found["verdict"], "usable", "{found:#}");
        let interval = &found["together"]["interval"];
        let end = |name: &str| interval[name].as_i64().unwrap();
        // It shares this host's clock, so the truth is zero.
        assert!(end("low_ns") <= 0 && 0 <= end("high_ns"), "{host}: {interval}");
        let counts = &found["servers"][0]["counts"];
        assert_eq!(counts["nts"]["proved"], counts["samples"], "{counts}");
        assert_eq!(counts["nts"]["key_exchanges"], 1, "{counts}");
        assert_eq!(counts["refused"], serde_json::json!({}));
    }
    // A client that trusts another authority gets no keys, and sends no request.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(lab.folder.join("other.pem"), pem("CERTIFICATE", other.cert.der())).unwrap();
    let out = lab.run(&format!("nts://localhost:{} --nts-ca other.pem", chronyd.ke_port));
    assert_eq!(out.code, 5, "{}{}", out.stdout, out.stderr);
    assert!(out.stderr.contains("invalid peer certificate"), "{}", out.stderr);
    // NTP's own port speaks no TLS.
    let out = lab.run(&format!("nts://localhost:{} --nts-ca other.pem", chronyd.ntp_port));
    assert_eq!(out.code, 5, "{}{}", out.stdout, out.stderr);
}

#[test]
fn a_chronyd_that_has_lost_its_keys_gives_new_ones() {
    let lab = Lab::new("clock-offset");
    let Some(mut chronyd) = Chronyd::start() else { return };
    chronyd.ask(&lab, "127.0.0.1", "--requests 1");
    // It restarts, and knows no earlier cookie (ntsdumpdir is not set).
    let ca = chronyd.folder.join("cert.pem");
    let (port, shown) = (chronyd.ke_port, ca.display());
    let args = format!("nts://127.0.0.1:{port} --nts-ca {shown} --interval 200ms --watch --json");
    let mut command = lab.command(&args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert!(line.contains("\"authenticated\":true"), "{line}");
    chronyd.end();
    chronyd.child = Chronyd::spawn(&chronyd.folder, chronyd.ke_port, chronyd.ntp_port);
    // Replies that are proved come again, with requests that the old chronyd never saw.
    let mut proved = 0;
    while proved < 5 {
        line.clear();
        let read = std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert!(read > 0, "it ended before new keys came");
        proved += u32::from(line.contains("\"authenticated\":true"));
    }
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
    let last: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    let counts = &last["servers"][0]["counts"];
    assert!(counts["nts"]["key_exchanges"].as_u64() >= Some(1), "{counts}");
    assert_eq!(counts["nts"]["proved"], counts["samples"], "{counts}");
}

/// Silent clients hold every place of the key server; another gets its keys.
#[test]
fn silent_clients_do_not_shut_others_out_of_key_establishment() {
    let server = KeyServer::start(Master::new([9; 32]), 123).unwrap();
    let held: Vec<TcpStream> =
        (0..40).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let source = server.source().unwrap();
    // A place is free once a silent client has had its 100 ms to ask; refusals are fast.
    assert!((0..100_000).any(|_| source.establish().is_ok()));
    drop((server, held));
}

#[test]
fn a_greedy_client_takes_no_keys_from_another() {
    let server = KeyServer::start(Master::new([9; 32]), 123).unwrap();
    let (greedy, honest) = (server.source().unwrap(), server.source().unwrap());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = greedy.establish();
            }
        });
        let got = (0..20).filter(|_| honest.establish().is_ok()).count();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(got, 20);
    });
}
