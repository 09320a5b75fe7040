//! tcp-vs-udp: the same bank requests over TCP and over UDP through the same loss.
//!
//! It exists to turn samples into a result that a person can trust: arms, workload, schedule,
//! summary, verdict. It must never open a socket or read a clock: `net` and `sim` run the plan.

pub mod plan;
pub mod result;
