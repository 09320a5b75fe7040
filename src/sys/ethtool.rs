//! Reads and disables a network interface's offloads (`SIOCETHTOOL`, ethtool(8)).
//!
//! With offloads one frame may stand for many and lack checksums; a path that drops single frames
//! needs them off.
#![expect(unsafe_code, reason = "ioctl has no safe wrapper in std")]

use super::error::check;
use socket2::{Domain, Socket, Type};
use std::io;
use std::os::fd::AsRawFd;

/// An offload and its pair of commands from `linux/ethtool.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// The device computes transmit checksums.
    TxChecksum,
    /// Frames may lie in several buffers: needed by segmentation offload.
    ScatterGather,
    /// The device segments TCP.
    TcpSegmentation,
    /// The kernel segments below the protocol stack.
    GenericSegmentation,
    /// The kernel merges received segments below the protocol stack.
    GenericReceive,
}

impl Offload {
    /// Every offload.
    pub const ALL: [Self; 5] = [
        Self::TxChecksum,
        Self::ScatterGather,
        Self::TcpSegmentation,
        Self::GenericSegmentation,
        Self::GenericReceive,
    ];

    /// The name in `ethtool -K`, and the command that reads it; the next number writes it.
    const fn row(self) -> (&'static str, u32) {
        match self {
            Self::TxChecksum => ("tx", 0x16),
            Self::ScatterGather => ("sg", 0x18),
            Self::TcpSegmentation => ("tso", 0x1e),
            Self::GenericSegmentation => ("gso", 0x23),
            Self::GenericReceive => ("gro", 0x2b),
        }
    }

    /// The name in `ethtool -K`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq` with its data pointer; the kernel reads 40 bytes on 64-bit machines.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut Value,
    rest: [u64; 2],
}

fn call(interface: &str, command: u32, data: u32) -> io::Result<u32> {
    let mut value = Value { command, data };
    let mut name = [0_u8; libc::IFNAMSIZ];
    // One byte is left for the terminator.
    if interface.len() >= name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    name[..interface.len()].copy_from_slice(interface.as_bytes());
    let mut request = Request { name, data: &raw mut value, rest: [0; 2] };
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: `request` is as large as an ifreq and its pointer leads to a live ethtool_value,
    // which is all that the commands used here read or write.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) })?;
    Ok(value.data)
}

/// Whether an offload is on, on an interface of the calling thread's namespace.
///
/// # Errors
/// `ENODEV` for an unknown interface, `EOPNOTSUPP` if the device lacks the offload.
pub fn is_on(interface: &str, offload: Offload) -> io::Result<bool> {
    Ok(call(interface, offload.row().1, 0)? != 0)
}

/// Disables an offload on an interface of the calling thread's namespace.
///
/// # Errors
/// Those of [`is_on`], and `EPERM` without `CAP_NET_ADMIN`.
pub fn switch_off(interface: &str, offload: Offload) -> io::Result<()> {
    call(interface, offload.row().1 + 1, 0).map(|_| ())
}
