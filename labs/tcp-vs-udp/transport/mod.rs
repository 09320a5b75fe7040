//! What the comparison asks of a transport. Each is one file; the arms are its settings.
//!
//! To add one: implement [`wirelab::bank::transport`] for its bytes, [`Transport`] for its sockets
//! and its theory, and give it a row in [`crate::arms`].

pub mod tcp;
pub mod udp;

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;
use wirelab::bank::transport::Transport as BankTransport;
use wirelab::emulator::topology::Topology;
use wirelab::measure::Ppm;
use wirelab::measure::staircase::Stair;
use wirelab::sys::netns::Netns;

/// The port of every lane's bank; each has a namespace of its own.
pub const PORT: u16 = 7411;
/// Where every lane's bank is.
pub const SERVER: SocketAddrV4 = SocketAddrV4::new(Topology::B_ADDR, PORT);

/// What a plan says to every transport.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// Round-trip time of the path without queues.
    pub rtt: Duration,
    /// When a client gives a request up.
    pub deadline: Duration,
    /// When a client that never retries gives up.
    pub patience: Duration,
    /// The retransmission-timeout floor of arms that set one.
    pub tuned_rto_min: Duration,
    /// The congestion control of every TCP socket.
    pub congestion_control: &'a str,
}

/// What a lane was measured under, as far as theory needs it.
#[derive(Clone, Copy, Debug)]
pub struct LaneFacts {
    /// Loss probability, each way.
    pub loss: Ppm,
    /// Requests each client kept outstanding.
    pub depth: u32,
    /// The clients' mean timer when they began; `None` where the kernel has the timer.
    pub client_rto: Option<Duration>,
}

/// What carries the requests of an arm, with the arm's settings.
pub trait Transport: Debug + Sync {
    /// Makes the clients' side: calls to bytes and back, retries, deadlines.
    fn clients(&self, on: Conditions<'_>, depth: u32) -> Box<dyn BankTransport>;

    /// Opens one client's socket in `host`, non-blocking, on its way to [`SERVER`].
    ///
    /// # Errors
    /// What the kernel says.
    fn connect(&self, host: &Netns, on: Conditions<'_>) -> io::Result<ClientSocket>;

    /// Opens the bank's socket in `host`, non-blocking, on [`PORT`].
    ///
    /// # Errors
    /// What the kernel says.
    fn listen(&self, host: &Netns, on: Conditions<'_>) -> io::Result<ServerSocket>;

    /// What theory says of a lane; `None` where it has nothing to say.
    fn yardstick(&self, on: Conditions<'_>, lane: LaneFacts) -> Option<Yardstick>;

    /// The highest loss at which slow requests at depth 1 must lie on the yardstick's steps.
    /// `None`: not claimed.
    fn on_stairs_up_to(&self) -> Option<Ppm>;

    /// The retransmission timer, where the kernel has it.
    fn kernel_timer(&self, _on: Conditions<'_>) -> Option<KernelTimer> {
        None
    }

    /// Why it cannot run in virtual time; `None` where it can.
    fn needs_kernel(&self) -> Option<&'static str> {
        None
    }

    /// Whether every request has a connection of its own: such an arm has no depth, and each
    /// request waits one round trip for its handshake.
    fn per_request(&self) -> bool {
        false
    }
}

/// A client's socket.
#[derive(Debug)]
pub enum ClientSocket {
    /// A connection that has been begun.
    Stream(TcpStream),
    /// A socket connected to the bank.
    Datagram(UdpSocket),
}

/// The bank's socket.
#[derive(Debug)]
pub enum ServerSocket {
    /// Where connections arrive; whether they send small segments at once (`TCP_NODELAY`).
    Stream(TcpListener, bool),
    /// Where datagrams arrive.
    Datagram(UdpSocket),
}

/// The kernel's retransmission timer on a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTimer {
    /// The least it waits beyond the round trip.
    pub floor: Duration,
    /// Whether the lane sets that floor; else it is the kernel's own.
    pub set: bool,
}

/// What theory says of a lane: its assumption, its steps, the share of requests above the first.
#[derive(Clone, Debug)]
pub struct Yardstick {
    /// The assumption, in a sentence.
    pub model: String,
    /// The analytic distribution.
    pub stairs: Vec<Stair>,
    /// The share of requests that is slow or unanswered.
    pub slow_expected: f64,
    /// Latency of a request that meets no loss.
    pub base: Duration,
    /// What the first loss adds.
    pub timer: Duration,
}
