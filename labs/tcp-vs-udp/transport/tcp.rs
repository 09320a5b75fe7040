//! The kernel's TCP, which retransmits losses itself.

use super::{
    ClientSocket, Conditions, KernelTimer, LaneFacts, PORT, SERVER, ServerSocket, Step, Transport,
    Yardstick, switch, time, unknown_key,
};
use std::io;
use std::time::Duration;
use wirelab::bank::server::Dedup;
use wirelab::bank::stream::StreamClientConfig;
use wirelab::bank::transport::Transport as BankTransport;
use wirelab::emulator::endpoint::{self, StreamOptions};
use wirelab::measure::staircase::{Stair, attempt_fails, staircase};
use wirelab::measure::{Ppm, human, nanos};
use wirelab::sys::netns::Netns;

/// The kernel's default retransmission-timeout floor (`TCP_RTO_MIN`, 200 ms).
pub const KERNEL_RTO_MIN: Duration = Duration::from_millis(200);
/// The SYN timer (RFC 6298 §2.1): on Linux the first five retransmissions come 1 s apart
/// (`tcp_syn_linear_timeouts`).
const SYN_TIMEOUT: Duration = Duration::from_secs(1);
/// Those retransmissions; later ones double the timer and lie beyond usual deadlines.
const SYN_RETRIES: u32 = 5;
/// Loss up to which TCP's timer stays constant: above, replies delayed by a retransmission are
/// timed by their timestamps (RFC 7323 §4) and stretch it.
const SIMPLE_LOSS: Ppm = Ppm::new(20_000).expect("2 % is a probability");

/// TCP and its settings.
#[derive(Debug, Default)]
pub struct Tcp {
    /// Whether small segments are sent at once despite unacknowledged ones (`TCP_NODELAY`).
    nodelay: bool,
    floor: Floor,
    /// Whether every request opens its own connection.
    per_request: bool,
    /// Its congestion control, if not the plan's.
    congestion_control: Option<String>,
    /// Whether the client acknowledges at once when it connects (`TCP_QUICKACK`).
    quickack: Option<bool>,
    /// When the kernel gives a connection up (`TCP_USER_TIMEOUT`).
    user_timeout: Option<Duration>,
    /// Whether SYNs carry data (RFC 7413).
    fast_open: bool,
}

/// The floor under the retransmission timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Floor {
    /// [`KERNEL_RTO_MIN`].
    #[default]
    Kernel,
    /// The plan's value (`--tuned-rto-min`).
    Tuned,
    /// The arm's own.
    Own(Duration),
}

const KEYS: &str = "nodelay, rto_min, connect, cc, quickack, user_timeout, tfo";

impl Tcp {
    /// TCP with these settings.
    ///
    /// # Errors
    /// If a key does not exist or its value cannot be read.
    pub fn with(pairs: &[(&str, &str)]) -> Result<Self, String> {
        let mut tcp = Self::default();
        for (key, value) in pairs {
            match *key {
                "nodelay" => tcp.nodelay = switch(key, value)?,
                "tfo" => tcp.fast_open = switch(key, value)?,
                "quickack" => tcp.quickack = Some(switch(key, value)?),
                "rto_min" if *value == "tuned" => tcp.floor = Floor::Tuned,
                "rto_min" => tcp.floor = Floor::Own(time(key, value)?),
                "user_timeout" => tcp.user_timeout = Some(time(key, value)?),
                "cc" => tcp.congestion_control = Some((*value).to_owned()),
                "connect" => {
                    tcp.per_request = match *value {
                        "request" => true,
                        "once" => false,
                        _ => return Err(format!("connect: expected once or request: {value:?}")),
                    }
                }
                _ => return Err(unknown_key("tcp", key, KEYS)),
            }
        }
        Ok(tcp)
    }

    const fn floor(&self, on: Conditions<'_>) -> Duration {
        match self.floor {
            Floor::Kernel => KERNEL_RTO_MIN,
            Floor::Tuned => on.tuned_rto_min,
            Floor::Own(floor) => floor,
        }
    }

    fn options<'a>(&'a self, on: Conditions<'a>) -> StreamOptions<'a> {
        StreamOptions {
            congestion_control: self.congestion_control.as_deref().unwrap_or(on.congestion_control),
            nodelay: self.nodelay,
            quickack: self.quickack,
            user_timeout: self.user_timeout,
            fast_open: self.fast_open,
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
        endpoint::connecting(host, SERVER, self.options(on)).map(ClientSocket::Stream)
    }

    fn listen(&self, host: &Netns, on: Conditions<'_>) -> io::Result<ServerSocket> {
        let listener = endpoint::listening(host, PORT, self.options(on))?;
        Ok(ServerSocket::Stream(listener, self.nodelay))
    }

    fn dedup(&self) -> Dedup {
        Dedup::Volatile
    }

    fn yardstick(&self, on: Conditions<'_>, lane: LaneFacts) -> Option<Yardstick> {
        let LaneFacts { loss, depth, .. } = lane;
        let q = attempt_fails(loss);
        let timer = on.rtt + self.floor(on);
        let floor = human::duration(self.floor(on));
        if self.per_request && self.fast_open {
            // A lost SYN then carries the request, which theory does not cover.
            return None;
        }
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
        Some(KernelTimer { floor: self.floor(on), set: self.floor != Floor::Kernel })
    }

    fn congestion_control<'a>(&'a self, on: Conditions<'a>) -> Option<&'a str> {
        Some(self.options(on).congestion_control)
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

/// Mechanism of a lone segment's n-th retransmission.
fn mechanism(failures: u32) -> String {
    match failures {
        0 => "no repeat".to_owned(),
        1 => "tail-loss probe".to_owned(),
        2 => "retransmission timer".to_owned(),
        n => format!("timer × {}", 1_u64 << (n - 2).min(40)),
    }
}

/// A lone segment on Linux: a tail-loss probe after one timer (RFC 8985 §7.2), one more timer, then
/// doubling (RFC 6298 §5.5).
fn tcp_stairs(rtt: Duration, rto: Duration, loss: Ppm, deadline: Duration) -> Vec<Step> {
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
    stairs.into_iter().map(|stair| Step { stair, mechanism: mechanism(stair.failures) }).collect()
}

fn syn_timers(n: u32) -> String {
    if n == 1 { "SYN timer".to_owned() } else { format!("{n} SYN timers") }
}

/// All combinations of lost handshakes and lost exchanges, by latency.
fn reconnect_stairs(rtt: Duration, rto: Duration, loss: Ppm, deadline: Duration) -> Vec<Step> {
    let q = attempt_fails(loss);
    let exchange = tcp_stairs(rtt, rto, loss, deadline);
    let mut steps: Vec<Step> = Vec::new();
    let mut open = rtt;
    let mut opened = 1.0 - q;
    for syn_failures in 0..=SYN_RETRIES {
        if open > deadline || (syn_failures > 0 && q == 0.0) {
            break;
        }
        let mut below = 0.0;
        for step in &exchange {
            let Stair { failures, at_ns, share } = step.stair;
            let at = open + Duration::from_nanos(at_ns);
            if at <= deadline {
                let stair = Stair {
                    failures: failures + syn_failures,
                    at_ns: nanos(at),
                    share: opened * (share - below),
                };
                let mechanism = match (syn_failures, failures) {
                    (0, _) => step.mechanism.clone(),
                    (n, 0) => syn_timers(n),
                    (n, _) => format!("{}, {}", syn_timers(n), step.mechanism),
                };
                steps.push(Step { stair, mechanism });
            }
            below = share;
        }
        open += SYN_TIMEOUT;
        opened *= q;
    }
    steps.sort_by_key(|step| step.stair.at_ns);
    let mut share = 0.0;
    for step in &mut steps {
        share += step.stair.share;
        step.stair.share = share;
    }
    steps
}
