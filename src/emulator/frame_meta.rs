//! Metadata of a frame in the router.

use super::topology::MTU;
use crate::path::{Direction, Mutation};

/// Bytes of the longest frame that may cross: the MTU and an Ethernet header.
pub const FRAME_MAX: usize = MTU as usize + 14;

/// The record's metadata of a frame in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameMeta {
    pub(crate) direction: Direction,
    pub(crate) index: u64,
    /// Number of the copy, from 0.
    pub(crate) copy: u8,
    /// Index of its capture.
    pub(crate) captured: Option<u32>,
    pub(crate) length: u16,
    pub(crate) draw_ppm: u32,
    /// Its changes.
    pub(crate) mutation: Mutation,
}

/// Metadata of a frame in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotMeta {
    pub(super) frame: FrameMeta,
    /// Its egress port.
    pub(super) port_out: u16,
    /// The lane's record that it belongs to.
    pub(super) generation: u32,
    /// Whether it is the router's own answer, which no link carries.
    pub(super) answer: bool,
    /// The slot of the other copy, while both wait at a bottleneck.
    pub(super) duplicate: Option<u32>,
}

impl SlotMeta {
    pub(super) const NOTHING: Self = Self {
        frame: FrameMeta {
            direction: Direction::AToB,
            index: 0,
            copy: 0,
            captured: None,
            length: 0,
            draw_ppm: 0,
            mutation: Mutation { corrupt: None, mark: false },
        },
        port_out: 0,
        generation: 0,
        answer: false,
        duplicate: None,
    };
}
