//! The kernel's TCP, which retransmits losses itself.

use super::{
    ClientSocket, Conditions, KernelTimer, LaneFacts, PORT, SERVER, ServerSocket, Transport,
    Yardstick,
};
use std::io;
use std::time::Duration;
use wirelab::bank::stream::StreamClientConfig;
use wirelab::bank::transport::Transport as BankTransport;
use wirelab::emulator::endpoint;
use wirelab::measure::staircase::{Stair, attempt_fails, staircase};
use wirelab::measure::{Ppm, human, nanos};
use wirelab::sys::netns::Netns;

/// The kernel's default retransmission-timeout floor (`TCP_RTO_MIN`, 200 ms).
pub const KERNEL_RTO_MIN: Duration = Duration::from_millis(200);
/// The SYN timer (RFC 6298 §2.1): on Linux the first five retransmissions come 1 s apart
/// (`tcp_syn_linear_timeouts`).
const SYN_TIMEOUT: Duration = Duration::from_secs(1);
/// Loss up to which TCP's timer stays constant: above, replies delayed by a retransmission are
/// timed by their timestamps (RFC 7323 §4) and stretch it.
const SIMPLE_LOSS: Ppm = Ppm::new(20_000).expect("2 % is a probability");

/// TCP and its settings.
#[derive(Debug)]
pub struct Tcp {
    /// Whether small segments are sent at once despite unacknowledged ones (`TCP_NODELAY`).
    pub nodelay: bool,
    /// The floor under the retransmission timeout.
    pub floor: Floor,
    /// Whether every request opens its own connection.
    pub per_request: bool,
}

/// The floor under the retransmission timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// [`KERNEL_RTO_MIN`].
    Kernel,
    /// The plan's value (`--tuned-rto-min`).
    Tuned,
}

impl Tcp {
    const fn floor(&self, on: Conditions<'_>) -> Duration {
        match self.floor {
            Floor::Kernel => KERNEL_RTO_MIN,
            Floor::Tuned => on.tuned_rto_min,
        }
    }
}

impl Transport for Tcp {
    fn clients(&self, on: Conditions<'_>, depth: u32) -> Box<dyn BankTransport> {
        Box::new(StreamClientConfig {
            deadline: on.deadline,
            max_in_flight: depth as usize,
            ..StreamClientConfig::default()
        })
    }

    fn connect(&self, host: &Netns, on: Conditions<'_>) -> io::Result<ClientSocket> {
        let socket = endpoint::connecting(host, SERVER, on.congestion_control, self.nodelay);
        socket.map(ClientSocket::Stream)
    }

    fn listen(&self, host: &Netns, on: Conditions<'_>) -> io::Result<ServerSocket> {
        let listener = endpoint::listening(host, PORT, on.congestion_control)?;
        Ok(ServerSocket::Stream(listener, self.nodelay))
    }

    fn yardstick(&self, on: Conditions<'_>, lane: LaneFacts) -> Option<Yardstick> {
        let LaneFacts { loss, depth, .. } = lane;
        let q = attempt_fails(loss);
        let timer = on.rtt + self.floor(on);
        let floor = human::duration(self.floor(on));
        if self.per_request {
            return Some(Yardstick {
                model: format!(
                    "a handshake, then the request: a lost SYN waits 1s, a lost request or reply \
                     RTT + {floor}"
                ),
                stairs: reconnect_stairs(on.rtt, timer, loss, on.deadline),
                slow_expected: 1.0 - (1.0 - q).powi(2),
                base: on.rtt * 2,
                timer,
            });
        }
        (depth == 1).then(|| Yardstick {
            model: format!(
                "one packet in flight, so every loss waits for the kernel's timer, RTT + {floor}: \
                 a probe, the same timer again, then doubling (RFC 8985 §7, RFC 6298 §5)"
            ),
            stairs: tcp_stairs(on.rtt, timer, loss, on.deadline),
            slow_expected: q,
            base: on.rtt,
            timer,
        })
    }

    /// Not claimed for a lowered floor: at some milliseconds, kernel ticks and the peer's delayed
    /// acknowledgements blur the steps. Nor for a handshake, whose SYN timer is fifty times as
    /// long.
    fn on_stairs_up_to(&self) -> Option<Ppm> {
        (self.floor == Floor::Kernel && !self.per_request).then_some(SIMPLE_LOSS)
    }

    fn kernel_timer(&self, on: Conditions<'_>) -> Option<KernelTimer> {
        Some(KernelTimer { floor: self.floor(on), set: self.floor == Floor::Tuned })
    }

    fn needs_kernel(&self) -> Option<&'static str> {
        Some(
            "TCP lives in the kernel, and virtual time has none; a model of it would answer for \
             itself, not for your kernel. Run without --sim to see it",
        )
    }

    fn per_request(&self) -> bool {
        self.per_request
    }
}

/// A lone segment on Linux: a tail loss probe after one timer, one more timer, then doubling
/// (RFC 8985 §7.3; RFC 6298 §5.5).
fn tcp_stairs(rtt: Duration, rto: Duration, loss: Ppm, deadline: Duration) -> Vec<Stair> {
    let q = attempt_fails(loss);
    let mut stairs = staircase(rtt, rto, loss, deadline);
    let mut at = rtt;
    let mut timer = rto;
    for stair in &mut stairs {
        stair.at_ns = nanos(at);
        at += timer;
        if stair.failures > 0 {
            timer *= 2;
        }
    }
    // With the probe the staircase rises more slowly, so another step may precede the deadline.
    if let Some(last) = stairs.last().copied()
        && at <= deadline
        && q > 0.0
    {
        let share = 1.0 - (1.0 - last.share) * q;
        stairs.push(Stair { failures: last.failures + 1, at_ns: nanos(at), share });
    }
    stairs
}

/// All combinations of lost handshakes and lost exchanges, by latency.
fn reconnect_stairs(rtt: Duration, rto: Duration, loss: Ppm, deadline: Duration) -> Vec<Stair> {
    let q = attempt_fails(loss);
    let exchange = tcp_stairs(rtt, rto, loss, deadline);
    let mut steps: Vec<(u64, u32, f64)> = Vec::new();
    let mut open = rtt;
    let mut opened = 1.0 - q;
    for syn_failures in 0.. {
        if open > deadline || (syn_failures > 0 && q == 0.0) {
            break;
        }
        let mut below = 0.0;
        for stair in &exchange {
            let at = open + Duration::from_nanos(stair.at_ns);
            if at <= deadline {
                let failures = stair.failures + syn_failures;
                steps.push((nanos(at), failures, opened * (stair.share - below)));
            }
            below = stair.share;
        }
        open += SYN_TIMEOUT;
        opened *= q;
    }
    steps.sort_by_key(|step| step.0);
    let mut share = 0.0;
    let cumulate = |(at_ns, failures, weight): (u64, u32, f64)| {
        share += weight;
        Stair { failures, at_ns, share }
    };
    steps.into_iter().map(cumulate).collect()
}
