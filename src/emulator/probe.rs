//! Trials of the kernel features that a path needs, for `doctor`, inside namespaces made for the
//! trial: a rule in a file and the kernel may disagree.

use super::topology::{LaneConfig, Topology};
use crate::sys::clock::monotonic_ns;
use crate::sys::netns::Netns;
use crate::sys::poll::Poll;
use crate::sys::privilege;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

/// How long a datagram may take on a path without delay.
const ECHO_PATIENCE: Duration = Duration::from_secs(2);
/// Sleeps of a trial, and their length: 200 ms in all.
const SLEEPS: usize = 200;
const SLEEP: Duration = Duration::from_millis(1);
/// A floor for TCP's retransmission timeout that differs from every default.
const FLOOR: Duration = Duration::from_millis(23);

/// Sends a datagram from one host to the other and back.
///
/// # Errors
/// The kernel's error, or that nothing arrived.
pub fn echo(a: &Netns, b: &Netns, at: [IpAddr; 2]) -> io::Result<()> {
    let socket = |host: &Netns, address: IpAddr| {
        host.run(|| {
            let socket = UdpSocket::bind(SocketAddr::new(address, 0))?;
            socket.set_read_timeout(Some(ECHO_PATIENCE))?;
            Ok::<_, io::Error>(socket)
        })?
    };
    let [here, there] = [socket(a, at[0])?, socket(b, at[1])?];
    let mut buffer = [0; 16];
    here.send_to(b"there", there.local_addr()?)?;
    let (length, from) = there.recv_from(&mut buffer)?;
    there.send_to(&buffer[..length], from)?;
    here.recv_from(&mut buffer).map(|_| ())
}

/// Sets a floor under TCP's retransmission timeout and reads it back.
///
/// # Errors
/// The kernel's error, or that another floor is in force.
pub fn rto_floor() -> io::Result<Duration> {
    let lane =
        LaneConfig { name: "floor".to_owned(), rto_min: Some(FLOOR), ..LaneConfig::default() };
    let topology = Topology::build(&[lane]).map_err(io::Error::other)?;
    let floor = topology.lanes[0].rto_min()?;
    if floor == FLOOR {
        return Ok(floor);
    }
    Err(io::Error::other(format!("asked for {FLOOR:?}, got {floor:?}")))
}

/// The congestion controls that the kernel has loaded, and whether a program may choose each: it
/// has fewer rights than this process.
///
/// # Errors
/// If the host's namespace cannot be entered.
pub fn congestion_controls(host: &Netns) -> io::Result<Vec<(String, bool)>> {
    const FILE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    host.run(|| {
        let names = std::fs::read_to_string(FILE).unwrap_or_default();
        // This thread's alone, which ends here.
        privilege::act_as_program()?;
        let can = |name: &str| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
            socket.and_then(|socket| socket.set_tcp_congestion(name.as_bytes())).is_ok()
        };
        Ok(names.split_whitespace().map(|name| (name.to_owned(), can(name))).collect())
    })?
}

/// Sorted overshoot of a thread's sleeps: the router waits the same way.
///
/// # Errors
/// The error of the wait.
pub fn sleep_overshoot() -> io::Result<Vec<Duration>> {
    let poll = Poll::new()?;
    let mut over = Vec::with_capacity(SLEEPS);
    for _ in 0..SLEEPS {
        let begin = monotonic_ns();
        poll.wait(Some(SLEEP))?;
        let slept = Duration::from_nanos(monotonic_ns().saturating_sub(begin));
        over.push(slept.saturating_sub(SLEEP));
    }
    over.sort_unstable();
    Ok(over)
}
