//! Bulk TCP against theory: the goodput of a small Reno in virtual time over lossy links.
//!
//! Sender and receiver are independent of the link model, so a fault in its loss process shows as a
//! goodput outside the band of the two formulas.

#![expect(clippy::cast_possible_truncation, reason = "a window is some hundred segments")]
#![expect(clippy::cast_sign_loss, reason = "a congestion window is positive")]

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;
use wirelab::measure::goodput::BulkTcp;
use wirelab::measure::{Instant, Ppm};
use wirelab::path::{Bytes, Delay, Direction, Frame, Link, LinkPlan, LossModel, Verdict};

const TCP: BulkTcp = BulkTcp {
    segment_bytes: 1_448,
    rtt: Duration::from_millis(20),
    rto: Duration::from_millis(220),
};
/// Until slow start is over and its effects have faded.
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(60);
const SEEDS: u64 = 24;
/// Segments of the first flight (RFC 6928).
const INITIAL_WINDOW: f64 = 10.0;
/// Minimum window after a halving, in segments (RFC 5681 §3.1).
const WINDOW_MIN: f64 = 2.0;
/// Maximum doublings of the timer, as in the formula: 64 times the first.
const BACKOFF_MAX: u32 = 6;
/// Wire length of a full segment, and of an acknowledgement.
const LENGTHS: [u32; 2] = [1_514, 66];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    OnItsWay,
    Lost,
    Received,
}

/// A segment not yet cumulatively acknowledged.
#[derive(Clone, Copy, Debug)]
struct Segment {
    /// Its last transmission, from 1.
    sent_as: u64,
    state: State,
}

/// A segment and the number of its transmission; in acknowledgements the receiver adds the first
/// missing segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Packet {
    Data { segment: u64, sent_as: u64 },
    Ack { lacking: u64, segment: u64, sent_as: u64 },
}

/// Reno with SACK: slow start, one halving per window, one segment more per round trip, and a timer
/// (RFC 5681, RFC 6675). As in RACK (RFC 8985) a segment is lost once three sent later have
/// arrived, so a lost retransmission does not wait for the timer.
#[derive(Debug)]
struct Sender {
    /// Number of the first segment of `window`.
    first: u64,
    window: VecDeque<Segment>,
    cwnd: f64,
    ssthresh: f64,
    /// Highest transmission before the last reduction: losses up to it belong to the same event.
    recover: u64,
    recovering: bool,
    timer: Option<Instant>,
    backoff: u32,
    transmissions: u64,
    /// The last three transmissions that arrived.
    came: [u64; 3],
}

impl Sender {
    const fn new() -> Self {
        Self {
            first: 0,
            window: VecDeque::new(),
            cwnd: INITIAL_WINDOW,
            ssthresh: f64::INFINITY,
            recover: 0,
            recovering: false,
            timer: None,
            backoff: 0,
            transmissions: 0,
            came: [0; 3],
        }
    }

    fn next(&self) -> u64 {
        self.first + self.window.len() as u64
    }

    fn handle_ack(&mut self, now: Instant, lacking: u64, segment: u64, sent_as: u64) {
        self.came = [self.came[1], self.came[2], sent_as];
        if let Some(at) = segment.checked_sub(self.first)
            && let Some(received) = self.window.get_mut(at as usize)
        {
            received.state = State::Received;
        }
        let advanced = lacking > self.first;
        if advanced {
            self.window.drain(..(lacking - self.first) as usize);
            self.first = lacking;
            self.backoff = 0;
            self.timer = (!self.window.is_empty()).then(|| now + TCP.rto);
            self.recovering &= self.first < self.recover;
        }
        let before = self.came[0];
        let lost = self.mark_lost(|segment| segment.sent_as < before);
        if lost && self.reduce() {
            self.cwnd = self.ssthresh;
            self.recovering = true;
        } else if advanced && !self.recovering {
            self.cwnd += if self.cwnd < self.ssthresh { 1.0 } else { 1.0 / self.cwnd };
        }
    }

    /// Marks lost segments; whether any is new.
    fn mark_lost(&mut self, lost: impl Fn(&Segment) -> bool) -> bool {
        let mut any = false;
        for segment in self.window.iter_mut().filter(|s| s.state == State::OnItsWay && lost(s)) {
            segment.state = State::Lost;
            any = true;
        }
        any
    }

    /// Halves the threshold, once per window; whether it did.
    fn reduce(&mut self) -> bool {
        let new = self.first >= self.recover;
        if new {
            self.ssthresh = (self.cwnd / 2.0).floor().max(WINDOW_MIN);
            self.recover = self.next();
        }
        new
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.mark_lost(|_| true);
        self.reduce();
        self.cwnd = 1.0;
        self.recovering = false;
        self.backoff = (self.backoff + 1).min(BACKOFF_MAX);
        self.timer = Some(now + TCP.rto * 2_u32.pow(self.backoff));
    }

    /// The next transmission that the window allows: lost segments first.
    fn poll_transmit(&mut self, now: Instant) -> Option<Packet> {
        let on_way = self.window.iter().filter(|s| s.state == State::OnItsWay).count();
        if on_way >= self.cwnd as usize {
            return None;
        }
        self.transmissions += 1;
        let sent_as = self.transmissions;
        let sent = Segment { sent_as, state: State::OnItsWay };
        let lost = self.window.iter().position(|s| s.state == State::Lost);
        let at = lost.unwrap_or(self.window.len());
        match self.window.get_mut(at) {
            Some(segment) => *segment = sent,
            None => self.window.push_back(sent),
        }
        self.timer.get_or_insert(now + TCP.rto);
        Some(Packet::Data { segment: self.first + at as u64, sent_as })
    }
}

/// Accepts segments in any order.
#[derive(Debug, Default)]
struct Receiver {
    lacking: u64,
    beyond: BTreeSet<u64>,
}

impl Receiver {
    fn handle_data(&mut self, segment: u64, sent_as: u64) -> Packet {
        if segment >= self.lacking {
            self.beyond.insert(segment);
        }
        while self.beyond.remove(&self.lacking) {
            self.lacking += 1;
        }
        Packet::Ack { lacking: self.lacking, segment, sent_as }
    }
}

/// Both ends, and the links between them.
struct Path {
    links: [Link; 2],
    on_way: BinaryHeap<Reverse<(Instant, u64, Packet)>>,
    order: u64,
}

impl Path {
    /// Loss towards the receiver only, as in the benchmark: the formulas assume it, and the next
    /// acknowledgement replaces a lost one.
    fn new(loss: Ppm, seed: u64) -> Self {
        let link = |loss, direction| {
            let delay = Delay::Constant(TCP.rtt / 2);
            let loss = LossModel::Iid(loss);
            Link::new(LinkPlan { loss, delay, ..LinkPlan::default() }, seed, direction)
        };
        let links = [link(loss, Direction::AToB), link(Ppm::ZERO, Direction::BToA)];
        Self { links, on_way: BinaryHeap::new(), order: 0 }
    }

    fn send(&mut self, now: Instant, packet: Packet) {
        let way = usize::from(matches!(packet, Packet::Ack { .. }));
        let frame = Frame { bytes: Bytes::Payload(&[]), length: LENGTHS[way] };
        let fate = self.links[way].handle_frame(now, frame, 0);
        if let Verdict::Deliver { at, .. } = fate.verdict {
            self.order += 1;
            self.on_way.push(Reverse((at, self.order, packet)));
        }
    }

    /// Payload delivered in order, in Mbit/s.
    fn goodput(mut self) -> f64 {
        let (mut sender, mut receiver) = (Sender::new(), Receiver::default());
        let (warm, end) = (Instant::ZERO + WARM_UP, Instant::ZERO + WARM_UP + MEASURED);
        let (mut now, mut before) = (Instant::ZERO, None);
        while now < end {
            while let Some(packet) = sender.poll_transmit(now) {
                self.send(now, packet);
            }
            let next = self.on_way.peek().map_or(Instant::MAX, |Reverse((at, ..))| *at);
            let timer = sender.timer.unwrap_or(Instant::MAX);
            now = next.min(timer);
            if now >= warm {
                before.get_or_insert(receiver.lacking);
            }
            if timer < next {
                sender.handle_timeout(now);
                continue;
            }
            match self.on_way.pop() {
                Some(Reverse((_, _, Packet::Data { segment, sent_as }))) => {
                    let ack = receiver.handle_data(segment, sent_as);
                    self.send(now, ack);
                }
                Some(Reverse((_, _, Packet::Ack { lacking, segment, sent_as }))) => {
                    sender.handle_ack(now, lacking, segment, sent_as);
                }
                None => panic!("neither a packet nor a timer is left at {now}"),
            }
        }
        let segments = receiver.lacking - before.unwrap_or(receiver.lacking);
        let bits = segments as f64 * 8.0 * f64::from(TCP.segment_bytes);
        bits / 1e6 / MEASURED.as_secs_f64()
    }
}

/// At 0.2 % the mean of many seeds (400: 15.955 +- 0.035 Mbit/s) lies 0.6 % above Mathis, whose
/// losses are evenly spaced: random losses let some windows grow far. The standard error of the
/// seeds used here is larger.
#[test]
fn reno_lies_between_pftk_and_mathis() {
    for loss in [2_000, 10_000, 50_000].map(|parts| Ppm::new(parts).unwrap()) {
        let seeds = SEEDS as f64;
        let each: Vec<f64> = (1..=SEEDS).map(|seed| Path::new(loss, seed).goodput()).collect();
        let mean = each.iter().sum::<f64>() / seeds;
        let variance = each.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (seeds - 1.0);
        let error = (variance / seeds).sqrt();
        let low = TCP.pftk_bits_per_second(loss) / 1e6;
        let high = TCP.mathis_bits_per_second(loss) / 1e6;
        let what = format!(
            "{loss}, seeds 1 to {SEEDS}: {mean:.3} +- {error:.3} Mbit/s (one standard error), PFTK \
             {low:.3}, Mathis {high:.3}"
        );
        // A smaller error makes a stricter test; a large one would prove nothing.
        assert!(error < 0.03 * mean, "{what}: the seeds scatter too much");
        assert!(mean > low - 3.0 * error && mean < high + 3.0 * error, "{what}: {each:.2?}");
    }
}
