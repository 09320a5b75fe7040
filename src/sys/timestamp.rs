//! Receives datagrams with kernel receive timestamps: a program reads a datagram microseconds later
//! than it arrived on a quiet machine, milliseconds on a busy one.
#![expect(unsafe_code, reason = "recvmsg with control messages has no safe wrapper in std")]

use super::sockets::set_option;
use socket2::SockAddr;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::{mem, ptr};

/// A received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its length; bytes beyond the buffer are lost.
    pub length: usize,
    /// The sender.
    pub from: SocketAddr,
    /// Receive time, `CLOCK_REALTIME` nanoseconds, if the kernel gives one.
    pub kernel_ns: Option<u64>,
}

/// Enables kernel receive timestamps (`SO_TIMESTAMPNS`, socket(7)).
///
/// # Errors
/// The error of `setsockopt`; without stamps everything else works.
pub fn stamp_arrivals(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1_i32)
}

/// Makes an unconnected socket report ICMP errors about its datagrams (`IP_RECVERR`, ip(7)): the
/// next call on it fails.
///
/// # Errors
/// The error of `setsockopt`.
pub fn report_unreachable(socket: &impl AsFd, to: SocketAddr) -> io::Result<()> {
    if to.is_ipv4() {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1_i32)
    } else {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1_i32)
    }
}

/// Bytes for control messages: a timestamp takes 32; truncating others is harmless.
const CONTROL_LEN: usize = 64;

/// The next datagram of a non-blocking socket.
///
/// # Errors
/// `WouldBlock` if there is none; an ICMP error, once each.
pub fn receive(socket: &impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    // u64 for the alignment that control messages need.
    let mut control = [0_u64; CONTROL_LEN / 8];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: msghdr is plain pointers and numbers, for which all zero is a valid value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LEN as _;
    let fd = socket.as_fd().as_raw_fd();
    let fill = |storage: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        header.msg_name = storage.cast();
        // SAFETY: try_init gives a valid length to read, the size of its storage.
        header.msg_namelen = unsafe { *length };
        // SAFETY: every pointer in the header is to a live local, the caller's buffer or the
        // storage, each as long as the header says.
        let got = unsafe { libc::recvmsg(fd, &raw mut header, 0) };
        // SAFETY: as above; the kernel has written at most that length.
        unsafe { *length = header.msg_namelen };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    };
    // SAFETY: on success the kernel has written a whole address of that length.
    let (length, from) = unsafe { SockAddr::try_init(fill) }?;
    let from = from.as_socket().ok_or(io::ErrorKind::InvalidData)?;
    Ok(Received { length, from, kernel_ns: arrival(&header) })
}

/// The receive timestamp in the control messages of a header that `recvmsg` has filled in.
pub(super) fn arrival(header: &libc::msghdr) -> Option<u64> {
    let mut found = None;
    for_each_control(header, |level, kind, data| {
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            // SAFETY: this kind carries a timespec, which need not be aligned.
            found = nanoseconds(unsafe { ptr::read_unaligned(data.cast()) });
        }
    });
    found
}

/// Nanoseconds since 1970; `None` for zero, as in stamps that the kernel does not give.
pub(super) fn nanoseconds(time: libc::timespec) -> Option<u64> {
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u64::try_from(time.tv_nsec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos).filter(|at| *at > 0)
}

/// Passes on level, type and data of each control message that `recvmsg` has written.
pub(super) fn for_each_control(
    header: &libc::msghdr,
    mut each: impl FnMut(libc::c_int, libc::c_int, *const u8),
) {
    // SAFETY: the header's control buffer is live, and its length is what the kernel wrote.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return whole headers inside the buffer, or null.
        unsafe {
            each((*message).cmsg_level, (*message).cmsg_type, libc::CMSG_DATA(message));
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
}

/// Empties the socket's error queue, so that it is no longer ready for errors.
pub fn drain_errors(socket: &impl AsFd) {
    let mut bytes = [0_u8; 64];
    let (flags, fd) = (libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT, socket.as_fd().as_raw_fd());
    // SAFETY: the buffer is live and of that length; the loop ends with the queue.
    while unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), flags) } >= 0 {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::realtime_ns;
    use std::net::UdpSocket;

    #[test]
    fn a_datagram_has_its_sender_and_receive_time() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = UdpSocket::bind(address) else { continue };
            stamp_arrivals(&socket).unwrap();
            let sender = UdpSocket::bind(address).unwrap();
            let before = realtime_ns();
            sender.send_to(b"time", socket.local_addr().unwrap()).unwrap();
            let mut buffer = [0; 16];
            let got = receive(&socket, &mut buffer).unwrap();
            assert_eq!((got.length, &buffer[..4]), (4, &b"time"[..]));
            assert_eq!(got.from, sender.local_addr().unwrap());
            // The clock may be set during the test, but not by an hour.
            assert!(got.kernel_ns.unwrap().abs_diff(before) < 3_600_000_000_000);
            socket.set_nonblocking(true).unwrap();
            let none = receive(&socket, &mut buffer).unwrap_err();
            assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn an_unreachable_port_is_reported() {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        report_unreachable(&socket, gone).unwrap();
        socket.send_to(b"anybody?", gone).unwrap();
        let refused = receive(&socket, &mut [0; 16]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        drain_errors(&socket);
    }
}
