//! lossy-path: any program through an emulated path, and what the path did to it.
//!
//! It exists so that the lab is a thin program: the plan from words, the run, the audit, the probes
//! of `doctor` are here. It must never print, nor decide how a lab ends.

pub mod audit;
pub mod doctor;

pub mod plan;
pub mod result;
pub mod run;

pub use crate::net::stream::{Chunk, Event, Note};
