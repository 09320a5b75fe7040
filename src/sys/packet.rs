//! A packet socket with a receive ring: sends and receives Ethernet frames on one interface.
//!
//! TPACKET_V2, because V3 delivers frames by the millisecond, and a ring, because its size is not
//! limited by `net.core.rmem_max` (Documentation/networking/packet_mmap.rst).
#![expect(unsafe_code, reason = "the ring is memory shared with the kernel")]

use super::error::{check, fits};
use super::sockets::{interface_index, send_batch, set_option};
use socket2::{Domain, Socket, Type};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Bytes of a ring block, a whole number of pages and of slots.
const BLOCK: usize = 65_536;
/// Bytes of `struct virtio_net_hdr`.
const VNET_HEADER: usize = 10;
/// How long a send may wait for buffer space before it counts as failed.
const SEND_PATIENCE: Duration = Duration::from_millis(100);

// linux/if_packet.h.
const PACKET_VNET_HDR: i32 = 15;
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// The form of frames on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One packet of at most the MTU, with complete checksums.
    Whole,
    /// Each is preceded by a `struct virtio_net_hdr` (`PACKET_VNET_HDR`), which says what the
    /// sender left undone: checksum or segmentation.
    Offloaded,
}

impl Framing {
    /// Bytes of a ring slot: a power of two, so that slots are contiguous across blocks.
    const fn slot(self) -> usize {
        match self {
            // The ring's header and a frame of MTU 1500.
            Self::Whole => 2048,
            // The same and 64 KiB less 128 bytes. Kernel memory: 64 MiB for a ring of 1,024.
            Self::Offloaded => 65_536,
        }
    }

    /// Bytes of the header that precedes each frame.
    #[must_use]
    pub const fn header(self) -> usize {
        match self {
            Self::Whole => 0,
            Self::Offloaded => VNET_HEADER,
        }
    }
}

/// `struct tpacket_req`.
#[derive(Clone, Copy)]
#[repr(C)]
struct RingRequest {
    block_size: u32,
    block_count: u32,
    frame_size: u32,
    frame_count: u32,
}

/// A packet socket on one interface.
#[derive(Debug)]
pub struct Port {
    socket: Socket,
    framing: Framing,
    ring: NonNull<u8>,
    slots: usize,
    next: usize,
}

// SAFETY: only this value uses the ring (besides the kernel), and any thread may read it.
unsafe impl Send for Port {}

/// A received frame; dropping it returns the ring slot to the kernel.
#[derive(Debug)]
pub struct Received<'a> {
    /// The frame from its Ethernet header on; truncated if longer than a slot.
    pub bytes: &'a [u8],
    /// The header before it: [`Framing::header`] bytes.
    pub offload: &'a [u8],
    /// Length on the wire, bytes.
    pub length: u32,
    /// Kernel timestamp, `CLOCK_REALTIME` nanoseconds.
    pub wall_ns: u64,
    /// Whether checksums are complete; if not, an offload is on that should be off.
    pub checksum_ready: bool,
    status: &'a AtomicU32,
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        // Release: our reads of the frame come before the kernel's next write to it.
        self.status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
    }
}

impl Port {
    /// Opens an interface of the calling thread's namespace, with at least `frames` ring slots.
    ///
    /// # Errors
    /// The error of the system call: `EPERM` without `CAP_NET_RAW`, `ENODEV`, `ENOMEM`.
    pub fn open(interface: &str, frames: usize, framing: Framing) -> io::Result<Self> {
        // Protocol 0 receives nothing until the bind below: no frame of another interface arrives.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        let version = libc::tpacket_versions::TPACKET_V2 as i32;
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_VERSION, version)?;
        set_option(&socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1_i32)?;
        match framing {
            Framing::Whole => {
                set_option(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1_i32)?;
            }
            // Before the ring: its slots must hold the header. The queueing discipline is not
            // bypassed: otherwise the kernel drops a super-frame that it has to segment itself.
            Framing::Offloaded => {
                set_option(&socket, libc::SOL_PACKET, PACKET_VNET_HDR, 1_i32)?;
            }
        }
        socket.set_write_timeout(Some(SEND_PATIENCE))?;
        let slot = framing.slot();
        let blocks = (frames * slot).div_ceil(BLOCK).max(1);
        let slots = blocks * BLOCK / slot;
        let number = |n: usize| u32::try_from(n).map_err(|_| io::Error::from_raw_os_error(22));
        let request = RingRequest {
            block_size: number(BLOCK)?,
            block_count: number(blocks)?,
            frame_size: number(slot)?,
            frame_count: number(slots)?,
        };
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_RX_RING, request)?;
        let ring = map(&socket, blocks * BLOCK)?;
        let port = Self { socket, framing, ring, slots, next: 0 };
        port.bind(interface)?;
        Ok(port)
    }

    fn bind(&self, interface: &str) -> io::Result<()> {
        let index = interface_index(interface)?;
        // SAFETY: sockaddr_ll is plain numbers, for which all zero is valid.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = fits(libc::AF_PACKET);
        // Every protocol, so that unexpected frames are seen.
        address.sll_protocol = fits::<_, u16>(libc::ETH_P_ALL).to_be();
        address.sll_ifindex = fits(index);
        let size = fits(size_of_val(&address));
        let fd = self.socket.as_raw_fd();
        // SAFETY: `address` is a live sockaddr_ll of the size passed.
        check(unsafe { libc::bind(fd, (&raw const address).cast(), size) })
    }

    /// The oldest frame in the ring, if any.
    pub fn receive(&mut self) -> Option<Received<'_>> {
        let size = self.framing.slot();
        // SAFETY: `next` is below `slots`, so the slot lies in the mapping, which lives as long as
        // `self`; slots are aligned to 2048, and the status is the first word, only ever accessed
        // as an atomic here.
        let (slot, status) = unsafe {
            let slot = self.ring.add(self.next * size);
            (slot, AtomicU32::from_ptr(slot.cast().as_ptr()))
        };
        // Acquire: the kernel's writes to the frame come before its setting of the status.
        let flags = status.load(Ordering::Acquire);
        if flags & libc::TP_STATUS_USER == 0 {
            return None;
        }
        self.next = if self.next + 1 == self.slots { 0 } else { self.next + 1 };
        // SAFETY: the status says that the slot is ours, so the kernel has written a header at its
        // start and leaves it alone until the status is set back. The first word, the atomic above,
        // is skipped. The other fields are plain numbers.
        let header = unsafe { slot.cast::<libc::tpacket2_hdr>().as_ref() };
        let start = usize::from(header.tp_mac).min(size);
        let kept = fits::<_, usize>(header.tp_snaplen).min(size - start);
        let ahead = self.framing.header().min(start);
        // SAFETY: the kernel put `kept` bytes at `start`, and `ahead` before them; all three were
        // bounded by the slot above.
        let whole =
            unsafe { std::slice::from_raw_parts(slot.add(start - ahead).as_ptr(), ahead + kept) };
        let (offload, bytes) = whole.split_at(ahead);
        Some(Received {
            bytes,
            offload,
            length: header.tp_len,
            wall_ns: u64::from(header.tp_sec) * 1_000_000_000 + u64::from(header.tp_nsec),
            checksum_ready: flags & libc::TP_STATUS_CSUMNOTREADY == 0,
            status,
        })
    }

    /// Sends frames, each after its header if the port has one; returns the number sent.
    ///
    /// # Errors
    /// The error of the first frame: `EMSGSIZE` above the MTU.
    pub fn send(&self, frames: &[&[u8]]) -> io::Result<usize> {
        send_batch(&self.socket, frames)
    }

    /// The form of its frames.
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Bytes of the receive ring.
    #[must_use]
    pub const fn ring_bytes(&self) -> usize {
        self.slots * self.framing.slot()
    }

    /// Frames dropped for lack of a free slot since the last call.
    ///
    /// # Errors
    /// The error of `getsockopt(PACKET_STATISTICS)`.
    pub fn take_drops(&self) -> io::Result<u64> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut size = fits(size_of_val(&statistics));
        let fd = self.socket.as_raw_fd();
        // SAFETY: `statistics` is live and as large as `size` says. Reading it sets it to zero.
        check(unsafe {
            let value = (&raw mut statistics).cast();
            libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, value, &raw mut size)
        })?;
        Ok(statistics.tp_drops.into())
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `open`, of the same length, and no frame is borrowed.
        unsafe { libc::munmap(self.ring.as_ptr().cast(), self.slots * self.framing.slot()) };
    }
}

/// Maps the socket's ring into memory.
fn map(socket: &Socket, length: usize) -> io::Result<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let fd = socket.as_raw_fd();
    // SAFETY: a fresh mapping at an address the kernel chooses overlaps nothing of ours.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, fd, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
}
