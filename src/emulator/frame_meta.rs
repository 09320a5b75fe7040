//! What the router knows of a frame on its way beside its bytes.

use super::topology::MTU;
use crate::path::{Direction, Mutation};

/// Bytes of the longest frame that may cross: the MTU and an Ethernet header.
pub const FRAME_MAX: usize = MTU as usize + 14;

/// A frame on its way, as far as its record goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameMeta {
    pub(crate) direction: Direction,
    pub(crate) index: u64,
    /// Which copy, from 0.
    pub(crate) copy: u8,
    /// Where it is captured.
    pub(crate) captured: Option<u32>,
    pub(crate) length: u16,
    pub(crate) draw_ppm: u32,
    /// What was changed in it.
    pub(crate) mutation: Mutation,
}

/// What the router knows of a frame that lies in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotMeta {
    pub(super) frame: FrameMeta,
    /// The port it leaves by.
    pub(super) port_out: u16,
    /// Which record of its lane it belongs to.
    pub(super) generation: u32,
    /// Whether it is an answer of the router's own, which no link carries.
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
