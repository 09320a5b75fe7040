//! Sockets of a lane's hosts, made in the host's own namespace.
//!
//! A socket belongs to the namespace of the thread that made it, so each function moves the calling
//! thread there. Every option is set, whatever the machine's defaults.

use crate::sys::netns::Netns;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};

/// Connections that wait to be accepted: every client of a lane at once.
const BACKLOG: i32 = 1024;

fn stream(host: &Netns, congestion_control: &str) -> io::Result<Socket> {
    host.enter()?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Set explicitly: a namespace inherits the host's default (tcp(7), TCP_CONGESTION).
    socket.set_tcp_congestion(congestion_control.as_bytes())?;
    Ok(socket)
}

fn datagram(host: &Netns) -> io::Result<Socket> {
    host.enter()?;
    Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))
}

/// The congestion control of a new TCP socket of `host` that asks for one, read back.
///
/// # Errors
/// If the kernel does not know it.
pub fn congestion_control(host: &Netns, wanted: &str) -> io::Result<String> {
    let name = stream(host, wanted)?.tcp_congestion()?;
    Ok(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
}

/// A non-blocking TCP socket that is connecting to `to`.
///
/// # Errors
/// The kernel's error.
pub fn connecting(
    host: &Netns,
    to: SocketAddrV4,
    congestion_control: &str,
    nodelay: bool,
) -> io::Result<TcpStream> {
    let socket = stream(host, congestion_control)?;
    socket.set_tcp_nodelay(nodelay)?;
    match socket.connect(&SocketAddr::V4(to).into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// A non-blocking listener on every address of `host`; accepted connections inherit its congestion
/// control.
///
/// # Errors
/// The kernel's error.
pub fn listening(host: &Netns, port: u16, congestion_control: &str) -> io::Result<TcpListener> {
    let socket = stream(host, congestion_control)?;
    // Stages follow each other closely, while old connections linger.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A non-blocking UDP socket on every address of `host`.
///
/// # Errors
/// The kernel's error.
pub fn bound(host: &Netns, port: u16) -> io::Result<UdpSocket> {
    let socket = datagram(host)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    Ok(socket.into())
}

/// A non-blocking UDP socket connected to `to`.
///
/// # Errors
/// The kernel's error.
pub fn connected(host: &Netns, to: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = datagram(host)?;
    socket.connect(&SocketAddr::V4(to).into())?;
    Ok(socket.into())
}
