//! Batched datagram I/O with peer addresses and kernel receive times, without an allocation or a
//! system call per datagram.
#![expect(unsafe_code, reason = "recvmmsg and sendmmsg have no safe wrapper in std")]

use super::error::fits;
use super::sockets::{BATCH_MAX, transfer};
use super::timestamp::arrival;
use super::tx_timestamp::REQUEST;
use socket2::{SockAddr, SockAddrStorage};
use std::os::fd::{AsFd, AsRawFd};
use std::{io, mem, ptr};

/// Largest datagram received whole: more than an Ethernet frame carries.
pub const DATAGRAM_MAX: usize = 2_048;
/// Bytes for control messages: a timestamp takes 32, or 64 in its longer form.
const CONTROL_LEN: usize = 96;

/// A received datagram without its bytes.
#[derive(Clone, Debug)]
struct Came {
    length: usize,
    from: SockAddr,
    kernel_ns: Option<u64>,
    whole: bool,
}

/// One datagram of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The sender.
    pub from: &'a SockAddr,
    /// Receive time, `CLOCK_REALTIME` nanoseconds, if the kernel gives one.
    pub kernel_ns: Option<u64>,
    /// False if the datagram was truncated.
    pub whole: bool,
}

/// Reusable buffers for a batch of datagrams.
#[derive(Debug)]
pub struct Inbox {
    /// Bytes of each buffer.
    size: usize,
    buffers: Vec<u8>,
    names: Vec<SockAddrStorage>,
    /// u64 for the alignment that control messages need.
    controls: Vec<[u64; CONTROL_LEN / 8]>,
    came: Vec<Came>,
}

impl Inbox {
    /// Buffers for this many datagrams, [`BATCH_MAX`] at most, of [`DATAGRAM_MAX`] bytes.
    #[must_use]
    pub fn new(datagrams: usize) -> Self {
        Self::with_size(datagrams, DATAGRAM_MAX)
    }

    /// Buffers for this many datagrams, [`BATCH_MAX`] at most, of so many bytes.
    #[must_use]
    pub fn with_size(datagrams: usize, size: usize) -> Self {
        let count = datagrams.clamp(1, BATCH_MAX);
        let size = size.max(1);
        Self {
            size,
            buffers: vec![0; count * size],
            names: (0..count).map(|_| SockAddrStorage::zeroed()).collect(),
            controls: vec![[0; CONTROL_LEN / 8]; count],
            came: Vec::with_capacity(count),
        }
    }

    /// A placeholder without buffers, for use while the real one is borrowed.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            size: DATAGRAM_MAX,
            buffers: Vec::new(),
            names: Vec::new(),
            controls: Vec::new(),
            came: Vec::new(),
        }
    }

    /// Datagrams that fit.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.controls.len()
    }

    /// Receives a batch in place of the previous one; returns the number received.
    ///
    /// Never waits: fewer than fit means that the queue is empty.
    ///
    /// # Errors
    /// `WouldBlock` if the queue is empty, otherwise the error of `recvmmsg`.
    pub fn fill(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        self.came.clear();
        let count = self.room();
        let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH_MAX];
        // SAFETY: mmsghdr is plain pointers and numbers, for which all zero is a valid value.
        let mut headers: [libc::mmsghdr; BATCH_MAX] = unsafe { mem::zeroed() };
        let buffers = self.buffers.chunks_exact_mut(self.size);
        let memory = buffers.zip(&mut self.names).zip(&mut self.controls);
        for ((part, header), ((buffer, name), control)) in
            parts.iter_mut().zip(&mut headers).zip(memory)
        {
            *part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_namelen = name.size_of();
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_LEN as _;
        }
        let (fd, flags) = (socket.as_fd().as_raw_fd(), libc::MSG_DONTWAIT);
        let came = transfer(count, |count| {
            // SAFETY: the first `count` headers point to parts on this stack frame, and these, the
            // names and the controls to memory of self, which is borrowed mutably for the call.
            unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, flags, ptr::null_mut()) }
        })?;
        for (header, name) in headers[..came].iter().zip(&self.names) {
            // SAFETY: the kernel has written an address of the length it gave into the storage; a
            // copy of plain bytes is as good as the first.
            let from = unsafe { SockAddr::new(ptr::read(name), header.msg_hdr.msg_namelen) };
            self.came.push(Came {
                length: fits(header.msg_len),
                from,
                kernel_ns: arrival(&header.msg_hdr),
                whole: header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0,
            });
        }
        Ok(came)
    }

    /// A datagram of the last batch.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Datagram<'_>> {
        let Came { length, from, kernel_ns, whole } = self.came.get(index)?;
        let bytes = &self.buffers[index * self.size..][..(*length).min(self.size)];
        Some(Datagram { bytes, from, kernel_ns: *kernel_ns, whole: *whole })
    }
}

/// A datagram to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The receiver.
    pub to: &'a SockAddr,
    /// Whether to request a transmit timestamp, on a socket that stamps on request.
    pub stamped: bool,
}

/// A control message that requests a transmit timestamp (`SO_TIMESTAMPING`).
#[repr(C)]
struct Request {
    header: libc::cmsghdr,
    flags: u32,
    padding: u32,
}

const fn request() -> Request {
    // SAFETY: cmsghdr is plain numbers.
    let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
    // The padding is not part of the message.
    header.cmsg_len = (size_of::<Request>() - size_of::<u32>()) as _;
    header.cmsg_level = libc::SOL_SOCKET;
    header.cmsg_type = libc::SO_TIMESTAMPING;
    Request { header, flags: REQUEST, padding: 0 }
}

/// Sends each to its own receiver in one call, [`BATCH_MAX`] at most; returns the number sent.
///
/// # Errors
/// The error of the first; errors of later ones end the batch early.
pub fn send_each<'a>(
    socket: &impl AsFd,
    messages: impl Iterator<Item = Outgoing<'a>>,
) -> io::Result<usize> {
    let mut request = request();
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH_MAX];
    // SAFETY: mmsghdr is plain pointers and numbers, for which all zero means "no message".
    let mut headers: [libc::mmsghdr; BATCH_MAX] = unsafe { mem::zeroed() };
    let mut count = 0;
    for ((part, header), message) in parts.iter_mut().zip(&mut headers).zip(messages) {
        let Outgoing { bytes, to, stamped } = message;
        *part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = to.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = to.len();
        if stamped {
            header.msg_hdr.msg_control = ptr::from_mut(&mut request).cast();
            header.msg_hdr.msg_controllen = size_of::<Request>() as _;
        }
        count += 1;
    }
    let fd = socket.as_fd().as_raw_fd();
    transfer(count, |count| {
        // SAFETY: the first `count` headers point to parts and the request on this stack frame, and
        // parts to slices and addresses that live for 'a; the kernel only reads them.
        unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), count, 0) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::timestamp::stamp_arrivals;
    use crate::sys::tx_timestamp::{Told, read_departures, stamp_departures_on_request};
    use std::net::UdpSocket;

    #[test]
    fn a_batch_has_senders_and_times_and_is_echoed() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(server) = UdpSocket::bind(address) else { continue };
            stamp_arrivals(&server).unwrap();
            let mut inbox = Inbox::new(4);
            assert_eq!(inbox.fill(&server).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let clients = [(); 3].map(|()| UdpSocket::bind(address).unwrap());
            for (number, client) in (0_u8..).zip(&clients) {
                client.connect(server.local_addr().unwrap()).unwrap();
                client.send(&vec![number; 10 + usize::from(number)]).unwrap();
            }
            clients[0].send(&[9; DATAGRAM_MAX + 1]).unwrap();
            clients[0].send(b"beyond the room").unwrap();
            assert_eq!(inbox.fill(&server).unwrap(), 4);
            for (number, client) in (0_u8..).zip(&clients) {
                let got = inbox.get(number.into()).unwrap();
                assert_eq!(got.bytes, vec![number; 10 + usize::from(number)]);
                assert_eq!(got.from.as_socket(), client.local_addr().ok());
                assert!(got.kernel_ns.is_some() && got.whole);
            }
            assert!(!inbox.get(3).unwrap().whole && inbox.get(4).is_none());
            stamp_departures_on_request(&server).unwrap();
            let back = |index| {
                let Datagram { bytes, from: to, .. } = inbox.get(index).unwrap();
                Outgoing { bytes, to, stamped: index == 1 }
            };
            assert_eq!(send_each(&server, (0..3).map(back)).unwrap(), 3);
            let mut left = Vec::new();
            read_departures(&server, |told| left.push(matches!(told, Told::Left(..))));
            assert_eq!(left, [true]);
            for (number, client) in (0_u8..).zip(&clients) {
                let mut buffer = [0; 64];
                assert_eq!(client.recv(&mut buffer).unwrap(), 10 + usize::from(number));
                assert_eq!(buffer[0], number);
            }
        }
    }
}
