//! Numbers and what they are worth: time, probability, quantiles with intervals, yardsticks.
//!
//! It exists so that every figure wirelab prints comes with how far it can be trusted.
//! It must never know where a sample came from, read a clock, or draw from a
//! global random source.

pub mod draw;
pub mod goodput;
pub mod human;
pub mod interval;
pub mod quantile;
pub mod staircase;
mod time;
mod units;

pub use time::{Instant, nanos, saturated};

pub use units::Ppm;
