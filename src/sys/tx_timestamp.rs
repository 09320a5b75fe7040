//! Transmit timestamps of datagrams, read from a socket's error queue: a program's own stamp is
//! microseconds before the departure.
#![expect(unsafe_code, reason = "the queue of errors has no safe wrapper in std")]

use super::sockets::set_option;
use super::timestamp::{for_each_control, nanoseconds};
use std::os::fd::{AsFd, AsRawFd};
use std::{io, mem, ptr};

/// An entry of the error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// Transmit time, `CLOCK_REALTIME` nanoseconds, and bytes that end in the datagram's payload,
    /// after lower-layer headers; empty if the kernel gives none.
    Left(u64, &'a [u8]),
    /// An error, such as an ICMP report that it cannot be delivered.
    Failed,
}

/// Enables transmit timestamps for later datagrams (`SO_TIMESTAMPING`, timestamping in the kernel's
/// documentation). Receive timestamps are unchanged.
///
/// # Errors
/// The error of `setsockopt`.
pub fn stamp_departures(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, FLAGS | REQUEST)
}

/// The same, only for datagrams sent with a request.
///
/// # Errors
/// The error of `setsockopt`.
pub fn stamp_departures_on_request(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, FLAGS)
}

/// Report software stamps.
const FLAGS: u32 = libc::SOF_TIMESTAMPING_SOFTWARE;
/// Stamp when a datagram enters the device.
pub(super) const REQUEST: u32 = libc::SOF_TIMESTAMPING_TX_SOFTWARE;

/// Bytes of a datagram read with its stamp: all of an NTP packet and the headers below.
const BYTES: usize = 512;
/// Bytes of control messages: a stamp takes 64, an ICMP error 48 and an address.
const CONTROL_LEN: usize = 256;

/// Empties the queue.
pub fn read_departures(socket: &impl AsFd, mut each: impl FnMut(Told<'_>)) {
    let fd = socket.as_fd().as_raw_fd();
    let mut bytes = [0_u8; BYTES];
    // u64 for the alignment that control messages need.
    let mut control = [0_u64; CONTROL_LEN / 8];
    loop {
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: msghdr is plain pointers and numbers, for which all zero is a valid value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_LEN as _;
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        // SAFETY: every pointer in the header is to a live local as long as the header says.
        let got = unsafe { libc::recvmsg(fd, &raw mut header, flags) };
        // The queue is empty, or a signal came: the rest is read the next time.
        let Ok(length) = usize::try_from(got) else { return };
        match stamp(&header) {
            Some(at) => each(Told::Left(at, &bytes[..length.min(BYTES)])),
            None => each(Told::Failed),
        }
    }
}

/// The software stamp in the control messages that `recvmsg` has filled in; none for an ICMP error,
/// which carries a receive timestamp if any socket of this host wants them.
fn stamp(header: &libc::msghdr) -> Option<u64> {
    let (mut at, mut left) = (None, false);
    for_each_control(header, |level, kind, data| match (level, kind) {
        (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING) => {
            // SAFETY: this kind carries three times, the first that of software; they need not be
            // aligned.
            at = nanoseconds(unsafe { ptr::read_unaligned(data.cast()) });
        }
        (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
            // SAFETY: this kind carries this structure; it need not be aligned.
            let error: libc::sock_extended_err = unsafe { ptr::read_unaligned(data.cast()) };
            left = error.ee_origin == libc::SO_EE_ORIGIN_TIMESTAMPING;
        }
        _ => {}
    });
    at.filter(|_| left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::realtime_ns;
    use crate::sys::timestamp::report_unreachable;
    use std::net::UdpSocket;
    use std::time::Duration;

    #[test]
    fn a_tx_timestamp_has_its_datagram_and_icmp_is_no_stamp() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let there = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = there.local_addr().unwrap();
        report_unreachable(&socket, to).unwrap();
        stamp_departures(&socket).unwrap();
        let before = realtime_ns();
        socket.send_to(b"gone by now", to).unwrap();
        let mut left = Vec::new();
        read_departures(&socket, |told| {
            if let Told::Left(at, bytes) = told {
                left.push((at, bytes.ends_with(b"gone by now")));
            }
        });
        let [(at, whole)] = left[..] else { panic!("{left:?}") };
        // The clock may be set during the test, but not by an hour.
        assert!(at.abs_diff(before) < 3_600_000_000_000 && whole);
        drop(there);
        socket.send_to(b"closed", to).unwrap();
        // On a busy host the timestamp may be late; this wait ends with it.
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let told = socket.recv_from(&mut [0]).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::ConnectionRefused);
        let mut failed = 0;
        read_departures(&socket, |told| failed += u32::from(told == Told::Failed));
        assert_eq!(failed, 1);
    }
}
