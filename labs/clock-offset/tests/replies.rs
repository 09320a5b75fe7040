//! Fifty bad replies, each alone and each before a good one.
//!
//! The first are those of which every tested client believes some; the rest are ours. None may be
//! believed, none may end a query that the good reply would have saved, each has its reason.

use clock_offset::client::{Client, ClientConfig, Ended, Event};
use clock_offset::packet::{Header, Leap, Mode, Packet, ReferenceId};
use clock_offset::refusal::{Refusal, Warning};
use clock_offset::sample::{Arrival, Sample, TimePair};
use clock_offset::server::{ServerConfig, reply};
use clock_offset::timestamp::{NtpTimestamp, ShortDuration, WallTime};
use std::net::SocketAddr;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::measure::draw::keyed;

const SECOND: i64 = 1_000_000_000;
/// The server is ahead by this.
const AHEAD: i64 = 3 * SECOND;
/// Each way takes this.
const WAY: Duration = Duration::from_millis(5);

fn server() -> SocketAddr {
    "192.0.2.1:123".parse().unwrap()
}

/// A client that has sent its first request, at 1 s.
struct Bench {
    client: Client,
    request: Vec<u8>,
    now: Instant,
}

/// This host's clocks.
fn clocks(at: Instant) -> TimePair {
    let start = WallTime::from_nanos(1_795_000_000 * SECOND);
    TimePair {
        wall: start.plus(i64::try_from(at.as_nanos()).unwrap()),
        at,
        width_ns: 60,
        slept_ns: 0,
    }
}

impl Bench {
    fn new() -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let config = ClientConfig { requests: Some(1), ..ClientConfig::default() };
        let mut client = Client::new(server(), config, now);
        let sent = client.poll_transmit(now, 0x0123_4567_89ab_cdef).unwrap();
        client.handle_sent(1, 40_000, clocks(now));
        Self { client, request: sent.bytes, now }
    }

    /// Reply of an honest server.
    fn honest(&self) -> Header {
        let t2 = clocks(self.now + WAY).wall.plus(AHEAD);
        let config = ServerConfig { stratum: 2, precision_log2_s: -25, ..ServerConfig::default() };
        let bytes = reply(&config, &self.request, t2, t2.plus(20_000)).unwrap();
        Packet::open(&bytes).unwrap().header
    }

    fn receive(&mut self, after: Duration, from: SocketAddr, bytes: &[u8]) {
        let at = self.now + after;
        let arrival = Arrival { user: clocks(at), kernel: None };
        self.client.handle_datagram(at, 1, from, bytes, &arrival);
    }

    /// Its samples and refusals.
    fn told(&mut self) -> (Vec<Sample>, Vec<Refusal>) {
        let (mut samples, mut refusals) = (Vec::new(), Vec::new());
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Sample(sample) => samples.push(sample),
                Event::Refused { refusal, .. } => refusals.push(refusal),
                _ => {}
            }
        }
        (samples, refusals)
    }
}

/// A bad reply made from an honest one: its bytes, and who sends it.
type Spoil = Box<dyn Fn(Header) -> (Vec<u8>, SocketAddr)>;

fn header(change: impl Fn(&mut Header) + 'static) -> Spoil {
    Box::new(move |mut header| {
        change(&mut header);
        (header.encode().to_vec(), server())
    })
}

fn tail(bytes: Vec<u8>) -> Spoil {
    Box::new(move |header| ([&header.encode()[..], &bytes].concat(), server()))
}

fn field(claimed: u16, length: usize) -> Vec<u8> {
    let mut field: Vec<u8> = (0..length).map(|i| keyed(7, i as u64).to_be_bytes()[0]).collect();
    field[2..4].copy_from_slice(&claimed.to_be_bytes());
    field
}

fn from(sender: &'static str) -> Spoil {
    Box::new(move |header| (header.encode().to_vec(), sender.parse().unwrap()))
}

fn kiss(code: [u8; 4]) -> Spoil {
    header(move |h| {
        (h.stratum, h.reference_id, h.leap) = (0, ReferenceId(code), Leap::Unsynchronized)
    })
}

fn later(time: NtpTimestamp, nanos: i64) -> NtpTimestamp {
    let near = clocks(Instant::ZERO).wall;
    NtpTimestamp::at(time.near(near).unwrap().down.plus(nanos))
}

/// A bad reply: what it is, how it is made, its reason.
type Bad = (&'static str, Spoil, &'static str);

/// Those that the field's clients were tried with.
fn known_bad_replies() -> Vec<Bad> {
    let cut = |length: usize| -> Spoil {
        Box::new(move |header| (header.encode()[..length].to_vec(), server()))
    };
    let mode = |mode| header(move |h| h.mode = mode);
    let version = |version| header(move |h| h.version = version);
    let origin = |bits: u64| header(move |h| h.origin = NtpTimestamp::from_bits(bits));
    let dispersion =
        |s: u64| header(move |h| h.root_dispersion = ShortDuration::at_least(s * 1_000_000_000));
    let transmit = |ns: i64| header(move |h| h.transmit = later(h.receive, ns));
    let shifted = |ns: i64| {
        header(move |h| (h.receive, h.transmit) = (later(h.receive, ns), later(h.transmit, ns)))
    };
    vec![
        ("nothing", cut(0), "too_short"),
        ("47 bytes", cut(47), "too_short"),
        ("mode 3", mode(Mode::Client), "mode"),
        ("mode 6", mode(Mode::Control), "mode"),
        ("mode 5", mode(Mode::Broadcast), "mode"),
        ("version 7", version(7), "version"),
        ("version 0", version(0), "version"),
        ("version 5", version(5), "version"),
        ("RATE", kiss(*b"RATE"), "kiss"),
        ("DENY", kiss(*b"DENY"), "kiss"),
        (
            "DENY from another address",
            header(|h| {
                (h.stratum, h.reference_id, h.origin) =
                    (0, ReferenceId(*b"DENY"), NtpTimestamp::from_bits(9))
            }),
            "origin",
        ),
        ("another origin", origin(0xdead_beef), "origin"),
        ("no origin", origin(0), "no_origin"),
        ("no transmit timestamp", header(|h| h.transmit = NtpTimestamp::NONE), "no_transmit"),
        ("no receive timestamp", header(|h| h.receive = NtpTimestamp::NONE), "no_receive"),
        ("leap 3", header(|h| h.leap = Leap::Unsynchronized), "unsynchronized"),
        ("stratum 16", header(|h| h.stratum = 16), "stratum"),
        ("stratum 255", header(|h| h.stratum = 255), "stratum"),
        ("root dispersion 60 s", dispersion(60), "root_distance"),
        ("T3 1 s before T2", transmit(-SECOND), "backwards"),
        ("T3 - T2 above the round trip", transmit(SECOND / 2), "negative_delay"),
        ("another port", from("192.0.2.1:124"), "port"),
        ("another address", from("192.0.2.7:123"), "address"),
        ("7 bytes more", tail(vec![0; 7]), "tail"),
        ("a field of length 0", tail(field(0, 28)), "tail"),
        ("a field of length 65532", tail(field(65_532, 28)), "tail"),
        ("1352 random bytes", tail(field(1_351, 1_352)), "tail"),
        ("the year 1970", shifted(-1_795_000_000 * SECOND), "before_floor"),
        (
            "a reference in the future",
            header(|h| h.reference = later(h.transmit, SECOND)),
            "reference_ahead",
        ),
    ]
}

/// Those that are ours.
fn our_bad_replies() -> Vec<Bad> {
    let mode = |mode| header(move |h| h.mode = mode);
    let origin = |bits: u64| header(move |h| h.origin = NtpTimestamp::from_bits(bits));
    let transmit = |ns: i64| header(move |h| h.transmit = later(h.receive, ns));
    vec![
        ("stratum 0, no code", kiss([0; 4]), "stratum_zero"),
        ("stratum 0, a code of bytes", kiss([1, 200, 3, 4]), "stratum_zero"),
        ("RSTR", kiss(*b"RSTR"), "kiss"),
        ("a code of experiments", kiss(*b"XFUN"), "kiss"),
        ("a kiss of a client", header(|h| (h.stratum, h.mode) = (0, Mode::Client)), "mode"),
        ("our own request, echoed", header(|h| *h = Header::request(h.origin)), "no_origin"),
        ("precision of 2 s", header(|h| h.precision = 1), "precision"),
        ("precision of 2^127 s", header(|h| h.precision = 127), "precision"),
        ("origin with one bit wrong", origin(0x0123_4567_89ab_cdee), "origin"),
        ("origin in the other order", origin(0xefcd_ab89_6745_2301), "origin"),
        ("a crypto-NAK", tail(vec![0; 4]), "crypto_nak"),
        ("mode 1", mode(Mode::SymmetricActive), "mode"),
        ("mode 7", mode(Mode::Private), "mode"),
        ("mode 0", mode(Mode::Reserved), "mode"),
        (
            "T2 and T3 exchanged",
            header(|h| (h.receive, h.transmit) = (h.transmit, h.receive)),
            "backwards",
        ),
        ("a residence of 10 s", transmit(10 * SECOND), "negative_delay"),
        (
            "root delay without end",
            header(|h| h.root_delay = ShortDuration::from_bits(u32::MAX)),
            "root_distance",
        ),
        ("another family", from("[2001:db8::1]:123"), "address"),
        ("a field cut short", tail(field(32, 28)), "tail"),
        ("a field of 30 bytes", tail(field(30, 32)), "tail"),
        ("an origin of another request", origin(0x0123_4567_89ab_0000), "origin"),
    ]
}

#[test]
fn no_bad_reply_is_believed_nor_ends_the_query() {
    let mut table = known_bad_replies();
    table.extend(our_bad_replies());
    assert!(table.len() >= 49, "{}", table.len());
    for (what, spoil, reason) in &table {
        let mut bench = Bench::new();
        let (bytes, sender) = spoil(bench.honest());
        bench.receive(2 * WAY, sender, &bytes);
        let (samples, refusals) = bench.told();
        assert!(samples.is_empty(), "{what} was believed: {samples:?}");
        assert_eq!(refusals.len(), 1, "{what}");
        assert_eq!(refusals[0].name(), *reason, "{what}: {}", refusals[0]);
        assert!(refusals[0].section().starts_with("RFC "), "{what}");
        assert!(!bench.client.is_ended(), "{what} ended the query");
        // The good one, 10 ms later.
        let good = bench.honest().encode();
        bench.receive(2 * WAY + Duration::from_millis(10), server(), &good);
        let (samples, _) = bench.told();
        assert_eq!(samples.len(), 1, "{what}: the good reply was not believed");
        assert!(samples[0].low_ns() <= AHEAD && AHEAD <= samples[0].high_ns(), "{what}");
        assert!(bench.client.is_ended(), "{what}");
        assert_eq!(bench.client.counts().refused.get(*reason), Some(&1), "{what}");
    }
}

#[test]
fn what_is_odd_but_not_wrong_is_believed_with_a_word() {
    let day = 86_400 * SECOND;
    let odd: [(&str, Spoil, Option<Warning>); 9] = [
        ("version 3", header(|h| h.version = 3), Some(Warning::Version3)),
        ("honest", header(|_| {}), None),
        (
            "root dispersion 5 s",
            header(|h| h.root_dispersion = ShortDuration::at_least(5_000_000_000)),
            Some(Warning::RootDistance),
        ),
        (
            "a reference of a month ago",
            header(move |h| h.reference = later(h.transmit, -30 * day)),
            Some(Warning::ReferenceOld),
        ),
        ("a leap second announced", header(|h| h.leap = Leap::Insert), Some(Warning::Leap)),
        ("no reference", header(|h| h.reference = NtpTimestamp::NONE), None),
        ("an unknown field", tail(field(28, 28)), None),
        ("the same address, mapped", from("[::ffff:192.0.2.1]:123"), None),
        ("stratum 15", header(|h| h.stratum = 15), None),
    ];
    for (what, spoil, warning) in odd {
        let mut bench = Bench::new();
        let (bytes, sender) = spoil(bench.honest());
        bench.receive(2 * WAY, sender, &bytes);
        let (samples, refusals) = bench.told();
        assert_eq!((samples.len(), &refusals[..]), (1, &[][..]), "{what}");
        assert_eq!(samples[0].warnings.first().copied(), warning, "{what}");
        assert!(samples[0].offset_ns().abs_diff(AHEAD) < 20_000, "{what}: {samples:?}");
    }
}

#[test]
fn a_server_in_the_next_era_is_read_rightly() {
    let mut bench = Bench::new();
    // 2038 is in era 1: the wire says 1902.
    let twelve_years = 12 * 365 * 86_400 * SECOND;
    let mut ahead = bench.honest();
    (ahead.receive, ahead.transmit) =
        (later(ahead.receive, twelve_years), later(ahead.transmit, twelve_years));
    ahead.reference = ahead.receive;
    assert!(ahead.receive.bits() < 1 << 60, "{}", ahead.receive);
    bench.receive(2 * WAY, server(), &ahead.encode());
    let (samples, refusals) = bench.told();
    assert_eq!(refusals, []);
    assert!(samples[0].offset_ns().abs_diff(AHEAD + twelve_years) < 20_000);
    assert_eq!(samples[0].warnings, [Warning::Panic]);
}

#[test]
fn a_flood_of_forgeries_is_skipped_and_counted() {
    let mut bench = Bench::new();
    for number in 0..300 {
        let mut forged = bench.honest();
        forged.origin = NtpTimestamp::from_bits(keyed(1, number) | 1);
        bench.receive(WAY, server(), &forged.encode());
    }
    let good = bench.honest().encode();
    bench.receive(2 * WAY, server(), &good);
    let (samples, refusals) = bench.told();
    assert_eq!((samples.len(), refusals.len()), (1, 300));
    assert_eq!(bench.client.counts().refused.get("origin"), Some(&300));
    // What comes after the end is late, and changes nothing.
    bench.receive(3 * WAY, server(), &good);
    assert_eq!(bench.told().1, [Refusal::Late(None)]);
}

#[test]
fn a_reply_after_the_timeout_is_seen_and_reported() {
    let mut bench = Bench::new();
    let config = ClientConfig { requests: Some(3), ..ClientConfig::default() };
    bench.client = Client::new(server(), config, bench.now);
    let sent = bench.client.poll_transmit(bench.now, 0x0123_4567_89ab_cdef).unwrap();
    bench.client.handle_sent(1, 40_000, clocks(bench.now));
    bench.request = sent.bytes;
    let good = bench.honest().encode();
    bench.client.handle_timeout(bench.now + config.timeout);
    assert_eq!(bench.client.counts().lost, 1);
    bench.receive(Duration::from_millis(2_500), server(), &good);
    let (samples, refusals) = bench.told();
    assert_eq!((samples.len(), &refusals[..]), (0, &[Refusal::Late(Some(2_500_000_000))][..]));
    assert!(refusals[0].to_string().starts_with("came 2.50 s later"), "{}", refusals[0]);
    assert_eq!(bench.client.counts().lost, 1, "lost once");
    bench.receive(Duration::from_millis(2_600), server(), &good);
    assert_eq!(bench.told().1, [Refusal::Duplicate]);
}

#[test]
fn a_request_of_version_3_says_so() {
    let now = Instant::from_nanos(1);
    let config = ClientConfig { version: 3, ..ClientConfig::default() };
    let request = Client::new(server(), config, now).poll_transmit(now, 7).unwrap();
    assert_eq!(Packet::open(&request.bytes).unwrap().header.version, 3);
}

#[test]
fn a_second_reply_is_a_duplicate() {
    let now = Instant::ZERO;
    let config = ClientConfig { requests: Some(2), ..ClientConfig::default() };
    let mut client = Client::new(server(), config, now);
    let bytes = client.poll_transmit(now, 5).unwrap().bytes;
    client.handle_sent(1, 40_000, clocks(now));
    let bench = Bench { client, request: bytes, now };
    let (good, mut bench) = (bench.honest().encode(), bench);
    bench.receive(2 * WAY, server(), &good);
    bench.receive(2 * WAY, server(), &good);
    let (samples, refusals) = bench.told();
    assert_eq!((samples.len(), &refusals[..]), (1, &[Refusal::Duplicate][..]));
}

#[test]
fn a_clock_that_is_set_between_request_and_reply_spoils_the_sample() {
    let mut bench = Bench::new();
    let good = bench.honest().encode();
    let at = bench.now + 2 * WAY;
    let user = TimePair { wall: clocks(at).wall.plus(5 * SECOND), ..clocks(at) };
    bench.client.handle_datagram(at, 1, server(), &good, &Arrival { user, kernel: None });
    assert_eq!(bench.told().1, [Refusal::Stepped(5 * SECOND)]);
    // A kernel stamp of another clock is not taken.
    let kernel = Some(clocks(at).wall.plus(-5 * SECOND));
    bench.client.handle_datagram(at, 1, server(), &good, &Arrival { user: clocks(at), kernel });
    let (samples, _) = bench.told();
    assert_eq!(samples[0].record.t4_by, clock_offset::sample::StampedBy::User);
}

#[test]
fn kisses_and_silence_end_a_query_in_their_own_time() {
    for (code, ended) in [(*b"RATE", Ended::RateLimited), (*b"DENY", Ended::Denied)] {
        let config = ClientConfig::default();
        let mut client = Client::new(server(), config, Instant::ZERO);
        let bytes = client.poll_transmit(Instant::ZERO, 5).unwrap().bytes;
        client.handle_sent(1, 40_000, clocks(Instant::ZERO));
        let mut bench = Bench { client, request: bytes, now: Instant::ZERO };
        let (kissed, _) = kiss(code)(bench.honest());
        bench.receive(2 * WAY, server(), &kissed);
        assert!(!bench.client.is_ended());
        // Nothing more is sent, and the end comes with the timeout of what was.
        let end = bench.client.poll_timeout().unwrap();
        assert_eq!(end, Instant::ZERO + config.timeout);
        bench.client.handle_timeout(end);
        assert_eq!(bench.client.poll_transmit(end + Duration::from_secs(3_600), 6), None);
        let events: Vec<_> = std::iter::from_fn(|| bench.client.poll_event()).collect();
        assert_eq!(events.last(), Some(&Event::Ended(ended)));
    }
    // Two port-unreachable errors in a row are enough, one is not.
    let mut client = Client::new(server(), ClientConfig::default(), Instant::ZERO);
    for (request, at) in [(1, 0), (2, 2)] {
        let at = Instant::ZERO + Duration::from_secs(at);
        assert!(client.poll_transmit(at, 5).is_some());
        client.handle_sent(request, 40_000, clocks(at));
        assert!(!client.is_ended());
        client.handle_unreachable(request);
    }
    assert!(client.is_ended());
}

#[test]
fn a_server_that_says_rate_is_asked_ever_less() {
    let config = ClientConfig { requests: None, ..ClientConfig::default() };
    let mut client = Client::new(server(), config, Instant::ZERO);
    let mut now = Instant::ZERO;
    let mut pauses = Vec::new();
    for request in 1..=16 {
        let bytes = client.poll_transmit(now, u64::from(request)).unwrap().bytes;
        client.handle_sent(request, 40_000, clocks(now));
        let mut bench = Bench { client, request: bytes, now };
        let (kissed, _) = kiss(*b"RATE")(bench.honest());
        let arrival = Arrival { user: clocks(now), kernel: None };
        bench.client.handle_datagram(now, request, server(), &kissed, &arrival);
        client = bench.client;
        client.handle_timeout(now + config.timeout);
        let next = client.poll_timeout().unwrap();
        pauses.push(next.since(now).as_secs());
        now = next;
    }
    assert_eq!(pauses[..3], [128, 256, 512]);
    assert_eq!(*pauses.last().unwrap(), 1 << 17);
}

#[test]
fn the_server_answers_requests_and_nothing_else() {
    let request = Header::request(NtpTimestamp::from_bits(77));
    let (config, time) = (ServerConfig::default(), clocks(Instant::ZERO).wall);
    let ask = |header: Header, tail: usize| {
        let bytes = [&header.encode()[..], &vec![0; tail]].concat();
        let answer = reply(&config, &bytes, time, time);
        assert!(answer.is_err() || answer.unwrap().len() <= bytes.len());
        answer.map_err(|ignored| ignored.name())
    };
    let answered = Packet::open(&ask(request, 0).unwrap()).unwrap().header;
    assert_eq!((answered.origin, answered.mode), (request.transmit, Mode::Server));
    assert_eq!(
        Packet::open(&ask(Header { version: 3, ..request }, 0).unwrap()).unwrap().header.version,
        3
    );
    assert_eq!(
        ask(Header { mode: Mode::Server, ..request }, 0),
        Err("mode"),
        "a loop of two servers"
    );
    assert_eq!(ask(Header { mode: Mode::Control, ..request }, 0), Err("mode"));
    assert_eq!(ask(Header { version: 5, ..request }, 0), Err("version"));
    assert_eq!(ask(request, 9), Err("format"));
}
