//! The link model: what one direction of a path does to each frame.
//!
//! It exists so that the router between real hosts and the network in virtual time decide alike:
//! a frame and a time in, a [`Fate`] out, with the draw that decided it.
//! It must never touch a socket or a clock, nor draw from anything but the seed it was given.

pub mod draw;
mod link;
mod record;

pub use link::{Direction, Fate, Link, LinkPlan, Verdict};
pub use record::{LostFrame, Record, fold_fate};
