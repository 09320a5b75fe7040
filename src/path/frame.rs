//! A frame as the link sees it, and its direction.

use super::packet::ecn;
use serde::{Deserialize, Serialize};

/// Direction of a frame: host A is the client's side, host B the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Direction {
    /// From the client's side to the server's.
    AToB = 0,
    /// From the server's side to the client's.
    BToA = 1,
}

impl Direction {
    /// Both, in the order of their index.
    pub const BOTH: [Self; 2] = [Self::AToB, Self::BToA];

    /// 0 or 1, to index a pair.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A frame as the link sees it.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its bytes: from the Ethernet header on, or, in virtual time, the payload alone.
    pub bytes: Bytes<'a>,
    /// Its length on the wire, Ethernet header included.
    pub length: u32,
}

/// The bytes of a frame.
#[derive(Clone, Copy, Debug)]
pub enum Bytes<'a> {
    /// From the Ethernet header on.
    Ethernet(&'a [u8]),
    /// The application's payload, without headers.
    Payload(&'a [u8]),
}

/// The ECN bits of a frame; without headers it is not ECN-capable.
pub(super) fn ecn_bits(bytes: Bytes<'_>) -> u8 {
    match bytes {
        Bytes::Ethernet(frame) => ecn(frame),
        Bytes::Payload(_) => 0,
    }
}
