//! Hostile servers, in virtual time and on real sockets: whatever they say, a walk ends by itself,
//! within its budget of queries, of time and of memory.
//!
//! A failure prints the way, the mode and the seed; the same test repeats it.

use super::walk::{Ended, PORT, config, name, question, walk_with};
use dns_walk::cache::Cache;
use dns_walk::demo::{Authority, JUDGED, Variant};
use dns_walk::driver::serve;
use dns_walk::event::{Event, Qmin, Transport};
use dns_walk::limits::{Limit, Limits};
use dns_walk::outcome::Outcome;
use dns_walk::walk::{Walk, WalkConfig};
use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA};
use hickory_proto::rr::{Name, RData, Record as Rr};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use wirelab::measure::draw::keyed;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::LinkPlan;
use wirelab_tests::lab::Lab;

/// Attacks of a server: prolong a walk, mislead it, or fill its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Every name is an alias of a new one.
    EndlessAliases,
    /// One reply holds a thousand aliases, one after another.
    LongChain,
    /// One reply holds aliases in a circle.
    CircleOfAliases,
    /// Every name is moved to a longer one below itself (RFC 6672 §2.3).
    GrowingName,
    /// Every question is referred to many servers without address elsewhere (NXNSAttack).
    Glueless,
    /// As before, and each of those names is an alias (CAMP).
    GluelessAliases,
    /// Two zones, each served only from inside the other (TsuNAME).
    Circle,
    /// Every question is referred one label further down, whatever it is.
    Deeper,
    /// The zone refers to itself.
    Sideways,
    /// The zone refers to the root.
    Upward,
    /// A referral to a thousand servers, each with an address where nothing listens.
    HugeReferral,
    /// Thousands of addresses with the longest TTL.
    HugeAnswer,
    /// Records of other zones besides.
    Poison,
    /// An answer and a denial in one reply.
    Contradiction,
    /// Each reply is cut short, over TCP too.
    Truncated,
    /// One response code to everything.
    Code(u16),
    /// The message ends before its end.
    Cut,
    /// Some bits are others.
    Flipped,
    /// A name points at itself.
    PointsAtItself,
    /// A name points at what comes later.
    PointsAhead,
    /// It says that it holds 65,535 records of each kind.
    Counts,
    /// Bytes behind the end.
    Trailing,
    /// Options twice.
    TwoOptions,
    /// The right number, then anything.
    Noise,
    /// The question, echoed.
    Echo,
    /// Shorter than a header.
    Short,
}

use Way::*;

const WAYS: [Way; 32] = [
    EndlessAliases,
    LongChain,
    CircleOfAliases,
    GrowingName,
    Glueless,
    GluelessAliases,
    Circle,
    Deeper,
    Sideways,
    Upward,
    HugeReferral,
    HugeAnswer,
    Poison,
    Contradiction,
    Truncated,
    Code(1),
    Code(2),
    Code(4),
    Code(5),
    Code(16),
    Code(23),
    Code(4_000),
    Cut,
    Flipped,
    PointsAtItself,
    PointsAhead,
    Counts,
    Trailing,
    TwoOptions,
    Noise,
    Echo,
    Short,
];

/// One server for every address. It must never need to remember more than how often it was asked.
struct Adversary {
    seed: u64,
    asked: u64,
    sound: Authority,
}

impl Adversary {
    fn new(seed: u64) -> Self {
        Self { seed, asked: 0, sound: Authority::demo(Variant::Sound).unwrap() }
    }

    fn draw(&self, n: u64) -> u64 {
        keyed(self.seed, self.asked * 100_000 + n)
    }

    fn reply(&mut self, way: Way, to: SocketAddr, over: Transport, query: &[u8]) -> Vec<u8> {
        self.asked += 1;
        let message = Message::from_vec(query).expect("a walk asks in whole messages");
        let mut reply = Message::response(message.metadata.id, message.metadata.op_code);
        reply.metadata.authoritative = true;
        reply.queries.clone_from(&message.queries);
        let asked = message.queries[0].name.clone();
        if self.names(way, &asked, &mut reply) || self.servers(way, &asked, &mut reply) {
            return reply.to_vec().unwrap();
        }
        match way {
            Truncated => reply.metadata.truncation = true,
            Code(code) => {
                let [high, low] = code.to_be_bytes();
                reply.metadata.response_code = ResponseCode::from(low >> 4 | high << 4, low & 15);
                if code > 15 {
                    reply.set_edns(Edns::new());
                }
            }
            _ => {
                let sound = self.sound.reply(to.ip(), over, query);
                return self.damaged(way, query, sound.unwrap_or_else(|| query.to_vec()));
            }
        }
        reply.to_vec().unwrap()
    }

    /// Lies about the name itself; whether this is such a way.
    fn names(&self, way: Way, asked: &Name, reply: &mut Message) -> bool {
        let fresh = |n: u64| name(&format!("x{:x}.alias.", self.draw(n)));
        let alias = |from: Name, to: Name| Rr::from_rdata(from, 60, RData::CNAME(CNAME(to)));
        match way {
            EndlessAliases => {
                reply.add_answer(alias(asked.clone(), fresh(0)));
            }
            LongChain | CircleOfAliases => {
                let length = if way == LongChain { 1_000 } else { 3 };
                let mut from = asked.clone();
                for n in 0..length {
                    reply.add_answer(alias(from, fresh(n)));
                    from = fresh(n);
                }
                reply.add_answer(alias(from, fresh(0)));
            }
            GrowingName => {
                let longer = Name::from_labels([b"longer".as_slice()])
                    .and_then(|label| label.append_domain(asked))
                    .unwrap_or_else(|_| asked.clone());
                reply.add_answer(alias(asked.clone(), longer));
            }
            HugeAnswer => {
                for n in 0..4_000 {
                    let address = A(Ipv4Addr::from(
                        self.draw(n)
                            .to_be_bytes()
                            .first_chunk::<4>()
                            .map_or(0, |b| u32::from_be_bytes(*b)),
                    ));
                    reply.add_answer(Rr::from_rdata(asked.clone(), u32::MAX, RData::A(address)));
                }
            }
            Poison => {
                for other in ["com.", "igbank.com.", "www.igbank.com.", "net.", "bank.example."] {
                    let address = RData::A(A(Ipv4Addr::new(127, 66, 66, 66)));
                    reply.add_answer(Rr::from_rdata(name(other), 60, address.clone()));
                    let server = RData::NS(NS(name("ns.evil.")));
                    reply.add_authority(Rr::from_rdata(name(other), 60, server));
                    reply.add_additional(Rr::from_rdata(name("ns.evil."), 60, address));
                }
            }
            Contradiction => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                let soa = SOA::new(name("a."), name("b."), 1, 1, 1, 1, u32::MAX);
                let soa = RData::SOA(soa);
                reply.add_authority(Rr::from_rdata(asked.clone(), u32::MAX, soa.clone()));
                reply.add_authority(Rr::from_rdata(Name::root(), u32::MAX, soa));
                reply.add_answer(alias(asked.clone(), fresh(0)));
            }
            _ => return false,
        }
        true
    }

    /// Lies about who serves it; whether this is such a way.
    fn servers(&self, way: Way, asked: &Name, reply: &mut Message) -> bool {
        let serves =
            |zone: &Name, server: Name| Rr::from_rdata(zone.clone(), 0, RData::NS(NS(server)));
        let at =
            |server: Name| Rr::from_rdata(server, 0, RData::A(A(Ipv4Addr::new(127, 66, 0, 1))));
        let top = asked.trim_to(usize::from(asked.num_labels().min(1)));
        let fresh = |n: u64| name(&format!("x{:x}.t{:x}.", self.draw(n), self.draw(n)));
        reply.metadata.authoritative = false;
        match way {
            GluelessAliases if self.asked.is_multiple_of(2) => {
                reply.metadata.authoritative = true;
                let alias = RData::CNAME(CNAME(fresh(0)));
                reply.add_answer(Rr::from_rdata(asked.clone(), 0, alias));
            }
            Glueless | GluelessAliases => {
                for n in 0..300 {
                    reply.add_authority(serves(&top, fresh(n)));
                }
            }
            Circle => {
                let (here, there) =
                    if top == name("one.") { ("one.", "two.") } else { ("two.", "one.") };
                let zone = if asked.num_labels() > 0 && top != name("one.") && top != name("two.") {
                    top
                } else {
                    name(here)
                };
                reply.add_authority(serves(&zone, name(&format!("ns.{there}"))));
            }
            Deeper => {
                reply.add_authority(serves(asked, name("ns.elsewhere.")));
                reply.add_additional(at(name("ns.elsewhere.")));
            }
            Sideways => {
                reply.add_authority(serves(&asked.base_name(), name("ns.elsewhere.")));
                reply.add_additional(at(name("ns.elsewhere.")));
            }
            Upward => {
                reply.add_authority(serves(&Name::root(), name("a.root.")));
                reply.add_additional(at(name("a.root.")));
            }
            HugeReferral => {
                for n in 0..1_000 {
                    let server = name(&format!("n{n}.elsewhere."));
                    reply.add_authority(serves(&top, server.clone()));
                    reply.add_additional(at(server));
                }
            }
            _ => {
                reply.metadata.authoritative = true;
                return false;
            }
        }
        true
    }

    /// A sound reply, or the query where there is none, with harm done to its bytes.
    fn damaged(&self, way: Way, query: &[u8], mut bytes: Vec<u8>) -> Vec<u8> {
        let place = |n: u64, of: usize| usize::try_from(self.draw(n) % of.max(1) as u64).unwrap();
        // Where the question ends.
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        let with = |count: u16, rest: &[u8]| {
            let mut made = query[..end].to_vec();
            (made[2], made[3]) = (0x84, 0);
            made[6..8].copy_from_slice(&count.to_be_bytes());
            made[8..12].fill(0);
            made.extend_from_slice(rest);
            made
        };
        match way {
            Cut => bytes.truncate(12 + place(0, bytes.len() - 12)),
            Flipped => {
                for n in 0..8 {
                    let at = 2 + place(n, bytes.len() - 2);
                    bytes[at] ^= 1 << (self.draw(n + 8) % 8);
                }
            }
            PointsAtItself => {
                let itself = 0xc000 | u16::try_from(end).unwrap();
                bytes = with(
                    1,
                    &[&itself.to_be_bytes()[..], &[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]]
                        .concat(),
                );
            }
            PointsAhead => bytes = with(1, &[0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]),
            Counts => {
                bytes[2] |= 0x80;
                bytes[6..12].fill(0xff);
            }
            Trailing => bytes.extend((0..500).map(|n| u8::try_from(self.draw(n) & 255).unwrap())),
            TwoOptions => {
                let options = [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0];
                bytes = with(0, &[options, options].concat());
                bytes[11] = 2;
            }
            Noise => {
                bytes = with(
                    9,
                    &(0..400)
                        .map(|n| u8::try_from(self.draw(n) & 255).unwrap())
                        .collect::<Vec<_>>(),
                )
            }
            Echo => bytes = query.to_vec(),
            Short => bytes = query[..place(0, 12)].to_vec(),
            _ => unreachable!("{way:?} is no damage"),
        }
        bytes
    }
}

/// A manner of walking, drawn of a seed.
fn mode(seed: u64) -> WalkConfig {
    let on = |bit: u64| keyed(seed, 77) >> bit & 1 == 1;
    WalkConfig {
        check: on(0),
        all: on(0) && on(1),
        tcp: on(2) && on(3),
        edns: !(on(4) && on(5)),
        random_case: on(6),
        prime: on(8),
        qmin: [Qmin::Strict, Qmin::Relaxed, Qmin::Off]
            [usize::try_from(keyed(seed, 78) % 3).unwrap()],
        validate_at: on(7).then_some(JUDGED),
        ..config()
    }
}

/// Invariants of every walk, whatever servers reply.
fn bounded(ended: &Ended, sent: u32, told: &str) {
    let limits = Limits::default();
    assert!(sent <= limits.queries, "{told}: {sent} queries");
    assert_eq!(ended.summary.queries, sent, "{told}: the summary tells of each query");
    assert!(ended.summary.elapsed_ns <= limits.time_ns, "{told}: {} ns", ended.summary.elapsed_ns);
    let entries = usize::try_from(limits.cache_entries).unwrap();
    assert!(ended.cache.len() <= entries, "{told}: {} entries", ended.cache.len());
    // Beside an exchange a query may bring an alias or a task; strays are described up to a limit.
    let most = usize::try_from(4 * limits.queries + limits.strays).unwrap();
    assert!(ended.records.len() <= most, "{told}: {} records", ended.records.len());
    for exchange in ended.exchanges() {
        let kept = exchange.learned.len() + exchange.dropped.len();
        // So many are looked at, and so many of the rest are shown.
        let most = 2 * usize::try_from(limits.records).unwrap();
        assert!(kept <= most, "{told}: {kept} records kept");
    }
}

const SEEDS: u64 = 30;
const ASKED: &str = "a.b.c.d.e.f.igbank.com";

#[test]
fn no_server_makes_a_walk_exceed_its_budget() {
    for (way, seed) in WAYS.into_iter().flat_map(|way| (0..SEEDS).map(move |seed| (way, seed))) {
        let told = format!("{way:?}, seed {seed}");
        let mut adversary = Adversary::new(seed);
        let hints = adversary.sound.hints(PORT);
        let mut sent = 0;
        let mut responder = |to: SocketAddr, over: Transport, query: &[u8]| {
            sent += 1;
            Some(adversary.reply(way, to, over, query))
        };
        let ended = walk_with(hints, &mut responder, ASKED, mode(seed), Ppm::ZERO, seed);
        bounded(&ended, sent, &told);
        if way == EndlessAliases {
            let limit = Outcome::Limit { limit: Limit::Aliases };
            assert_eq!(ended.summary.outcome, limit, "{told}");
        }
    }
}

#[test]
fn servers_that_lie_now_and_then_get_no_more_either() {
    let ways = |n: u64| WAYS[usize::try_from(n % WAYS.len() as u64).unwrap()];
    for seed in 0..500 {
        let mut adversary = Adversary::new(seed);
        let hints = adversary.sound.hints(PORT);
        let mut sent = 0;
        let mut responder = |to: SocketAddr, over: Transport, query: &[u8]| {
            sent += 1;
            match keyed(seed ^ 0x5eed, u64::from(sent)) % 100 {
                0..50 => adversary.sound.reply(to.ip(), over, query),
                50..60 => None,
                _ => Some(adversary.reply(ways(keyed(seed, u64::from(sent))), to, over, query)),
            }
        };
        let loss = Ppm::new(20_000).unwrap();
        let ended = walk_with(hints, &mut responder, ASKED, mode(seed), loss, seed);
        // A query that the path lost was sent too.
        let queries = ended.summary.queries;
        assert!(sent <= queries, "seed {seed}: {sent} of {queries}");
        bounded(&ended, queries, &format!("seed {seed}"));
    }
}

#[test]
fn a_flood_of_strays_is_counted_and_not_kept() {
    let hints = Authority::demo(Variant::Sound).unwrap().hints(PORT);
    let asked = question("www.igbank.com");
    let mut walk = Walk::new(config(), hints, asked, 1, Cache::default(), Instant::ZERO);
    let sent = walk.poll_transmit().unwrap();
    for _ in 0..100_000 {
        walk.handle_reply(Instant::ZERO, sent.attempt, sent.to, &[0; 12]);
    }
    walk.cancel(Instant::ZERO);
    let mut events = Vec::new();
    while let Some(record) = walk.poll_event() {
        events.push(record.event);
    }
    assert!(events.len() <= 23, "{} records", events.len());
    let Some(Event::Summary(summary)) = events.last() else { panic!("no summary") };
    assert_eq!((&summary.outcome, summary.strays), (&Outcome::Interrupted, 100_000));
}

/// What a server does with a connection; over UDP it cuts every reply short, so that there is one.
#[derive(Clone, Copy, Debug)]
enum Stream {
    /// A byte now and then, of a message that never ends.
    Drip,
    /// The longest message is announced; only its beginning comes.
    Unfinished,
    /// It takes the connection and says nothing.
    Silent,
    /// It closes at once.
    Close,
    /// Messages without a byte in them, as fast as they are read.
    FloodOfNothing,
    /// Well-formed replies to other queries, as fast as they are read.
    FloodOfStrays,
}

/// How long it goes on, if neither side hangs up.
const DRIPS: u32 = 300;
const DRIP: Duration = Duration::from_millis(100);
/// Messages of a flood: more than a walk could read in its time if it read nothing else.
const FLOOD: u32 = 2_000_000;

fn misbehave(how: Stream, mut stream: TcpStream) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    stream.set_read_timeout(matches!(how, Stream::Drip).then_some(DRIP))?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query)?;
    match how {
        Stream::Drip => {
            stream.write_all(&[0xff, 0xff])?;
            for byte in query.iter().cycle().take(DRIPS as usize) {
                stream.write_all(&[*byte])?;
                // No reply comes here: it is the pause between two bytes.
                let _ = stream.read(&mut length);
            }
        }
        Stream::Unfinished | Stream::Silent => {
            let said: &[u8] = if matches!(how, Stream::Silent) { &[] } else { &[0xff, 0xff, 1, 2] };
            stream.write_all(said)?;
            // Until the other side hangs up.
            let _ = stream.read(&mut length)?;
        }
        Stream::Close => {}
        Stream::FloodOfNothing => {
            let nothing = [0; 4096];
            for _ in 0..FLOOD / 2_048 {
                stream.write_all(&nothing)?;
            }
        }
        Stream::FloodOfStrays => {
            query[0] ^= 1;
            query[2] |= 0x80;
            let message = [&length[..], &query].concat();
            for _ in 0..FLOOD / 64 {
                stream.write_all(&message.repeat(64))?;
            }
        }
    }
    Ok(())
}

/// A server on loopback that misbehaves in this way until the tests end; its address.
fn misbehaving(how: Stream) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(at).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // A reply that is cut short.
            buffer[2] |= 0x82;
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The walk hangs up on most of them.
            std::thread::spawn(move || misbehave(how, stream));
        }
    });
    at
}

const STREAMS: [Stream; 6] = [
    Stream::Drip,
    Stream::Unfinished,
    Stream::Silent,
    Stream::Close,
    Stream::FloodOfNothing,
    Stream::FloodOfStrays,
];

#[test]
fn a_connection_that_misbehaves_ends_in_its_time() {
    let lab = Lab::new("dns-walk");
    let run = |how: Stream| {
        let at = misbehaving(how);
        let file = format!("hints-{how:?}");
        std::fs::write(lab.folder.join(&file), format!("a.root A {at}")).unwrap();
        let out =
            lab.run(&format!("www.igbank.com --hints {file} --budget 4 --seed 1 --no-report"));
        assert!([3, 5].contains(&out.code), "{how:?}: {}\n{}{}", out.code, out.stdout, out.stderr);
    };
    std::thread::scope(|scope| {
        for how in STREAMS {
            let run = &run;
            scope.spawn(move || run(how));
        }
    });
}

#[test]
fn a_sound_server_beside_one_that_misbehaves_is_found() {
    let authority = Authority::demo(Variant::Sound).unwrap();
    let root = authority.hints(1).roots[0].0.clone();
    let serving = serve(authority, None, &LinkPlan::default(), 1).unwrap();
    let port = serving.port();
    let met_in = |how: Stream| {
        let lab = Lab::new("dns-walk");
        let hints = format!("evil.root A {}\n{} A 127.53.0.1:{port}", misbehaving(how), root);
        std::fs::write(lab.folder.join("hints"), hints).unwrap();
        let walk = |seed: u32| {
            let args = format!("www.igbank.com --hints hints -p {port} --seed {seed} --json");
            let out = lab.run(&args);
            assert_eq!(out.code, 0, "{how:?}, seed {seed}: {}{}", out.stdout, out.stderr);
            assert!(out.stdout.contains("203.0.113.80"), "{how:?}, seed {seed}: {}", out.stdout);
            out.stdout.contains("evil.root.")
        };
        (0..3).filter(|seed| walk(*seed)).count()
    };
    // At once: each waits for its own server.
    let met: usize = std::thread::scope(|scope| {
        let ways = STREAMS.map(|how| scope.spawn(move || met_in(how)));
        ways.into_iter().map(|way| way.join().unwrap()).sum()
    });
    assert!(met > 0, "no walk asked the server that misbehaves");
}
