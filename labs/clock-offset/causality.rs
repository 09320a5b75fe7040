//! Order by wall clocks against order by cause: what an offset does to events of two hosts.
//!
//! A message is sent before it is received. Stamped by two clocks that differ by more than the way
//! takes, it is not; a Lamport clock (Communications of the ACM 21, 1978), which counts events and
//! carries the count along, cannot be wrong that way. Played in virtual time by a scenario's path,
//! or by packets.

use super::scenario::{Scenario, Way};
use super::timestamp::WallTime;
use super::uncertainty::{Consequences, VectorClock};
use crate::timestamp::saturated;
use serde::Serialize;
use std::time::Duration;
use wirelab::measure::interval::Share;
use wirelab::measure::{Instant, Ppm};

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// The host whose clock is right.
    A,
    /// The host whose clock has the scenario's error.
    B,
}

/// A message that arrived, as both hosts stamped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Its number, from 1.
    pub number: u32,
    /// The sender.
    pub from: Host,
    /// When, by the sender's clock.
    #[serde(rename = "sent_ns")]
    pub sent: WallTime,
    /// When it was received, by the receiver's clock.
    #[serde(rename = "received_ns")]
    pub received: WallTime,
    /// The sender's Lamport clock.
    pub lamport_sent: u64,
    /// The receiver's Lamport clock.
    pub lamport_received: u64,
}

impl Message {
    /// Whether the stamps say that it was received before it was sent.
    #[must_use]
    pub fn contradicts(&self) -> bool {
        self.received < self.sent
    }
}

/// One direction: how often the stamps contradict the cause, and how often they should.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Direction {
    /// The sender.
    pub from: Host,
    /// How often they did, of the messages that arrived.
    pub contradicted: Share,
    /// The probability by the scenario, if the offset stays: that the way takes less than it.
    #[serde(rename = "expected_ppm")]
    pub expected: Ppm,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Order {
    /// Name and version of this format.
    pub schema: &'static str,
    /// Transport of the messages.
    pub carrier: Carrier,
    /// The scenario played.
    pub scenario: Scenario,
    /// The seed of its draws.
    pub seed: u64,
    /// From A to B, and from B to A.
    pub directions: [Direction; 2],
    /// Messages that a Lamport clock puts before their own sending.
    pub lamport_contradicted: u64,
    /// What follows for programs.
    pub consequences: Consequences,
    /// Every message that arrived.
    pub messages: Vec<Message>,
}

/// Name and version of the JSON of an order.
pub const SCHEMA: &str = "wirelab/clock-offset-order/1";
/// Messages in all, at most: their list takes 48 bytes each.
pub const MESSAGES_MAX: u32 = 1_000_000;

/// Transport of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// Nothing: time was virtual.
    VirtualTime,
    /// Packets through the emulated path, between two hosts of its own.
    Path,
}

/// Both hosts' books: their Lamport clocks, and what arrived.
#[derive(Clone, Debug, Default)]
pub struct Books {
    lamport: [u64; 2],
    vectors: [VectorClock; 2],
    /// The vector and Lamport clocks of every send, by its number.
    sends: Vec<(VectorClock, u64)>,
    arrived: Vec<Message>,
}

impl Books {
    /// A host sends: the Lamport time that the message carries.
    pub fn handle_sent(&mut self, from: Host) -> u64 {
        let clock = &mut self.lamport[from as usize];
        *clock += 1;
        let vector = &mut self.vectors[from as usize];
        vector[from as usize] += 1;
        self.sends.push((*vector, *clock));
        *clock
    }

    /// The other host has the message; `lamport` and `sent` are what it carries.
    pub fn handle_received(
        &mut self,
        number: u32,
        (sent, lamport_sent): (WallTime, u64),
        received: WallTime,
    ) {
        let from = sender(number);
        let to = if from == Host::A { Host::B } else { Host::A };
        let clock = &mut self.lamport[to as usize];
        // Lamport's rule IR2: beyond both what is here and what came.
        *clock = (*clock).max(lamport_sent) + 1;
        let lamport_received = *clock;
        let vector = &mut self.vectors[to as usize];
        if let Some((known, _)) = self.sends.get(number as usize - 1) {
            *vector = std::array::from_fn(|host| vector[host].max(known[host]));
        }
        vector[to as usize] += 1;
        self.arrived.push(Message { number, from, sent, received, lamport_sent, lamport_received });
    }

    /// How many messages arrived.
    #[must_use]
    pub fn arrived(&self) -> usize {
        self.arrived.len()
    }

    /// The outcome.
    #[must_use]
    pub fn close(self, scenario: &Scenario, seed: u64, carrier: Carrier) -> Order {
        let one = |from, way: &Way, ahead: i64| direction(&self.arrived, from, way, ahead);
        let ahead = scenario.truth.offset_ns;
        Order {
            schema: SCHEMA,
            carrier,
            directions: [
                one(Host::A, &scenario.out, ahead.saturating_neg()),
                one(Host::B, &scenario.back, ahead),
            ],
            lamport_contradicted: self
                .arrived
                .iter()
                .map(|message| u64::from(message.lamport_received <= message.lamport_sent))
                .sum(),
            consequences: Consequences::of(&self.arrived, &self.sends, ahead),
            scenario: scenario.clone(),
            seed,
            messages: self.arrived,
        }
    }
}

/// What a host's clock shows where A's, which is right, shows `right`.
#[must_use]
pub fn shown(scenario: &Scenario, host: Host, right: WallTime, at: Instant) -> WallTime {
    if host == Host::A { right } else { right.plus(scenario.truth.offset_at(at)) }
}

/// Plays messages that both hosts send in turn, one every `every`.
#[must_use]
pub fn play(
    scenario: &Scenario,
    seed: u64,
    messages: u32,
    every: Duration,
    start: WallTime,
) -> Order {
    let wall = |host: Host, at: Instant| {
        let right = start.plus(saturated(at.as_nanos().into()));
        shown(scenario, host, right, at)
    };
    // Sends and receipts in the order of true time; the number breaks ties.
    let mut events: Vec<(Instant, u32, bool)> = Vec::new();
    for number in 1..=messages {
        let sent = Instant::ZERO + every * (number - 1);
        events.push((sent, number, false));
        let fate = scenario.fate(seed, u64::from(number));
        let way = if sender(number) == Host::A { fate.out } else { fate.back };
        events.extend(way.map(|way| (sent + way, number, true)));
    }
    events.sort_unstable_by_key(|(at, number, receipt)| (*at, *receipt, *number));
    let mut books = Books::default();
    let mut sends = vec![(WallTime::default(), 0); messages as usize + 1];
    for (at, number, receipt) in events {
        let from = sender(number);
        let place = number as usize;
        if receipt {
            let to = if from == Host::A { Host::B } else { Host::A };
            books.handle_received(number, sends[place], wall(to, at));
        } else {
            sends[place] = (wall(from, at), books.handle_sent(from));
        }
    }
    books.close(scenario, seed, Carrier::VirtualTime)
}

/// Sender of a message: hosts alternate.
#[must_use]
pub const fn sender(number: u32) -> Host {
    if number % 2 == 1 { Host::A } else { Host::B }
}

/// How often a sender whose clock is ahead of the receiver's by `ahead` contradicts the cause.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a probability in parts per million needs no exact conversion"
)]
fn direction(messages: &[Message], from: Host, way: &Way, ahead: i64) -> Direction {
    let mine = || messages.iter().filter(|message| message.from == from);
    let hits = mine().filter(|message| message.contradicts()).count() as u64;
    // The way takes delay + Exp(jitter): P(way < ahead).
    let beyond = ahead as f64 - way.delay.as_nanos() as f64;
    let expected = if beyond <= 0.0 {
        0.0
    } else if way.jitter.is_zero() {
        1.0
    } else {
        1.0 - (-beyond / way.jitter.as_nanos() as f64).exp()
    };
    let expected = Ppm::new((expected * 1e6).round() as u32).expect("a probability");
    Direction { from, contradicted: Share::new(hits, mine().count() as u64), expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Truth;

    #[test]
    fn wall_clocks_contradict_as_often_as_theory_says_and_lamport_never() {
        for (seed, offset_ms, loss) in [(1, 8, 0), (2, 6, 100_000), (3, -15, 0), (4, 0, 0)] {
            let way = |delay, jitter| Way {
                delay: Duration::from_millis(delay),
                jitter: Duration::from_millis(jitter),
                loss: Ppm::new(loss).unwrap(),
            };
            let offset_ns = offset_ms * 1_000_000;
            let truth = Truth { offset_ns, ..Truth::default() };
            let (out, back) = (way(12, 4), way(5, 2));
            let scenario = Scenario { truth, out, back, ..Scenario::default() };
            let every = Duration::from_millis(3);
            let order = play(&scenario, seed, 4_000, every, WallTime::default());
            assert_eq!(order.lamport_contradicted, 0, "seed {seed}");
            assert_eq!(order.messages.len() == 4_000, loss == 0, "seed {seed}");
            for direction in &order.directions {
                let Share { hits, trials, .. } = direction.contradicted;
                // One in 20 of the 95 % intervals would miss: this is one in 10^4.
                let (low, high) = wirelab::measure::interval::clopper_pearson(hits, trials, 1e-4);
                let expected = direction.expected.fraction();
                assert!(low <= expected && expected <= high, "seed {seed}: {direction:?}");
            }
        }
    }
}
