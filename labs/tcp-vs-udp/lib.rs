//! tcp-vs-udp: the same bank requests over TCP and over UDP through the same loss.
//!
//! `arms` are the configurations, `transport` their carriers; `kernel` and `virtual_time` run the
//! lanes; `summary`, `verdict` and `claims` turn samples into a result.

mod args;
pub mod arms;
pub mod blocking;
pub mod claims;
pub mod commands;
pub mod kernel;
pub mod ledger_audit;
pub mod load;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod result;
pub mod run;
pub mod summary;
pub mod transport;
pub mod verdict;
pub mod virtual_time;

/// The name of the lab.
pub(crate) const LAB: &str = "tcp-vs-udp";
