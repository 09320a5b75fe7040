//! Statistics: time, random draws, quantiles and proportions with intervals, analytic models.
//! Reads no clock and no global random source.

pub mod cluster;
pub mod compare;
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
