//! Batched datagram I/O with peer addresses and kernel receive times, without an allocation or a
//! system call per datagram.
#![expect(unsafe_code, reason = "recvmmsg and sendmmsg have no safe wrapper in std")]

use super::error::fits;
use super::sockets::{BATCH_MAX, set_option, transfer};
use super::timestamp::{arrival, for_each_control};
use super::tx_timestamp::REQUEST;
use socket2::{SockAddr, SockAddrStorage};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::{io, mem, ptr};

/// Largest datagram received whole: more than an Ethernet frame carries.
pub const DATAGRAM_MAX: usize = 2_048;
/// Bytes for control messages: a timestamp takes 32, or 64 in its longer form, a destination 40.
const CONTROL_LEN: usize = 136;

/// A received datagram without its bytes.
#[derive(Clone, Debug)]
struct Came {
    length: usize,
    from: SockAddr,
    kernel_ns: Option<u64>,
    to: Option<IpAddr>,
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
    /// The address of this host that it was sent to, on a socket that reports it.
    pub to: Option<IpAddr>,
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
                to: destination(&header.msg_hdr),
                whole: header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0,
            });
        }
        Ok(came)
    }

    /// A datagram of the last batch.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Datagram<'_>> {
        let Came { length, from, kernel_ns, to, whole } = self.came.get(index)?;
        let bytes = &self.buffers[index * self.size..][..(*length).min(self.size)];
        Some(Datagram { bytes, from, kernel_ns: *kernel_ns, to: *to, whole: *whole })
    }
}

/// A datagram to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// The receiver.
    pub to: &'a SockAddr,
    /// The address of this host to send from, if not the one of the route.
    pub from: Option<IpAddr>,
    /// Whether to request a transmit timestamp, on a socket that stamps on request.
    pub stamped: bool,
}

/// Makes a socket on the wildcard address report which address each datagram was sent to
/// (`IP_PKTINFO`, ip(7); `IPV6_RECVPKTINFO`, RFC 3542 §6.2).
///
/// # Errors
/// The error of `setsockopt`.
pub fn report_destinations(socket: &impl AsFd, local: IpAddr) -> io::Result<()> {
    match local {
        IpAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1_i32),
        IpAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1_i32),
    }
}

/// The destination in the control messages of a header that `recvmmsg` has filled in.
fn destination(header: &libc::msghdr) -> Option<IpAddr> {
    let mut found = None;
    for_each_control(header, |level, kind, data| match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // SAFETY: this kind carries an in_pktinfo, which need not be aligned.
            let info: libc::in_pktinfo = unsafe { ptr::read_unaligned(data.cast()) };
            found = Some(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into());
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // SAFETY: this kind carries an in6_pktinfo, which need not be aligned.
            let info: libc::in6_pktinfo = unsafe { ptr::read_unaligned(data.cast()) };
            found = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
        }
        _ => {}
    });
    found
}

/// Control messages of one datagram: a request for a transmit timestamp, and its source.
#[derive(Clone, Copy)]
struct Control {
    /// u64 for the alignment that control messages need.
    words: [u64; Self::WORDS],
    length: usize,
}

impl Control {
    /// A timestamp request takes 24 bytes, a source 40.
    const WORDS: usize = 8;
    const EMPTY: Self = Self { words: [0; Self::WORDS], length: 0 };

    fn push<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        let size = size_of::<libc::cmsghdr>() + size_of::<T>();
        let end = self.length + size.next_multiple_of(size_of::<u64>());
        assert!(end <= size_of_val(&self.words), "invariant: both messages fit");
        // SAFETY: cmsghdr is plain numbers.
        let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
        header.cmsg_len = size as _;
        (header.cmsg_level, header.cmsg_type) = (level, kind);
        // SAFETY: header and value lie within the words, as asserted; both are plain bytes.
        unsafe {
            let at = self.words.as_mut_ptr().cast::<u8>().add(self.length);
            ptr::write_unaligned(at.cast(), header);
            ptr::write_unaligned(at.add(size_of::<libc::cmsghdr>()).cast(), value);
        }
        self.length = end;
    }

    fn of(message: &Outgoing<'_>) -> Self {
        let mut control = Self::EMPTY;
        if message.stamped {
            control.push(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, REQUEST);
        }
        match message.from {
            Some(IpAddr::V4(ip)) => {
                let any = libc::in_addr { s_addr: 0 };
                let ipi_spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: any };
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some(IpAddr::V6(ip)) => {
                let ipi6_addr = libc::in6_addr { s6_addr: ip.octets() };
                let info = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 0 };
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            None => {}
        }
        control
    }
}

/// Sends each to its own receiver in one call, [`BATCH_MAX`] at most; returns the number sent.
///
/// # Errors
/// The error of the first; errors of later ones end the batch early.
pub fn send_each<'a>(
    socket: &impl AsFd,
    messages: impl Iterator<Item = Outgoing<'a>>,
) -> io::Result<usize> {
    let mut controls = [Control::EMPTY; BATCH_MAX];
    let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH_MAX];
    // SAFETY: mmsghdr is plain pointers and numbers, for which all zero means "no message".
    let mut headers: [libc::mmsghdr; BATCH_MAX] = unsafe { mem::zeroed() };
    let mut count = 0;
    let memory = parts.iter_mut().zip(&mut headers).zip(&mut controls);
    for (((part, header), control), message) in memory.zip(messages) {
        let Outgoing { bytes, to, .. } = message;
        *part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = to.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = to.len();
        *control = Control::of(&message);
        if control.length > 0 {
            header.msg_hdr.msg_control = control.words.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.length as _;
        }
        count += 1;
    }
    let fd = socket.as_fd().as_raw_fd();
    transfer(count, |count| {
        // SAFETY: the first `count` headers point to parts and controls on this stack frame, and
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
    fn a_reply_from_the_wildcard_leaves_from_where_the_request_went() {
        for (wildcard, hosts) in [
            ("0.0.0.0:0", &["127.0.0.1", "127.0.0.77"][..]),
            // IPv4 on a socket of both families, too.
            ("[::]:0", &["::1", "127.0.0.77"]),
        ] {
            let Ok(server) = UdpSocket::bind(wildcard) else { continue };
            let local = server.local_addr().unwrap();
            report_destinations(&server, local.ip()).unwrap();
            let mut inbox = Inbox::new(1);
            for host in hosts {
                let target: IpAddr = host.parse().unwrap();
                let own = if target.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
                let client = UdpSocket::bind(own).unwrap();
                client.send_to(b"time", (target, local.port())).unwrap();
                assert_eq!(inbox.fill(&server).unwrap(), 1);
                let got = inbox.get(0).unwrap();
                assert_eq!(got.to.map(|ip| ip.to_canonical()), Some(target));
                for stamped in [false, true] {
                    let Datagram { bytes, from: to, to: from, .. } = got;
                    let message = Outgoing { bytes, to, from, stamped };
                    assert_eq!(send_each(&server, std::iter::once(message)).unwrap(), 1);
                    let (_, sender) = client.recv_from(&mut [0; 16]).unwrap();
                    assert_eq!(sender.ip(), target);
                }
            }
        }
    }

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
                Outgoing { bytes, to, from: None, stamped: index == 1 }
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
