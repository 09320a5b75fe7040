//! What the labs share at the command line: flags, exit codes, colour, progress, errors, runs.
//!
//! It exists so that every lab behaves alike: stdout is the result, stderr the progress.
//! It must never know a protocol, nor decide what a result means.

pub mod args;
pub mod error;
pub mod exit;
pub mod forward_signals;
pub mod frame;
pub mod generate;
pub mod lab;
pub mod log;
pub mod mistakes;
pub mod predict;
pub mod progress;
pub mod run;
pub mod seed;
pub mod signals;
pub mod stdout;
pub mod style;
pub mod topics;
pub mod values;
pub mod version;
