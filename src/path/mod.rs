//! The link model: what one direction of a path does to each frame.
//!
//! It exists so that the router between real hosts and the network in virtual time decide alike:
//! a frame and a time in, a [`Fate`] out, with the draw that decided it.
//! It must never touch a socket or a clock, nor draw from anything but the seed it was given.

mod bandwidth;
mod check;
mod content;
mod counts;
mod delay;
mod fate;
mod files;
mod icmp;
mod link;
mod loss;
mod mutation;
mod packet;
mod plan;
pub mod preset;
mod queue;
mod record;
mod recording;
pub mod rng;
mod text;
mod timetable;

pub use counts::Counts;
pub use fate::{CorruptDraw, DropReason, Edit, Fate, Release, ReleaseVerdict, Verdict};
pub use icmp::icmp_too_big;
pub use link::{Bytes, Frame, Link};
pub use mutation::{apply, apply_to_payload};
pub use plan::{
    Bottleneck, Change, Corruption, Delay, Direction, Discipline, FateKey, FromFile, LinkPlan,
    LossModel, MtuLimit, Queue, QueueLimit, Rate, Reorder, Setting,
};
pub use preset::Preset;
pub use record::{LostFrame, Record, fold_fate};
pub use recording::Recording;
pub use text::{PlanError, ReadFile};

/// Headers in front of a datagram on the path: Ethernet 14, IPv4 20 (RFC 791), UDP 8 (RFC 768).
pub const DATAGRAM_HEADERS: u32 = 42;
