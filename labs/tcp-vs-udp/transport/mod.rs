//! The transport of an arm: its sockets, its settings and the theory of its latency.
//!
//! To add one: implement [`wirelab::bank::transport`] for its bytes, [`Transport`] for its sockets
//! and theory, and add a row to [`crate::arms`].

pub mod tcp;
pub mod udp;

use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::io;
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use wirelab::bank::server::Dedup;
use wirelab::bank::transport::Transport as BankTransport;
use wirelab::emulator::topology::Topology;
use wirelab::measure::staircase::Stair;
use wirelab::measure::{Ppm, human};
use wirelab::sys::netns::Netns;

/// The port of every lane's bank; each has its own namespace.
pub const PORT: u16 = 7411;
/// Address of every lane's bank.
pub const SERVER: SocketAddrV4 = SocketAddrV4::new(Topology::B_ADDR, PORT);

/// Conditions of a plan for all transports.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// Round-trip time of the path without queues.
    pub rtt: Duration,
    /// Deadline of a request.
    pub deadline: Duration,
    /// Deadline of a client that never retries.
    pub patience: Duration,
    /// The retransmission-timeout floor of tuned arms.
    pub tuned_rto_min: Duration,
    /// The congestion control of TCP sockets whose arm names none.
    pub congestion_control: &'a str,
}

/// Conditions of a measured lane, for theory.
#[derive(Clone, Copy, Debug)]
pub struct LaneFacts {
    /// Loss probability, each way.
    pub loss: Ppm,
    /// Requests each client kept outstanding.
    pub depth: u32,
    /// The clients' mean timer at the start; `None` if the kernel has the timer.
    pub client_rto: Option<Duration>,
}

/// The transport of an arm, with the arm's settings.
pub trait Transport: Debug + Send + Sync {
    /// Creates the clients: calls to bytes and back, retries, deadlines.
    fn clients(&self, on: Conditions<'_>, depth: u32) -> Box<dyn BankTransport>;

    /// Opens one client's non-blocking socket in `host` and starts connecting to [`SERVER`].
    ///
    /// # Errors
    /// The kernel's error.
    fn connect(&self, host: &Netns, on: Conditions<'_>) -> io::Result<ClientSocket>;

    /// Opens the bank's non-blocking socket in `host`, on [`PORT`].
    ///
    /// # Errors
    /// The kernel's error.
    fn listen(&self, host: &Netns, on: Conditions<'_>) -> io::Result<ServerSocket>;

    /// Duplicate detection by the bank.
    fn dedup(&self) -> Dedup;

    /// The model of a lane; `None` without one.
    fn yardstick(&self, on: Conditions<'_>, lane: LaneFacts) -> Option<Yardstick>;

    /// The highest loss at which slow requests at depth 1 must lie on the model's steps.
    /// `None`: not claimed.
    fn on_stairs_up_to(&self) -> Option<Ppm>;

    /// Whether lost requests are repeated, by the kernel or the client.
    fn repeats(&self) -> bool {
        true
    }

    /// The retransmission timer, if it is the kernel's.
    fn kernel_timer(&self, _on: Conditions<'_>) -> Option<KernelTimer> {
        None
    }

    /// The congestion control of its sockets; `None` if it has none.
    fn congestion_control<'a>(&'a self, _on: Conditions<'a>) -> Option<&'a str> {
        None
    }

    /// Why it cannot run in virtual time; `None` if it can.
    fn needs_kernel(&self) -> Option<&'static str> {
        None
    }

    /// Whether every request opens its own connection: such an arm has no depth, and each request
    /// waits one round trip for its handshake.
    fn per_request(&self) -> bool {
        false
    }
}

/// A client's socket.
#[derive(Debug)]
pub enum ClientSocket {
    /// A connecting socket.
    Stream(TcpStream),
    /// A socket connected to the bank.
    Datagram(UdpSocket),
}

/// The bank's socket.
#[derive(Debug)]
pub enum ServerSocket {
    /// The listener; whether its connections send small segments at once (`TCP_NODELAY`).
    Stream(TcpListener, bool),
    /// The datagram socket.
    Datagram(UdpSocket),
}

/// The kernel's retransmission timer on a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTimer {
    /// The minimum wait beyond the round trip.
    pub floor: Duration,
    /// Whether the lane sets that floor; otherwise it is the kernel's own.
    pub set: bool,
}

/// A step of an analytic distribution, and what repeats the request there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its latency and share.
    #[serde(flatten)]
    pub stair: Stair,
    /// The mechanisms that acted, in order: `tail-loss probe`, `SYN timer, then …`.
    #[serde(default)]
    pub mechanism: String,
}

/// The model of a lane: assumption, steps, and the share of requests above the first.
#[derive(Clone, Debug)]
pub struct Yardstick {
    /// The assumption, in a sentence.
    pub model: String,
    /// The analytic distribution.
    pub stairs: Vec<Step>,
    /// The share of slow or unanswered requests.
    pub slow_expected: f64,
    /// Latency of a request without loss.
    pub base: Duration,
    /// Latency added by the first loss.
    pub timer: Duration,
}

/// Reads `on` or `off`.
fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{key}: expected on or off, got {value:?}")),
    }
}

/// Reads a duration above zero.
fn time(key: &str, value: &str) -> Result<Duration, String> {
    match human::parse_duration(value) {
        Ok(time) if time > Duration::ZERO => Ok(time),
        Ok(_) => Err(format!("{key}: expected a duration above 0")),
        Err(error) => Err(format!("{key}: {error}")),
    }
}

/// The error of a key that the kind does not have.
fn unknown_key(kind: &str, key: &str, keys: &str) -> String {
    format!("{kind} has no key {key:?}: expected one of {keys}")
}
