//! Sockets of a lane's hosts, made in the host's own namespace.
//!
//! A socket belongs to the namespace of the thread that made it, so each function moves the calling
//! thread there. Every option is set, whatever the machine's defaults.

use crate::sys::netns::Netns;
use crate::sys::sockets::{set_fast_open_connect, set_fast_open_queue};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Connections that wait to be accepted: every client of a lane at once.
const BACKLOG: i32 = 1024;

/// Options of a TCP socket, see tcp(7).
#[derive(Clone, Copy, Debug)]
pub struct StreamOptions<'a> {
    /// `TCP_CONGESTION`.
    pub congestion_control: &'a str,
    /// `TCP_NODELAY`, of clients; the server sets its own on connections.
    pub nodelay: bool,
    /// `TCP_QUICKACK` at the start of a client's connection; the kernel may leave the mode.
    pub quickack: Option<bool>,
    /// `TCP_USER_TIMEOUT`; the kernel's default if `None`.
    pub user_timeout: Option<Duration>,
    /// Whether SYNs carry data at both ends (RFC 7413).
    pub fast_open: bool,
}

fn stream(host: &Netns, options: StreamOptions<'_>) -> io::Result<Socket> {
    host.enter()?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Set explicitly: a namespace inherits the host's default (tcp(7), TCP_CONGESTION).
    socket.set_tcp_congestion(options.congestion_control.as_bytes())?;
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
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
    let options = StreamOptions {
        congestion_control: wanted,
        nodelay: false,
        quickack: None,
        user_timeout: None,
        fast_open: false,
    };
    let name = stream(host, options)?.tcp_congestion()?;
    Ok(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
}

/// A non-blocking TCP socket that is connecting to `to`.
///
/// # Errors
/// The kernel's error.
pub fn connecting(
    host: &Netns,
    to: SocketAddrV4,
    options: StreamOptions<'_>,
) -> io::Result<TcpStream> {
    let socket = stream(host, options)?;
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(quickack) = options.quickack {
        socket.set_tcp_quickack(quickack)?;
    }
    if options.fast_open {
        set_fast_open_connect(&socket)?;
    }
    match socket.connect(&SocketAddr::V4(to).into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// A non-blocking listener on every address of `host`; accepted connections inherit its congestion
/// control and user timeout.
///
/// # Errors
/// The kernel's error.
pub fn listening(host: &Netns, port: u16, options: StreamOptions<'_>) -> io::Result<TcpListener> {
    let socket = stream(host, options)?;
    // Stages follow each other closely, while old connections linger.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    if options.fast_open {
        set_fast_open_queue(&socket, BACKLOG)?;
    }
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
