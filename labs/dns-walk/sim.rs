//! A walk in virtual time: the same core, the same link model, servers without sockets.

use crate::event::{Event, Record, Transport};
use crate::walk::{AttemptId, Transmit, Walk};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::path::DATAGRAM_HEADERS;
use wirelab::path::{Bytes as FrameBytes, Direction, Frame, Link, LinkPlan, Verdict};

/// Reply of a server to a query over a transport; `None` if silent.
pub type Responder<'a> = dyn FnMut(SocketAddr, Transport, &[u8]) -> Option<Vec<u8>> + 'a;

/// A message on its way, ordered by time of arrival, then by time of sending.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival {
    at: Instant,
    order: u64,
    attempt: AttemptId,
    peer: SocketAddr,
    to_server: bool,
    transport: Transport,
    bytes: Vec<u8>,
}

/// The path between a walk and all servers.
struct Path {
    links: [Link; 2],
    /// One way, for connections.
    delay: Duration,
    on_the_way: BinaryHeap<Reverse<Arrival>>,
    order: u64,
}

/// Runs a walk that was begun at `start` to its end; what happened, and the walk for its cache.
///
/// `links` are the path to the servers and back. A connection loses nothing, as the kernel repeats;
/// it takes one round trip of `delay` more than a datagram.
pub fn run(
    mut walk: Walk,
    start: Instant,
    responder: &mut Responder<'_>,
    links: &LinkPlan,
    delay: Duration,
    seed: u64,
) -> (Vec<Record>, Walk) {
    let link = |direction| Link::new(links.clone(), seed, direction);
    let links = Direction::BOTH.map(link);
    let mut path = Path { links, delay, on_the_way: BinaryHeap::new(), order: 0 };
    let mut now = start;
    let mut records = Vec::new();
    loop {
        while let Some(transmit) = walk.poll_transmit() {
            path.query(now, transmit);
        }
        while walk.poll_release().is_some() {}
        while let Some(record) = walk.poll_event() {
            records.push(record);
        }
        let timeout = walk.poll_timeout();
        let arrival = path.on_the_way.peek().map(|Reverse(next)| next.at);
        if walk.is_done() {
            return (records, walk);
        }
        let Some(next) = [timeout, arrival].into_iter().flatten().min() else {
            return (records, walk);
        };
        now = next.max(now);
        match path.on_the_way.pop() {
            Some(Reverse(arrival)) if arrival.at <= now => {
                path.arrive(now, arrival, responder, &mut walk);
            }
            early => {
                path.on_the_way.extend(early);
                walk.handle_timeout(now);
            }
        }
    }
}

impl Path {
    fn query(&mut self, now: Instant, transmit: Transmit) {
        let Transmit { attempt, to, transport, bytes } = transmit;
        self.send(now, Direction::AToB, attempt, to, transport, bytes);
    }

    fn send(
        &mut self,
        now: Instant,
        direction: Direction,
        attempt: AttemptId,
        peer: SocketAddr,
        transport: Transport,
        bytes: Vec<u8>,
    ) {
        let to_server = direction == Direction::AToB;
        let (at, copies) = match transport {
            Transport::Tcp if to_server => (now + self.delay * 3, 1),
            Transport::Tcp => (now + self.delay, 1),
            Transport::Udp => {
                let length = u32::try_from(bytes.len())
                    .expect("invariant: a message is at most 65,535 bytes");
                let length = length + DATAGRAM_HEADERS;
                let frame = Frame { bytes: FrameBytes::Payload(&bytes), length };
                match self.links[direction.index()].handle_frame(now, frame, 0).verdict {
                    Verdict::Deliver { at, copies } => (at, copies),
                    _ => return,
                }
            }
        };
        for _ in 0..copies {
            let (order, bytes) = (self.order, bytes.clone());
            self.order += 1;
            let arrival = Arrival { at, order, attempt, peer, to_server, transport, bytes };
            self.on_the_way.push(Reverse(arrival));
        }
    }

    fn arrive(
        &mut self,
        now: Instant,
        arrival: Arrival,
        responder: &mut Responder<'_>,
        walk: &mut Walk,
    ) {
        let Arrival { attempt, peer, to_server, transport, bytes, .. } = arrival;
        if !to_server {
            walk.handle_reply(now, attempt, peer, &bytes);
        } else if let Some(reply) = responder(peer, transport, &bytes) {
            self.send(now, Direction::BToA, attempt, peer, transport, reply);
        }
    }
}

/// The summary among the records of a walk.
#[must_use]
pub fn summary(records: &[Record]) -> Option<&crate::event::Summary> {
    records.iter().rev().find_map(|record| match &record.event {
        Event::Summary(summary) => Some(summary.as_ref()),
        _ => None,
    })
}
