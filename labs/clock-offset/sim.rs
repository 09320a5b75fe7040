//! A clock's client and server in virtual time: the same cores, delays that are drawn, no socket.

use crate::client::{Client, ClientConfig, Event};
use crate::finding::Gathered;
use crate::host_clocks::{HostClockMonitor, HostClocks, Reading};
use crate::interleaved::Memory;
use crate::packet::HEADER_LEN;
use crate::sample::{Arrival, TimePair};
use crate::scenario::{Fate, Scenario, Sleep, Smear, Step};
use crate::server::{ServerConfig, reply_by};
use crate::timestamp::saturated;
use crate::timestamp::{NtpTimestamp, WallTime};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use wirelab::measure::Instant;
use wirelab::measure::draw::keyed;

/// The scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The server and the path.
    pub scenario: Scenario,
    /// How the client asks.
    pub config: ClientConfig,
    /// The seed of all draws.
    pub seed: u64,
    /// This host's clock at the start.
    pub start: WallTime,
    /// Jumps of this host's clock.
    pub local_steps: Vec<Step>,
    /// Times over which this host's kernel slews its clocks, the monotonic one as well.
    pub local_slews: Vec<Smear>,
    /// Times at which this host sleeps; requests and replies on their way arrive when it wakes.
    pub local_sleeps: Vec<Sleep>,
}

/// From the request's arrival at the server to the reply: a busy server's usual 50 us.
pub const RESIDENCE: Duration = Duration::from_micros(50);

/// Address of the server in virtual time.
const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 123);

/// A reply on its way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Coming {
    at: Instant,
    request: u32,
    bytes: [u8; HEADER_LEN],
}

impl Plan {
    /// This host's clocks at a time.
    #[must_use]
    pub fn clocks(&self, at: Instant) -> TimePair {
        let steps = self.local_steps.iter().filter(|step| step.at <= at).map(|step| step.by_ns);
        let moved: i64 = steps.sum();
        let slept = self.slept(at, |sleep| sleep.for_ns + sleep.error_ns);
        let wall = self.undisturbed(at).plus(moved).plus(slept);
        TimePair { wall, at, width_ns: 0, slept_ns: slept.max(0).unsigned_abs() }
    }

    /// This host's clock without steps and sleep.
    fn undisturbed(&self, at: Instant) -> WallTime {
        self.start.plus(saturated(at.as_nanos().into()))
    }

    /// Sum over this host's sleeps so far.
    fn slept(&self, at: Instant, of: impl Fn(&Sleep) -> i64) -> i64 {
        self.local_sleeps.iter().filter(|sleep| sleep.at <= at).map(of).sum()
    }

    /// By how much the kernel has slewed this host's clocks.
    fn slewed(&self, at: Instant) -> i64 {
        self.local_slews.iter().map(|slew| slew.moved_at(at)).sum()
    }

    /// The server's clock at a time of this host's monotonic clock, which runs ahead by the slew.
    fn server(&self, at: Instant) -> WallTime {
        let slept = self.slept(at, |sleep| sleep.for_ns);
        self.undisturbed(at).plus(self.scenario.truth.offset_at(at) - self.slewed(at) + slept)
    }

    /// Every clock of this host at a time.
    fn reading(&self, at: Instant) -> Reading {
        let raw = at.as_nanos().saturating_add_signed(-self.slewed(at));
        let TimePair { wall, width_ns, slept_ns, .. } = self.clocks(at);
        Reading { at, wall, raw_ns: raw, boot_ns: at.as_nanos() + slept_ns, width_ns }
    }

    /// Differences between this host's clocks until a time.
    #[must_use]
    pub fn host_clocks(&self, until: Instant) -> Option<HostClocks> {
        // As many readings as a picture shows, from a run of any length.
        const READINGS: u64 = 256;
        let mut panel = HostClockMonitor::default();
        let span = u128::from(until.as_nanos());
        for part in 0..=READINGS {
            let at = span * u128::from(part) / u128::from(READINGS);
            panel.take(
                self.reading(Instant::from_nanos(u64::try_from(at).expect("not after the end"))),
            );
        }
        panel.clocks()
    }

    /// The true offset of this host's clock at a time.
    #[must_use]
    pub fn offset_at(&self, at: Instant) -> i64 {
        self.server(at).minus(self.clocks(at).wall)
    }

    /// Plays it; gives what came, and the clocks at the end.
    #[must_use]
    pub fn play(&self) -> (Gathered, TimePair) {
        self.play_with(|_, _| {})
    }

    /// Plays it; `observe` gets every event and its time.
    #[must_use]
    pub fn play_with(&self, mut observe: impl FnMut(&Event, Instant)) -> (Gathered, TimePair) {
        let mut now = Instant::ZERO;
        let mut client = Client::new(SERVER, self.config, now);
        let mut gathered = Gathered::new("virtual time".to_owned(), SERVER);
        let mut coming: BinaryHeap<Reverse<Coming>> = BinaryHeap::new();
        let (mut pause, mut memory) = (Vec::new(), Memory::default());
        while !client.is_ended() {
            let random = keyed(self.seed ^ 0x6e74_7020, u64::from(client.counts().sent));
            if let Some(transmit) = client.poll_transmit(now, random) {
                let t1 = self.clocks(now);
                // Ports go round in the dynamic range.
                let port = 49_152 + u16::try_from(transmit.request % 16_384).expect("below 2^14");
                client.handle_sent(transmit.request, port, t1);
                let coming_back = self.answer(now, transmit.request, &transmit.bytes, &mut memory);
                coming.extend(coming_back.map(Reverse));
            }
            while let Some(event) = client.poll_event() {
                observe(&event, now);
                if !matches!(event, Event::Closed { .. }) {
                    pause.push(event);
                }
            }
            let next = coming.peek().map(|Reverse(reply)| reply.at);
            let Some(at) = next.into_iter().chain(client.poll_timeout()).min() else { break };
            now = now.max(at);
            while let Some(Reverse(reply)) = coming.peek().filter(|Reverse(r)| r.at <= now) {
                let arrival = Arrival { user: self.clocks(now), kernel: None };
                client.handle_datagram(now, reply.request, SERVER, &reply.bytes, &arrival);
                coming.pop();
            }
            client.handle_timeout(now);
        }
        while let Some(event) = client.poll_event() {
            observe(&event, now);
            pause.push(event);
        }
        for event in pause {
            gathered.take(event);
        }
        gathered.counts = client.counts().clone();
        (gathered, self.clocks(now))
    }

    /// The reply to a request, and when it comes; none where either is lost.
    fn answer(
        &self,
        now: Instant,
        request: u32,
        bytes: &[u8],
        memory: &mut Memory,
    ) -> Option<Coming> {
        let Fate { out, back, lie_ns } = self.scenario.fate(self.seed, u64::from(request));
        let received = now + out?;
        let replied = received + RESIDENCE;
        let config = ServerConfig { leap: self.scenario.leap, ..ServerConfig::default() };
        let shown = |at: Instant| self.server(at).plus(lie_ns);
        let (t2, t3) = (shown(received), shown(replied));
        let (bytes, said) = reply_by(memory, &config, bytes, t2, t3).ok()?;
        if said.remembered {
            memory.handle_sent(said.receive, NtpTimestamp::at(t3));
        }
        Some(Coming { at: replied + back?, request, bytes })
    }
}
