//! Socket calls that std and socket2 lack: batches of datagrams, and options by number.
#![expect(unsafe_code, reason = "sendmmsg, recvmmsg and setsockopt have no safe wrapper in std")]

use super::error::{check, fits};
use std::ffi::CString;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

/// Maximum messages per call; it bounds the headers on the stack (80 bytes each).
pub const BATCH_MAX: usize = 64;

/// Sets an option to a plain value.
pub(super) fn set_option<T: Copy>(
    socket: &impl AsFd,
    level: i32,
    name: i32,
    value: T,
) -> io::Result<()> {
    let (fd, size) = (socket.as_fd().as_raw_fd(), fits(size_of::<T>()));
    // SAFETY: `value` is live and `size` bytes long; the kernel only reads it.
    check(unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), size) })
}

/// Lets the first write of a TCP socket carry its SYN (tcp(7), `TCP_FASTOPEN_CONNECT`).
///
/// # Errors
/// `ENOPROTOOPT` before Linux 4.11.
pub fn set_fast_open_connect(socket: &impl AsFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1_i32)
}

/// Whether the first write of a TCP socket carries its SYN.
///
/// # Errors
/// The error of `getsockopt`.
pub fn is_fast_open_connect(socket: &impl AsFd) -> io::Result<bool> {
    let (fd, mut value, mut size) = (socket.as_fd().as_raw_fd(), 0_i32, fits(size_of::<i32>()));
    let name = libc::TCP_FASTOPEN_CONNECT;
    let at = (&raw mut value).cast();
    // SAFETY: `value` is live and `size` bytes long, and `size` is live.
    check(unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, name, at, &raw mut size) })?;
    Ok(value != 0)
}

/// Lets a listener accept data in SYNs of up to `length` pending connections (`TCP_FASTOPEN`).
///
/// # Errors
/// `ENOPROTOOPT` if the kernel has no TCP fast open.
pub fn set_fast_open_queue(socket: &impl AsFd, length: i32) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, length)
}

/// The index of an interface of the calling thread's namespace.
///
/// # Errors
/// `ENODEV` if there is none of that name.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `name` is a live string with a terminator.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

const fn empty_header() -> libc::mmsghdr {
    // SAFETY: mmsghdr is plain pointers and numbers, for which all zero means "no message".
    unsafe { mem::zeroed() }
}

/// Sends each slice as one message on a connected or bound socket; returns the number sent.
///
/// At most [`BATCH_MAX`] are sent per call.
///
/// # Errors
/// The error of the first message; errors of later ones end the batch early.
pub fn send_batch(socket: &impl AsFd, messages: &[&[u8]]) -> io::Result<usize> {
    let count = messages.len().min(BATCH_MAX);
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH_MAX];
    let mut headers = [empty_header(); BATCH_MAX];
    for ((part, header), message) in parts.iter_mut().zip(&mut headers).zip(messages) {
        *part =
            libc::iovec { iov_base: message.as_ptr().cast_mut().cast(), iov_len: message.len() };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    transfer(count, |count| {
        // SAFETY: the first `count` headers point to parts that live on this stack frame, and those
        // to the caller's slices; the kernel only reads them.
        unsafe { libc::sendmmsg(socket.as_fd().as_raw_fd(), headers.as_mut_ptr(), count, 0) }
    })
}

/// Receives messages into `buffers` and writes their lengths; returns the number received.
///
/// On a blocking socket, waits for the first only.
///
/// # Errors
/// `WouldBlock` if the queue is empty, otherwise the error of `recvmmsg`.
pub fn receive_batch(
    socket: &impl AsFd,
    buffers: &mut [[u8; 2048]],
    lengths: &mut [usize],
) -> io::Result<usize> {
    let count = buffers.len().min(lengths.len()).min(BATCH_MAX);
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH_MAX];
    let mut headers = [empty_header(); BATCH_MAX];
    for ((part, header), buffer) in parts.iter_mut().zip(&mut headers).zip(buffers.iter_mut()) {
        *part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
    }
    let flags = libc::MSG_WAITFORONE;
    let came = transfer(count, |count| {
        // SAFETY: the first `count` headers point to parts that live on this stack frame, and those
        // to the caller's buffers, which are borrowed mutably for the whole call.
        unsafe {
            let timeout = ptr::null_mut();
            libc::recvmmsg(socket.as_fd().as_raw_fd(), headers.as_mut_ptr(), count, flags, timeout)
        }
    })?;
    for (length, header) in lengths.iter_mut().zip(&headers[..came]) {
        *length = fits(header.msg_len);
    }
    Ok(came)
}

/// Retries a batch call that a signal interrupted.
pub(super) fn transfer(count: usize, mut call: impl FnMut(u32) -> i32) -> io::Result<usize> {
    let wanted = u32::try_from(count).expect("invariant: a batch is a few dozen messages");
    loop {
        if let Ok(done) = usize::try_from(call(wanted)) {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Makes the kernel segment sends on a UDP socket into datagrams of so many bytes (udp(7),
/// `UDP_SEGMENT`).
///
/// # Errors
/// `ENOPROTOOPT` before Linux 4.18.
pub fn set_udp_segment(socket: &impl AsFd, bytes: u16) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_SEGMENT, i32::from(bytes))
}

/// The congestion control of a TCP socket, by the kernel's name.
///
/// # Errors
/// The error of `getsockopt(TCP_CONGESTION)`.
pub fn tcp_congestion(socket: &impl AsFd) -> io::Result<String> {
    let name = socket2::SockRef::from(socket).tcp_congestion()?;
    Ok(String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned())
}

/// Sets the congestion control of a TCP socket; works even where the sysctl is read-only.
///
/// # Errors
/// `ENOENT` for an unknown name.
pub fn set_tcp_congestion(socket: &impl AsFd, name: &str) -> io::Result<()> {
    socket2::SockRef::from(socket).set_tcp_congestion(name.as_bytes())
}
