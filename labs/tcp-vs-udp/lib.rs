//! tcp-vs-udp: the same bank requests over TCP and over UDP through the same loss.
//!
//! It exists to turn samples into a result that a person can trust: arms, workload, schedule,
//! summary, verdict. It must never read a clock: `net` and `sim` run the lanes.

mod args;
pub mod arms;
pub mod commands;
pub mod kernel;
pub mod ledger_audit;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod result;
pub mod run;
pub mod summary;
pub mod verdict;
pub mod virtual_time;
