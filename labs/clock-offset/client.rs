//! The client of one server: when to ask, what to make of what comes, when to stop.
//!
//! The driver gives each request random bits and a socket, so a random port, of its own (RFC 9109).

use super::exchange::{Accepted, Before, Exchange};
use super::nts::NtsRefusal;
use super::nts::session::{Proof, Session};
use super::packet::{Header, VERSION};
use super::random::Random;
use super::refusal::{Class, Kiss, Refusal};
use super::sample::{Arrival, Record, Sample, TimePair};
use super::timestamp::{NtpTimestamp, WallTime, saturated};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;
use wirelab::measure::{Instant, nanos};

/// How often a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClientConfig {
    /// Requests in all; `None` for no end.
    pub requests: Option<u32>,
    /// Requests at the shorter interval.
    pub burst: u32,
    /// From one request of the burst to the next.
    pub burst_interval: Duration,
    /// From one request to the next after the burst.
    pub interval: Duration,
    /// From a request to giving it up.
    pub timeout: Duration,
    /// Whether to ask when the reply before left (RFC 9769).
    pub interleaved: bool,
    /// The version of the requests: 4, or 3.
    pub version: u8,
}

/// Requests of a burst: public servers put up with 4 to 8 (chrony.conf, iburst).
pub const BURST: u32 = 8;
/// Interval within a burst that public servers put up with (RFC 5905 §13, BTIME is 2 s).
pub const BURST_INTERVAL: Duration = Duration::from_secs(2);
/// Interval after the burst: 2^6 s (RFC 5905 §7.3, MINPOLL for unmanaged clients; RFC 4330 §10).
pub const INTERVAL: Duration = Duration::from_secs(64);
/// Longest interval that RATE may bring: 2^17 s (RFC 5905 §7.3, MAXPOLL).
const INTERVAL_MAX: Duration = Duration::from_secs(1 << 17);
/// Port-unreachable errors in a row before the server is given up.
const UNREACHABLE_MAX: u32 = 2;
/// Keys agreed on in a row that no proved reply came of: a server that refuses its own cookies
/// would cause key establishment without end (RFC 8915 §5.7 asks for restraint).
pub const FRUITLESS_KEYS_MAX: u32 = 4;
/// Requests that name one exchange before it is forgotten: none of them was answered.
const NAMED_MAX: u32 = 4;
/// How long a reply to a request that was given up is still seen.
const STRAGGLE: Duration = Duration::from_secs(16);
/// Requests given up whose replies are still seen.
const STRAGGLERS_MAX: usize = 16;
/// Refusals reported in full per server; the rest are counted.
pub const NOTES_MAX: usize = 256;

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            requests: Some(BURST),
            burst: BURST,
            burst_interval: BURST_INTERVAL,
            interval: INTERVAL,
            // One request of a burst is given up when the next goes out.
            timeout: BURST_INTERVAL,
            interleaved: false,
            version: VERSION,
        }
    }
}

/// A request to send on a socket of its own, reading the clocks just before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The number of the request.
    pub request: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// An event of the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A reply was believed.
    Sample(Sample),
    /// A datagram was not.
    Refused {
        /// The request whose socket it came to.
        request: u32,
        /// When it came.
        at: Instant,
        /// The sender.
        from: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
    /// No reply in time.
    Lost {
        /// The request.
        request: u32,
        /// When it was sent.
        sent: Instant,
    },
    /// The socket of a request is of no more use.
    Closed {
        /// The request.
        request: u32,
    },
    /// Nothing is sent before [`Client::handle_keys`] brings new keys.
    KeysNeeded,
    /// Nothing more will be sent or awaited.
    Ended(Ended),
}

/// Why a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// All requests were sent, and answered or given up.
    Complete,
    /// The server asked for fewer requests; what there is must do.
    RateLimited,
    /// The server does not want to be asked.
    Denied,
    /// ICMP: port unreachable.
    Unreachable,
    /// No new keys could be agreed on, and unauthenticated time was not wanted.
    NoKeys,
    /// Keys were agreed on again and again, and no reply was proved by them.
    KeysOfNoUse,
    /// The user stopped it.
    Stopped,
}

/// Counters of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests sent.
    pub sent: u32,
    /// Replies believed.
    pub samples: u32,
    /// Of these, in interleaved mode (RFC 9769).
    #[serde(default, skip_serializing_if = "is_none")]
    pub interleaved: u32,
    /// Requests with no believed reply in time.
    pub lost: u32,
    /// Port-unreachable errors received.
    pub unreachable: u32,
    /// Datagrams not believed, by reason.
    pub refused: BTreeMap<Cow<'static, str>, u64>,
    /// Cost of authentication, if enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nts: Option<NtsCounts>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_none(count: &u32) -> bool {
    *count == 0
}

/// Counters of a client's authentication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NtsCounts {
    /// Times that keys were agreed on.
    pub key_exchanges: u32,
    /// Replies that were proved to be of the server, believed or not.
    pub proved: u32,
    /// Cookies that came with such replies; each is sent once.
    pub cookies_received: u32,
    /// Cookies that were not used.
    pub cookies_left: u32,
}

/// A request that waits for its reply, or for stragglers after it.
#[derive(Debug)]
struct Open {
    exchange: Exchange,
    sent: bool,
    answered: bool,
    /// Given up; a reply is still seen, and reported as late.
    lost: bool,
    until: Instant,
    /// Keys that authenticate its reply.
    proof: Option<Proof>,
}

/// An association, and whether it still holds.
#[derive(Debug)]
struct Association {
    session: Session,
    /// A NAK came, and no authenticated reply since.
    doubted: bool,
    /// New keys were asked for.
    waiting: bool,
    /// Keys agreed on since the last proved reply, these included.
    fruitless: u32,
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    config: ClientConfig,
    counts: Counts,
    open: VecDeque<Open>,
    next: Instant,
    /// RATE has doubled the interval this often.
    slowed: u32,
    unreachable_in_a_row: u32,
    ending: Option<Ended>,
    ended: bool,
    nts: Option<Association>,
    /// The last exchange that was believed, and requests that have named it.
    before: Option<(Record, u32)>,
    events: VecDeque<Event>,
}

impl Client {
    /// A client that sends its first request at `now`.
    #[must_use]
    pub fn new(server: SocketAddr, config: ClientConfig, now: Instant) -> Self {
        Self {
            server,
            config,
            counts: Counts::default(),
            open: VecDeque::new(),
            next: now,
            slowed: 0,
            unreachable_in_a_row: 0,
            ending: None,
            ended: false,
            nts: None,
            before: None,
            events: VecDeque::new(),
        }
    }

    /// The same, where every reply must be proved to be of the server.
    #[must_use]
    pub fn authenticated(mut self, session: Session) -> Self {
        self.take_session(session);
        self
    }

    fn take_session(&mut self, session: Session) {
        let counts = self.counts.nts.get_or_insert_default();
        counts.key_exchanges += 1;
        counts.cookies_left = few(session.cookies());
        let fruitless = self.nts.as_ref().map_or(0, |nts| nts.fruitless) + 1;
        self.nts = Some(Association { session, doubted: false, waiting: false, fruitless });
    }

    /// The keys that [`Event::KeysNeeded`] has asked for; `None` where there are none to be had.
    pub fn handle_keys(&mut self, now: Instant, session: Option<Session>) {
        match session {
            Some(session) => {
                self.take_session(session);
                self.next = self.next.max(now);
            }
            None => {
                self.ending.get_or_insert(Ended::NoKeys);
            }
        }
        self.settle();
    }

    /// The server.
    #[must_use]
    pub const fn server(&self) -> SocketAddr {
        self.server
    }

    /// Its counters.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The request that is due; `random` must be unpredictable, and fresh for each.
    ///
    /// Tell [`handle_sent`](Self::handle_sent) when it has gone out.
    pub fn poll_transmit(&mut self, now: Instant, random: impl Into<Random>) -> Option<Transmit> {
        if !self.wants_to_send() || now < self.next || self.lacks_keys() {
            return None;
        }
        let random = random.into();
        // Zero would mean that there is no transmit timestamp.
        let nonce = NtpTimestamp::from_bits(random.transmit.max(1));
        let before = self.name_before(nonce, random.receive);
        let header = Header {
            version: self.config.version,
            origin: before.map_or(NtpTimestamp::NONE, |before| before.record.t2),
            receive: before.map_or(NtpTimestamp::NONE, |before| before.nonce),
            ..Header::request(nonce)
        };
        let header = header.encode();
        let (bytes, proof) = match &mut self.nts {
            None => (header.to_vec(), None),
            Some(nts) => {
                let (bytes, proof) = nts.session.request(&header, &random.fresh)?;
                (bytes, Some(proof))
            }
        };
        self.count_cookies(0);
        self.counts.sent += 1;
        let request = self.counts.sent;
        let (server, local_port, t1, left) = (self.server, 0, TimePair::default(), None);
        self.open.push_back(Open {
            exchange: Exchange { server, request, local_port, nonce, t1, left, before },
            sent: false,
            answered: false,
            lost: false,
            until: now + self.config.timeout,
            proof,
        });
        self.next = now + self.interval();
        Some(Transmit { request, bytes })
    }

    /// The exchange that the next request names, where interleaved mode is wanted.
    ///
    /// //= RFC 9769 §2: a client limits its requests in interleaved mode between replies, or a time
    /// //= would be of long ago.
    fn name_before(&mut self, transmit: NtpTimestamp, random: u64) -> Option<Before> {
        let (record, named) = self.before.as_mut().filter(|_| self.config.interleaved)?;
        *named += 1;
        // Zero would mean that there is none, and equal ones that basic mode is wanted.
        let nonce = NtpTimestamp::from_bits(random.max(1));
        let usable = *named <= NAMED_MAX && nonce != transmit;
        usable.then_some(Before { nonce, record: *record })
    }

    /// Whether keys are missing, so that nothing can be sent; requests them once.
    ///
    /// //= RFC 8915 §5.7: after a NAK new keys only where no valid reply came until the next poll.
    fn lacks_keys(&mut self) -> bool {
        let Some(nts) = &mut self.nts else { return false };
        if !nts.waiting && (nts.doubted || nts.session.cookies() == 0) {
            nts.waiting = true;
            if nts.fruitless < FRUITLESS_KEYS_MAX {
                self.events.push_back(Event::KeysNeeded);
            } else {
                self.ending.get_or_insert(Ended::KeysOfNoUse);
                self.settle();
                return true;
            }
        }
        nts.waiting
    }

    fn count_cookies(&mut self, received: usize) {
        if let (Some(nts), Some(counts)) = (&self.nts, &mut self.counts.nts) {
            counts.cookies_received += few(received);
            counts.cookies_left = few(nts.session.cookies());
        }
    }

    fn wants_to_send(&self) -> bool {
        let left = self.config.requests.is_none_or(|requests| self.counts.sent < requests);
        left && self.ending.is_none()
    }

    /// The request went out on this port, the clocks read just before.
    pub fn handle_sent(&mut self, request: u32, local_port: u16, t1: TimePair) {
        if let Some(open) = self.find(request) {
            (open.exchange.local_port, open.exchange.t1, open.sent) = (local_port, t1, true);
        }
    }

    /// The kernel says when the request left.
    pub fn handle_left(&mut self, request: u32, left: WallTime) {
        let Some(open) = self.find(request).filter(|open| open.sent) else { return };
        open.exchange.left = Some(left);
        let exchange = open.exchange;
        // Its reply may have been faster than this.
        if let Some((record, _)) = self.before.as_mut().filter(|(r, _)| r.request == request) {
            *record = exchange.as_left(*record);
        }
    }

    /// A datagram came to the socket of a request.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        request: u32,
        from: SocketAddr,
        bytes: &[u8],
        arrival: &Arrival,
    ) {
        let (judged, cookies) = self.judge(now, request, from, bytes, arrival);
        self.keep(cookies);
        match judged {
            Ok(Accepted { sample, record }) => {
                self.counts.samples += 1;
                self.counts.interleaved += u32::from(sample.record.interleaved);
                self.unreachable_in_a_row = 0;
                self.before = Some((record, 0));
                self.events.push_back(Event::Sample(sample));
            }
            Err(refusal) => self.refuse(now, request, from, refusal),
        }
        self.settle();
    }

    /// Class of a datagram, and its cookies if it is authentic.
    fn judge(
        &mut self,
        now: Instant,
        request: u32,
        from: SocketAddr,
        bytes: &[u8],
        arrival: &Arrival,
    ) -> (Result<Accepted, Refusal>, Option<Vec<Vec<u8>>>) {
        let Some(open) = self.find(request).filter(|open| open.sent) else {
            return (Err(Refusal::Late(None)), None);
        };
        let (judged, cookies) = match &open.proof {
            None => (open.exchange.judge(from, bytes, arrival), None),
            Some(proof) => open.exchange.judge_proved(from, bytes, arrival, proof),
        };
        let foreign = judged.as_ref().is_err_and(|r| r.class() == Class::Identity);
        if open.answered && !foreign {
            // Its cookies came with the first; the same twice would be used twice.
            return (Err(Refusal::Duplicate), None);
        }
        open.answered |= judged.is_ok();
        if open.lost && judged.is_ok() {
            let after = nanos(now.since(open.exchange.t1.at));
            return (Err(Refusal::Late(Some(saturated(after.into())))), cookies);
        }
        (judged, cookies)
    }

    /// Keeps the cookies of a reply that was proved.
    fn keep(&mut self, cookies: Option<Vec<Vec<u8>>>) {
        let Some((cookies, nts)) = cookies.zip(self.nts.as_mut()) else { return };
        let received = cookies.len();
        (nts.doubted, nts.fruitless, _) = (false, 0, nts.session.take(cookies));
        if let Some(counts) = &mut self.counts.nts {
            counts.proved += 1;
        }
        self.count_cookies(received);
    }

    fn refuse(&mut self, now: Instant, request: u32, from: SocketAddr, refusal: Refusal) {
        *self.counts.refused.entry(refusal.name().into()).or_default() += 1;
        self.events.push_back(Event::Refused { request, at: now, from, refusal });
        match refusal {
            Refusal::Kiss(Kiss::Rate) => self.slow_down(now),
            // The request stays open: a reply to it that is good still counts.
            Refusal::Kiss(Kiss::Deny | Kiss::Restricted) => {
                self.ending.get_or_insert(Ended::Denied);
            }
            // The request stays open here too: it may be forged, and a good reply says so.
            Refusal::Nts(NtsRefusal::Nak) => {
                let answered = self.find(request).is_none_or(|open| open.answered);
                if let Some(nts) = self.nts.as_mut().filter(|_| !answered) {
                    nts.doubted = true;
                }
            }
            _ => {}
        }
    }

    /// //= RFC 5905 §7.4: on RATE the client must reduce its rate at once, and each time again.
    fn slow_down(&mut self, now: Instant) {
        self.slowed += 1;
        self.next = self.next.max(now + self.interval());
        if self.config.requests.is_some() {
            self.ending.get_or_insert(Ended::RateLimited);
        }
    }

    /// From this request to the next.
    fn interval(&self) -> Duration {
        if self.slowed == 0 && self.counts.sent < self.config.burst {
            return self.config.burst_interval;
        }
        // 2^11 times 64 s is the longest.
        let factor = 1_u32 << self.slowed.min(11);
        self.config.interval.saturating_mul(factor).min(INTERVAL_MAX.max(self.config.interval))
    }

    /// ICMP reported the port as unreachable. That may be forged as well as any packet without our
    /// random bits, so one is not enough.
    pub fn handle_unreachable(&mut self, request: u32) {
        if self.find(request).is_some_and(|open| open.sent && !open.answered) {
            self.counts.unreachable += 1;
            self.unreachable_in_a_row += 1;
            if self.unreachable_in_a_row >= UNREACHABLE_MAX && self.counts.samples == 0 {
                self.ending.get_or_insert(Ended::Unreachable);
                self.close_all();
            }
        }
        self.settle();
    }

    /// The user wants no more: nothing is sent or awaited any longer.
    pub fn stop(&mut self) {
        self.ending.get_or_insert(Ended::Stopped);
        self.close_all();
        self.settle();
    }

    /// Time has come to `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.give_up(now);
        self.settle();
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) or
    /// [`poll_transmit`](Self::poll_transmit) at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.nts.as_ref().is_some_and(|nts| nts.waiting);
        let send = (self.wants_to_send() && !waiting).then_some(self.next);
        // Those that were given up are closed at the next occasion.
        let until = self.open.iter().filter(|open| !open.lost).map(|open| open.until);
        if self.ended { None } else { send.into_iter().chain(until).min() }
    }

    /// The next event; call until `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    fn find(&mut self, request: u32) -> Option<&mut Open> {
        self.open.iter_mut().find(|open| open.exchange.request == request)
    }

    /// Gives up what was to be awaited until `now` at most. A reply to it is still seen for a
    /// while, so that it can be reported as late.
    fn give_up(&mut self, now: Instant) {
        let mut ended = Vec::new();
        for open in self.open.iter_mut().filter(|open| open.until <= now) {
            if open.answered || open.lost {
                ended.push(open.exchange.request);
                continue;
            }
            (open.lost, open.until) = (true, now + STRAGGLE);
            self.counts.lost += 1;
            let (request, sent) = (open.exchange.request, open.exchange.t1.at);
            self.events.push_back(Event::Lost { request, sent });
        }
        let lost = self.open.iter().filter(|open| open.lost);
        let lost: Vec<u32> = lost.map(|open| open.exchange.request).collect();
        // Each keeps a socket open.
        ended.extend(lost.iter().take(lost.len().saturating_sub(STRAGGLERS_MAX)));
        self.open.retain(|open| !ended.contains(&open.exchange.request));
        self.events.extend(ended.into_iter().map(|request| Event::Closed { request }));
    }

    fn close_all(&mut self) {
        while let Some(open) = self.open.pop_front() {
            let request = open.exchange.request;
            if !open.answered && !open.lost {
                self.counts.lost += 1;
                self.events.push_back(Event::Lost { request, sent: open.exchange.t1.at });
            }
            self.events.push_back(Event::Closed { request });
        }
    }

    /// Ends where nothing is left to send or to wait for.
    fn settle(&mut self) {
        if self.ended
            || self.wants_to_send()
            || self.open.iter().any(|open| !open.answered && !open.lost)
        {
            return;
        }
        self.close_all();
        self.ended = true;
        self.events.push_back(Event::Ended(self.ending.unwrap_or(Ended::Complete)));
    }
}

/// A count of cookies, of which a session keeps few and a datagram holds few.
fn few(cookies: usize) -> u32 {
    u32::try_from(cookies).expect("no more cookies than a datagram has bytes")
}
