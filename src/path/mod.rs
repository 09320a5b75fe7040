//! The link model: what one direction of a path does to each frame.
//!
//! It exists so that the router between real hosts and the network in virtual time decide alike:
//! a frame and a time in, a [`Fate`] out, with the draw that decided it.
//! It must never touch a socket or a clock, nor draw from anything but the seed it was given.

pub mod draw;
mod fate;
mod link;
mod plan;
mod record;

pub use fate::{CorruptDraw, DropReason, Edit, Fate, Release, ReleaseVerdict, Verdict};
pub use link::{Bytes, Frame, Link};
pub use plan::{
    Bottleneck, Change, Corruption, Delay, Direction, Discipline, FateKey, LinkPlan, LossModel,
    MtuLimit, Queue, QueueLimit, Rate, RateTrace, Reorder, Setting,
};
pub use record::{LostFrame, Record, fold_fate};
