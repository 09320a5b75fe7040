//! How wrong a clock is, and between which bounds: NTP's packets, exchanges, estimates, bounds.
//!
//! From the bottom up: [`timestamp`] and [`packet`] are the wire, [`exchange`] turns one request
//! and its reply into a [`sample::Sample`] or a [`refusal::Refusal`], [`client`] is the state
//! machine of one server, [`nts`] authenticates replies, [`random`] is what a request draws,
//! [`drift`], [`bound`] and [`hull`] hold what must be true, [`change`] finds clocks that were set,
//! [`estimate`] what is likely, [`spans`] and [`allan`] over which time, [`plot_data`] how it is
//! drawn, [`host_clocks`] what this host's
//! own clocks did, [`stamps`] what lies between the program's stamps and the kernel's, [`select`]
//! what several servers say together, [`scenario`], [`server`] and [`interleaved`] a server whose
//! error is known, and [`finding`] the value that a run ends with. [`causality`] is the book's
//! point: what such an error does to the order of events.

pub mod allan;
mod args;
pub mod bound;
pub mod causality;
pub mod change;
pub mod client;
pub mod commands;
pub mod drift;
pub mod driver;
pub mod estimate;
pub mod exchange;
pub mod finding;
pub mod host_clocks;
pub mod hull;
pub mod interleaved;
mod likelihood;
pub mod nts;
pub mod packet;
pub mod plot_data;
pub mod random;
pub mod refusal;
pub mod report;
pub mod sample;
pub mod scenario;
pub mod select;
pub mod server;
pub mod sim;
pub mod spans;
pub mod stamps;
pub mod timestamp;
pub mod uncertainty;
pub mod votes;
mod wander;

/// The name of the lab.
pub(crate) const LAB: &str = "clock-offset";
