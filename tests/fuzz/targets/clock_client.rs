//! NTP client under any order of sends, replies, timers, clock steps, sleep and refusals: it ends
//! within its bounds.
//!
//! The bytes decide whether the server is honest; if everything was honest the true offset must lie
//! in the interval.
#![no_main]

use clock_offset::client::{Client, ClientConfig};
use clock_offset::drift::DRIFT_MAX;
use clock_offset::finding::{Finding, Gathered, View};
use clock_offset::interleaved::Memory;
use clock_offset::sample::{Arrival, TimePair};
use clock_offset::server::{ServerConfig, reply_by};
use clock_offset::timestamp::{NtpTimestamp, WallTime};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;
use wirelab::measure::Instant;

/// Offset of the honest server.
const AHEAD: i64 = 123_456_789;

struct World {
    now: Instant,
    stepped: i64,
    slept: i64,
    memory: Memory,
    client: Client,
    /// Requests in flight: number, send time, bytes.
    asked: Vec<(u32, (Instant, i64), Vec<u8>)>,
    gathered: Gathered,
    honest: bool,
}

fuzz_target!(|data: &[u8]| {
    let server = "127.0.0.1:123".parse().unwrap();
    let config = ClientConfig { requests: Some(12), interleaved: true, ..ClientConfig::default() };
    let mut world = World {
        now: Instant::from_nanos(1),
        stepped: 0,
        slept: 0,
        memory: Memory::default(),
        client: Client::new(server, config, Instant::from_nanos(1)),
        asked: Vec::new(),
        gathered: Gathered::new(String::new(), server),
        honest: true,
    };
    let mut rest = data;
    while let Some((&[step, value], tail)) = rest.split_first_chunk::<2>() {
        rest = world.step(step, value, tail);
        world.tell();
    }
    world.end();
});

impl World {
    fn clocks(&self) -> TimePair {
        let at = i64::try_from(self.now.as_nanos()).unwrap();
        let wall = WallTime::from_nanos(1_795_000_000_000_000_000).plus(at).plus(self.stepped);
        let slept_ns = self.slept.unsigned_abs();
        TimePair { wall: wall.plus(self.slept), at: self.now, width_ns: 0, slept_ns }
    }

    /// The reading of the server's clock.
    fn server(at: Instant, slept: i64) -> WallTime {
        let at = i64::try_from(at.as_nanos()).unwrap();
        WallTime::from_nanos(1_795_000_000_000_000_000).plus(at).plus(AHEAD).plus(slept)
    }

    fn step<'a>(&mut self, step: u8, value: u8, tail: &'a [u8]) -> &'a [u8] {
        let server = self.client.server();
        match step % 9 {
            0 | 1 => self.send(value),
            2 | 3 => self.answer(value),
            4 => {
                // Any bytes, perhaps with the right origin.
                let (bytes, rest) = tail.split_at(usize::from(value).min(tail.len()));
                let arrival = Arrival { user: self.clocks(), kernel: None };
                let mut bytes = bytes.to_vec();
                let asked =
                    self.asked.last().map(|(request, _, sent)| (*request, sent[40..48].to_vec()));
                if let (Some(origin), Some((request, nonce))) = (bytes.get_mut(24..32), asked) {
                    origin.copy_from_slice(&nonce);
                    self.honest = false;
                    self.client.handle_datagram(self.now, request, server, &bytes, &arrival);
                } else {
                    self.client.handle_datagram(
                        self.now,
                        u32::from(step),
                        server,
                        &bytes,
                        &arrival,
                    );
                }
                return rest;
            }
            5 => {
                self.now += Duration::from_millis(u64::from(value) * 10);
                self.client.handle_timeout(self.now);
            }
            6 => self.stepped += i64::from(value.cast_signed()) * 1_000_000,
            7 => self.slept += i64::from(value) * 1_000_000_000,
            _ => {
                if let Some((request, ..)) = self.asked.last() {
                    self.client.handle_unreachable(*request);
                }
            }
        }
        tail
    }

    fn send(&mut self, value: u8) {
        if let Some(due) = self.client.poll_timeout().filter(|_| value & 1 == 0) {
            self.now = self.now.max(due);
        }
        if let Some(sent) = self.client.poll_transmit(self.now, u64::from(value)) {
            self.client.handle_sent(sent.request, 50_000, self.clocks());
            self.client.handle_left(sent.request, self.clocks().wall);
            self.asked.push((sent.request, (self.now, self.slept), sent.bytes.to_vec()));
        }
    }

    /// An honest reply to some request, received then or just now, with a delay on the way back.
    fn answer(&mut self, value: u8) {
        if self.asked.is_empty() {
            return;
        }
        let (request, sent, bytes) = self.asked[usize::from(value) % self.asked.len()].clone();
        let (received, slept) = if value & 64 == 0 { sent } else { (self.now, self.slept) };
        let (t2, t3) = (Self::server(received, slept), Self::server(self.now, self.slept));
        let made = reply_by(&mut self.memory, &ServerConfig::default(), &bytes, t2, t3);
        let Ok((answer, said)) = made else { return };
        if said.remembered {
            self.memory.handle_sent(said.receive, NtpTimestamp::at(t3));
        }
        self.now += Duration::from_micros(u64::from(value));
        let arrival = Arrival { user: self.clocks(), kernel: None };
        let server = self.client.server();
        self.client.handle_datagram(self.now, request, server, &answer, &arrival);
    }

    fn tell(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.gathered.take(event);
        }
    }

    fn end(mut self) {
        for _ in 0..40 {
            let Some(at) = self.client.poll_timeout() else { break };
            self.now = self.now.max(at);
            self.send(1);
            self.client.handle_timeout(self.now);
            self.tell();
        }
        assert!(self.client.is_ended() && self.client.poll_timeout().is_none());
        let counts = self.client.counts();
        assert_eq!(counts.sent, counts.samples + counts.lost);
        let view = View { estimator: None, drift_limit: DRIFT_MAX, within_ns: None };
        let now = self.clocks();
        let truth = World::server(self.now, self.slept).minus(now.wall);
        let finding = Finding::new(vec![self.gathered], view, now);
        let Some(together) = finding.together.filter(|_| self.honest) else { return };
        assert!(together.interval.contains(truth), "{truth} outside {together:?}");
        assert!(finding.servers[0].bound.unwrap().contradiction.is_none());
    }
}
