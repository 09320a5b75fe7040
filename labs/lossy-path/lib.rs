//! lossy-path: any program through an emulated path, and what the path did to it.
//!
//! The library builds plans, runs programs, audits runs and probes the machine; it neither prints
//! nor exits.

mod args;
pub mod audit;
pub mod commands;
pub mod control;
pub mod doctor;
pub mod plan;
pub mod report;
pub mod result;
pub mod run;
pub mod sweep;
pub mod sysctl;

pub use wirelab::emulator::events::{Chunk, Event, Note};

/// The name of the lab.
pub(crate) const LAB: &str = "lossy-path";
