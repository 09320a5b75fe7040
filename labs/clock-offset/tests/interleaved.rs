//! Interleaved mode (RFC 9769): between our own cores, with a real chronyd, and against liars.
#![expect(clippy::print_stdout, reason = "a skipped test says why; --show-output shows it")]

use crate::usage::{Chronyd, Server, interval, json, lab};
use clock_offset::client::{Client, ClientConfig, Event};
use clock_offset::interleaved::Memory;
use clock_offset::packet::{Header, Packet};
use clock_offset::sample::{Arrival, Sample, StampedBy, TimePair};
use clock_offset::server::{ServerConfig, reply_by};
use clock_offset::timestamp::{NtpTimestamp, WallTime};
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab_tests::lab::new_folder;

/// The server's clock is ahead by this.
const AHEAD: i64 = 3_000_000_000;
/// Each way.
const WAY: Duration = Duration::from_millis(10);
/// From a stamp of the server's program to the reply's leaving.
const LATE: i64 = 40_000;

const fn server() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 123)
}

fn clocks(at: Instant) -> TimePair {
    let start = WallTime::from_nanos(1_795_000_000_000_000_000);
    TimePair { wall: start.plus(i64::try_from(at.as_nanos()).unwrap()), at, ..TimePair::default() }
}

/// A client in interleaved mode and a server that remembers, both with times of leaving that are
/// later than their programs' stamps.
struct Pair {
    client: Client,
    memory: Memory,
    now: Instant,
    sent: u32,
}

impl Pair {
    fn new() -> Self {
        let config = ClientConfig { requests: None, interleaved: true, ..ClientConfig::default() };
        let now = Instant::from_nanos(1_000_000_000);
        Self { client: Client::new(server(), config, now), memory: Memory::default(), now, sent: 0 }
    }

    /// The next request, stamped by program and kernel.
    fn ask(&mut self) -> Vec<u8> {
        while let Some(at) = self.client.poll_timeout() {
            self.now = self.now.max(at);
            self.client.handle_timeout(self.now);
            let random = 1_000 + u64::from(self.sent);
            if let Some(transmit) = self.client.poll_transmit(self.now, random) {
                self.sent = transmit.request;
                let t1 = clocks(self.now);
                self.client.handle_sent(self.sent, 40_000, t1);
                self.client.handle_left(self.sent, t1.wall.plus(LATE));
                return transmit.bytes;
            }
        }
        panic!("the client has ended");
    }

    /// What the server says; its reply leaves later than it says.
    fn answer(&mut self, request: &[u8]) -> Header {
        let t2 = clocks(self.now + WAY).wall.plus(LATE + AHEAD);
        let t3 = t2.plus(20_000);
        let config = ServerConfig::default();
        let (bytes, said) = reply_by(&mut self.memory, &config, request, t2, t3).unwrap();
        if said.remembered {
            self.memory.handle_sent(said.receive, NtpTimestamp::at(t3.plus(LATE)));
        }
        Packet::open(&bytes).unwrap().header
    }

    fn bring(&mut self, header: &Header) -> Vec<Event> {
        let after = WAY * 2 + Duration::from_nanos(2 * LATE as u64 + 20_000);
        let user = clocks(self.now + after);
        let arrival = Arrival { user, kernel: None };
        self.client.handle_datagram(user.at, self.sent, server(), &header.encode(), &arrival);
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn exchange(&mut self) -> Sample {
        let request = self.ask();
        let header = self.answer(&request);
        match &self.bring(&header)[..] {
            [.., Event::Sample(sample)] => sample.clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_third_reply_is_the_first_that_tells_and_takes_both_programs_out_of_the_delay() {
    let mut pair = Pair::new();
    let samples: Vec<Sample> = (0..5).map(|_| pair.exchange()).collect();
    let told: Vec<_> =
        samples.iter().map(|sample| (sample.record.request, sample.record.interleaved)).collect();
    assert_eq!(told, [(1, false), (2, false), (2, true), (3, true), (4, true)]);
    assert_eq!(pair.client.counts().interleaved, 3);
    for sample in &samples {
        let by = if sample.record.interleaved { StampedBy::Kernel } else { StampedBy::User };
        assert_eq!(sample.record.t1_by, by);
        assert!(sample.low_ns() <= AHEAD && AHEAD <= sample.high_ns(), "{sample:?}");
        let programs = if sample.record.interleaved { 0 } else { 2 * LATE };
        let delay = i64::try_from(2 * WAY.as_nanos()).unwrap() + programs;
        assert!((sample.delay_ns() - delay).abs() <= 2, "{sample:?}");
    }
}

/// Makes a bad reply of a good one.
type Spoil = fn(Header) -> Header;

#[test]
fn what_is_wrong_in_an_interleaved_reply_has_a_name_and_ends_nothing() {
    let past = |time: NtpTimestamp, seconds: u64| {
        NtpTimestamp::from_bits(time.bits().wrapping_sub(seconds << 32))
    };
    let cases: [(&str, Spoil); 6] = [
        ("origin", |good| Header { origin: NtpTimestamp::from_bits(77), ..good }),
        ("no_origin", |good| Header { origin: NtpTimestamp::NONE, ..good }),
        ("no_receive", |good| Header { receive: NtpTimestamp::NONE, ..good }),
        ("no_transmit", |good| Header { transmit: NtpTimestamp::NONE, ..good }),
        ("stratum", |good| Header { stratum: 16, ..good }),
        // The time at which this very reply was made: of another exchange than the one named.
        ("negative_delay", |good| Header { transmit: good.receive, ..good }),
    ];
    for (name, spoil) in cases {
        let mut pair = Pair::new();
        pair.exchange();
        pair.exchange();
        let request = pair.ask();
        let good = pair.answer(&request);
        let refused = pair.bring(&spoil(good));
        let named = matches!(&refused[..], [.., Event::Refused { refusal, .. }]
            if refusal.name() == name);
        assert!(named, "{name}: {refused:?}");
        assert!(matches!(&pair.bring(&good)[..], [Event::Sample(_)]), "{name}");
    }
    let mut pair = Pair::new();
    pair.exchange();
    pair.exchange();
    let request = pair.ask();
    let good = pair.answer(&request);
    let early = Header { transmit: past(good.transmit, 1), ..good };
    let refused = pair.bring(&early);
    assert!(
        matches!(&refused[..], [.., Event::Refused { refusal, .. }]
            if refusal.name() == "backwards"),
        "{refused:?}"
    );
}

#[test]
fn an_exchange_is_named_a_few_times_and_then_basic_mode_begins_again() {
    let mut pair = Pair::new();
    pair.exchange();
    let named: Vec<bool> =
        (0..6).map(|_| !Packet::open(&pair.ask()).unwrap().header.origin.is_none()).collect();
    assert_eq!(named, [true, true, true, true, false, false]);
    assert!(!pair.exchange().record.interleaved);
    pair.exchange();
    assert!(pair.exchange().record.interleaved);
}

proptest! {
    /// Replies are lost, late, doubled, forged, and the server forgets: what is believed is true.
    #[test]
    fn what_is_believed_is_true(steps in prop::collection::vec((0_u8..6, any::<u64>()), 1..60)) {
        let mut pair = Pair::new();
        let mut samples: Vec<Sample> = Vec::new();
        for (step, bits) in steps {
            let request = pair.ask();
            let mut keep = |events: Vec<Event>| {
                for event in events {
                    if let Event::Sample(sample) = event {
                        samples.push(sample);
                    }
                }
            };
            if step == 1 {
                pair.memory = Memory::default();
            }
            let good = pair.answer(&request);
            match step {
                2 => {}
                3 => {
                    let origin = NtpTimestamp::from_bits(bits);
                    keep(pair.bring(&Header { origin, ..good }));
                }
                4 => {
                    keep(pair.bring(&good));
                    keep(pair.bring(&good));
                }
                _ => keep(pair.bring(&good)),
            }
        }
        for sample in &samples {
            prop_assert!(sample.low_ns() <= AHEAD && AHEAD <= sample.high_ns(), "{:?}", sample);
        }
        let told: Vec<u32> =
            samples.iter().filter(|s| s.record.interleaved).map(|s| s.record.request).collect();
        prop_assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "each once: {:?}", told);
    }
}

#[test]
fn our_own_server_tells_when_its_replies_left() {
    let server = Server::start("--listen 127.0.0.1:0 --offset 2s");
    let out = server.ask("--interleaved --requests 10");
    assert_eq!(out.code, 0, "{}{}", out.stdout, out.stderr);
    let told = "8 of 10 replies reported when the previous one left";
    assert!(out.stdout.contains(told), "{}", out.stdout);
    let found = json(&server.ask("--interleaved --requests 10 --json"));
    let (low, high) = interval(&found);
    assert!(low <= 2_000_000_000 && 2_000_000_000 <= high, "{low} to {high}");
    let samples = found["servers"][0]["samples"].as_array().unwrap();
    let told: Vec<_> = samples.iter().filter(|s| s["interleaved"] == true).collect();
    assert_eq!(told.len(), 8, "{found:#}");
    assert!(told.iter().all(|sample| sample["t1_by"] == "kernel"), "{found:#}");
    assert_eq!(server.stop()["counts"]["interleaved"], 16);
}

#[test]
fn replies_that_are_sent_in_one_call_each_tell_their_own_departure() {
    let server = Server::start("--listen 127.0.0.1:0");
    let clients: [UdpSocket; 8] = std::array::from_fn(|_| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", server.port())).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket
    });
    let mut named = [NtpTimestamp::NONE; 8];
    let mut told = Vec::new();
    for round in 1..=3_u64 {
        // Stopped, it finds them all at once.
        server.signal("STOP");
        for (number, (socket, origin)) in (1_u64..).zip(clients.iter().zip(named)) {
            let nonce = |kind| NtpTimestamp::from_bits((round << 32) + (number << 8) + kind);
            let receive = if origin.is_none() { NtpTimestamp::NONE } else { nonce(2) };
            let request = Header { origin, receive, ..Header::request(nonce(4)) };
            socket.send(&request.encode()).unwrap();
        }
        server.signal("CONT");
        for (socket, named) in clients.iter().zip(&mut named) {
            let mut bytes = [0; 48];
            assert_eq!(socket.recv(&mut bytes).unwrap(), 48);
            let header = Packet::open(&bytes).unwrap().header;
            *named = header.receive;
            // The third round asks when the replies of the second left, by our second nonce.
            let interleaved = header.origin.bits() & 0xff == 2;
            told.extend(interleaved.then_some(header.transmit.bits()));
        }
    }
    // Two may have one place in the server's memory, and one of them is forgotten then.
    assert!(told.len() > 4, "only {} were told", told.len());
    assert_eq!(server.stop()["counts"]["interleaved"], told.len());
    let mut times = told.clone();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), told.len(), "some left at one time: {told:?}");
}

#[test]
fn a_real_chronyd_tells_when_its_replies_left() {
    let lab = lab();
    let Some(mut chronyd) = Chronyd::start(None) else { return };
    // It must be there before the ten are counted.
    chronyd.ask(&lab, "127.0.0.1", "--requests 1");
    let found = chronyd.ask(&lab, "127.0.0.1", "--interleaved --requests 10");
    let (low, high) = interval(&found);
    assert!(low <= 0 && 0 <= high, "{low} to {high}");
    assert_eq!(found["servers"][0]["counts"]["interleaved"], 8, "{found:#}");
}

#[test]
fn a_real_chronyd_is_told_when_our_replies_left() {
    let program =
        ["/usr/sbin/chronyd", "/usr/bin/chronyd"].into_iter().find(|p| Path::new(p).exists());
    let Some(program) = program else {
        println!("skipped: chronyd is not installed: no independent interleaved client");
        return;
    };
    let server = Server::start("--listen 127.0.0.1:0");
    let folder = new_folder("chronyd-asks");
    let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let (pid, port) = (format!("pidfile {}/pid", folder.display()), server.port());
    let source = format!("server 127.0.0.1 port {port} iburst minpoll -3 maxpoll -3 xleave");
    // It sets no clock: -Q only asks.
    let out = Command::new(program)
        .args(["-Q", "-U", "-u", user.trim(), "-t", "60", "port 0", "cmdport 0"])
        .args(["bindcmdaddress /", &pid, &source])
        .output()
        .unwrap();
    std::fs::remove_dir_all(&folder).ok();
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("wrong by"), "{said}");
    let counts = server.stop()["counts"].take();
    assert!(counts["interleaved"].as_u64() >= Some(1), "{counts}: {said}");
}
