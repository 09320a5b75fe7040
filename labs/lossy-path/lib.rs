//! lossy-path: any program through an emulated path, and what the path did to it.
//!
//! It exists so that the lab is a thin program: the plan from words, the run, the audit, the probes
//! of `doctor` are here. It must never print, nor decide how a lab ends.

mod args;
pub mod audit;
pub mod commands;
pub mod doctor;
pub mod plan;
pub mod report;
pub mod result;
pub mod run;

pub use wirelab::emulator::events::{Chunk, Event, Note};
