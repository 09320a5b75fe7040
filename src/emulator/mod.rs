//! The emulated path on real frames: namespaces, the router between them, captures.
//!
//! The link model ([`path`](crate::path)) decides; this module receives and transmits frames.

mod capacity;
mod command;
mod config;
pub mod endpoint;
pub mod events;
mod forwarder;
mod frame_meta;
mod frame_pool;
pub mod gso;
mod gso_burst;
mod gso_pool;
mod lane;
pub mod listening;
mod loopback;
pub mod probe;
pub mod record;
pub mod router;
pub mod topology;
