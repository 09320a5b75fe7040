//! The link model: what one direction of a path does to each frame.
//!
//! Given a frame and its arrival, it returns a [`Fate`] with the draw that decided it. It uses no
//! socket or clock, so that the router between real hosts and the network in virtual time decide
//! alike.

mod bandwidth;
mod bottleneck;
mod change;
mod content;
mod corrupt;
mod counts;
mod delay;
mod draw_key;
mod duplicate;
mod effect;
mod fate;
mod files;
mod frame;
mod icmp;
mod link;
mod loss;
mod mark;
mod mtu;
mod mutation;
mod overhead;
mod packet;
mod plan;
mod plan_error;
mod police;
pub mod preset;
mod queue;
mod record;
mod recording;
mod reorder;
pub mod rng;
mod timetable;

pub use bottleneck::{Bottleneck, Discipline, Queue, QueueLimit, Rate};
pub use change::{Change, Setting};
pub use corrupt::Corruption;
pub use counts::Counts;
pub use delay::Delay;
pub use draw_key::DrawKey;
pub use effect::Word;
pub use fate::{CorruptDraw, DropReason, Fate, Mutation, Release, ReleaseVerdict, Verdict};
pub use files::FromFile;
pub use frame::{Bytes, Direction, Frame};
pub use icmp::icmp_too_big;
pub use link::Link;
pub use loss::LossModel;
pub use mtu::MtuLimit;
pub use mutation::{apply, apply_to_payload};
pub use overhead::Overhead;
pub use plan::LinkPlan;
pub use plan_error::{PlanError, ReadFile};
pub use police::Police;
pub use preset::Preset;
pub use record::{LostFrame, Record, fold_fate};
pub use recording::Recording;
pub use reorder::Reorder;

/// Headers in front of a datagram on the path: Ethernet 14, IPv4 20 (RFC 791), UDP 8 (RFC 768).
pub const DATAGRAM_HEADERS: u32 = 42;

/// Beginnings of models that read a file.
pub const FILE_WORDS: [&str; 4] = ["list:", "table:", "rtt-table:", "trace:"];
